"""The refiner's training: renders, and what is left of them when they are drawn as softly as fields are."""

import dataclasses

import pytest
import torch

from backend.cli import main
from backend.rodin.refiner import RefinerConfig, load_refiner
from backend.training.refiner_stage import RefinerStage, RefinerStageConfig, load_renders, over_white
from tests.synthetic_data import standin

CONFIG = RefinerStageConfig(
    RefinerConfig(8, 2), steps=120, batch=4, patch=12, rate=5e-3, warm_up=5, critic_start=0.8, critic_width=8
)


@pytest.fixture(scope="module")
def stripes():
    """Pictures of stripes before nothing, as fine as a small picture's pixels: blur takes them away."""
    row = torch.arange(128)
    large = torch.zeros(6, 4, 128, 128)
    large[:, 3, 8:120, 8:120] = 1
    shade = torch.linspace(0.3, 0.9, 6)[:, None, None]
    large[:, :3] = (shade * (0.5 + 0.5 * (row // 4 % 2)))[:, None] * large[:, 3:]
    return (255 * large).round().byte()


@pytest.fixture(scope="module")
def large_balls(tmp_path_factory):
    """A set without portraits, as for stills."""
    return standin.pack(tmp_path_factory.mktemp("large"), count=3, size=128, views=3, portraits=0)


def test_renders_are_read_as_they_are_refined(large_balls):
    renders = load_renders(large_balls)
    assert renders.shape == (9, 4, 128, 128) and load_renders(large_balls, 2).shape[0] == 6
    assert (renders[:, :3] <= renders[:, 3:]).all() and 0.1 < renders[:, 3].float().mean() / 255 < 0.9
    white = over_white(renders.float() / 255)
    assert (white[:, :, 0, 0] == 1).all()


def test_patches_show_the_same_place_small_and_large(stripes):
    stage = RefinerStage(stripes, dataclasses.replace(CONFIG, blurred=(0.05, 0.05), speckles=0.0, batch=16))
    small, large = stage.draw()
    assert small.shape == (16, 4, 12, 12) and large.shape == (16, 4, 48, 48)
    assert min(small.min(), large.min()) >= 0 and max(small.max(), large.max()) <= 1
    torch.testing.assert_close(small, torch.nn.functional.avg_pool2d(large, 4), atol=2e-2, rtol=0)


def test_small_pictures_are_spoiled_and_large_ones_are_not(stripes):
    plain, blurred, spoiled = (
        RefinerStage(stripes, dataclasses.replace(CONFIG, blurred=blurred, speckles=speckles, batch=16)).draw()
        for blurred, speckles in (((0.05, 0.05), 0.0), ((1.0, 3.0), 0.0), ((0.05, 0.05), 0.1))
    )
    assert torch.equal(plain[1], spoiled[1]) and torch.equal(plain[1], blurred[1])
    for other in (blurred, spoiled):
        assert 0.005 < (plain[0] - other[0]).abs().mean() < 0.2
    contrast = [each[0][:, :3].std(-1).mean() for each in (plain, blurred)]
    assert contrast[1] < 0.7 * contrast[0], "stripes fade"


def test_it_learns_more_than_to_enlarge(stripes):
    stage = RefinerStage(stripes, dataclasses.replace(CONFIG, blurred=(0.6, 0.8)))
    figures = []
    stage.run(report=lambda step, found: figures.append(found))
    last = figures[-20:]
    assert sum(f["error"] for f in last) < 0.8 * sum(f["as enlarged"] for f in last)


def test_the_critic_joins_in_and_changes_what_the_refiner_does(stripes):
    alone = RefinerStage(stripes, dataclasses.replace(CONFIG, steps=8, critic_start=1.0))
    judged = RefinerStage(stripes, dataclasses.replace(CONFIG, steps=8, critic_start=0.5, critic_weight=1.0))
    figures = []
    alone.run()
    judged.run(report=lambda step, found: figures.append(found))
    assert ["critic" in found for found in figures] == [False] * 4 + [True] * 4
    theirs, mine = ({n: v for n, v in s.model.state_dict().items() if n.startswith("refiner")} for s in (alone, judged))
    assert any(not torch.equal(theirs[name], mine[name]) for name in mine)
    assert all(parameter.requires_grad for parameter in judged.model.critic.parameters())


def test_going_on_after_a_stop_gives_the_same_weights(stripes, tmp_path):
    config = dataclasses.replace(CONFIG, steps=6, critic_start=0.3)
    whole, first, second = (RefinerStage(stripes, config) for _ in range(3))
    whole.run()
    first.run(until=4)
    first.save(tmp_path)
    assert second.load(tmp_path) and second.step_number == 4
    second.run()
    for name, value in whole.averaged.items():
        assert torch.equal(value, second.averaged[name]), name


def test_from_a_set_to_a_file(large_balls, tmp_path, capsys):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"model": {"width": 8, "blocks": 1}, "steps": 2, "batch": 2, "patch": 8, "critic_width": 8}')
    given = ["--data", str(large_balls), "--out", str(tmp_path / "run"), "--config", str(recipe)]
    assert main(["train", "refiner", *given]) == 0
    assert "step 2/2" in capsys.readouterr().out
    assert load_refiner(tmp_path / "run" / "refiner.safetensors").config == RefinerConfig(8, 1)
    assert (tmp_path / "run" / "refiner" / "samples.png").stat().st_size > 0


def test_pictures_that_are_too_small_are_refused(ball_pack, tmp_path, capfd):
    assert main(["train", "refiner", "--data", str(ball_pack), "--out", str(tmp_path)]) == 2
    assert "its pictures have 64 pixels, the recipe wants 224 at least" in capfd.readouterr().err
