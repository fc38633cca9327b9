"""What FLAME, SMPL-X and bilinear models share: a neutral head that is linear in its identity parameters."""

from __future__ import annotations

import abc
import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import EyeSphere, Parameter, Topology, defaults, fit_sphere
from backend.body_model.carry import FromAnny, carry_from_anny
from backend.body_model.registration import HeadSurface

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from backend.rigging.avatar import Skeleton

EYES_TO_ORIGIN = np.array([0.0, 0.075, -0.02])
"""From the midpoint of the eyeballs to the origin of the head frame, metres."""

# Files of FLAME, SMPL-X and FaceScape: +Y up, the face looks along +Z, +X is the character's left.
Y_UP_TO_HEAD = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


@dataclasses.dataclass(frozen=True)
class EyeAnchor:
    """An eyeball that follows the surface: the mean of some vertices plus a fixed offset.

    With `radius` None the vertices are an eyeball's own, and a sphere through them gives the radius.
    """

    vertices: Int[np.ndarray, " n"]
    offset: Float[np.ndarray, "3"]
    radius: float | None = None

    @classmethod
    def of_eyeball(cls, vertices: Int[np.ndarray, " n"], positions: Float[np.ndarray, "V 3"]) -> EyeAnchor:
        """An eyeball mesh; its mean is not its centre, because the iris has more vertices than the back."""
        points = positions[vertices]
        return cls(vertices, fit_sphere(points).centre - points.mean(0))

    def centre(self, positions: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "3"]:
        return positions[self.vertices].mean(0) + self.offset

    def sphere(self, positions: Float[np.ndarray, "V 3"]) -> EyeSphere:
        centre = self.centre(positions)
        if self.radius is not None:
            return EyeSphere(centre, self.radius)
        return EyeSphere(centre, float(np.linalg.norm(positions[self.vertices] - centre, axis=1).mean()))


@dataclasses.dataclass(frozen=True)
class LinearShape:
    """Vertices (or joints) as a mean plus a sum of directions: ``mean + identity @ basis``."""

    mean: Float[np.ndarray, "V 3"]
    basis: Float[np.ndarray, "I V 3"]

    def __call__(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "V 3"]:
        weights = np.asarray(identity, self.basis.dtype)
        return self.mean + (weights @ self.basis.reshape(len(weights), -1)).reshape(self.mean.shape)

    def select(self, vertices: Int[np.ndarray, " n"]) -> LinearShape:
        return LinearShape(self.mean[vertices], self.basis[:, vertices])

    def combine(self, regressor: Float[np.ndarray, "J V"]) -> LinearShape:
        """Weighted sums of vertices, e.g. joints."""
        count, joints = len(self.basis), len(regressor)
        basis = np.empty((count, joints, 3), self.basis.dtype)
        for i in range(count):
            basis[i] = regressor @ self.basis[i]
        return LinearShape(regressor @ self.mean, basis)

    def rotated(self, rotation: Float[np.ndarray, "3 3"], scale: float = 1.0) -> LinearShape:
        matrix = (scale * rotation).T
        return LinearShape(self.mean @ matrix, self.basis @ matrix.astype(self.basis.dtype))

    def shifted(self, mean: Float[np.ndarray, "3"], basis: Float[np.ndarray, "I 3"]) -> LinearShape:
        return LinearShape(self.mean - mean, self.basis - basis[:, None].astype(self.basis.dtype))


def head_frame_shift(
    shape: LinearShape, eyes: tuple[EyeAnchor, EyeAnchor]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "I 3"]]:
    """What to subtract from mean and basis, so that the eyes of everybody lie where the head frame wants them."""
    mean = np.mean([eye.centre(shape.mean) for eye in eyes], axis=0) + EYES_TO_ORIGIN
    basis = np.mean([shape.basis[:, eye.vertices].mean(1) for eye in eyes], axis=0)
    return mean, basis


class LinearHead(abc.ABC):
    """Base of the models that are read from files; implements `backend.body_model.base.BodyModel`.

    Args:
        shape: vertices in the head frame.
        topology: of the file; `regions` may be empty, what is missing is read off Anny when it is first asked for.
        jaw: a number per vertex that tells what moves with the jaw (1) from the skull (0).
        shift: what `head_frame_shift` took off the file's coordinates.
        known: vertices of landmarks that come with the file, by the names of `registration.find_anchors`.
    """

    def __init__(
        self,
        name: str,
        shape: LinearShape,
        topology: Topology,
        eyes: tuple[EyeAnchor, EyeAnchor],
        identity_parameters: tuple[Parameter, ...],
        expression_parameters: tuple[Parameter, ...],
        jaw: Float[np.ndarray, " V"],
        shift: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "I 3"]],
        known: dict[str, int] | None = None,
    ) -> None:
        self.name = name
        self.identity_parameters = identity_parameters
        self.expression_parameters = expression_parameters
        self.template = shape(defaults(identity_parameters))
        self._shape, self._eyes, self._shift = shape, eyes, shift
        self._bare = topology
        nothing = np.zeros((0, 3), int)
        left, right = (
            topology.faces[topology.parts[part]] if part in topology.parts else nothing
            for part in ("eye_left", "eye_right")
        )
        self.surface = HeadSurface(
            self.template, topology.faces[topology.parts["skin"]], jaw, (left, right), known or {}
        )

    def origin(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "3"]:
        """Where the head frame's origin lies in the file's own coordinates, in the axes of the head frame, metres."""
        mean, basis = self._shift
        return mean + np.asarray(identity, float) @ basis

    @functools.cached_property
    def from_anny(self) -> FromAnny:
        """What this model has not itself, read off Anny's head laid onto the template; takes some seconds, once."""
        return carry_from_anny(self.surface, self.eye_spheres(self.template))

    @property
    def topology(self) -> Topology:
        return self._whole_topology

    @functools.cached_property
    def _whole_topology(self) -> Topology:
        return dataclasses.replace(self._bare, regions=self.from_anny.regions | self._bare.regions)

    def neutral(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "V 3"]:
        return self._shape(identity)

    def identity_jacobian(
        self, identity: Float[np.ndarray, " I"], vertices: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "I n 3"]:
        del identity  # the neutral head is linear
        return self._shape.basis[:, vertices].astype(np.float64)

    @abc.abstractmethod
    def expression_offsets(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "E V 3"]: ...

    def arkit_offsets(self, identity: Float[np.ndarray, " I"]) -> dict[str, Float[np.ndarray, "V 3"]]:
        """Anny's shapes on this head's skin; the eyeballs turn about this person's own centres."""
        return self.turn_eyes(self.from_anny.shapes, identity)

    def turn_eyes(
        self, shapes: dict[str, Float[np.ndarray, "V 3"]], identity: Float[np.ndarray, " I"]
    ) -> dict[str, Float[np.ndarray, "V 3"]]:
        """The same shapes, with eyeballs that turn where Anny's do."""
        offsets, neutral = dict(shapes), self.neutral(identity)
        for name, turns in self.from_anny.eye_turns.items():
            turned = offsets[name].copy()
            for eye, faces, rotation in zip(self._eyes, self.surface.eye_faces, turns, strict=True):
                ball = np.unique(faces)
                turned[ball] = (neutral[ball] - eye.centre(neutral)) @ (rotation - np.eye(3)).T
            offsets[name] = turned
        return offsets

    def eye_spheres(self, vertices: Float[np.ndarray, "V 3"]) -> tuple[EyeSphere, EyeSphere]:
        return self._eyes[0].sphere(vertices), self._eyes[1].sphere(vertices)

    @abc.abstractmethod
    def skeleton(self, identity: Float[np.ndarray, " I"]) -> Skeleton: ...

    @property
    @abc.abstractmethod
    def skin_weights(self) -> Float[np.ndarray, "V J"]: ...
