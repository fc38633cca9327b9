"""The file with the user's own expressions: read when it changes, written whole, never lost."""

from __future__ import annotations

import importlib
import json
import os

import pytest


@pytest.fixture
def own(addon):
    return importlib.import_module("maquette.own_expressions")


def test_what_is_saved_is_there_and_can_be_deleted(own, tmp_path):
    own.save(tmp_path / "new folder", "  Half   smile ", {"mouthSmileLeft": 0.4, "jawOpen": 0.0})
    own.save(tmp_path / "new folder", "Grin", {"mouthSmileRight": 1.0})
    assert own.mine() == {"Half smile": {"mouthSmileLeft": 0.4}, "Grin": {"mouthSmileRight": 1.0}}
    own.delete(tmp_path / "new folder", "Half smile")
    assert list(own.mine()) == ["Grin"]


def test_a_file_edited_by_hand_or_of_another_folder_is_read_anew(own, tmp_path):
    own.save(tmp_path, "Grin", {"jawOpen": 1.0})
    path = tmp_path / own.FILE
    path.write_text(json.dumps({"Från Åsa": {"jawOpen": 0.5}}, ensure_ascii=False), encoding="utf-8")
    os.utime(path, ns=(1, 1))
    own.refresh(tmp_path)
    assert own.mine() == {"Från Åsa": {"jawOpen": 0.5}}
    own.refresh(tmp_path / "another")
    assert own.mine() == {}


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "Smile"])
def test_a_name_that_cannot_be_is_refused(own, tmp_path, name):
    with pytest.raises(own.ExpressionError):
        own.save(tmp_path, name, {"jawOpen": 1.0})
    assert not (tmp_path / own.FILE).exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 3}', '{"a": {"jawOpen": 7}}', '{"a": {"jawOpen": "x"}}', "\xff"])
def test_a_file_that_cannot_be_read_is_never_written_over(own, tmp_path, text):
    path = tmp_path / own.FILE
    path.write_text(text, encoding="latin-1")
    own.refresh(tmp_path)
    assert own.mine() == {}
    with pytest.raises(own.ExpressionError, match="mend it"):
        own.save(tmp_path, "Grin", {"jawOpen": 1.0})
    assert path.read_text(encoding="latin-1") == text


def test_nothing_is_no_expression(own, tmp_path):
    with pytest.raises(own.ExpressionError, match="move some"):
        own.save(tmp_path, "Grin", {"jawOpen": 0.0})
