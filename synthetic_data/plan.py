"""What a set will cost, said before it is rendered."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from synthetic_data.config import DatasetConfig
from synthetic_data.farm import Workers, render_locally
from synthetic_data.record import render_anny
from synthetic_data.schedule import human_time
from synthetic_data.shards import Renderer

_SETUP = {"fit": 1.5, "portrait": 5.0, "show": 9.0}
"""Core-seconds before the first view of an expression, once per preset."""
_DRESS = 0.3
"""Instead, for portraits of a person who is built alike for the views."""
_VIEW = {"fit": (0.3, 0.12), "portrait": (0.4, 0.25), "show": (0.4, 0.3)}
"""Core-seconds of a view of 256 x 256 pixels, and for each sample per pixel."""
_BYTES = {"rgba": 1.25, "depth": 0.65, "normal": 0.8, "segmentation": 0.06, "uv": 1.5}
"""Of the file, per pixel."""
_LABELS = 150_000
"""Bytes of mesh, landmarks and description."""
_START = 8.0
"""Seconds until a worker renders."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run will take; `probed` when it was measured with a few identities."""

    identities: int
    views: int
    core_seconds: float
    seconds: float
    bytes: float
    probed: bool

    def __str__(self) -> str:
        source = "measured with a few identities" if self.probed else "from a table"
        return (
            f"{self.identities} identities, {self.views} views: {self.core_seconds / 3600:.1f} core-hours, "
            f"{human_time(self.seconds)} with these workers, {human_bytes(self.bytes)} ({source})"
        )


def estimate(config: DatasetConfig, identities: int, workers: Workers) -> Estimate:
    """From the table above; measured on one core of a busy server at 128 x 128 pixels, right within a factor of two."""
    from synthetic_data.assemble import same_geometry

    pixels = config.size**2
    dressed = bool(config.views) and same_geometry(config.preset, "portrait", config.size)
    built = lambda preset: _SETUP["fit" if same_geometry("fit", preset, config.size) else preset]  # noqa: E731
    setup = {"views": built(config.preset), "portraits": _DRESS if dressed else built("portrait")}
    cost = 0.0
    for kind, preset, count, samples in (
        ("views", config.preset, config.views, config.samples),
        ("portraits", "portrait", config.portraits, config.portrait_samples),
    ):
        base, sample = _VIEW[preset]
        if count:
            cost += setup[kind] + count * (base + sample * samples) * (0.08 + 0.92 * pixels / 256**2)
    size = _LABELS + (config.views + config.portraits) * pixels * sum(_BYTES[name] for name in config.passes)
    return _scaled(config, identities, workers, config.takes * cost, config.takes * size, probed=False)


def probe(
    config: DatasetConfig, identities: int, workers: Workers, count: int, *, renderer: Renderer = render_anny
) -> Estimate:
    """Render the first `count` identities somewhere aside and extrapolate."""
    few = dataclasses.replace(config, count=count, identities_per_shard=count)
    with tempfile.TemporaryDirectory() as folder:
        one = dataclasses.replace(workers, count=1)
        summary = render_locally(few, Path(folder), [0], one, renderer=renderer).summary()
    cpu = summary["core_seconds_per_view"] * config.views_per_identity
    return _scaled(config, identities, workers, cpu, summary["bytes"] / count, probed=True)


def _scaled(
    config: DatasetConfig, identities: int, workers: Workers, cpu: float, size: float, *, probed: bool
) -> Estimate:
    cores = max(1, workers.count * workers.threads)
    total = identities * cpu
    views = identities * config.views_per_identity
    return Estimate(identities, views, total, total / cores + _START, identities * size, probed)


def human_bytes(count: float) -> str:
    """``"12.3 MB"``."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"
