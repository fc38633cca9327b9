"""Expressions as people write them: ``smile``, ``jawOpen=0.6``, ``laugh=0.5,browInnerUp=1``. Imports nothing heavy."""

from __future__ import annotations

from backend.rigging.arkit import ARKIT_SHAPES


def _both(**weights: float) -> dict[str, float]:
    return {f"{name}{side}": weight for name, weight in weights.items() for side in ("Left", "Right")}


NAMED: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": _both(mouthSmile=0.8, cheekSquint=0.5, eyeSquint=0.25, mouthDimple=0.2),
    "laugh": _both(mouthSmile=1.0, cheekSquint=0.7, eyeSquint=0.4, mouthUpperUp=0.3) | {"jawOpen": 0.35},
    "surprise": _both(eyeWide=0.9, browOuterUp=0.9) | {"browInnerUp": 0.9, "jawOpen": 0.45, "mouthFunnel": 0.15},
    "anger": _both(browDown=1.0, eyeSquint=0.5, noseSneer=0.6, mouthPress=0.6, mouthFrown=0.4) | {"jawForward": 0.2},
    "sadness": _both(mouthFrown=0.8, eyeSquint=0.2) | {"browInnerUp": 0.9, "mouthShrugLower": 0.5},
    "disgust": _both(noseSneer=0.9, mouthUpperUp=0.6, browDown=0.5, eyeSquint=0.4) | {"mouthShrugUpper": 0.3},
    "fear": _both(eyeWide=0.9, mouthStretch=0.6) | {"browInnerUp": 1.0, "jawOpen": 0.2},
    "kiss": {"mouthPucker": 1.0, "mouthFunnel": 0.2},
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.5, "cheekSquintLeft": 0.6},
    "sleep": _both(eyeBlink=1.0),
}
"""Weights of ARKit's shapes by the name of the expression; the same as the presets of the Blender add-on."""


def parse_expression(text: str) -> dict[str, float]:
    """Weights in [0, 1] of ARKit's shapes, those that are 0 left out.

    `text` is a list with commas of names of `NAMED` and ARKit shapes (any capitals), each with ``=`` and a weight in
    [0, 1] where it is not 1; what several of them say of a shape adds up, to 1 at most.

    Raises `ValueError` with one sentence for a name or a weight that is neither.
    """
    shapes = {name.lower(): {name: 1.0} for name in ARKIT_SHAPES} | NAMED
    total: dict[str, float] = {}
    for part in text.split(","):
        name, given, amount = (word.strip() for word in part.partition("="))
        if (found := shapes.get(name.lower())) is None:
            raise ValueError(
                f"There is no expression {name!r}: take one of {', '.join(NAMED)}, or ARKit's names, such as jawOpen."
            )
        strength = _weight(name, amount) if given else 1.0
        for shape, weight in found.items():
            total[shape] = min(1.0, total.get(shape, 0.0) + strength * weight)
    return {name: total[name] for name in ARKIT_SHAPES if total.get(name)}


def _weight(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"The weight {text!r} of the expression {name!r} must be a number from 0 to 1.")
    return value
