"""What Morphable Diffusion draws of somebody, and the avatar that came of it, for judging by eye.

``python -m backend.evaluation.drawn AVATAR_DIR ... --out FILE`` takes avatars of ``--engine morphable``. Beside the
portrait of each: views that agree, in the portrait's expression; four views in each of three expressions, drawn and not
rigged; and the avatar from four sides.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.of_portrait import fit_portrait
from backend.body_model.registry import load_body_model
from backend.evaluation.held_out import write_picture
from backend.evaluation.sheet import BLINK, JAW, SMILE, compose, whole
from backend.export.arrays import read_npz
from backend.meshing.renderer import render
from backend.morphable.engine import draw_views
from backend.morphable.weights import load_morphable
from backend.portrait.portrait import load_portraits
from backend.rigging.pose import pose_avatar
from backend.weights.bundle import require

if TYPE_CHECKING:
    from jaxtyping import Float

    from backend.morphable.model import MorphableDiffusion

EXPRESSIONS = (SMILE, JAW, BLINK)
_VIEWS = 16
_TURN = (0, 45, 90, 180)


def rows_of(folder: Path, network: MorphableDiffusion, size: int, steps: int, guidance: float | None) -> np.ndarray:
    """Four rows of eight pictures behind the portrait, which the folder's report names."""
    request = json.loads((folder / "report.json").read_text(encoding="utf-8"))["request"]
    portrait = load_portraits([Path(request["portraits"][0])])[0]
    fit = fit_portrait(load_body_model(request["body_model"]), portrait)

    def drawn(count: int, weights: dict[str, float] | None) -> list[Float[np.ndarray, "S S 3"]]:
        made = draw_views(
            network,
            portrait,
            fit,
            seed=request["seed"],
            expression=weights,
            count=count,
            steps=steps,
            guidance=guidance,
        )
        return [resized(picture, size) for picture in made.pictures]

    views = drawn(_VIEWS, None)
    faces = [drawn(_VIEWS, weights)[_VIEWS // 2 - 3 : _VIEWS // 2 + 5 : 2] for weights in EXPRESSIONS]
    avatar = read_npz(folder / "avatar.npz")
    vertices = pose_avatar(avatar, {})
    shown = [
        render(avatar.parts, whole(azimuth, size), vertices=vertices, background=(1.0, 1.0, 1.0))[..., :3]
        for azimuth in _TURN
    ]
    sheet = compose([views[:8], views[8:], faces[0] + faces[1], faces[2] + shown])
    matte = portrait.matte[..., None]
    return np.concatenate([resized(portrait.foreground * matte + 1 - matte, len(sheet)), sheet], 1)


def resized(picture: Float[np.ndarray, "H W 3"], size: int) -> Float[np.ndarray, "size size 3"]:
    """The picture, `size` pixels wide and high."""
    import cv2

    way = cv2.INTER_AREA if len(picture) > size else cv2.INTER_CUBIC
    return cv2.resize(np.asarray(picture, np.float32), (size, size), interpolation=way)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("avatars", type=Path, nargs="+", metavar="AVATAR_DIR")
    parser.add_argument("--size", type=int, default=128, help="pixels of each picture")
    parser.add_argument("--steps", type=int, default=20, help="of sampling")
    parser.add_argument("--guidance", type=float, help="default: what the weights say")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    network = load_morphable(require("morphable"))
    rows = [rows_of(one, network, options.size, options.steps, options.guidance) for one in options.avatars]
    write_picture(options.out, np.concatenate(rows).clip(0, 1))
    print(options.out)


if __name__ == "__main__":
    main()
