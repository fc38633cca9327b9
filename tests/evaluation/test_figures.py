"""Figures of merit against values that are known."""

import numpy as np
import pytest
import torch

from backend.evaluation.figures import frechet_distance, load_lpips, psnr, ssim, verification


def test_psnr_of_a_known_error():
    image, mask = np.full((4, 4, 3), 0.6), np.ones((4, 4), bool)
    assert psnr(image, image - 0.1) == pytest.approx(20)
    worse = image.copy()
    worse[0] = 0
    mask[0] = False
    assert psnr(worse, image - 0.1, mask) == pytest.approx(20)
    assert psnr(worse, image - 0.1) < 12
    assert psnr(image, image) == pytest.approx(100), "no error is a large number, not infinity"


def test_ssim_is_one_for_equals_and_falls_with_noise():
    rng = np.random.default_rng(0)
    image = np.kron(rng.uniform(size=(8, 8, 3)), np.ones((4, 4, 1)))
    some, much = (image + amount * rng.standard_normal(image.shape) for amount in (0.05, 0.3))
    assert ssim(image, image) == pytest.approx(1)
    assert 1 > ssim(image, some) > ssim(image, much)


def test_frechet_distance_of_two_normal_distributions():
    """Diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    rng = np.random.default_rng(1)
    deviations, other = np.array([1.0, 2, 0.5]), np.array([2.0, 1, 0.5])
    one = rng.standard_normal((200_000, 3)) * deviations
    two = rng.standard_normal((200_000, 3)) * other + [0, 0, 3.0]
    assert frechet_distance(one, two) == pytest.approx(9 + 1 + 1, rel=0.02)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_bears_fewer_pictures_than_features():
    rng = np.random.default_rng(2)
    one = rng.standard_normal((12, 40))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(one, one + 1) == pytest.approx(40, rel=1e-6)


def test_scores_that_separate_and_scores_that_do_not():
    perfect = verification(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.3]))
    assert (perfect["auc"], perfect["eer"]) == (1, 0) and perfect["true_accept_at_false_accept"]["0.001"] == 1
    rng = np.random.default_rng(3)
    chance = verification(rng.uniform(size=4000), rng.uniform(size=4000))
    assert chance["auc"] == pytest.approx(0.5, abs=0.02) and chance["eer"] == pytest.approx(0.5, abs=0.02)
    assert chance["true_accept_at_false_accept"]["0.1"] == pytest.approx(0.1, abs=0.02)
    equal = verification(np.ones(3), np.ones(5))
    assert equal["auc"] == 0.5, "a score that is always the same tells nothing"


def test_equal_error_rate_of_two_normals():
    """Means two deviations apart: the threshold between them is one deviation from either, 15.87 % beyond it."""
    rng = np.random.default_rng(4)
    found = verification(rng.standard_normal(50_000) + 2, rng.standard_normal(50_000))
    assert found["eer"] == pytest.approx(0.1587, abs=0.005)


def test_lpips_is_left_out_where_its_weights_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert load_lpips() is None
