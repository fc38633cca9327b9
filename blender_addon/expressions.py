"""Names for people: groups of the 52 ARKit shape keys, and presets as weights of them. No bpy."""

from __future__ import annotations

GROUPS: dict[str, tuple[str, ...]] = {
    "Brows": ("brow",),
    "Eyes": ("eye",),
    "Cheeks and nose": ("cheek", "nose"),
    "Jaw and tongue": ("jaw", "tongue"),
    "Mouth": ("mouth",),
}
"""Title of a group, and how the names of its keys begin."""


def _both(**weights: float) -> dict[str, float]:
    return {f"{name}{side}": weight for name, weight in weights.items() for side in ("Left", "Right")}


PRESETS: dict[str, dict[str, float]] = {
    "Neutral": {},
    "Smile": _both(mouthSmile=0.8, cheekSquint=0.5, eyeSquint=0.25, mouthDimple=0.2),
    "Laugh": _both(mouthSmile=1.0, cheekSquint=0.7, eyeSquint=0.4, mouthUpperUp=0.3) | {"jawOpen": 0.35},
    "Surprise": _both(eyeWide=0.9, browOuterUp=0.9) | {"browInnerUp": 0.9, "jawOpen": 0.45, "mouthFunnel": 0.15},
    "Anger": _both(browDown=1.0, eyeSquint=0.5, noseSneer=0.6, mouthPress=0.6, mouthFrown=0.4) | {"jawForward": 0.2},
    "Sadness": _both(mouthFrown=0.8, eyeSquint=0.2) | {"browInnerUp": 0.9, "mouthShrugLower": 0.5},
    "Disgust": _both(noseSneer=0.9, mouthUpperUp=0.6, browDown=0.5, eyeSquint=0.4) | {"mouthShrugUpper": 0.3},
    "Fear": _both(eyeWide=0.9, mouthStretch=0.6) | {"browInnerUp": 1.0, "jawOpen": 0.2},
    "Kiss": {"mouthPucker": 1.0, "mouthFunnel": 0.2},
    "Wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.5, "cheekSquintLeft": 0.6},
    "Sleep": _both(eyeBlink=1.0),
}
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
