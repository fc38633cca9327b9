"""The judges learn to tell balls apart, whatever is done to their pictures, and a stop leaves no trace."""

import dataclasses

import pytest
import torch

from backend.evaluation.judges import JudgeConfig, similarity
from backend.training.judge_stage import (
    UNKNOWN,
    JudgeStage,
    JudgeStageConfig,
    contrastive_loss,
    draw_pictures,
    labels_of,
    spoil,
)

CONFIG = JudgeStageConfig(model=JudgeConfig((8, 16, 16), 16), steps=200, heads=6, pictures=4, rate=3e-3, warm_up=5)


def test_balls_are_told_apart_and_named(balls):
    stage = JudgeStage(balls, CONFIG)
    figures = []
    stage.run(report=lambda step, found: figures.append(found))
    for judge in ("verifier", "classifier"):
        first, last = (sum(found[judge] for found in part) for part in (figures[:10], figures[-10:]))
        assert last < 0.8 * first, judge
    generator = torch.Generator().manual_seed(9)
    one, other = (draw_pictures(balls, torch.arange(6), 1, generator) for _ in range(2))
    scores = stage.model.verifier(one) @ stage.model.verifier(other).T
    assert scores.diagonal().mean() > scores.mean() + 0.2
    torch.testing.assert_close(similarity(stage.model.verifier, one, other), scores.diagonal().detach())


def test_going_on_after_a_stop_gives_the_same_weights(balls, tmp_path):
    config = dataclasses.replace(CONFIG, steps=8)
    whole = JudgeStage(balls, config)
    whole.run()
    first = JudgeStage(balls, config)
    first.run(until=5)
    first.save(tmp_path)
    second = JudgeStage(balls, config)
    assert second.load(tmp_path) and second.step_number == 5
    second.run()
    for name, value in whole.averaged.items():
        assert torch.equal(value, second.averaged[name]), name


def test_another_recipe_or_other_people_do_not_go_on_here(balls, tmp_path):
    JudgeStage(balls, CONFIG).save(tmp_path)
    with pytest.raises(ValueError, match="another recipe"):
        JudgeStage(balls, dataclasses.replace(CONFIG, heads=2)).load(tmp_path)
    with pytest.raises(ValueError, match="another set of people"):
        JudgeStage(balls.subset([1, 0]), CONFIG).load(tmp_path)


def test_the_loss_is_least_where_people_agree_with_themselves_alone():
    people = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    mixed = torch.tensor([[1.0, 0], [-1, 0], [1, 0], [-1, 0]])
    best, worst = (float(contrastive_loss(e, people, 0.1)) for e in (apart, mixed))
    assert best == pytest.approx(0, abs=1e-4) and worst > 15
    assert float(contrastive_loss(torch.ones(4, 2) / 2**0.5, people, 0.1)) == pytest.approx(torch.log(torch.tensor(3)))


def test_pictures_of_a_head_are_different_ones_and_mirrored_together(balls):
    """The balls are shaded by their normals: red grows with x in head space."""
    pictures = draw_pictures(balls, torch.tensor([2, 2, 4]), 8, torch.Generator().manual_seed(1))
    assert pictures.shape == (24, 3, 64, 64) and pictures.min() >= 0 and pictures.max() <= 1
    assert (pictures[:8].flatten(1)[:, None] - pictures[:8].flatten(1)).abs().amax(-1).fill_diagonal_(1).min() > 0.1


def test_hair_under_a_turban_is_asked_of_nobody(balls):
    worn = [{"hair": "bob", "headwear": "turban"}, {"hair": "long", "headwear": "cap"}] * 3
    bank = dataclasses.replace(balls, attributes=worn)
    vocabulary = {"hair": ["bob", "long"], "headwear": ["cap", "turban"]}
    assert labels_of(bank, vocabulary)[:2].tolist() == [[UNKNOWN, 1], [1, 0]]


def test_some_pictures_stay_sharp_and_some_become_soft():
    checks = torch.kron(torch.eye(2).repeat(8, 8), torch.ones(4, 4)).expand(40, 3, 64, 64)
    spoilt = spoil(checks, torch.Generator().manual_seed(2))
    contrast = (spoilt.diff(dim=-1).abs().amax((1, 2, 3)) / spoilt.amax((1, 2, 3))).sort()[0]
    assert contrast[4] < 0.45 and contrast[-10] > 0.7
