"""How well portraits and texts find each other, on people that were not learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from backend.training.prompts import true

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from backend.rodin.latent import LatentSpace
    from backend.training.prompts import Facts

QUESTIONS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "sex": {"a man": ("sex", ("male",)), "a woman": ("sex", ("female",))},
    "age": {
        "a young person": ("age", ("young",)),
        "a middle-aged person": ("age", ("middle",)),
        "an old person": ("age", ("old",)),
    },
    "skin": {
        f"a person with {skin} skin": ("skin", (skin,)) for skin in ("very fair", "fair", "olive", "brown", "dark brown")
    },
    "hair colour": {
        f"a person with {colour} hair": ("hair colour", (colour,))
        for colour in ("black", "dark brown", "light brown", "blond", "red", "grey", "white")
    },
    "hair length": {
        "a bald person": ("hair", ("bald", "tonsure")),
        "a person with short hair": ("hair", ("buzz", "crop", "short", "side part", "pixie", "quiff", "undercut")),
        "a person with long hair": ("hair", ("long", "layered", "wavy", "braids", "locs")),
    },
    "beard": {
        "a man with a beard": ("beard", ("goatee", "van dyke", "chinstrap", "short", "full", "long")),
        "a man without a beard": ("beard", ("none",)),
    },
    "glasses": {
        "a person wearing glasses": ("glasses", ("rectangle", "round", "wayfarer", "rimless", "aviator")),
        "a person wearing sunglasses": ("glasses", ("sunglasses",)),
        "a person without glasses": ("glasses", ("none",)),
    },
    "headwear": {
        "a person wearing a hat": ("headwear", ("cap", "beanie", "brimmed hat", "turban")),
        "a person without a hat": ("headwear", ("none",)),
    },
    "garment colour": {
        f"a person wearing a {colour} top": ("garment colour", (colour,))
        for colour in ("black", "grey", "white", "navy", "blue", "burgundy", "olive", "beige", "brown", "pink", "teal")
    },
}
"""For each attribute the prompts between which a portrait is decided, and the values of which each is true."""


@torch.no_grad()
def retrieval(
    space: LatentSpace, points: Float[Tensor, "N Z"], captions: list[str], *, of: int = 64
) -> dict[str, float]:
    """How often a portrait's own caption is the first, or among the first five, of `of` captions (or of all, when
    there are fewer); equal captions count as own."""
    points, captions = points[:of], captions[:of]
    texts = space.encode_texts(captions)
    scores = F.normalize(points, dim=1) @ F.normalize(texts, dim=1).T
    order = scores.argsort(1, descending=True).tolist()
    rank = [next(i for i, n in enumerate(row) if captions[n] == captions[own]) for own, row in enumerate(order)]
    return {f"top {k} of {len(captions)}": sum(place < k for place in rank) / len(rank) for k in (1, 5)}


@torch.no_grad()
def zero_shot(space: LatentSpace, points: Float[Tensor, "N Z"], facts: list[Facts]) -> dict[str, dict[str, float]]:
    """For each attribute: the mean over its values of the share of portraits decided rightly (`accuracy`), what
    guessing gives (`chance`), and how many portraits were asked."""
    found: dict[str, dict[str, float]] = {}
    for attribute, answers in QUESTIONS.items():
        claims = [((key, frozenset(values)),) for key, values in answers.values()]
        told = [[true(one, claim) for claim in claims] for one in facts]
        if attribute == "beard":
            told = [row if "male" in one.get("sex", ()) else [False, False] for row, one in zip(told, facts, strict=True)]
        asked = [n for n, row in enumerate(told) if any(row)]
        if not asked:
            continue
        truth = torch.tensor([told[n].index(True) for n in asked])
        present = truth.unique()
        texts = space.encode_texts(list(answers))
        guess = (F.normalize(points[asked], dim=1) @ F.normalize(texts, dim=1).T).argmax(1).cpu()
        shares = [float((guess[truth == value] == value).float().mean()) for value in present]
        found[attribute] = {
            "accuracy": sum(shares) / len(shares), "chance": 1 / len(answers), "portraits": float(len(asked))
        }  # fmt: skip
    return found
