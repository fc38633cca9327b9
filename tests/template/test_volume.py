"""Body and layers as one volume, ended by the cut of the bust."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.anny import load_anny
from backend.meshing.bust import bust_inside
from backend.meshing.rasterizer import rasterize
from backend.meshing.texture import View
from backend.radiance.cameras import Camera
from backend.template.covers import Cover
from backend.template.engine import outer_faces
from backend.template.volume import HAIR, SKIN, TemplateVolume

HALF, SIZE = 0.25, 192
ANNY = load_anny()
VERTICES, FACES = ANNY.template, outer_faces(ANNY)
CAMERA = Camera.orbit(0, 0, distance=1.0, fov_degrees=28, size=SIZE)
points_of_the_cube = st.lists(st.tuples(*[st.floats(-0.26, 0.26)] * 3), min_size=1, max_size=30).map(np.array)


def silhouette(offset=0.0):
    """The body's outline, every vertex `offset` metres further out from the middle of the head."""
    grown = VERTICES * (1 + offset / np.linalg.norm(VERTICES, axis=1, keepdims=True))
    screen = np.c_[CAMERA.project(grown), CAMERA.to_camera(grown)[:, 2]]
    return (rasterize(screen, FACES, SIZE, SIZE).face_index >= 0).astype(np.float32)


def volume(thickness, hair_mask=None, known=None):
    scalp = ANNY.topology.regions["scalp"] > 0.5
    cover = Cover(thickness * scalp, scalp.astype(float))
    person = silhouette(0.03)
    view = View(np.zeros((SIZE, SIZE, 3), np.float32), person, CAMERA, VERTICES)
    return TemplateVolume(
        view,
        FACES,
        FACES,
        {HAIR: cover},
        {HAIR: person if hair_mask is None else hair_mask},
        person,
        np.ones((SIZE, SIZE), bool) if known is None else known,
        HALF,
    )


@pytest.fixture(scope="module")
def bald():
    return volume(0.0)


@pytest.fixture(scope="module")
def hairy():
    return volume(0.02)


def test_the_surface_of_a_bald_head_is_the_skin(bald):
    """Height is zero on it, positive inside, and belongs to the skin."""
    on_head = np.unique(FACES)[VERTICES[np.unique(FACES), 2] > -0.05]
    value, layer, nearest = bald.evaluate(VERTICES[on_head])
    np.testing.assert_allclose(value, 0, atol=0.002)
    assert (layer == SKIN).all()
    assert (nearest >= 0).all()
    (inside, outside), _, _ = bald.evaluate(np.array([[0, 0, 0.0], [0, -0.15, 0.0]]))
    assert inside > 0.03
    assert outside < -0.02


@given(points=points_of_the_cube)
@settings(max_examples=20, deadline=None)
def test_a_layer_only_adds(bald, hairy, points):
    without, _, _ = bald.evaluate(points)
    value, layer, _ = hairy.evaluate(points)
    assert (value >= without - 1e-12).all()
    np.testing.assert_array_equal(layer == HAIR, value > without)


def test_hair_stands_on_the_scalp_as_high_as_it_was_measured(hairy):
    crown = VERTICES[np.unique(FACES)][:, 2].argmax()
    top = VERTICES[np.unique(FACES)][crown]
    heights = np.array([0.005, 0.015, 0.025])
    value, layer, _ = hairy.evaluate(top + heights[:, None] * [0, 0, 1])
    np.testing.assert_allclose(value, 0.02 - heights, atol=0.002)
    assert (layer[:2] == HAIR).all()


def test_there_is_no_hair_where_the_picture_shows_something_else():
    """Its mask is empty; in front of the body and inside the picture only what clings to the skin is left."""
    bare = volume(0.02, hair_mask=np.zeros((SIZE, SIZE), np.float32))
    points = np.random.default_rng(0).uniform(-0.15, 0.15, (2000, 3))
    value, layer, _ = bare.evaluate(points)
    in_front = CAMERA.to_camera(points)[:, 2] < 0.95
    over_the_skin = bare.samples.query(points)[0] > 0.0056
    assert not ((layer == HAIR) & (value > 0) & in_front & over_the_skin).any()


def test_beyond_the_picture_hair_is_not_carved():
    nowhere = volume(0.02, np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), bool))
    top = VERTICES[np.unique(FACES)]
    value, layer, _ = nowhere.evaluate(top[top[:, 2].argmax()][None] + [0, 0, 0.01])
    assert layer == HAIR
    assert value == pytest.approx(0.01, abs=0.002)


@given(points=points_of_the_cube)
@settings(max_examples=30, deadline=None)
def test_nothing_is_left_beyond_the_cut(hairy, points):
    value, _, _ = hairy.evaluate(points)
    beyond = bust_inside(points, HALF) < 0
    assert (value[beyond] < 0).all()
    at_the_border = np.abs(points).max(1) > HALF - 0.007
    assert (value[at_the_border] < 0).all()
