"""The add-on reads what the backend writes, and nothing else."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from backend.export.arrays import write_npz


@pytest.fixture(scope="module")
def data(addon):
    return importlib.import_module("maquette.avatar_data")


@pytest.fixture(scope="module")
def file(toy_avatar, tmp_path_factory):
    path = tmp_path_factory.mktemp("avatar") / "avatar.npz"
    write_npz(toy_avatar, path)
    (path.parent / "report.json").write_text('{"request": {"seed": 5}}', encoding="utf-8")
    return path


def test_what_was_written_is_read(data, file, toy_avatar):
    avatar = data.read_avatar(file)
    assert avatar.bone_names == list(toy_avatar.skeleton.names)
    assert avatar.report == {"request": {"seed": 5}}
    for got, part in zip(avatar.parts, toy_avatar.parts, strict=True):
        assert got.name == part.name and list(got.keys) == list(part.shape_keys)
        np.testing.assert_allclose(got.vertices, part.mesh.vertices, atol=1e-7)
        np.testing.assert_array_equal(got.faces, part.mesh.faces)
        np.testing.assert_allclose(got.corner_uvs, part.mesh.uvs[part.mesh.uv_faces.ravel()], atol=1e-7)
        assert got.texture_size == (part.texture.shape[1], part.texture.shape[0])
        for key, offsets in part.shape_keys.items():
            np.testing.assert_allclose(got.key_coordinates(key), part.mesh.vertices + offsets, atol=1e-7)


def test_the_groups_hold_every_weight(data, file, toy_avatar):
    part = toy_avatar.parts[0]
    expected = np.zeros((len(part.mesh.vertices), len(toy_avatar.skeleton.names)))
    for column in range(4):
        np.add.at(expected, (np.arange(len(expected)), part.joints[:, column]), part.weights[:, column])
    found = np.zeros_like(expected)
    for bone, vertices, weight in data.read_avatar(file).parts[0].groups:
        found[vertices, bone] += weight
    np.testing.assert_allclose(found, expected, atol=1e-6)


def _rewritten(file, folder, **changes):
    with np.load(file) as arrays:
        kept = dict(arrays) | {name.replace("__", "/"): value for name, value in changes.items()}
    np.savez(folder / "avatar.npz", **{name: value for name, value in kept.items() if value is not None})
    return folder / "avatar.npz"


@pytest.mark.parametrize(
    "changes",
    [
        {"bones__parents": None},
        {"parts": np.array([], np.str_)},
        {"0__faces": np.array([[0, 1, 99_999]], np.int32)},
        {"0__faces": np.array([[0, 1, 1]], np.int32), "0__uv_faces": np.array([[0, 1, 1]], np.int32)},
        {"0__vertices": np.full((3, 3), np.nan, np.float32)},
        {"0__joints": np.full((1, 4), 77, np.int32)},
        {"0__texture_png": np.frombuffer(b"GIF89a" + bytes(40), np.uint8)},
        {"0__key_starts": np.array([0, 5], np.int32)},
        {"bones__parents": np.array([3, 0, 1, 1, 1], np.int32)},
        {"base_height": np.float32(np.inf)},
        {"0__vertices": np.array([object()])},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_contradiction_is_one_sentence(data, file, tmp_path, changes):
    with pytest.raises(data.AvatarFileError, match="damaged"):
        data.read_avatar(_rewritten(file, tmp_path, **changes))


def test_another_format_asks_for_an_update(data, file, tmp_path):
    with pytest.raises(data.AvatarFileError, match="update the add-on"):
        data.read_avatar(_rewritten(file, tmp_path, format_version=np.int32(2)))


def test_a_missing_file_is_named(data, tmp_path):
    with pytest.raises(data.AvatarFileError, match="no avatar at"):
        data.read_avatar(tmp_path / "avatar.npz")
