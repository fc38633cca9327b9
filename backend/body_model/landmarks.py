"""Where MediaPipe's 478 face landmarks lie on a body model's surface."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

DATA_DIR = Path(__file__).parent / "data"


@dataclasses.dataclass(frozen=True)
class LandmarkMap:
    """Triangle and barycentric weights of each landmark, with how well it is known.

    `scatter_mm` is the measured spread of the landmark over people and views; `contour` marks the face oval, whose
    landmarks follow the outline of the face instead of a point of the skin. `faces` are the model's triangles.
    """

    faces: Int[np.ndarray, "F 3"]
    face: Int[np.ndarray, " L"]
    barycentric: Float[np.ndarray, "L 3"]
    scatter_mm: Float[np.ndarray, " L"]
    contour: Bool[np.ndarray, " L"]

    @classmethod
    def load(cls, name: str, faces: Int[np.ndarray, "F 3"], path: Path | None = None) -> LandmarkMap:
        """The map measured for body model `name`, whose triangles are `faces`."""
        with np.load(path or DATA_DIR / f"landmarks_{name}.npz", allow_pickle=False) as data:
            return cls(faces, data["face"], data["barycentric"], data["scatter_mm"], data["contour"])

    def positions(self, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "L 3"]:
        """Landmarks on a posed mesh, metres."""
        return np.einsum("lkd,lk->ld", vertices[self.faces[self.face]], self.barycentric)
