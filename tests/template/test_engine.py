"""The template's field: labelled points of body and hair, in the colours of the portrait."""

import dataclasses

import numpy as np
import pytest

from backend.body_model.anny import load_anny
from backend.meshing.bust import bust_inside
from backend.meshing.observation import Observation
from backend.meshing.rasterizer import interpolate, rasterize
from backend.meshing.texture import View
from backend.radiance.cameras import Camera
from backend.template.engine import HALF_SIZE, TemplateSettings, build_volume, fit_field, labelled_points, outer_faces
from backend.template.volume import GARMENT, HAIR

SIZE = 192
ANNY = load_anny()
VERTICES, REGIONS = ANNY.template, ANNY.topology.regions
CAMERA = Camera.orbit(0, 0, distance=1.0, fov_degrees=28, size=SIZE)
SKIN_COLOUR, HAIR_COLOUR, CLOTH_COLOUR = np.array([[0.8, 0.6, 0.5], [0.2, 0.12, 0.1], [0.2, 0.3, 0.7]])
HAIR_HEIGHT = 0.02


@pytest.fixture(scope="module")
def observation():
    """A portrait of the average person with hair 20 mm high and a blue garment."""
    faces = outer_faces(ANNY)
    outwards = VERTICES / np.linalg.norm(VERTICES, axis=1, keepdims=True)
    grown = VERTICES + HAIR_HEIGHT * outwards * REGIONS["scalp"][:, None]
    buffers = rasterize(np.c_[CAMERA.project(grown), CAMERA.to_camera(grown)[:, 2]], faces, SIZE, SIZE)
    person = (buffers.face_index >= 0).astype(np.float32)
    masks = np.c_[REGIONS["scalp"] > 0.5, VERTICES[:, 2] < -0.14].astype(np.float32)
    hair, garment = np.moveaxis(interpolate(buffers, faces, masks) > 0.5, -1, 0).astype(np.float32)
    skin = person * (1 - hair) * (1 - garment)
    image = sum(
        mask[..., None] * colour for mask, colour in ((skin, SKIN_COLOUR), (hair, HAIR_COLOUR), (garment, CLOTH_COLOUR))
    )
    view = View(np.asarray(image, np.float32), skin, CAMERA, VERTICES)
    nothing, everywhere = np.zeros_like(person), np.ones(person.shape, bool)
    return Observation(view, hair, garment, person, (nothing, nothing), nothing, everywhere, everywhere)


@pytest.fixture(scope="module")
def volume(observation):
    return build_volume(ANNY, observation)


@pytest.fixture(scope="module")
def samples(observation, volume):
    return labelled_points(ANNY, observation, volume, 30_000, np.random.default_rng(0))


def test_the_outer_surface_has_eyes_and_no_mouth_inside():
    faces = outer_faces(ANNY)
    topology = ANNY.topology
    for part in ("eye_left", "eye_right"):
        assert np.isin(topology.faces[topology.parts[part]], faces).all()
    assert REGIONS["mouth_interior"][np.unique(faces)].max() <= 0.5
    for part in ("teeth_upper", "teeth_lower", "tongue"):
        if part in topology.parts:
            assert not np.isin(topology.faces[topology.parts[part]], faces).any()


def test_hair_is_measured_on_the_scalp_and_not_on_the_face(volume):
    thickness = volume.covers[HAIR].thickness
    crown = (REGIONS["scalp"] > 0.99) & (VERTICES[:, 2] > 0.12)
    assert np.median(thickness[crown]) == pytest.approx(HAIR_HEIGHT, abs=0.006)
    cheeks = (REGIONS["face"] > 0.9) & (VERTICES[:, 2] < 0.03) & (VERTICES[:, 1] < -0.03)
    assert thickness[cheeks].max() < 0.003


def test_the_garment_lies_on_the_shoulders(volume):
    thickness = volume.covers[GARMENT].thickness
    shoulders = np.unique(volume.outer_faces)
    shoulders = shoulders[VERTICES[shoulders, 2] < -0.17]
    assert np.median(thickness[shoulders]) > 0.002
    assert thickness[VERTICES[:, 2] > -0.08].max() < 0.002


def test_without_hair_and_garment_nothing_is_measured(observation):
    nothing = np.zeros_like(observation.hair)
    bare = build_volume(ANNY, dataclasses.replace(observation, hair=nothing, garment=nothing))
    assert bare.covers[HAIR].thickness.max() == 0
    assert bare.covers[GARMENT].thickness.max() == 0


def test_points_are_labelled_by_side_and_lie_in_the_cube(volume, samples):
    assert np.abs(samples.points).max() <= HALF_SIZE
    assert samples.points.shape == (30_000, 3)
    value, _, _ = volume.evaluate(samples.points.astype(float))
    np.testing.assert_array_equal(samples.occupancy > 0.5, value > 0)
    far = np.abs(value) > 0.012
    assert np.minimum(samples.occupancy, 1 - samples.occupancy)[far].max() < 1e-4


def test_most_points_lie_near_the_surface(volume, samples):
    value, _, _ = volume.evaluate(samples.points.astype(float))
    assert (np.abs(value) < 0.02).mean() > 0.5


def test_colours_are_those_of_the_layer(volume, samples):
    value, layer, _ = volume.evaluate(samples.points.astype(float))
    near = (np.abs(value) < 0.004) & (bust_inside(samples.points.astype(float), HALF_SIZE) > 0.02)
    for kind, colour in ((HAIR, HAIR_COLOUR), (GARMENT, CLOTH_COLOUR), (0, SKIN_COLOUR)):
        chosen = samples.colours[near & (layer == kind)]
        assert len(chosen) > 100
        np.testing.assert_allclose(np.median(chosen, 0), colour, atol=0.06)
    assert np.isfinite(samples.colours).all()


def test_the_same_seed_gives_the_same_points(observation, volume, samples):
    again = labelled_points(ANNY, observation, volume, 30_000, np.random.default_rng(0))
    for field in dataclasses.fields(samples):
        first, second = getattr(samples, field.name), getattr(again, field.name)
        if first is not None:
            np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_a_small_field_knows_inside_from_outside(observation):
    import torch

    seen = []
    settings = TemplateSettings(points=8000, steps=40, level_sizes=(16, 32))
    field = fit_field(ANNY, observation, settings, 0, seen.append)
    assert field.half_size == HALF_SIZE
    inside = torch.tensor([[0.0, 0.0, 0.05], [0.0, 0.0, -0.12], [0.0, -0.03, 0.0]])
    outside = torch.tensor([[0.0, -0.2, 0.0], [0.2, 0.0, 0.1], [0.0, 0.0, 0.24]])
    assert (field.occupancy(inside) > 0.5).all()
    assert (field.occupancy(outside) < 0.5).all()
    assert seen
    assert seen == sorted(seen)
