"""The head parser's training: pictures as the product would crop them, in strange surroundings, the truth known."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from backend.body_model.anny import load_anny
from backend.body_model.registry import landmark_map
from backend.cli import main
from backend.portrait.alignment import HALF_SIZE
from backend.portrait.parser import CLASSES, PICTURE, ParserConfig, load_parser
from backend.radiance.cameras import Camera
from backend.training import parser_stage
from backend.training.parser_stage import (
    UNASKED,
    ParserStage,
    ParserStageConfig,
    Pictures,
    continued,
    draw_crops,
    load_pictures,
)
from synthetic_data.record import encode_labels, planned_views
from synthetic_data.shards import Record, open_folder, render_shard
from tests.synthetic_data import standin

CONFIG = ParserStageConfig(model=ParserConfig((8, 16, 16)), steps=60, batch=6, rate=5e-3, warm_up=5)
HAIR, SKIN, GARMENT = (CLASSES.index(name) for name in CLASSES[1:])


@functools.cache
def landmarks():
    model = load_anny()
    return landmark_map(model).positions(model.template)


@pytest.fixture(scope="module")
def dolls():
    """Hair, skin and garment one above the other, each in a colour of its own that varies from doll to doll."""
    rng = np.random.default_rng(0)
    classes = np.zeros((12, 64, 64), np.uint8)
    classes[:, 14:26, 22:42], classes[:, 26:44, 24:40], classes[:, 44:60, 12:52] = HAIR, SKIN, GARMENT
    tones = np.array([[0, 0, 0], [60, 30, 20], [220, 170, 140], [40, 60, 200]])[classes]
    rgba = np.concatenate([tones + rng.integers(0, 30, (12, 1, 1, 3)), 255.0 * (classes[..., None] > 0)], -1)
    scale = np.diag([PICTURE / 64, PICTURE / 64, 1])
    return Pictures(
        torch.from_numpy(rgba.transpose(0, 3, 1, 2).astype(np.uint8)),
        torch.from_numpy(classes),
        torch.from_numpy(scale).float().expand(12, 3, 3),
    )


def item(azimuth, elevation=0.0):
    """The mean head's landmarks from one side, as the loader has them."""
    camera = Camera.orbit(azimuth, elevation, distance=1.35, fov_degrees=21.5, size=128)
    tensors = {"world_to_camera": camera.world_to_camera, "intrinsics": camera.intrinsics}
    tensors["pixels"] = camera.project(landmarks())
    item = {name: torch.from_numpy(np.asarray(value))[None] for name, value in tensors.items()}
    return item | {"points": torch.from_numpy(landmarks())}


@pytest.mark.parametrize("azimuth", [-50, -20, 0, 35])
def test_views_are_cropped_as_portraits_are(azimuth):
    """The head's middle is in the crop's middle, the eyes are level, a pupil distance is as long as it should be."""
    view = item(azimuth)
    matrix = parser_stage._to_crop(view, 0)
    assert matrix is not None
    right, left = (matrix[:2, :2] @ view["pixels"][0, k].numpy() + matrix[:2, 2] for k in (468, 473))
    assert left[1] == pytest.approx(right[1], abs=0.2) and left[0] > right[0]
    unit = PICTURE / (2 * HALF_SIZE)
    assert left[0] - right[0] == pytest.approx(unit * np.cos(np.radians(azimuth)), rel=0.05)
    origin = view["intrinsics"][0, :2, 2].numpy() @ matrix[:2, :2].T + matrix[:2, 2]
    assert origin == pytest.approx([PICTURE / 2] * 2, abs=0.5 * unit)


@pytest.mark.parametrize(("azimuth", "elevation"), [(180, 0), (90, 0), (-80, 0), (0, 60)])
def test_views_of_anything_but_the_face_are_left_out(azimuth, elevation):
    assert parser_stage._to_crop(item(azimuth, elevation), 0) is None


def test_people_go_on_below_the_bust():
    classes = np.zeros((20, 20), np.uint8)
    classes[3:8, 8:12], classes[8:14, 4:16] = SKIN, GARMENT
    rgba = np.zeros((4, 20, 20), np.uint8)
    rgba[3] = 255 * (classes > 0)
    rgba[0] = np.arange(20)[:, None]
    longer, told = continued(rgba, classes)
    assert (told[13:, 4:16] == GARMENT).all() and (longer[3, 13:, 4:16] == 255).all()
    assert set(longer[0, 14:, 10]) <= set(range(8, 14)), "its own rows again, none of the face's"
    assert np.array_equal(told[:12], classes[:12]) and (told[:, :4] == 0).all()


def test_crops_say_what_they_show(dolls):
    """Where a crop is sure of hair it is as dark as hair, and everything adds up to one inside the picture."""
    crops, chances = draw_crops(dolls, 200, torch.Generator().manual_seed(3))
    assert crops.shape == (200, 4, PICTURE, PICTURE) and crops.min() >= 0 and crops.max() <= 1
    inside = crops[:, 3] > 0
    total = chances.sum(1)
    assert (total[~inside] == 0).all() and 0.5 < inside.float().mean() < 0.95
    assert (total[inside] > 0.99).float().mean() > 0.97
    light = [float(crops[:, :3].mean(1)[chances[:, k] > 0.95].mean()) for k in (HAIR, SKIN)]
    assert light[0] < 0.7 * light[1]


def test_others_and_things_are_background(dolls, monkeypatch):
    """People at the side, and what hides a part, add nothing to hair, skin and garment."""
    alone = dataclasses.replace(dolls)
    monkeypatch.setattr(parser_stage, "_crop_grid", lambda m, s, g: _straight(len(m)))
    _, chances = draw_crops(alone, 100, torch.Generator().manual_seed(5))
    somebody = chances[:, 1:].sum(1)
    assert somebody[:, :24].max() < 0.3 and somebody[:, :, :20].max() < 0.3, "where no doll stands"
    hidden = 1 - somebody[:, 92:114, 30:98].mean((1, 2))
    assert 0.05 < (hidden > 0.1).float().mean() < 0.5


def _straight(count):
    axis = (torch.arange(PICTURE) + 0.5) / PICTURE * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1).expand(count, -1, -1, -1), torch.ones(count, 1, PICTURE, PICTURE)


def test_what_is_not_asked_for_is_not_answered(dolls):
    classes = dolls.classes.clone()
    classes[:, 26:44, 24:40] = UNASKED
    _, chances = draw_crops(dataclasses.replace(dolls, classes=classes), 50, torch.Generator().manual_seed(7))
    assert float(chances[:, SKIN].max()) == 0


def test_it_learns(dolls):
    stage = ParserStage(dolls, CONFIG)
    figures = []
    stage.run(report=lambda step, found: figures.append(found))
    first, last = (sum(found["loss"] for found in part) for part in (figures[:8], figures[-8:]))
    assert last < 0.6 * first and figures[-1]["right"] > 0.7


def test_going_on_after_a_stop_gives_the_same_weights(dolls, tmp_path):
    config = dataclasses.replace(CONFIG, steps=6)
    whole, first, second = (ParserStage(dolls, config) for _ in range(3))
    whole.run()
    first.run(until=4)
    first.save(tmp_path)
    assert second.load(tmp_path) and second.step_number == 4
    second.run()
    for name, value in whole.averaged.items():
        assert torch.equal(value, second.averaged[name]), name


def test_from_a_set_to_a_file(tmp_path, capsys):
    """Balls with faces: a set as the renderer leaves it."""
    made = standin.config(count=2, size=64, views=4, portraits=1)
    open_folder(tmp_path / "set", made)
    for shard in range(made.shards):
        render_shard(made, shard, tmp_path / "set", _with_faces)
    pictures = load_pictures(tmp_path / "set")
    assert 2 < len(pictures) < 10, "not from behind"
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"model": {"widths": [8, 16]}, "steps": 2, "batch": 2}')
    given = ["--data", str(tmp_path / "set"), "--out", str(tmp_path / "run"), "--config", str(recipe)]
    assert main(["train", "parser", *given]) == 0
    assert "step 2/2" in capsys.readouterr().out
    assert load_parser(tmp_path / "run" / "parser.safetensors").config.widths == (8, 16)
    assert (tmp_path / "run" / "parser" / "samples.png").stat().st_size > 0


def _with_faces(config, index, threads):
    record = standin.render(config, index, threads)
    cameras = [view.camera for view in planned_views(config, index, 0)]
    pixels = np.stack([camera.project(landmarks()) for camera in cameras])
    labels = encode_labels(landmarks()[None], pixels, np.ones(pixels.shape[:2], bool))
    return Record(record.members | {"labels.npz": labels})


def test_a_packed_set_is_refused_in_one_sentence(ball_pack, tmp_path, capfd):
    assert main(["train", "parser", "--data", str(ball_pack), "--out", str(tmp_path)]) == 2
    assert capfd.readouterr().err.count("\n") <= 2
