"""Views to a field: colours come from the views, the body stays, and layers are where views and portrait say."""

import dataclasses

import numpy as np
import pytest
import torch

from backend.body_model.base import defaults
from backend.body_model.expressions import in_expression
from backend.body_model.fitting import BodyFit
from backend.meshing.rasterizer import rasterize
from backend.morphable.engine import DrawnViews
from backend.morphable.field import fit_field, portrait_picture, posed_pictures, yielding
from backend.radiance.matter import Matter
from backend.radiance.supervision import PointSamples, View
from backend.template.engine import TemplateSettings, outer_faces
from synthetic_data.cameras import orbit_rig
from tests.template.test_engine import ANNY, CAMERA, VERTICES, observation  # noqa: F401, a fixture

SETTINGS = TemplateSettings(40_000, 80, (32,))
FACES = outer_faces(ANNY)
BLUE, RED = (0.1, 0.1, 0.8), (0.8, 0.1, 0.1)
BACK_OF_THE_HEAD, CHEEK = np.array([0.0, 0.104, 0.04]), np.array([0.035, -0.085, -0.02])


def seen_from_around(vertices, count=8, size=64):
    """A body that is red in front and blue behind, as a perfect network would draw it."""
    cameras = tuple(orbit_rig(size, count))
    pictures = np.ones((count, size, size, 3), np.float32)
    for picture, camera in zip(pictures, cameras, strict=True):
        screen = np.c_[camera.project(vertices), camera.to_camera(vertices)[:, 2]]
        face = rasterize(screen, FACES, size, size).face_index
        behind = vertices[FACES[face]].mean(-2)[..., 1] > 0.02
        picture[face >= 0] = np.where(behind[face >= 0, None], BLUE, RED)
    return DrawnViews(pictures, cameras, vertices, pictures[0])


def fit_of(expression=None):
    identity = defaults(ANNY.identity_parameters)
    expression = defaults(ANNY.expression_parameters) if expression is None else expression
    return BodyFit(ANNY, identity, expression, CAMERA, np.zeros((2, 2)), np.zeros_like(VERTICES), np.zeros(478))


@pytest.fixture(scope="module")
def drawn():
    return seen_from_around(VERTICES)


@pytest.fixture(scope="module")
def field(observation, drawn):  # noqa: F811
    return fit_field(drawn, fit_of(), observation, SETTINGS, 0)


@pytest.mark.slow
def test_colours_come_from_the_views_where_the_portrait_shows_nothing(field):
    """Without them the back of the head has the colour of the hair in front."""
    behind, before = Matter(field).colour(np.array([BACK_OF_THE_HEAD, CHEEK]))
    assert behind[2] > 0.55 > 0.3 > behind[0]
    assert before[0] > 0.6 > before[1:].max()


@pytest.mark.slow
def test_hair_is_as_high_as_the_views_show_it(field):
    """The portrait's outline says 20 mm; nobody sees how high it is behind, and there the views have none."""
    assert (Matter(field).occupancy(BACK_OF_THE_HEAD + [[0, -0.02, 0], [0, 0.02, 0]]).round() == [1, 0]).all()


@pytest.mark.slow
def test_the_shape_stays_that_of_the_body(field):
    matter = Matter(field)
    inside = np.array([[0, 0, 0.05], [0, -0.06, 0], [0, 0.02, -0.15]])
    outside = np.array([[0, -0.2, 0], [0.2, 0, 0.1], [0, 0, 0.23]])
    assert (matter.occupancy(inside) > 0.5).all() and (matter.occupancy(outside) < 0.5).all()
    assert field.warp is None


@pytest.mark.slow
def test_another_expression_is_brought_back_to_the_portrait_s(observation):  # noqa: F811
    fit = fit_of()
    open_ = seen_from_around(in_expression(fit, {"jawOpen": 1.0}), count=4)
    heard = []
    field = fit_field(open_, fit, observation, dataclasses.replace(SETTINGS, steps=8), 0, heard.append)
    assert heard == sorted(heard) and heard[-1] == pytest.approx(1)
    moved = np.linalg.norm(open_.vertices - VERTICES, axis=1)
    chin = np.flatnonzero((moved > 0.8 * moved.max()) & (ANNY.topology.regions["mouth_interior"] < 0.5))
    places = field._on_planes(torch.from_numpy(VERTICES[chin] / field.half_size).float())
    missed = np.linalg.norm(places.numpy() * field.half_size - open_.vertices[chin], axis=1)
    assert moved.max() > 0.015 and np.median(missed) < 0.25 * moved.max()


@pytest.mark.slow
def test_white_is_nobody_except_where_the_body_is(field, drawn):
    drawn = dataclasses.replace(drawn, pictures=drawn.pictures[:2], cameras=drawn.cameras[:2])
    nothing = dataclasses.replace(drawn, pictures=np.ones_like(drawn.pictures))
    for view, blank in zip(posed_pictures(drawn, field, FACES), posed_pictures(nothing, field, FACES), strict=True):
        assert view.alpha[0, 0] == 0 and view.depth[0, 0] == 0
        head = np.floor(view.camera.project(np.zeros((1, 3))))[0].astype(int)
        assert blank.alpha[head[1], head[0]] == 1
        distance = np.linalg.norm(view.camera.centre)
        assert abs(blank.depth[head[1], head[0]] - distance) < 0.2
        assert blank.alpha.sum() <= view.alpha.sum()


@pytest.mark.slow
def test_the_portrait_is_a_view_with_its_own_matte(field, observation):  # noqa: F811
    view = portrait_picture(observation, field, FACES)
    assert view.rgb.shape == (192, 192, 3)
    near = np.s_[:120]  # farther down are shoulders that the bust leaves out
    assert np.abs(view.alpha - observation.person)[near].max() < 0.01
    hidden = dataclasses.replace(observation, known=np.zeros(observation.known.shape, bool))
    assert (portrait_picture(hidden, field, FACES).depth < 0.01).all(), "nothing is known there"
    face = np.zeros(observation.known.shape, bool)
    face[80:100, 80:100] = True
    other = portrait_picture(dataclasses.replace(observation, face=face), field, FACES, with_face=False)
    assert (other.depth[81:99, 81:99] < 0.01).all() and np.array_equal(other.depth[:79], view.depth[:79])


def test_layers_yield_to_views_and_the_rest_is_kept():
    """Two cameras see through the left half of the space before them, and a surface a metre away in the right half."""
    cameras = orbit_rig(8, 2)
    left, right = np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)
    depth = lambda camera: np.full((8, 8), np.linalg.norm(camera.centre - [0, 0, -0.04]), np.float32)  # noqa: E731
    ones, half = np.ones(3, np.float32), np.array([1, 1, 0], np.float32)
    points = np.array([[0, 0, -0.04]] * 3, np.float32)
    samples = PointSamples(points, half, np.zeros((3, 3), np.float32), ones, half)
    rgb = np.zeros((8, 8, 3), np.float32)
    through = yielding(samples, [View(rgb, left, left, camera) for camera in cameras])
    assert through.occupancy_weights.tolist() == [0, 0, 1], "matter that views see through is no matter"
    assert through.colour_weights.tolist() == [1, 1, 0]
    shown = yielding(samples, [View(rgb, right, depth(camera), camera) for camera in cameras])
    assert shown.occupancy_weights.tolist() == pytest.approx([1, 1, 0.5])
    assert shown.colour_weights.tolist() == [0, 0, 0], "views know the colour of what they show"
    below = dataclasses.replace(samples, points=points + np.array([0, 0, -0.2], np.float32))
    assert yielding(below, []).occupancy_weights.tolist() == [1, 1, 1], "nothing is there, whatever views show"
