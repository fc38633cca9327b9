"""The refiner's training: pictures of fields beside the renders that they were fitted to."""

import dataclasses

import pytest
import torch

from backend.body_model.anny import load_anny
from backend.cli import main
from backend.radiance.decoder import CLASSES, DecoderConfig
from backend.rodin.refiner import RefinerConfig, load_refiner
from backend.training.bank import load_bank
from backend.training.plane_set import PlaneSet, PlaneSetConfig
from backend.training.refiner_stage import Pairs, RefinerStage, RefinerStageConfig, draw_pairs
from tests.synthetic_data import standin

CONFIG = RefinerStageConfig(
    RefinerConfig(8, 2), steps=80, batch=4, patch=12, rate=3e-3, warm_up=5, critic_start=0.7, critic_width=8
)
PLANES = PlaneSetConfig(
    DecoderConfig(channels=8, density_channels=4, width=16, classes=len(CLASSES)), levels=(8, 16), visits=60
)


@pytest.fixture(scope="module")
def stripes():
    """Large pictures of fine stripes, small ones that are a little too dark: a refiner can learn to mend that."""
    row = torch.arange(64)
    large = torch.zeros(6, 4, 64, 64)
    large[:, 3, 8:56, 8:56] = 1
    shade = torch.linspace(0.3, 0.9, 6)[:, None, None]
    large[:, :3] = (shade * (0.7 + 0.3 * (row % 2)))[:, None] * large[:, 3:]
    small = torch.nn.functional.avg_pool2d(large, 4)
    small[:, :3] *= 0.6
    return Pairs(*((255 * each).round().byte() for each in (small, large)))


@pytest.fixture(scope="module")
def large_balls(tmp_path_factory):
    """A set without portraits, as for stills."""
    return standin.pack(tmp_path_factory.mktemp("large"), count=3, size=64, views=3, portraits=0)


def test_patches_show_the_same_place_small_and_large(stripes):
    stage = RefinerStage(stripes, dataclasses.replace(CONFIG, blurred=0.0, noise=0.0, batch=16))
    small, large = stage.draw()
    assert small.shape == (16, 4, 12, 12) and large.shape == (16, 4, 48, 48)
    assert min(small.min(), large.min()) >= 0 and max(small.max(), large.max()) <= 1
    again = torch.nn.functional.avg_pool2d(large, 4)
    torch.testing.assert_close(small[:, 3], again[:, 3], atol=1e-2, rtol=0)
    inside = again[:, 3] > 0.99
    ratio = (small[:, 0] / again[:, 0].clamp(min=1e-3))[inside & (again[:, 0] < 0.7)]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.6), atol=0.05, rtol=0)


def test_small_pictures_are_spoiled_and_large_ones_are_not(stripes):
    plain, spoiled = (
        RefinerStage(stripes, dataclasses.replace(CONFIG, blurred=blurred, noise=noise, batch=16)).draw()
        for blurred, noise in ((0.0, 0.0), (1.0, 0.05))
    )
    assert torch.equal(plain[1], spoiled[1])
    assert 0.002 < (plain[0] - spoiled[0]).abs().mean() < 0.1


def test_it_learns_more_than_to_enlarge(stripes):
    stage = RefinerStage(stripes, CONFIG)
    figures = []
    stage.run(report=lambda step, found: figures.append(found))
    last = figures[-20:]
    assert sum(f["error"] for f in last) < 0.7 * sum(f["as enlarged"] for f in last)


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


def test_pairs_agree_about_where_things_are(large_balls):
    """A ball's field, once fitted, covers the pixels that the ball's render covers."""
    bank = load_bank(large_balls, load_anny())
    assert bank.portraits.shape[1] == 0
    fitted = PlaneSet(bank, PLANES)
    fitted.run()
    pairs = draw_pairs(bank, fitted.planes(torch.arange(len(bank))), fitted.decoder)
    assert pairs.small.shape == (9, 4, 16, 16) and pairs.large.shape == (9, 4, 64, 64)
    shapes = [each[:, 3].float() / 255 for each in (pairs.small, pairs.large)]
    shapes[1] = torch.nn.functional.avg_pool2d(shapes[1], 4)
    assert shapes[1].mean() > 0.1 and (shapes[0] - shapes[1]).abs().mean() < 0.06
    means = [(each[:, :3].float().sum((2, 3)) / each[:, 3:].float().sum((2, 3))) for each in (pairs.small, pairs.large)]
    assert (means[0] - means[1]).abs().mean() < 0.08


def test_from_a_set_to_a_file(large_balls, tmp_path, capsys):
    recipes = {
        "planes": '{"decoder": {"channels": 8, "density_channels": 4, "width": 16, "classes": 6}, "levels": [8, 16], '
        '"visits": 2, "heads_per_step": 3}',
        "refiner": '{"model": {"width": 8, "blocks": 1}, "steps": 2, "batch": 2, "patch": 8, "critic_width": 8}',
    }
    for stage, text in recipes.items():
        (tmp_path / f"{stage}.json").write_text(text)
        given = [
            "--data",
            str(large_balls),
            "--out",
            str(tmp_path / "run"),
            "--config",
            str(tmp_path / f"{stage}.json"),
        ]
        assert main(["train", stage, *given]) == 0
    assert "pictures of 3/3 fields" in capsys.readouterr().out
    assert load_refiner(tmp_path / "run" / "refiner.safetensors").config == RefinerConfig(8, 1)
    assert (tmp_path / "run" / "refiner" / "samples.png").stat().st_size > 0
    assert main(["train", "refiner", *given]) == 0
    assert "pictures of" not in capsys.readouterr().out, "drawn once"


def test_planes_come_first(large_balls, tmp_path, capfd):
    assert main(["train", "refiner", "--data", str(large_balls), "--out", str(tmp_path)]) == 2
    assert "train the stage 'planes' first" in capfd.readouterr().err
