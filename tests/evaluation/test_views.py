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
from backend.evaluation.judges import JudgeConfig, Verifier
from backend.evaluation.views import facing_front, landmarks_near, measure, tasks_of
from backend.morphable.model import MorphableDiffusion
from backend.morphable.weights import save_morphable
from backend.portrait.mediapipe_models import MediaPipeModels
from backend.training.subjects import load_subjects
from synthetic_data.cameras import orbit_rig
from tests.morphable.conftest import TINY
from tests.morphable.invented import fill_module
from tests.synthetic_data import standin


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return standin.pack(tmp_path_factory.mktemp("takes"), count=3, size=32, views=4, portraits=1, takes=2)


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
    azimuths = [rig_azimuth(camera) for camera in orbit_rig(32, 4)]
    assert facing_front(subjects, torch.tensor([0]))[0].tolist() == [abs(azimuth) < 55 for azimuth in azimuths]
    assert any(abs(azimuth) < 55 for azimuth in azimuths)


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
    assert landmarks_near(np.ones_like(picture), picture, faces) == 0, "no face is worse than a wrong one"
    assert landmarks_near(picture, np.ones_like(picture), faces) is None


def test_a_good_picture_of_a_face_has_its_landmarks_and_its_identity(faces):
    picture = skimage.data.astronaut()[:256, 96:352].astype(np.float32) / 255
    truth = np.stack([picture, np.ones_like(picture)])[None]
    found = measure(truth, truth, np.array([[True, True]]), Verifier(JudgeConfig()).eval(), faces)
    assert found["faces"] == 1 and found["pck"] == 1 and found["identity"] == pytest.approx(1, abs=1e-4)


def rig_azimuth(camera):
    """Degrees from the front of a camera that looks at the head, which faces -y."""
    centre = -camera.world_to_camera[:3, :3].T @ camera.world_to_camera[:3, 3]
    return np.degrees(np.arctan2(np.hypot(centre[0], centre[2]), -centre[1]))


@pytest.mark.slow
def test_from_the_command_line(pack, tmp_path, capfd):
    model = fill_module(MorphableDiffusion(TINY), "")
    for name in ("one", "two"):
        save_morphable(tmp_path / name, model.state_dict(), TINY)
    given = ["evaluate", "views", "--data", str(pack), "--people", "1", "--steps", "2", "--out", str(tmp_path / "out")]
    rows = ["--weights", f"mesh={tmp_path / 'one'}", "--weights", f"none={tmp_path / 'two'}"]
    assert main([*given, *rows, "--mesh-error", "3"]) == 0
    found = json.loads((tmp_path / "out" / "views.json").read_text())
    assert set(found["rows"]) == {"copy", "mesh", "none", "mesh_3mm", "none_3mm"} and found["people"] == 1
    assert all(set(row) == {"views", "expressions"} for row in found["rows"].values())
    assert found["rows"]["mesh"] == found["rows"]["none"] and found["rows"]["mesh"] != found["rows"]["mesh_3mm"]
    assert set(found["control"]) == {"truth", *found["rows"]} and found["expressions"] == 1
    assert (tmp_path / "out" / "sheet.png").stat().st_size > 1000
    for wrong in ([], ["--weights", f"template={tmp_path / 'one'}"]):
        assert main([*given, *wrong]) == 2
        assert "Name the weights" in capfd.readouterr().err
    assert main([*given, *rows, "--mesh-error", "none"]) == 2
