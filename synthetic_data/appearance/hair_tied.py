"""Tied hair: combed over the skull to a tie, and gathered there into a tail, a bun or plaits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.appearance.hair_families import LOWEST, Family
from synthetic_data.appearance.hair_masks import hairline_elevation, head_angles
from synthetic_data.appearance.hair_shape import frizzed, locks, shortened
from synthetic_data.appearance.hair_skin import MIDDLE, Head
from synthetic_data.appearance.strands import Roots
from synthetic_data.identity import HairSpec
from synthetic_data.surface import unit

if TYPE_CHECKING:
    from jaxtyping import Float

TIE_RADIUS = 0.011
"""Half the thickness of the hair where it is tied, metres."""


def ties(hair: HairSpec, head: Head) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Middle and outward direction of every tie of a haircut, posed, metres: two for plaits, else one."""
    rng = np.random.default_rng([hair.seed, 5])
    if hair.family == "braids":
        height = rng.uniform(-28, -18)
        azimuth = np.radians([138.0, -138.0])
    else:
        # Low at the nape, at the back of the head, or higher: on the crown a tail would stand up like a crest.
        height = rng.choice([-16.0, 8.0, 26.0]) + rng.uniform(-6, 6)
        azimuth = np.radians([180.0])
    level = np.cos(np.radians(height))
    ways = np.stack(
        [level * np.sin(azimuth), -level * np.cos(azimuth), np.full(len(azimuth), np.sin(np.radians(height)))], 1
    )
    skin = head.from_template(head.surface(ways))
    out = unit(ways * [1, 1, 0.8])
    return skin + 0.009 * out, out


def grow_tied(
    head: Head,
    roots: Roots,
    hair: HairSpec,
    family: Family,
    covered: Callable[[np.ndarray], np.ndarray] | None,
    rng: np.random.Generator,
) -> Float[np.ndarray, "N K 3"]:
    """Strands from the roots over the skull through their tie."""
    middles, outs = ties(hair, head)
    count = len(roots.template)
    if len(middles) == 1:
        tie = np.zeros(count, int)
    else:
        wavering = hair.parting * smoothstep(0.08, 0.02, roots.template[:, 1]) + rng.normal(0, 0.0035, count)
        tie = np.where(roots.template[:, 0] > wavering, 0, 1)
    on_skull = 14
    features = np.concatenate([roots.template, 0.05 * tie[:, None]], 1)
    lock = locks(features, family.locks, rng)
    scalp, entry = _over_skull(head, roots, hair, middles[tie], outs[tie], lock, on_skull, rng)
    # A comb leaves grooves that run to the tie.
    scalp = scalp + 0.6 * smoothstep(0.05, 0.5, np.linspace(0, 1, on_skull))[None, :, None] * (scalp[lock] - scalp)
    scalp[:, 0] = roots.positions - 0.0007 * roots.normals
    if covered is not None:
        press = covered(head.to_template(scalp.reshape(-1, 3))).reshape(count, -1, 1)
        flat = head.from_template(head.surface(head.to_template(scalp) - MIDDLE))
        scalp = scalp + press * (flat + 0.002 * unit(scalp - flat) - scalp)
    rest = family.points - on_skull
    if hair.family == "ponytail":
        tail = _tail(head, middles[0], outs[0], entry, hair, rest, rng)
    elif hair.family == "bun":
        tail = _bun(middles[0], outs[0], entry, hair, rest, rng)
    else:
        tail = np.empty((count, rest, 3))
        for k in range(2):
            mine = tie == k
            tail[mine] = _plait(head, middles[k], outs[k], entry[mine], hair, rest, rng)
    points = np.concatenate([scalp, tail], 1)
    # Fine hair at the edge is too short to reach the tie.
    azimuth, elevation = head_angles(roots.template)
    edge = smoothstep(9, 0, elevation - hairline_elevation(azimuth, hair))
    short = rng.random(count) < 0.3 * edge + 0.006
    points[short] = shortened(points[short], rng.uniform(0.03, 0.14, int(short.sum())))
    if covered is not None:
        hidden = covered(head.to_template(middles[tie])) > 0.5
        if hair.family == "bun":
            # A bun that headwear touches is hidden under it.
            hidden |= covered(head.to_template(tail.reshape(-1, 3))).mean() > 0.1
        points[hidden, on_skull:] = points[hidden, on_skull - 1 : on_skull]
    return frizzed(points, 0.25 * hair.frizz, 0.004, rng) if hair.family == "ponytail" else points


def _over_skull(
    head: Head,
    roots: Roots,
    hair: HairSpec,
    middle: Float[np.ndarray, "N 3"],
    out: Float[np.ndarray, "N 3"],
    lock: np.ndarray,
    steps: int,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "N S 3"], Float[np.ndarray, "N 2"]]:
    """Great circles from the roots to the tie, lifted off the skin; and where in the tie each strand ends.

    The place in the tie is (angle, distance / tie radius) around its axis.
    """
    count = len(roots.template)
    start = unit(head.to_template(roots.positions) - MIDDLE)
    goal = unit(head.to_template(middle) - MIDDLE)
    angle = np.arccos(np.clip((start * goal).sum(1), -1, 1))[:, None]
    t = np.linspace(0, 1, steps)[None, :, None] ** 1.25
    sine = np.maximum(np.sin(angle), 1e-3)[:, None]
    ways = (np.sin((1 - t) * angle[:, None]) * start[:, None] + np.sin(t * angle[:, None]) * goal[:, None]) / sine
    ways = unit(_over_ears(ways))
    skin = head.from_template(head.surface(ways))
    up = unit(skin - head.from_template(MIDDLE))
    # Hair rises from its roots, is fullest on the way, and lies in ridges where a comb went through.
    volume = 0.0045 + 0.009 * hair.volume
    ridge = rng.uniform(0.45, 1.3, count)[lock][:, None, None] + rng.uniform(-0.15, 0.15, (count, 1, 1))
    reach = np.clip(angle / 0.5, 0.3, 1.2)[:, None]
    lift = volume * ridge * reach * np.sin(np.pi * np.clip(t, 0, 1) ** 0.6) ** 0.7 + 0.0015 * np.clip(6 * t, 0, 1)
    path = skin + up * lift
    # The last stretch turns into the tie, on the side from which the strand comes.
    across, along = _frame(out)
    arrival = path[:, -3] - middle
    theta = np.arctan2((arrival * along).sum(1), (arrival * across).sum(1)) + rng.normal(0, 0.2, count)
    share = np.sqrt(rng.random(count))
    place = across * np.cos(theta)[:, None] + along * np.sin(theta)[:, None]
    end = middle + TIE_RADIUS * share[:, None] * place
    blend = smoothstep(0.55, 1.0, t)
    path = path + (end - path[:, -1])[:, None] * blend
    path[:, 0] = roots.positions - 0.0007 * roots.normals
    return path, np.stack([theta, share], 1)


def _over_ears(ways: Float[np.ndarray, "N S 3"]) -> Float[np.ndarray, "N S 3"]:
    """Directions lifted above the ears where they would pass through them."""
    x, y, z = np.moveaxis(ways, -1, 0)
    azimuth = np.degrees(np.arctan2(np.abs(x), -y))
    floor = np.interp(azimuth, [66, 84, 102, 112, 124], [-1.0, 0.0, 0.02, -0.15, -1.0])
    lacking = np.maximum(floor - z / np.maximum(np.hypot(x, y), 1e-6), 0)
    return ways + np.stack([0 * z, 0 * z, lacking * np.hypot(x, y)], -1)


def _frame(axis: Float[np.ndarray, "*n 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors across `axis`, the second upwards."""
    across = unit(np.cross(np.array([0.0, 0, 1.0]), axis))
    return across, np.cross(axis, across)


def _hanging(
    head: Head, middle: np.ndarray, out: np.ndarray, length: float, clearance: float, swing: float, steps: int = 40
) -> Float[np.ndarray, "S 3"]:
    """The middle of a tail: it leaves the tie outwards, then falls and lies on the back."""
    points = np.empty((steps, 3))
    points[0] = middle
    heading = unit(out * [1, 1, 0.6] + [swing, 0, 0.15])
    step = min(length, middle[2] - LOWEST) / (steps - 1)
    for k in range(1, steps):
        contact = head.contact(points[k - 1][None])
        # It hangs against the neck and the back, not as a plumb line in the air.
        inwards = -contact.normal[0] * [0.6, 0.6, 0] * np.clip((contact.height[0] - clearance) / 0.05, 0, 1)
        heading = unit(heading + np.array([0.15 * swing, 0, -1.0]) * min(0.25 + 0.06 * k, 0.6) + 0.5 * inwards)
        room = min(clearance, 0.01 + 0.4 * step * k)
        trial, _ = head.pushed((points[k - 1] + heading * step)[None], np.array([room]))
        heading = unit(trial[0] - points[k - 1])
        points[k] = points[k - 1] + heading * step
    return points


def _along(curve: Float[np.ndarray, "S 3"], at: Float[np.ndarray, "*n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of a curve at 0 to 1 of its length, with two directions across it."""
    place = np.clip(at, 0, 1) * (len(curve) - 1)
    low = np.minimum(place.astype(int), len(curve) - 2)
    t = (place - low)[..., None]
    tangents = unit(np.gradient(curve, axis=0))
    tangent = unit(tangents[low] * (1 - t) + tangents[low + 1] * t)
    first = unit(np.cross(tangent, np.array([0.05, 1.0, 0.02])))
    return curve[low] * (1 - t) + curve[low + 1] * t, first, np.cross(tangent, first)


def _tail(
    head: Head,
    middle: np.ndarray,
    out: np.ndarray,
    entry: np.ndarray,
    hair: HairSpec,
    steps: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "N S 3"]:
    """A tail that swells after the tie and thins to a tip, straight or wavy."""
    count = len(entry)
    swell = 0.021 + 0.013 * hair.volume
    curve = _hanging(head, middle, out, 0.85 * hair.length, swell, rng.uniform(-0.15, 0.15))
    # The hair of the sides and the nape starts nearer the tie or farther: tails thin out over their lower half.
    t = np.linspace(0.02, 1, steps)[None] * (1 - 0.55 * rng.random((count, 1)))
    centre, first, second = _along(curve, t)
    strand = rng.integers(0, 60, count)
    theta = entry[:, 0] + 0.9 * rng.uniform(-1, 1, 60)[strand]
    radius = TIE_RADIUS + (swell - TIE_RADIUS) * smoothstep(0.0, 0.25, t) - 0.75 * swell * smoothstep(0.45, 1.05, t)
    radius = radius * (entry[:, 1] * (0.65 + 0.6 * rng.random(60)[strand]))[:, None]
    phase, pitch = rng.random(60)[strand], rng.uniform(2, 3.5, 60)[strand]
    wave = (
        (0.002 + 0.007 * hair.curl)
        * np.sin(2 * np.pi * (phase[:, None] + pitch[:, None] * t))
        * smoothstep(0.1, 0.5, t)
    )
    x, y = radius * np.cos(theta)[:, None] + wave, radius * np.sin(theta)[:, None]
    # Wisps part from one another towards their ends, most along the back.
    apart = rng.normal(0, 1, (2, 60))[:, strand, None] * np.clip(t, 0, 1) ** 1.6
    x, y = 1.2 * x + 0.009 * apart[0], 0.8 * y + 0.003 * apart[1]
    return centre + x[..., None] * first + y[..., None] * second


def _bun(
    middle: np.ndarray, out: np.ndarray, entry: np.ndarray, hair: HairSpec, steps: int, rng: np.random.Generator
) -> Float[np.ndarray, "N S 3"]:
    """Hair wound round the axis of the tie into a ball, as one twisted rope of two turns."""
    count = len(entry)
    size = 0.55 + 0.9 * hair.length + 0.2 * hair.volume
    ring, rope = 0.019 * size, 0.0195 * size
    across, along = _frame(out)
    t = np.linspace(0, 1, steps)[None]
    turns = entry[:, :1] + 2 * np.pi * (0.1 + 1.25 * t) + 0.5 * rng.random((count, 1))
    twist = 2 * np.pi * (rng.random((count, 1)) + 0.8 * t)
    radius = rope * np.sqrt(rng.uniform(0.3, 1.0, (count, 1))) * smoothstep(-0.1, 0.25, t)
    # The first turn climbs from the tie onto the rope.
    climb = smoothstep(0.0, 0.25, t)
    away = (TIE_RADIUS * entry[:, 1:]) * (1 - climb) + (ring + radius * np.cos(twist)) * climb
    height = (0.62 * rope + 0.9 * radius * np.sin(twist)) * climb
    # A ball is higher in its middle than a ring is.
    height = height + 0.010 * size * np.exp(-((away / (0.9 * ring)) ** 2)) * climb
    plane = across * np.cos(turns)[..., None] + along * np.sin(turns)[..., None]
    return middle + away[..., None] * plane + height[..., None] * out


def _plait(
    head: Head,
    middle: np.ndarray,
    out: np.ndarray,
    entry: np.ndarray,
    hair: HairSpec,
    steps: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "N S 3"]:
    """Three bundles that cross over each other, held by a band near the end."""
    count = len(entry)
    width = 0.015 + 0.004 * hair.volume
    curve = _hanging(head, middle, out, 0.8 * hair.length, 1.2 * width, 0.08 * float(np.sign(middle[0])))
    t = np.linspace(0.02, 1, steps)[None] * (1 - 0.06 * rng.random((count, 1)))
    centre, first, second = _along(curve, t)
    bundle = np.floor((entry[:, :1] / (2 * np.pi) % 1) * 3)
    long = np.linalg.norm(np.diff(curve, axis=0), axis=1).sum()
    turn = 2 * np.pi * (long / (4.4 * width) * t + bundle / 3)
    band = 0.86
    slim = (1 - 0.3 * t) * np.where(
        t < band, smoothstep(0.0, 0.06, t) * (1 - 0.65 * smoothstep(band - 0.04, band, t)), 0.0
    )
    x, y = 0.75 * width * np.sin(turn) * slim, 0.3 * width * np.sin(2 * turn) * slim
    loose = np.where(t < band, (1 - 0.3 * t) * (1 - 0.5 * smoothstep(band - 0.04, band, t)), 0.35 + 3.0 * (t - band))
    theta, radius = 2 * np.pi * rng.random((count, 1)), 0.66 * width * np.sqrt(rng.random((count, 1))) * loose
    x, y = x + radius * np.cos(theta), y + radius * np.sin(theta)
    return centre + x[..., None] * first + y[..., None] * second
