"""What is said of people is true of them, and of everybody of whom it is true."""

import numpy as np
import pytest

from backend.rodin.words import words
from backend.training.prompts import Prompts, clauses_of, facts_of, true
from backend.training.questions import QUESTIONS, answers

PLAIN = {
    "sex": "male", "age": "middle", "skin": "olive", "hair": "crop", "hair colour": "black", "beard": "none",
    "stubble": False, "freckles": False, "makeup": False, "garment": "tee", "garment colour": "white",
    "pattern": "plain", "glasses": "none", "headwear": "none", "earrings": "none", "expression": "neutral",
}  # fmt: skip
PEOPLE = [
    PLAIN,
    PLAIN | {"hair": "bald", "beard": "full", "age": "old", "expression": "smile and blink"},
    PLAIN | {"sex": "female", "hair": "long", "hair colour": "red", "glasses": "round", "earrings": "hoops"},
    PLAIN | {"sex": "female", "hair": "bun", "headwear": "headscarf", "garment": "robe", "pattern": "stripes"},
]  # fmt: skip
CAPTIONS = [f"Person number {n}" for n in ("one", "two", "three", "four")]


@pytest.fixture(scope="module")
def prompts():
    return Prompts(CAPTIONS, PEOPLE)


def said(head):
    return {clause.text for clause in clauses_of(facts_of(PEOPLE[head]))}


def test_clauses_go_from_the_general_to_the_particular():
    assert {"middle-aged", "olive skin", "short hair", "cropped black hair", "white tee", "no glasses"} <= said(0)
    assert {"bald", "a full beard", "beard", "elderly", "smile", "closed eyes"} <= said(1)
    assert {"long straight red hair", "red hair", "round glasses", "glasses", "hoop earrings"} <= said(2)
    assert {"headscarf", "striped robe"} <= said(3) and "hat" not in said(3)


def test_what_cannot_be_seen_is_not_said():
    assert not any("hair" in text or "bun" in text for text in said(3)), "it is under the headscarf"
    assert not any("hair" in text for text in said(1)) and "no beard" not in said(2)


def test_every_text_is_true_of_whom_it_was_made_for(prompts):
    rng = np.random.default_rng(0)
    for head in range(4):
        for draw in (prompts.caption, prompts.prompt):
            for _ in range(40):
                text = draw(head, rng)
                assert text.text and true(prompts.facts[head], text.claims), text


def test_a_short_prompt_is_true_of_many(prompts):
    rng = np.random.default_rng(1)
    texts = [prompts.prompt(0, rng) for _ in range(60)]
    truth = prompts.truth([0, 1, 2, 3], texts)
    assert truth[0].all() and 0 < truth[1:].float().mean() < 1
    for text, row in zip(texts, truth.T, strict=True):
        if words(text.text) == ["man"]:
            assert row.tolist() == [True, True, False, False]


def test_a_caption_as_written_is_true_of_its_own_person(prompts):
    rng = np.random.default_rng(2)
    own = [text for _ in range(60) if (text := prompts.caption(2, rng)).text == CAPTIONS[2]]
    assert own and prompts.truth([0, 1, 2, 3], own[:1])[:, 0].tolist() == [False, False, True, False]


def test_the_vocabulary_holds_all_words(prompts):
    known, rng = set(prompts.vocabulary()), np.random.default_rng(3)
    assert {"number", "three", "red", "hair", "glass", "man", "woman", "striped"} <= known
    said = [word for _ in range(40) for word in words(prompts.caption(2, rng).text)]
    slips = [word for word in said if word not in known]
    assert len(slips) < 0.06 * len(said)


def test_the_same_stream_says_the_same(prompts):
    one, two = ([prompts.prompt(1, rng).text for _ in range(5)] for rng in map(np.random.default_rng, (7, 7)))
    assert one == two


def test_questions_have_one_answer_each():
    found = answers([facts_of(one) for one in PEOPLE])
    answer = lambda attribute, head: [*QUESTIONS[attribute], None][int(found[attribute][head])]  # noqa: E731
    assert answer("sex", 1) == "a man" and answer("glasses", 2) == "a person wearing glasses"
    assert answer("beard", 1) == "a man with a beard" and answer("beard", 2) is None
    assert answer("hair colour", 3) is None and answer("hair length", 1) == "a bald person"
