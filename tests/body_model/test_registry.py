"""Body models by name; a missing file is answered with where to get it and where to put it."""

import numpy as np
import pytest

from backend.api import ErrorCode
from backend.body_model.anny import load_anny
from backend.body_model.registry import BODY_MODELS, load_body_model
from backend.errors import MaquetteError

OWNED = {
    "flame": ("https://flame.is.tue.mpg.de", "MAQUETTE_FLAME", "generic_model.pkl"),
    "smplx": ("https://smpl-x.is.tue.mpg.de", "MAQUETTE_SMPLX", "SMPLX_NEUTRAL.npz"),
    "bilinear": ("https://github.com/zhuhao-nju/facescape", "MAQUETTE_BILINEAR", "facescape_bm_v1.6"),
}


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for _, variable, _ in OWNED.values():
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def archives(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("owned")
    arrays = {"flame": files.flame_arrays(), "smplx": files.smplx_arrays(), "bilinear": files.facescape_arrays()}
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    return {name: folder / f"{name}.npz" for name in arrays}


def test_anny_comes_with_the_package():
    assert load_body_model("anny") is load_anny()


@pytest.mark.parametrize("name", OWNED)
def test_a_missing_file_is_answered_with_source_and_place_in_one_sentence(name):
    with pytest.raises(MaquetteError) as caught:
        load_body_model(name)
    assert caught.value.code == ErrorCode.MODEL_MISSING
    message = caught.value.message
    for part in OWNED[name]:
        assert part in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("name", OWNED)
def test_a_wrong_path_is_named(name, tmp_path):
    with pytest.raises(MaquetteError, match="nowhere"):
        load_body_model(name, tmp_path / "nowhere.npz")


@pytest.mark.parametrize("name", OWNED)
def test_path_then_variable_then_home_are_searched(name, archives, monkeypatch, empty_home):
    variable = OWNED[name][1]
    monkeypatch.setenv(variable, str(empty_home / "not there"))
    assert load_body_model(name, archives[name]).name == name
    monkeypatch.setenv(variable, str(archives[name]))
    assert load_body_model(name).name == name
    monkeypatch.delenv(variable)
    place = empty_home / ".maquette" / "body_models" / name
    place.mkdir(parents=True)
    usual = {"flame": "FLAME_NEUTRAL.npz", "smplx": "SMPLX_NEUTRAL.npz"}
    (place / usual.get(name, "facescape_bm_v1.6_847_50_52_id_front.npz")).write_bytes(archives[name].read_bytes())
    assert load_body_model(name).name == name


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(MaquetteError) as caught:
        load_body_model("starwars")
    assert caught.value.code == ErrorCode.BAD_REQUEST
    for name in BODY_MODELS:
        assert name in caught.value.message
