"""Portraits and captions come to lie together, and a stop leaves no trace."""

import dataclasses

import pytest
import torch

from backend.rodin.latent import LatentConfig
from backend.training.latent_stage import LatentStage, LatentStageConfig, contrast, decide, draw_pictures, plain_points
from backend.training.people import load_people
from backend.training.retrieval import retrieval

MODEL = LatentConfig(size=16, picture=32, widths=(16, 32), text_width=32, text_layers=1, longest=8, buckets=256)
CONFIG = LatentStageConfig(model=MODEL, steps=90, batch=6, rate=4e-3, warm_up=5, average=0.8, held_back=0)


@pytest.fixture(scope="module")
def people(ball_pack):
    return load_people(ball_pack)


def test_people_have_portraits_and_the_views_that_see_the_face(people):
    assert people.pictures.shape == (6, 4, 4, 64, 64) and people.pictures.dtype == torch.uint8
    assert len(people.identity) == 6 and people.prompts.captions[3] == "ball 3"


def test_it_learns_to_find_the_caption_of_each_portrait(people):
    stage = LatentStage(people, CONFIG)
    stage.run()
    space = stage.averaged_space()
    points = plain_points(space, people, list(range(6)))
    found = retrieval(space, points, people.prompts.captions)
    assert found["top 1 of 6"] >= 5 / 6 and found["top 5 of 6"] == 1
    # The other portrait of the same ball, which the light and the crop make another picture, has a point nearby.
    other = plain_points(space, people, list(range(6)), picture=1)
    assert (torch.cdist(other, points).argmin(1) == torch.arange(6)).sum() >= 5


def test_people_held_back_are_not_learned_from(people):
    stage = LatentStage(people, dataclasses.replace(CONFIG, held_back=64))
    assert stage.learned == 5


def test_going_on_after_a_stop_gives_the_same_weights(people, tmp_path):
    config = dataclasses.replace(CONFIG, steps=6)
    whole, first, second = (LatentStage(people, config) for _ in range(3))
    whole.run()
    first.run(until=3)
    first.save(tmp_path)
    assert second.load(tmp_path) and second.step_number == 3
    second.run()
    for name, value in whole.averaged.items():
        assert torch.equal(value, second.averaged[name]), name


@pytest.mark.parametrize("change", ["recipe", "vocabulary"])
def test_another_recipe_or_other_words_do_not_go_on_here(people, tmp_path, change):
    LatentStage(people, CONFIG).save(tmp_path)
    if change == "recipe":
        other = LatentStage(people, dataclasses.replace(CONFIG, batch=2))
    else:
        captions = [caption.replace("ball", "cube") for caption in people.prompts.captions]
        prompts = type(people.prompts)(captions, [{"odd": 0}] * 6)
        other = LatentStage(dataclasses.replace(people, prompts=prompts), CONFIG)
    with pytest.raises(ValueError, match=f"another {change}"):
        other.load(tmp_path)


def test_a_text_that_is_true_of_two_is_drawn_to_both():
    """The loss is least where a row's weight is spread evenly over all that is true of it."""
    truth = torch.tensor([[True, False], [True, False], [False, True]])
    logits = lambda one, two: torch.tensor([[one, -9.0], [two, -9.0], [-9.0, 9.0]])  # noqa: E731
    even, uneven = contrast(logits(9.0, 9.0), truth), contrast(logits(12.0, 6.0), truth)
    assert even < uneven
    assert even == pytest.approx((torch.log(torch.tensor(2.0)) / 2 / 2).item(), abs=1e-3)
    nothing = torch.zeros(3, 2, dtype=torch.bool)
    assert contrast(logits(1.0, 2.0), nothing) == 0


def test_rare_answers_count_as_much_as_common_ones():
    logits = torch.tensor([[4.0, 0.0]] * 9 + [[4.0, 0.0]] + [[0.0, 0.0]])
    answer = torch.tensor([0] * 9 + [1] + [-1])
    right, wrong = (-torch.log_softmax(torch.tensor([4.0, 0.0]), 0)).tolist()
    assert decide(logits, answer).item() == pytest.approx((right + wrong) / 2, abs=1e-5)
    assert decide(logits, torch.full((11,), -1)) == 0


def test_pictures_are_drawn_on_grey(people):
    drawn = draw_pictures(people, [0, 1], torch.Generator().manual_seed(0))
    assert drawn.shape == (2, 4, 64, 64) and drawn.min() >= 0 and drawn.max() <= 1
    empty = drawn[:, 3:] == 0
    assert empty.any() and (drawn[:, :3][empty.expand(-1, 3, -1, -1)] == 0.5).all()
