"""Head hair as a barber would check it."""

import dataclasses
import functools

import numpy as np
import pytest
from scipy.spatial import KDTree

from backend.body_model.anny import load_anny
from synthetic_data.appearance.cutting import bust
from synthetic_data.appearance.hair import Covered, grow_hair
from synthetic_data.appearance.hair_fields import CROWN
from synthetic_data.appearance.hair_masks import above_hairline, head_angles, root_mask, scalp_mask
from synthetic_data.appearance.hair_skin import Head
from synthetic_data.appearance.hair_tied import TIE_RADIUS, ties
from synthetic_data.identity import HAIR_FAMILIES, HairSpec, sample_identity
from synthetic_data.surface import vertex_normals

HAIRY = tuple(f for f in HAIR_FAMILIES if f != "bald")
LENGTHS = {
    "tonsure": 0.02, "buzz": 0.006, "crop": 0.028, "short": 0.05, "receding": 0.035, "undercut": 0.08, "quiff": 0.07,
    "slick": 0.11, "side part": 0.07, "mohawk": 0.08, "bowl": 0.115, "pixie": 0.07, "bob": 0.24, "fringe bob": 0.24,
    "lob": 0.30, "long": 0.40, "layered": 0.36, "wavy": 0.34, "curly": 0.25, "afro": 0.07, "locs": 0.28,
    "braids": 0.34, "ponytail": 0.32, "bun": 0.26,
}  # fmt: skip


@functools.cache
def body(index: int) -> np.ndarray:
    """Two people of different shape."""
    return sample_identity(load_anny(), 3, index, expression_gain=0.0).vertices(load_anny())


def haircut(family: str, **changes) -> HairSpec:
    hair = sample_identity(load_anny(), 3, 1).hair
    plain = {"volume": 0.5, "fringe": 0.5, "parting": 0.01, "curl": 0.5, "frizz": 0.2, "fade": 0.5, "hairline": 0.1}
    return dataclasses.replace(hair, family=family, length=LENGTHS.get(family, 0.0), **(plain | {"seed": 5} | changes))


def grown(hair: HairSpec, index: int = 1, detail: float = 0.25, covered: Covered | None = None) -> np.ndarray:
    strands = grow_hair(load_anny(), body(index), hair, covered, detail=detail)
    assert strands is not None
    return strands.points


def lengths(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)


def heights(points: np.ndarray, index: int = 1) -> np.ndarray:
    """Above the nearest vertex of the skin, along its normal."""
    topology = load_anny().topology
    faces = topology.faces[topology.parts["skin"]]
    used = np.unique(faces[topology.regions["mouth_interior"][faces].max(1) < 0.5])
    normals = vertex_normals(body(index), faces)[used]
    _, nearest = KDTree(body(index)[used]).query(points)
    return ((points - body(index)[used][nearest]) * normals[nearest]).sum(1)


@pytest.mark.parametrize("index", [1, 4])
@pytest.mark.parametrize("family", HAIRY)
def test_hair_grows_on_the_scalp_and_outside_the_skin(family, index):
    hair = haircut(family)
    points = grown(hair, index)
    assert np.isfinite(points).all()
    free = points[:, 1:].reshape(-1, 3)
    assert np.abs(free).max() < 0.27
    above = heights(free, index)
    assert (above < -0.0025).mean() < 0.03
    roots = points[:, 0]
    assert np.abs(heights(roots, index)).max() < 0.006
    on_template = Head(load_anny(), body(index)).contact(roots).template
    _, nearest = KDTree(load_anny().template).query(on_template)
    grows = scalp_mask(load_anny().template[nearest], hair)
    around = scalp_mask(load_anny().template[nearest] + [0, 0, 0.008], hair)
    assert (np.maximum(grows, around) > 0).mean() > 0.95


@pytest.mark.parametrize("family", ["buzz", "crop", "short", "slick", "pixie", "afro", "bob", "long", "layered"])
def test_no_strand_is_longer_than_asked(family):
    hair = haircut(family, curl=0.0, frizz=0.0)
    straight = np.linalg.norm(np.diff(grown(hair)[:, [0, -1]], axis=1)[:, 0], axis=1)
    assert np.quantile(straight, 0.98) < 1.1 * hair.length + 0.004
    assert lengths(grown(hair)).max() > 0.75 * hair.length


def test_a_bob_ends_above_long_hair():
    bob, lob, long = (np.quantile(grown(haircut(f))[..., 2], 0.02) for f in ("bob", "lob", "long"))
    assert bob > lob + 0.02 and lob > long + 0.02


@pytest.mark.parametrize("family", ["short", "bun", "curly"])
def test_same_haircut_twice_is_the_same(family):
    np.testing.assert_array_equal(grown(haircut(family)), grown(haircut(family)))
    assert (grown(haircut(family)) != grown(haircut(family, seed=6))).any()


def test_nobody_grows_hair_on_a_bald_head():
    assert grow_hair(load_anny(), body(1), haircut("bald")) is None


@pytest.mark.parametrize("family", ["short", "long", "ponytail"])
def test_less_detail_covers_as_much(family):
    def coverage(detail: float) -> float:
        strands = grow_hair(load_anny(), body(1), haircut(family), detail=detail)
        assert strands is not None
        return float((np.linalg.norm(np.diff(strands.points, axis=1), axis=2) * strands.radius[1:]).sum())

    assert coverage(0.3) == pytest.approx(coverage(1.0), rel=0.04)
    assert len(grown(haircut(family), detail=0.3)) == pytest.approx(
        0.3 * len(grown(haircut(family), detail=1.0)), rel=0.01
    )
    with pytest.raises(ValueError, match="detail"):
        grown(haircut(family), detail=0.0)


@pytest.mark.parametrize("family", ["ponytail", "bun", "braids"])
def test_tied_hair_passes_through_its_tie(family):
    hair = haircut(family, frizz=0.0)
    points = grown(hair)
    middles, _ = ties(hair, Head(load_anny(), body(1)))
    nearest = np.linalg.norm(points[:, :, None] - middles, axis=-1).min((1, 2))
    assert (nearest < 1.5 * TIE_RADIUS).mean() > 0.85  # the rest is fine hair at the hairline
    assert len(middles) == (2 if family == "braids" else 1)


def test_a_bun_is_a_ball_and_a_tail_hangs():
    head = Head(load_anny(), body(1))
    hair = haircut("bun")
    middles, outs = ties(hair, head)
    ends = grown(hair)[:, -1]
    wound = ends[np.linalg.norm(ends - middles[0], axis=1) < 0.07]
    assert len(wound) > 0.8 * len(ends)
    assert ((wound - middles[0]) @ outs[0] > -0.012).mean() > 0.95
    tail = grown(haircut("ponytail"))[:, -1]
    assert np.median(tail[:, 2]) < ties(haircut("ponytail"), head)[0][0, 2] - 0.10


def test_a_tail_thins_out_and_its_hairline_is_low():
    points = grown(haircut("ponytail", frizz=0.0))
    middle = ties(haircut("ponytail"), Head(load_anny(), body(1)))[0][0]
    tail = points[np.linalg.norm(points[:, 14] - middle, axis=1) < 0.03]
    down = middle[2] - tail[:, -1, 2]
    # A cut tail would have most of its ends in its last third.
    assert (down > 0.67 * down.max()).mean() < 0.6
    template = load_anny().template
    front = template[(template[:, 1] < -0.03) & (template[:, 2] > 0.05) & (np.abs(template[:, 0]) < 0.07)]
    tied, slick = (root_mask(front, haircut(f, hairline=0.0)) for f in ("ponytail", "slick"))
    assert (tied > 0).sum() > (slick > 0).sum()


@pytest.mark.parametrize("family", ["bob", "fringe bob"])
def test_a_bob_is_tucked_in_below_the_ears(family):
    points = grown(haircut(family, frizz=0.0, curl=0.0)).reshape(-1, 3)
    template = Head(load_anny(), body(1)).to_template(points)
    side = np.abs(template[:, 0])[np.abs(template[:, 1]) < 0.05]
    z = template[np.abs(template[:, 1]) < 0.05, 2]
    over, below = (np.quantile(side[np.abs(z - at) < 0.008], 0.98) for at in (0.03, -0.04))
    assert below < over + 0.002


@pytest.mark.parametrize("index", [1, 4])
def test_long_hair_ends_on_the_bust(index):
    """Beside and below the bust it would hang in the air."""
    hair = dataclasses.replace(haircut("long", frizz=0.0), length=0.46)
    points = grown(hair, index, detail=0.1).reshape(-1, 3)
    contact = Head(load_anny(), body(index)).contact(points)
    low = points[:, 2] < -0.12
    assert (bust(contact.template[low]) < 0).mean() < 0.01
    assert (contact.height[low] > 0.075).mean() < 0.01


@pytest.mark.parametrize("parting", [-0.03, 0.0, 0.03])
def test_a_parting_separates_the_hair(parting):
    points = grown(haircut("long", parting=parting, frizz=0.0, curl=0.0))
    near = (points[:, 0, 1] < 0.0) & (np.abs(points[:, 0, 0] - parting) < 0.03) & (points[:, 0, 2] > 0.09)
    root, moved = points[near, 0, 0], points[near, 12, 0]
    left = root > parting + 0.006
    right = root < parting - 0.006
    assert (moved[left] > root[left]).mean() > 0.97 and (moved[right] < root[right]).mean() > 0.97


@pytest.mark.parametrize("family", ["short", "crop", "undercut", "quiff", "side part"])
def test_a_fade_shortens_the_sides_and_not_the_top(family):
    def side_and_top(fade: float) -> tuple[float, float]:
        points = grown(haircut(family, fade=fade))
        z = points[:, 0, 2]
        return float(np.median(lengths(points)[z < 0.045])), float(np.median(lengths(points)[z > 0.11]))

    (side, top), (faded, faded_top) = side_and_top(0.0), side_and_top(1.0)
    assert faded < 0.75 * side and faded < 0.012
    assert faded_top == pytest.approx(top, rel=0.15)


@pytest.mark.parametrize("family", ["short", "crop", "undercut", "quiff", "side part"])
@pytest.mark.parametrize("fade", [0.3, 1.0])
def test_a_fade_has_no_shelf(family, fade):
    """At the back, hair grows longer from band to band, more slowly than its roots climb."""
    hair = haircut(family, fade=fade)
    points = grown(hair)
    template = Head(load_anny(), body(1)).to_template(points[:, 0])
    up, behind = above_hairline(template, hair), head_angles(template)[0] > 140
    bands = [np.median(lengths(points)[behind & (np.abs(up - k) < 0.004)]) for k in np.arange(0.01, 0.08, 0.01)]
    assert (np.diff(bands) < 0.009).all() and np.argmin(bands) == 0
    assert bands[0] < 0.02 - 0.01 * fade


def test_temples_are_soft_and_clippers_leave_little_shadow():
    hair = haircut("short")
    azimuth = np.radians(np.arange(40.0, 75.0, 0.5))
    level = np.radians(15)
    ways = [np.cos(level) * np.sin(azimuth), -np.cos(level) * np.cos(azimuth), np.full(len(azimuth), np.sin(level))]
    across = root_mask(np.array([0, 0.01, 0.03]) + 0.09 * np.stack(ways, 1), hair)
    assert ((across > 0.05) & (across < 0.95)).sum() * 0.5 > 8  # degrees, some 13 mm
    nape = np.array([[0.0, 0.085, -0.030], [0.0, 0.085, 0.11]])
    low, high = scalp_mask(nape, hair) / root_mask(nape, hair)
    assert low < 0.5 and high > 0.95


def test_a_hairline_recedes_softly():
    template = load_anny().template
    skin = np.unique(load_anny().topology.faces[load_anny().topology.parts["skin"]])
    full, far = (scalp_mask(template[skin], haircut("short", hairline=v)) for v in (0.0, 1.0))
    front = template[skin, 1] < -0.03
    assert (far <= full + 0.2).all() and far[front].sum() < 0.6 * full[front].sum()
    assert ((full > 0.05) & (full < 0.95)).sum() > 30


def test_a_tonsure_leaves_the_crown_bald_and_a_ring_around_it():
    roots = grown(haircut("tonsure", hairline=0.5))[:, 0]
    assert roots[:, 2].max() < 0.1
    azimuth = np.degrees(np.arctan2(roots[:, 0], -roots[:, 1]))
    assert (np.abs(azimuth) > 40).all()
    assert np.histogram(azimuth, [-180, -120, -60])[0].min() > 0 and (np.abs(azimuth) > 170).any()


def test_a_mohawk_is_a_ridge():
    points = grown(haircut("mohawk", fade=1.0))
    tall = lengths(points) > 0.03
    assert np.abs(points[tall, 0, 0]).max() < 0.035
    assert lengths(points)[np.abs(points[:, 0, 0]) > 0.045].max() < 0.015


def test_a_fringe_covers_the_forehead():
    def on_forehead(hair: HairSpec) -> int:
        points = grown(hair).reshape(-1, 3)
        return int(((points[:, 1] < -0.085) & (np.abs(points[:, 0]) < 0.02) & (points[:, 2] < 0.075)).sum())

    assert on_forehead(haircut("fringe bob")) > 20 * max(on_forehead(haircut("bob", fringe=0.0)), 1)


@pytest.mark.parametrize("family", ["short", "long", "afro", "ponytail", "bun"])
def test_headwear_presses_the_hair_flat(family):
    def cap(template: np.ndarray) -> np.ndarray:
        return (template[:, 2] > 0.07).astype(float)

    points = grown(haircut(family), covered=cap)
    contact = Head(load_anny(), body(1)).contact(points.reshape(-1, 3))
    under = (contact.template[:, 2] > 0.078) & (points.reshape(-1, 3)[:, 2] > 0.09)
    assert np.quantile(contact.height[under], 0.98) < 0.009


@pytest.mark.parametrize("family", ["wavy", "curly", "afro"])
def test_curls_are_pressed_flat_too(family):
    def cap(template: np.ndarray) -> np.ndarray:
        return (template[:, 2] > 0.07).astype(float)

    points = grown(haircut(family, frizz=1.0, curl=1.0), covered=cap).reshape(-1, 3)
    head = Head(load_anny(), body(1))
    under = head.to_template(points)[:, 2] > 0.075
    assert under.sum() > 1000
    assert np.quantile(head.contact(points[under]).height, 0.99) < 0.004


@pytest.mark.parametrize("family", ["long", "layered", "wavy"])
def test_long_hair_falls_over_a_collar(family):
    points = grown(haircut(family, frizz=0.0))[:, 8:].reshape(-1, 3)
    contact = Head(load_anny(), body(1)).contact(points)  # without the room for a collar
    neck = (contact.template[:, 2] < -0.08) & (contact.template[:, 2] > -0.12) & (contact.template[:, 1] > 0.03)
    assert neck.sum() > 100
    assert np.quantile(contact.height[neck], 0.05) > 0.015


@pytest.mark.parametrize("family", ["short", "bowl", "pixie"])
def test_strands_lie_across_the_crown(family):
    """A whorl that only radiates shows bare skin in its middle."""
    points = grown(haircut(family))
    crown = Head(load_anny(), body(1)).from_template(CROWN)
    near = np.linalg.norm(points[:, 0] - crown, axis=1) < 0.03
    ahead = near & (points[:, 0, 1] < crown[1] - 0.004)
    assert ahead.sum() > 20
    assert (points[ahead, -1, 1] > points[ahead, 0, 1]).mean() > 0.2
