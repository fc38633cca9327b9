"""A field as numpy functions of points in metres, for meshing: how much is there, of what, and in which colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.radiance.decoder import CLASSES

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from backend.radiance.triplane import TriPlane

_SKIN = CLASSES.index("skin")
_COVERS = [CLASSES.index(name) for name in ("hair", "garment", "headwear")]


class Matter:
    """What a tri-plane holds. A field that `tells` knows what its matter is; one that does not gives no classes."""

    def __init__(self, field: TriPlane) -> None:
        self._field = field
        self.tells = field.decoder.config.classes > 0

    def occupancy(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """Opacity in [0, 1]; 0.5 is the surface."""
        with torch.no_grad():
            return _double(self._field.occupancy(_single(points)))

    def covers(
        self, points: Float[np.ndarray, "n 3"], no_skin: Bool[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, " n"]:
        """Opacity of hair, headwear and garment alone, where the field tells; else of all there is. What is there where
        `no_skin` is true cannot be skin, whatever the field says."""
        occupancy = self.occupancy(points)
        if not self.tells:
            return occupancy
        some = occupancy > 0.02  # most of a cube is empty, and there nobody asks of what
        share = np.zeros(len(points))
        classes = self.classes(points[some])
        if no_skin is not None:
            classes[no_skin[some], _SKIN] = 0
        share[some] = classes[:, _COVERS].sum(1) / np.maximum(classes.sum(1), 1e-6)
        return np.minimum(occupancy, share)

    def garment(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """How sure the field is that a cover is garment and not hair or headwear, in [0, 1]."""
        classes = self.classes(points)
        garment = classes[:, CLASSES.index("garment")]
        return garment / np.maximum(classes[:, _COVERS].sum(1), 1e-6)

    def colour(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """sRGB in [0, 1]."""
        with torch.no_grad():
            return _double(self._field.colour_and_density(_single(points))[0])

    def classes(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n K"]:
        """Probabilities of `decoder.CLASSES`."""
        with torch.no_grad():
            return _double(self._field.classes(_single(points)))


def _single(points: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(points, np.float32))


def _double(values: Tensor) -> np.ndarray:
    return values.numpy().astype(np.float64)
