"""What is drawn from a bank is where its pictures say, for many heads at once."""

import torch

from backend.radiance.triplane import DEFAULT_HALF_SIZE
from backend.training.bank import rims_of
from tests.synthetic_data.standin import RADIUS

BALL = RADIUS / DEFAULT_HALF_SIZE
"""Radius in cube coordinates."""


def test_surface_points_lie_in_the_ball_and_free_points_outside(balls):
    heads = torch.tensor([0, 3, 5])
    points = balls.draw_points(heads, 3000, torch.Generator().manual_seed(1))
    assert points.places.shape == (3, 3000, 3)
    radius = points.places.norm(dim=-1)
    full, free = (points.occupancy > 0) & (points.weights > 0), (points.occupancy == 0) & (points.weights > 0)
    # The rim of the ball falls between pixels: there, a pixel's depth is that of its middle.
    assert (radius[full] < BALL + 0.02).all() and (radius[full] > BALL - 0.06).all()
    assert (radius[free] > BALL).float().mean() > 0.995
    assert 0.15 < full.float().mean() < 0.4 and free.float().mean() > 0.4


def test_colours_are_those_of_the_pictures(balls):
    points = balls.draw_points(torch.tensor([2]), 600, torch.Generator().manual_seed(2))
    known = points.colour_weights > 0
    normal = torch.nn.functional.normalize(points.places[known], dim=-1)
    shade = points.colours[known] / (0.5 + 0.4 * normal)
    assert shade.std(0).max() < 0.05, "the ball has one colour, shaded by its normal"
    assert (points.classes[known] == 0).all()


def test_rays_meet_the_ball_where_alpha_says(balls):
    rays = balls.draw_rays(torch.arange(6), 400, 24, torch.Generator().manual_seed(3))
    assert (rays.t.diff(dim=-1) >= 0).all() and (rays.t >= rays.near).all() and (rays.t <= rays.far).all()
    middle = -(rays.origins * rays.directions).sum(-1) / rays.directions.square().sum(-1)
    nearest = (rays.origins + middle[..., None] * rays.directions).norm(dim=-1)
    hit = rays.alpha[..., 0] > 0.5
    assert (nearest[hit] < BALL + 0.01).all() and (nearest[~hit] > BALL - 0.01).all()
    torch.testing.assert_close(rays.rgb[~hit], torch.ones_like(rays.rgb[~hit]))


def test_thinned_pictures_show_the_ball_where_it_is(balls):
    thin = balls.thinned(24)
    assert thin.rgb.shape[-1] == 22 and balls.thinned(64).rgb.shape == balls.rgb.shape
    rays = thin.draw_rays(torch.arange(6), 2000, 3, torch.Generator().manual_seed(4))
    middle = -(rays.origins * rays.directions).sum(-1) / rays.directions.square().sum(-1)
    nearest = (rays.origins + middle[..., None] * rays.directions).norm(dim=-1)
    hit = rays.alpha[..., 0] > 0.5
    assert (nearest[hit] < BALL + 0.01).all() and (nearest[~hit] > BALL - 0.01).all()


def test_outlines_get_more_rays_than_their_pixels_would(balls):
    rims = rims_of(torch.zeros(1, 64, 64).index_fill(2, torch.arange(20, 40), 1.0), 50)
    assert set((rims % 64).flatten().tolist()) == {18, 19, 20, 21, 38, 39, 40, 41}
    assert (rims_of(torch.ones(1, 64, 64)) == 0).all(), "no outline"
    rays = balls.draw_rays(torch.arange(6), 2000, 3, torch.Generator().manual_seed(5))
    middle = -(rays.origins * rays.directions).sum(-1) / rays.directions.square().sum(-1)
    nearest = (rays.origins + middle[..., None] * rays.directions).norm(dim=-1)
    pixel = 2 / 64
    at_rim = ((nearest - BALL).abs() < 3 * pixel).float().mean()
    by_area = 6 * pixel * 2 * torch.pi * BALL / 4
    assert at_rim > 1.5 * by_area


def test_the_same_generator_draws_the_same(balls):
    one, two = (balls.draw_rays(torch.arange(2), 50, 8, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one.t, two.t)
