"""The volume renderer against integrals that have a closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.radiance.cameras import Camera
from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.renderer import (
    RenderConfig,
    importance_samples,
    intersect_cube,
    ray_weights,
    render_rays,
    render_view,
    spacing,
)
from tests.radiance.fields import sphere, sphere_hits, uniform


def view(azimuth=25.0, elevation=10.0, size=48):
    return Camera.orbit(azimuth, elevation, distance=1.2, fov_degrees=25, size=size)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 30), st.floats(-180, 180), st.floats(-70, 70))
def test_a_cube_of_fog_transmits_what_its_thickness_says(density, azimuth, elevation):
    """Beer and Lambert: transmittance = exp(-density x metres inside of the cube), for oblique rays too."""
    camera = view(azimuth, elevation, 16)
    rendering = render_view(uniform(density), camera)
    origin, directions = camera.rays()
    near, far = intersect_cube(torch.as_tensor(origin).expand(256, 3), torch.as_tensor(directions.reshape(-1, 3)), 0.25)
    metres = (far - near).clamp(min=0)[:, 0].numpy() * np.linalg.norm(directions.reshape(-1, 3), axis=1)
    np.testing.assert_allclose(rendering.alpha.reshape(-1), 1 - np.exp(-density * metres), atol=2e-3)
    seen = rendering.alpha > 0.01
    np.testing.assert_allclose(rendering.rgb[seen], np.broadcast_to((0.2, 0.5, 0.9), (seen.sum(), 3)), atol=1e-3)


def test_mean_depth_of_a_slab_of_fog():
    """Straight through the cube: E[depth | stopped] = near + 1/s - L exp(-sL) / (1 - exp(-sL))."""
    density, length = 4.0, 0.5
    camera = Camera.orbit(0, 0, distance=1, fov_degrees=1, size=1, target=(0, 0, 0))
    rendering = render_view(uniform(density), camera)
    stopped = 1 - np.exp(-density * length)
    expected = 0.75 + 1 / density - length * (1 - stopped) / stopped
    assert rendering.depth[0, 0] == pytest.approx(expected, abs=2e-3)
    assert rendering.alpha[0, 0] == pytest.approx(stopped, abs=2e-3)


def test_a_solid_sphere_has_the_depth_and_outline_of_a_sphere():
    camera = view()
    rendering = render_view(sphere(), camera)
    enter, _, chord = sphere_hits(camera)
    well_inside, outside = chord > 0.03, np.isnan(chord)
    assert well_inside.sum() > 300 and outside.sum() > 300
    assert (rendering.alpha[well_inside] > 0.999).all()
    assert (rendering.alpha[outside] < 1e-3).all()
    error = np.abs(rendering.depth - enter)[well_inside]
    assert np.median(error) < 3e-4 and error.max() < 3e-3
    assert (rendering.depth[outside] == 0).all()


def test_colour_comes_from_the_front_of_the_sphere():
    camera = view()
    rendering = render_view(sphere(), camera)
    enter, _, chord = sphere_hits(camera)
    rows, columns = np.nonzero(chord > 0.05)
    points = camera.unproject(np.stack([columns, rows], -1) + 0.5, enter[rows, columns])
    np.testing.assert_allclose(rendering.rgb[rows, columns], (points / 0.25 + 1) / 2, atol=0.01)


def test_a_thin_ball_of_fog_follows_its_chords():
    camera, matter = view(), 8.0
    rendering = render_view(sphere(matter=matter), camera)
    chord = np.nan_to_num(sphere_hits(camera)[2])
    assert np.abs(rendering.alpha - (1 - np.exp(-matter * chord))).max() < 0.02


def test_depth_is_planar():
    """A wall across a wide view has one depth everywhere; the distance along the rays would grow to the corners."""
    from tests.radiance.fields import shape

    camera = Camera.orbit(0, 0, distance=0.6, fov_degrees=50, size=32, target=(0, 0, 0))
    rendering = render_view(shape(lambda p: -p[..., 1]), camera)
    opaque = rendering.alpha > 0.99
    assert opaque[4:-4, 4:-4].all()
    np.testing.assert_allclose(rendering.depth[opaque], 0.6, atol=2e-3)


def test_background_shows_through_by_transmittance():
    camera, colour = view(size=16), (1.0, 0.0, 0.5)
    straight = render_view(uniform(3.0), camera)
    over = render_view(uniform(3.0), camera, background=colour)
    alpha = straight.alpha[..., None]
    np.testing.assert_allclose(over.rgb, straight.rgb * alpha + (1 - alpha) * colour, atol=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.floats(-180, 180), st.floats(-60, 60), st.sampled_from([32, 64, 128]))
def test_skipping_empty_space_changes_nothing(azimuth, elevation, resolution):
    ball = sphere()
    grid = OccupancyGrid.build(ball, resolution)
    assert grid.fraction < 0.25
    with_grid = render_view(ball, view(azimuth, elevation, 24), occupancy=grid)
    without = render_view(ball, view(azimuth, elevation, 24))
    for name in ("rgb", "alpha", "depth"):
        np.testing.assert_allclose(getattr(with_grid, name), getattr(without, name), atol=1e-6)


def test_chunks_do_not_show():
    camera = view(size=20)
    whole = render_view(sphere(), camera)
    pieces = render_view(sphere(), camera, config=RenderConfig(chunk=37))
    np.testing.assert_allclose(pieces.rgb, whole.rgb, atol=1e-6)
    np.testing.assert_allclose(pieces.depth, whole.depth, atol=1e-6)


def test_rays_that_miss_the_cube_see_nothing():
    origins = torch.tensor([[0.0, -1, 1], [0.0, -1, 0], [0.0, 1, 0]])
    directions = torch.tensor([[0.0, 1, 0], [0.0, -1, 0], [0.0, 1, 0]])  # beside it, and turned away from it
    for part in render_rays(uniform(100.0), origins, directions):
        assert (part == 0).all()


def test_a_camera_inside_of_the_cube_sees_only_what_is_before_it():
    origin, direction = torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.0]])
    _, alpha, _ = render_rays(uniform(2.0), origin, direction)
    assert alpha.item() == pytest.approx(1 - np.exp(-2 * 0.25), abs=2e-3)


def test_progress_ends_at_one_and_may_cancel():
    fractions: list[float] = []
    render_view(uniform(1.0), view(size=10), config=RenderConfig(chunk=30), progress=fractions.append)
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) == 4

    def cancel(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_view(uniform(1.0), view(size=10), progress=cancel)


@given(st.lists(st.floats(0, 50), min_size=2, max_size=12), st.lists(st.floats(0.01, 2), min_size=12, max_size=12))
def test_weights_and_the_light_that_is_left_add_up_to_one(densities, lengths):
    density, length = torch.tensor([densities]).double(), torch.tensor([lengths[: len(densities)]]).double()
    left = torch.exp(-(density * length).sum())
    assert (ray_weights(density, length).sum() + left).item() == pytest.approx(1, abs=1e-9)


@given(st.integers(2, 40), st.integers(0, 1000))
def test_sample_lengths_fill_the_ray_and_importance_samples_stay_inside(count, seed):
    generator = torch.Generator().manual_seed(seed)
    near, far = torch.full((3, 1), 0.4), torch.full((3, 1), 1.7)
    t = (near + (far - near) * torch.rand(3, count, generator=generator)).sort(1)[0]
    torch.testing.assert_close(spacing(t, near, far).sum(1, keepdim=True), far - near)
    fine = importance_samples(t, torch.rand(3, count, generator=generator), near, far, 20)
    assert (fine >= near).all() and (fine <= far).all() and (fine.diff(dim=1) >= 0).all()


def test_importance_samples_gather_where_the_weight_is():
    near, far = torch.zeros(1, 1), torch.ones(1, 1)
    t = (torch.arange(50)[None] + 0.5) / 50
    fine = importance_samples(t, (t == t[0, 30]).float(), near, far, 100)
    assert ((fine - t[0, 30]).abs() < 0.05).float().mean() > 0.95
