"""The portrait on the mesh: colours go with the skin into every view and expression, and nothing is made up."""

import dataclasses

import numpy as np
import pytest
import torch

from backend.body_model.anny import load_anny
from backend.body_model.base import defaults
from backend.meshing.mesh import vertex_normals
from backend.meshing.rasterizer import interpolate, rasterize
from backend.morphable.config import MorphableConfig
from backend.morphable.guidance import guided_prediction
from backend.morphable.heads import into_world
from backend.morphable.meshes import HEAD
from backend.morphable.model import Condition, MorphableDiffusion
from backend.morphable.projection import (
    CHANNELS,
    LAYERS,
    above_cut,
    as_pictures,
    drawn_triangles,
    lay,
    mirrored,
    pixels_of,
    shown_in,
    surface_of,
)
from backend.radiance.cameras import Camera
from synthetic_data.appearance.cutting import bust
from synthetic_data.cameras import ORBIT_DISTANCE, ORBIT_FOV
from tests.morphable.conftest import TINY
from tests.morphable.invented import fill_module

SIZE, FRONT, BACK = 96, 0, 4
CONFIG = dataclasses.replace(MorphableConfig.small(), image_size=SIZE, map_size=12)


@pytest.fixture(scope="module")
def world():
    """Front, sides and back of a head, and the mesh with a closed and with an open mouth."""
    model = load_anny()
    cameras = [
        Camera.orbit(turn, 0.0, distance=ORBIT_DISTANCE, fov_degrees=ORBIT_FOV, size=SIZE)
        for turn in (0.0, 40.0, -40.0, 80.0, 180.0)
    ]
    matrices, lenses = (
        torch.from_numpy(np.stack([getattr(camera, name) for camera in cameras])).float()
        for name in ("world_to_camera", "intrinsics")
    )
    lens, matrix = (each.double().numpy() for each in into_world(matrices, lenses, SIZE, CONFIG))
    identity = defaults(model.identity_parameters)
    neutral, jaw = model.neutral(identity), model.arkit_offsets(identity)["jawOpen"]
    return model, drawn_triangles(model), lens, matrix, HEAD(neutral), HEAD(neutral + jaw)


def painted(model, body, triangles, lens, matrix, lowest=-0.1):
    """The mesh in smooth colours that belong to its vertices, over white, in [-1, 1]; and where it is. It ends at
    `lowest` metres above the bust's cut."""
    colours = 0.8 * np.sin(9 * model.template + np.array([0.0, 1.0, 2.0]))
    above = bust(model.template)[triangles]
    buffers = rasterize(
        pixels_of(body, lens, matrix, CONFIG.half_texel),
        triangles,
        SIZE,
        SIZE,
        visible=lambda faces, weights: (above[faces] * weights).sum(1) > lowest,
    )
    there = buffers.face_index >= 0
    picture = np.where(there[..., None], interpolate(buffers, triangles, colours), 1.0)
    return torch.from_numpy(picture.transpose(2, 0, 1)).float(), there


def drawn(world, before, now):
    """The front view of the one mesh on the other, in all views."""
    model, triangles, lens, matrix, *bodies = world
    portrait, _ = painted(model, bodies[before], triangles, lens[FRONT], matrix[FRONT])
    shown = shown_in(bodies[before], triangles, lens[FRONT], matrix[FRONT], SIZE, CONFIG.half_texel)
    surface = surface_of(bodies[now], triangles, above_cut(model), lens, matrix, SIZE, CONFIG.half_texel)
    normals = torch.from_numpy(vertex_normals(bodies[now], triangles)).float()
    rotation = torch.from_numpy(matrix[:, :, :3]).float()
    return lay(portrait, shown, normals, surface, torch.from_numpy(triangles).long(), rotation)


@pytest.mark.parametrize("now", [0, 1])
def test_skin_keeps_its_colour_in_every_view_and_expression(world, now):
    model, triangles, lens, matrix, *bodies = world
    made = drawn(world, 0, now)
    for view in range(len(lens)):
        true, there = painted(model, bodies[now], triangles, lens[view], matrix[view], lowest=0.0)
        assert torch.equal(made[view, 7] > 0, torch.from_numpy(~there))
        sure = made[view, 3] > 0.99
        if view != BACK:
            error = (made[view, :3] - true).abs().amax(0)[sure]
            assert error.mean() < 0.05 and error.quantile(0.99) < 0.35
    share = [float((made[view, 3] > 0.5).sum() / (made[view, 7] == 0).sum()) for view in range(len(lens))]
    assert share[FRONT] > 0.75 and share[BACK] < 0.05, "the portrait does not show the back of the head"


def test_normals_face_the_camera_and_nothing_is_known_of_what_is_no_mesh(world):
    made = drawn(world, 0, 0)
    there = made[:, 7] == 0
    assert (made[:, 6][there] < 0.1).float().mean() > 0.95, "OpenCV's z looks away, but inside of the bust"
    assert (made[:, :7].abs().amax(1)[~there] == 0).all()
    picture = as_pictures(made)[:, 0]
    assert (picture.amin(1)[~there] == 1).all(), "white"
    assert (picture[:, :, 40:60, 40:60].std() > 0.1).all()


def test_a_mirror_turns_pictures_and_normals(world):
    made = drawn(world, 0, 0)
    # The mean head is its own mirror image, and so is the front camera.
    once = mirrored(made[FRONT : FRONT + 1])[0]
    both = (once[7] == 0) & (made[FRONT, 7] == 0) & (once[3] > 0.9) & (made[FRONT, 3] > 0.9)
    assert (once[4:7] - made[FRONT, 4:7]).abs().amax(0)[both].quantile(0.9) < 0.1
    assert (once[4] + made[FRONT, 4]).abs()[both].mean() > 0.2, "x did turn"
    assert torch.equal(mirrored(mirrored(made)), made)


@pytest.mark.parametrize("layer", [0, 1])
def test_pixels_are_what_was_laid_or_what_was_drawn(layer):
    config = dataclasses.replace(TINY, projected=True, prediction="sample")
    with torch.device("meta"):
        model = MorphableDiffusion(config)
    fill_module(model, "")
    generator = torch.Generator().manual_seed(0)
    views, frusta = (
        torch.randn(2, 12, 8, 8, generator=generator),
        [
            torch.randn(2, width, 8 // 2**level, 8 // 2**level, 8 // 2**level, generator=generator)
            for level, width in enumerate(config.volume_channels)
        ],
    )
    given = torch.rand(2, CHANNELS, 16, 16, generator=generator)
    told = Condition(torch.randn(2, 12, 8, 8), torch.randn(2, 1, 16), given)
    steps = torch.tensor([500, 500])
    last = model.pixel_head.layers[-1]
    with torch.no_grad():
        one = model.predict(views, steps, told, frusta)
        last.weight[3:], last.bias[3:] = 0, 0
        last.bias[4 + layer] = 30
        laid = model.decode(model.predict(views, steps, told, frusta))
        guided = model.decode(guided_prediction(model, views, steps, told, frusta, 2.0))
        last.bias[3:] = torch.tensor([30, 0, 0])
        drawn = model.predict(views, steps, told, frusta)
        blank = model.predict(views, steps, told.dropped(), frusta)
    assert not torch.allclose(one, model.encode(laid, views)) and not torch.allclose(one, drawn)
    torch.testing.assert_close(laid, as_pictures(given)[:, layer])
    torch.testing.assert_close(guided, 2 * as_pictures(given)[:, layer], msg="without a condition there is nothing")
    assert not torch.allclose(drawn, blank), "what is drawn also knows what was laid"


def test_what_stands_out_of_the_skin_is_laid_on_the_mesh_blown_up(world):
    model, triangles, lens, matrix, body, _ = world
    out = body + HEAD.scale * LAYERS[1] * vertex_normals(body, triangles)
    portrait, _ = painted(model, out, triangles, lens[FRONT], matrix[FRONT])
    shown = shown_in(body, triangles, lens[FRONT], matrix[FRONT], SIZE, CONFIG.half_texel)
    surface = surface_of(body, triangles, above_cut(model), lens, matrix, SIZE, CONFIG.half_texel)
    normals = torch.from_numpy(vertex_normals(body, triangles)).float()
    rotation = torch.from_numpy(matrix[:, :, :3]).float()
    made = lay(portrait, shown, normals, surface, torch.from_numpy(triangles).long(), rotation)[1]
    true, there = painted(model, out, triangles, lens[1], matrix[1], lowest=0.0)
    inner, outer = ((made[k] - true).abs().amax(0)[made[k[-1] + 1] > 0.9].mean() for k in ([0, 1, 2], [8, 9, 10]))
    assert torch.equal(made[15] > 0, torch.from_numpy(~there))
    assert outer < 0.05 and inner > 2 * outer


def test_the_bust_ends_in_a_smooth_cut_and_its_inside_is_unknown(world):
    made = drawn(world, 0, 0)
    front = made[FRONT, 7].numpy() == 0
    lowest = SIZE - front[::-1].argmax(0)[front.any(0)]
    assert np.abs(np.diff(lowest)[4:-4]).max() <= 3, "no teeth"
    assert SIZE * 0.8 < lowest.max() < SIZE, "it ends within the picture"
    inside = made[:, 6] > 0.3
    assert inside.sum() > 100 and not made[:, 3][inside].any()


@pytest.mark.parametrize("change", [{"prediction": "epsilon"}, {"autoencoder": True}])
def test_what_cannot_be_shown_the_portrait_is_refused(change):
    with pytest.raises(ValueError, match="clean pixels"):
        dataclasses.replace(TINY, projected=True, **{"prediction": "sample", **change})
