"""Expressions as people write them: ``smile``, ``jawOpen=0.6``, ``laugh=0.5,browInnerUp=1``. Imports nothing heavy."""

from __future__ import annotations

from backend.api import EXPRESSIONS
from backend.rigging.arkit import ARKIT_SHAPES


def parse_expression(text: str) -> dict[str, float]:
    """Weights in [0, 1] of ARKit's shapes, those that are 0 left out.

    `text` is a list with commas of names of `EXPRESSIONS` and ARKit shapes (any capitals), each with ``=`` and a weight
    in [0, 1] where it is not 1; what several of them say of a shape adds up, to 1 at most.

    Raises `ValueError` with one sentence for a name or a weight that is neither.
    """
    shapes = {name.lower(): {name: 1.0} for name in ARKIT_SHAPES} | EXPRESSIONS
    total: dict[str, float] = {}
    for part in text.split(","):
        name, given, amount = (word.strip() for word in part.partition("="))
        if (found := shapes.get(name.lower())) is None:
            known = ", ".join(EXPRESSIONS)
            raise ValueError(
                f"There is no expression {name!r}: take one of {known}, or ARKit's names, such as jawOpen."
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
