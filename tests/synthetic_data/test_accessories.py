"""Glasses sit before the eyes and outside the skin; hats lie on the skull and cover the hair beneath."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial import KDTree

from backend.body_model.anny import load_anny
from synthetic_data.appearance.accessories import make_accessories
from synthetic_data.identity import EARRINGS, GLASSES, HEADWEAR, sample_identity
from synthetic_data.surface import extract, vertex_normals


@pytest.fixture(scope="module")
def person():
    return sample_identity(load_anny(), 3, 1, expression_gain=0.0)


@pytest.fixture(scope="module")
def vertices(person):
    return person.vertices(load_anny())


def worn(person, vertices, **what):
    bare = {"glasses": "none", "headwear": "none", "earrings": "none"}
    return make_accessories(load_anny(), vertices, dataclasses.replace(person.accessories, **{**bare, **what}))


def height_above_skin(points, vertices):
    model = load_anny()
    skin = model.topology.faces[model.topology.parts["skin"]]
    used = np.unique(skin)
    _, nearest = KDTree(vertices[used]).query(points)
    return ((points - vertices[used][nearest]) * vertex_normals(vertices, skin)[used][nearest]).sum(1)


def test_nothing_is_worn_where_nothing_is_said(person, vertices):
    assert worn(person, vertices) == ([], None)


@pytest.mark.parametrize("shape", [g for g in GLASSES if g != "none"])
def test_each_eye_looks_through_a_lens(shape, person, vertices):
    pieces, _ = worn(person, vertices, glasses=shape)
    lenses = next(p for p in pieces if p.name == "lenses").patch.vertices
    for sphere, side in zip(load_anny().eye_spheres(vertices), (1, -1), strict=True):
        lens = lenses[lenses[:, 0] * side > 0]
        assert lens[:, 1].max() < sphere.centre[1] - sphere.radius
        low, high = lens.min(0), lens.max(0)
        assert low[0] < sphere.centre[0] < high[0] and low[2] < sphere.centre[2] < high[2]
    assert height_above_skin(lenses, vertices).min() > 0


@pytest.mark.parametrize("shape", [g for g in GLASSES if g != "none"])
def test_temples_reach_behind_the_ears(shape, person, vertices):
    pieces, _ = worn(person, vertices, glasses=shape)
    frame = next(p for p in pieces if p.name == "frame").patch.vertices
    model = load_anny()
    ears = vertices[model.topology.regions["ears"] > 0.5]
    assert frame[:, 1].max() > np.median(ears[:, 1])
    assert np.abs(frame[:, 0]).max() < np.abs(vertices[model.template[:, 2] > -0.05, 0]).max() + 0.01


@pytest.mark.parametrize("number", range(4))
def test_temples_lie_between_ear_and_head_and_end_behind_the_ear(number):
    model = load_anny()
    person = sample_identity(model, 1, number)
    vertices = person.vertices(model)
    pieces, _ = worn(person, vertices, glasses="wayfarer")
    arms = next(p for p in pieces if p.name == "frame").patch.vertices
    faces = model.topology.faces[model.topology.parts["skin"]]
    skin = extract(vertices, faces, np.zeros((len(faces), 3, 2))).refined(1)
    normals, tree = vertex_normals(skin.vertices, skin.faces), KDTree(skin.vertices)
    for side in (1, -1):
        ear = vertices[(model.topology.regions["ears"] > 0.5) & (model.template[:, 0] * side > 0)]
        arm = arms[(arms[:, 0] * side > 0) & (arms[:, 1] > ear[:, 1].min())]
        _, nearest = tree.query(arm)
        above = ((arm - skin.vertices[nearest]) * normals[nearest]).sum(1)
        assert above.min() > -0.0005
        # The lower half of what is hooked touches the head, behind the ear and hidden by it.
        tip = arm[np.argsort(arm[:, 2])[:9]]
        assert tip[:, 2].min() > (ear[:, 2].min() + ear[:, 2].max()) / 2 - 0.006
        assert tip[:, 1].min() > np.median(ear[:, 1])
        assert np.abs(arm[:, 0]).max() < np.abs(ear[:, 0]).max()
        assert above[np.argsort(arm[:, 2])[:9]].min() < 0.002


@pytest.mark.parametrize("kind", [h for h in HEADWEAR if h != "none"])
def test_headwear_encloses_the_skull_and_leaves_eyes_and_mouth_free(kind, person, vertices):
    model = load_anny()
    pieces, covered = worn(person, vertices, headwear=kind)
    assert covered is not None
    points = np.concatenate([p.patch.vertices for p in pieces])
    assert np.isfinite(points).all() and np.abs(points).max() < 0.25
    before_the_face = (np.abs(points[:, 0]) < 0.045) & (points[:, 1] < -0.06) & (points[:, 2] > -0.066)
    assert points[before_the_face, 2].min(initial=1.0) > 0.035
    top = np.array([[0.0, 0.01, 0.135]])
    nape = np.array([[0.0, 0.06, -0.09]])
    if kind not in ("headband", "headscarf"):
        assert covered(top)[0] > 0.9 and covered(nape)[0] < 0.1
        assert points[:, 2].max() > vertices[model.template[:, 2] > 0][:, 2].max()


def test_a_cap_sits_close_above_the_ears_and_its_visor_runs_out_into_the_band(person, vertices):
    pieces, _ = worn(person, vertices, headwear="cap")
    crown, visor = (next(p for p in pieces if p.name == name).patch.vertices for name in ("cap", "visor"))
    ears = vertices[load_anny().topology.regions["ears"] > 0.5]
    beside = crown[(np.abs(crown[:, 1] - ears[:, 1].mean()) < 0.02) & (np.abs(crown[:, 0]) > 0.05)]
    assert 0 < beside[:, 2].min() - ears[:, 2].max() < 0.020
    edge = beside[beside[:, 2] < beside[:, 2].min() + 0.004]
    assert np.median(height_above_skin(edge, vertices)) < 0.0090
    ends = visor[np.abs(visor[:, 0]) > np.abs(visor[:, 0]).max() - 0.002]
    assert np.ptp(ends[:, 2]) < 0.006


@pytest.mark.parametrize("kind", ["cap", "beanie", "brimmed hat", "turban", "headband"])
def test_hair_lies_flat_at_the_lower_edge_of_a_hat(kind, person, vertices):
    pieces, covered = worn(person, vertices, headwear=kind)
    assert covered is not None
    points = pieces[0].patch.vertices
    back = points[(points[:, 1] > 0.05) & (np.abs(points[:, 0]) < 0.04)]
    assert covered(back[np.argsort(back[:, 2])[:6]]).min() > 0.9


@pytest.mark.parametrize("kind", [e for e in EARRINGS if e != "none"])
def test_earrings_hang_at_both_lobes(kind, person, vertices):
    model = load_anny()
    (piece,), _ = worn(person, vertices, earrings=kind)
    ears = vertices[model.topology.regions["ears"] > 0.5]
    for side in (1, -1):
        ring = piece.patch.vertices[piece.patch.vertices[:, 0] * side > 0]
        ear = ears[ears[:, 0] * side > 0]
        lobe = ear[np.argmin(ear[:, 2])]
        assert np.linalg.norm(ring - lobe, axis=1).min() < 0.012
        assert ring[:, 2].max() < ear[:, 2].mean()
