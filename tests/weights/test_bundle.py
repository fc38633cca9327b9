"""The box of weights: found, listed, and caught when a bit is wrong."""

import pytest

from backend.api import ErrorCode
from backend.cli import main
from backend.engines import available
from backend.errors import MaquetteError
from backend.weights import bundle


@pytest.fixture
def box(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "BOX", tmp_path / "box")
    monkeypatch.delenv(bundle.VARIABLE, raising=False)
    made = tmp_path / "made.safetensors"
    made.write_bytes(bytes(range(256)) * 40)
    bundle.put(made, "rodin", "CC0-1.0")
    return tmp_path / "box"


def test_what_was_put_in_is_found_and_whole(box, capsys):
    assert bundle.find("rodin") == bundle.require("rodin") == box / "rodin.safetensors"
    assert bundle.contents()["rodin"] == {
        "bytes": 10240,
        "licence": "CC0-1.0",
        "sha256": bundle.digest(box / "rodin.safetensors"),
    }
    assert main(["weights", "verify"]) == 0 and main(["weights", "list"]) == 0
    said = capsys.readouterr().out
    assert "1 files, all as they were shipped" in said and "rodin: 0.0 MB" in said and "CC0-1.0" in said


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_harm_is_noticed(box, harm, capfd):
    path = box / "rodin.safetensors"
    data = bytearray(path.read_bytes())
    if harm == "remove":
        path.unlink()
    else:
        data[77] ^= 1
        path.write_bytes(data if harm == "flip" else data[:-1])
    assert len(bundle.faults()) == 1
    assert main(["weights", "verify"]) != 0
    assert str(path) in capfd.readouterr().err


def test_a_folder_of_one_s_own_goes_before_the_box(box, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv(bundle.VARIABLE, str(own))
    assert bundle.find("rodin") == box / "rodin.safetensors"
    (own / "rodin.safetensors").write_bytes(b"mine")
    assert bundle.find("rodin") == own / "rodin.safetensors"


def test_what_belongs_together_is_shipped_together(box, tmp_path, capfd):
    for name in bundle.MEMBERS[:-1]:
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    before = bundle.contents()
    assert main(["weights", "ship", str(tmp_path)]) == 2
    assert f"There is no {tmp_path / 'baselines.safetensors'}" in capfd.readouterr().err
    assert bundle.contents() == before
    (tmp_path / "baselines.safetensors").write_bytes(b"more")
    assert main(["weights", "ship", str(tmp_path)]) == 0
    assert set(bundle.contents()) == set(bundle.MEMBERS) and bundle.faults() == []


@pytest.mark.parametrize("alone", bundle.ALONE)
def test_what_reads_or_refines_pictures_is_shipped_with_them_or_alone(box, tmp_path, alone):
    before = bundle.contents()
    (tmp_path / f"{alone}.safetensors").write_bytes(b"alone")
    assert main(["weights", "ship", str(tmp_path)]) == 0
    assert set(bundle.contents()) == {*before, alone}
    (tmp_path / "rodin.safetensors").write_bytes(b"half of what belongs together")
    assert main(["weights", "ship", str(tmp_path)]) == 2
    for name in bundle.MEMBERS:
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    assert main(["weights", "ship", str(tmp_path)]) == 0
    assert set(bundle.contents()) == {*bundle.MEMBERS, alone} and bundle.faults() == []


def test_what_is_not_there_is_said(box):
    assert bundle.find("morphable") is None
    with pytest.raises(MaquetteError) as caught:
        bundle.require("morphable")
    assert caught.value.code is ErrorCode.MODEL_MISSING
    with pytest.raises(MaquetteError, match="reads portraits is not here: install Maquette again"):
        bundle.require("parser")


@pytest.mark.parametrize("place", ["", "morphable", "morphable/weights"])
def test_the_folder_of_morphable_may_lie_where_training_leaves_it_or_be_named(
    box, place, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "own" / place
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv(bundle.VARIABLE, str(tmp_path / "own"))
    assert bundle.find("morphable") is None, "its weights are missing"
    assert {engine.name: engine.available for engine in available()} == {
        "template": True, "rodin": True, "morphable": False,
    }  # fmt: skip
    (folder / "model.safetensors").write_bytes(bytes(998))
    assert bundle.require("morphable") == folder
    assert main(["weights", "list"]) == 0
    assert f"morphable: 0.0 MB, {folder}, not from the box" in capsys.readouterr().out
    assert all(engine.available and not engine.reason for engine in available())


def test_the_real_box_is_whole():
    assert bundle.faults() == []
