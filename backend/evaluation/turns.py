"""People from seven sides, as fields before and after likeness and as avatars, for judging by eye.

``python -m backend.evaluation.turns AVATAR_DIR ... --out FILE`` draws three rows for each avatar folder behind its
portrait: the field as the network made it, the field with what the portrait shows, and the avatar.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.evaluation.sheet import TURN, compose, whole
from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.renderer import render_view
from backend.radiance.triplane import TriPlane

if TYPE_CHECKING:
    from jaxtyping import Float

_WHITE = (1.0, 1.0, 1.0)


def rows_of(folder: Path, size: int) -> Float[np.ndarray, "H W 3"]:
    """Three rows of seven pictures behind the portrait, which the folder's report names."""
    from PIL import Image

    from backend.export.arrays import read_npz
    from backend.meshing.renderer import render
    from backend.portrait.portrait import load_portraits
    from backend.rigging.pose import pose_avatar

    avatar, field = read_npz(folder / "avatar.npz"), TriPlane.load(folder / "triplane.safetensors")
    vertices = pose_avatar(avatar, {})
    cameras = [whole(azimuth, size) for azimuth in TURN]
    rows = []
    for one in (dataclasses.replace(field, likeness=None), field):
        grid = OccupancyGrid.build(one, 64)
        rows.append([render_view(one, camera, occupancy=grid, background=_WHITE).rgb for camera in cameras])
    rows.append([render(avatar.parts, c, vertices=vertices, background=_WHITE)[..., :3] for c in cameras])
    sheet = compose(rows)
    told = json.loads((folder / "report.json").read_text(encoding="utf-8"))["request"]["portraits"]
    beside = np.ones((len(sheet), len(sheet), 3), np.float32)
    if told:
        image = load_portraits([Path(told[0])])[0].image
        picture = Image.fromarray((image * 255 + 0.5).astype(np.uint8)).resize((len(sheet), len(sheet)))
        beside = np.asarray(picture, np.float32) / 255
    return np.concatenate([beside, sheet], 1)


def main() -> None:
    """Command line."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("avatars", type=Path, nargs="+", metavar="AVATAR_DIR")
    parser.add_argument("--size", type=int, default=128, help="pixels of each picture")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    sheet = np.concatenate([rows_of(folder, options.size) for folder in options.avatars])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.clip(sheet, 0, 1) * 255 + 0.5).astype(np.uint8)).save(options.out, quality=88)
    print(options.out)


if __name__ == "__main__":
    main()
