"""The whole way with the engine 'rodin': portrait, portrait and words, words alone, to an avatar folder."""

import json
from pathlib import Path

import pytest
import skimage

from backend.api import AvatarRequest, ErrorCode
from backend.errors import MaquetteError
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


def test_without_weights_the_engine_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "BOX", tmp_path)
    monkeypatch.delenv(bundle.VARIABLE, raising=False)
    with pytest.raises(MaquetteError) as caught:
        generate(AvatarRequest(prompt="somebody", engine="rodin"), tmp_path / "avatar")
    assert caught.value.code is ErrorCode.MODEL_MISSING and not (tmp_path / "avatar").exists()
