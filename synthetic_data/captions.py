"""What a person looks like, in plain words and as attributes: for models that take text, and for searching."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthetic_data.distributions import default_distributions
from synthetic_data.identity import Colour, HairSpec, IdentitySpec, SkinSpec, stream

HAIR_WORDS = {
    "bald": "a bald head",
    "tonsure": "a bald crown with a ring of {colour} hair",
    "buzz": "{colour} buzz-cut hair",
    "crop": "cropped {colour} hair",
    "short": "short {colour} hair",
    "receding": "receding {colour} hair",
    "undercut": "a {colour} undercut",
    "quiff": "a {colour} quiff",
    "slick": "{colour} hair combed straight back",
    "side part": "{colour} hair parted at the side",
    "mohawk": "a {colour} mohawk",
    "bowl": "a {colour} bowl cut",
    "pixie": "a {colour} pixie cut",
    "bob": "a {colour} bob",
    "fringe bob": "a {colour} bob with a fringe",
    "lob": "shoulder-length {colour} hair",
    "long": "long straight {colour} hair",
    "layered": "long layered {colour} hair",
    "wavy": "wavy {colour} hair",
    "curly": "curly {colour} hair",
    "afro": "a {colour} afro",
    "locs": "{colour} locs",
    "braids": "{colour} braids",
    "ponytail": "{colour} hair in a ponytail",
    "bun": "{colour} hair in a bun",
}
BEARD_WORDS = {
    "moustache": "a moustache",
    "goatee": "a goatee",
    "van dyke": "a van Dyke beard",
    "chinstrap": "a chinstrap beard",
    "short": "a short beard",
    "full": "a full beard",
    "long": "a long beard",
    "sideburns": "sideburns",
}
_NAMED_COLOURS: dict[str, Colour] = {
    "black": (0.015, 0.015, 0.017),
    "grey": (0.16, 0.16, 0.17),
    "white": (0.66, 0.66, 0.64),
    "navy": (0.015, 0.03, 0.10),
    "blue": (0.05, 0.14, 0.36),
    "red": (0.33, 0.025, 0.025),
    "burgundy": (0.14, 0.015, 0.04),
    "green": (0.03, 0.12, 0.05),
    "olive": (0.10, 0.11, 0.05),
    "beige": (0.45, 0.34, 0.22),
    "brown": (0.13, 0.06, 0.03),
    "yellow": (0.62, 0.42, 0.06),
    "pink": (0.52, 0.20, 0.25),
    "purple": (0.24, 0.12, 0.34),
    "teal": (0.09, 0.32, 0.32),
    "orange": (0.60, 0.20, 0.04),
}


def colour_name(colour: Colour) -> str:
    """The common word nearest to a linear RGB colour; compared as the eye sees it, after the sRGB curve."""
    seen = np.array(colour) ** (1 / 2.2)
    return min(
        _NAMED_COLOURS, key=lambda name: float(np.linalg.norm(np.array(_NAMED_COLOURS[name]) ** (1 / 2.2) - seen))
    )


def hair_colour_name(hair: HairSpec) -> str:
    """The word for a pigment, or for the dye that hides it."""
    if hair.dye > 0.4:
        return colour_name(hair.dye_colour)
    if hair.melanin < 0.12:
        return "white"
    if hair.melanin < 0.27:
        return "grey" if hair.redness < 0.25 else "blond"
    if hair.melanin < 0.5:
        return "red" if hair.redness > 0.5 else "blond"
    if hair.melanin < 0.72:
        return "auburn" if hair.redness > 0.5 else "light brown"
    return "dark brown" if hair.melanin < 0.87 else "black"


def skin_name(skin: SkinSpec) -> str:
    """One of five words from the palest to the darkest."""
    names = ("very fair", "fair", "olive", "brown", "dark brown")
    return names[int(np.searchsorted([0.22, 0.42, 0.75, 1.15], skin.melanin))]


def attributes(spec: IdentitySpec) -> dict[str, Any]:
    """Words that a search or a classifier would use; every identity has all keys."""
    return {
        "sex": spec.sex,
        "age": spec.age,
        "skin": skin_name(spec.skin),
        "hair": spec.hair.family,
        "hair colour": hair_colour_name(spec.hair),
        "beard": spec.beard.style,
        "stubble": spec.skin.stubble > 0.3 and spec.beard.style == "none",
        "freckles": spec.skin.freckles > 0.3,
        "makeup": spec.skin.makeup > 0.4,
        "garment": spec.garment.kind,
        "garment colour": colour_name(spec.garment.colour),
        "pattern": spec.garment.pattern,
        "glasses": spec.accessories.glasses,
        "headwear": spec.accessories.headwear,
        "earrings": spec.accessories.earrings,
        "expression": spec.expression_name,
    }


def caption(spec: IdentitySpec) -> str:
    """One sentence; which of the lesser details it names is the identity's own choice."""
    rng = stream(spec.seed, spec.index, "caption")
    found = attributes(spec)
    words = {"young": "young", "middle": "middle-aged", "old": "elderly"}[spec.age]
    person = {"male": "man", "female": "woman"}[spec.sex]
    parts = []
    covered = spec.accessories.headwear in ("beanie", "turban", "headscarf")
    if not covered:
        parts.append(HAIR_WORDS[spec.hair.family].format(colour=found["hair colour"]))
    if spec.beard.style != "none":
        parts.append(BEARD_WORDS[spec.beard.style])
    elif found["stubble"]:
        parts.append("stubble")
    if found["freckles"] and rng.random() < 0.7:
        parts.append("freckles")
    article = "an" if words[0] in "aeiou" else "a"
    text = f"{article} {words} {person} with {found['skin']} skin"
    text = ", ".join([text, *parts[:-1]]) + f" and {parts[-1]}" if parts else text
    pattern = {
        "stripes": "striped ",
        "checks": "checked ",
        "dots": "dotted ",
        "heather": "",
        "plain": "",
        "print": "printed ",
    }
    worn = [f"{found['garment colour']} {pattern[spec.garment.pattern]}{spec.garment.kind}"]
    if spec.accessories.glasses != "none":
        worn.append({"sunglasses": "sunglasses"}.get(spec.accessories.glasses, f"{spec.accessories.glasses} glasses"))
    if spec.accessories.headwear != "none":
        worn.append(f"{colour_name(spec.accessories.headwear_colour)} {spec.accessories.headwear}")
    if spec.accessories.earrings != "none" and rng.random() < 0.6:
        worn.append("earrings")
    worn = [w if w.endswith("s") and not w.endswith("dress") else _with_article(w) for w in worn]
    text += ", wearing " + (", ".join(worn[:-1]) + " and " + worn[-1] if len(worn) > 1 else worn[0])
    if spec.expression_name != "neutral":
        text += f"; expression: {_expression(spec.expression_name)}"
    return text[0].upper() + text[1:]


def _expression(name: str) -> str:
    """Sounds are said, moods are not."""
    sounds = default_distributions().rules["expression"]["visemes"]
    return " and ".join(f'saying "{part}"' if part in sounds else part for part in name.split(" and "))


def _with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words
