"""What the refiner adds, in figures: more detail is told from less, and a set becomes a table and a sheet."""

import json

import numpy as np
import pytest
import torch

from backend.body_model.anny import load_anny
from backend.cli import main
from backend.evaluation.stills import StillsRequest, evaluate_stills, figures, pairs, steepness
from backend.radiance.decoder import CLASSES, DecoderConfig
from backend.rodin.refiner import Refiner, RefinerConfig, save_refiner
from backend.rodin.weights import save_rodin
from backend.training.bank import load_bank
from backend.training.plane_set import PlaneSet, PlaneSetConfig
from tests.synthetic_data import standin

PLANES = PlaneSetConfig(
    DecoderConfig(channels=8, density_channels=4, width=16, classes=len(CLASSES)), levels=(8, 16), visits=200
)


@pytest.fixture(scope="module")
def large_balls(tmp_path_factory):
    """A set without portraits, as for stills."""
    return standin.pack(tmp_path_factory.mktemp("large"), count=2, size=64, views=3, portraits=0)


def test_the_truth_has_all_of_its_detail_and_a_blurred_picture_little():
    truth = np.random.default_rng(0).random((64, 64, 3))
    everywhere = np.ones((64, 64), bool)
    same = figures(truth, truth, everywhere)
    assert same["detail"] == pytest.approx(1) and same["ssim"] == pytest.approx(1) and same["psnr"] > 90
    soft = figures(truth.reshape(16, 4, 16, 4, 3).mean((1, 3)).repeat(4, 0).repeat(4, 1), truth, everywhere)
    assert soft["detail"] < 0.4 and soft["ssim"] < 0.5 and soft["psnr"] < 20


def test_steepness_counts_neighbours_that_both_lie_inside():
    picture = np.zeros((4, 4, 3))
    picture[:, 2:] = 1
    left = np.zeros((4, 4), bool)
    left[:, :2] = True
    assert steepness(picture, np.ones((4, 4), bool)) == pytest.approx(4 / 24)
    assert steepness(picture, left) == 0


def test_fields_and_renders_agree_about_where_things_are(large_balls):
    """A ball's field, once fitted, covers the pixels that the ball's render covers, in its colours."""
    bank = load_bank(large_balls, load_anny())
    assert bank.portraits.shape[1] == 0
    fitted = PlaneSet(bank, PLANES)
    fitted.run()
    found = pairs(bank, 1, fitted.planes(torch.tensor([1]))[0], fitted.decoder)
    assert len(found) == 3
    for small, large in found:
        assert small.shape == (4, 16, 16) and large.shape == (4, 64, 64)
        again = torch.nn.functional.avg_pool2d(large, 4)
        assert again[3].mean() > 0.1 and (small[3] - again[3]).abs().mean() < 0.06
        one, other = (each[:3].sum((1, 2)) / each[3].sum() for each in (small, again))
        assert (one - other).abs().mean() < 0.08


def test_a_set_becomes_a_table_and_a_sheet(large_balls, rodin, tmp_path):
    save_rodin(tmp_path / "rodin.safetensors", rodin)
    save_refiner(tmp_path / "refiner.safetensors", Refiner(RefinerConfig(8, 1)))
    files = tmp_path / "rodin.safetensors", tmp_path / "refiner.safetensors"
    request = StillsRequest(large_balls, *files, tmp_path / "out", visits=1, rays=30)
    found = evaluate_stills(request, lambda words: None)
    assert found == json.loads((tmp_path / "out" / "stills.json").read_text())
    assert found["people"] == 2 and found["pictures"] == 6 and set(found["rows"]) == {"enlarged", "refined"}
    assert (tmp_path / "out" / "stills.png").stat().st_size > 0


def test_a_set_that_is_none_is_refused(tmp_path, capfd):
    save_refiner(tmp_path / "refiner.safetensors", Refiner(RefinerConfig(8, 1)))
    given = ["--data", str(tmp_path), "--refiner", str(tmp_path / "refiner.safetensors"), "--out", str(tmp_path / "o")]
    assert main(["evaluate", "stills", *given]) == 2
    assert "holds no packed set" in capfd.readouterr().err
