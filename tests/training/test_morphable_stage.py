"""Training of Morphable Diffusion: cameras and mirrors are exact, portraits are shuffled, and a few steps help."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from backend.body_model.anny import load_anny
from backend.cli import main
from backend.morphable.weights import load_morphable
from backend.radiance.cameras import Camera
from backend.training.morphable_stage import MorphableStage, MorphableStageConfig, draw_views, mirror
from backend.training.subjects import load_subjects
from synthetic_data.packed import PackedHeads
from tests.morphable.conftest import TINY
from tests.synthetic_data import standin

CONFIG = MorphableStageConfig(model=TINY, steps=40, batch=2, views=3, targets=2, rate=2e-3, warm_up=2, average=0.9)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return standin.pack(tmp_path_factory.mktemp("takes"), count=3, size=32, views=4, portraits=2, takes=2)


@pytest.fixture(scope="module")
def subjects(pack):
    return load_subjects(pack, load_anny(), TINY)


def test_a_vertex_lies_in_the_map_where_the_camera_saw_it(pack, subjects):
    item = PackedHeads(pack)[0]
    grid = subjects.views(torch.tensor([0]), torch.arange(4)).sampling_grid(subjects.vertices[:1], TINY.map_size)
    metres = subjects.vertices[0].double().numpy() / 2.5
    metres = np.stack([metres[:, 0], -metres[:, 2], metres[:, 1]], 1)
    for view in range(4):
        matrix, lens = (item[name][view].double().numpy() for name in ("world_to_camera", "intrinsics"))
        pixels = Camera(matrix, lens, 32, 32).project(metres)
        index = (grid[0, view].double().numpy() + 1) / 2 * (TINY.map_size - 1)
        np.testing.assert_allclose(index, pixels * TINY.map_size / 32 - 0.5, atol=1e-3)


def test_a_mirror_turns_pictures_meshes_and_cameras_alike(subjects):
    items, chosen = torch.tensor([0, 3]), torch.arange(4)
    views = subjects.views(items, chosen)
    seen = views.sampling_grid(subjects.vertices[items], TINY.map_size)
    vertices, turned = mirror(subjects.vertices[items], views, torch.tensor([True, False]), TINY)
    now = turned.sampling_grid(vertices, TINY.map_size)
    torch.testing.assert_close(now[0], seen[0] * torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0)
    assert torch.equal(now[1], seen[1]) and torch.equal(vertices[1], subjects.vertices[3])


def test_a_portrait_is_of_the_same_person_in_any_expression(subjects):
    assert subjects.person.tolist() == [0, 0, 1, 1, 2, 2]
    generator, items = torch.Generator().manual_seed(0), torch.tensor([0, 3, 5])
    drawn = torch.stack([subjects.others(items, generator) for _ in range(40)])
    assert [sorted(set(column.tolist())) for column in drawn.T] == [[0, 1], [2, 3], [4, 5]]


def test_so_many_people_with_all_their_expressions(pack):
    assert load_subjects(pack, load_anny(), TINY, 2).person.tolist() == [0, 0, 1, 1]


def test_pictures_lie_on_white(subjects):
    assert subjects.pictures.shape == (6, 4, 3, 16, 16) and subjects.portraits.shape[1] == 2
    assert (subjects.pictures[:, :, :, 0, 0] == 255).all() and (subjects.pictures[:, :, :, 8, 8] < 250).any()


@pytest.mark.slow
def test_a_few_steps_help_and_a_stopped_run_is_the_run_that_never_stopped(subjects, tmp_path):
    whole, losses = MorphableStage(subjects, CONFIG), []
    whole.run(until=16, report=lambda _, figures: losses.append(figures["error"]))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:3])
    first = MorphableStage(subjects, CONFIG)
    first.run(until=3)
    first.save(tmp_path)
    second = MorphableStage(subjects, CONFIG)
    assert second.load(tmp_path)
    second.run(until=5)
    first.run(until=5)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
        assert torch.equal(first.averaged[name], second.averaged[name]), name


def test_without_a_mesh_nobody_s_shape_or_expression_is_told(subjects):
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(TINY, meshless=True))
    other = dataclasses.replace(subjects, body=1.1 * subjects.body)
    stages = [MorphableStage(data, config) for data in (subjects, other)]
    losses = []
    for stage in stages:
        stage.run(until=1, report=lambda _, figures: losses.append(figures["error"]))
    assert losses[0] == losses[1]
    told, items = torch.tensor([0]), torch.tensor([0])
    drawn = [draw_views(stages[0].averaged_model(), data, items, told, steps=1) for data in (subjects, other)]
    assert torch.equal(*drawn)
    # What the mesh says enters through layers that begin at zero: after a few steps it counts.
    told_all = [MorphableStage(data, CONFIG) for data in (subjects, other)]
    for stage in told_all:
        stage.run(until=4, report=lambda _, figures: losses.append(figures["error"]))
    assert losses[2 + 3] != losses[2 + 7]


def test_weights_to_go_on_from_learn_at_two_rates(subjects):
    fresh = MorphableStage(subjects, CONFIG)
    assert [group["pace"] for group in fresh.optimiser.param_groups] == [1, 1]
    grown = MorphableStage(subjects, CONFIG, start=fresh.averaged_model())
    assert [group["pace"] for group in grown.optimiser.param_groups] == [0.1, 1]
    grown.run(until=1)
    rates = [group["lr"] for group in grown.optimiser.param_groups]
    assert rates[0] == pytest.approx(0.1 * rates[1])


@pytest.mark.slow
def test_from_the_command_line(pack, tmp_path, capfd):
    recipe = tmp_path / "morphable.json"
    recipe.write_text(json.dumps({"model": dataclasses.asdict(TINY), "steps": 2, "batch": 2, "views": 3, "targets": 1}))
    given = ["train", "morphable", "--data", str(pack), "--config", str(recipe), "--out", str(tmp_path / "run")]
    assert main(given) == 0
    assert "3 people, 6 expressions" in capfd.readouterr().out
    weights = tmp_path / "run" / "morphable" / "weights"
    assert load_morphable(weights).config == dataclasses.replace(TINY, views=4), "the set's rig"
    assert (tmp_path / "run" / "morphable" / "samples.png").stat().st_size > 1000
    on = ["--weights", str(weights), "--out", str(tmp_path / "on")]
    assert main([*given[:4], "--config", str(recipe), *on]) == 0
    grown = load_morphable(tmp_path / "on" / "morphable" / "weights").config
    assert grown == dataclasses.replace(TINY, views=4, body_model="anny")


@pytest.mark.parametrize(
    ("model", "recipe", "sentence"),
    [
        ({"image_size": 64}, {}, "its pictures have 32 pixels, the recipe wants 64"),
        ({"autoencoder": True}, {}, "needs an autoencoder"),
        ({"dense_branch": True}, {}, "Only networks of heads without the dense branch are trained."),
        ({}, {"views": 5}, "The recipe asks for 4 of 5 views, the set has 4 views a person."),
        ({}, {"views": 2}, "The recipe asks for 4 of 2 views"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(pack, tmp_path, capfd, model, recipe, sentence):
    path = tmp_path / "morphable.json"
    path.write_text(json.dumps({"model": dataclasses.asdict(TINY) | model, **recipe}))
    out = tmp_path / "run"
    assert main(["train", "morphable", "--data", str(pack), "--config", str(path), "--out", str(out)]) == 2
    assert sentence in capfd.readouterr().err and not out.exists()
