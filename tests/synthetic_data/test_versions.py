"""A set that another version of the package began is never gone on with, and can still be read."""

import numpy as np
import pytest

from backend.errors import MaquetteError
from synthetic_data import config as config_module
from synthetic_data.appearance import LOOKS_VERSION
from synthetic_data.cli import main
from synthetic_data.reader import DataSet, Person
from synthetic_data.shards import open_folder, render_shard
from synthetic_data.verify import verify
from tests.synthetic_data import standin

OTHER = LOOKS_VERSION + 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two of three shards, begun with other looks; the first of them is cut short."""
    folder, config = tmp_path_factory.mktemp("set"), standin.config(count=7, looks_version=OTHER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_module, "LOOKS_VERSION", OTHER)
        open_folder(folder, config)
        for shard in (0, 1):
            render_shard(config, shard, folder, standin.render)
    return folder


@pytest.fixture
def spoiled(folder, tmp_path):
    """A copy of it whose first tar is cut short."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tar = tmp_path / "shard-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-1000])
    return tmp_path


@pytest.mark.parametrize("command", [["resume", "DIR"], ["verify", "--repair", "DIR"], ["render", "--out", "DIR"]])
def test_a_set_of_other_looks_is_refused_before_anything_is_deleted(spoiled, command):
    before = {path.name: path.read_bytes() for path in spoiled.iterdir()}
    with pytest.raises(MaquetteError) as caught:
        main([str(spoiled) if word == "DIR" else word for word in command])
    sentence = caught.value.message
    assert f"begun with looks of version {OTHER}, and this package makes {LOOKS_VERSION}" in sentence
    assert ". " not in sentence
    assert {path.name: path.read_bytes() for path in spoiled.iterdir()} == before


def test_no_worker_renders_a_shard_of_other_looks(tmp_path):
    with pytest.raises(ValueError, match="looks of version"):
        render_shard(standin.config(looks_version=OTHER), 0, tmp_path, standin.render)
    assert list(tmp_path.iterdir()) == []


def test_a_set_of_other_looks_is_still_read_browsed_and_exported(folder, tmp_path):
    entries = list(DataSet.open(folder, partial=True).entries())
    person = Person.read(entries[4])
    assert len(entries) == 6 and person.picture(person.views[0], "rgba").shape == (24, 24, 4)
    assert np.isin(person.picture(person.views[0], "segmentation"), (0, 1)).all()
    main(["preview", str(folder), "--out", str(tmp_path / "preview")])
    main(["export", str(folder), "--identity", "2", "--out", str(tmp_path / "export")])
    assert (tmp_path / "preview" / "index.html").exists() and (tmp_path / "export" / "transforms.json").exists()
    assert [problem.kind for problem in verify(folder, deep=True)] == ["missing"]
