"""The three priors prefer what their names say, and are sums over avatars."""

import pytest
import torch

from backend.radiance.regularisers import density_variation, roughness, sparsity
from tests.radiance.fields import uniform


def test_sparsity_is_the_mean_absolute_value_summed_over_planes():
    planes = torch.zeros(2, 3, 4, 5, 5)
    planes[0, 1] = -0.5
    assert sparsity(planes).item() == pytest.approx(0.5)


def test_roughness_of_a_ramp_is_its_squared_slope_and_a_constant_has_none():
    ramp = (torch.arange(6.0) * 0.1).expand(1, 3, 2, 6, 6)
    assert roughness(ramp).item() == pytest.approx(3 * 2 * 0.01)
    assert roughness(ramp.transpose(-1, -2)).item() == pytest.approx(3 * 2 * 0.01)
    assert roughness(torch.full((1, 3, 2, 6, 6), 0.7)).item() == 0


def test_roughness_prefers_the_smoother_of_two_planes():
    noise = torch.randn(1, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(noise[0], 3, 1, 1)[None]
    assert roughness(blurred) < 0.5 * roughness(noise)


def test_density_variation_of_fog_is_its_density_alone():
    fog = uniform(8.0)
    value = density_variation(fog.planes[None], fog.decoder, torch.Generator().manual_seed(0))
    assert value.item() == pytest.approx(0.001 * 8.0 * 0.25, rel=1e-4)


def test_density_variation_grows_with_rough_density():
    fog = uniform(8.0)
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(fog.decoder.geometry_in.weight, generator=generator)
    torch.nn.init.normal_(fog.decoder.geometry_out.weight, generator=generator)
    planes = torch.randn(1, 3, 16, 32, 32, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(planes[0], 9, 1, 4)[None]
    rough_value, smooth_value = (
        density_variation(p, fog.decoder, torch.Generator().manual_seed(1)).item() for p in (planes, smooth)
    )
    assert smooth_value < rough_value
    both = density_variation(torch.cat([planes, planes]), fog.decoder, torch.Generator().manual_seed(1)).item()
    assert both == pytest.approx(2 * rough_value, rel=0.25)
