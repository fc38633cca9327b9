"""What makes a haircut: one row of numbers per family, and how long every strand is cut."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.appearance.hair_masks import FADED, above_hairline, head_angles
from synthetic_data.identity import HairSpec

if TYPE_CHECKING:
    from jaxtyping import Float

TOP = 0.135
"""Height of the top of the skull on the template, metres."""
LOWEST = -0.235
"""No hair reaches farther down than this, metres: the picture ends there."""


@dataclasses.dataclass(frozen=True)
class Family:
    """How one kind of haircut is grown.

    `comb` names the direction field. `lift` is how far (metres) strands lie above the skin at volume 0 and 1. `cling`
    is how strongly the comb acts, `gravity` and `stiffness` are weights against it. `locks` is the number of locks,
    `clump` how much of the way to its lock a tip is drawn. `wave` is (radius, wavelength) in metres at curl 0 and 1, or
    None for straight hair; `coherence` is how much neighbours share of it. `tip` is a tip's radius over the root's:
    coils that end in tufts show no single tips.
    """

    comb: str
    count: int
    points: int
    radius: float
    lift: tuple[float, float] = (0.002, 0.008)
    cling: float = 0.8
    gravity: float = 0.3
    stiffness: float = 0.7
    locks: int = 900
    clump: float = 0.45
    stray: float = 0.02
    wave: tuple[tuple[float, float], tuple[float, float]] | None = None
    coherence: float = 0.9
    tip: float = 0.4


_SHORT = Family("whorl", 25000, 8, 1.7e-4, (0.002, 0.007), 0.7, 0.15, 0.75, locks=1800, clump=0.33, stray=0.01)
_HANGING = Family(
    "parted", 20000, 22, 1.45e-4, (0.003, 0.014), 1.0, 0.75, 0.55, locks=700, clump=0.5, stray=0.005, tip=0.6
)
_BACK = Family("back", 21000, 14, 1.5e-4, (0.002, 0.007), 1.0, 0.12, 0.55, locks=800, clump=0.5, stray=0.01)

FAMILIES = {
    "tonsure": dataclasses.replace(_SHORT, count=13000, clump=0.3),
    "buzz": Family(
        "whorl", 32000, 3, 1.9e-4, (0.001, 0.002), 0.35, 0.0, 0.9, locks=4000, clump=0.08, stray=0.0, tip=0.6
    ),
    "crop": dataclasses.replace(_SHORT, count=27000, points=6, radius=1.9e-4, clump=0.25),
    "short": _SHORT,
    "receding": dataclasses.replace(_SHORT, count=19000, clump=0.35),
    "undercut": dataclasses.replace(_BACK, comb="swept", points=12, lift=(0.004, 0.012), clump=0.6),
    "quiff": dataclasses.replace(_BACK, comb="quiff", points=12, lift=(0.004, 0.012), stiffness=0.85, clump=0.55),
    "slick": dataclasses.replace(_BACK, lift=(0.0015, 0.004), stiffness=0.35, locks=420, clump=0.8, stray=0.006),
    "side part": dataclasses.replace(_BACK, comb="over", points=12, lift=(0.0025, 0.009)),
    "mohawk": dataclasses.replace(_SHORT, comb="mohawk", count=22000, points=10, cling=0.1, stiffness=1.0, clump=0.6),
    "bowl": dataclasses.replace(_HANGING, comb="crown", points=16, lift=(0.004, 0.012), clump=0.35),
    "pixie": dataclasses.replace(_SHORT, comb="pixie", points=12, lift=(0.003, 0.010), gravity=0.25, clump=0.6),
    "bob": _HANGING,
    "fringe bob": dataclasses.replace(_HANGING, clump=0.4),
    "lob": _HANGING,
    "long": dataclasses.replace(_HANGING, points=26),
    "layered": dataclasses.replace(_HANGING, points=26, lift=(0.004, 0.016), locks=420, clump=0.65),
    "wavy": dataclasses.replace(
        _HANGING, count=17000, points=40, lift=(0.007, 0.016), locks=260, clump=0.75,
        wave=((0.008, 0.085), (0.012, 0.055)), coherence=0.95,
    ),
    "curly": dataclasses.replace(
        _HANGING, count=14000, points=56, lift=(0.010, 0.022), gravity=0.5, locks=180, clump=0.91, stray=0.04,
        wave=((0.0075, 0.046), (0.0105, 0.030)), coherence=0.98,
    ),
    "afro": Family(
        "radial", 18000, 24, 1.7e-4, (0.0, 0.0), 0.0, 0.0, 1.0, locks=1700, clump=0.65, stray=0.0,
        wave=((0.0022, 0.018), (0.0032, 0.010)), coherence=0.8, tip=1.1,
    ),
    "locs": dataclasses.replace(
        _HANGING, comb="locs", count=15000, points=26, lift=(0.007, 0.014), gravity=0.6, locks=220, stray=0.0
    ),
    "braids": Family("tied", 19000, 46, 1.2e-4, locks=520, clump=0.35),
    "ponytail": Family("tied", 21000, 34, 1.2e-4, locks=520, clump=0.45),
    "bun": Family("tied", 20000, 40, 1.2e-4, locks=520, clump=0.35),
}  # fmt: skip
HANGING = ("bob", "fringe bob", "lob", "long", "layered", "wavy", "curly", "locs")


def fringe_chance(template: Float[np.ndarray, "n 3"], hair: HairSpec) -> Float[np.ndarray, " n"]:
    """How likely a strand belongs to a fringe: hair in front of the crown, when the haircut has one."""
    wears = hair.family == "fringe bob" or (hair.fringe > 0.72 and hair.family in ("bob", "lob", "long", "layered"))
    x, y, _ = template.T
    if not wears:
        return np.zeros(len(x))
    # The strands of both kinds mingle over some centimetres, or a bare seam would show between them.
    deep = -0.028 if hair.family == "fringe bob" else -0.045
    return smoothstep(deep + 0.030, deep - 0.014, y) * smoothstep(0.072, 0.050, np.abs(x))


def strand_length(
    template: Float[np.ndarray, "n 3"], hair: HairSpec, fringe: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """Metres along each guide strand, before `cut_height` shortens those that hang."""
    x, y, z = template.T
    azimuth, _ = head_angles(template)
    vary = rng.uniform(0.85, 1.0, len(x))
    top = smoothstep(0.058, 0.094, z)
    front = smoothstep(-0.02, -0.08, y)
    family = hair.family
    if family in ("bob", "fringe bob", "lob", "long", "bowl"):
        length = hair.length * rng.uniform(0.97, 1.0, len(x))
    elif family == "layered":
        # Steps: strands from higher up end higher up, in three or four tiers.
        tier = np.floor(smoothstep(0.0, 0.13, z) * 3.99) / 3
        length = hair.length * (1 - 0.45 * tier) * rng.uniform(0.9, 1.0, len(x))
    elif family in ("wavy", "curly", "locs"):
        length = hair.length * (1 - 0.15 * top) * vary
    elif family == "afro":
        sides = 1 - 0.30 * smoothstep(0.03, -0.04, z) - 0.15 * smoothstep(80, 60, azimuth) * smoothstep(0.08, 0.03, z)
        length = hair.length * sides * rng.uniform(0.85, 1.0, len(x))
    elif family in ("buzz", "tonsure"):
        length = hair.length * vary
    elif family == "mohawk":
        ridge = smoothstep(0.026, 0.021, np.abs(x))
        profile = 0.62 + 0.38 * smoothstep(0.02, 0.11, z)
        length = np.where(ridge > 0.5, hair.length * profile * vary, 0.004 + 0.005 * (1 - hair.fade))
    elif family == "undercut":
        # The top is longer than the sides without a step in between.
        length = hair.length * (0.75 + 0.25 * front) * (0.45 + 0.55 * top) * vary
    elif family == "quiff":
        length = hair.length * (0.5 + 0.5 * front) * (0.4 + 0.6 * top) * vary
    elif family == "slick":
        length = hair.length * (0.55 + 0.45 * top) * vary
    elif family == "pixie":
        nape = smoothstep(0.02, -0.03, z) * smoothstep(95, 120, azimuth)
        length = hair.length * (0.62 + 0.38 * top) * (1 - 0.55 * nape) * vary
    elif family == "side part":
        length = hair.length * (0.42 + 0.58 * top) * (0.75 + 0.25 * front) * vary
    else:
        length = hair.length * (0.5 + 0.5 * top) * vary
    if family in FADED:
        length = np.minimum(length, _graded(template, hair) * vary)
    if family in ("slick", "quiff", "undercut", "side part", "pixie"):
        # Sideburns are trimmed.
        length = np.minimum(length, 0.012 + 0.3 * smoothstep(0.03, 0.055, z) + 0.3 * smoothstep(90, 102, azimuth))
    return np.where(fringe, np.maximum(0.09, 0.3 * hair.length), length)


def _graded(template: Float[np.ndarray, "n 3"], hair: HairSpec) -> Float[np.ndarray, " n"]:
    """What clippers leave, metres: next to nothing at the lower rim, then ever more.

    It grows more slowly than the way upwards, or the ends of all strands would hang at one height as a shelf.
    """
    azimuth, _ = head_angles(template)
    up = np.maximum(above_hairline(template, hair), 0)
    left = 0.0025 + 0.010 * (1 - hair.fade) + (0.05 + 0.25 * (1 - hair.fade)) * up + 3.2 * up**2
    on_ridge = smoothstep(0.026, 0.021, np.abs(template[:, 0])) * (hair.family == "mohawk")
    return left + 0.3 * np.maximum(smoothstep(60, 38, azimuth), on_ridge)


def cut_height(
    roots: Float[np.ndarray, "n 3"], hair: HairSpec, fringe: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """Template height at which scissors end a strand."""
    x, y, _ = roots.T
    azimuth, _ = head_angles(roots)
    # No scissors cut on a ruler.
    ragged = rng.normal(0, 0.0045, len(x)) + 0.0035 * np.sin(azimuth * 0.13 + np.sign(x) + hair.seed % 7)
    height = np.full(len(x), LOWEST)
    if hair.family == "bowl":
        # Behind it reaches the hairline: below a higher cut the nape would be a painted patch.
        rim = np.interp(azimuth, [0, 40, 62, 95, 130, 180], [0.056, 0.054, 0.020, 0.008, -0.018, -0.036])
        height = rim + (0.115 - hair.length)
    elif hair.family == "slick":
        height = np.where(azimuth > 100, -0.047, LOWEST)
    elif hair.family in ("bob", "fringe bob", "lob", "long"):
        # The longest strands go over the skull first, which takes some 50 mm more than straight down.
        slant = 0.02 * (hair.curl - 0.5) * np.clip(y / 0.08, -1, 1)  # longer in front or behind
        height = TOP + 0.045 - hair.length + slant
    straight = 0.0 if hair.family == "fringe bob" else 0.22 * (x - np.sign(hair.parting) * 0.03) * np.sign(hair.parting)
    eyebrows = 0.050 - 0.012 * (hair.fringe - 0.5) + 2.2 * x**2 * -4 + straight * 0.5
    return np.where(fringe, eyebrows, height) + ragged * (0.4 if hair.family in ("bowl", "bob", "fringe bob") else 1.0)
