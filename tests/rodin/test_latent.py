"""Portraits and texts become points of one space."""

import math

import pytest
import torch

from backend.rodin.latent import LatentConfig, TrainedLatent
from backend.rodin.words import words

CONFIG = LatentConfig(size=32, picture=32, widths=(8, 16), text_width=32, longest=6)
VOCABULARY = ["man", "woman", "red", "hair", "beard", ",", "moustache", "turtleneck", "headscarf"]


@pytest.fixture(scope="module")
def space():
    torch.manual_seed(0)
    return TrainedLatent(CONFIG, VOCABULARY).eval().requires_grad_(False)


def test_points_have_the_length_that_makes_numbers_about_one(space):
    pictures, texts = space.encode_pictures(torch.rand(3, 4, 32, 32)), space.encode_texts(["a man", "red hair"])
    assert pictures.shape == (3, 32) and texts.shape == (2, 32) and space.size == 32
    for points in (pictures, texts):
        torch.testing.assert_close(points.norm(dim=1), torch.full((len(points),), math.sqrt(32)))


def test_texts_that_mean_the_same_have_the_same_point(space):
    assert torch.equal(*space.encode_texts(["a ginger-haired guy with a beard", "Red hair man, beard"]))
    assert not torch.equal(*space.encode_texts(["a man with red hair", "a woman with red hair"]))


def test_the_company_of_other_texts_changes_nothing(space):
    alone = space.encode_texts(["red hair"])
    together = space.encode_texts(
        ["red hair", "a man with a beard and red hair, and a very long text beyond all limits"]
    )
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


def test_misspelt_words_are_understood_once_the_right_ones_are():
    said = ["moustache", "turtleneck", "headscarf", "freckles", "glasses", "woman", "ponytail", "hoodie"]
    torch.manual_seed(0)
    texts = TrainedLatent(CONFIG, [word for text in said for word in words(text)]).texts
    optimiser = torch.optim.Adam(texts.parameters(), 3e-3)
    for _ in range(60):
        points = texts(said)
        torch.nn.functional.cross_entropy(points @ points.detach().T / 8, torch.arange(8)).backward()
        optimiser.step()
        optimiser.zero_grad()
    slips = ["moustahce", "turtlneck", "headscraf", "frekcles", "galsses", "womann", "ponytial", "hodie"]
    assert (torch.cdist(texts(slips), texts(said)).argmin(1) == torch.arange(8)).sum() >= 7


def test_a_text_without_words_has_a_point_too(space):
    assert torch.isfinite(space.encode_texts([""])).all()


def test_pictures_of_other_sizes_are_brought_to_the_encoder_s(space):
    small = torch.rand(2, 4, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    large = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    points = space.encode_pictures(large)
    assert points.shape == (2, 32)
    assert torch.cosine_similarity(points, space.encode_pictures(small)).min() > 0.95
