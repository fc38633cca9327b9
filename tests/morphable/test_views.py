"""Cameras in the authors' conventions: trajectories, projections and frusta."""

import pytest
import torch

from backend.morphable.views import REACH, Views, body_views, capture_views, face_views


def test_the_face_trajectory_goes_from_the_right_ear_to_the_left_one():
    views = face_views()
    rotation, shift = views.world_to_camera[0, :, :, :3], views.world_to_camera[0, :, :, 3:]
    centres = -(rotation.transpose(1, 2) @ shift)[..., 0]
    azimuth = torch.rad2deg(torch.atan2(centres[:, 0], centres[:, 2]))
    torch.testing.assert_close(azimuth, torch.linspace(-90, 90, 16, dtype=torch.float64))
    torch.testing.assert_close(centres.norm(dim=1), torch.full((16,), 4.5, dtype=torch.float64))


@pytest.mark.parametrize("views", [face_views(), capture_views(), body_views()], ids=["face", "capture", "body"])
def test_the_world_s_origin_is_in_the_middle_of_every_trajectory(views):
    grid = views.sampling_grid(torch.zeros(1, 1, 3, dtype=torch.float64), 32)
    assert len(views) == 16 and grid.abs().max() < 0.5


@pytest.mark.parametrize("views", [face_views(), capture_views(), body_views()], ids=["face", "capture", "body"])
def test_a_frustum_lies_behind_its_pixels(views):
    """Each point of a frustum is seen at the pixel it was made from, at the depth it was made for."""
    points = views.frustum_points(6, 8)
    grid = views.sampling_grid(points[0].flatten(1, 3)[0][None], 8)[0, 0].unflatten(0, (6, 8, 8))
    place = torch.linspace(-1, 1, 8, dtype=grid.dtype)
    torch.testing.assert_close(grid, torch.stack(torch.meshgrid(place, place, indexing="xy"), -1).expand_as(grid))
    matrix = views.world_to_camera[0, 0]
    depth = (points[0, 0] @ matrix[:, :3].T + matrix[:, 3])[..., 2]
    torch.testing.assert_close(depth, views.frustum_depths(6)[0, 0][:, None, None].expand_as(depth))
    assert (depth[-1] - depth[0]).mean() == pytest.approx(2 * REACH)


def test_subjects_share_views_or_have_their_own():
    views = face_views()
    both = views.of_subjects(2, torch.device("cpu"))
    assert both.world_to_camera.shape == (2, 16, 3, 4) and both.intrinsics.dtype == torch.float32
    own = Views(both.intrinsics, both.world_to_camera * torch.tensor([1.0, 2.0])[:, None, None, None], "perspective")
    assert torch.equal(own.of_subjects(2, torch.device("cpu")).world_to_camera, own.world_to_camera)
