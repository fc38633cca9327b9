"""The whole way with the engine 'rodin': portrait, portrait and words, words alone, nothing, to an avatar folder; and
from there by words to another."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch

from backend import pipeline
from backend.api import AvatarRequest, ErrorCode
from backend.cli import main
from backend.errors import MaquetteError
from backend.evaluation import turns
from backend.export.arrays import read_npz
from backend.pipeline import QUALITY, Quality, generate
from backend.radiance.triplane import TriPlane
from backend.rodin.weights import save_rodin
from backend.weights import bundle

ASTRONAUT = str(Path(skimage.__file__).parent / "data" / "astronaut.png")


@pytest.fixture
def weights(rodin, tmp_path, monkeypatch):
    """Random ones: what they draw is nobody, but it must come through. Everything is as coarse as it can be."""
    monkeypatch.setitem(QUALITY, "draft", Quality(512, 128, 64, (16, 32), 6000, 8, 1, 48, 2000, 1))
    save_rodin(tmp_path / "weights" / "rodin.safetensors", rodin)
    monkeypatch.setenv(bundle.VARIABLE, str(tmp_path / "weights"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("portraits", "prompt", "stages"),
    [
        ((ASTRONAUT,), "", ["portrait", "fit", "field", "mesh", "texture", "export"]),
        ((ASTRONAUT,), "bald", ["portrait", "fit", "field", "mesh", "texture", "export"]),
        ((), "a man with red hair", ["field", "mesh", "texture", "export"]),
    ],
)
def test_an_avatar_comes_out(weights, tmp_path, portraits, prompt, stages):
    begun, shown = [], []
    request = AvatarRequest(portraits=portraits, prompt=prompt, engine="rodin", quality="draft", seed=3)
    out = tmp_path / "avatar"
    generate(request, out, lambda stage, fraction: begun.append((stage, fraction)), shown.append)
    assert list(dict.fromkeys(stage for stage, _ in begun)) == stages
    for stage in stages:
        fractions = [fraction for name, fraction in begun if name == stage]
        assert fractions == sorted(fractions) and fractions[-1] == 1.0, stage
    assert len(shown) == 1 and shown[0].ndim == 3
    assert json.loads((out / "report.json").read_text())["request"]["engine"] == "rodin"
    avatar = read_npz(out / "avatar.npz")
    assert {"head", "eye_left", "eye_right"} <= {part.name for part in avatar.parts}
    field = TriPlane.load(out / "triplane.safetensors")
    assert field.warp is not None and (field.likeness is not None) == (prompt == "")
    sheet = turns.rows_of(out, 24)
    assert sheet.shape == (72, 72 + 7 * 24, 3)
    before, after = sheet[:24, 72:], sheet[24:48, 72:]
    assert np.allclose(before, after) == (prompt != ""), "what a portrait shows is seen in the second row"


def test_without_weights_the_engine_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "BOX", tmp_path)
    monkeypatch.delenv(bundle.VARIABLE, raising=False)
    with pytest.raises(MaquetteError) as caught:
        generate(AvatarRequest(prompt="somebody", engine="rodin"), tmp_path / "avatar")
    assert caught.value.code is ErrorCode.MODEL_MISSING and not (tmp_path / "avatar").exists()


def request_of(folder):
    return AvatarRequest.from_json(json.loads((folder / "report.json").read_text())["request"])


@pytest.mark.slow
def test_words_change_the_person_of_a_portrait_from_wherever_they_are_said(weights, tmp_path, monkeypatch):
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    away.mkdir()
    shutil.copy(ASTRONAUT, home / "me.png")
    monkeypatch.chdir(home)
    options = ["--quality", "draft", "--out"]
    assert main(["generate", "me.png", "--engine", "rodin", "--seed", "3", *options, str(home / "me")]) == 0
    monkeypatch.chdir(away)
    assert main(["edit", "../home/me", "with red hair", "--out", "red"]) == 0
    made_from = request_of(home / "me")
    assert made_from.portraits == (str(home / "me.png"),)
    assert request_of(away / "red") == dataclasses.replace(made_from, edits=("with red hair",))
    before, after = (TriPlane.load(folder / "triplane.safetensors") for folder in (home / "me", away / "red"))
    assert torch.equal(after.warp, before.warp), "the body stays"
    assert not torch.allclose(after.planes, before.planes, atol=1e-2)
    assert before.likeness is not None and after.likeness is None, "the portrait shows what was"


@pytest.mark.slow
def test_an_edit_of_an_edit_asks_for_both_in_their_order(weights, tmp_path):
    words = AvatarRequest(prompt="a man", engine="rodin", quality="draft", seed=3, edits=("with red hair",))
    fractions = []
    generate(words, tmp_path / "red", lambda stage, part: fractions.append(part) if stage == "field" else None)
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert main(["edit", str(tmp_path / "red"), "an old man", "--out", str(tmp_path / "old")]) == 0
    assert request_of(tmp_path / "old") == dataclasses.replace(words, edits=("with red hair", "an old man"))
    before, after = (TriPlane.load(tmp_path / folder / "triplane.safetensors") for folder in ("red", "old"))
    assert torch.equal(after.warp, before.warp), "the body stays"
    assert not torch.allclose(after.planes, before.planes, atol=1e-2)


@pytest.mark.slow
def test_a_sample_that_was_stopped_goes_on(weights, tmp_path, monkeypatch, capfd):
    command = ["sample", "--count", "2", "--seed", "5", "--quality", "draft", "--out", str(tmp_path / "people")]

    def stopped(request, out, progress):
        if out.name == "0001":
            raise KeyboardInterrupt
        return generate(request, out, progress)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "generate", stopped)
        assert main(command) == 130
    said = "error: Stopped; whoever was finished is kept, and the same command goes on.\n"
    assert capfd.readouterr().err == said
    assert [path.name for path in (tmp_path / "people").iterdir()] == ["0000"]
    first = tmp_path / "people" / "0000" / "avatar.glb"
    written = first.stat().st_mtime_ns
    assert main(command) == 0
    assert "people holds 2 avatars, 0000 to 0001" in capfd.readouterr().out
    assert first.stat().st_mtime_ns == written, "who was finished is not made again"
    for number in (0, 1):
        folder = tmp_path / "people" / f"{number:04}"
        assert request_of(folder) == AvatarRequest(engine="rodin", quality="draft", seed=5 + number, anyone=True)
    assert first.read_bytes() != (tmp_path / "people" / "0001" / "avatar.glb").read_bytes()
    command[command.index("5")] = "6"
    assert main(command) == 2
    assert "0000 holds an avatar of another seed or kind" in capfd.readouterr().err
    assert first.stat().st_mtime_ns == written
