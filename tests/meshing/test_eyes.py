"""Eyeballs: closed and outward, with an iris of human size in the middle of the texture."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.base import EyeSphere
from backend.body_model.fitting import gaze_rotation
from backend.meshing.eyes import IRIS_RADIUS, eye_texture, eyeball_mesh, texture_position
from backend.meshing.rasterizer import rasterize_uv, sample_texture
from backend.meshing.texture import View
from backend.radiance.cameras import Camera

SPHERE = EyeSphere(np.array([0.031, -0.075, 0.02]), 0.0125)
CAMERA = Camera.look_at(np.array([0.031, -0.5, 0.02]), SPHERE.centre, fov_degrees=5.0, size=360)
BLUE, WHITE = np.array([0.2, 0.35, 0.7]), np.array([0.85, 0.82, 0.8])
SIZE = 192
directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1)
gazes = st.tuples(st.floats(-0.35, 0.35), st.floats(-0.25, 0.25)).map(np.array)


def unit(direction):
    return np.array(direction) / np.linalg.norm(direction)


def picture(rotation):
    """An eyeball with a blue iris that looks along `rotation`, on skin; and the opening between its lids."""
    origin, rays = CAMERA.rays()
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    offset = origin - SPHERE.centre
    along = -(rays @ offset)
    miss = ((offset + along[..., None] * rays) ** 2).sum(-1)
    hit = miss < SPHERE.radius**2
    points = offset + (along - np.sqrt(np.maximum(SPHERE.radius**2 - miss, 0)))[..., None] * rays
    polar = np.arccos(np.clip(points @ rotation @ [0, -1, 0] / SPHERE.radius, -1, 1))
    image = np.where((polar * SPHERE.radius < IRIS_RADIUS)[..., None], BLUE, WHITE)
    image[~hit] = [0.7, 0.5, 0.4]
    opening = (hit & (np.abs(points[..., 2]) < 0.008) & (np.abs(points[..., 0]) < 0.011)).astype(np.float32)
    return View(image.astype(np.float32), np.zeros(opening.shape), CAMERA, np.zeros((0, 3))), opening


def textured(gaze=(0.0, 0.0), opening=None, seed=0):
    rotation = gaze_rotation(np.array(gaze))
    view, visible = picture(rotation)
    opening = visible if opening is None else opening
    return eye_texture(SPHERE, rotation, view, opening, np.random.default_rng(seed), SIZE) / 255


def at_polar(texture, share, around=0.0):
    """Colour at `share` radii of the iris from the middle, at an angle around it."""
    polar = share * IRIS_RADIUS / SPHERE.radius
    direction = np.stack(
        [np.sin(polar) * np.cos(around), -np.cos(polar) * np.ones_like(around), np.sin(polar) * np.sin(around)], -1
    )
    return sample_texture(texture.astype(np.float32), texture_position(np.atleast_2d(direction)))


def test_the_mesh_is_closed_and_faces_outwards():
    mesh = eyeball_mesh(SPHERE)
    surface = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert surface.is_watertight
    assert surface.is_winding_consistent
    assert surface.volume == pytest.approx(4 / 3 * np.pi * SPHERE.radius**3, rel=0.03)


def test_it_is_a_sphere_with_a_slight_bulge_in_front():
    mesh = eyeball_mesh(SPHERE)
    radius = np.linalg.norm(mesh.vertices - SPHERE.centre, axis=1)
    foremost = mesh.vertices[:, 1].argmin()
    np.testing.assert_allclose(mesh.vertices[foremost, [0, 2]], SPHERE.centre[[0, 2]], atol=1e-9)
    assert radius.argmax() == foremost
    assert 0 < radius.max() - SPHERE.radius < 0.001
    behind = mesh.vertices[:, 1] > SPHERE.centre[1]
    np.testing.assert_allclose(radius[behind], SPHERE.radius, atol=1e-6)


def test_the_texture_is_used_once_and_fills_a_disc():
    mesh = eyeball_mesh(SPHERE)
    assert mesh.uvs.min() >= 0
    assert mesh.uvs.max() <= 1
    covered = (rasterize_uv(mesh.uvs, mesh.uv_faces, 256).face_index >= 0).mean()
    a, b, c = (mesh.uvs[mesh.uv_faces[:, k]] for k in range(3))
    area = 0.5 * np.abs(np.cross(b - a, c - a)).sum()
    assert covered == pytest.approx(area, rel=0.01)
    assert covered == pytest.approx(np.pi / 4, rel=0.06)


@given(first=directions, second=directions)
@settings(max_examples=50, deadline=None)
def test_directions_and_texels_belong_together_one_to_one(first, second):
    """The nearer to the front, the nearer to the middle of the texture; up stays up, +X is to the right."""
    a, b = unit(first), unit(second)
    (at_a, at_b) = texture_position(np.stack([a, b])) - 0.5
    if a[1] < b[1] - 1e-6:
        assert np.hypot(*at_a) < np.hypot(*at_b)
    if np.hypot(a[0], a[2]) > 1e-3:
        np.testing.assert_allclose(unit(at_a), unit(a[[0, 2]]), atol=1e-9)


@given(gaze=gazes)
@settings(max_examples=8, deadline=None)
def test_wherever_the_eye_looks_its_iris_lands_in_the_middle(gaze):
    texture = textured(gaze)
    around = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    inside, outside = at_polar(texture, 0.75, around), at_polar(texture, 1.3, around)
    assert (inside[:, 2] - inside[:, 0] > 0.1).mean() > 0.8  # blue
    assert (outside.mean(1) > 0.6).mean() > 0.8
    assert np.abs(outside[:, 2] - outside[:, 0]).max() < 0.15


def test_behind_the_lids_the_eye_goes_on_in_the_portraits_colours():
    texture = textured()
    iris, white = at_polar(texture, 0.75, np.array([np.pi / 2]))[0], at_polar(texture, 1.5, np.array([np.pi / 2]))[0]
    np.testing.assert_allclose(iris / iris.sum(), BLUE / BLUE.sum(), atol=0.1)
    np.testing.assert_allclose(white, WHITE, atol=0.1)
    no_skin = np.array([0.7, 0.5, 0.4])
    assert (np.linalg.norm(at_polar(texture, np.linspace(0, 2, 20)) - no_skin, axis=1) > 0.15).all()


def test_a_closed_eye_has_an_iris_and_a_pupil_all_the_same():
    texture = textured(opening=np.zeros((CAMERA.height, CAMERA.width), np.float32))
    pupil, iris, white = (at_polar(texture, share, np.linspace(0, 6, 12)).mean(0) for share in (0.1, 0.65, 1.4))
    assert pupil.mean() < 0.1
    assert pupil.mean() + 0.05 < iris.mean() < white.mean() - 0.2


def test_the_same_generator_gives_the_same_texture():
    np.testing.assert_array_equal(textured(seed=3), textured(seed=3))
    assert (textured(seed=3) != textured(seed=4)).any()


@given(gaze=gazes)
@settings(max_examples=20, deadline=None)
def test_gaze_turns_the_eye_towards_the_characters_left_and_up(gaze):
    yaw, pitch = gaze
    looks = gaze_rotation(gaze) @ [0, -1, 0]
    expected = [np.sin(yaw) * np.cos(pitch), -np.cos(yaw) * np.cos(pitch), np.sin(pitch)]
    np.testing.assert_allclose(looks, expected, atol=1e-9)
