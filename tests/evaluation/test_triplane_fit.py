"""The measurement of a tri-plane fit: the files it reads, and that its figures mean what they say."""

import numpy as np
import pytest
import torch

from backend.evaluation.triplane_fit import evaluate_triplane_fit, read_views
from backend.radiance.cameras import Camera
from backend.radiance.fitting import FitConfig
from backend.radiance.renderer import render_view
from backend.radiance.supervision import View
from tests.radiance.fields import sphere


def picture(azimuth: float) -> View:
    camera = Camera.orbit(azimuth, 10, distance=1.35, fov_degrees=21.5, size=32)
    rendering = render_view(sphere(), camera)
    return View(rendering.rgb, rendering.alpha, np.where(rendering.alpha > 0.5, rendering.depth, 0), camera)


def test_a_fitted_ball_is_measured():
    shown, held_out = [picture(azimuth) for azimuth in range(0, 360, 30)], [picture(45), picture(200)]
    config = FitConfig(level_sizes=(8, 16, 32), steps=100, point_batch=3000, ray_batch=400)
    fractions: list[float] = []
    triplane, result, comparison = evaluate_triplane_fit(
        shown, held_out, config=config, generator=torch.Generator().manual_seed(0), progress=fractions.append
    )
    assert triplane.planes.shape[-1] == 32
    assert result.psnr > 24 and result.person_psnr > 30
    assert result.psnr == pytest.approx(np.mean(result.view_psnr))
    assert 0 < result.depth_error_mm < 6
    assert comparison.shape == (3 * 32, 2 * 32, 3)
    assert fractions[-1] == 1


def test_files_of_views_are_read_as_they_were_written(tmp_path):
    views = [picture(0), picture(90), picture(180)]
    np.savez(
        tmp_path / "views.npz",
        rgba=np.stack([np.rint(255 * np.dstack([v.rgb, v.alpha])).astype(np.uint8) for v in views]),
        depth=np.stack([v.depth for v in views]),
        world_to_camera=np.stack([v.camera.world_to_camera for v in views]),
        intrinsics=np.stack([v.camera.intrinsics for v in views]),
        held_out=np.array([False, True, False]),
    )
    shown, held_out = read_views(tmp_path / "views.npz")
    assert (len(shown), len(held_out)) == (2, 1)
    for read, written in zip([*shown, *held_out], [views[0], views[2], views[1]], strict=True):
        np.testing.assert_allclose(read.rgb, written.rgb, atol=0.003)
        np.testing.assert_allclose(read.alpha, written.alpha, atol=0.003)
        np.testing.assert_array_equal(read.depth, written.depth)
        np.testing.assert_array_equal(read.camera.world_to_camera, written.camera.world_to_camera)
