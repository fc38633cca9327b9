"""The .npz: exact there and back, readable without us, and never trusted."""

import dataclasses
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.export.arrays import npz_bytes, read_npz, write_npz
from backend.export.glb import base_height


@pytest.fixture
def written(avatar, tmp_path):
    write_npz(avatar, tmp_path / "avatar.npz")
    return tmp_path / "avatar.npz"


def test_what_is_read_is_what_was_written(avatar, written):
    again = read_npz(written)
    assert again.skeleton.names == avatar.skeleton.names
    np.testing.assert_array_equal(again.skeleton.parents, avatar.skeleton.parents)
    np.testing.assert_array_equal(again.skeleton.heads, avatar.skeleton.heads.astype(np.float32))
    np.testing.assert_array_equal(again.skeleton.tails, avatar.skeleton.tails.astype(np.float32))
    for ours, theirs in zip(avatar.parts, again.parts, strict=True):
        assert (theirs.name, theirs.material.double_sided) == (ours.name, ours.material.double_sided)
        assert theirs.material.alpha_mask == ours.material.alpha_mask
        assert theirs.material.roughness == pytest.approx(ours.material.roughness, abs=1e-7)
        for field in dataclasses.fields(ours.mesh):
            expected = getattr(ours.mesh, field.name)
            np.testing.assert_allclose(getattr(theirs.mesh, field.name), expected, rtol=1e-7, atol=1e-9)
        np.testing.assert_array_equal(theirs.texture, ours.texture)
        np.testing.assert_array_equal(theirs.joints, ours.joints)
        np.testing.assert_allclose(theirs.weights, ours.weights, atol=1e-7)
        assert list(theirs.shape_keys) == list(ours.shape_keys)
        for name, offsets in ours.shape_keys.items():
            np.testing.assert_array_equal(theirs.shape_keys[name], offsets.astype(np.float32))


def test_writing_what_was_read_gives_the_same_bytes(avatar, written):
    assert written.read_bytes() == npz_bytes(avatar)
    assert npz_bytes(read_npz(written)) == written.read_bytes()


def test_the_bytes_carry_no_time_and_no_system(written):
    with zipfile.ZipFile(written) as archive:
        for member in archive.infolist():
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            assert (member.create_system, member.compress_type) == (3, zipfile.ZIP_STORED)


def test_numpy_alone_can_read_it_as_the_docstring_says(avatar, written):
    with np.load(written, allow_pickle=False) as arrays:
        assert int(arrays["format_version"]) == 1
        assert float(arrays["base_height"]) == pytest.approx(base_height(avatar))
        assert arrays["parts"].tolist() == [part.name for part in avatar.parts]
        assert bytes(arrays["0/texture_png"])[:8] == b"\x89PNG\r\n\x1a\n"
        key = arrays["0/key_names"].tolist().index("jawOpen")
        rows = slice(*arrays["0/key_starts"][key : key + 2])
        offsets = np.zeros_like(arrays["0/vertices"])
        offsets[arrays["0/key_vertices"][rows]] = arrays["0/key_offsets"][rows]
        np.testing.assert_allclose(offsets, avatar.parts[0].shape_keys["jawOpen"], atol=1e-8)


def rewritten(path, **changes):
    """The same file with arrays replaced (or left out when None); `i__name` stands for `i/name`."""
    with np.load(path) as arrays:
        contents = dict(arrays)
    for name, value in changes.items():
        name = name.lstrip("_").replace("__", "/")
        if value is None:
            del contents[name]
        else:
            contents[name] = value(contents[name])
    np.savez(path, **contents)
    return path


def png(width, height, mode="RGB"):
    stream = io.BytesIO()
    Image.new(mode, (width, height)).save(stream, "PNG")
    return np.frombuffer(stream.getvalue(), np.uint8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format_version": lambda a: a + 1}, "is in format 2"),
        ({"_0__faces": None}, "not an avatar"),
        ({"_0__faces": lambda a: a + 10_000}, "index of part head is out of range"),
        ({"_0__faces": lambda a: a - 1}, "index of part head is out of range"),
        ({"_1__uv_faces": lambda a: a[:-1]}, "part eyeLeft has no proper faces"),
        ({"_0__joints": lambda a: a + 4}, "index of part head is out of range"),
        ({"_0__weights": lambda a: a[:, :3]}, "no proper skin weights"),
        ({"_0__vertices": lambda a: a * np.nan}, "not finite"),
        ({"_0__key_vertices": lambda a: a + 10_000}, "not an avatar"),
        ({"_0__key_starts": lambda a: a[:-1]}, "not an avatar"),
        ({"_0__texture_png": lambda a: a[:40]}, "not an avatar"),
        ({"_0__texture_png": lambda a: png(20_000, 2)}, "not an avatar"),
        ({"_0__texture_png": lambda a: png(4, 4, "L")}, "not an avatar"),
        ({"bones__parents": lambda a: a[::-1]}, "a bone comes before its parent"),
        ({"bones__heads": lambda a: a[:2]}, "the bones are incomplete"),
        ({"parts": lambda a: a[:0]}, "no parts"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_in_one_sentence(written, changes, says):
    with pytest.raises(MaquetteError, match=says) as caught:
        read_npz(rewritten(written, **changes))
    assert caught.value.code == ErrorCode.BAD_MESH
    assert caught.value.message.endswith(".") and "\n" not in caught.value.message


def test_a_pickle_is_never_opened(written, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    with pytest.raises(MaquetteError, match="not an avatar"):
        read_npz(rewritten(written, parts=lambda a: np.array([Trap()], object)))
    assert not (tmp_path / "sprung").exists()


@settings(max_examples=40, deadline=None)
@given(cut=st.floats(0, 0.999), seed=st.integers(0, 2**32 - 1))
def test_damaged_bytes_never_escape_as_anything_else(avatar, tmp_path_factory, cut, seed):
    data = bytearray(npz_bytes(avatar))
    random = np.random.default_rng(seed)
    for at in random.integers(0, len(data), 20):
        data[at] = random.integers(256)
    path = tmp_path_factory.mktemp("damaged") / "avatar.npz"
    path.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(MaquetteError):
        read_npz(path)


def test_nothing_there_is_said_as_such(tmp_path):
    with pytest.raises(MaquetteError, match="There is no avatar at"):
        read_npz(tmp_path / "avatar.npz")
