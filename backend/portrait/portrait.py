"""Everything known about one picture of a person, in the pixels of an aligned square crop."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.portrait import alignment, matting
from backend.portrait.detection import WHOLE_FACE, Face, detect_face
from backend.portrait.eyewear import glasses_probability
from backend.portrait.loading import load_image
from backend.portrait.mediapipe_models import MediaPipeModels
from backend.portrait.parser import load_parser
from backend.portrait.segmentation import Segmentation, segment
from backend.weights.bundle import require

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

CROP_SIZE = 1024
MAX_PORTRAITS = 5


@dataclasses.dataclass(frozen=True)
class Portrait:
    """One picture, aligned: eyes level, head and shoulders inside, sRGB float32 in [0, 1].

    All pixel coordinates are crop pixels with centres at +0.5. `foreground` is the picture with the background's share
    taken out of the soft edge, to be composited with `matte`. `depth` is relative, in crop pixels, negative towards
    the viewer. `inside` is false where the crop reaches beyond the source picture; there the border pixels are
    repeated and the matte is zero. The background of `segmentation` is `1 - matte`. `yaw` in degrees is positive
    towards the person's left. `source` is the whole picture (straight RGB, at most 2048 pixels long), for detail finer
    than the crop; use `warp` with your own similarity after `crop_to_source`. `sharpness` is 1 when the source
    shows the face as finely as usual avatars need; `glasses` is the probability that the person wears any.
    """

    path: Path
    image: Float[np.ndarray, "S S 3"]
    foreground: Float[np.ndarray, "S S 3"]
    matte: Float[np.ndarray, "S S"]
    inside: Bool[np.ndarray, "S S"]
    segmentation: Segmentation
    landmarks: Float[np.ndarray, "478 2"]
    depth: Float[np.ndarray, "478"]
    yaw: float
    crop_to_source: Float[np.ndarray, "3 3"]
    source: Float[np.ndarray, "H W 3"]
    sharpness: float
    glasses: float
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return len(self.image)

    @property
    def source_to_crop(self) -> Float[np.ndarray, "3 3"]:
        return np.linalg.inv(self.crop_to_source)


def load_portraits(paths: Sequence[str | Path], *, size: int = CROP_SIZE) -> list[Portrait]:
    """One to five pictures of the same person; the first in the list is the best one to fit (frontal and sharp).

    Raises `MaquetteError`: `BAD_IMAGE`, `NO_FACE`, `FACE_TOO_SMALL`, `FACE_TURNED_AWAY` or `BAD_REQUEST`.
    """
    if not 1 <= len(paths) <= MAX_PORTRAITS:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST,
            f"Give one to five pictures of the same person, not {len(paths)}.",
            stage="portrait",
        )
    with MediaPipeModels() as models:
        portraits = [_load(Path(path), size, models) for path in paths]
    return sorted(portraits, key=lambda p: abs(p.yaw) - 10 * min(p.sharpness, 1.0))


def _load(path: Path, size: int, models: MediaPipeModels) -> Portrait:
    pixels = load_image(path)
    source = np.ascontiguousarray(pixels[..., :3])
    seen = source
    if pixels.shape[-1] == 4:
        # Hidden colours under a transparent background are arbitrary: the networks see grey there.
        seen = source * pixels[..., 3:] + 0.5 * (1 - pixels[..., 3:])
    seen8 = (seen * 255 + 0.5).astype(np.uint8)
    face = detect_face(seen8, models, name=str(path))

    matrix = alignment.source_to_crop(face.landmarks, face.depth, face.yaw, size)
    image = alignment.warp(seen, matrix, size)
    inside = alignment.inside_mask(source.shape[0], source.shape[1], matrix, size)
    landmarks = alignment.transform_points(matrix, face.landmarks)
    scale = alignment.scale_of(matrix)
    neighbours = [
        (alignment.transform_points(matrix, box.eyes.mean(0)), scale * float(np.linalg.norm(np.diff(box.eyes, axis=0))))
        for box in face.others
    ]

    cut_out = alignment.warp(np.ascontiguousarray(pixels[..., 3]), matrix, size) if pixels.shape[-1] == 4 else None
    prior = matting.person_prior(seen8, matrix, size, models) if cut_out is None else cut_out
    segmentation = segment(image, landmarks, prior, inside, neighbours, load_parser(require("parser")))
    matte = matting.refine_matte(image, 1 - segmentation.probabilities[..., 0], band=0.014 * size)
    if cut_out is not None:
        matte = np.minimum(matte, cut_out) if neighbours else cut_out
    glasses = glasses_probability(image, landmarks)
    matte = np.where(inside, matte, 0).astype(np.float32)
    return Portrait(
        path=path,
        image=image,
        foreground=matting.foreground_colours(image, matte),
        matte=matte,
        inside=inside,
        segmentation=segmentation.with_matte(matte),
        landmarks=landmarks,
        depth=face.depth * scale,
        yaw=face.yaw,
        crop_to_source=np.linalg.inv(matrix),
        source=source,
        sharpness=_sharpness(face),
        glasses=glasses,
        warnings=tuple(_warnings(face, source, glasses)),
    )


def _sharpness(face: Face) -> float:
    """How finely the source shows the face: its pupil distance over one of 100 pixels."""
    return face.pupil_distance / 100


def _warnings(face: Face, source: np.ndarray, glasses: float) -> list[str]:
    height, width = source.shape[:2]
    warnings = []
    if face.others:
        count = len(face.others)
        warnings.append(f"The picture shows {count} more face{'s' if count > 1 else ''}; the largest was taken.")
    if abs(face.roll) > 60:
        warnings.append("The face lies on its side or upside down; it was turned upright.")
    x, y = face.landmarks.T
    if np.mean((x >= 0) & (x <= width) & (y >= 0) & (y <= height)) < WHOLE_FACE:
        warnings.append("The picture's border cuts the face off; the missing part is guessed.")
    if face.pupil_distance < 48:
        warnings.append("The face is small in the picture; a closer or larger one gives a finer avatar.")
    if glasses > 0.5:
        warnings.append("The person seems to wear glasses; a picture without them gives a better face.")
    if abs(face.yaw) > 35:
        warnings.append("The head is turned far; a frontal picture gives a better likeness.")
    return warnings
