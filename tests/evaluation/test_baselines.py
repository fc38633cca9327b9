"""Principal components, nearest neighbour and ridge on planes that are known, and portraits through their cameras."""

import numpy as np
import pytest
import torch

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.evaluation.baselines import (
    BaselineConfig,
    load_baselines,
    make_baselines,
    mirror_features,
    portrait_features,
    principal_components,
    ridge_weights,
    save_baselines,
)
from backend.radiance.cameras import Camera
from backend.radiance.canonical import mirror_planes
from backend.radiance.decoder import Decoder, DecoderConfig
from tests.synthetic_data.standin import draw


@pytest.fixture(scope="module")
def few_directions():
    """Twenty heads whose planes vary in three ways only, mirror images included."""
    generator = torch.Generator().manual_seed(0)
    basis = 0.1 * torch.randn((3, 3, 4, 8, 8), generator=generator)
    basis[0] += mirror_planes(basis[0])
    basis[1] += mirror_planes(basis[1])
    basis[2] -= mirror_planes(basis[2])
    return torch.tensordot(torch.randn((20, 3), generator=generator), basis, 1)


def test_principal_components_are_orthonormal_and_keep_what_there_is(few_directions):
    mean, components, coefficients, kept = principal_components(few_directions, 8)
    assert len(components) == 3 and kept == pytest.approx(1)
    flat = components.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(3), atol=1e-4, rtol=0)
    both = torch.cat([few_directions, mirror_planes(few_directions)])
    torch.testing.assert_close(mean + torch.tensordot(coefficients, components, 1), both, atol=1e-4, rtol=0)


def test_fewer_components_keep_the_largest_part(few_directions):
    _, one, _, kept_by_one = principal_components(few_directions, 1)
    _, two, _, kept_by_two = principal_components(few_directions, 2)
    torch.testing.assert_close(one[0].abs(), two[0].abs(), atol=1e-4, rtol=0)
    assert 1 / 3 < kept_by_one < kept_by_two < 1


def test_ridge_finds_a_linear_map():
    generator = torch.Generator().manual_seed(1)
    features, true = torch.randn((300, 10), generator=generator), torch.randn((10, 2), generator=generator)
    weights = ridge_weights(features, features @ true + 5, torch.arange(300) % 10 == 9)
    torch.testing.assert_close(weights[:-1], true, atol=5e-3, rtol=0)
    torch.testing.assert_close(weights[-1], torch.tensor([5.0, 5.0]), atol=5e-3, rtol=0)


def test_features_do_not_depend_on_how_the_camera_was_held():
    """A ball in the plane that is looked at, near its middle, from two cameras."""

    def features(azimuth, distance, fov):
        camera = Camera.orbit(azimuth, 4, distance=distance, fov_degrees=fov, size=128, target=(0, -0.07, -0.03))
        shown = draw(camera, 3, (0.05, -0.07, 0.0))["rgba"]
        rows = (shown.transpose(2, 0, 1), camera.world_to_camera, camera.intrinsics)
        return portrait_features(*(torch.tensor(np.asarray(row, np.float32))[None] for row in rows))[0]

    front, left = features(0, 1.1, 22), features(0, 1.6, 18)
    assert front.shape == (4 * 16 * 16,)
    torch.testing.assert_close(front, left, atol=0.16, rtol=0)
    assert (front - left).abs().mean() < 0.012
    alpha = front.unflatten(0, (4, 16, 16))[3]
    assert alpha[:, 8:].sum() > alpha[:, :8].sum() + 10, "the ball is on the person's left, the picture's right"
    torch.testing.assert_close(mirror_features(front).unflatten(0, (4, 16, 16))[3], alpha.flip(-1))


@pytest.fixture(scope="module")
def made(balls):
    coarse = 0.3 * torch.randn((len(balls) * 3, 8, 2, 2), generator=torch.Generator().manual_seed(1))
    planes = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear").unflatten(0, (-1, 3))
    config = DecoderConfig(channels=8, density_channels=4, width=16)
    decoder = Decoder.initialised(config, torch.Generator().manual_seed(0)).requires_grad_(False)
    return planes, *make_baselines(balls, planes, decoder, BaselineConfig())


def test_a_training_portrait_finds_its_own_planes(balls, made):
    planes, baselines, kept = made
    assert kept == pytest.approx(1)
    for head in range(len(balls)):
        row = int((baselines.owners == head).nonzero()[0])
        found = baselines.nearest(baselines.features[row])
        torch.testing.assert_close(found, planes[head], atol=0.02, rtol=0)
        turned = baselines.nearest(mirror_features(baselines.features[row]))
        torch.testing.assert_close(turned, mirror_planes(planes[head]), atol=0.02, rtol=0)


def test_the_ridge_is_nearer_than_the_mean_on_its_own_heads(made):
    planes, baselines, _ = made
    rows = [int((baselines.owners == head).nonzero()[0]) for head in range(len(planes))]
    ridge = torch.stack([baselines.ridge(baselines.features[row]) for row in rows])
    assert (ridge - planes).square().mean() < 0.8 * (baselines.mean - planes).square().mean()


def test_baselines_come_back(made, tmp_path):
    _, baselines, _ = made
    save_baselines(tmp_path / "b.safetensors", baselines)
    found = load_baselines(tmp_path / "b.safetensors")
    assert found.components.dtype == torch.int8 and found.decoder.config == baselines.decoder.config
    query = baselines.features[3]
    torch.testing.assert_close(found.ridge(query), baselines.ridge(query), atol=5e-3, rtol=0)
    torch.testing.assert_close(found.nearest(query), baselines.nearest(query), atol=5e-3, rtol=0)


def test_what_is_no_baselines_is_said_in_one_sentence(tmp_path):
    with pytest.raises(MaquetteError, match="train baselines") as found:
        load_baselines(tmp_path / "missing.safetensors")
    assert found.value.code is ErrorCode.MODEL_MISSING
