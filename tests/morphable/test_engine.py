"""From a portrait and its body fit to views: what the networks are shown is what they were trained with."""

import dataclasses

import numpy as np
import pytest
import torch

from backend.api import ErrorCode
from backend.body_model.anny import load_anny
from backend.body_model.base import defaults
from backend.body_model.fitting import BodyFit
from backend.body_model.flame import load_flame
from backend.errors import MaquetteError
from backend.morphable import engine
from backend.morphable.engine import draw_views
from backend.morphable.heads import skin_vertices
from backend.morphable.meshes import HEAD, published_placement
from backend.morphable.model import MorphableDiffusion
from backend.morphable.projection import CHANNELS, LAYER
from backend.portrait.portrait import Portrait
from backend.portrait.segmentation import Segmentation
from backend.radiance.cameras import Camera
from backend.training.subjects import load_subjects
from synthetic_data.packed import PackedHeads
from tests.body_model.conftest import flame_arrays
from tests.morphable.conftest import TINY
from tests.morphable.invented import fill_module
from tests.synthetic_data import standin

SIZE = 128


def portrait_of(rgb, alpha, path):
    """Pictures of the set as perfect matting would have them."""
    rgb, alpha = rgb.permute(1, 2, 0).numpy(), alpha[0].numpy()
    classes = np.stack([1 - alpha, np.zeros_like(alpha), alpha, np.zeros_like(alpha)], -1)
    inside = np.ones(alpha.shape, bool)
    landmarks, depth = np.zeros((478, 2)), np.zeros(478)
    segmentation = Segmentation(classes, 0.0)
    return Portrait(path, rgb, rgb, alpha, inside, segmentation, landmarks, depth, 0, np.eye(3), rgb, 1, 0)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return standin.pack(tmp_path_factory.mktemp("set"), count=1, size=SIZE, views=4, identities_per_shard=1)


@pytest.fixture(scope="module")
def person(pack):
    """Portrait and perfect fit of somebody in a set."""
    item = PackedHeads(pack, portraits=True)[0]
    matrix, lens = (item[name][0].double().numpy() for name in ("world_to_camera", "intrinsics"))
    fit = BodyFit(
        load_anny(),
        item["identity"].double().numpy(),
        item["expression"].double().numpy(),
        Camera(matrix, lens, SIZE, SIZE),
        np.zeros((2, 2)),
        np.zeros_like(load_anny().template),
        np.zeros(478),
    )
    return portrait_of(item["rgb"][0], item["alpha"][0], pack), fit


@pytest.fixture
def scenes(monkeypatch):
    """Cameras and meshes that the networks were shown."""
    seen = []
    make = engine.make_scene
    monkeypatch.setattr(engine, "make_scene", lambda *given: seen.append(given) or make(*given))
    return seen


def test_the_networks_are_shown_what_training_shows_them(pack, person, tiny, scenes):
    subjects = load_subjects(pack, load_anny(), TINY)
    drawn = draw_views(tiny, *person, seed=0, count=4, steps=1)
    ((views, mesh, config),) = scenes
    assert config == TINY
    torch.testing.assert_close(mesh, subjects.vertices)
    true = subjects.views(torch.tensor([0]), torch.arange(4))
    order = [int((true.world_to_camera[0] - each).abs().sum((1, 2)).argmin()) for each in views.world_to_camera[0]]
    assert sorted(order) == [0, 1, 2, 3]
    torch.testing.assert_close(views.world_to_camera, true.world_to_camera[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(views.intrinsics, true.intrinsics[:, order], atol=1e-4, rtol=0)
    learned = subjects.portraits[0, 0].permute(1, 2, 0).numpy() / 255
    assert drawn.shown.shape == learned.shape and np.abs(drawn.shown - learned).max() < 0.05


def test_a_network_that_is_shown_the_portrait_on_the_mesh_is_shown_what_training_shows_it(pack, person, monkeypatch):
    config = dataclasses.replace(TINY, projected=True, prediction="sample")
    with torch.device("meta"):
        model = MorphableDiffusion(config)
    fill_module(model, "")
    told, run = [], engine.sample
    monkeypatch.setattr(engine, "sample", lambda *given, **options: told.append(given[2]) or run(*given, **options))
    first, other = (
        draw_views(model, *person, seed=0, count=4, steps=1, expression=expression)
        for expression in (None, {"jawOpen": 1.0})
    )
    subjects, one = load_subjects(pack, load_anny(), config), torch.tensor([0])
    order = [
        int(np.argmin([np.abs(seen.world_to_camera[:3, :3] - each).max() for each in _rotations(subjects)]))
        for seen in first.cameras
    ]
    learned = subjects.drawn(one, one, one, torch.tensor([order]), config)
    assert told[0].drawn.shape == learned.shape == (1, 4, CHANNELS, 16, 16)
    for layer in range(0, CHANNELS, LAYER):
        colour, known = slice(layer, layer + 3), slice(layer + 3, layer + LAYER)
        assert (told[0].drawn[:, :, known] - learned[:, :, known]).abs().mean() < 0.01
        assert (told[0].drawn[:, :, colour] - learned[:, :, colour]).abs().mean() < 0.05
    assert learned[:, :, 3].amax() > 0.9 and not torch.allclose(told[0].drawn, told[1].drawn)
    assert not np.array_equal(first.pictures, other.pictures)


def _rotations(subjects):
    """Of the set's views, from the head frame."""
    return [matrix[:, :3].double().numpy() @ HEAD.rotation for matrix in subjects.world_to_camera[0]]


def test_views_are_pictures_from_the_right_over_the_front_to_the_left(person, tiny):
    drawn = draw_views(tiny, *person, seed=0, count=6, steps=1)
    assert drawn.pictures.shape == (6, 16, 16, 3) and drawn.pictures.dtype == np.float32
    assert drawn.pictures.min() >= 0 and drawn.pictures.max() <= 1 and drawn.pictures.std() > 0.01
    azimuths = [np.arctan2(camera.centre[0], -camera.centre[1]) for camera in drawn.cameras]
    assert azimuths == sorted(azimuths) and azimuths[0] < -2 and azimuths[-1] > 1
    middle = [camera.project(drawn.vertices).mean(0) for camera in drawn.cameras]
    assert np.abs(np.array(middle) - 8).max() < 3
    assert draw_views(tiny, *person, seed=0, steps=1).pictures.shape[0] == TINY.views


def test_the_same_seed_draws_the_same_and_the_expression_is_the_mesh_s(person, tiny, scenes):
    options = {"count": 3, "steps": 2}
    own, again, open_, other = (
        draw_views(tiny, *person, seed=seed, expression=expression, **options)
        for seed, expression in ((1, None), (1, None), (1, {"jawOpen": 1.0}), (2, None))
    )
    assert np.array_equal(own.pictures, again.pictures)
    assert not np.array_equal(own.pictures, open_.pictures) and not np.array_equal(own.pictures, other.pictures)
    moved = scenes[2][1] - scenes[0][1]
    assert moved.norm(dim=-1).max() > 0.02 and np.abs(open_.vertices - own.vertices).max() > 0.01
    assert np.array_equal(open_.shown, own.shown)


def test_guidance_is_what_the_weights_say_unless_asked(person, tiny, monkeypatch):
    drawn = {}
    for own in (1.0, 3.0):
        monkeypatch.setattr(tiny, "config", dataclasses.replace(TINY, guidance=own))
        drawn[own] = [draw_views(tiny, *person, seed=0, count=2, steps=2, guidance=asked) for asked in (None, 1.0, 3.0)]
    for own, (said, one, three) in drawn.items():
        assert np.array_equal(said.pictures, (one if own == 1.0 else three).pictures)
        assert not np.array_equal(one.pictures, three.pictures)


def test_weights_without_a_mesh_are_shown_the_mean_head(person, tiny, scenes, monkeypatch):
    monkeypatch.setattr(tiny, "config", dataclasses.replace(TINY, meshless=True))
    draw_views(tiny, *person, seed=0, expression={"jawOpen": 1.0}, count=2, steps=1)
    mean = load_anny().template[skin_vertices(load_anny())]
    np.testing.assert_allclose(scenes[0][1][0].norm(dim=-1), 2.5 * np.linalg.norm(mean, axis=1), atol=1e-5)


def test_progress_is_told_and_can_stop_it(person, tiny):
    heard = []
    draw_views(tiny, *person, seed=0, count=2, steps=3, progress=heard.append)
    assert heard == pytest.approx([1 / 3, 2 / 3, 1])

    def stop(fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_views(tiny, *person, seed=0, count=2, steps=3, progress=stop)


def test_published_weights_are_shown_flame_where_its_authors_have_it(person, tiny, scenes, tmp_path, monkeypatch):
    np.savez(tmp_path / "flame.npz", **flame_arrays(seed=1))
    model = load_flame(tmp_path / "flame.npz")
    portrait, fit = person
    identity, expression = defaults(model.identity_parameters), defaults(model.expression_parameters)
    nothing = np.zeros_like(model.template)
    fit = BodyFit(model, identity, expression, fit.camera, np.zeros((2, 2)), nothing, np.zeros(478))
    monkeypatch.setattr(tiny, "config", dataclasses.replace(TINY, body_model="flame"))
    drawn = draw_views(tiny, portrait, fit, seed=0, count=5, steps=1)
    with pytest.raises(MaquetteError, match="'flame', not those of 'anny': choose --body-model flame") as caught:
        draw_views(tiny, *person, seed=0)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    views, mesh, _ = scenes[0]
    np.testing.assert_allclose(mesh[0], published_placement(model, identity)(fit.posed()), atol=1e-6)
    pixels = drawn.cameras[2].project(drawn.vertices)
    grid = views.sampling_grid(mesh.double(), TINY.map_size)[0, 2].numpy()
    np.testing.assert_allclose(pixels, (grid + 1) / 2 * (TINY.map_size - 1) * 16 / TINY.map_size, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({"projection": "orthographic"}, {}, "whole bodies"),
        ({"dense_branch": True}, {"count": 4}, "draw 3 views, not 4"),
        ({}, {"device": "mps"}, "does not compute on mps"),
        ({}, {"device": "cuda"}, "No CUDA device"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(person, tiny, monkeypatch, changes, options, sentence):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    monkeypatch.setattr(tiny, "config", dataclasses.replace(TINY, **changes))
    with pytest.raises(MaquetteError, match=sentence):
        draw_views(tiny, *person, seed=0, **options)
