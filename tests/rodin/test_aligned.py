"""A pixel of the eye reaches the texels of the eye, whoever it is and wherever the camera stands."""

import dataclasses

import numpy as np
import pytest
import torch

from backend.body_model.anny import load_anny
from backend.body_model.controls import control_vertices
from backend.radiance.cameras import Camera
from backend.radiance.canonical import FOVEA
from backend.radiance.triplane import DEFAULT_HALF_SIZE, PLANE_AXES
from backend.rodin.aligned import make_anchors
from backend.rodin.base import BaseConfig, BaseModel, Condition
from synthetic_data.identity import sample_identity

SIZE, PICTURE = 64, 128


@pytest.fixture(scope="module")
def model():
    return load_anny()


@pytest.fixture(scope="module")
def anchors(model):
    return make_anchors(model, SIZE)


def camera_rows(camera):
    return torch.tensor(camera.world_to_camera).float()[None], torch.tensor(camera.intrinsics).float()[None]


def test_anchors_lie_on_the_lines_of_their_texels(anchors):
    centres = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    for plane, (u, v) in enumerate(PLANE_AXES):
        for side in range(2):
            places = FOVEA(anchors.places[plane, side].double().numpy() / DEFAULT_HALF_SIZE)
            np.testing.assert_allclose(places[..., u], np.broadcast_to(centres, (SIZE, SIZE)), atol=1e-5)
            np.testing.assert_allclose(places[..., v], np.broadcast_to(centres[:, None], (SIZE, SIZE)), atol=1e-5)


def test_front_comes_before_back(anchors):
    front, back = anchors.places[1]
    assert (front[..., 1] <= back[..., 1] + 1e-6).all() and (front[..., 1] < back[..., 1] - 0.05).float().mean() > 0.1


@pytest.mark.parametrize(("index", "azimuth"), [(0, 0), (3, 20), (7, -30)])
def test_a_spot_on_the_eye_is_found_on_the_eyes_texels(model, anchors, index, azimuth):
    spec = sample_identity(model, 11, index)
    body = spec.vertices(model)
    left = model.eye_spheres(body)[0]
    camera = Camera.orbit(azimuth, 3, distance=1.1, fov_degrees=22, size=PICTURE)
    front = left.centre + [0, -left.radius, 0]
    pixel = camera.project(front[None])[0]
    rows, columns = np.mgrid[:PICTURE, :PICTURE] + 0.5
    spot = np.exp(-((columns - pixel[0]) ** 2 + (rows - pixel[1]) ** 2) / 8)
    moves = anchors.moves(torch.tensor(body[control_vertices(model)]).float()[None])
    seen = anchors.see(moves, torch.tensor(spot).float()[None, None], *camera_rows(camera), (PICTURE, PICTURE))
    assert seen.shape == (1, 3, 2, 1, SIZE, SIZE)
    row, column = np.unravel_index(int(seen[0, 1, 0, 0].argmax()), (SIZE, SIZE))
    rest = model.eye_spheres(model.template)[0].centre
    place = FOVEA(rest[None] / DEFAULT_HALF_SIZE)[0]
    expected = (place[[0, 2]] + 1) / 2 * SIZE
    assert abs(column + 0.5 - expected[0]) < 2 and abs(row + 0.5 - expected[1]) < 2


def test_what_looks_at_the_camera_faces_it(anchors):
    camera = Camera.orbit(0, 0, distance=1.1, fov_degrees=22, size=PICTURE)
    moves = torch.zeros(1, 6 * SIZE * SIZE, 3)
    facing = anchors.facing(moves, camera_rows(camera)[0])
    middle = slice(SIZE // 2 - 4, SIZE // 2 + 4)
    assert facing[0, 1, 0, 0, middle, middle].mean() > 0.6 > 0 > facing[0, 1, 1, 0, middle, middle].mean()


def condition(anchors, keep=1.0):
    camera = Camera.orbit(0, 0, distance=1.1, fov_degrees=22, size=64)
    matrix, k = camera_rows(camera)
    picture = torch.rand((1, 4, 64, 64), generator=torch.Generator().manual_seed(0))
    keeps = torch.tensor([keep])
    return Condition(picture, torch.ones(1, 8), anchors.controls[None], matrix, k, keeps, keeps)


@pytest.mark.parametrize(("changes", "listens"), [({}, True), ({"aligned": False, "latent": False}, True)])
def test_the_base_model_listens_to_the_portrait_unless_it_is_dropped(model, changes, listens):
    torch.manual_seed(0)
    small = make_anchors(model, 16)
    sizes = {"size": 16, "channels": 4, "widths": (8, 8), "blocks": (1, 1), "embedding": 16, "latent_size": 8}
    net = BaseModel(BaseConfig(**sizes, tokens=16, picture=64, feature_channels=8, **changes), small)
    for parameter in net.parameters():  # layers that begin at zero would hide what they do
        torch.nn.init.normal_(parameter, std=0.1)
    planes, time = torch.randn(1, 3, 4, 16, 16), torch.ones(1)
    one, dropped = condition(small), condition(small, keep=0.0)
    other = dataclasses.replace(one, picture=1 - one.picture)
    without = dataclasses.replace(dropped, picture=1 - one.picture, latent=-one.latent)
    heard = not torch.allclose(net(planes, time, net.encode(one)), net(planes, time, net.encode(other)))
    assert heard == listens
    torch.testing.assert_close(net(planes, time, net.encode(dropped)), net(planes, time, net.encode(without)))
