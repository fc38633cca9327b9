"""Blender's own files, read without a library: compared with the OpenEXR package, channel by channel."""

import numpy as np
import pytest

OpenEXR = pytest.importorskip("OpenEXR")

from synthetic_data.exr import read_channels  # noqa: E402

COMPRESSIONS = {"none": OpenEXR.NO_COMPRESSION, "zips": OpenEXR.ZIPS_COMPRESSION, "zip": OpenEXR.ZIP_COMPRESSION}


def planes(height, width, kind=np.float32):
    rng = np.random.default_rng(height)
    noise = rng.normal(size=(height, width)).astype(kind)
    flat = np.zeros((height, width), kind)
    flat[height // 2 :] = 3.25
    return {"ViewLayer.Depth.Z": noise, "ViewLayer.Combined.A": flat, "ViewLayer.Normal.X": noise[::-1].copy()}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("size", [(1, 1), (16, 9), (37, 70)])
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.uint32])
def test_every_channel_is_as_it_was_written(tmp_path, compression, size, kind):
    written = planes(*size) if kind != np.uint32 else {"Index.X": np.arange(np.prod(size), dtype=kind).reshape(size)}
    written = {name: values.astype(kind) for name, values in written.items()}
    header = {"compression": COMPRESSIONS[compression], "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, dict(written)) as file:
        file.write(str(tmp_path / "a.exr"))
    found = read_channels(tmp_path / "a.exr")
    assert sorted(found) == sorted(written)
    for name, values in written.items():
        np.testing.assert_array_equal(found[name], values.astype(np.float32))


def test_files_of_several_parts_give_all_their_channels(tmp_path):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    written = planes(33, 21)
    parts = [OpenEXR.Part(dict(header), {name: values}, name) for name, values in written.items()]
    with OpenEXR.File(parts) as file:
        file.write(str(tmp_path / "a.exr"))
    found = read_channels(tmp_path / "a.exr")
    assert sorted(found) == sorted(written)
    for name, values in written.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x76\x2f\x31\x01"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.exr").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.exr is damaged"):
        read_channels(tmp_path / "a.exr")


def test_a_file_cut_short_is_refused(tmp_path):
    with OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, planes(40, 40)) as file:
        file.write(str(tmp_path / "a.exr"))
    whole = (tmp_path / "a.exr").read_bytes()
    (tmp_path / "a.exr").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        read_channels(tmp_path / "a.exr")
