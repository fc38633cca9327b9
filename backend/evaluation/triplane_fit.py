"""How well a tri-plane holds a rendered head: ``python -m backend.evaluation.triplane_fit --out DIR``.

Each head is rendered from all sides with `synthetic_data.views`, fitted from the training views alone, and compared
with views that were not shown. DIR then holds the renders, a picture per head (shown view, its reconstruction, four
times the error), the fields and ``triplane_fit.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.evaluation.figures import psnr
from backend.radiance.cameras import Camera

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from jaxtyping import Float

    from backend.radiance.fitting import FitConfig
    from backend.radiance.supervision import View
    from backend.radiance.triplane import TriPlane

STEPS = 1000


@dataclasses.dataclass(frozen=True)
class TriPlaneFit:
    """PSNR in dB of the views that were not shown, over white: their mean, that of the pixels of the person alone, and
    one per view; the median error of depth in millimetres where both see the person; seconds of the fit."""

    psnr: float
    person_psnr: float
    view_psnr: tuple[float, ...]
    depth_error_mm: float
    seconds: float


def read_views(path: Path) -> tuple[list[View], list[View]]:
    """The training and the held-out views in a file of `synthetic_data.views`."""
    from backend.radiance.supervision import View

    with np.load(path) as data:
        rgba = data["rgba"].astype(np.float32) / 255
        depth, held_out = data["depth"], data["held_out"]
        size = rgba.shape[1]
        cameras = [
            Camera(pose, intrinsics, size, size)
            for pose, intrinsics in zip(data["world_to_camera"], data["intrinsics"], strict=True)
        ]
    views = [View(rgba[i, ..., :3], rgba[i, ..., 3], depth[i], camera) for i, camera in enumerate(cameras)]
    shown = [view for view, held in zip(views, held_out, strict=True) if not held]
    return shown, [view for view, held in zip(views, held_out, strict=True) if held]


def evaluate_triplane_fit(
    shown: Sequence[View],
    held_out: Sequence[View],
    *,
    config: FitConfig,
    generator: torch.Generator,
    progress: Callable[[float], None] | None = None,
) -> tuple[TriPlane, TriPlaneFit, Float[np.ndarray, "H W 3"]]:
    """Fit a field to the `shown` views and compare it with `held_out` ones; also gives a picture of the comparison.

    Only what lies in the field's cube counts: see `backend.radiance.supervision.crop_view`.
    """
    from backend.radiance.fitting import fit_triplane
    from backend.radiance.occupancy import OccupancyGrid
    from backend.radiance.renderer import render_view
    from backend.radiance.supervision import crop_view

    start = time.perf_counter()
    triplane = fit_triplane(views=shown, config=config, generator=generator, progress=progress)
    seconds = time.perf_counter() - start
    grid = OccupancyGrid.build(triplane)
    whole, person, depth_errors, columns = [], [], [], []
    for view in held_out:
        cropped, valid = crop_view(view, triplane.half_size)
        expected = cropped.rgb * cropped.alpha[..., None] + 1 - cropped.alpha[..., None]
        rendering = render_view(triplane, view.camera, occupancy=grid, background=(1, 1, 1))
        whole.append(psnr(rendering.rgb, expected, valid))
        person.append(psnr(rendering.rgb, expected, valid & (cropped.alpha > 0.05)))
        both = (cropped.depth > 0) & (rendering.alpha > 0.5)
        depth_errors.append(np.abs(rendering.depth - cropped.depth)[both])
        error = 4 * np.abs(rendering.rgb - expected) * valid[..., None]
        columns.append(np.concatenate([expected, rendering.rgb, error.clip(0, 1)]))
    depth_error = 1000 * float(np.median(np.concatenate(depth_errors)))
    result = TriPlaneFit(float(np.mean(whole)), float(np.mean(person)), tuple(whole), depth_error, seconds)
    return triplane, result, np.concatenate(columns, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=2024, help="of the set of people")
    parser.add_argument("--index", type=int, nargs="+", default=[0], help="which people of the set")
    parser.add_argument("--size", type=int, default=128, help="pixels of a view")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()

    import torch
    from PIL import Image

    from backend.radiance.fitting import FitConfig

    arguments.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for index in arguments.index:
        name = f"head_{arguments.seed}_{index}_{arguments.size}"
        views = arguments.out / f"{name}.npz"
        if not views.exists():
            print(f"rendering person {index}", flush=True)
            options = {"seed": arguments.seed, "index": index, "size": arguments.size, "out": views}
            # Blender does not give memory back, so it gets a process of its own.
            flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
            subprocess.run([sys.executable, "-m", "synthetic_data.views", *flags], check=True)
        shown, held_out = read_views(views)
        triplane, result, picture = evaluate_triplane_fit(
            shown, held_out, config=FitConfig(steps=arguments.steps), generator=torch.Generator().manual_seed(0)
        )
        triplane.save(arguments.out / f"{name}.safetensors")
        Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(arguments.out / f"{name}.png")
        results[name] = dataclasses.asdict(result)
        print(
            f"person {index}: {len(shown)} views shown, {len(held_out)} held out: {result.psnr:.2f} dB "
            f"(person alone {result.person_psnr:.2f} dB), depth error {result.depth_error_mm:.2f} mm, "
            f"fitted in {result.seconds:.0f} s",
            flush=True,
        )
    report = arguments.out / "triplane_fit.json"
    report.write_text(json.dumps({"steps": arguments.steps, "heads": results}, indent=2) + "\n")
    print(report)


if __name__ == "__main__":
    main()
