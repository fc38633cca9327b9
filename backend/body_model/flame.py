"""FLAME, the head model of the MPI for Intelligent Systems, from a file that the user owns.

Li et al., "Learning a model of facial shape and expression from 4D scans" (SIGGRAPH Asia 2017). Reads FLAME 2017, 2020
and 2023 as published: pickled (``generic_model.pkl``, with chumpy objects) or ``.npz``. Nothing in a pickle is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.articulated import ArticulatedFile, ArticulatedHead
from backend.body_model.model_files import Entries, ModelFile, read_arrays, unusable
from backend.body_model.uv_layout import layout_from_obj

if TYPE_CHECKING:
    from jaxtyping import Float, Int

FLAME_FILE = ModelFile(
    "FLAME",
    "MAQUETTE_FLAME",
    "flame",
    ("generic_model.pkl", "flame2023.pkl", "flame2023_no_jaw.pkl", "FLAME_NEUTRAL.pkl", "FLAME_NEUTRAL.npz"),
    "register at https://flame.is.tue.mpg.de, accept its licence and download FLAME 2023 or FLAME 2020",
)
_BONES = (("Neck", -1, 0), ("Head", 0, 1), ("Jaw", 1, 2), ("LeftEye", 1, 3), ("RightEye", 1, 4))
_UV_FILES = ("head_template.obj", "FLAME_texture.npz")
_MASK_FILE = "FLAME_masks.pkl"
_ARRAYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")


def load_flame(path: Path | str | None = None) -> ArticulatedHead:
    """FLAME from a file, from a folder that holds it, or from where it is usually kept (`model_files.ModelFile`).

    Texture coordinates come from ``head_template.obj`` or ``FLAME_texture.npz`` and masks from ``FLAME_masks.pkl`` in
    the same folder; without them a cylindrical layout and masks read off Anny do. Raises `MaquetteError`.
    """
    file = FLAME_FILE.locate(path)
    entries = Entries(file, _ARRAYS)
    template = entries.floats("v_template", (None, 3))
    count = len(template)
    shape_basis, expression_basis = split_components(entries.floats("shapedirs", (count, 3, None)))
    weights = skinning_weights(entries, count, 5)
    faces = entries.indices("f", (None, 3), count)
    eyes = sorted((3, 4), key=lambda joint: -float(np.average(template[:, 0], weights=weights[:, joint] + 1e-12)))
    bones = tuple(
        (name, parent, {"LeftEye": eyes[0], "RightEye": eyes[1]}.get(name, joint)) for name, parent, joint in _BONES
    )
    for name, joint in (("left eyeball", eyes[0]), ("right eyeball", eyes[1])):
        if (weights[:, joint] > 0.5).sum() < 4:
            raise unusable(file, f"no vertices follow the {name}")
    return ArticulatedHead(
        "flame",
        ArticulatedFile(
            template,
            shape_basis,
            expression_basis,
            entries.floats("posedirs", (count, 3, 36)),
            entries.floats("J_regressor", (5, count)),
            joint_parents(entries, 5),
            weights,
            faces,
            _layout(file.parent, faces),
            2,
            (eyes[0], eyes[1]),
            bones,
            _masks(file.parent, count),
        ),
    )


def split_components(
    basis: Float[np.ndarray, "V 3 n"],
) -> tuple[Float[np.ndarray, "V 3 I"], Float[np.ndarray, "V 3 E"]]:
    """Identity and expression components: 300 and up to 100 in the full files, 10 and up to 10 in the small ones."""
    first = 300 if basis.shape[2] >= 400 else 10
    return basis[:, :, :first], basis[:, :, first : first + (100 if first == 300 else 10)]


def skinning_weights(entries: Entries, vertices: int, joints: int) -> Float[np.ndarray, "V J"]:
    """Skinning weights, their rows made to sum to one exactly."""
    weights = entries.floats("weights", (vertices, joints))
    total = weights.sum(1, keepdims=True)
    if weights.min() < -1e-6 or np.abs(total - 1).max() > 1e-2:
        raise unusable(entries.path, "the rows of 'weights' do not sum to one")
    return weights / total


def joint_parents(entries: Entries, joints: int) -> Int[np.ndarray, " J"]:
    """Parent of each joint, -1 for the root; parents come before their children."""
    parents = entries.indices("kintree_table", (2, joints))[0]
    parents[0] = -1
    if (parents[1:] < 0).any() or (parents >= np.arange(joints)).any():
        raise unusable(entries.path, "'kintree_table' is not a tree")
    return parents


def _layout(
    folder: Path, faces: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "T 2"], Int[np.ndarray, "F 3"]] | None:
    for name in _UV_FILES:
        if not (folder / name).is_file():
            continue
        if name.endswith(".obj"):
            return layout_from_obj(folder / name, faces)
        entries = Entries(folder / name, ("vt", "ft"))
        uvs = entries.floats("vt", (None, 2))
        return uvs, entries.indices("ft", (len(faces), 3), len(uvs))
    return None


def _masks(folder: Path, count: int) -> dict[str, Float[np.ndarray, " V"]]:
    """Regions from the masks that FLAME's authors publish, where the file is there."""
    path = folder / _MASK_FILE
    if not path.is_file():
        return {}
    names = {"lips": ("lips",), "ears": ("left_ear", "right_ear"), "face": ("face",), "scalp": ("scalp",)}
    listed = read_arrays(path, tuple(mask for masks in names.values() for mask in masks))
    regions = {}
    for region, masks in names.items():
        if not all(isinstance(listed.get(mask), np.ndarray) for mask in masks):
            continue
        vertices = np.concatenate([np.ravel(listed[mask]) for mask in masks])
        if vertices.size and (vertices.dtype.kind not in "iu" or vertices.min() < 0 or vertices.max() >= count):
            raise unusable(path, "its masks are not those of the model")
        regions[region] = np.isin(np.arange(count), vertices).astype(float)
    return regions
