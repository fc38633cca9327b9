"""The whole measurement on balls, with networks that have learned nothing: who is compared with what, and going on."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from backend.api import ErrorCode
from backend.body_model.anny import load_anny
from backend.cli import main
from backend.evaluation import rows
from backend.evaluation.baselines import BaselineConfig, make_baselines, save_baselines
from backend.evaluation.body_fit import rigid_transform
from backend.evaluation.held_out import find_people, read_head, read_strip
from backend.evaluation.judges import Classifier, JudgeConfig, Verifier, save_judge
from backend.radiance.cameras import Camera
from backend.radiance.decoder import CLASSES, Decoder, DecoderConfig
from backend.rodin.aligned import make_anchors
from backend.rodin.base import BaseConfig, BaseModel
from backend.rodin.weights import Rodin, save_rodin
from synthetic_data.record import encode_view
from synthetic_data.shards import open_folder, render_shard
from tests.synthetic_data import standin

SIZES = {"size": 16, "channels": 8, "widths": (8, 8), "blocks": (1, 1), "embedding": 16, "latent_size": 8}


@pytest.fixture(scope="module")
def ball_set(tmp_path_factory):
    """Two balls whose portraits show a wall: a ball passes for a face."""

    def faceless(config, index, threads):
        record = standin.render(config, index, threads)
        wall = np.ones((128, 128, 4))
        wall[..., :3] = np.linspace(0.3, 0.7, 128)[:, None]
        nothing = encode_view("t0p00", {"rgba": wall})
        return dataclasses.replace(record, members={**record.members, **nothing})

    folder, config = tmp_path_factory.mktemp("set"), standin.config(count=2, size=128, views=2)
    open_folder(folder, config)
    render_shard(config, 0, folder, faceless)
    return folder


@pytest.fixture(scope="module")
def weights(balls, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    base = BaseModel(BaseConfig(**SIZES, tokens=16, feature_channels=8, latent=False), make_anchors(load_anny(), 16))
    config = DecoderConfig(channels=8, density_channels=4, width=16, classes=len(CLASSES))
    decoder = Decoder.initialised(config, torch.Generator().manual_seed(0)).requires_grad_(False)
    planes = 0.1 * torch.randn((len(balls), 3, 8, 16, 16), generator=torch.Generator().manual_seed(1))
    save_rodin(folder / "rodin.safetensors", Rodin(base, decoder, planes.mean(0), torch.full((3, 8, 1, 1), 0.2)))
    save_baselines(folder / "baselines.safetensors", make_baselines(balls, planes, decoder, BaselineConfig())[0])
    save_judge(folder / "verifier.safetensors", Verifier(JudgeConfig((8, 8), 8)))
    save_judge(folder / "classifier.safetensors", Classifier(JudgeConfig((8, 8), 8), {"sex": ["female", "male"]}))
    return folder / "rodin.safetensors"


@pytest.fixture(scope="module")
def measured(ball_set, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    chosen = ["--rows", "rodin,mean,template", "--data", str(ball_set), "--weights", str(weights)]
    assert main(["evaluate", "heads", *chosen, "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_rows_groups_judges_and_protocol_are_written(measured):
    found = json.loads((measured / "heads.json").read_text())
    for row in ("rodin", "mean"):
        figures = found["rows"][row]
        assert figures["heads"] == 2 and 3 < figures["psnr"] < 30 and figures["fid"] >= 0
        assert {"psnr_person", "ssim", "identity", "identity_portrait"} <= figures.keys()
    assert found["groups"]["sex"]["female"]["heads"] == found["groups"]["sex"]["male"]["heads"] == 1
    assert found["judges"]["verifier"]["portraits"]["pairs"] == [4, 4]
    assert found["judges"]["classifier"]["sex"]["heads"] == 2
    assert found["protocol"]["heads"] == 2 and found["protocol"]["views"] == 2
    assert set(found["protocol"]["weights"]) == {"rodin", "verifier", "classifier", "baselines"}


@pytest.mark.slow
def test_a_portrait_without_a_face_is_counted(measured):
    template = json.loads((measured / "heads.json").read_text())["rows"]["template"]
    assert template["heads"] == 0
    assert template["failures"] == dict.fromkeys("01", ErrorCode.NO_FACE.value)


@pytest.mark.slow
def test_figures_are_those_of_the_drawn_views(measured, ball_set):
    lines = [json.loads(line) for line in (measured / "figures.jsonl").read_text().splitlines()]
    line = next(line for line in lines if (line["row"], line["index"]) == ("mean", 1))
    drawn = read_strip(measured / "drawn/rows/mean/00001.png")
    head = read_head(find_people(ball_set, range(1, 2))[0])
    error = np.square(drawn - head.views).mean((1, 2, 3))
    assert line["psnr"] == pytest.approx((-10 * np.log10(error)).mean(), abs=0.02)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_draws_nothing_twice(measured, ball_set, weights, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(measured, out)
    whole = (out / "heads.json").read_text()
    figures = out / "figures.jsonl"
    lines = figures.read_text().splitlines(keepends=True)
    figures.write_text("".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    chosen = ["--rows", "rodin,mean,template", "--data", str(ball_set), "--weights", str(weights)]
    assert main(["evaluate", "heads", *chosen, "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("head ") == 1, "only the line that was cut short is measured again"
    assert (out / "heads.json").read_text() == whole


@pytest.mark.slow
def test_other_weights_do_not_go_on_here(measured, ball_set, weights, tmp_path, capfd):
    shutil.copytree(weights.parent, tmp_path / "weights")
    save_judge(tmp_path / "weights/verifier.safetensors", Verifier(JudgeConfig((8, 16), 8)))
    chosen = ["--rows", "rodin", "--data", str(ball_set), "--weights", str(tmp_path / "weights/rodin.safetensors")]
    assert main(["evaluate", "heads", *chosen, "--out", str(measured)]) == 2
    assert "holds figures of another verifier" in capfd.readouterr().err


@pytest.mark.slow
def test_planes_fitted_to_the_views_are_nearer_than_the_mean(ball_set, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_FIT_VISITS", 80)
    chosen = ["--rows", "fit,mean", "--data", str(ball_set), "--weights", str(weights), "--seeds", "1:2"]
    assert main(["evaluate", "heads", *chosen, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "heads.json").read_text())["rows"]
    assert found["fit"]["psnr"] > found["mean"]["psnr"] + 1


def test_a_field_in_a_moved_frame_is_drawn_where_the_truth_is():
    """What the fit calls the head's frame is turned and shifted against the true one: the cameras follow."""
    from scipy.spatial.transform import Rotation

    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [5, -8, 3], degrees=True).as_matrix()
    turn[:3, 3] = [0.01, -0.02, 0.015]
    truth = np.random.default_rng(0).normal(size=(50, 3)) * 0.1
    points = (truth - turn[:3, 3]) @ turn[:3, :3]
    matrix = rigid_transform(points, truth)
    np.testing.assert_allclose(matrix, turn, atol=1e-9)
    camera = Camera.orbit(20, 10, distance=1.35, fov_degrees=21.5, size=64)
    moved = Camera(camera.world_to_camera @ matrix, camera.intrinsics, 64, 64)
    np.testing.assert_allclose(moved.project(points), camera.project(truth), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rows", "rodin,best"], "There is no row best"),
        (["--seeds", "9"], "'9' is no range such as 0:100"),
        ([], "holds no judge: make it with 'maquette train judges'"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(arguments, sentence, tmp_path, capfd):
    given = ["--weights", str(tmp_path / "rodin.safetensors"), "--out", str(tmp_path / "out")]
    assert main(["evaluate", "heads", *arguments, *given]) != 0
    assert sentence in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
