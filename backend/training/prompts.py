"""What can truly be said about a person, and texts made of it: whole captions, parts of them, and short prompts.

A short prompt is true of many people. So every text carries its *claims*, and a table of who fulfils them is what the
encoders learn from (`truth`), not who a text was written for.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from backend.rodin.words import SEPARATOR, SYNONYMS, words
from synthetic_data.captions import BEARD_WORDS, HAIR_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool
    from torch import Tensor

Claims = tuple[tuple[str, frozenset[str]], ...]
"""Each attribute named, and the values of it that make the text true."""
Facts = dict[str, frozenset[str]]

BEFORE, WITH, WEARING = "before", "with", "wearing"
_CAPTION = "caption"
"""A caption as it was written claims to be just that: it is true of those who share it."""
_COVERING = ("beanie", "turban", "headscarf")
_SHORT = ("buzz", "crop", "short", "receding", "undercut", "quiff", "side part", "pixie", "bowl")
_LONG = ("long", "layered", "wavy", "braids", "locs")
_BEARDS = ("goatee", "van dyke", "chinstrap", "short", "full", "long")
_CLEAR = ("rectangle", "round", "wayfarer", "rimless", "aviator")
_HATS = ("cap", "beanie", "brimmed hat", "turban")
_MOODS = {
    "smile": ("smile", "open smile", "laugh"), "laugh": ("laugh",), "surprise": ("surprise",), "anger": ("anger",),
    "sadness": ("sadness",), "disgust": ("disgust",), "fear": ("fear",), "frown": ("frown",), "pout": ("pout",),
    "closed eyes": ("blink",), "neutral expression": ("neutral",),
}  # fmt: skip
_AGES = {"young": "young", "middle": "middle-aged", "old": "elderly"}
_PATTERNS = {"stripes": "striped", "checks": "checked", "dots": "dotted", "print": "printed"}


@dataclasses.dataclass(frozen=True)
class Clause:
    """Some words, where they stand (before the noun, after "with", after "wearing"), and what they claim."""

    text: str
    place: str
    claims: Claims


@dataclasses.dataclass(frozen=True)
class Text:
    """A text and all that it claims."""

    text: str
    claims: Claims


def facts_of(attributes: dict[str, Any]) -> Facts:
    """The attributes that `synthetic_data.captions` gives, as sets of words; what a hat hides is "hidden"."""
    facts = {key: frozenset([str(value)]) for key, value in attributes.items()}
    if "expression" in attributes:
        facts["expression"] = frozenset(attributes["expression"].split(" and "))
    if attributes.get("headwear") in _COVERING:
        facts |= {"hair": frozenset(["hidden"]), "hair colour": frozenset(["hidden"])}
    elif attributes.get("hair") == "bald":
        facts["hair colour"] = frozenset(["none"])
    return facts


def clauses_of(facts: Facts) -> list[Clause]:
    """Everything that is true of a person, from the general to the particular."""
    one = {key: next(iter(values)) for key, values in facts.items()}
    found: list[Clause] = []

    def say(text: str, place: str, **claims: Sequence[str]) -> None:
        held = tuple((key.replace("_", " "), frozenset(values)) for key, values in claims.items())
        if true(facts, held):
            found.append(Clause(text, place, held))

    for age, word in _AGES.items():
        say(word, BEFORE, age=[age])
    say(f"{one['skin']} skin", WITH, skin=[one["skin"]])
    say("dark skin", WITH, skin=["brown", "dark brown"])
    family, colour = one["hair"], one["hair colour"]
    meant = _SHORT if family == "short" else [family]
    if family != "hidden":
        template = HAIR_WORDS[family]
        say(" ".join(template.format(colour="").split()), WITH, hair=meant)
        if "{colour}" in template:
            say(template.format(colour=colour), WITH, hair=meant, hair_colour=[colour])
    say("bald", BEFORE, hair=["bald"])
    say("short hair", WITH, hair=_SHORT)
    say("long hair", WITH, hair=_LONG)
    say("curly hair", WITH, hair=["curly", "afro"])
    if colour not in ("hidden", "none"):
        say(f"{colour} hair", WITH, hair_colour=[colour])
        say("red hair", WITH, hair_colour=["red", "auburn"])
        say("brown hair", WITH, hair_colour=["light brown", "dark brown"])
        say("dark hair", WITH, hair_colour=["black", "dark brown"])
    if one["beard"] in BEARD_WORDS:
        say(BEARD_WORDS[one["beard"]], WITH, beard=[one["beard"]])
    say("beard", WITH, beard=_BEARDS)
    say("stubble", WITH, stubble=["True"])
    if one["sex"] == "male":  # of others nobody would say so
        say("no beard", WITH, beard=["none"], stubble=["False"])
    say("freckles", WITH, freckles=["True"])
    say("makeup", WITH, makeup=["True"])
    garment, cloth, pattern = one["garment"], one["garment colour"], _PATTERNS.get(one["pattern"])
    say(f"{garment}", WEARING, garment=[garment])
    say(f"{cloth} {garment}", WEARING, garment=[garment], garment_colour=[cloth])
    say(f"{cloth} top", WEARING, garment_colour=[cloth])
    if pattern:
        say(f"{pattern} {garment}", WEARING, garment=[garment], pattern=[one["pattern"]])
        kept = {"garment": [garment], "pattern": [one["pattern"]]}
        say(f"{cloth} {pattern} {garment}", WEARING, garment_colour=[cloth], **kept)
    say("glasses", WEARING, glasses=_CLEAR)
    say("sunglasses", WEARING, glasses=["sunglasses"])
    say("no glasses", WEARING, glasses=["none"])
    if one["glasses"] in _CLEAR:
        say(f"{one['glasses']} glasses", WEARING, glasses=[one["glasses"]])
    say("hat", WEARING, headwear=_HATS)
    say("no hat", WEARING, headwear=["none"])
    if one["headwear"] != "none":
        say(f"{one['headwear']}", WEARING, headwear=[one["headwear"]])
    if one["earrings"] != "none":
        say("earrings", WEARING, earrings=["studs", "hoops", "drops"])
        say(f"{one['earrings'].removesuffix('s')} earrings", WEARING, earrings=[one["earrings"]])
    for mood, values in _MOODS.items():
        say(mood, WITH, expression=values)
    return found


def true(facts: Facts, claims: Claims) -> bool:
    """Whether all claims hold."""
    return all(facts.get(key, frozenset()) & values for key, values in claims)


class Prompts:
    """Texts about the people of a set; randomness comes from the generator that each call is given."""

    def __init__(self, captions: Sequence[str], attributes: Sequence[dict[str, Any]]) -> None:
        self.captions = list(captions)
        self.facts = [
            facts_of(one) | {_CAPTION: frozenset([caption])} for caption, one in zip(captions, attributes, strict=True)
        ]
        catalogue: dict[str, Clause] = {}
        known = [
            [catalogue.setdefault(clause.text, clause) for clause in clauses_of(facts)] if "skin" in facts else []
            for facts in self.facts
        ]
        counts = Counter(clause.text for clauses in known for clause in clauses)
        self._clauses = known
        # What is rare is what people ask for: it is said more often than it occurs.
        self._weights = [np.array([counts[clause.text] ** -0.5 for clause in clauses]) for clauses in known]

    def vocabulary(self) -> list[str]:
        """All words of all texts, sorted."""
        texts = [*self.captions, *(clause.text for clauses in self._clauses for clause in clauses)]
        return sorted({SEPARATOR} | {word for text in {*texts, *SYNONYMS} for word in words(text)})

    def caption(self, head: int, rng: np.random.Generator) -> Text:
        """A whole caption: as it was written, or about two thirds of the particulars in any order."""
        own = [c for c in self._clauses[head] if all(self.facts[head][key] == values for key, values in c.claims)]
        if rng.random() < 0.4 or not own:
            return Text(self.captions[head], ((_CAPTION, frozenset([self.captions[head]])),))
        return self._compose(head, _distinct([c for c in own if rng.random() < 0.65]), rng, sex=0.95)

    def prompt(self, head: int, rng: np.random.Generator) -> Text:
        """A short prompt that is true of `head`, and of many others."""
        clauses, weights = self._clauses[head], self._weights[head]
        if not clauses:
            return self.caption(head, rng)
        # Now and then it says nothing of anybody: that is the text which edits start from.
        count = int(rng.choice(4, p=(0.03, 0.47, 0.35, 0.15)))
        chosen = rng.choice(len(clauses), count, replace=False, p=weights / weights.sum())
        return self._compose(head, _distinct([clauses[i] for i in chosen]), rng, sex=0.7)

    def truth(self, heads: Sequence[int], texts: Sequence[Text]) -> Bool[Tensor, "B T"]:
        """Which text is true of which head."""
        return torch.tensor([[true(self.facts[head], text.claims) for text in texts] for head in heads])

    def _compose(self, head: int, clauses: list[Clause], rng: np.random.Generator, *, sex: float) -> Text:
        claims: list[tuple[str, frozenset[str]]] = [claim for clause in clauses for claim in clause.claims]
        noun = "person"
        if rng.random() < sex:
            noun = "man" if "male" in self.facts[head]["sex"] else "woman"
            claims.append(("sex", self.facts[head]["sex"]))
        order = [clauses[i] for i in rng.permutation(len(clauses))]
        before, after, worn = ([c.text for c in order if c.place == place] for place in (BEFORE, WITH, WEARING))
        style = rng.random()
        if style < 0.2 and clauses and not before and noun == "person":
            text = ", ".join([*after, *worn])
        elif style < 0.5:
            text = ", ".join([" ".join([*before, noun]), *after, *worn])
        else:
            text = " ".join(["a", *before, noun])
            text += f" with {' and '.join(after)}" if after else ""
            text += f" wearing {' and '.join(worn)}" if worn else ""
        return Text(_in_other_words(text, rng) if rng.random() < 0.3 else text, tuple(claims))


def _distinct(clauses: list[Clause]) -> list[Clause]:
    """The most particular ones, none of which speaks of what another has said."""
    kept: list[Clause] = []
    for clause in sorted(clauses, key=lambda clause: -len(clause.claims)):
        said = {key for other in kept for key, _ in other.claims}
        if not said & {key for key, _ in clause.claims}:
            kept.append(clause)
    return kept


def _in_other_words(text: str, rng: np.random.Generator) -> str:
    """A synonym here and there, and sometimes a slip of the keys: the encoder shall not mind either."""
    padded = f" {' '.join(words(text))} "
    for canonical in [key for key in SYNONYMS if f" {key} " in padded]:
        if rng.random() < 0.5:
            others = SYNONYMS[canonical]
            padded = padded.replace(f" {canonical} ", f" {others[int(rng.integers(len(others)))]} ", 1)
    said = padded.split()
    long = [i for i, word in enumerate(said) if len(word) > 3]
    if long and rng.random() < 0.5:
        chosen = long[int(rng.integers(len(long)))]
        said[chosen] = _slip(said[chosen], rng)
    return " ".join(said)


def _slip(word: str, rng: np.random.Generator) -> str:
    """One letter lost, doubled, or changed with the next."""
    at = int(rng.integers(1, len(word) - 1))
    kind = int(rng.integers(3))
    return word[:at] + ("", word[at] * 2, word[at + 1] + word[at])[kind] + word[at + (2 if kind == 2 else 1) :]
