"""What the refiner adds, in figures: more detail is told from less, and a set becomes a table and a sheet."""

import json

import numpy as np
import pytest
import torch

from backend.cli import main
from backend.evaluation.stills import StillsRequest, evaluate_stills, figures, steepness
from backend.rodin.refiner import Refiner, RefinerConfig, enlarged, save_refiner
from backend.rodin.weights import save_rodin
from backend.training.refiner_stage import Pairs
from tests.synthetic_data import standin


@pytest.fixture
def pairs():
    """Noise, and what is left of it a quarter as large."""
    large = torch.ones(2, 4, 64, 64)
    large[:, :3] = torch.rand(2, 3, 64, 64)
    small = torch.nn.functional.avg_pool2d(large, 4)
    return Pairs(*((255 * each).round().byte() for each in (small, large)))


def test_the_truth_has_all_of_its_detail_and_an_enlarged_picture_little(pairs):
    numbers = iter(pairs.large)
    same = figures(pairs, lambda small: next(numbers)[None].float() / 255)
    assert same["detail"] == pytest.approx(1) and same["ssim"] == pytest.approx(1) and same["psnr"] > 90
    soft = figures(pairs, enlarged)
    assert soft["detail"] < 0.4 and soft["ssim"] < 0.5 and soft["psnr"] < 20


def test_steepness_counts_neighbours_that_both_lie_inside():
    picture = np.zeros((4, 4, 3))
    picture[:, 2:] = 1
    left = np.zeros((4, 4), bool)
    left[:, :2] = True
    assert steepness(picture, np.ones((4, 4), bool)) == pytest.approx(4 / 24)
    assert steepness(picture, left) == 0


def test_a_set_becomes_a_table_and_a_sheet(rodin, tmp_path):
    data = standin.pack(tmp_path / "set", count=2, size=64, views=2, portraits=0)
    save_rodin(tmp_path / "rodin.safetensors", rodin)
    save_refiner(tmp_path / "refiner.safetensors", Refiner(RefinerConfig(8, 1)))
    files = tmp_path / "rodin.safetensors", tmp_path / "refiner.safetensors"
    found = evaluate_stills(StillsRequest(data, *files, tmp_path / "out", visits=1), lambda words: None)
    assert found == json.loads((tmp_path / "out" / "stills.json").read_text())
    assert found["people"] == 2 and found["pictures"] == 4 and set(found["rows"]) == {"enlarged", "refined"}
    assert (tmp_path / "out" / "stills.png").stat().st_size > 0


def test_a_set_that_is_none_is_refused(tmp_path, capfd):
    save_refiner(tmp_path / "refiner.safetensors", Refiner(RefinerConfig(8, 1)))
    given = ["--data", str(tmp_path), "--refiner", str(tmp_path / "refiner.safetensors"), "--out", str(tmp_path / "o")]
    assert main(["evaluate", "stills", *given]) == 2
    assert "holds no packed set" in capfd.readouterr().err
