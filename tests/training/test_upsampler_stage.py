"""The upsampler learns what large planes hold beyond small ones, and a stop leaves no trace."""

import dataclasses

import pytest
import torch

from backend.body_model.anny import load_anny
from backend.radiance.decoder import CLASSES, Decoder, DecoderConfig
from backend.radiance.triplane import resize_planes
from backend.rodin.aligned import make_anchors
from backend.rodin.upsampler import UpsamplerConfig, enlarged
from backend.training.base_stage import plane_statistics
from backend.training.upsampler_stage import UpsamplerStage, UpsamplerStageConfig, detail_statistics

MODEL = UpsamplerConfig(size=32, low=16, channels=8, patch=4, widths=(16, 24), blocks=(1, 1), embedding=32)
CONFIG = UpsamplerStageConfig(model=MODEL, steps=12, batch=3, points=300, rays=64, ray_samples=8, rate=2e-3, warm_up=2)


@pytest.fixture(scope="module")
def planes(balls):
    coarse = 0.3 * torch.randn((len(balls) * 3, 8, 8, 8), generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="nearest").unflatten(0, (-1, 3))


def stage_of(balls, planes, config=CONFIG):
    sizes = DecoderConfig(channels=8, density_channels=4, width=16, classes=len(CLASSES))
    decoder = Decoder.initialised(sizes, torch.Generator().manual_seed(0))
    mean, spread = plane_statistics(resize_planes(planes, 16))
    return UpsamplerStage(balls, planes, mean, spread, decoder, make_anchors(load_anny(), 32), config)


def test_it_learns_edges_that_small_planes_blur(balls, planes):
    config = dataclasses.replace(CONFIG, steps=40, batch=4, at_noise=1.0, point_weight=0.0, ray_weight=0.0, disturb=0.0)
    stage = stage_of(balls, planes, config)
    figures = []
    stage.run(report=lambda step, found: figures.append(found["plane"]))
    assert figures[0] == pytest.approx(1.0, abs=0.2)
    assert sum(figures[-5:]) / 5 < 0.7


def test_detail_is_what_is_missing(planes):
    spread = detail_statistics(planes, 16)
    missing = planes - enlarged(resize_planes(planes, 16), 32)
    assert spread.shape == (3, 8, 1, 1)
    assert (missing / spread).square().mean() == pytest.approx(1.0, abs=1e-3)


def test_going_on_after_a_stop_gives_the_same_weights(balls, planes, tmp_path):
    whole = stage_of(balls, planes)
    whole.run()
    first = stage_of(balls, planes)
    first.run(until=7)
    first.save(tmp_path)
    second = stage_of(balls, planes)
    assert second.load(tmp_path) and second.step_number == 7
    second.run()
    for name, value in whole.averaged.items():
        assert torch.equal(value, second.averaged[name]), name
