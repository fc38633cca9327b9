"""Glasses, headwear and earrings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import BodyModel
from synthetic_data.appearance.pieces import Piece
from synthetic_data.identity import AccessorySpec

if TYPE_CHECKING:
    from jaxtyping import Float

Covered = Callable[[np.ndarray], np.ndarray]


def make_accessories(
    model: BodyModel, vertices: Float[np.ndarray, "V 3"], spec: AccessorySpec
) -> tuple[list[Piece], Covered | None]:
    """The pieces, and for hats a function that says which template points (N, 3) lie under them."""
    return [], None
