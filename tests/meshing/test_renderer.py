"""Pictures of parts: colour, holes, what hides what, and light."""

import dataclasses

import numpy as np
import pytest

from backend.meshing.mesh import Mesh
from backend.meshing.renderer import render, shrink_texture, to_linear, to_srgb
from backend.radiance.cameras import Camera
from backend.rigging.avatar import AvatarPart, Material

CAMERA = Camera.orbit(0, 0, distance=0.5, fov_degrees=30, size=40, target=(0, 0, 0))
FRONT, BACK = np.array([[0, 1, 2], [0, 2, 3]]), np.array([[2, 1, 0], [3, 2, 0]])


def card(texture, *, y=0.0, size=0.5, faces=FRONT, **material):
    """A square that faces the camera (which stands at -Y), larger than the picture by default."""
    corners = size * np.array([[-0.5, 0, -0.5], [0.5, 0, -0.5], [0.5, 0, 0.5], [-0.5, 0, 0.5]]) + [0, y, 0]
    mesh = Mesh(corners, faces, np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]), faces)
    count = len(corners)
    weights = np.tile([1.0, 0, 0, 0], (count, 1))
    return AvatarPart("card", mesh, texture, Material(**material), np.zeros((count, 4), int), weights, {})


def plain(*colour, size=8):
    return np.tile(np.array(colour, np.uint8), (size, size, 1))


def test_unlit_shows_the_texture_as_it_is_upright_and_unmirrored():
    texture = plain(0, 0, 0)
    texture[:4, :4], texture[:4, 4:], texture[4:, :4] = [200, 30, 40], [20, 150, 60], [90, 90, 250]
    # +X is the character's left, on the right of the picture; v = 1 is the top.
    picture = render([card(texture, size=0.25)], CAMERA, lighting="unlit", background=(1, 1, 1))
    for row, column in ((8, 8), (8, 31), (31, 8), (31, 31)):
        expected = texture[0 if row < 20 else 7, 0 if column < 20 else 7] / 255
        np.testing.assert_allclose(picture[row, column], expected, atol=1e-3)
    np.testing.assert_allclose(picture[0, 0], 1, atol=1e-5)


def test_the_nearer_part_hides_the_other_whatever_the_order():
    near, far = card(plain(255, 0, 0), y=-0.05, size=0.1), card(plain(0, 0, 255))
    first, second = (render(parts, CAMERA, lighting="unlit") for parts in ([near, far], [far, near]))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[20, 20], [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(first[2, 2], [0, 0, 1], atol=1e-5)


def test_cut_out_texels_show_what_lies_behind():
    texture = plain(0, 200, 0, 255)
    texture[:, 4:, 3] = 100
    hair, head = card(texture, y=-0.05, alpha_mask=True, double_sided=True), card(plain(255, 0, 0))
    picture = render([head, hair], CAMERA, lighting="unlit")
    np.testing.assert_allclose(picture[20, 10], [0, 200 / 255, 0], atol=1e-3)
    np.testing.assert_allclose(picture[20, 30], [1, 0, 0], atol=1e-3)


def test_behind_a_cut_out_texel_the_same_part_goes_on():
    """Strands of one hair shell in front of one another."""
    texture = plain(250, 250, 0, 255)
    texture[:, 4:, 3] = 0
    front, back = card(texture, y=-0.05, alpha_mask=True, double_sided=True), card(plain(0, 0, 250, 255))
    mesh = Mesh(
        np.concatenate([front.mesh.vertices, back.mesh.vertices]),
        np.concatenate([FRONT, FRONT + 4]),
        np.concatenate([front.mesh.uvs, front.mesh.uvs * 0.1]),  # the back card shows the opaque corner only
        np.concatenate([FRONT, FRONT + 4]),
    )
    picture = render([dataclasses.replace(front, mesh=mesh)], CAMERA, lighting="unlit", background=(0, 0, 0))
    np.testing.assert_allclose(picture[20, 30], [250 / 255, 250 / 255, 0], atol=1e-3)


@pytest.mark.parametrize("double_sided", [True, False])
def test_the_back_of_a_face_is_drawn_only_when_double_sided(double_sided):
    part = card(plain(255, 255, 255), faces=BACK, double_sided=double_sided)
    picture = render([part], CAMERA, lighting="unlit", background=None)
    assert picture.shape == (40, 40, 4)
    assert picture[..., 3].min() == picture[..., 3].max() == float(double_sided)


def test_both_sides_of_a_double_sided_face_are_lit_alike():
    front, back = (card(plain(128, 128, 128), faces=faces, double_sided=True) for faces in (FRONT, BACK))
    np.testing.assert_allclose(render([front], CAMERA), render([back], CAMERA), atol=1e-6)


def test_skin_that_faces_the_camera_keeps_its_brightness():
    """The studio is exposed for skin seen from the front."""
    skin = np.array([224, 172, 140])
    lit = render([card(plain(*skin), roughness=0.6)], CAMERA)[20, 20] * 255
    assert np.abs(lit - skin).max() < 25


def test_a_surface_turned_to_the_key_light_is_brighter_than_one_turned_away():
    angles = np.radians([-60, 60])
    brightness = []
    for angle in angles:
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        part = card(plain(128, 128, 128))
        brightness.append(render([part], CAMERA, vertices=[part.mesh.vertices @ turn.T])[20, 20].mean())
    assert brightness[0] > 1.1 * brightness[1]


def test_edges_are_smoothed_by_supersampling():
    part = card(plain(255, 255, 255), size=0.111)
    fine = render([part], CAMERA, lighting="unlit", background=None, supersample=4)[..., 3]
    assert len(np.unique(fine)) > 2
    span = CAMERA.project(part.mesh.vertices)
    area = np.ptp(span[:, 0]) * np.ptp(span[:, 1])
    assert fine.sum() == pytest.approx(area, rel=0.03)


def test_fine_texture_is_averaged_rather_than_sampled():
    checkers = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (256, 256))[..., None].repeat(3, -1)
    picture = render([card(checkers)], CAMERA, lighting="unlit")
    assert np.ptp(picture) < 0.02


def test_shrinking_takes_the_mean_of_blocks():
    texture = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    np.testing.assert_allclose(shrink_texture(texture, 2), texture.reshape(2, 2, 2, 3).mean((0, 2))[None])
    assert shrink_texture(plain(9, 9, 9), 4).dtype == np.uint8
    assert shrink_texture(plain(9, 9, 9), 4).shape == (2, 2, 3)


def test_srgb_there_and_back():
    values = np.linspace(0, 1, 101)
    np.testing.assert_allclose(to_srgb(to_linear(values)), values, atol=1e-9)
    assert to_linear(np.array(0.5)) == pytest.approx(0.2140, abs=1e-4)
