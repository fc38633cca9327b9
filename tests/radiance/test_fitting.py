"""Fitting: known shapes come back from points and from views, alone and together, always the same way."""

import dataclasses

import numpy as np
import pytest
import torch

from backend.radiance.decoder import Decoder, DecoderConfig
from backend.radiance.fitting import FitConfig, FitTarget, fit_triplane, fit_triplanes
from backend.radiance.renderer import render_view
from backend.radiance.supervision import PointSamples
from tests.radiance.fields import sphere
from tests.radiance.test_supervision import sphere_view

SMALL = FitConfig(level_sizes=(8, 16, 32), steps=80, point_batch=3000, ray_batch=400)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sphere_points(count=20_000, centre=(0.03, -0.02, 0.04), seed=0) -> PointSamples:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.25, 0.25, (count, 3)).astype(np.float32)
    inside = np.linalg.norm(points - np.array(centre), axis=1) < 0.12
    colours = (points / 0.25 + 1) / 2
    return PointSamples(
        points, inside.astype(np.float32), colours, np.ones(count, np.float32), inside.astype(np.float32)
    )


def check_sphere(triplane, centre=(0.03, -0.02, 0.04)):
    points = torch.rand(20_000, 3, generator=generator(9)) * 0.5 - 0.25
    distance = sphere(centre=centre).distance(points)
    occupancy = triplane.occupancy(points)
    assert (occupancy[distance < -0.008] > 0.5).float().mean() > 0.99
    assert (occupancy[distance > 0.008] < 0.5).float().mean() > 0.99


@pytest.mark.parametrize("activation", ["softplus", "exp"])
def test_points_give_shape_and_colour(activation):
    config = dataclasses.replace(SMALL, decoder=DecoderConfig(activation=activation))
    triplane = fit_triplane(sphere_points(), config=config, generator=generator())
    check_sphere(triplane)
    points = torch.rand(5000, 3, generator=generator(9)) * 0.5 - 0.25
    inside = sphere().distance(points) < -0.005
    colour, _ = triplane.colour_and_density(points[inside])
    assert (colour - (points[inside] / 0.25 + 1) / 2).abs().mean() < 0.02


def test_views_give_a_view_that_was_not_shown():
    views = [sphere_view(azimuth) for azimuth in range(0, 360, 30)]
    config = dataclasses.replace(SMALL, steps=160)
    triplane = fit_triplane(views=views, config=config, generator=generator())
    held_out = sphere_view(45)
    rendering = render_view(triplane, held_out.camera, background=(1, 1, 1))
    expected = held_out.rgb * held_out.alpha[..., None] + 1 - held_out.alpha[..., None]
    assert -10 * np.log10(np.square(rendering.rgb - expected).mean()) > 25
    seen = (held_out.alpha > 0) & (rendering.alpha > 0.9)
    assert np.median(np.abs(rendering.depth - held_out.depth)[seen]) < 0.004


def test_several_avatars_share_one_decoder():
    centres = [(0.05, 0, 0), (-0.05, 0, 0), (0, 0.05, 0)]
    targets = [FitTarget(sphere_points(centre=centre)) for centre in centres]
    config = dataclasses.replace(SMALL, avatars_per_step=2, steps=140)
    triplanes = fit_triplanes(targets, config=config, generator=generator())
    for triplane, centre in zip(triplanes, centres, strict=True):
        check_sphere(triplane, centre)
        assert triplane.decoder is triplanes[0].decoder


def test_a_given_decoder_is_not_changed():
    config = dataclasses.replace(SMALL, steps=60)
    decoder = fit_triplane(sphere_points(), config=config, generator=generator()).decoder
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    moved = fit_triplane(sphere_points(centre=(-0.05, 0, 0)), config=SMALL, generator=generator(), decoder=decoder)
    assert moved.decoder is decoder
    for name, value in decoder.state_dict().items():
        assert torch.equal(value, before[name])
    check_sphere(moved, (-0.05, 0, 0))


def test_a_decoder_decides_the_number_of_channels():
    decoder = Decoder.initialised(DecoderConfig(channels=8, density_channels=4), generator())
    config = dataclasses.replace(SMALL, steps=2)
    triplane = fit_triplane(sphere_points(), config=config, generator=generator(), decoder=decoder)
    assert triplane.planes.shape == (3, 8, 32, 32)


def test_the_same_generator_gives_the_same_planes():
    config = dataclasses.replace(SMALL, steps=20)
    first, second, other = (
        fit_triplane(sphere_points(), [sphere_view()], config=config, generator=generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.planes, second.planes)
    assert not torch.equal(first.planes, other.planes)


def test_planes_stay_in_range_and_leave_no_gradients_behind():
    config = dataclasses.replace(SMALL, steps=30, plane_rate=0.3)
    triplane = fit_triplane(sphere_points(), config=config, generator=generator())
    assert triplane.planes.shape == (3, 16, 32, 32)
    assert triplane.planes.abs().max() <= 1
    assert not triplane.planes.requires_grad
    assert not any(parameter.requires_grad for parameter in triplane.decoder.parameters())


def test_random_rescaling_teaches_the_decoder_smaller_planes():
    """What the same planes look like at a quarter of their size (Rodin: one decoder for several resolutions)."""
    losses = []
    for probability in (0.0, 0.7):
        config = dataclasses.replace(
            SMALL, smooth_weight=0.0, rescale_probability=probability, rescale_sizes=(8,), plane_noise=0.0
        )
        triplane = fit_triplane(sphere_points(), config=config, generator=generator())
        samples = sphere_points(seed=5)
        occupancy = triplane.resize(8).occupancy(torch.as_tensor(samples.points))
        losses.append((occupancy - torch.as_tensor(samples.occupancy)).abs().mean().item())
    assert losses[1] < losses[0]


def test_progress_counts_to_one_and_may_cancel():
    fractions: list[float] = []
    config = dataclasses.replace(SMALL, steps=4)
    fit_triplane(sphere_points(), config=config, generator=generator(), progress=fractions.append)
    assert fractions == [0.25, 0.5, 0.75, 1.0]

    def cancel(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_triplane(sphere_points(), config=config, generator=generator(), progress=cancel)


def test_an_avatar_without_data_is_refused():
    with pytest.raises(ValueError, match="needs labelled points or views"):
        fit_triplane(generator=generator())
