"""From a picture to the face in it: 478 landmarks, relative depth and the turn of the head."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.portrait.alignment import pupil_distance, scale_of, similarity, transform_points, warp
from backend.portrait.mediapipe_models import FaceBox, MediaPipeModels

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

MIN_PUPIL_DISTANCE = 24.0
MAX_YAW = 55.0
"""Measured on rendered heads, where it answers to a true turn of 60°; beyond, the landmarks are guesses."""
WHOLE_FACE = 0.95
"""Share of the landmarks inside the picture from which a face counts as not cut off."""

_MESH_SIZE = 384
_DETECTION_SIDE = 1024
# Score from which a detection is tried; those below are foliage and shadows more often than people.
_SURE, _SURE_IN_PARTS = 0.5, 0.75
# The mesh network answers a little differently for each framing; the median of several is steadier than any one.
_FRAMINGS = [(zoom, np.radians(turn)) for zoom in (1.75, 2.0, 2.3) for turn in (-7, 0, 7)]
# Landmarks of the person's right side and their mirror images, spread over the face.
_RIGHT = [33, 133, 159, 145, 70, 105, 107, 50, 205, 98, 61, 234, 127, 93, 132, 58, 172, 136]
_LEFT = [263, 362, 386, 374, 300, 334, 336, 280, 425, 327, 291, 454, 356, 323, 361, 288, 397, 365]


@dataclasses.dataclass(frozen=True)
class Face:
    """One face in picture pixels (centres at +0.5).

    `depth` is relative, in pixels, negative towards the viewer. `yaw` in degrees is positive when the face turns to
    the person's left (the picture's right), `roll` when it leans clockwise. `others` are further faces.
    """

    landmarks: Float[np.ndarray, "478 2"]
    depth: Float[np.ndarray, "478"]
    yaw: float
    score: float
    others: tuple[FaceBox, ...] = ()

    @property
    def roll(self) -> float:
        return float(np.degrees(_roll(self.landmarks)))

    @property
    def pupil_distance(self) -> float:
        return pupil_distance(self.landmarks, self.depth)


def detect_face(image: UInt8[np.ndarray, "H W 3"], models: MediaPipeModels, *, name: str = "picture") -> Face:
    """The largest face of a picture in any orientation.

    Raises `MaquetteError` with `NO_FACE`, `FACE_TOO_SMALL` or `FACE_TURNED_AWAY`; `name` is what the sentence calls
    the picture.
    """
    face = _find(image, models)
    if face is None:
        if any(_is_profile(box) for box in _whole(image, models)):
            raise _turned_away(name, "")
        raise MaquetteError(
            ErrorCode.NO_FACE,
            f"No face was found in {name}: give a sharp photograph in which one person looks towards the camera.",
            stage="portrait",
        )
    if face.pupil_distance < MIN_PUPIL_DISTANCE:
        raise MaquetteError(
            ErrorCode.FACE_TOO_SMALL,
            f"The face in {name} is too small, its eyes are only {face.pupil_distance:.0f} pixels apart: "
            f"give a larger picture or a closer crop, with at least {MIN_PUPIL_DISTANCE:.0f} pixels between the eyes.",
            stage="portrait",
        )
    if abs(face.yaw) > MAX_YAW:
        raise _turned_away(name, f" by about {abs(face.yaw):.0f} degrees")
    return face


def head_yaw(landmarks: Float[np.ndarray, "478 2"], depth: Float[np.ndarray, "478"]) -> float:
    """Turn of the head in degrees from the direction that joins mirrored landmarks."""
    points = np.column_stack([landmarks, depth])
    across = (points[_LEFT] - points[_RIGHT]).sum(0)
    return float(np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1]))))


def _turned_away(name: str, angle: str) -> MaquetteError:
    return MaquetteError(
        ErrorCode.FACE_TURNED_AWAY,
        f"The face in {name} is turned away{angle}: give a picture in which both eyes are visible.",
        stage="portrait",
    )


def _is_profile(box: FaceBox) -> bool:
    """A sure face whose eyes nearly coincide."""
    return box.score > 0.7 and float(np.linalg.norm(box.eyes[1] - box.eyes[0])) < 0.25 * box.width


def _find(image: np.ndarray, models: MediaPipeModels) -> Face | None:
    for boxes in _searches(image, models):
        sure = [box for box in boxes if box.score >= _SURE]
        found = [(box, mesh) for box in sure if (mesh := _first_mesh(image, box, models)) is not None]
        # Neighbours that the picture's border cuts off come after whole faces, however large.
        found.sort(key=lambda pair: (_part_inside(pair[1], image) < WHOLE_FACE, -_extent(pair[1])[1]))
        for box, mesh in found:
            points = _steady_mesh(image, _upright_mesh(image, mesh, models), models)
            if points is not None:
                landmarks, depth = points[:, :2], points[:, 2]
                others = tuple(b for b in sure if b is not box)
                return Face(landmarks, depth, head_yaw(landmarks, depth), box.score, others)
    return None


def _part_inside(points: np.ndarray, image: np.ndarray) -> float:
    """Share of the landmarks that lie inside the picture."""
    height, width = image.shape[:2]
    return float(np.mean((points[:, :2] >= 0).all(1) & (points[:, 0] <= width) & (points[:, 1] <= height)))


def _searches(image: np.ndarray, models: MediaPipeModels) -> Iterator[list[FaceBox]]:
    """Faces by the cheapest search that may find them: whole picture, in a margin, turned, in parts."""
    upright = _unique(_whole(image, models))
    yield upright
    yield _with_margin(image, models)
    turned = [_turned(image, turns, models) for turns in (1, 2, 3)]
    yield max(turned, key=lambda boxes: max((box.score for box in boxes), default=0.0))
    for parts in (2, 4):
        # Many small looks find many things that resemble a face.
        yield [box for box in _unique(_in_parts(image, parts, models)) if box.score >= _SURE_IN_PARTS]


def _whole(image: np.ndarray, models: MediaPipeModels) -> list[FaceBox]:
    scale = min(1.0, _DETECTION_SIDE / max(image.shape[:2]))
    small = image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return [_moved(box, 1 / scale, np.zeros(2)) for box in models.faces(np.ascontiguousarray(small))]


def _with_margin(image: np.ndarray, models: MediaPipeModels) -> list[FaceBox]:
    """A face that fills the picture is only seen with room around it."""
    margin = max(image.shape[:2]) // 3
    grey = cv2.copyMakeBorder(image, *[margin] * 4, borderType=cv2.BORDER_CONSTANT, value=(127, 127, 127))
    return _unique([_moved(box, 1.0, -np.array([margin, margin], float)) for box in _whole(grey, models)])


def _turned(image: np.ndarray, turns: int, models: MediaPipeModels) -> list[FaceBox]:
    height, width = image.shape[:2]
    # Where a point of the picture turned `turns` times anticlockwise came from.
    origins = {1: lambda p: [width - p[1], p[0]], 2: lambda p: [width - p[0], height - p[1]]}
    origins[3] = lambda p: [p[1], height - p[0]]
    back = origins[turns]
    return _unique(
        [
            FaceBox(np.array(back(box.centre)), box.width, box.score, np.array([back(eye) for eye in box.eyes]))
            for box in _whole(np.ascontiguousarray(np.rot90(image, turns)), models)
        ]
    )


def _in_parts(image: np.ndarray, parts: int, models: MediaPipeModels) -> list[FaceBox]:
    """Search overlapping tiles, for faces small in the picture."""
    height, width = image.shape[:2]
    tile = np.ceil(np.array([height, width]) * 1.4 / parts).astype(int)
    boxes = []
    for y in np.linspace(0, height - tile[0], parts + 1).astype(int):
        for x in np.linspace(0, width - tile[1], parts + 1).astype(int):
            for box in _whole(image[y : y + tile[0], x : x + tile[1]], models):
                boxes.append(_moved(box, 1.0, np.array([x, y], float)))
    return boxes


def _moved(box: FaceBox, scale: float, offset: np.ndarray) -> FaceBox:
    return FaceBox(box.centre * scale + offset, box.width * scale, box.score, box.eyes * scale + offset)


def _unique(boxes: list[FaceBox]) -> list[FaceBox]:
    """Keep the surest of boxes that show the same face."""
    kept: list[FaceBox] = []
    for box in sorted(boxes, key=lambda b: -b.score):
        if all(np.abs(box.centre - k.centre).max() > 0.5 * max(box.width, k.width) for k in kept):
            kept.append(box)
    return kept


def _first_mesh(image: np.ndarray, box: FaceBox, models: MediaPipeModels) -> np.ndarray | None:
    """478 × (x, y, relative depth) in picture pixels, if the box holds a face."""
    points = _mesh_in(image, box.centre, 2.2 * box.width, box.roll, models)
    return points if points is not None and _same_face(points, box) else None


def _upright_mesh(image: np.ndarray, first: np.ndarray, models: MediaPipeModels) -> np.ndarray:
    """The mesh, turned over where the networks saw a face in an upside-down one: the surer way up is the right one."""
    middle, extent = _extent(first)
    views = []
    for roll in (_roll(first), _roll(first) + np.pi):
        view = warp(image, similarity(middle, roll, _MESH_SIZE / (2.2 * extent), _MESH_SIZE), _MESH_SIZE)
        scores = [box.score for box in models.faces(view) if abs(box.roll) < np.pi / 4]
        views.append((max(scores, default=0.0), roll))
    (upright, _), (over, roll) = views
    turned = _mesh_in(image, middle, 2 * extent, roll, models) if over > upright else None
    return first if turned is None else turned


def _steady_mesh(image: np.ndarray, first: np.ndarray, models: MediaPipeModels) -> np.ndarray | None:
    """The median mesh over several upright framings of the face."""
    middle, extent = _extent(first)
    roll = _roll(first)
    framings = [_mesh_in(image, middle, zoom * extent, roll + turn, models) for zoom, turn in _FRAMINGS]
    found = [points for points in framings if points is not None]
    return np.median(found, axis=0) if len(found) > len(_FRAMINGS) // 2 else None


def _mesh_in(
    image: np.ndarray, centre: np.ndarray, side: float, roll: float, models: MediaPipeModels
) -> np.ndarray | None:
    matrix = similarity(centre, roll, _MESH_SIZE / side, _MESH_SIZE)
    points = models.landmarks(warp(image, matrix, _MESH_SIZE))
    if points is None:
        return None
    flat = transform_points(np.linalg.inv(matrix), points[:, :2])
    return np.column_stack([flat, points[:, 2] / scale_of(matrix)])


def _roll(points: np.ndarray) -> float:
    """Angle of the line of the outer eye corners to the picture's rows, radians, clockwise positive."""
    dx, dy = (points[263] - points[33])[:2]
    return float(np.arctan2(dy, dx))


def _extent(points: np.ndarray) -> tuple[np.ndarray, float]:
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return (low + high) / 2, float((high - low).max())


def _same_face(points: np.ndarray, box: FaceBox) -> bool:
    """Whether a mesh lies where the box was; the mesh network may have taken a neighbour."""
    middle, extent = _extent(points)
    return bool(np.abs(middle - box.centre).max() < 0.6 * box.width and 0.5 < extent / box.width < 2.5)
