"""The base model learns from balls, and a stop leaves no trace."""

import dataclasses

import pytest
import torch

from backend.body_model.anny import load_anny
from backend.radiance.decoder import CLASSES, Decoder, DecoderConfig
from backend.rodin.aligned import make_anchors
from backend.rodin.base import BaseConfig
from backend.rodin.latent import LatentConfig, TrainedLatent
from backend.rodin.weights import Rodin
from backend.training.augment import recrop
from backend.training.base_stage import BaseStage, BaseStageConfig, draw_condition, plane_statistics

MODEL = BaseConfig(
    size=16, channels=8, patch=2, widths=(16, 24), blocks=(1, 1), attention_from=1,
    embedding=32, latent_size=16, tokens=32, picture=64, feature_channels=8,
)  # fmt: skip
CONFIG = BaseStageConfig(model=MODEL, steps=12, batch=3, points=300, rays=64, ray_samples=8, rate=2e-3, warm_up=2)


def encoder():
    torch.manual_seed(3)
    sizes = LatentConfig(size=16, picture=32, widths=(8, 8), text_width=16, buckets=64)
    return TrainedLatent(sizes, []).eval().requires_grad_(False).pictures


def stage_of(balls, config=CONFIG, encode=None, start=None):
    decoder = Decoder.initialised(
        DecoderConfig(channels=8, density_channels=4, width=16, classes=len(CLASSES)), torch.Generator().manual_seed(0)
    )
    coarse = 0.3 * torch.randn((len(balls) * 3, 8, 2, 2), generator=torch.Generator().manual_seed(1))
    planes = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear").unflatten(0, (-1, 3))
    return BaseStage(balls, planes, decoder, make_anchors(load_anny(), 16), encode or encoder(), config, start)


def test_it_tells_two_portraits_apart(balls):
    config = dataclasses.replace(
        CONFIG,
        steps=80,
        batch=4,
        point_alone=0.0,
        nothing=0.0,
        at_noise=1.0,
        point_weight=0.0,
        ray_start=1.0,
        rate=3e-3,
    )
    stage = stage_of(balls.subset([0, 4]), config)
    figures = []
    stage.run(report=lambda step, found: figures.append(found["plane"]))
    assert sum(figures[-8:]) < 0.6 * sum(figures[:8])


def test_the_latent_encoder_is_frozen_and_runs_once_a_step(balls):
    latent, calls = encoder(), []
    before = {name: value.clone() for name, value in latent.state_dict().items()}
    stage = stage_of(balls, encode=lambda picture: calls.append(len(picture)) or latent(picture))
    stage.run(until=3)
    assert calls == [3, 3, 3]
    assert all(torch.equal(value, before[name]) for name, value in latent.state_dict().items())
    assert not any(name.startswith("encoder.to_latent") for name in stage.averaged)


def test_portrait_and_point_are_dropped_as_often_as_the_recipe_says(balls):
    config = dataclasses.replace(CONFIG, point_alone=0.3, nothing=0.2)
    heads = torch.zeros(400, dtype=torch.long)
    drawn = draw_condition(
        balls, heads, heads > 0, config, torch.Generator().manual_seed(0), lambda picture: picture[:, :, 0, 0]
    )
    portrait, point = drawn.keep > 0, drawn.keep_latent > 0
    assert not (portrait & ~point).any(), "who shows a portrait has a point"
    assert abs((point & ~portrait).float().mean() - 0.3) < 0.07 and abs((~point).float().mean() - 0.2) < 0.06
    assert drawn.latent.shape == (400, 4)


def test_going_on_after_a_stop_gives_the_same_weights(balls, tmp_path):
    whole = stage_of(balls)
    whole.run()
    first = stage_of(balls)
    first.run(until=7)
    first.save(tmp_path)
    second = stage_of(balls)
    assert second.load(tmp_path) and second.step_number == 7
    second.run()
    for name, value in whole.averaged.items():
        assert torch.equal(value, second.averaged[name]), name


def test_rays_wait_for_a_new_network_and_not_for_a_finished_one(balls):
    config, told = dataclasses.replace(CONFIG, ray_start=0.5, nothing=0.0, point_alone=0.0), []
    fresh = stage_of(balls, config)
    fresh.run(until=1, report=lambda step, figures: told.append("ray" in figures))
    start = Rodin(fresh.averaged_model(), fresh.decoder, fresh.mean, fresh.spread, half_size=balls.half_size)
    stage_of(balls, config, start=start).run(until=1, report=lambda step, figures: told.append("ray" in figures))
    assert told == [False, True]


def test_another_recipe_or_other_people_do_not_go_on_here(balls, tmp_path):
    stage_of(balls).save(tmp_path)
    with pytest.raises(ValueError, match="another recipe"):
        stage_of(balls, dataclasses.replace(CONFIG, batch=2)).load(tmp_path)
    with pytest.raises(ValueError, match="another set of people"):
        stage_of(balls.subset([1, 0])).load(tmp_path)


def test_planes_have_mean_zero_and_spread_one_once_normalised():
    planes = torch.randn(50, 3, 4, 8, 8) * torch.tensor([0.1, 1, 2, 0.5])[:, None, None] + 0.3
    mean, spread = plane_statistics(planes)
    normal = (planes - mean) / spread
    assert normal.square().mean((0, 1, 3, 4)).sub(1).abs().max() < 0.15


def test_a_new_crop_keeps_its_camera_true():
    """A spot that a camera sees is, after zoom and move, where the new intrinsics put it."""
    size = 64
    k = torch.tensor([[[80.0, 0, 32], [0, 80, 32], [0, 0, 1]]])
    picture = torch.zeros(1, 1, size, size)
    picture[0, 0, 20:23, 40:43] = 1
    place = torch.tensor([(41.5 - 32) / 80, (21.5 - 32) / 80, 1.0])
    moved, new = recrop(picture, k, torch.tensor([1.3]), torch.tensor([[4.0, -3.0]]))
    pixel = (new[0] @ place)[:2]
    rows, columns = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    weight = moved[0, 0] / moved[0, 0].sum()
    found = torch.stack([(columns * weight).sum(), (rows * weight).sum()])
    torch.testing.assert_close(found, pixel, atol=0.05, rtol=0)


def test_mirrored_conditions_are_mirrored_as_a_whole(balls):
    """The mirrored camera sees the mirrored body where the mirrored picture shows it."""
    config = dataclasses.replace(CONFIG, fit_noise=0.0)
    heads = torch.tensor([1])
    plain, turned = (
        draw_condition(balls, heads, torch.tensor([flag]), config, torch.Generator().manual_seed(5), encoder())
        for flag in (False, True)
    )

    def pixels(condition):
        camera = condition.body[0] @ condition.world_to_camera[0, :3, :3].T + condition.world_to_camera[0, :3, 3]
        image = camera @ condition.intrinsics[0].T
        return image[:, :2] / image[:, 2:]

    left, right = pixels(plain).chunk(2)
    centre = plain.intrinsics[0, 0, 2] + turned.intrinsics[0, 0, 2]
    mirrored = torch.cat([right, left]) * torch.tensor([-1.0, 1.0]) + torch.stack([centre, torch.zeros(())])
    torch.testing.assert_close(pixels(turned), mirrored, atol=0.05, rtol=0)


def test_later_steps_see_what_the_network_itself_guessed_first(balls):
    """Of people of whom something is told, and never under nothing but noise."""
    stage = stage_of(balls, dataclasses.replace(CONFIG, own_guess=1.0))
    target = torch.zeros(3, 3, 8, 16, 16)
    guess = torch.full_like(target, 0.25)
    stage.model = lambda noisy, time, known: torch.full_like(noisy, 0.25)
    told, times = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.5, 0.5, 1.0])
    stage._draw_anew()
    under = stage._under_noise(target, times, told, (target,) * 3)
    assert torch.equal(under[0], guess[0]) and torch.equal(under[1:], target[1:])
    seldom = stage_of(balls, dataclasses.replace(CONFIG, own_guess=0.0))
    seldom.model = stage.model
    assert torch.equal(seldom._under_noise(target, times, told, (target,) * 3), target)
