"""``maquette evaluate views``: who is asked for what, and figures that mean what they say."""

import dataclasses
import json

import numpy as np
import pytest
import skimage.data
import torch

from backend.body_model.anny import load_anny
from backend.cli import main
from backend.errors import MaquetteError
from backend.evaluation.views import facing_front, landmarks_near, measure, tasks_of
from backend.morphable.model import MorphableDiffusion
from backend.morphable.weights import save_morphable
from backend.portrait.mediapipe_models import MediaPipeModels
from backend.training.subjects import load_subjects
from synthetic_data.pack import write_pack
from synthetic_data.shards import open_folder, render_shard
from tests.morphable.conftest import TINY
from tests.morphable.invented import fill_module
from tests.synthetic_data import standin


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("takes")
    config = standin.config(count=3, size=32, views=4, portraits=1, takes=2)
    open_folder(folder, config)
    for shard in range(config.shards):
        render_shard(config, shard, folder, standin.render)
    write_pack(folder, folder / "pack")
    return folder / "pack"


@pytest.fixture(scope="module")
def subjects(pack):
    return load_subjects(pack, load_anny(), TINY)


@pytest.fixture(scope="module")
def faces():
    with MediaPipeModels() as models:
        yield models


def test_another_expression_is_asked_for_than_the_portrait_shows(subjects):
    tasks = tasks_of(subjects, 2)
    assert [each.tolist() for each in tasks["views"]] == [[2, 4], [2, 4]]
    assert [each.tolist() for each in tasks["expressions"]] == [[3, 5], [2, 4]]


def test_a_set_with_one_expression_is_refused(subjects):
    single = dataclasses.replace(subjects, person=torch.arange(len(subjects)))
    with pytest.raises(MaquetteError, match="at least two expressions"):
        tasks_of(single, 2)


def test_the_front_is_where_the_face_looks(subjects):
    front = facing_front(subjects, torch.tensor([0]))[0]
    towards = [matrix[:, :3].T @ -matrix[:, 3] for matrix in subjects.world_to_camera[0].numpy()]
    assert front.tolist() == [bool(place[2] / np.linalg.norm(place) > 0.5) for place in towards]


def test_what_is_drawn_beyond_the_person_counts_unless_the_published_protocol_forgives_it(faces):
    truth = np.ones((1, 2, 16, 16, 3), np.float32)
    truth[:, :, 4:12, 4:12] = 0.5
    drawn = truth.copy()
    drawn[:, :, 0] = 0.0
    found = measure(drawn, truth, np.zeros((1, 2), bool), None, faces)
    assert found["psnr"] < 15 and found["psnr_masked"] == 100 and found["ssim_masked"] == 1
    assert found["faces"] == 0 and "pck" not in found and "identity" not in found


def test_landmarks_are_near_where_the_face_is_and_not_where_it_was(faces):
    picture = skimage.data.astronaut()[:256, 96:352].astype(np.float32) / 255
    assert landmarks_near(picture, picture, faces) == 1
    assert landmarks_near(np.roll(picture, 20, 1), picture, faces) < 0.2
    assert landmarks_near(np.ones_like(picture), picture, faces) is None


@pytest.mark.slow
def test_from_the_command_line(pack, tmp_path, capfd):
    model = fill_module(MorphableDiffusion(TINY), "")
    for name in ("one", "two"):
        save_morphable(tmp_path / name, model.state_dict(), TINY)
    given = ["evaluate", "views", "--data", str(pack), "--people", "2", "--steps", "2", "--out", str(tmp_path / "out")]
    rows = ["--weights", f"mesh={tmp_path / 'one'}", "--meshless", f"none={tmp_path / 'two'}"]
    assert main([*given, *rows]) == 0
    found = json.loads((tmp_path / "out" / "views.json").read_text())
    assert set(found["rows"]) == {"copy", "mesh", "none"} and found["people"] == 2
    assert all(set(row) == {"views", "expressions"} for row in found["rows"].values())
    assert (tmp_path / "out" / "sheet.png").stat().st_size > 1000
    assert main(given) == 2
    assert "Name the weights" in capfd.readouterr().err
