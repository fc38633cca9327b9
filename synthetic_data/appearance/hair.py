"""Head hair: guides are grown through a field of directions, kept off the skin, cut, and filled up with strands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import BodyModel
from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.appearance.cutting import bust
from synthetic_data.appearance.hair_families import (
    FAMILIES,
    HANGING,
    Family,
    cut_height,
    fringe_chance,
    strand_length,
)
from synthetic_data.appearance.hair_fields import CROWN, around_face, comb, tangential, towards_neck
from synthetic_data.appearance.hair_masks import FADED, above_hairline, hairline_elevation, head_angles, root_mask
from synthetic_data.appearance.hair_shape import children, frizzed, gathered, locks, roped, shortened, waved
from synthetic_data.appearance.hair_skin import Head
from synthetic_data.appearance.hair_tied import grow_tied
from synthetic_data.appearance.strands import Roots, Strands, sample_roots, thinned
from synthetic_data.identity import HairSpec
from synthetic_data.surface import unit

if TYPE_CHECKING:
    from jaxtyping import Float

Covered = Callable[[np.ndarray], np.ndarray]
"""Weight 0 to 1 of headwear over template points (n, 3): 1 is under it."""

_GUIDES = 1300


def grow_hair(
    model: BodyModel,
    vertices: Float[np.ndarray, "V 3"],
    hair: HairSpec,
    covered: Covered | None = None,
    *,
    detail: float = 1.0,
) -> Strands | None:
    """Hair of a posed head in metres, or None for a bald one.

    Args:
        model: whose head it is.
        vertices: of the head as it is rendered.
        hair: the haircut. Raises KeyError for an unknown family.
        covered: where headwear presses the hair flat; what would stand through it is left out.
        detail: share of the strands to grow, thicker by as much.
    """
    if hair.family == "bald":
        return None
    family = FAMILIES[hair.family]
    head = Head(model, vertices, over_ears=hair.family in HANGING)
    ears = model.topology.regions["ears"]
    ear_points = model.template[ears > 0.3]
    low, high = ear_points.min(0), ear_points.max(0)

    def mask(points: np.ndarray) -> np.ndarray:
        # The ears stand off the skull: everything farther out than its side is theirs.
        on_ear = (np.abs(points[:, 0]) > 0.0795) & (points[:, 2] < high[2]) & (points[:, 1] > low[1] - 0.004)
        return root_mask(points, hair) * _crowded(points, hair, family) * ~on_ear

    rng = np.random.default_rng([hair.seed, 4])
    radius = family.radius * np.linspace(1, family.tip, family.points) ** 0.8
    count, radius = thinned(family.count, radius, detail)
    roots = sample_roots(model, vertices, mask, count, rng)
    if family.comb == "tied":
        return Strands(grow_tied(head, roots, hair, family, covered, rng), radius)
    guide_rng = np.random.default_rng([hair.seed, 3])
    guide_roots = sample_roots(model, vertices, mask, _GUIDES, guide_rng)
    fringe = guide_rng.random(_GUIDES) < fringe_chance(guide_roots.template, hair)
    guides = _grow_guides(head, guide_roots, hair, family, fringe, covered, guide_rng)
    own_fringe = rng.random(count) < fringe_chance(roots.template, hair)
    features, guide_features = (_features(r.template, hair, f) for r, f in ((roots, own_fringe), (guide_roots, fringe)))
    start = roots.positions - 0.0007 * roots.normals
    points = children(guides, guide_features, start, features)
    points = shortened(points, _share(roots, hair, family, rng))
    lock = locks(features, family.locks, rng)
    if hair.family == "locs":
        points = roped(points, lock, 0.0044 + 0.0018 * hair.volume, rng)
    else:
        points = gathered(points, lock, family.clump, 1.2 if family.wave is None else 0.6, rng)
    points = _textured(points, lock, hair, family, rng)
    return Strands(points if covered is None else _under_hat(points, head, covered), radius)


def _under_hat(points: Float[np.ndarray, "n K 3"], head: Head, covered: Covered) -> Float[np.ndarray, "n K 3"]:
    """Strands pressed flat once more: curls and frizz came after the guides were laid under the hat."""
    flat = points.reshape(-1, 3).copy()
    hidden = covered(head.to_template(flat)) > 0.5
    if hidden.any():
        flat[hidden] = head.pushed(flat[hidden], np.full(hidden.sum(), 0.0008), np.full(hidden.sum(), 0.0025))[0]
    return flat.reshape(points.shape)


def _crowded(template: Float[np.ndarray, "n 3"], hair: HairSpec, family: Family) -> Float[np.ndarray, "n"]:
    """Share of the roots, 0 to 1: most where hair parts and would bare the skin, along the parting and at the crown."""
    crown = np.exp(-(((template - CROWN) / 0.028) ** 2).sum(-1))
    braided = hair.family == "braids"
    middle = hair.parting * (smoothstep(0.08, 0.02, template[:, 1]) if braided else 1)
    line = np.exp(-(((template[:, 0] - middle) / 0.009) ** 2)) * np.maximum(
        smoothstep(0.07, 0.09, template[:, 2]), braided
    )
    parts = {"whorl": crown, "crown": crown, "pixie": crown, "tied": line * braided}
    dense = parts.get(family.comb, np.maximum(line, 0.7 * crown))
    if hair.family in FADED:
        # Clipped hair is too short to lie over gaps.
        dense = np.maximum(dense, 1.5 * smoothstep(0.085, 0.045, above_hairline(template, hair)))
    seam = fringe_chance(template, hair)
    dense = np.maximum(dense, 4 * seam * (1 - seam))
    return 0.40 + 0.40 * dense


def _features(template: np.ndarray, hair: HairSpec, fringe: np.ndarray) -> Float[np.ndarray, "n 5"]:
    """Neighbours in this space grow alike: not across the parting, not into the fringe, not from the clipped sides."""
    parted = FAMILIES[hair.family].comb in ("parted", "over", "locs")
    side = 0.03 * _side(template, hair) * parted * smoothstep(0.055, 0.03, template[:, 1])
    apart = np.zeros(len(template))
    if hair.family == "undercut":
        apart = 0.02 * smoothstep(0.066, 0.09, template[:, 2])
    if hair.family == "mohawk":
        apart = 0.05 * (np.abs(template[:, 0]) < 0.0235)
    apart = apart + 0.04 * _crosses(template, hair)[0]
    return np.concatenate([template, (side * ~fringe)[:, None], (0.06 * fringe + apart)[:, None]], 1)


def _side(template: np.ndarray, hair: HairSpec) -> Float[np.ndarray, " n"]:
    """-1 or 1: the side of the parting, whose line wavers a little and where single strands lie across."""
    line = hair.parting + 0.0015 * np.sin(140 * template[:, 1]) + 0.005 * (_chance(template) - 0.5)
    return np.where(template[:, 0] > line, 1.0, -1.0)


def _crosses(template: Float[np.ndarray, "n 3"], hair: HairSpec) -> tuple[np.ndarray, Float[np.ndarray, "n 3"]]:
    """Which strands lie across the crown, or all would leave it bald, and which way (template axes)."""
    near = np.exp(-(((template - CROWN) / 0.02) ** 2).sum(1))
    wears = FAMILIES[hair.family].comb in ("whorl", "crown", "pixie", "parted", "locs")
    angle = 2.4 * (_chance(template[:, ::-1]) - 0.5)
    return wears * (_chance(template) < 0.75 * near), np.stack([np.sin(angle), np.cos(angle), 0 * angle], 1)


def _chance(template: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """0 to 1, a hash of the place: the same for a strand whoever asks."""
    return np.modf(np.abs(np.sin(template @ [9137.0, 7411.0, 8353.0]) * 1e4))[0]


def _grow_guides(
    head: Head,
    roots: Roots,
    hair: HairSpec,
    family: Family,
    fringe: np.ndarray,
    covered: Covered | None,
    rng: np.random.Generator,
) -> Float[np.ndarray, "G K 3"]:
    """Integrate the guides over the skull, then cut them."""
    count, steps = len(roots.template), max(family.points if family.wave is None else 24, 4)
    length = strand_length(roots.template, hair, fringe, rng)
    side = _side(roots.template, hair)
    # Short steps at the roots, where strands turn most.
    reached = np.linspace(0, 1, steps) ** (1.15 if family.wave else 1.5)
    thin, thick = family.lift
    layer = (thin + (thick - thin) * hair.volume) * rng.uniform(0.5, 1.1, count)
    if family.wave is not None and family.comb != "radial":
        layer = np.maximum(layer, 0.011)
    press = np.zeros(count)
    layer = np.where(fringe, np.minimum(layer, 0.006), layer)
    heading = _first(roots, hair, family, fringe, side)
    crosses, across = _crosses(roots.template, hair)
    heading = unit(heading + rng.normal(0, 0.06, heading.shape) + 0.8 * across * crosses[:, None])
    if family.comb in ("parted", "locs"):
        # No heart-shaped outline: hair lies low at the parting.
        layer = layer * (0.4 + 0.6 * smoothstep(0.0, 0.035, np.abs(roots.template[:, 0] - hair.parting)))
    points = np.empty((count, steps, 3))
    points[:, 0] = roots.positions - 0.0007 * roots.normals
    normal, height = roots.normals, np.zeros(count)
    hangs = hair.family in HANGING
    cling = family.cling * (1 - 0.6 * _lifted(roots.template, hair))[:, None]
    for k in range(1, steps):
        step = length[:, None] * (reached[k] - reached[k - 1])
        travelled = length * reached[k]
        q = head.to_template(points[:, k - 1])
        near = np.exp(-np.maximum(height - 0.5 * layer, 0) / 0.03)[:, None]
        way = comb(family.comb, q, normal, side, hair)
        ahead = q - np.array([0, 0.05, 0.12])
        ahead = unit(ahead - normal * (normal * ahead).sum(1, keepdims=True))
        way = np.where(fringe[:, None], ahead, way)
        way = np.where((crosses & (travelled < 0.03))[:, None], tangential(across, normal), way)
        pull = family.gravity * (1 - 0.25 * hair.volume) * (0.35 + 0.65 * np.clip(travelled / 0.1, 0, 1))
        wanted = family.stiffness * heading + cling * near * way - pull[:, None] * [0, 0, 1.0]
        if hangs:
            wanted = wanted + (around_face(q, side) + towards_neck(q)) * ~fringe[:, None]
        if hair.family in ("bob", "fringe bob"):
            # Ends are tucked in under the ears.
            wanted = wanted - 0.7 * _outwards(q) * smoothstep(0.01, -0.04, q[:, 2])[:, None]
        if hair.family == "layered":
            wanted = wanted + _turned_ends(q, reached[k], hair)
        trial = points[:, k - 1] + unit(wanted) * step
        clearance = np.minimum(layer, 0.0012 + 0.5 * travelled)
        if hangs:
            # The sides fall from the widest place of the skull straight over the ears, which else bulge out below.
            clearance = clearance + 0.009 * smoothstep(0.10, 0.05, q[:, 2]) * smoothstep(-0.005, 0.03, q[:, 2])
        most = None
        if covered is not None:
            press = covered(head.contact(trial).template) if k % 2 else press
            clearance = clearance * (1 - press) + 0.0012 * press
            most = np.where(press > 0.5, 0.0025, 1.0)
        trial, contact = head.pushed(trial, clearance, most)
        heading = unit(trial - points[:, k - 1])
        points[:, k] = points[:, k - 1] + heading * step
        normal, height = contact.normal, contact.height
    limit = cut_height(roots.template, hair, fringe, rng)
    points = shortened(points, _until(head.to_template(points)[..., 2], limit))
    if hangs:
        points = shortened(points, _until(_on_body(head, points), np.zeros(count)))
    if points.shape[1] != family.points:
        points = _resampled(points, family.points)
    return points


def _first(roots: Roots, hair: HairSpec, family: Family, fringe: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Direction in which the strands leave the skin."""
    normal, template = roots.normals, roots.template
    way = comb(family.comb, template, normal, side, hair)
    if family.comb == "radial":
        centre = np.array([0, 0.012, 0.045])
        return unit(template - centre) + 0.4 * normal
    if family.comb == "mohawk":
        return normal + 0.25 * way
    lift = {"buzz": 0.7, "slick": 0.25}.get(hair.family, 0.35 + 0.45 * hair.volume)
    lift = np.full(len(normal), lift)
    up = _lifted(template, hair)
    lift = lift + (1.2 + 0.8 * hair.volume) * up
    way = way * (1 - 0.85 * up[:, None]) + np.array([0, -0.2, 0]) * up[:, None]
    return way + lift[:, None] * normal


def _lifted(template: np.ndarray, hair: HairSpec) -> Float[np.ndarray, " n"]:
    """Where hair is brushed up before it falls back: the front of a quiff, less so of an undercut."""
    strength = {"quiff": 1.0, "undercut": 0.55}.get(hair.family, 0.0)
    return strength * smoothstep(0.015, -0.045, template[:, 1]) * smoothstep(0.065, 0.09, template[:, 2])


def _turned_ends(points: np.ndarray, along: float, hair: HairSpec) -> Float[np.ndarray, "n 3"]:
    """Ends of a layered cut that turn in or out."""
    return (_outwards(points) + np.array([0, 0, 0.35])) * (0.6 if hair.curl > 0.4 else -0.5) * max(along - 0.75, 0) * 4


def _outwards(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return unit(points * [1, 1, 0] - np.array([0, 0.01, 0]))


def _until(heights: Float[np.ndarray, "G K"], limit: Float[np.ndarray, " G"]) -> Float[np.ndarray, " G"]:
    """The share of every strand that is above `limit`, counted to where it first passes it."""
    steps = heights.shape[1]
    below = heights < limit[:, None]
    below[:, 0] = False
    first = np.where(below.any(1), below.argmax(1), steps - 1)
    rows = np.arange(len(heights))
    above, under = heights[rows, first - 1], heights[rows, first]
    part = np.clip((above - limit) / np.maximum(above - under, 1e-6), 0, 1)
    share = np.where(below.any(1), (first - 1 + part) / (steps - 1), 1.0)
    return np.maximum(share, 0.04)


def _on_body(head: Head, points: Float[np.ndarray, "G K 3"]) -> Float[np.ndarray, "G K"]:
    """Positive where hair below the chin has the bust under it, metres: beside and below the bust it would float."""
    low = head.to_template(points)[..., 2] < -0.10
    contact = head.contact(points[low])
    inside = np.ones(low.shape)
    inside[low] = np.minimum(bust(contact.template) - 0.008, 0.045 - contact.height)
    return inside


def _resampled(points: Float[np.ndarray, "G K 3"], steps: int) -> Float[np.ndarray, "G J 3"]:
    at = np.linspace(0, points.shape[1] - 1, steps)
    low = np.minimum(at.astype(int), points.shape[1] - 2)
    t = (at - low)[None, :, None]
    return points[:, low] * (1 - t) + points[:, low + 1] * t


def _share(roots: Roots, hair: HairSpec, family: Family, rng: np.random.Generator) -> Float[np.ndarray, " N"]:
    """How much of its guide's length each strand has: uneven tips, and fine short hair along the hairline."""
    count = len(roots.template)
    uneven = {"bowl": 0.06, "fringe bob": 0.05, "bob": 0.05}.get(hair.family, 0.14)
    share = 1 - uneven * rng.random(count) ** 2
    azimuth, elevation = head_angles(roots.template)
    inside = (elevation - hairline_elevation(azimuth, hair)) / 9
    edge = smoothstep(1.0, 0.0, inside)
    if hair.family in HANGING:
        fine = rng.random(count) < 0.35 * edge
        return np.where(fine, rng.uniform(0.03, 0.3, count), share)
    return share * (1 - edge * rng.uniform(0.0, 0.7, count))


def _textured(
    points: np.ndarray, lock: np.ndarray, hair: HairSpec, family: Family, rng: np.random.Generator
) -> Float[np.ndarray, "N K 3"]:
    """Waves, curls and frizz."""
    if family.wave is not None:
        (radius, wavelength), (tight_radius, tight_wavelength) = family.wave
        size = radius + (tight_radius - radius) * hair.curl
        pitch = wavelength + (tight_wavelength - wavelength) * hair.curl
        flat = 0.6 if hair.family == "wavy" else 0.0
        points = waved(points, lock, size, pitch, family.coherence, flat, rng)
    elif hair.family in ("short", "side part", "pixie", "quiff", "undercut", "long", "lob", "bob", "layered"):
        points = waved(points, lock, 0.0022 * hair.curl, 0.06, 0.85, 0.6, rng)
    # Combed and tied hair lies closer: what leaves it is thinner than a pixel and would hover as dots.
    calm = 0.35 if hair.family in ("slick", "bowl", "bob", "fringe bob", "lob") else 1.0
    return frizzed(points, calm * hair.frizz, calm * family.stray, rng)
