"""``maquette views``: a portrait from new sides and in other expressions, as pictures and a sheet."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from backend.cli import main
from backend.morphable.weights import save_morphable
from backend.novel_views import read_curve
from backend.radiance.cameras import Camera
from tests.morphable.conftest import TINY, tiny  # noqa: F401, a fixture

ASTRONAUT = str(Path(skimage.__file__).parent / "data" / "astronaut.png")


@pytest.mark.slow
def test_rows_of_expressions_come_out_with_their_cameras(tiny, tmp_path, capfd):  # noqa: F811
    save_morphable(tmp_path / "weights", tiny.state_dict(), TINY)
    out = tmp_path / "new" / "views"
    curve = tmp_path / "curve.txt"
    curve.write_text("smile=0.5\n\n")
    asked = ["--curve", str(curve), "--expression-of", ASTRONAUT, "--views", "2", "--steps", "1"]
    assert main(["views", ASTRONAUT, *asked, "--weights", str(tmp_path / "weights"), "--out", str(out)]) == 0
    assert "sheet.png" in capfd.readouterr().out
    names = [f"e00{row}v0{view}.png" for row in range(2) for view in range(2)]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "sheet.png", "views.json"])
    size = TINY.image_size
    sheet = np.asarray(Image.open(out / "sheet.png"))
    assert sheet.shape == (2 * size, 3 * size, 3)
    assert np.array_equal(sheet[:size, :size], sheet[size:, :size]), "each row begins with the portrait"
    assert np.array_equal(sheet[size:, 2 * size :], np.asarray(Image.open(out / "e001v01.png")))
    told = json.loads((out / "views.json").read_text())
    first, second = told["expressions"]
    assert first["of"] == "smile=0.5" and first["weights"]["mouthSmileLeft"] == 0.4
    assert second["of"] == ASTRONAUT and second["weights"]["mouthSmileLeft"] > 0.2, "she smiles"
    for told_camera in told["cameras"]:
        camera = Camera(
            np.array(told_camera["world_to_camera"]), np.array(told_camera["intrinsics"]), *told_camera["size"]
        )
        assert np.abs(camera.project(np.array([[0, 0, -0.04]])) - size / 2).max() < 0.01
    assert main(["views", ASTRONAUT, "--weights", str(tmp_path / "weights"), "--out", str(out)]) != 0
    assert "choose a new or empty folder" in capfd.readouterr().err


def test_a_curve_is_an_expression_a_line(tmp_path):
    curve = tmp_path / "curve.txt"
    curve.write_text("neutral\n jawOpen=0.3 \n\njawOpen=0.6,smile=0.2\n")
    assert read_curve(curve) == ("neutral", "jawOpen=0.3", "jawOpen=0.6,smile=0.2")


def test_weights_for_a_model_that_is_nobody_s_to_give_say_where_it_is_found(tiny, tmp_path, capfd, monkeypatch):  # noqa: F811
    monkeypatch.delenv("MAQUETTE_FLAME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    save_morphable(tmp_path / "weights", tiny.state_dict(), dataclasses.replace(TINY, body_model="flame"))
    out = tmp_path / "views"
    assert main(["views", ASTRONAUT, "--weights", str(tmp_path / "weights"), "--out", str(out)]) == 7
    said = capfd.readouterr().err
    assert "FLAME" in said and "https://flame.is.tue.mpg.de" in said and said.count("\n") == 1
    assert not out.exists()
