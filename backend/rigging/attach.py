"""How a part that is not the body model's own skin follows it: each vertex rides on a few vertices of the body."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class Attachment:
    """For each of n vertices the body vertices it rides on, and their weights (rows sum to at most one).

    A row that sums to less than one follows that much less: hair that stands off moves less than the skin below.
    """

    sources: Int[np.ndarray, "n k"]
    weights: Float[np.ndarray, "n k"]

    def carry(self, offsets: Float[np.ndarray, "V c"]) -> Float[np.ndarray, "n c"]:
        """Offsets of the body's vertices carried to the part's."""
        return (offsets[self.sources] * self.weights[..., None]).sum(1)

    def carry_skin_weights(self, skin_weights: Float[np.ndarray, "V J"]) -> Float[np.ndarray, "n J"]:
        """Bone weights of the body carried to the part; rows sum to one, however little a vertex follows."""
        weights = np.maximum(self.weights, 1e-30)
        weights = weights / weights.sum(1, keepdims=True)
        carried = (skin_weights[self.sources] * weights[..., None]).sum(1)
        return carried / np.maximum(carried.sum(1, keepdims=True), 1e-9)

    @classmethod
    def same(cls, indices: Int[np.ndarray, " n"]) -> Attachment:
        """Each vertex is one of the body's own."""
        return cls(indices[:, None], np.ones((len(indices), 1)))

    @classmethod
    def nearest(
        cls,
        points: Float[np.ndarray, "n 3"],
        body: Float[np.ndarray, "V 3"],
        candidates: Int[np.ndarray, " m"],
        *,
        count: int = 6,
        reach: float = np.inf,
    ) -> Attachment:
        """Inverse-distance weights over the nearest of `candidates`, fading out with a Gaussian of `reach` metres."""
        found = KDTree(body[candidates]).query(points, k=min(count, len(candidates)))
        # A single neighbour comes without its axis.
        distance, index = (np.reshape(values, (len(points), -1)) for values in found)
        weights = 1 / (distance + 1e-3) ** 2
        weights /= weights.sum(1, keepdims=True)
        if np.isfinite(reach):
            beyond = np.maximum(distance[:, :1] - 0.004, 0) / reach
            weights = weights * np.exp(-(beyond**2))
        return cls(candidates[index], weights)
