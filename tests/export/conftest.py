"""A small head built from formulas, for tests of what leaves the house: an egg with a nose, eyes and a hair shell.

The character's left ear is red and the right one blue, so that a mirrored picture is seen to be one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from backend.export.preview import preview_png, turntable_gif
from backend.meshing.mesh import Mesh
from backend.rigging.avatar import ARKIT_SHAPES, AvatarPart, Material, RiggedAvatar, Skeleton

SKELETON = Skeleton(
    names=("Neck", "Head", "Jaw", "LeftEye", "RightEye"),
    parents=np.array([-1, 0, 1, 1, 1]),
    heads=np.array([[0, 0.03, -0.16], [0, 0.02, -0.06], [0, 0, -0.04], [0.032, -0.07, 0.02], [-0.032, -0.07, 0.02]]),
    tails=np.array([[0, 0.02, -0.06], [0, 0.02, 0.1], [0, -0.08, -0.08], [0.032, -0.09, 0.02], [-0.032, -0.09, 0.02]]),
)
NECK, HEAD, JAW, LEFT_EYE, RIGHT_EYE = range(5)


def sphere(rings: int, columns: int) -> Mesh:
    """Unit sphere with its poles on Z and its UV seam at the back (+Y)."""
    v, u = np.meshgrid(np.linspace(0, 1, rings + 1), np.linspace(0, 1, columns + 1), indexing="ij")
    angle = np.pi / 2 + 2 * np.pi * u  # from the back over the character's right, the face and the left
    inner = [
        np.stack([np.sin(np.pi * v) * np.cos(angle), np.sin(np.pi * v) * np.sin(angle), np.cos(np.pi * v)], -1)[r, :-1]
        for r in range(1, rings)
    ]
    vertices = np.concatenate([[[0, 0, 1.0]], *inner, [[0, 0, -1.0]]])
    uvs = np.stack([u, 1 - v], -1).reshape(-1, 2)

    def vertex(r, c):
        return 0 if r == 0 else len(vertices) - 1 if r == rings else 1 + (r - 1) * columns + c % columns

    def uv(r, c):
        return r * (columns + 1) + c

    faces, uv_faces = [], []
    for r in range(rings):
        for c in range(columns):
            a, b, d, e = (r, c), (r + 1, c), (r + 1, c + 1), (r, c + 1)
            for triangle in [(a, b, d)] * (r < rings - 1) + [(a, d, e)] * (r > 0):
                faces.append([vertex(*corner) for corner in triangle])
                uv_faces.append([uv(*corner) for corner in triangle])
    return Mesh(vertices, np.array(faces), uvs, np.array(uv_faces))


def _bump(vertices, centre, radius):
    return np.exp(-(((vertices - centre) / radius) ** 2).sum(1))[:, None]


def _weights(vertices, jaw=False):
    """Neck below the chin, jaw at the lower front, head elsewhere."""
    weights = np.zeros((len(vertices), 4))
    weights[:, 1] = np.clip((-0.06 - vertices[:, 2]) / 0.05, 0, 1)
    weights[:, 2] = _bump(vertices, [0, -0.08, -0.08], 0.04)[:, 0] * (1 - weights[:, 1]) * jaw
    weights[:, 0] = 1 - weights[:, 1:].sum(1)
    return np.tile([HEAD, NECK, JAW, 0], (len(vertices), 1)), weights


def _head_texture(size):
    v, u = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size, indexing="ij")
    texture = np.tile(np.array([224, 172, 140], np.float32), (size, size, 1))
    texture *= 1 + 0.04 * np.sin(40 * u * np.pi)[..., None] * np.sin(40 * v * np.pi)[..., None]
    texture[(np.abs(u - 0.5) < 0.06) & (np.abs(v - 0.68) < 0.015)] = [170, 60, 70]
    texture[np.hypot(u - 0.75, 1.4 * (v - 0.5)) < 0.03] = [220, 30, 30]
    texture[np.hypot(u - 0.25, 1.4 * (v - 0.5)) < 0.03] = [30, 60, 220]
    return np.clip(texture, 0, 255).astype(np.uint8)


def build_avatar(rings: int = 24, columns: int = 40, texture_size: int = 256) -> RiggedAvatar:
    head = sphere(rings, columns)
    head.vertices = head.vertices * [0.075, 0.095, 0.12] + [0, 0, 0.0]
    head.vertices += _bump(head.vertices, [0, -0.095, -0.01], [0.012, 0.03, 0.02]) * [0, -0.025, 0]
    joints, weights = _weights(head.vertices, jaw=True)
    random = np.random.default_rng(7)
    keys = {}
    for name in ARKIT_SHAPES:
        side = 1 if name.endswith("Left") else -1 if name.endswith("Right") else 0
        centre = np.array([0.04 * side, -0.08, random.uniform(-0.07, 0.06)])
        keys[name] = _bump(head.vertices, centre, 0.02) * random.normal(0, 0.01, 3)
        keys[name][np.abs(keys[name]).max(1) < 1e-4] = 0
    keys["jawOpen"] = _bump(head.vertices, [0, -0.09, -0.08], 0.035) * [0, 0, -0.03]
    del keys["tongueOut"]  # there is no tongue
    parts = [
        AvatarPart("head", head, _head_texture(texture_size), Material(roughness=0.5), joints, weights, keys),
    ]

    for name, bone in (("eyeLeft", LEFT_EYE), ("eyeRight", RIGHT_EYE)):
        eye = sphere(16, 24)
        eye.vertices = eye.vertices * 0.014 + SKELETON.heads[bone] - [0, 0.006, 0]
        v, u = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 128), indexing="ij")
        texture = np.full((64, 128, 3), 240, np.uint8)
        texture[np.hypot(2 * (u - 0.5), v - 0.5) < 0.13] = [70, 110, 60]
        texture[np.hypot(2 * (u - 0.5), v - 0.5) < 0.06] = 10
        count = len(eye.vertices)
        eye_joints, eye_weights = np.zeros((count, 4), int), np.zeros((count, 4))
        eye_joints[:, 0], eye_weights[:, 0] = bone, 1
        parts.append(AvatarPart(name, eye, texture, Material(roughness=0.2), eye_joints, eye_weights, {}))

    hair = sphere(rings, columns)
    upper = (hair.vertices[hair.faces].mean(1) * [0, 0.8, 1]).sum(1) > 0.25
    hair.faces, hair.uv_faces = hair.faces[upper], hair.uv_faces[upper]  # leaves vertices that no face uses
    hair.vertices = hair.vertices * [0.082, 0.103, 0.128]
    v, u = np.meshgrid(np.linspace(0, 1, 128), np.linspace(0, 1, 256), indexing="ij")
    texture = np.zeros((128, 256, 4), np.uint8)
    texture[..., :3] = [60, 35, 20]
    texture[..., :3] += (20 * (np.sin(200 * u) > 0)).astype(np.uint8)[..., None]
    texture[..., 3] = np.where((np.sin(120 * u) > -0.8) | (v < 0.2), 255, 0)
    material = Material(roughness=0.4, double_sided=True, alpha_mask=True)
    keys = {"browInnerUp": _bump(hair.vertices, [0, -0.09, 0.06], 0.03) * [0, 0, 0.005]}
    parts.append(AvatarPart("hair", hair, texture, material, *_weights(hair.vertices), keys))
    return RiggedAvatar(parts, SKELETON)


@pytest.fixture(scope="session")
def avatar() -> RiggedAvatar:
    return build_avatar()


@pytest.fixture(scope="session")
def preview(avatar: RiggedAvatar) -> bytes:
    return preview_png(avatar)


@pytest.fixture(scope="session")
def turntable(avatar: RiggedAvatar) -> bytes:
    return turntable_gif(avatar)


@pytest.fixture(scope="session")
def node() -> Path:
    """The folder of the node scripts, with the packages they need; npm fetches those once."""
    folder = Path(__file__).parent / "node"
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        pytest.skip("node and npm are not installed")
    if not (folder / "node_modules").exists():
        # Aside and renamed, so that neither a second process nor a broken download leaves half of it.
        aside = folder / f"install-{os.getpid()}"
        aside.mkdir()
        try:
            shutil.copy(folder / "package.json", aside)
            command = [npm, "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=aside, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
            if not (folder / "node_modules").exists():
                (aside / "node_modules").rename(folder / "node_modules")
        finally:
            shutil.rmtree(aside)
    return folder
