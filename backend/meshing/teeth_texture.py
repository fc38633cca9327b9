"""The texture of a row of teeth: a cell per tooth in two lines on top, then outer gum, then inner gum and palate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

PER_ROW = 14
SIZE = 512
_CELLS = 7  # teeth per line
_CELL_WIDTH, _CELL_HEIGHT = 1 / _CELLS, 0.25
_INSET = 0.004  # kept free around cells and bands, so that no filter mixes neighbours
_NECK, _EDGE = -0.12, 1.0  # t at the lower and upper end of the tube
_CAP = 0.16  # share of a cell's height for the biting surface
_GUM_BAND, _INNER_BAND, _PALATE_BAND = (0.28, 0.5), (0.16, 0.28), (0.0, 0.16)
_GUM = np.array([0.80, 0.47, 0.46])
_MUCOSA = np.array([0.62, 0.25, 0.26])
_PALATE = np.array([0.66, 0.33, 0.32])


def tooth_uv(number: int, ring: int, levels: Float[np.ndarray, " m"]) -> Float[np.ndarray, "k 2"]:
    """Texture coordinates of one crown: ring + 1 per level (the seam runs on the inner side), then one per cap face."""
    u0, v0 = (number % _CELLS) * _CELL_WIDTH, 1 - (number // _CELLS + 1) * _CELL_HEIGHT
    across = np.linspace(0, 1, ring + 1)
    height = (levels - _NECK) / (_EDGE - _NECK) * (1 - _CAP)
    grid = np.stack(np.broadcast_arrays(across, height[:, None]), -1).reshape(-1, 2)
    cap = np.stack([across[:-1] + 0.5 / ring, np.ones(ring)], 1)
    local = np.concatenate([grid, cap])
    return np.array([u0, v0]) + _INSET + local * (np.array([_CELL_WIDTH, _CELL_HEIGHT]) - 2 * _INSET)


def gum_uv(columns: int, rows: int, *, inner: bool) -> Float[np.ndarray, "n m 2"]:
    """u along the arch; v from the far border (0 of the band) to the teeth (1), the other way round on the inside."""
    low, high = _INNER_BAND if inner else _GUM_BAND
    return _band(columns, np.linspace(1, 0, rows) if inner else np.linspace(0, 1, rows), low, high)


def palate_uv(columns: int, rows: int) -> Float[np.ndarray, "n m 2"]:
    """u from back to front, v from right to left."""
    return _band(columns, np.linspace(0, 1, rows), *_PALATE_BAND)


def _band(columns: int, across: Float[np.ndarray, " m"], low: float, high: float) -> Float[np.ndarray, "n m 2"]:
    u = np.linspace(_INSET, 1 - _INSET, columns)
    v = low + _INSET + across * (high - low - 2 * _INSET)
    return np.stack(np.broadcast_arrays(u[:, None], v), -1)


def paint(shade: Float[np.ndarray, "3"], generator: np.random.Generator) -> UInt8[np.ndarray, "S S 3"]:
    """Enamel that is yellower at the neck and greyer at the edge, shaded between teeth and towards the throat; gums."""
    v, u = np.meshgrid(1 - (np.arange(SIZE) + 0.5) / SIZE, (np.arange(SIZE) + 0.5) / SIZE, indexing="ij")
    fine = ndimage.gaussian_filter(generator.standard_normal((SIZE, SIZE)), 1.2, mode="wrap")
    coarse = ndimage.gaussian_filter(generator.standard_normal((SIZE, SIZE)), 9, mode="wrap")
    fine, coarse = fine / fine.std(), coarse / coarse.std()
    enamel = _enamel(u, v, shade, generator) * (1 + 0.010 * coarse + 0.005 * fine)[..., None]
    gum = _gums(u, v) * (1 + 0.035 * coarse + 0.03 * fine)[..., None]
    picture = np.where((v > 0.5)[..., None], enamel, gum)
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _enamel(
    u: Float[np.ndarray, "S S"],
    v: Float[np.ndarray, "S S"],
    shade: Float[np.ndarray, "3"],
    generator: np.random.Generator,
) -> Float[np.ndarray, "S S 3"]:
    column, line = np.minimum((u * _CELLS).astype(int), _CELLS - 1), np.clip(((1 - v) / _CELL_HEIGHT).astype(int), 0, 1)
    number = line * _CELLS + column
    across = np.clip((u * _CELLS - column - _INSET * _CELLS) / (1 - 2 * _INSET * _CELLS), 0, 1)
    inside = (v - (1 - (line + 1) * _CELL_HEIGHT) - _INSET) / (_CELL_HEIGHT - 2 * _INSET)
    t = _NECK + np.clip(inside / (1 - _CAP), 0, 1) * (_EDGE - _NECK)
    rank = np.where(number < _CELLS, _CELLS - 1 - number, number - _CELLS)  # 0 for central incisors, 6 for molars
    front = rank <= 2
    # The ring starts at the left side, the outer surface follows, then the inner one.
    outer = across < 0.5
    middle = np.where(outer, across / 0.5 - 0.5, (across - 0.5) / 0.5 - 0.5) * 2  # -1 to 1 over either surface

    tone = 1 + 0.02 * generator.standard_normal(PER_ROW)[number] - 0.018 * rank
    colour = shade * tone[..., None]
    warm = np.clip(1 - t / 0.55, 0, 1) ** 1.4 + 0.35 * (rank == 2)
    colour = colour * (1 - warm[..., None] * [0.045, 0.085, 0.17])
    glassy = front * np.clip((t - 0.78) / 0.22, 0, 1)
    colour = colour * (1 - glassy[..., None] * [0.11, 0.085, 0.055])
    # What other teeth, lips and cheeks keep from the light.
    sides = np.clip((np.abs(middle) - 0.62) / 0.38, 0, 1) ** 2
    shadow = 1 - 0.34 * sides * (1 - 0.55 * np.clip(t, 0, 1))
    shadow = shadow * (1 - 0.065 * np.maximum(rank - 1.5, 0)) * np.where(outer, 1, 0.86)
    fissure = ~front * np.clip((inside - (1 - _CAP)) / _CAP, 0, 1)
    shadow = shadow * (1 - 0.30 * fissure)
    colour = colour * shadow[..., None] ** np.array([0.72, 1.0, 1.2])
    # The gum rounds off the corner between margin and papilla.
    line_of_gum = 0.02 + 0.36 * np.abs(middle) ** 2.6 * np.where(outer, 1, 0.8)
    pink = np.clip((line_of_gum - t) / 0.03 + 0.5, 0, 1)[..., None]
    beneath = np.clip(1 - (t - line_of_gum) / 0.06, 0, 1)[..., None] * (1 - pink)
    return (colour * (1 - 0.14 * beneath)) * (1 - pink) + pink * _GUM * 0.93


def _gums(u: Float[np.ndarray, "S S"], v: Float[np.ndarray, "S S"]) -> Float[np.ndarray, "S S 3"]:
    back = np.clip((np.abs(u - 0.5) - 0.16) / 0.34, 0, 1)
    result = np.empty((*u.shape, 3))
    outer = np.clip((v - _GUM_BAND[0]) / (_GUM_BAND[1] - _GUM_BAND[0]), 0, 1)
    # Firm gum is paler than the mucosa beyond it.
    firm = np.clip((outer - 0.22) / 0.25, 0, 1)[..., None]
    result[:] = (_MUCOSA * (1 - firm) + _GUM * firm) * (0.72 + 0.28 * np.clip(outer / 0.35, 0, 1))[..., None]
    inner = (v < _INNER_BAND[1])[..., None]
    result = np.where(inner, _GUM * 0.82, result)
    palate = v < _PALATE_BAND[1]
    ridges = 1 + 0.05 * np.sin(u * 70) * np.clip((u - 0.5) / 0.3, 0, 1)
    result = np.where(palate[..., None], _PALATE * (ridges * (0.45 + 0.45 * u))[..., None], result)
    return np.where(palate[..., None], result, result * (1 - 0.45 * back)[..., None])
