"""Judges come back as they were saved, and say what their pictures show."""

import pytest
import torch

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.evaluation.judges import (
    Classifier,
    JudgeConfig,
    Verifier,
    attributes,
    load_classifier,
    load_verifier,
    save_judge,
    similarity,
    visible,
    vocabulary_of,
)

CONFIG = JudgeConfig((8, 16), 12)


def test_a_picture_is_like_itself():
    torch.manual_seed(0)
    verifier, pictures = Verifier(CONFIG), torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(similarity(verifier, pictures, pictures), torch.ones(3))
    assert verifier.features(pictures).shape == (3, 2 * (8 + 16))


def test_features_of_a_texture_change_with_its_sharpness():
    """Its mean stays, so features that were means alone would not see it."""
    torch.manual_seed(2)
    verifier, checks = Verifier(CONFIG), torch.kron(torch.eye(2).repeat(8, 8), torch.ones(4, 4)).expand(1, 3, 64, 64)
    soft = torch.nn.functional.avg_pool2d(checks, 5, 1, 2, count_include_pad=False)
    sharp, blurred = (verifier.features(p)[0, 8:16] for p in (checks, soft))
    assert blurred.mean() < 0.8 * sharp.mean()


def test_judges_come_back_in_half_precision(tmp_path):
    torch.manual_seed(1)
    pictures = torch.rand(2, 3, 64, 64)
    verifier, classifier = Verifier(CONFIG), Classifier(CONFIG, {"hair": ["bald", "bob"], "sex": ["female", "male"]})
    save_judge(tmp_path / "v.safetensors", verifier)
    save_judge(tmp_path / "c.safetensors", classifier)
    torch.testing.assert_close(
        load_verifier(tmp_path / "v.safetensors")(pictures), verifier(pictures), atol=2e-3, rtol=0
    )
    found = load_classifier(tmp_path / "c.safetensors")
    assert found.vocabulary == classifier.vocabulary and found.config == CONFIG
    for name, logits in classifier(pictures).items():
        torch.testing.assert_close(found(pictures)[name], logits, atol=2e-3, rtol=0)


def test_the_pictures_of_a_person_vote():
    """A view that is sure outweighs two that hardly know."""
    classifier = Classifier(CONFIG, {"hair": ["bald", "bob"]})
    classifier.forward = lambda pictures: {"hair": torch.tensor([[0.1, 0.0], [0.1, 0.0], [0.0, 3.0]])}
    assert attributes(classifier, torch.rand(3, 3, 8, 8)) == {"hair": "bob"}


def test_the_vocabulary_is_what_occurs():
    people = [{"hair": "bob", "odd": 1, "age": "old"}, {"hair": "bald", "age": "old"}]
    assert vocabulary_of(people) == {"age": ["old"], "hair": ["bald", "bob"]}


def test_hidden_hair_is_not_visible():
    assert not visible({"headwear": "beanie"}, "hair colour")
    assert visible({"headwear": "cap"}, "hair") and visible({"headwear": "beanie"}, "sex")


def test_what_is_no_judge_is_said_in_one_sentence(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    save_judge(tmp_path / "v.safetensors", Verifier(CONFIG))
    for load, name in ((load_verifier, "broken"), (load_verifier, "missing"), (load_classifier, "v")):
        with pytest.raises(MaquetteError, match="train judges") as found:
            load(tmp_path / f"{name}.safetensors")
        assert found.value.code is ErrorCode.MODEL_MISSING
