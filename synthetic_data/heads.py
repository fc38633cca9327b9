"""Bare-faced portraits of random people, all known about them: ``python -m synthetic_data.heads --count 20 --out DIR``.

Each person gives ``head_000.png`` (sRGB portrait on a plain ground) and ``head_000.npz``:

=================== ======================================================================================
spec                the `IdentitySpec` as JSON
identity            (I,) parameters of the body model
expression          (E,) parameters of the body model (the 52 ARKit shapes for Anny)
gaze                (2,) yaw towards +X and pitch up of both eyes, radians
vertices            (V, 3) posed vertices in the head frame, metres, eyeballs not turned
neutral             (V, 3) the same without expression
world_to_camera     (4, 4) OpenCV axes; the head frame is the world, so this is the head pose
intrinsics          (3, 3) pixels
alpha, depth        (H, W) coverage, and planar depth in metres (0: nothing)
segmentation        (H, W) classes of `synthetic_data.person.SEGMENTS`
=================== ======================================================================================
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.anny import load_anny
from backend.body_model.base import BodyModel
from backend.radiance.cameras import Camera
from synthetic_data.cameras import portrait_camera
from synthetic_data.distributions import Distributions, default_distributions
from synthetic_data.identity import HAIR_FAMILIES, IdentitySpec, sample_identity, stream

if TYPE_CHECKING:
    from jaxtyping import Float


def sample_portrait_camera(seed: int, index: int, size: int) -> Camera:
    """A camera as people hold it: 20 to 25 degrees wide, a little to the side, above or below."""
    rng = stream(seed, index, "portrait camera")
    fov = float(rng.uniform(20, 25))
    # The head fills about the same part of the picture at every focal length.
    distance = 0.2 / np.tan(np.radians(fov) / 2)
    return portrait_camera(
        size,
        azimuth_degrees=float(np.clip(rng.normal(0, 9), -20, 20)),
        elevation_degrees=float(np.clip(rng.normal(2, 5), -10, 12)),
        fov_degrees=fov,
        distance=float(distance),
    )


def model_prior() -> Distributions:
    """People as different as the body model's own prior has them, not only those whose proportions are common.

    A fit is judged by how far it gets beyond the mean head, and the rare heads are those it is needed for.
    """
    rules = copy.deepcopy(default_distributions().rules)
    rules["shape"] |= {"spread": 1.0, "clip": 2.6, "group_share": 0.0, "bounds": {}}
    return Distributions(rules)


def on_ground(rgba: Float[np.ndarray, "H W 4"], seed: int, index: int) -> Float[np.ndarray, "H W 3"]:
    """Composite onto a plain wall with a soft gradient, sRGB."""
    rng = stream(seed, index, "ground")
    height, width = rgba.shape[:2]
    colour = rng.uniform(0.35, 0.8) * rng.uniform(0.85, 1.1, 3)
    shade = 1 + 0.12 * np.linspace(rng.uniform(-1, 1), rng.uniform(-1, 1), height)[:, None, None]
    ground = np.clip(colour * shade * np.ones((1, width, 1)), 0, 1)
    alpha = rgba[..., 3:]
    return rgba[..., :3] * alpha + ground * (1 - alpha)


def write_head(
    path: Path, spec: IdentitySpec, camera: Camera, model: BodyModel, *, samples: int, threads: int | None = None
) -> None:
    """Render one portrait to ``path.png`` and its truth to ``path.npz``."""
    from PIL import Image

    from synthetic_data.render import render_identity

    view = render_identity(
        spec, [camera], model=model, samples=samples, passes=("rgba", "depth", "segmentation"), threads=threads
    )[0]
    picture = np.clip(on_ground(view["rgba"], spec.seed, spec.index), 0, 1)
    Image.fromarray((picture * 255 + 0.5).astype(np.uint8)).save(path.with_suffix(".png"))
    truth = {
        "spec": np.array(spec.to_json()),
        "identity": np.array(spec.identity),
        "expression": np.array(spec.expression),
        "gaze": np.array(spec.gaze),
        "vertices": spec.vertices(model).astype(np.float32),
        "neutral": model.neutral(np.array(spec.identity)).astype(np.float32),
        "world_to_camera": camera.world_to_camera,
        "intrinsics": camera.intrinsics,
        "alpha": view["rgba"][..., 3].astype(np.float16),
        "depth": view["depth"],
        "segmentation": view["segmentation"],
    }
    aside = path.with_suffix(".partial.npz")
    np.savez_compressed(aside, **truth)
    aside.replace(path.with_suffix(".npz"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="index of the first person")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--size", type=int, default=512, help="pixels")
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--expression", type=float, default=0.6, help="factor on the strength of the expressions")
    parser.add_argument("--hair", nargs="+", choices=HAIR_FAMILIES, default=list(HAIR_FAMILIES))
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = load_anny()
    distributions = model_prior()
    for index in range(arguments.first, arguments.first + arguments.count):
        spec = sample_identity(
            model,
            arguments.seed,
            index,
            distributions=distributions,
            expression_gain=arguments.expression,
            hair_families=tuple(arguments.hair),
        ).bare()
        camera = sample_portrait_camera(arguments.seed, index, arguments.size)
        path = arguments.out / f"head_{index:03d}"
        write_head(path, spec, camera, model, samples=arguments.samples, threads=arguments.threads)
        print(f"{path}.png", flush=True)


if __name__ == "__main__":
    main()
