"""Cost of a set of heads: ``python -m tests.benchmarks.bench_dataset [PART ...] [--identities N]``.

The parts are ``ray`` (Ray against the plain farm, two workers each), ``memory`` (growth of a process by identity),
``outside`` (what is not rendering, at 24 views) and ``views`` (core-seconds of a view at 128 and 256 pixels by kind of
hair). Wall seconds mean something on an idle machine only, so most figures are CPU seconds, of a process bound to one
core: with more cores than threads to render with, a helper thread of Blender's waits by spinning, which costs nobody
anything and would count double.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synthetic_data.config import DatasetConfig
from synthetic_data.farm import Workers, render_locally
from synthetic_data.record import render_anny
from synthetic_data.schedule import Schedule
from synthetic_data.shards import Renderer, open_folder, read_sidecar, render_shard, shard_path
from tests.synthetic_data import standin

HAIR = ("bald", "short", "long", "curly")


def outside_rendering(identities: int = 3) -> None:
    """Everything around `render.render_identity`: sampling, checks, labels, coding, writing and reading back."""
    config = DatasetConfig(count=identities, first=1, views=24, portraits=0, identities_per_shard=identities)
    render_anny(DatasetConfig(count=1, views=1, portraits=0, size=16, samples=1), 0, 1)  # imports and caches
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        open_folder(folder, config)
        cpu = time.process_time()
        render_shard(config, 0, folder, render_anny, threads=1)
        cpu = time.process_time() - cpu
        sidecar = read_sidecar(shard_path(folder, 0))
        whole = sidecar["finished"] - sidecar["started"]
        rendering = sum(one["render"] for one in sidecar["seconds"].values())
    outside = whole - rendering
    print(f"outside rendering, 24 views of 128²: {outside / identities:.2f} s of {whole / identities:.1f} s")
    print(f"  per identity, a share of {outside / whole:.1%}; {cpu / identities / 24:.2f} core-s per view in all")


def ray_against_plain(identities: int) -> None:
    """The same jobs with two processes and with two actors of a cluster that is started for it. The start is the same
    for few heads and for many, so the ratio falls with their number."""
    if importlib.util.find_spec("ray") is None:
        print("ray is not installed")
        return
    standins = standin.config(count=300, identities_per_shard=10)
    heads = DatasetConfig(count=identities, size=64, views=4, portraits=0, identities_per_shard=2)
    jobs = (("300 stand-ins", standins, standin.slow), (f"{identities} heads of 64²", heads, render_anny))
    for name, config, renderer in jobs:
        plain, actors = (farm_seconds(config, renderer, on_ray) for on_ray in (False, True))
        print(f"{name}: farm {plain[0]:.1f} s, Ray {actors[0]:.1f} s, ratio {actors[0] / plain[0]:.2f}")
        print(f"  of these until the first identity: farm {plain[1]:.1f} s, Ray {actors[1]:.1f} s")
        more = ((actors[0] - actors[1]) - (plain[0] - plain[1])) / config.count * 2
        print(f"  afterwards Ray takes {1000 * more:+.1f} ms of a worker per identity")


def farm_seconds(config: DatasetConfig, renderer: Renderer, on_ray: bool) -> tuple[float, float]:
    """Wall seconds of a job, in all and until the first identity is done."""
    first: list[float] = []

    def watch(schedule: Schedule) -> None:
        if schedule.done and not first:
            first.append(time.monotonic() - started)

    with tempfile.TemporaryDirectory() as folder:
        open_folder(Path(folder), config)
        shards, started = range(config.shards), time.monotonic()
        if on_ray:
            from synthetic_data.ray_farm import render_on_ray

            render_on_ray(config, Path(folder), shards, Workers(2), "local", renderer=renderer, watch=watch)
        else:
            render_locally(config, Path(folder), shards, Workers(2), renderer=renderer, watch=watch)
        return time.monotonic() - started, first[0]


def memory_growth(identities: int) -> None:
    """Resident memory after each identity; Blender keeps some of it, which is why workers are replaced."""
    config = DatasetConfig(count=identities, size=64, views=1, portraits=0, samples=1)
    resident = []
    for index in range(identities):
        render_anny(config, index, 1)
        resident.append(resident_megabytes())
    late = np.arange(identities) >= identities // 3
    slope = np.polyfit(np.arange(identities)[late], np.array(resident)[late], 1)[0]
    print(f"memory: {resident[0]:.0f} MB after the first identity, {resident[-1]:.0f} MB after {identities};")
    print(f"  {slope:+.2f} MB per identity in the last two thirds")


def resident_megabytes() -> float:
    """Of this process. Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def cost_of_views(views: int = 4) -> None:
    """CPU seconds of building a person, and of each view once it is built, at the preset ``fit``."""
    from backend.body_model.anny import load_anny
    from synthetic_data.assemble import assemble
    from synthetic_data.cameras import orbit_rig
    from synthetic_data.identity import sample_identity
    from synthetic_data.render import render_scene
    from synthetic_data.scene import build_scene

    model = load_anny()
    print("hair     build  128² per view  256² per view   (core-seconds)")
    for number, family in enumerate((HAIR[0], *HAIR)):
        spec = sample_identity(model, 1, 3, hair_families=(family,))
        # Nothing on the head may hide the hair.
        bare = dataclasses.replace(spec.accessories, headwear="none")
        spec = dataclasses.replace(spec, accessories=bare)
        build = cpu_seconds(lambda spec=spec: build_scene(assemble(spec, model, "fit")))
        costs = [
            cpu_seconds(lambda size=size: render_scene(orbit_rig(size, views), preset="fit", threads=1)) / views
            for size in (128, 256)
        ]
        if number:  # the first one loads and compiles
            print(f"{family:8}{build:6.2f}{costs[0]:15.2f}{costs[1]:15.2f}")


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of all threads of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    parts = ("ray", "memory", "outside", "views")  # those bound to one core come last
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)} (default: all)")
    parser.add_argument("--identities", type=int, default=30, help="of the parts 'memory' and 'ray' (default: 30)")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"there is no part {min(unknown)!r}")
    for part in sorted(options.parts or parts, key=parts.index):
        if part in ("outside", "views") and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        if part == "outside":
            outside_rendering()
        elif part == "ray":
            ray_against_plain(options.identities)
        elif part == "memory":
            memory_growth(options.identities)
        else:
            cost_of_views()


if __name__ == "__main__":
    main()
