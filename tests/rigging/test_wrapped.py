"""The wrapped avatar keeps the skin that the picture shows."""

import numpy as np

from backend.body_model.anny import load_anny
from backend.meshing.observation import Observation
from backend.meshing.rasterizer import rasterize
from backend.meshing.texture import View
from backend.radiance.cameras import Camera
from backend.rigging.wrapped import shown_bare
from backend.template.engine import outer_faces

CAMERA = Camera.orbit(0, 0, distance=1.0, fov_degrees=28, size=128)


def test_skin_is_shown_where_neither_hair_nor_garment_is_and_nothing_lies_before_it():
    anny = load_anny()
    faces, vertices = outer_faces(anny), anny.template
    screen = np.c_[CAMERA.project(vertices), CAMERA.to_camera(vertices)[:, 2]]
    person = np.isfinite(rasterize(screen, faces, 128, 128).depth).astype(np.float32)
    garment = person * (np.arange(128)[:, None] > CAMERA.project(np.array([0, 0, -0.12]))[1]).astype(np.float32)
    nothing, everywhere = np.zeros_like(person), np.ones(person.shape, bool)
    view = View(np.zeros((128, 128, 3), np.float32), person - garment, CAMERA, vertices)
    observation = Observation(view, nothing, garment, person, (nothing, nothing), nothing, everywhere, everywhere)
    shown = shown_bare(observation, faces)
    used = np.isin(np.arange(len(vertices)), faces)
    before, behind = vertices[:, 1] < -0.08, vertices[:, 1] > 0.08
    face = used & before & (np.abs(vertices[:, 0]) < 0.03) & (np.abs(vertices[:, 2]) < 0.06)
    assert face.sum() > 100 and shown[face].mean() > 0.8
    assert (used & behind).sum() > 100 and not shown[used & behind].any()
    assert not shown[used & (vertices[:, 2] < -0.16)].any()
