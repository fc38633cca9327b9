"""Views as rays and points: the cube is cut out of them, and labels agree with what the views saw."""

import dataclasses

import numpy as np
import pytest
import torch

from backend.radiance.cameras import Camera
from backend.radiance.supervision import PointBank, PointSamples, RayBank, View, crop_view
from tests.radiance.fields import sphere, sphere_hits

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sphere_view(azimuth=30.0, size=48, radius=0.12, centre=(0.03, -0.02, 0.04)) -> View:
    """An exact picture of a sphere coloured by position."""
    camera = Camera.orbit(azimuth, 10, distance=1.2, fov_degrees=25, size=size)
    enter, _, _ = sphere_hits(camera, radius, centre)
    hit = ~np.isnan(enter)
    origin, directions = camera.rays()
    depth = np.nan_to_num(enter)
    rgb = ((origin + directions * depth[..., None]) / 0.25 + 1) / 2
    return View(np.where(hit[..., None], rgb, 0).astype(np.float32), hit.astype(np.float32), depth, camera)


def test_a_view_inside_of_the_cube_is_left_alone():
    view = sphere_view()
    cropped, valid = crop_view(view, 0.25)
    assert valid.all()
    np.testing.assert_array_equal(cropped.alpha, view.alpha)
    np.testing.assert_allclose(cropped.depth, view.depth, atol=1e-6)


def test_behind_the_cube_becomes_background_and_before_it_hides_the_field():
    camera = Camera.orbit(0, 0, distance=1.0, fov_degrees=20, size=3, target=(0, 0, 0))
    depth = np.array([[0.5, 1.0, 1.6], [0.74, 0.76, 1.24], [1.26, 0, 0]])
    view = View(np.ones((3, 3, 3), np.float32), (depth > 0).astype(np.float32), depth, camera)
    cropped, valid = crop_view(view, 0.25)
    np.testing.assert_array_equal(valid, [[False, True, True], [False, True, True], [True, True, True]])
    np.testing.assert_array_equal(cropped.alpha, [[0, 1, 0], [0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(cropped.depth > 0, cropped.alpha > 0)


def test_a_half_covered_pixel_belongs_to_what_its_neighbours_see():
    camera = Camera.orbit(0, 0, distance=1.0, fov_degrees=5, size=5, target=(0, 0, 0))
    depth, alpha = np.zeros((5, 5)), np.zeros((5, 5), np.float32)
    depth[2, 2], alpha[2, 2], alpha[2, 3] = 1.0, 1.0, 0.4
    depth[0, 0], alpha[0, 0], alpha[0, 1] = 3.0, 1.0, 0.4  # the same, behind the cube
    cropped, _ = crop_view(View(np.ones((5, 5, 3), np.float32), alpha, depth, camera), 0.25)
    assert cropped.alpha[2, 3] == np.float32(0.4)
    assert cropped.alpha[0].sum() == 0


def test_points_of_views_are_where_they_say():
    """Matter lies at the sphere's surface or up to 8 mm behind it as seen; free points lie outside."""
    ball = sphere()
    bank = RayBank([sphere_view(azimuth) for azimuth in (0, 90, 200)], 0.25, CPU)
    batch = bank.draw_points(6000, generator())
    assert 0.8 * 6000 < len(batch.points) <= 6000
    distance = ball.distance(batch.points * 0.25)
    matter = batch.occupancy == 1
    assert matter.float().mean() > 0.2
    assert (distance[~matter] > 0).all()
    assert (distance[matter] < 0.002).all() and (distance[matter] > -0.009).all()
    assert (batch.points.abs() <= 1 + 1e-5).all()


def test_points_carry_the_colour_of_their_pixel_and_free_points_none():
    bank = RayBank([sphere_view()], 0.25, CPU)
    batch = bank.draw_points(6000, generator())
    assert (batch.colour_weights[batch.occupancy == 0] == 0).all()
    coloured = batch.colour_weights > 0
    assert coloured.sum() > 1000
    assert (batch.colours[coloured] - (batch.points[coloured] + 1) / 2).abs().max() < 0.02


def test_mixed_pixels_give_no_colour():
    view = sphere_view()
    batch = RayBank([dataclasses.replace(view, alpha=view.alpha * 0.9)], 0.25, CPU).draw_points(3000, generator())
    assert batch.colour_weights.sum() == 0
    assert (batch.occupancy == 1).any()


def test_rays_hold_sorted_samples_around_the_surface():
    bank = RayBank([sphere_view()], 0.25, CPU)
    rays = bank.draw_rays(500, 24, generator())
    assert rays.t.shape == (500, 24)
    assert (rays.t.diff(dim=1) >= 0).all() and (rays.t >= rays.near).all() and (rays.t <= rays.far).all()
    points = (rays.origins[:, None] + rays.directions[:, None] * rays.t[..., None]) * 0.25
    distance = sphere().distance(points)
    seen = rays.alpha[:, 0] > 0
    assert seen.float().mean() > 0.7
    assert ((distance[seen] < 0).any(1) & (distance[seen] > 0).any(1)).float().mean() > 0.98
    np.testing.assert_allclose(rays.rgb[~seen], 1)


def test_only_the_generator_decides_what_is_drawn():
    bank = RayBank([sphere_view()], 0.25, CPU)
    first, second, other = (bank.draw_points(300, generator(seed)).points for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_views_that_see_nothing_give_free_points_only():
    view = sphere_view()
    empty = View(view.rgb, np.zeros_like(view.alpha), np.zeros_like(view.depth), view.camera)
    batch = RayBank([empty], 0.25, CPU).draw_points(300, generator())
    assert len(batch.points) == 300
    assert (batch.occupancy == 0).all()


def test_labelled_points_come_in_metres_and_with_one_label_each():
    count = 50
    points = np.random.default_rng(0).uniform(-0.25, 0.25, (count, 3)).astype(np.float32)
    ones = np.ones(count, np.float32)
    samples = PointSamples(points, ones, points, ones, ones)
    batch = PointBank(samples, 0.25, CPU).draw(200, generator())
    np.testing.assert_allclose(batch.points * 0.25, batch.colours, atol=1e-6)
    with pytest.raises(ValueError, match="occupancy must have 50 rows"):
        PointBank(dataclasses.replace(samples, occupancy=ones[:3]), 0.25, CPU)
