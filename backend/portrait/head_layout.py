"""Where hair, skin and garment usually are around a face with known landmarks.

Lengths are in pupil distances from the midpoint of the eyes: `across` to the picture's right, `down` downwards.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from backend.portrait.alignment import HALF_SIZE, LEFT_IRIS, RIGHT_IRIS
from backend.portrait.face_regions import face_mask, feature_mask

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

HAIR, SKIN, GARMENT = 0, 1, 2

_TOP_OF_OVAL, _CHIN = 10, 152


@dataclasses.dataclass(frozen=True)
class HeadLayout:
    """Maps of a small square crop: `across`, `down`, signed distance to the face oval (`beyond_face`, positive
    outside), and masks of the face, of brows, eyes and lips, and of the plain skin between them."""

    across: Float[np.ndarray, "N N"]
    down: Float[np.ndarray, "N N"]
    beyond_face: Float[np.ndarray, "N N"]
    face: Bool[np.ndarray, "N N"]
    features: Bool[np.ndarray, "N N"]
    plain_skin: Bool[np.ndarray, "N N"]
    top: float
    chin: Float[np.ndarray, "2"]

    @classmethod
    def of(cls, landmarks: Float[np.ndarray, "478 2"], size: int) -> HeadLayout:
        unit = size / (2 * HALF_SIZE)
        eyes = (landmarks[RIGHT_IRIS] + landmarks[LEFT_IRIS]) / 2
        rows, columns = np.mgrid[:size, :size] + 0.5
        across, down = (columns - eyes[0]) / unit, (rows - eyes[1]) / unit
        face = face_mask(landmarks, size)
        beyond = (distance_inside(~face) - distance_inside(face)) / unit
        features = feature_mask(landmarks, size, grow=0.08 * unit)
        top = float(landmarks[_TOP_OF_OVAL, 1] - eyes[1]) / unit
        plain = (beyond < -0.12) & ~features & (down > 0.65 * top)
        return cls(across, down, beyond, face, features, plain, top, (landmarks[_CHIN] - eyes) / unit)

    @property
    def below_chin(self) -> Float[np.ndarray, "N N"]:
        return self.down - self.chin[1]

    @property
    def off_axis(self) -> Float[np.ndarray, "N N"]:
        """Distance from the line that runs from the eyes through the chin, straight down after it."""
        return np.abs(self.across - self.chin[0] * np.clip(self.down / self.chin[1], 0, 1))

    @property
    def trunk(self) -> Float[np.ndarray, "N N"]:
        """How surely the trunk is there, in [0, 1], whatever the person wears: below the chin, not as wide as shoulders
        are."""
        return sigmoid((self.below_chin - 0.3) / 0.1) * sigmoid((1.7 - self.off_axis) / 0.15)

    def prior(self, depth: Float[np.ndarray, "N N"], baldness: float) -> Float[np.ndarray, "N N 3"]:
        """Probabilities of hair, skin and garment of the person by place alone.

        `depth` is the distance into the person's silhouette. `baldness` in [0, 1] turns most of the scalp to skin.
        """
        below = sigmoid(self.below_chin / 0.08)
        above = sigmoid((-0.35 - self.down) / 0.15)
        beside = np.clip(1 - above - below, 0, 1)
        neck = below * sigmoid((0.8 - self.off_axis) / 0.12) * sigmoid((0.8 - self.below_chin) / 0.15)
        low = below - neck
        # Between hairline and silhouette hair becomes surer upwards, whatever the height of the forehead.
        outwards = np.maximum(self.beyond_face, 0)
        upwards = 0.2 + 0.68 * np.clip(1.3 * outwards / (outwards + depth + 1e-3), 0, 1)
        falling = sigmoid((2.4 - self.off_axis) / 0.3) * np.exp(-np.maximum(self.below_chin - 0.5, 0) / 2.5)
        hair = above * upwards + beside * 0.6 + neck * 0.06 + low * 0.42 * np.clip(falling, 0.02, 1)
        skin = above * (0.98 - upwards) + beside * 0.35 + neck * 0.65 + low * 0.25
        shoulders = sigmoid((self.below_chin - 1.5) / 0.25)
        wide = sigmoid((self.off_axis - 2) / 0.2)
        garment = above * 0.02 + beside * 0.05 + neck * 0.3 + low * (0.3 + 0.3 * shoulders + 0.2 * wide)

        # A fringe may cover the forehead down to the brows.
        forehead = np.clip((self.down - 0.5 * self.top) / (0.4 * self.top), 0, 1)
        skin_in_face = 0.97 - 0.4 * forehead
        hair_in_face = 0.95 * (1 - skin_in_face) + 0.03 * (self.down > 0.4)
        outside = sigmoid(self.beyond_face / 0.06)
        hair = outside * hair + (1 - outside) * hair_in_face
        skin = outside * skin + (1 - outside) * skin_in_face
        garment = outside * garment + (1 - outside) * 0.003

        scalp = hair * baldness * 0.85 * sigmoid((-self.down - 0.2) / 0.1)
        prior = np.stack([hair - scalp, skin + scalp, garment], axis=-1)
        return prior / prior.sum(axis=-1, keepdims=True)

    def own_share(self, neighbours: list[tuple[np.ndarray, float]]) -> Float[np.ndarray, "N N"]:
        """Probability that a person's pixel belongs to this head and not to a neighbour's.

        Each neighbour is the midpoint of its eyes and its pupil distance, both in units of this head.
        """
        share = np.ones_like(self.down)
        own = self._body_distance(self.across, self.down)
        for eyes, unit in neighbours:
            other = self._body_distance((self.across - eyes[0]) / unit, (self.down - eyes[1]) / unit)
            share *= sigmoid((other - own) / 0.15)
        return share

    def _body_distance(self, across: np.ndarray, down: np.ndarray) -> np.ndarray:
        """Distance from head and shoulders, about 1 on the outline of a head."""
        head = np.hypot(across / 1.35, (down - 0.35) / 1.7)
        shoulder_line = self.chin[1] + 1.2
        body = np.hypot(across / 2.6, np.maximum(down - shoulder_line, 0)) + np.maximum(shoulder_line - down, 0) / 0.6
        return np.minimum(head, body)


def distance_inside(mask: Bool[np.ndarray, "N N"]) -> Float[np.ndarray, "N N"]:
    """Euclidean distance of each pixel of the mask to its complement, in pixels; zero outside."""
    return np.asarray(ndimage.distance_transform_edt(mask))


def sigmoid(x: np.ndarray | float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))
