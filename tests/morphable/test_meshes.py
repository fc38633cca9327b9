"""Meshes in the networks' world, and the networks' cameras around a head of ours."""

import numpy as np
import pytest
import torch

from backend.body_model.bilinear import load_bilinear
from backend.body_model.flame import load_flame
from backend.morphable.meshes import HEAD, TRACKED, body_placement, published_placement
from backend.morphable.views import Views, body_views, capture_views, face_views
from backend.radiance.cameras import Camera
from tests.body_model.conftest import facescape_arrays, flame_arrays


def sampled(views, points):
    """Pixels of the first subject's picture, per view."""
    grid = views.sampling_grid(torch.from_numpy(points)[None], 32)[0].numpy()
    return (grid + 1) / 2 * 31 * 8


@pytest.mark.parametrize("views", [face_views(), capture_views()], ids=["face", "capture"])
@pytest.mark.parametrize("placement", [HEAD, TRACKED], ids=["head", "tracked"])
def test_their_cameras_around_our_head_see_what_they_see_in_their_world(views, placement):
    points = np.random.default_rng(0).normal(0, 0.06, (50, 3))
    cameras = placement.cameras(views)
    assert all(isinstance(camera, Camera) and camera.width == 256 for camera in cameras)
    for camera, seen in zip(cameras, sampled(views, placement(points)), strict=True):
        np.testing.assert_allclose(camera.project(points), seen, atol=1e-6)


def test_the_face_trajectory_looks_at_our_head_from_right_to_left():
    cameras = HEAD.cameras(face_views())
    centres = np.array([camera.centre for camera in cameras])
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 4.5 / 2.5)
    np.testing.assert_allclose(centres[:, 2], 0, atol=1e-12)
    assert centres[0, 0] < -1.7 and centres[-1, 0] > 1.7, "the character's left is +x"
    assert (centres[1:-1, 1] < 0).all(), "all stand before the face"
    crown = np.array([camera.project(np.array([0, 0, 0.1])) for camera in cameras])
    assert (crown[:, 1] < 128).all(), "up is up"


def test_placements_follow_each_other():
    points = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_allclose(TRACKED.after(HEAD)(points), TRACKED(HEAD(points)))


def test_flame_comes_out_as_its_own_file_has_it(tmp_path):
    """Vertices in FLAME's frame, by the published formula, then the authors' similarity; whoever the person is."""
    arrays = flame_arrays(seed=1)
    np.savez(tmp_path / "flame.npz", **arrays)
    head = load_flame(tmp_path / "flame.npz")
    identity = np.random.default_rng(2).normal(0, 1, 10)
    own = arrays["v_template"] + arrays["shapedirs"][..., :10] @ identity
    world = published_placement(head, identity)(head.neutral(identity))
    np.testing.assert_allclose(world, TRACKED(own), atol=1e-5)


def test_the_bilinear_model_comes_out_as_its_scans_lie(tmp_path):
    arrays = facescape_arrays(seed=3)
    np.savez(tmp_path / "facescape.npz", **arrays)
    head = load_bilinear(tmp_path / "facescape.npz")
    identity = np.random.default_rng(2).normal(0, 1, 6)
    weights = arrays["id_mean"] + np.sqrt(arrays["id_var"]) * identity
    scan = (arrays["shape_bm_core"][:, 0] @ weights).reshape(-1, 3) / 1000
    world = published_placement(head, identity)(head.neutral(identity))
    np.testing.assert_allclose(world[: len(scan)], 2.5 * scan, atol=1e-5)


def test_a_body_stands_in_the_middle_and_fits_its_pictures():
    vertices = np.random.default_rng(0).uniform([-0.4, -0.2, 0], [0.4, 0.2, 1.8], (500, 3))
    world = body_placement(vertices, scale=1.0)(vertices)
    np.testing.assert_allclose(world.min(0), -world.max(0), atol=1e-12)
    assert np.ptp(world[:, 2]) == pytest.approx(0.6 * np.ptp(vertices[:, 2]))
    grid = body_views().sampling_grid(torch.from_numpy(world)[None], 32)
    assert grid.abs().max() < 1


def test_bodies_have_no_pinhole_camera():
    with pytest.raises(AssertionError):
        HEAD.cameras(body_views())


def test_views_of_several_subjects_are_told_apart():
    views = face_views(4)
    turned = views.world_to_camera.flip(1)
    both = Views(views.intrinsics.repeat(2, 1, 1, 1), torch.cat([views.world_to_camera, turned]), "perspective")
    first, second = HEAD.cameras(both, 0), HEAD.cameras(both, 1)
    np.testing.assert_allclose(first[0].world_to_camera, second[3].world_to_camera)
