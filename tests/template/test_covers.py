"""A layer over a ball, measured from its outline in one picture."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.meshing.distance import SurfaceSamples
from backend.meshing.texture import View, facing
from backend.radiance.cameras import Camera
from backend.template.covers import Cover, CoverPrior, carve, cover_height, measure_cover, signed_mask_distance

RADIUS, SIZE = 0.08, 256
CAMERA = Camera.orbit(0, 0, distance=1.0, fov_degrees=22, size=SIZE, target=(0, 0, 0))
BALL = trimesh.creation.icosphere(4, RADIUS)
VERTICES, FACES = np.asarray(BALL.vertices), np.asarray(BALL.faces)
PRIOR = CoverPrior(np.ones(len(VERTICES)), thickness=0.016, facing_limit=0.016, least=0.002, evidence=(0.1, 0.5))
VIEW = View(np.zeros((SIZE, SIZE, 3), np.float32), np.ones((SIZE, SIZE), np.float32), CAMERA, VERTICES)
KNOWN = np.ones((SIZE, SIZE), bool)
COSINE = facing(VIEW, VERTICES, VERTICES / RADIUS)


def disc(radius, centre=(0.0, 0.0, 0.0)):
    """Pixels whose ray passes within `radius` metres of the centre."""
    origin, rays = CAMERA.rays()
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    offset = np.asarray(centre) - origin
    along = rays @ offset
    return (np.linalg.norm(along[..., None] * rays - offset, axis=-1) < radius).astype(np.float32)


def measure(mask, person=None, known=KNOWN, prior=PRIOR):
    return measure_cover(VIEW, FACES, mask, mask if person is None else person, known, prior)


@given(thickness=st.floats(0.008, 0.06))
@settings(max_examples=8, deadline=None)
def test_the_outline_tells_how_thick_the_layer_is(thickness):
    cover = measure(disc(RADIUS + thickness))
    rim = np.abs(COSINE) < 0.12
    assert np.median(cover.thickness[rim]) == pytest.approx(thickness, abs=0.004)
    np.testing.assert_allclose(cover.coverage, 1, atol=0.02)


@pytest.mark.parametrize("thickness", [0.008, 0.03])
def test_the_unseen_back_is_covered_too(thickness):
    """As high as usual, or as along the rim, or anything between."""
    cover = measure(disc(RADIUS + thickness))
    back = COSINE < -0.7
    low, high = sorted([thickness, PRIOR.thickness])
    assert low - 0.002 < cover.thickness[back].min()
    assert cover.thickness[back].max() < high + 0.002
    beside_the_rim = np.abs(COSINE + 0.25) < 0.05
    assert abs(np.median(cover.thickness[beside_the_rim]) - thickness) < 0.5 * abs(PRIOR.thickness - thickness)


def test_facing_the_camera_the_layer_is_kept_low():
    """How high it is there the picture cannot show."""
    cover = measure(disc(RADIUS + 0.05))
    assert cover.thickness[COSINE > 0.6].max() <= PRIOR.facing_limit + 1e-9
    assert cover.thickness[COSINE > 0.6].min() > 0.004


def test_where_the_mask_is_empty_there_is_nothing():
    cover = measure(np.zeros((SIZE, SIZE), np.float32), person=disc(RADIUS))
    np.testing.assert_array_equal(cover.thickness, 0)
    assert cover.coverage.max() < 0.05


def test_a_bald_head_stays_bald_at_the_back_and_a_covered_one_covered():
    """The same unseen side: what the picture shows of the expected region decides."""
    back = COSINE < -0.5
    assert measure(np.zeros((SIZE, SIZE), np.float32), person=disc(RADIUS)).coverage[back].max() < 0.05
    assert measure(disc(RADIUS + 0.01)).coverage[back].min() > 0.95


def test_a_layer_on_one_half_ends_at_the_border():
    """Hair above, skin below: the mask is the upper half of the disc."""
    upper = disc(RADIUS + 0.02) * (np.arange(SIZE)[:, None] < SIZE / 2)
    prior = CoverPrior((VERTICES[:, 2] > 0).astype(float), 0.016, 0.016, 0.002, (0.1, 0.5))
    cover = measure(upper, person=disc(RADIUS + 0.02), prior=prior)
    seen = COSINE > 0.2
    assert (cover.thickness[VERTICES[:, 2] < -0.03] == 0).all()
    assert cover.thickness[(VERTICES[:, 2] > 0.03) & seen].min() > 0.004
    up = VERTICES[:, 2] > 0.95 * RADIUS
    assert np.median(cover.thickness[up]) == pytest.approx(0.02, abs=0.006)


def test_beyond_the_picture_the_prior_holds():
    """The crop cuts the layer off above: nothing says that it ends there."""
    row = int(CAMERA.project(np.array([0, 0, RADIUS + 0.004]))[1])
    known = np.ones((SIZE, SIZE), bool)
    known[:row] = False
    cover = measure(disc(RADIUS + 0.03) * known, known=known)
    top = VERTICES[:, 2] > 0.95 * RADIUS
    assert np.median(cover.thickness[top]) > 0.008
    assert np.isfinite(cover.thickness).all()


def test_no_thickness_is_negative_or_without_bound():
    cover = measure(np.ones((SIZE, SIZE), np.float32))
    assert cover.thickness.min() >= 0
    assert cover.thickness.max() <= 0.09


def test_vertices_of_no_face_have_no_cover():
    faces = FACES[(VERTICES[FACES][..., 0] > 0).all(1)]
    cover = measure_cover(VIEW, faces, disc(RADIUS + 0.02), disc(RADIUS + 0.02), KNOWN, PRIOR)
    assert (cover.thickness[VERTICES[:, 0] < 0] == 0).all()


@given(radius=st.floats(0.02, 0.09))
@settings(max_examples=10, deadline=None)
def test_the_distance_to_an_outline_is_positive_inside(radius):
    distance = signed_mask_distance(disc(radius))
    metre = 1 / (CAMERA.intrinsics[0, 0] / 1.0)
    assert distance[SIZE // 2, SIZE // 2] * metre == pytest.approx(radius, abs=2 * metre)
    assert distance[SIZE // 2, 0] < 0
    np.testing.assert_array_equal(distance > 0, disc(radius) > 0.5)


def test_without_any_mask_all_is_far_outside():
    assert signed_mask_distance(np.zeros((4, 4))).max() <= -1000


def test_height_falls_by_a_metre_per_metre_from_the_top_of_the_layer():
    samples = SurfaceSamples.spread(VERTICES, FACES, 0.004)
    cover = Cover(np.full(len(VERTICES), 0.02), np.ones(len(VERTICES)))
    radii = np.array([0.09, 0.1, 0.11, 0.3])
    distance, nearest = samples.query(radii[:, None] * [[0.0, 0, 1]], limit=0.1)
    height = cover_height(cover, samples, distance, nearest)
    np.testing.assert_allclose(height[:3], [0.01, 0, -0.01], atol=5e-4)
    assert height[3] == -1.0  # nothing near


def test_on_bare_skin_there_is_no_height():
    samples = SurfaceSamples.spread(VERTICES, FACES, 0.004)
    bare = Cover(np.zeros(len(VERTICES)), np.zeros(len(VERTICES)))
    distance, nearest = samples.query(np.array([[0, 0, 0.079], [0, 0, 0.081]]))
    assert (cover_height(bare, samples, distance, nearest) < 0).all()


def test_a_layer_is_carved_to_its_own_outline_in_front_and_to_the_persons_behind():
    own, person = signed_mask_distance(disc(0.05)), signed_mask_distance(disc(0.1))
    depth = np.full((SIZE, SIZE), 1.0)  # the body, a plane through the origin
    points = np.array([[0, -0.05, 0], [0.07, -0.05, 0], [0, 0.05, 0], [0.07, 0.05, 0], [0.13, 0.05, 0]])
    allowed = carve(points, CAMERA, depth, own, person, KNOWN)
    np.testing.assert_array_equal(allowed > 0, [True, False, True, True, False])
    assert allowed[0] == pytest.approx(0.05, abs=0.006)
    assert allowed[1] == pytest.approx(-0.02, abs=0.006)


def test_what_lies_beyond_the_picture_is_not_carved():
    nowhere = np.zeros((SIZE, SIZE), bool)
    far = np.full((SIZE, SIZE), -100.0)
    points = np.array([[0, 0.0, 0], [2.0, 0, 0]])
    for known in (nowhere, KNOWN):
        allowed = carve(points, CAMERA, np.full((SIZE, SIZE), 1.0), far, far, known)
        assert allowed[1] > 0
    assert carve(points, CAMERA, np.full((SIZE, SIZE), 1.0), far, far, nowhere)[0] > 0
