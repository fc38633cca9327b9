"""FLAME and SMPL-X give the vertices that their authors' own code gives, and answer the protocol exactly."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.articulated import JAW_TURNS
from backend.body_model.base import defaults
from backend.body_model.flame import load_flame
from backend.body_model.linear import Y_UP_TO_HEAD
from backend.body_model.smplx_model import load_smplx
from backend.errors import MaquetteError

LOADERS = {"flame": load_flame, "smplx": load_smplx}
JOINTS = {
    "flame": {"neck": 1, "jaw": 2, "left": 3, "right": 4},
    "smplx": {"neck": 12, "jaw": 22, "left": 23, "right": 24},
}
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def arrays(files):
    return {"flame": files.flame_arrays(seed=1), "smplx": files.smplx_arrays(seed=2)}


@pytest.fixture(scope="module")
def paths(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in LOADERS:
        np.savez(folder / f"{name}.npz", **arrays[name])
    return {name: folder / f"{name}.npz" for name in LOADERS}


@pytest.fixture(scope="module")
def heads(paths):
    return {name: load(paths[name]) for name, load in LOADERS.items()}


@pytest.fixture(scope="module")
def oracles(paths, arrays, tmp_path_factory):
    """The authors' own models, in float64."""
    import smplx
    import torch

    folder = tmp_path_factory.mktemp("oracles")
    np.savez(folder / "FLAME_NEUTRAL.npz", **arrays["flame"])
    embedding = {"lmk_face_idx": np.zeros(51, np.int64), "lmk_b_coords": np.full((51, 3), 1 / 3)}
    (folder / "flame_static_embedding.pkl").write_bytes(pickle.dumps(embedding))
    flame = smplx.FLAME(str(folder), ext="npz", num_betas=10, num_expression_coeffs=10, dtype=torch.float64)
    body = smplx.SMPLX(
        str(paths["smplx"]),
        num_betas=10,
        num_expression_coeffs=10,
        use_pca=False,
        flat_hand_mean=True,
        dtype=torch.float64,
    )
    # The extra joints are vertices of the full body, which the small file lacks.
    body.vertex_joint_selector.extra_joints_idxs = torch.zeros(0, dtype=torch.long)
    return {"flame": flame, "smplx": body}


def oracle_vertices(name, oracle, shape, expression, turns):
    import torch

    def row(values):
        return torch.tensor(np.asarray(values, float))[None]

    zero = np.zeros(3)
    pose = {"jaw_pose": "jaw", "leye_pose": "left", "reye_pose": "right"}
    arguments = {argument: row(turns.get(joint, zero)) for argument, joint in pose.items()}
    if name == "flame":
        arguments["neck_pose"] = row(turns.get("neck", zero))
    else:
        body = np.zeros(63)
        body[33:36] = turns.get("neck", zero)
        arguments["body_pose"] = row(body)
    with torch.no_grad():
        return oracle(betas=row(shape), expression=row(expression), **arguments).vertices[0].numpy()


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("seed", range(4))
def test_vertices_are_those_of_the_authors_own_code(name, seed, heads, oracles):
    random = np.random.default_rng(seed)
    head = heads[name]
    shape, expression = random.normal(0, 1, 10), random.normal(0, 1, 10)
    turns = {joint: random.normal(0, 0.3, 3) for joint in ("neck", "jaw", "left", "right")}
    expected = oracle_vertices(name, oracles[name], shape, expression, turns) @ Y_UP_TO_HEAD.T
    found = head.posed(shape, expression, {JOINTS[name][j]: Y_UP_TO_HEAD @ turn for j, turn in turns.items()})
    # The head frame follows the eyes of the neutral head; all that differs is where its origin lies.
    difference = found - expected
    np.testing.assert_allclose(difference - difference.mean(0), 0, atol=1e-6)


@pytest.mark.parametrize("name", LOADERS)
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_everybodys_eyes_lie_where_the_head_frame_wants_them(name, heads, seed):
    head = heads[name]
    neutral = head.neutral(np.random.default_rng(seed).normal(0, 1, len(head.identity_parameters)))
    left, right = head.eye_spheres(neutral)
    np.testing.assert_allclose((left.centre + right.centre) / 2, [0, -0.075, 0.02], atol=1e-6)
    assert left.centre[0] > 0.02
    assert right.centre[0] < -0.02
    assert left.radius == pytest.approx(0.012, abs=0.004)


@pytest.mark.parametrize("name", LOADERS)
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_the_jacobian_is_the_slope_of_the_neutral_head(name, heads, seed):
    head = heads[name]
    random = np.random.default_rng(seed)
    identity = random.normal(0, 1, len(head.identity_parameters))
    vertices = random.choice(len(head.template), 20, replace=False)
    jacobian = head.identity_jacobian(identity, vertices)
    for i in range(len(identity)):
        step = np.zeros_like(identity)
        step[i] = 0.5
        slope = (head.neutral(identity + step) - head.neutral(identity - step))[vertices]
        np.testing.assert_allclose(jacobian[i], slope, atol=1e-7)


@pytest.mark.parametrize("name", LOADERS)
def test_expressions_are_the_components_and_the_turned_jaw(name, heads, oracles):
    head = heads[name]
    identity = np.random.default_rng(5).normal(0, 1, 10)
    offsets = head.expression_offsets(identity)
    names = [p.name for p in head.expression_parameters]
    assert len(names) == len(offsets) == 10 + len(JAW_TURNS)
    neutral = oracle_vertices(name, oracles[name], identity, np.zeros(10), {})
    for index in (0, 9):
        component = np.eye(10)[index]
        expected = oracle_vertices(name, oracles[name], identity, component, {}) - neutral
        np.testing.assert_allclose(offsets[index], expected @ Y_UP_TO_HEAD.T, atol=1e-6)
    for turn, rotation in JAW_TURNS.items():
        expected = oracle_vertices(name, oracles[name], identity, np.zeros(10), {"jaw": rotation}) - neutral
        np.testing.assert_allclose(offsets[names.index(turn)], expected @ Y_UP_TO_HEAD.T, atol=1e-6)


def test_the_jaw_opens_downwards_and_turns_to_its_side(heads):
    head = heads["flame"]
    names = [p.name for p in head.expression_parameters]
    offsets = head.expression_offsets(defaults(head.identity_parameters))
    chin = (head.surface.jaw > 0.6) & (head.template[:, 1] < -0.06)
    mean = {turn: offsets[names.index(turn)][chin].mean(0) for turn in JAW_TURNS}
    assert mean["jawOpen"][2] < -0.005
    assert mean["jawLeft"][0] > 0.002
    assert mean["jawRight"][0] < -0.002


@pytest.mark.parametrize("name", LOADERS)
def test_skeleton_and_weights_fit_together(name, heads):
    head = heads[name]
    skeleton = head.skeleton(defaults(head.identity_parameters))
    assert {"Neck", "Head", "Jaw", "LeftEye", "RightEye"} <= set(skeleton.names)
    assert (skeleton.parents < np.arange(len(skeleton.names))).all()
    assert np.linalg.norm(skeleton.tails - skeleton.heads, axis=1).min() > 1e-4
    weights = head.skin_weights
    assert weights.shape == (len(head.template), len(skeleton.names))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-9)
    assert weights.min() >= 0
    for part, bone in (("eye_left", "LeftEye"), ("eye_right", "RightEye")):
        ball = np.unique(head.topology.faces[head.topology.parts[part]])
        np.testing.assert_allclose(weights[ball, skeleton.names.index(bone)], 1)


@pytest.mark.parametrize("name", LOADERS)
def test_triangles_parts_and_texture_coordinates_are_whole(name, heads):
    topology = heads[name].topology
    assert sorted(np.concatenate(list(topology.parts.values()))) == list(range(len(topology.faces)))
    assert topology.faces.max() < len(heads[name].template)
    assert topology.uv_faces.shape == topology.faces.shape
    assert topology.uvs.min() >= 0
    assert topology.uvs.max() <= 1
    # Nothing is smeared across the seam; only triangles at the poles of the cylinder are wide.
    off_axis = np.hypot(*heads[name].template[topology.faces][..., :2].T).min(0) > 0.02
    assert np.ptp(topology.uvs[topology.uv_faces][off_axis][..., 0], axis=1).max() < 0.5
    assert {"face", "lips", "eyelids", "ears", "scalp"} <= set(topology.regions)


def test_smplx_keeps_head_neck_and_upper_chest(files, tmp_path):
    arrays = files.smplx_arrays()
    far = arrays["v_template"][:, 1] < -0.1
    arrays["v_template"][far] -= [0, 0.4, 0]
    np.savez(tmp_path / "SMPLX_NEUTRAL.npz", **arrays)
    head = load_smplx(tmp_path)
    assert 0 < len(head.template) < len(far)
    assert head.template[:, 2].min() > -0.27


@pytest.mark.parametrize("components", [20, 400])
def test_pickles_of_python_2_and_3_and_npz_make_the_same_flame(files, tmp_path, components):
    arrays = files.flame_arrays(components=components)
    (tmp_path / "generic_model.pkl").write_bytes(files.official_flame_pickle(arrays))
    (tmp_path / "flame2023.pkl").write_bytes(pickle.dumps(arrays))
    np.savez(tmp_path / "flame.npz", **arrays)
    heads = [load_flame(tmp_path / name) for name in ("generic_model.pkl", "flame2023.pkl", "flame.npz")]
    assert len(heads[0].identity_parameters) == (300 if components == 400 else 10)
    assert len(heads[0].expression_parameters) == (103 if components == 400 else 13)
    for head in heads[1:]:
        np.testing.assert_array_equal(head.template, heads[0].template)
        np.testing.assert_array_equal(head.skin_weights, heads[0].skin_weights)


def test_flame_takes_texture_coordinates_and_masks_from_the_files_beside_it(files, tmp_path):
    arrays = files.flame_arrays()
    np.savez(tmp_path / "FLAME_NEUTRAL.npz", **arrays)
    masks = {"lips": [1, 2, 3], "face": [0, 1, 2, 3, 4], "left_ear": [7], "right_ear": [8], "scalp": [0]}
    (tmp_path / "FLAME_masks.pkl").write_bytes(pickle.dumps({k: np.array(v) for k, v in masks.items()}, 2))
    uvs = np.random.default_rng(0).uniform(0, 1, (len(arrays["v_template"]), 2))
    lines = [f"v {x} {y} {z}" for x, y, z in arrays["v_template"]] + [f"vt {u:.6f} {v:.6f}" for u, v in uvs]
    # Another order of triangles, other first corners.
    for a, b, c in arrays["f"][::-1].astype(int) + 1:
        lines.append(f"f {b}/{b}/1 {c}/{c}/1 {a}/{a}/1")
    (tmp_path / "head_template.obj").write_text("\n".join(lines))
    topology = load_flame(tmp_path).topology
    np.testing.assert_allclose(topology.uvs[topology.uv_faces], uvs[topology.faces], atol=1e-6)
    assert np.flatnonzero(topology.regions["lips"]).tolist() == [1, 2, 3]
    assert np.flatnonzero(topology.regions["ears"]).tolist() == [7, 8]

    (tmp_path / "head_template.obj").write_text("\n".join(lines[:-1]))
    with pytest.raises(MaquetteError, match=r"head_template.obj cannot be used because its triangles"):
        load_flame(tmp_path)


def broken(arrays, name, value):
    return {k: v for k, v in arrays.items() if k != name} if value is None else arrays | {name: value}


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("v_template", lambda a: a[:, :2], "'v_template' should be any x 3, not 434 x 2"),
        ("v_template", lambda a: np.where(np.arange(len(a))[:, None] == 3, np.nan, a), "not finite"),
        ("shapedirs", lambda a: a[:-1], "'shapedirs' should be 434 x 3 x any, not 433 x 3 x 20"),
        ("weights", lambda a: a * 0.5, "do not sum to one"),
        ("weights", lambda a: np.where(np.arange(a.shape[1]) == 3, 0.0, a) + 1e-9, "sum to one"),
        ("f", lambda a: a + 10_000, "points beyond its 434 entries"),
        ("f", lambda a: a + 0.5, "no indices"),
        ("kintree_table", lambda a: a[:, ::-1], "not a tree"),
        ("posedirs", lambda a: a.astype("U8"), "'posedirs' is not an array of numbers"),
        ("J_regressor", lambda a: None, "has no 'J_regressor'"),
        ("v_template", lambda a: None, "has no 'v_template'"),
    ],
)
def test_a_misshapen_file_is_refused_in_one_sentence_that_names_file_and_array(files, tmp_path, name, spoil, reason):
    arrays = files.flame_arrays()
    np.savez(tmp_path / "flame.npz", **broken(arrays, name, spoil(arrays[name])))
    with pytest.raises(MaquetteError) as caught:
        load_flame(tmp_path / "flame.npz")
    message = caught.value.message
    assert reason in message
    assert "flame.npz" in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 nothing", pickle.dumps([1, 2])])
@pytest.mark.parametrize(("name", "file"), [("flame", "generic_model.pkl"), ("smplx", "SMPLX_NEUTRAL.npz")])
def test_a_corrupt_file_is_refused(name, file, content, tmp_path):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(MaquetteError, match=file):
        LOADERS[name](tmp_path)
