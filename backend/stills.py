"""A third recipe, which ends in one picture: an avatar's radiance field, drawn from one side and refined.

Meshes have a border where hair ends, fields have none: a still shows strands and soft outlines that the mesh lacks. It
is for looking at, and nothing that is animated is made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.api import ErrorCode
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from pathlib import Path


def draw(avatar: Path, out: Path, azimuth_degrees: float = 0.0, elevation_degrees: float = 0.0) -> None:
    """Write a PNG of 1024 x 1024 pixels with straight alpha: head and bust of the avatar in the folder `avatar`.

    Raises `MaquetteError`: BAD_REQUEST when there is no avatar, or one without a field; MODEL_MISSING without a
    refiner; OUTPUT_NOT_WRITABLE or DISK_FULL, and `out` is as it was.
    """
    path = avatar / "triplane.safetensors"
    if not path.is_file():
        sentence = f"{avatar} holds no radiance field: give a folder that 'maquette generate' made."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request")
    if out.suffix.lower() != ".png" or out.is_dir():
        raise MaquetteError(ErrorCode.BAD_REQUEST, f"{out} is no file that ends in .png.", stage="request")
    from backend.export.files import encode_png, explained, write_file
    from backend.radiance.triplane import TriPlane
    from backend.rodin.refiner import draw_still, load_refiner
    from backend.weights.bundle import require

    refiner = load_refiner(require("refiner"))
    picture = draw_still(refiner, TriPlane.load(path), azimuth_degrees, elevation_degrees)
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, encode_png(np.rint(255 * picture).astype(np.uint8)))
