"""The prior learns who goes with which words, and a stop leaves no trace."""

import dataclasses

import pytest
import torch

from backend.rodin.latent import on_sphere
from backend.rodin.prior import PriorConfig, sample_prior
from backend.training.prior_stage import PriorStage, PriorStageConfig

CONFIG = PriorStageConfig(
    model=PriorConfig(width=48, blocks=2, embedding=32), steps=400, batch=64, rate=3e-3, warm_up=20, average=0.97
)


def two_kinds():
    """Forty people of two kinds: points around two places, bodies around -1 and 1, two texts."""
    generator = torch.Generator().manual_seed(0)
    noise = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    places = 3 * noise(2, 1, 1, 8)
    latent = on_sphere((places + 0.3 * noise(2, 20, 3, 8)).flatten(0, 1))
    sign = torch.tensor([-1.0, 1.0])[:, None, None]
    identity = (sign + 0.1 * noise(2, 20, 4)).flatten(0, 1)
    texts = on_sphere(noise(2, 1, 1, 8)).expand(2, 20, 2, 8).flatten(0, 1)
    return latent, identity, texts


def test_people_are_as_the_text_says_and_of_both_kinds_without_one():
    latent, identity, texts = two_kinds()
    stage = PriorStage(latent, identity, texts, CONFIG)
    stage.run()
    prior, generator = stage.averaged_model(), torch.Generator().manual_seed(1)
    for kind, rows in enumerate((slice(0, 20), slice(20, 40))):
        points, bodies = sample_prior(prior, texts[rows][:1, 0], generator, 40, guidance=1.5)
        sign = (-1.0, 1.0)[kind]
        assert (bodies * sign > 0.5).float().mean() > 0.95
        nearest = torch.cdist(points, latent[:, 0]).argmin(1)
        assert ((nearest >= 20) == bool(kind)).float().mean() > 0.95
    points, bodies = sample_prior(prior, None, generator, 100)
    positive = bodies.mean(1) > 0
    assert 0.25 < positive.float().mean() < 0.75, "both kinds"
    assert (bodies.abs() > 0.5).float().mean() > 0.9, "nobody in between"
    agrees = (torch.cdist(points, latent[:, 0]).argmin(1) >= 20) == positive
    assert agrees.float().mean() > 0.95, "a point and its body are of one kind"


def test_going_on_after_a_stop_gives_the_same_weights(tmp_path):
    config = dataclasses.replace(CONFIG, steps=8)
    whole, first, second = (PriorStage(*two_kinds(), config) for _ in range(3))
    whole.run()
    first.run(until=5)
    first.save(tmp_path)
    assert second.load(tmp_path)
    second.run()
    for name, value in whole.averaged.items():
        assert torch.equal(value, second.averaged[name]), name


def test_another_recipe_does_not_go_on_here(tmp_path):
    PriorStage(*two_kinds(), CONFIG).save(tmp_path)
    with pytest.raises(ValueError, match="another recipe"):
        PriorStage(*two_kinds(), dataclasses.replace(CONFIG, untold=0.5)).load(tmp_path)
