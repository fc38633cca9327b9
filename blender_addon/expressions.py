"""Names for people: groups of the 52 ARKit shape keys, and presets as weights of them. No bpy."""

from __future__ import annotations

from .api import EXPRESSIONS

GROUPS: dict[str, tuple[str, ...]] = {
    "Brows": ("brow",),
    "Eyes": ("eye",),
    "Cheeks and nose": ("cheek", "nose"),
    "Jaw and tongue": ("jaw", "tongue"),
    "Mouth": ("mouth",),
}
"""Title of a group, and how the names of its keys begin."""


PRESETS = {name.capitalize(): weights for name, weights in EXPRESSIONS.items()}
"""Weights of shape keys, 0 to 1; all others are 0."""


def words(key: str) -> str:
    """``mouthSmileLeft`` as ``Smile left``: for sliders below the title of their group."""
    parts: list[str] = []
    for character in key:
        if character.isupper():
            parts.append(character.lower())
        elif parts:
            parts[-1] += character
        else:
            parts.append(character)
    spaced = [parts[0], *parts[1:]]
    rest = spaced[1:] if len(spaced) > 1 else spaced
    return " ".join(rest).capitalize()


def group_of(key: str) -> str:
    """Title of the group that a key belongs to."""
    return next((title for title, starts in GROUPS.items() if key.startswith(starts)), "Other")
