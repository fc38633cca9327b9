"""What means the same is the same to the text encoder."""

import pytest

from backend.rodin.words import SYNONYMS, buckets, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a red-haired man", "A ginger-haired guy"),
        ("an elderly woman", "old lady"),
        ("a male", "man"),
        ("wearing a hooded sweatshirt", "in a hoodie"),
        ("glasses", "spectacles"),
        ("freckles", "a freckle"),
        ("a T-shirt", "tee"),
        ("dreadlocks", "locs"),
        ("without glasses", "no spectacles"),
        ("a bald head", "no hair"),
        ("a redhead", "a person with red hair"),
    ],
)
def test_synonyms_plurals_and_hyphens_do_not_matter(one, other):
    assert words(one) == words(other) != []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a man", "a woman"),
        ("glasses", "no glasses"),
        ("glasses", "sunglasses"),
        ("fair skin", "very fair skin"),
        ("dark brown skin", "brown skin"),
        ("red hair", "a red top"),
        ("black hair, white shirt", "white hair, black shirt"),
    ],
)
def test_what_differs_stays_different(one, other):
    assert words(one) != words(other)


def test_clauses_are_separated_once():
    assert words("A woman with red hair, and wearing glasses.") == ["woman", ",", "red", "hair", ",", "glass"]
    assert words("...") == words("") == words("a person") == []


def test_synonyms_lead_to_words_that_stay_as_they_are():
    for canonical in SYNONYMS:
        assert " ".join(words(canonical)) == canonical


def test_a_misspelt_word_shares_most_of_its_pieces():
    right, wrong, other = (set(buckets(word, 4096)) for word in ("moustache", "moustahce", "turtleneck"))
    assert len(right & wrong) > 0.4 * len(right) and len(right & other) < 0.1 * len(right)
