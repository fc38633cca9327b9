"""The turn of the head is judged on rendered heads, whose turn is known."""

from __future__ import annotations

import numpy as np
import pytest

from backend.api import ErrorCode
from backend.body_model.anny import load_anny
from backend.errors import MaquetteError
from backend.meshing.rasterizer import rasterize
from backend.portrait.detection import detect_face
from backend.radiance.cameras import Camera

SKIN, LIPS, HAIR, IRIS, SCLERA = np.array([[0.8, 0.6, 0.5], [0.7, 0.3, 0.3], [0.2, 0.12, 0.08], [0.1] * 3, [0.9] * 3])


def rendered_head(yaw: float, size: int = 512) -> np.ndarray:
    """The default head, plainly painted and lit from the camera, turned to its left by `yaw` degrees."""
    model = load_anny()
    topology, vertices = model.topology, model.template
    faces = np.concatenate([index for part, index in topology.parts.items() if part != "garment"])
    corners = topology.faces[faces]
    lips, scalp = (topology.regions[name][:, None] for name in ("lips", "scalp"))
    colours = (SKIN * (1 - lips) + LIPS * lips) * (1 - scalp) + HAIR * scalp
    for part in ("eye_left", "eye_right"):
        ball = np.unique(topology.faces[topology.parts[part]])
        offset = vertices[ball] - vertices[ball].mean(0)
        front = -offset[:, 1] / np.linalg.norm(offset, axis=1)
        colours[ball] = np.where(front[:, None] > 0.88, IRIS, SCLERA)
    a, b, c = (vertices[corners[:, k]] for k in range(3))
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, corners[:, k], np.cross(b - a, c - a))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12

    camera = Camera.orbit(-yaw, 0, distance=1.2, fov_degrees=25, size=size)
    pixels = np.column_stack([camera.project(vertices), camera.to_camera(vertices)[:, 2]])
    seen = rasterize(pixels, corners, size, size)
    light = camera.centre / np.linalg.norm(camera.centre) + [0.2, -0.3, 0.5]
    shades = colours * (0.35 + 0.55 * np.clip(normals @ light, 0, 1))[:, None]
    head = (shades[corners[seen.face_index]] * seen.barycentric[..., None]).sum(2)
    image = np.where((seen.face_index >= 0)[..., None], head, [0.5, 0.6, 0.7])
    return (image.clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("yaw", [-40, -20, 0, 30])
def test_the_turn_is_measured(models, yaw):
    assert abs(detect_face(rendered_head(yaw), models).yaw - yaw) < 5


@pytest.mark.parametrize("yaw", [-85, 70, 90])
def test_profiles_are_refused(models, yaw):
    with pytest.raises(MaquetteError, match="turned away") as caught:
        detect_face(rendered_head(yaw), models)
    assert caught.value.code is ErrorCode.FACE_TURNED_AWAY
