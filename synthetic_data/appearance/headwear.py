"""Caps, hats, turbans and scarves: shells around the skull, and what of the hair they cover."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from backend.body_model.base import BodyModel
from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.appearance.clipping import clip
from synthetic_data.appearance.patterns import cloth_tile
from synthetic_data.appearance.pieces import Piece, grid_patch, thicken, tube
from synthetic_data.identity import AccessorySpec, GarmentSpec
from synthetic_data.surface import Patch, unit

if TYPE_CHECKING:
    from jaxtyping import Float

Covered = Callable[[np.ndarray], np.ndarray]
"""How much (0 to 1) of the hair at template points (N, 3) is under the hat."""

_CENTRE = np.array([0.0, 0.012, 0.035])
"""Middle of the skull in the head frame, metres."""
_SECTORS = 96


def make_headwear(
    model: BodyModel, vertices: Float[np.ndarray, "V 3"], spec: AccessorySpec
) -> tuple[list[Piece], Covered]:
    """The pieces of a hat and what it covers. Raises KeyError for an unknown kind."""
    skull = _Skull(model, vertices)
    make = {
        "cap": _cap,
        "beanie": _beanie,
        "brimmed hat": _brimmed,
        "turban": _turban,
        "headscarf": _headscarf,
        "headband": _headband,
    }[spec.headwear]
    rng = np.random.default_rng([spec.seed, 20])
    pieces = make(skull, spec, rng)
    rim = _RIMS[spec.headwear]

    def covered(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        if spec.headwear == "headscarf":
            return np.ones(len(points))
        azimuth, elevation = _angles(points - _CENTRE)
        low = rim(azimuth)
        # Hair lies flat already where it comes out under the rim: half pressed, it would stand through the band.
        inside = smoothstep(low - 0.12, low - 0.03, elevation)
        return inside * smoothstep(0.62, 0.5, elevation) if spec.headwear == "headband" else inside

    return pieces, covered


def _angles(offset: Float[np.ndarray, "*n 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth (0 in front, positive to the character's left) and elevation of directions, radians."""
    x, y, z = np.moveaxis(offset, -1, 0)
    return np.arctan2(x, -y), np.arctan2(z, np.hypot(x, y))


def _rim(front: float, side: float, back: float) -> Callable[[np.ndarray], np.ndarray]:
    """Elevation of a hat's lower edge around the head, radians."""

    def low(azimuth: np.ndarray) -> np.ndarray:
        c, s = np.cos(azimuth), np.sin(azimuth) ** 2
        return s * side + (1 - s) * np.where(c > 0, front, back)

    return low


_RIMS = {
    "cap": _rim(0.33, 0.06, -0.17),
    "beanie": _rim(0.34, 0.05, -0.28),
    "brimmed hat": _rim(0.36, 0.24, 0.02),
    "turban": _rim(0.42, 0.10, -0.30),
    "headscarf": _rim(0.50, -0.6, -0.9),
    "headband": _rim(0.36, 0.22, -0.05),
}


class _Skull:
    """Distance from the middle of the head to the skin in any direction, smoothed; ears and face hair do not count."""

    def __init__(self, model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> None:
        used = np.unique(model.topology.faces[model.topology.parts["skin"]])
        regions = model.topology.regions
        self._skin = vertices[used]
        used = used[(regions["ears"][used] < 0.2) & (regions["mouth_interior"][used] < 0.1)]
        offset = vertices[used] - _CENTRE
        self._radius = np.linalg.norm(offset, axis=1)
        self._tree = KDTree(offset / self._radius[:, None])

    def radius(self, direction: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        """Metres to the skin along unit vectors."""
        flat = direction.reshape(-1, 3)
        distance, nearest = self._tree.query(flat, k=12)
        weight = np.exp(-((distance / 0.12) ** 2)) + 1e-9
        found = (self._radius[nearest] * weight).sum(1) / weight.sum(1)
        return found.reshape(direction.shape[:-1])

    def farthest(self, direction: Float[np.ndarray, "*n 3"], centre: Float[np.ndarray, "3"]) -> Float[np.ndarray, "*n"]:
        """Metres from `centre` to the farthest skin within a few degrees of unit vectors."""
        offset = self._skin - centre
        radius = np.linalg.norm(offset, axis=1)
        distance, nearest = KDTree(offset / radius[:, None]).query(direction.reshape(-1, 3), k=10)
        near = distance < np.maximum(0.07, 1.2 * distance[:, :1])
        return np.where(near, radius[nearest], 0).max(1).reshape(direction.shape[:-1])

    def shell(self, low: np.ndarray, high: float, lift, rows: int = 40, azimuth: np.ndarray | None = None):
        """Points (rows, sectors, 3) from the elevations `low` up to `high`, lifted by `lift(azimuth, t)` metres."""
        turn = np.arange(_SECTORS) / _SECTORS * 2 * np.pi if azimuth is None else azimuth
        t = np.linspace(0, 1, rows)[:, None]
        elevation = low[None] + t * (high - low[None])
        turn = np.broadcast_to(turn, elevation.shape)
        direction = np.stack(
            [np.sin(turn) * np.cos(elevation), -np.cos(turn) * np.cos(elevation), np.sin(elevation)], -1
        )
        reach = self.radius(direction) + lift(turn, np.broadcast_to(t, elevation.shape))
        return _CENTRE + direction * reach[..., None]


def _cloth(spec: AccessorySpec, pattern: str = "plain") -> tuple[np.ndarray, float]:
    second = tuple(float(0.4 * c + 0.35) for c in spec.headwear_colour)
    return cloth_tile(
        GarmentSpec("hat", spec.headwear_colour, (second[0], second[1], second[2]), pattern, 0.5, 0.5, 0.5, spec.seed),
        pattern,
    )


def _sewn(name: str, patch: Patch, spec: AccessorySpec, pattern: str = "plain", shade: float = 1.0) -> Piece:
    texture, side = _cloth(spec, pattern)
    patch = Patch(patch.vertices, patch.faces, patch.corner_uvs / side, patch.attributes)
    return Piece(name, patch, "headwear", "cloth", (shade, shade, shade), texture)


def _turn() -> np.ndarray:
    return np.arange(_SECTORS) / _SECTORS * 2 * np.pi


def _dome(skull: _Skull, low: np.ndarray, lift, thickness: float = 0.003) -> Patch:
    """A closed crown from the lower edge to the top."""
    points = skull.shell(low, np.pi / 2, lift)
    return thicken(grid_patch(points[:, ::-1], close_columns=True), thickness)


def _cap(skull: _Skull, spec: AccessorySpec, rng: np.random.Generator) -> list[Piece]:
    low = _RIMS["cap"](_turn())
    panels = lambda a, t: 0.0055 + 0.009 * np.sin(np.pi * t) - 0.0012 * (np.cos(6 * a) > 0.985) * (t > 0.08)  # noqa: E731
    crown = _dome(skull, low, panels)
    # The visor starts inside the rim in front and bows down at its sides, where it runs out into the band.
    turn = np.linspace(-1.05, 1.05, 61)
    root = skull.shell(_RIMS["cap"](turn) + 0.02, np.pi / 2, lambda a, t: 0.0045 + 0 * t, rows=2, azimuth=turn)[0]
    share = np.clip(np.cos(turn / 1.05 * np.pi / 2), 0, 1) ** 0.75
    t = np.linspace(0, 1, 12)[:, None]
    forward = np.stack([0.35 * np.sin(turn), -np.ones_like(turn), -0.20 - 0.0 * turn], 1)
    visor = root[None] + (0.072 * t * share)[..., None] * forward
    visor[..., 2] -= share * (0.010 * t**2 + 0.014 * (turn / 1.05) ** 2 * t)
    button = tube(_top(skull, 0.0050) + np.array([[0, 0, 0], [0, 0, 0.003], [0, 0, 0.004]]), np.array([6, 6, 4]) * 1e-3)
    return [
        _sewn("cap", crown, spec),
        _sewn("visor", thicken(grid_patch(visor), 0.003), spec, shade=0.85),
        _sewn("button", button, spec, shade=0.85),
    ]


def _top(skull: _Skull, lift: float) -> Float[np.ndarray, "3"]:
    up = np.array([0, 0, 1.0])
    return _CENTRE + up * (skull.radius(up[None])[0] + lift)


def _beanie(skull: _Skull, spec: AccessorySpec, rng: np.random.Generator) -> list[Piece]:
    low = _RIMS["beanie"](_turn())
    slack = float(rng.uniform(0.004, 0.022))
    ribs = lambda a, t: 0.008 + slack * np.sin(np.pi * t * 0.5) ** 3 + 0.0006 * np.sin(48 * a)  # noqa: E731
    crown = _dome(skull, low, ribs)
    band = skull.shell(low - 0.02, np.pi / 2, lambda a, t: 0.0125 + 0.0007 * np.sin(48 * a), rows=60)[:17]
    band[0] += 0.004 * unit(_CENTRE - band[0])
    cuff = thicken(grid_patch(band[:, ::-1], close_columns=True), 0.005)
    return [_sewn("beanie", crown, spec), _sewn("cuff", cuff, spec, shade=0.9)]


def _brimmed(skull: _Skull, spec: AccessorySpec, rng: np.random.Generator) -> list[Piece]:
    low = _RIMS["brimmed hat"](_turn())
    # Wide but in front: long hair that hangs over the ears and down the nape lies thickest there.
    wide = lambda a: 0.012 + 0.006 * (1 - np.clip(np.cos(a), 0, 1) ** 2)  # noqa: E731
    pinch = lambda a, t: wide(a) - 0.001 + 0.016 * smoothstep(0.1, 0.6, t) - 0.014 * smoothstep(0.75, 1.0, t)  # noqa: E731
    crown = _dome(skull, low, pinch)
    root = skull.shell(low, np.pi / 2, lambda a, t: wide(a), rows=2)[0]
    out = root - _CENTRE
    out = unit(out * [1, 1, 0])
    width = float(rng.uniform(0.045, 0.075))
    t = np.linspace(0, 1, 14)[:, None, None]
    wave = (0.5 * np.abs(out[:, 0]) ** 2)[None, :, None] * t**2 * 0.03
    brim = root[None] + t * width * out + (wave - 0.012 * t) * [0, 0, 1.0]
    ribbon = skull.shell(low + 0.01, np.pi / 2, lambda a, t: wide(a) + 0.0025 + 0.012 * t, rows=40)[:9]
    return [
        _sewn("hat", crown, spec),
        _sewn("brim", thicken(grid_patch(brim, close_columns=True), 0.0025), spec),
        _sewn("ribbon", thicken(grid_patch(ribbon[:, ::-1], close_columns=True), 0.001), spec, shade=0.35),
    ]


def _turban(skull: _Skull, spec: AccessorySpec, rng: np.random.Generator) -> list[Piece]:
    low = _RIMS["turban"](_turn())

    def wraps(a: np.ndarray, t: np.ndarray) -> np.ndarray:
        # Layers cross in front and slant to both sides.
        slant = t * 7 + 1.3 * np.abs(np.sin(a / 2)) - 0.6 * np.cos(a)
        fold = np.abs(((slant % 1) - 0.5) * 2) ** 1.5
        return 0.012 + 0.026 * np.sin(np.pi * np.clip(t * 0.85, 0, 1)) + 0.005 * (1 - fold) * smoothstep(0, 0.1, t)

    points = skull.shell(low, np.pi / 2, wraps, rows=90)
    return [_sewn("turban", thicken(grid_patch(points[:, ::-1], close_columns=True), 0.003), spec)]


_WITHIN = np.array([0.0, 0.020, -0.050])
"""From here head, throat and shoulders are seen in every direction without a gap, metres."""


def _headscarf(skull: _Skull, spec: AccessorySpec, rng: np.random.Generator) -> list[Piece]:
    """A cloth over head and shoulders with an oval opening for the face."""
    around = _turn()
    c, s = np.cos(around), np.sin(around) ** 2
    hem = -(s * 0.68 + (1 - s) * np.where(c > 0, 1.08, 0.88)) - 0.03 * np.sin(2 * around + rng.uniform(0, 6))
    t = np.linspace(0, 1, 80)[:, None]
    elevation = hem + t * (np.pi / 2 - hem)
    turn = np.broadcast_to(around, elevation.shape)
    level = np.cos(elevation)
    way = np.stack([np.sin(turn) * level, -np.cos(turn) * level, np.sin(elevation)], -1)
    # Cloth is stretched over what stands out: the farthest skin around, then smoothed. Below the ears it hangs free.
    reach = ndimage.grey_dilation(np.minimum(skull.farthest(way, _WITHIN), 0.19), (3, 3), mode="wrap")
    reach = np.maximum(reach, 0.086 * smoothstep(0.45, -0.1, elevation) / np.maximum(level, 0.55))
    reach = ndimage.gaussian_filter(reach, (3.5, 2.5), mode=("nearest", "wrap"))  # pyright: ignore
    points = _WITHIN + way * reach[..., None]
    # Angle from the direction of the face, less that of the opening; 0 of `side` points up.
    out = unit(points - _CENTRE)
    side = np.arctan2(out[..., 0], out[..., 2])
    opening = np.interp(np.cos(side), [-1, -0.4, 0.3, 1], [0.88, 0.96, 0.96, 0.60])
    field = np.arccos(np.clip(-out[..., 1], -1, 1)) - opening
    low = smoothstep(-0.25, -0.75, elevation)
    fold = 0.003 * np.sin(6 * turn + 2.0 * np.sin(2 * turn) + rng.uniform(0, 6)) * low
    points = points + (0.009 + fold + 0.014 * low)[..., None] * way + 0.014 * low[..., None] * [0, 0, 1.0]
    # Around the face it lies on the skin.
    close = smoothstep(0.30, 0.02, field)[..., None]
    points = points * (1 - close) + close * (_CENTRE + (skull.radius(out) + 0.0025)[..., None] * out)
    sheet = grid_patch(points[:, ::-1], close_columns=True)
    sheet = clip(sheet, field[:, ::-1].ravel())
    return [_sewn("scarf", thicken(dataclasses.replace(sheet, attributes={}), 0.002), spec)]


def _headband(skull: _Skull, spec: AccessorySpec, rng: np.random.Generator) -> list[Piece]:
    low = _RIMS["headband"](_turn())
    height = float(rng.uniform(0.22, 0.34))
    points = skull.shell(low, np.pi / 2, lambda a, t: 0.0075 + 0 * t, rows=60)
    band = points[: max(int(60 * height / 1.3), 6)]
    return [_sewn("headband", thicken(grid_patch(band[:, ::-1], close_columns=True), 0.003), spec)]
