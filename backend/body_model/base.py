"""The protocol that every parametric head or body model answers, and the plain data around it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

import numpy as np

from backend.rigging.avatar import Skeleton

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One named number of a body model, with the range that it accepts and its prior over people (mean, sd)."""

    name: str
    low: float
    high: float
    mean: float
    sd: float


@dataclasses.dataclass(frozen=True)
class Topology:
    """What all people of a body model share: triangles, texture coordinates and the part each triangle belongs to.

    `uvs` are the model's own layout (u right, v up). `parts` maps a part name to triangle indices. Every model has
    ``"skin"`` (face, ears, neck, lids, lips and the lining of the mouth); others are present when the model has them:
    ``"eye_left"``, ``"eye_right"``, ``"teeth_upper"``, ``"teeth_lower"``, ``"tongue"``, ``"lashes"``, ``"garment"``
    (a smooth hull around the body that clothes can start from). `regions` are soft masks in [0, 1] over the vertices of
    the skin: ``"lips"``, ``"eyelids"``, ``"ears"``, ``"face"``, ``"mouth_interior"``, ``"scalp"`` (where hair grows).
    """

    faces: Int[np.ndarray, "F 3"]
    uvs: Float[np.ndarray, "T 2"]
    uv_faces: Int[np.ndarray, "F 3"]
    parts: dict[str, Int[np.ndarray, " n"]]
    regions: dict[str, Float[np.ndarray, " V"]]


class BodyModel(Protocol):
    """A parametric model of a person's head (and what hangs on it) in the head frame.

    Head frame: metres, +Z up, the face looks along -Y, +X is the character's left; the origin lies 75 mm behind and
    20 mm below the midpoint of the two eyeballs of the neutral head. All arrays are numpy; nothing here needs torch.
    """

    name: str
    identity_parameters: tuple[Parameter, ...]
    expression_parameters: tuple[Parameter, ...]
    template: Float[np.ndarray, "V 3"]
    """The neutral head at the default identity; masks on the surface are functions of these coordinates."""

    @property
    def topology(self) -> Topology:
        """Triangles, texture coordinates, parts and regions, the same for everybody."""
        ...

    def neutral(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "V 3"]:
        """Vertices without expression, metres."""
        ...

    def identity_jacobian(
        self, identity: Float[np.ndarray, " I"], vertices: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "I n 3"]:
        """Derivative of the neutral positions of some vertices by the identity parameters, metres per unit."""
        ...

    def expression_offsets(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "E V 3"]:
        """Offsets of each expression parameter at 1.0 from the neutral head; expressions add up linearly."""
        ...

    def arkit_offsets(self, identity: Float[np.ndarray, " I"]) -> dict[str, Float[np.ndarray, "V 3"]]:
        """The 52 ARKit shapes as offsets from the neutral head, for models whose own expressions are something else."""
        ...

    def eye_spheres(self, vertices: Float[np.ndarray, "V 3"]) -> tuple[EyeSphere, EyeSphere]:
        """Left and right eyeball of a head with these vertices."""
        ...

    def skeleton(self, identity: Float[np.ndarray, " I"]) -> Skeleton:
        """Bones of the neutral head."""
        ...

    @property
    def skin_weights(self) -> Float[np.ndarray, "V J"]:
        """Weight of every bone of `skeleton` on every vertex; rows sum to one."""
        ...


@dataclasses.dataclass(frozen=True)
class EyeSphere:
    """An eyeball: centre (3,) and radius in metres, head frame."""

    centre: Float[np.ndarray, "3"]
    radius: float


def defaults(parameters: tuple[Parameter, ...]) -> Float[np.ndarray, " n"]:
    """The prior means as a vector."""
    return np.array([p.mean for p in parameters])


def fit_sphere(points: Float[np.ndarray, "n 3"]) -> EyeSphere:
    """Least-squares sphere through points."""
    matrix = np.c_[2 * points, np.ones(len(points))]
    solution = np.linalg.lstsq(matrix, (points**2).sum(1), rcond=None)[0]
    centre = solution[:3]
    return EyeSphere(centre, float(np.sqrt(solution[3] + centre @ centre)))
