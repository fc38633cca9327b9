"""Brows, lashes and beards."""

import dataclasses
import functools

import numpy as np
import pytest
from scipy.spatial import KDTree

from backend.body_model.anny import load_anny
from synthetic_data.appearance.beard import grow_beard
from synthetic_data.appearance.hair_masks import beard_mask, brow_mask
from synthetic_data.appearance.strands import grow_brows, grow_lashes
from synthetic_data.identity import BEARD_STYLES, BeardSpec, sample_identity

STYLES = tuple(s for s in BEARD_STYLES if s != "none")


@functools.cache
def person():
    return sample_identity(load_anny(), 3, 1, expression_gain=0.0)


@functools.cache
def vertices() -> np.ndarray:
    return person().vertices(load_anny())


def beard(style: str, **changes) -> np.ndarray:
    spec = dataclasses.replace(BeardSpec(style, 0.08 if style == "long" else 0.012, 0.8, 0.1, 3), **changes)
    strands = grow_beard(load_anny(), vertices(), spec, person().hair, detail=0.5)
    assert strands is not None
    return strands.points


def brows(**changes) -> np.ndarray:
    return grow_brows(load_anny(), vertices(), dataclasses.replace(person().hair, **changes)).points


def test_brows_are_above_the_eyes_and_grow_from_the_skin():
    points = brows()
    left, _ = load_anny().eye_spheres(vertices())
    assert (points[:, 0, 2] > left.centre[2] + 0.008).all()
    distance, _ = KDTree(vertices()).query(points[:, 0])
    assert distance.max() < 0.008
    assert (points[..., 0] > 0).any() and (points[..., 0] < 0).any()
    assert brow_mask(load_anny().template, person().hair).max() > 0.3


def test_brows_point_outwards_and_follow_their_spec():
    points = brows()
    outer = np.abs(points[:, 0, 0]) > 0.03
    moved = np.abs(points[:, -1, 0]) - np.abs(points[:, 0, 0])
    assert (moved[outer] > 0).mean() > 0.95
    assert len(brows(brow_density=0.4)) < 0.75 * len(brows(brow_density=1.0))
    thin, thick = (np.std(brows(brow_thickness=v)[:, 0, 2]) for v in (0.55, 1.3))
    assert thick > 1.15 * thin


def test_lashes_stand_before_the_eyeballs_and_are_as_long_as_asked():
    def grow(length: float) -> np.ndarray:
        strands = grow_lashes(load_anny(), vertices(), dataclasses.replace(person().hair, lash_length=length))
        assert strands is not None
        return strands.points

    points = grow(1.0)
    for sphere, side in zip(load_anny().eye_spheres(vertices()), (1, -1), strict=True):
        tips = points[points[:, 0, 0] * side > 0][:, -1]
        assert np.linalg.norm(tips - sphere.centre, axis=1).min() > sphere.radius
    reach = [np.linalg.norm(p[:, -1] - p[:, 0], axis=1).mean() for p in (grow(0.6), points)]
    assert reach[0] == pytest.approx(0.6 * reach[1], rel=0.1)


@pytest.mark.parametrize("style", STYLES)
def test_beards_grow_below_the_nose_and_off_the_lips(style):
    points = beard(style)
    assert np.isfinite(points).all()
    roots = points[:, 0]
    assert roots[:, 2].max() < (0.03 if style not in ("moustache", "goatee", "van dyke") else -0.015)
    topology = load_anny().topology
    lips = vertices()[(topology.regions["lips"] > 0.9) & (topology.regions["mouth_interior"] < 0.1)]
    assert KDTree(lips).query(roots)[0].min() > 0.0008
    np.testing.assert_array_equal(points, beard(style))


def test_styles_grow_where_their_names_say():
    moustache, goatee, strap, burns = (beard(s)[:, 0] for s in ("moustache", "goatee", "chinstrap", "sideburns"))
    assert np.abs(moustache[:, 0]).max() < 0.04 and moustache[:, 2].min() > -0.06
    assert goatee[:, 2].min() < -0.075 and np.abs(goatee[:, 0]).max() < 0.045
    above_lip = (np.abs(strap[:, 0]) < 0.015) & (strap[:, 2] > -0.05)
    assert above_lip.sum() == 0 and (strap[:, 0] > 0.05).any()
    assert np.abs(burns[:, 0]).min() > 0.04


def test_long_beards_hang_and_nobody_shaven_has_one():
    assert beard("long")[..., 2].min() < beard("short", length=0.006)[..., 2].min() - 0.04
    spec = BeardSpec("none", 0.0, 0.8, 0.1, 3)
    assert grow_beard(load_anny(), vertices(), spec, person().hair) is None


def test_no_style_leaves_the_razors_reach():
    template = load_anny().template
    whole = beard_mask(template)
    for style in STYLES:
        assert (beard_mask(template, BeardSpec(style, 0.01, 1.0, 0.0, 1)) <= whole + 1e-12).all()
