"""Lips that close, teeth that stay behind them, a jaw that carries its teeth, and a tongue that can come out."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from backend.body_model.anny import AnnyHead, load_anny
from backend.meshing.lips import LARGEST_OFFSET, lip_sides, lip_slit
from backend.meshing.mouth import close_lips, mouth_interior_colour, teeth, tongue
from backend.meshing.rasterizer import rasterize
from backend.radiance.cameras import Camera

SEEDS = (0, 1, 4)
MODEL = load_anny()
TOPOLOGY = MODEL.topology
SKIN = TOPOLOGY.faces[TOPOLOGY.parts["skin"]]
KEYS = MODEL.arkit_offsets(np.zeros(0))


def person(seed: int) -> np.ndarray:
    """Neutral head of a person drawn from the prior; seed 0 is the average one."""
    generator = np.random.default_rng(seed)
    draws = [np.clip(generator.normal(p.mean, p.sd), p.low, p.high) for p in MODEL.identity_parameters]
    return MODEL.neutral(np.array(draws)) if seed else MODEL.template


@functools.cache
def closed(seed: int) -> np.ndarray:
    neutral = person(seed)
    return neutral + close_lips(MODEL, neutral)


@functools.cache
def inner_parts(seed: int) -> list:
    part = tongue(MODEL, closed(seed))
    assert part is not None
    return [*teeth(MODEL, closed(seed), None, np.random.default_rng(7)), part]


def average_rows() -> list:
    return inner_parts(0)[:2]


def cross_section(vertices: np.ndarray, faces: np.ndarray, x: float) -> np.ndarray:
    """Points (y, z), 60 per triangle, where the plane at `x` cuts faces."""
    found = []
    for triangle in vertices[faces]:
        ends = []
        for a, b in ((0, 1), (1, 2), (2, 0)):
            low, high = triangle[a], triangle[b]
            if (low[0] - x) * (high[0] - x) < 0:
                ends.append(low + (high - low) * (x - low[0]) / (high[0] - low[0]))
        if len(ends) == 2:
            found.append(ends[0] + np.linspace(0, 1, 60)[:, None] * (ends[1] - ends[0]))
    return np.concatenate(found)[:, 1:] if found else np.zeros((0, 2))


def lip_gap(vertices: np.ndarray, x: float) -> float:
    """Least vertical distance of the lips in the plane at `x`: below zero where they cross."""
    side = lip_sides(MODEL)[SKIN]
    upper = cross_section(vertices, SKIN[(side == 1).all(1)], x)
    lower = cross_section(vertices, SKIN[(side == -1).all(1)], x)
    distance = []
    for y in np.arange(max(upper[:, 0].min(), lower[:, 0].min()), min(upper[:, 0].max(), lower[:, 0].max()), 2e-4):
        above, below = (line[np.abs(line[:, 0] - y) < 5e-5][:, 1] for line in (upper, lower))
        if len(above) and len(below):
            distance.append(above.min() - below.max())
    return min(distance)


@pytest.mark.parametrize("seed", [0, 1, 2, 4, 6])
def test_closed_lips_touch_and_do_not_cross(seed):
    neutral = person(seed)
    slit = lip_slit(MODEL, neutral)
    middle, half = 0.5 * (slit.x[0] + slit.x[-1]), 0.5 * (slit.x[-1] - slit.x[0])
    places = middle + half * np.array([-0.71, -0.43, -0.11, 0.17, 0.39, 0.69])
    before = [lip_gap(neutral, x) for x in places]
    after = [lip_gap(neutral + close_lips(MODEL, neutral), x) for x in places]
    assert np.abs(before).max() > 0.3e-3  # otherwise this person proves nothing
    assert np.abs(after).max() < 0.25e-3


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_closing_the_lips_is_small_vertical_and_local(seed):
    neutral = person(seed)
    offsets = close_lips(MODEL, neutral)
    assert np.all(offsets[:, :2] == 0)
    assert np.abs(offsets).max() <= LARGEST_OFFSET
    moved = np.abs(offsets[:, 2]) > 0
    distance = np.linalg.norm(neutral[:, None] - lip_slit(MODEL, neutral).points[None, ::10], axis=2).min(1)
    assert distance[moved].max() < 0.011
    edges = np.concatenate([SKIN[:, [0, 1]], SKIN[:, [1, 2]], SKIN[:, [2, 0]]])
    side = lip_sides(MODEL)
    edges = edges[(side[edges[:, 0]] == side[edges[:, 1]]) & (side[edges[:, 0]] != 0)]
    length = np.linalg.norm(neutral[edges[:, 0]] - neutral[edges[:, 1]], axis=1)
    assert np.quantile(np.abs(offsets[edges[:, 0], 2] - offsets[edges[:, 1], 2]) / length, 0.99) < 0.5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("view", [(0, 0), (35, 0), (-35, 0), (0, -15), (70, 10)])
def test_nothing_inside_shows_through_closed_lips(seed, view):
    shown = visible_parts(closed(seed), inner_parts(seed), {}, view)
    assert shown == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_an_open_mouth_shows_both_rows_and_the_tongue(seed):
    shown = visible_parts(closed(seed), inner_parts(seed), {"jawOpen": 0.7}, (0, 0))
    assert shown["teeth_upper"] > 300 and shown["teeth_lower"] > 300 and shown["tongue"] > 3000


@pytest.mark.parametrize("seed", SEEDS)
def test_a_smile_shows_the_upper_teeth(seed):
    smile = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "jawOpen": 0.2}
    shown = visible_parts(closed(seed), inner_parts(seed), smile, (0, 0))
    assert shown["teeth_upper"] > 1500 and shown["teeth_upper"] > 5 * shown.get("teeth_lower", 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_tongue_comes_out_between_the_lips(seed):
    neutral = closed(seed)
    part = inner_parts(seed)[2]
    open_mouth = 0.5 * KEYS["jawOpen"]
    out = part.mesh.vertices + part.attachment.carry(open_mouth + KEYS["tongueOut"])
    lower_lip = (neutral + open_mouth)[(lip_sides(MODEL) == -1) & (TOPOLOGY.regions["lips"] > 0.5)]
    assert out[:, 1].min() < lower_lip[:, 1].min()
    assert visible_parts(neutral, [part], {"jawOpen": 0.5, "tongueOut": 1.0}, (0, 0))["tongue"] > 3000


def test_the_resting_tongue_lies_within_the_lower_teeth():
    _, row, part = inner_parts(1)
    lower = np.concatenate([crown for crown, _ in crowns(row.mesh)])
    assert part.mesh.vertices[:, 1].min() > lower[:, 1].min() + 0.004
    beside = part.mesh.vertices[:, 1] < lower[:, 1].max()
    assert np.abs(part.mesh.vertices[beside, 0]).max() < np.abs(lower[:, 0]).max() - 0.006


def test_each_row_has_fourteen_crowns_of_natural_proportions():
    upper, lower = (crowns(row.mesh) for row in average_rows())
    assert len(upper) == len(lower) == 14
    for crown, faces in (*upper, *lower):
        edges = Counter(
            tuple(sorted(edge)) for face in faces.tolist() for edge in zip(face, np.roll(face, 1), strict=True)
        )
        assert set(edges.values()) == {1, 2}
        neck = np.unique([edge for edge, count in edges.items() if count == 1])
        rise = np.abs(crown[:, 2] - crown[neck, 2].mean())
        assert rise[neck].max() < 0.25 * rise.max()  # open only at the neck, inside the gum
        a, b, c = (crown[faces[:, k]] - crown.mean(0) for k in range(3))
        assert (np.cross(a, b) * c).sum() > 0  # faces look outwards
    width = [np.ptp(crown[:, 0]) for crown, _ in upper]
    central, lateral = width[7], width[8]
    assert 1.15 < central / lateral < 1.4
    assert central > max(np.ptp(crown[:, 0]) for crown, _ in lower[5:9])
    assert 0.0075 < central < 0.0105


def test_upper_front_teeth_stand_before_and_overlap_the_lower_ones():
    upper, lower = (crowns(row.mesh) for row in average_rows())
    assert lower[7][0][:, 1].min() > upper[7][0][:, 1].min() + 0.0015
    assert 0 < lower[7][0][:, 2].max() - upper[7][0][:, 2].min() < 0.003


def test_both_rows_stay_light():
    assert sum(len(row.mesh.faces) for row in average_rows()) < 2600


def test_the_upper_row_moves_with_nothing():
    row = average_rows()[0]
    assert max(np.abs(row.attachment.carry(offsets)).max() for offsets in KEYS.values()) < 5e-5


@pytest.mark.parametrize("key", ["jawOpen", "jawLeft", "jawRight", "jawForward"])
def test_the_lower_row_rides_on_the_jaw_in_one_piece(key):
    row = average_rows()[1]
    start, carried = row.mesh.vertices, row.attachment.carry(KEYS[key])
    assert np.allclose(row.attachment.weights.sum(1), 1)
    own = np.unique(TOPOLOGY.faces[TOPOLOGY.parts["teeth_lower"]])
    nearest = own[np.linalg.norm(start[:, None] - MODEL.template[own], axis=2).argmin(1)]
    # Over the few millimetres to the nearest of the model's own vertices the jaw's turn changes little.
    assert np.abs(carried - KEYS[key][nearest]).max() < 0.005
    assert np.abs(carried - KEYS[key][nearest]).mean() < 0.0015
    a, b = start - start.mean(0), (start + carried) - (start + carried).mean(0)
    u, _, vt = np.linalg.svd(a.T @ b)
    assert np.abs(a @ u @ vt - b).max() < 0.0008


def test_bone_weights_of_the_rows_are_the_heads():
    for row in average_rows():
        weights = row.attachment.carry_skin_weights(MODEL.skin_weights)
        assert np.allclose(weights[:, 3], 1)


def test_teeth_have_the_asked_shade_and_repeat_with_the_generator():
    one, same, other = (teeth(MODEL, MODEL.template, None, np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    assert np.array_equal(one.texture, same.texture) and not np.array_equal(one.texture, other.texture)
    blue = teeth(MODEL, MODEL.template, np.array([0.3, 0.4, 0.8]), np.random.default_rng(3))[0]
    front, faces = one.mesh.uvs, one.mesh.uv_faces[: len(one.mesh.uv_faces) // 3]
    at = front[faces].mean(1)
    row, column = ((1 - at[:, 1]) * 512).astype(int), (at[:, 0] * 512).astype(int)
    assert blue.texture[row, column, 2].mean() > 1.4 * blue.texture[row, column, 0].mean()
    assert one.texture[row, column, 2].mean() < one.texture[row, column, 0].mean()


def test_a_model_without_teeth_gets_some_too():
    model = AnnyHead()
    parts = {
        name: value for name, value in TOPOLOGY.parts.items() if name not in ("teeth_upper", "teeth_lower", "tongue")
    }
    model.topology = dataclasses.replace(TOPOLOGY, parts=parts)
    neutral = closed(1)
    found = teeth(model, neutral, None, np.random.default_rng(0))
    assert tongue(model, neutral) is None
    assert [part.name for part in found] == ["teeth_upper", "teeth_lower"]
    assert visible_parts(neutral, found, {}, (35, 0)) == {}
    assert visible_parts(neutral, found, {"jawOpen": 0.7}, (0, 0)).keys() == {"teeth_upper", "teeth_lower"}
    down = [part.attachment.carry(KEYS["jawOpen"])[:, 2].mean() for part in found]
    assert abs(down[0]) < 1e-4 and down[1] < -0.01


def test_the_lining_is_dark_red_and_darkest_in_the_throat():
    colours = mouth_interior_colour(MODEL, MODEL.template)
    (lining, red), (throat, dark) = colours.values()
    for mask in (lining, throat):
        assert mask.min() >= 0 and mask.max() <= 1
    assert red[0] > 2 * red[1] and dark.sum() < red.sum()
    deep = throat > 0.9
    assert MODEL.template[deep, 1].min() > MODEL.template[(lining > 0.9) & (throat < 0.1), 1].min()


def crowns(mesh) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vertices and faces of the pieces of a row that are not gum, from the character's right to the left."""
    edges = np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:]])
    count = len(mesh.vertices)
    number, label = connected_components(coo_matrix((np.ones(len(edges)), edges.T), (count, count)), False)
    found = []
    for k in range(number):
        used, faces = np.unique(mesh.faces[label[mesh.faces[:, 0]] == k], return_inverse=True)
        if np.ptp(mesh.vertices[used, 0]) < 0.015:
            found.append((mesh.vertices[used], faces.reshape(-1, 3)))
    return sorted(found, key=lambda crown: np.arctan2(crown[0][:, 0].mean(), -crown[0][:, 1].mean() - 0.06))


def visible_parts(
    neutral: np.ndarray, parts: list, pose: dict[str, float], view: tuple[float, float]
) -> dict[str, int]:
    """Pixels of each inner part in a close-up of the mouth, where there are any."""
    offsets = sum((weight * KEYS[key] for key, weight in pose.items()), np.zeros_like(neutral))
    vertices, faces, owner = [neutral + offsets], [SKIN], [np.full(len(SKIN), -1)]
    for k, part in enumerate(parts):
        faces.append(part.mesh.faces + sum(map(len, vertices)))
        vertices.append(part.mesh.vertices + part.attachment.carry(offsets))
        owner.append(np.full(len(part.mesh.faces), k))
    middle = lip_slit(MODEL, neutral).middle
    target = (float(middle[0]), float(middle[1]) + 0.01, float(middle[2]) - 0.005)
    camera = Camera.orbit(*view, distance=0.6, fov_degrees=8, size=400, target=target)
    stacked = np.concatenate(vertices)
    screen = np.column_stack([camera.project(stacked), camera.to_camera(stacked)[:, 2]])
    faces = np.concatenate(faces)
    close = (np.abs(stacked[faces].mean(1) - target) < 0.09).all(1)
    seen = rasterize(screen, faces[close], 400, 400).face_index
    counts = Counter(np.concatenate(owner)[close][seen[seen >= 0]].tolist())
    return {part.name: counts[k] for k, part in enumerate(parts) if counts[k]}
