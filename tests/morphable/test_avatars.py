"""The whole way with the engine 'morphable': from a portrait and an expression to an avatar folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch

from backend.api import AvatarRequest
from backend.evaluation import drawn
from backend.export.arrays import read_npz
from backend.morphable.weights import save_morphable
from backend.pipeline import QUALITY, Quality, generate
from backend.radiance.triplane import TriPlane
from backend.weights import bundle
from tests.morphable.conftest import TINY

ASTRONAUT = str(Path(skimage.__file__).parent / "data" / "astronaut.png")


@pytest.mark.slow
def test_an_avatar_comes_out(tiny, tmp_path, monkeypatch):
    """Random weights draw nobody, and yet the face is the portrait's and the rig is whole."""
    monkeypatch.setitem(QUALITY, "draft", Quality(512, 128, 64, (16, 32), 6000, 8, 1, 48, 2000, 1, 1))
    save_morphable(tmp_path / "run" / "morphable" / "weights", tiny.state_dict(), TINY)
    monkeypatch.setenv(bundle.VARIABLE, str(tmp_path / "run"))
    begun, shown = [], []
    request = AvatarRequest(
        portraits=(ASTRONAUT,), prompt="bald", engine="morphable", quality="draft", expression="laugh"
    )
    out = tmp_path / "avatar"
    generate(request, out, lambda stage, fraction: begun.append((stage, fraction)), shown.append)
    assert list(dict.fromkeys(stage for stage, _ in begun)) == ["portrait", "fit", "field", "mesh", "texture", "export"]
    field_fractions = [fraction for stage, fraction in begun if stage == "field"]
    assert field_fractions == sorted(field_fractions) and field_fractions[-1] == 1 and len(shown) == 1
    report = json.loads((out / "report.json").read_text())
    assert AvatarRequest.from_json(report["request"]) == request
    assert report["quality"]["face_psnr"] > 15
    assert any("'morphable' does not read prompts" in warning for warning in report["quality"]["warnings"])
    avatar = read_npz(out / "avatar.npz")
    assert {"head", "eye_left", "eye_right"} <= {part.name for part in avatar.parts}
    assert len(avatar.parts[0].shape_keys) > 40
    field = TriPlane.load(out / "triplane.safetensors")
    assert field.warp is not None and torch.isfinite(field.planes).all()
    sheet = drawn.rows_of(out, tiny, 24, 1, 1.0)
    assert sheet.shape == (4 * 24, 4 * 24 + 8 * 24, 3)
    turn = sheet[72:, -96:].reshape(24, 4, 24, 3)
    assert all(0.05 < (turn[:, k] < 0.9).any(-1).mean() < 0.95 for k in range(4)), "the avatar from four sides"
    views = sheet[:24, 96:].reshape(24, 8, 24, 3)
    assert len(np.unique(views.mean((0, 2, 3)).round(5))) == 8, "eight different views"
