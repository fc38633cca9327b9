"""The way from posed space to the planes: eyes on eyes, ears on ears, for everybody."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.anny import load_anny
from backend.body_model.controls import control_vertices
from backend.radiance.canonical import (
    FOVEA,
    Fovea,
    mirror_body,
    mirror_planes,
    mirror_warp,
    warp_grid,
    warp_points,
)
from backend.radiance.triplane import sample_planes
from synthetic_data.identity import sample_identity
from synthetic_data.posing import posed_vertices

HALF = 0.25


@pytest.fixture(scope="module")
def model():
    return load_anny()


@pytest.fixture(scope="module")
def people(model):
    return [posed_vertices(sample_identity(model, 5, i), model) for i in range(3)]


def grid_of(model, vertices, target=None, fovea=FOVEA):
    chosen = control_vertices(model)
    to = model.template if target is None else target
    return warp_grid(torch.tensor(vertices[chosen]).float(), torch.tensor(to[chosen]).float(), HALF, fovea)


@given(
    st.lists(st.floats(-0.9, 0.9), min_size=3, max_size=3),
    st.lists(st.floats(0, 4), min_size=3, max_size=3),
    st.lists(st.floats(1, 1.5), min_size=3, max_size=3),
    st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_the_fovea_is_a_way_there_and_back_from_end_to_end(centre, strength, low, seed):
    fovea = Fovea(tuple(centre), tuple(strength), tuple(-end for end in low))
    points = np.random.default_rng(seed).uniform(-1, 1, (50, 3))
    np.testing.assert_allclose(fovea.inverse(fovea(points)), points, atol=1e-9)
    np.testing.assert_allclose(fovea(np.array([fovea.low])), -1, atol=1e-9)
    np.testing.assert_allclose(fovea(np.array([fovea.high])), 1, atol=1e-9)


def test_shoulders_that_hang_lower_than_the_mean_bodys_still_lie_on_the_planes(model, people):
    def left_out(fovea):
        places = [torch.tensor(v[(np.abs(v) < HALF).all(1)] / HALF).float()[None] for v in people]
        found = [
            warp_points(grid_of(model, v, fovea=fovea)[None], p)[0, :, 2] for v, p in zip(people, places, strict=True)
        ]
        return (torch.cat(found) < -1).float().mean()

    assert left_out(FOVEA) < 0.1 * left_out(Fovea())


def test_the_face_is_seen_larger_than_the_shoulders():
    step = np.array([1e-3, 0, 0])
    face, shoulder = np.array([0.0, -0.35, -0.05]), np.array([0.8, 0.1, -0.8])
    scale = [np.linalg.norm(FOVEA(p + step) - FOVEA(p - step)) for p in (face, shoulder)]
    assert scale[0] > 1.8 * scale[1]


def test_every_persons_face_comes_to_lie_on_the_canonical_one(model, people):
    face = np.flatnonzero(model.topology.regions["face"] > 0.5)
    for vertices in people:
        places = torch.tensor(vertices[face] / HALF).float()[None]
        found = FOVEA.inverse(warp_points(grid_of(model, vertices)[None], places)[0].double().numpy()) * HALF
        left = np.linalg.norm(found - model.template[face], axis=1)
        before = np.linalg.norm(vertices[face] - model.template[face], axis=1)
        assert left.mean() < 0.0022 and left.mean() < 0.5 * before.mean()


def test_in_plain_space_only_the_fovea_is_left(model, people):
    grid = grid_of(model, people[0], people[0])
    places = torch.rand(1, 200, 3) * 1.6 - 0.8
    found = warp_points(grid[None], places)[0].double().numpy()
    np.testing.assert_allclose(found, FOVEA(places[0].double().numpy()), atol=4e-3)


def test_controls_come_in_mirrored_pairs(model):
    chosen = control_vertices(model)
    body = torch.tensor(model.template[chosen])[None]
    torch.testing.assert_close(mirror_body(body), body, atol=2e-3, rtol=0)


def test_the_mirrored_person_has_the_mirrored_field(model, people):
    torch.manual_seed(0)
    planes, grid = torch.randn(1, 3, 4, 16, 16), grid_of(model, people[1])[None]
    places = torch.rand(1, 100, 3) * 1.8 - 0.9
    here = sample_planes(planes, warp_points(grid, places))
    reflected = places * torch.tensor([-1.0, 1, 1])
    there = sample_planes(mirror_planes(planes), warp_points(mirror_warp(grid), reflected))
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
