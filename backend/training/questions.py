"""What can be asked about a portrait: for each attribute some prompts, of which one is true of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from backend.training.prompts import true

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int
    from torch import Tensor

    from backend.training.prompts import Facts

QUESTIONS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "sex": {"a man": ("sex", ("male",)), "a woman": ("sex", ("female",))},
    "age": {
        "a young person": ("age", ("young",)),
        "a middle-aged person": ("age", ("middle",)),
        "an old person": ("age", ("old",)),
    },
    "skin": {
        f"a person with {skin} skin": ("skin", (skin,))
        for skin in ("very fair", "fair", "olive", "brown", "dark brown")
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
"""For each attribute its prompts, and of which of whose values each is true."""


def answers(facts: Sequence[Facts]) -> dict[str, Int[Tensor, " N"]]:
    """For each attribute the number of the prompt that is true of each person; -1 where none is, and where nobody would
    ask: only of men whether they have a beard."""
    found: dict[str, Int[Tensor, " N"]] = {}
    for attribute, prompts in QUESTIONS.items():
        claims = [((key, frozenset(values)),) for key, values in prompts.values()]
        rows = [[number for number, claim in enumerate(claims) if true(one, claim)] for one in facts]
        asked = [attribute != "beard" or "male" in one.get("sex", ()) for one in facts]
        found[attribute] = torch.tensor([row[0] if row and ask else -1 for row, ask in zip(rows, asked, strict=True)])
    return found
