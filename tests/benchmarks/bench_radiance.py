"""Speed of the radiance field: ``python -m tests.benchmarks.bench_radiance [--threads N]``.

Prints decoded points, rendered rays and fitting steps per second at the small and at the paper's size, and the time of
a whole fit to labelled points. Wall seconds mean something on an idle machine only, so CPU seconds stand beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable

import numpy as np
import torch

from backend.radiance.cameras import Camera
from backend.radiance.decoder import DecoderConfig
from backend.radiance.fitting import FitConfig, fit_triplane
from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.renderer import render_view
from backend.radiance.supervision import PointSamples, View
from backend.radiance.triplane import TriPlane


def report(name: str, run: Callable[[], object], amount: float = 0, unit: str = "") -> None:
    run_start, cpu_start = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter() - run_start, time.process_time() - cpu_start
    rate = f"{amount / wall:12.3g} {unit}/s" if unit else ""
    print(f"{name:44} {wall:8.2f} s wall {cpu:8.2f} s CPU {rate}", flush=True)


def bust(points: np.ndarray) -> np.ndarray:
    """Signed distance, positive inside, of a head on shoulders: about a tenth of the cube, as people are."""
    head = 1 - np.linalg.norm(points / [0.085, 0.105, 0.13], axis=-1)
    shoulders = 1 - np.linalg.norm((points - [0, 0.02, -0.25]) / [0.22, 0.11, 0.1], axis=-1)
    return np.maximum(head, shoulders) * 0.1


def labelled_points(count: int, rng: np.random.Generator) -> PointSamples:
    """Half uniform, half near the surface, coloured by a pattern of a few centimetres."""
    points = rng.uniform(-0.25, 0.25, (count, 3))
    near = points[np.abs(bust(points)) < 0.02]
    points[: count // 2] = near[rng.integers(0, len(near), count // 2)] + rng.normal(0, 0.006, (count // 2, 3))
    points = points.clip(-0.25, 0.25)
    distance = bust(points)
    weights = np.ones(count, np.float32)
    return PointSamples(
        points.astype(np.float32),
        (distance > 0).astype(np.float32),
        (0.5 + 0.4 * np.sin(points * 150)).astype(np.float32),
        weights,
        (np.abs(distance) < 0.012).astype(np.float32),
    )


def views_of(triplane: TriPlane, count: int, size: int) -> list[View]:
    grid = OccupancyGrid.build(triplane)
    cameras = [Camera.orbit(a, 10, distance=1.35, fov_degrees=21.5, size=size) for a in np.arange(count) * 360 / count]
    renderings = [render_view(triplane, camera, occupancy=grid) for camera in cameras]
    return [View(r.rgb, r.alpha, r.depth * (r.alpha > 0.5), c) for r, c in zip(renderings, cameras, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(threads := parser.parse_args().threads)
    print(f"torch {torch.__version__}, {threads} threads")
    samples = labelled_points(300_000, np.random.default_rng(0))
    fitted: list[TriPlane] = []

    def fit(config: FitConfig, points: PointSamples | None = samples, views: list[View] | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        fitted.append(fit_triplane(points, views or [], config=config, generator=generator))

    small = FitConfig(steps=260)
    report("fit 128²x16 to 300k points, 260 steps", lambda: fit(small), 260 * small.point_batch, "points")
    field = fitted[0]
    points = torch.as_tensor(samples.points[:200_000])
    report("density, small", lambda: field.density(points), len(points), "points")
    report("colour and density, small", lambda: field.colour_and_density(points), len(points), "points")
    grids: list[OccupancyGrid] = []
    report("occupancy grid 128³", lambda: grids.append(OccupancyGrid.build(field)))
    print(f"  occupied: {grids[0].fraction:.1%}")
    camera = Camera.orbit(30, 10, distance=1.35, fov_degrees=21.5, size=128)
    rays = camera.width * camera.height
    report("render 128², with grid", lambda: render_view(field, camera, occupancy=grids[0]), rays, "rays")
    report("render 128², without", lambda: render_view(field, camera), rays, "rays")
    views = views_of(field, 12, 128)
    report("fit 128²x16 to 12 views, 100 steps", lambda: fit(FitConfig(steps=100), None, views), 100, "steps")
    paper = FitConfig(decoder=DecoderConfig.paper(), level_sizes=(64, 128, 256), steps=10)
    paper = dataclasses.replace(paper, level_starts=(0.0, 0.0, 0.0))
    report("fit 256²x32 to 300k points, 10 steps", lambda: fit(paper), 10, "steps")
    large = fitted[-1]
    report("density, paper", lambda: large.density(points), len(points), "points")
    report("colour and density, paper", lambda: large.colour_and_density(points), len(points), "points")


if __name__ == "__main__":
    main()
