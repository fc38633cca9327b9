"""The head, neck and upper chest of SMPL-X, from a file that the user owns.

Pavlakos et al., "Expressive Body Capture" (CVPR 2019). Reads ``SMPLX_NEUTRAL.npz`` (or ``.pkl``) as published.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.articulated import ArticulatedFile, ArticulatedHead
from backend.body_model.correspondence import compact
from backend.body_model.flame import joint_parents, skinning_weights, split_components
from backend.body_model.linear import EYES_TO_ORIGIN, Y_UP_TO_HEAD
from backend.body_model.model_files import Entries, ModelFile, unusable
from backend.body_model.uv_layout import layout_from_obj

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SMPLX_FILE = ModelFile(
    "SMPL-X",
    "MAQUETTE_SMPLX",
    "smplx",
    ("SMPLX_NEUTRAL.npz", "SMPLX_NEUTRAL_2020.npz", "SMPLX_NEUTRAL.pkl", "SMPLX_FEMALE.npz", "SMPLX_MALE.npz"),
    "register at https://smpl-x.is.tue.mpg.de, accept its licence and download SMPL-X v1.1",
)
_JOINTS = 55
_JAW, _EYES = 22, (23, 24)
_BONES = (("Chest", -1, 9), ("Neck", 0, 12), ("Head", 1, 15), ("Jaw", 2, 22), ("LeftEye", 2, 23), ("RightEye", 2, 24))
_CHEST_BOTTOM, _CHEST_HALF_WIDTH = -0.27, 0.26
_UV_FILE = "smplx_uv.obj"
_ARRAYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f", "vt", "ft")


def load_smplx(path: Path | str | None = None) -> ArticulatedHead:
    """SMPL-X from a file, from a folder that holds it, or from where it is usually kept; cut below the shoulders.

    Texture coordinates come from the file itself or from ``smplx_uv.obj`` beside it. Raises `MaquetteError`.
    """
    file = SMPLX_FILE.locate(path)
    entries = Entries(file, _ARRAYS)
    template = entries.floats("v_template", (None, 3))
    count = len(template)
    shape_basis, expression_basis = split_components(entries.floats("shapedirs", (count, 3, None)))
    weights = skinning_weights(entries, count, _JOINTS)
    faces = entries.indices("f", (None, 3), count)
    if any((weights[:, joint] > 0.5).sum() < 4 for joint in _EYES):
        raise unusable(file, "no vertices follow the eyeballs")
    keep = _bust(template, faces, weights)
    return ArticulatedHead(
        "smplx",
        ArticulatedFile(
            template,
            shape_basis,
            expression_basis,
            entries.floats("posedirs", (count, 3, 9 * (_JOINTS - 1))),
            entries.floats("J_regressor", (_JOINTS, count)),
            joint_parents(entries, _JOINTS),
            weights,
            faces,
            _layout(entries, faces),
            _JAW,
            _EYES,
            _BONES,
            {},
        ),
        keep,
    )


def _bust(
    template: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], weights: Float[np.ndarray, "V J"]
) -> Int[np.ndarray, " n"]:
    """Vertices of the triangles above the chest and between the shoulders of the standing, arms-out template."""
    points = template @ Y_UP_TO_HEAD.T
    eyes = np.mean([points[weights[:, joint] > 0.5].mean(0) for joint in _EYES], axis=0)
    points = points - (eyes + EYES_TO_ORIGIN)
    inside = (points[:, 2] > _CHEST_BOTTOM) & (np.abs(points[:, 0]) < _CHEST_HALF_WIDTH)
    return compact(faces[inside[faces].all(1)])[0]


def _layout(
    entries: Entries, faces: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "T 2"], Int[np.ndarray, "F 3"]] | None:
    if "vt" in entries and "ft" in entries:
        uvs = entries.floats("vt", (None, 2))
        return uvs, entries.indices("ft", (len(faces), 3), len(uvs))
    beside = entries.path.parent / _UV_FILE
    return layout_from_obj(beside, faces) if beside.is_file() else None
