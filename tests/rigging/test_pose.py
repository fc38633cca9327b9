"""Posing: shape keys add up, bones turn what hangs on them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from backend.meshing.mesh import Mesh
from backend.rigging.avatar import AvatarPart, Material, RiggedAvatar, Skeleton
from backend.rigging.pose import pose_avatar

SKELETON = Skeleton(
    names=("Neck", "Head", "Jaw"),
    parents=np.array([-1, 0, 1]),
    heads=np.array([[0, 0.02, -0.15], [0, 0.01, -0.05], [0, 0, -0.04]]),
    tails=np.array([[0, 0.01, -0.05], [0, 0, 0.1], [0, -0.08, -0.08]]),
)


def avatar_of_points(seed, bone=None):
    """A part of 30 random points, on one bone or on random weights of two."""
    random = np.random.default_rng(seed)
    joints, weights = np.zeros((30, 4), int), np.zeros((30, 4))
    if bone is None:
        joints[:, :2], weights[:, 0] = (1, 2), random.uniform(0, 1, 30)
        weights[:, 1] = 1 - weights[:, 0]
    else:
        joints[:, 0], weights[:, 0] = bone, 1
    faces = np.arange(30).reshape(-1, 3)
    mesh = Mesh(random.normal(0, 0.1, (30, 3)), faces, np.zeros((1, 2)), np.zeros_like(faces))
    keys = {name: random.normal(0, 0.01, (30, 3)) for name in ("jawOpen", "mouthSmileLeft")}
    part = AvatarPart("head", mesh, np.zeros((1, 1, 3), np.uint8), Material(), joints, weights, keys)
    return RiggedAvatar([part], SKELETON)


def rotation(seed):
    return Rotation.random(random_state=seed % 2**31).as_matrix()


seeds = st.integers(0, 2**32 - 1)


def test_at_rest_nothing_moves():
    avatar = avatar_of_points(0)
    (posed,) = pose_avatar(avatar, {}, {"Head": np.eye(3)})
    np.testing.assert_allclose(posed, avatar.parts[0].mesh.vertices, atol=1e-12)


@given(seed=seeds, first=st.floats(-1, 2), second=st.floats(-1, 2))
@settings(max_examples=20, deadline=None)
def test_shape_keys_add_up(seed, first, second):
    avatar = avatar_of_points(seed)
    part = avatar.parts[0]
    (posed,) = pose_avatar(avatar, {"jawOpen": first, "mouthSmileLeft": second})
    expected = part.mesh.vertices + first * part.shape_keys["jawOpen"] + second * part.shape_keys["mouthSmileLeft"]
    np.testing.assert_allclose(posed, expected, atol=1e-12)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_a_bone_turns_its_vertices_about_its_head_after_the_shape_keys(seed):
    avatar = avatar_of_points(seed, bone=2)
    (bent,) = pose_avatar(avatar, {"jawOpen": 1.0})
    (posed,) = pose_avatar(avatar, {"jawOpen": 1.0}, {"Jaw": rotation(seed)})
    pivot = SKELETON.heads[2]
    np.testing.assert_allclose(posed, (bent - pivot) @ rotation(seed).T + pivot, atol=1e-12)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_children_follow_their_parents(seed):
    """Turning the root alone is one rigid motion of everything; turning a child first happens inside it."""
    avatar = avatar_of_points(seed)
    neck, jaw = rotation(seed), rotation(seed + 1)
    (before,) = pose_avatar(avatar, {}, {"Jaw": jaw})
    (after,) = pose_avatar(avatar, {}, {"Jaw": jaw, "Neck": neck})
    pivot = SKELETON.heads[0]
    np.testing.assert_allclose(after, (before - pivot) @ neck.T + pivot, atol=1e-12)


def test_a_bone_moves_nothing_that_hangs_on_its_parent():
    avatar = avatar_of_points(1, bone=1)
    (posed,) = pose_avatar(avatar, {}, {"Jaw": rotation(5)})
    np.testing.assert_allclose(posed, avatar.parts[0].mesh.vertices, atol=1e-12)


def test_weights_blend_between_the_bones():
    avatar = avatar_of_points(2)
    (posed,) = pose_avatar(avatar, {}, {"Jaw": rotation(7)})
    vertices, share, pivot = avatar.parts[0].mesh.vertices, avatar.parts[0].weights[:, 1, None], SKELETON.heads[2]
    turned = (vertices - pivot) @ rotation(7).T + pivot
    np.testing.assert_allclose(posed, (1 - share) * vertices + share * turned, atol=1e-12)


@pytest.mark.parametrize("arguments", [({"jawopen": 1.0},), ({}, {"jaw": np.eye(3)})])
def test_a_misspelt_name_is_an_error(arguments):
    with pytest.raises(KeyError, match="jaw"):
        pose_avatar(avatar_of_points(0), *arguments)
