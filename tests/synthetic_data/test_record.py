"""The files of an identity, and the check of its views."""

import dataclasses
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backend.radiance.cameras import Camera
from synthetic_data.archive import decode_npz, encode_npz
from synthetic_data.config import DatasetConfig
from synthetic_data.farm import Workers, render_locally
from synthetic_data.png import decode_png, encode_png
from synthetic_data.quality import check_view
from synthetic_data.reader import DataSet, Person
from synthetic_data.record import planned_views
from synthetic_data.shards import open_folder
from tests.synthetic_data import standin

CLASSES = {"background": 0, "skin": 1}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([np.uint8, np.uint16]).flatmap(
        lambda kind: arrays.arrays(
            kind, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)).map(lambda s: s[: 2 + (s[2] > 1)])
        )
    )
)
def test_pictures_keep_every_bit(pixels):
    if pixels.dtype == np.uint16 and pixels.ndim == 3 and pixels.shape[2] == 2:
        pixels = np.concatenate([pixels, pixels[..., :1]], -1)
    np.testing.assert_array_equal(decode_png(encode_png(pixels)), pixels)


def test_a_damaged_picture_is_refused():
    for kind in (np.uint8, np.uint16):
        data = bytearray(encode_png(np.arange(300).reshape(10, 10, 3).astype(kind)))
        data[60] ^= 1
        for broken in (bytes(data), bytes(data[:70]), b"", b"no picture at all"):
            with pytest.raises(ValueError, match="damaged"):
                decode_png(broken)


def test_arrays_are_stored_without_the_time():
    values = {"a": np.arange(5.0), "b": np.array([[True]])}
    data = encode_npz(values)
    assert data == encode_npz(values)
    assert {entry.date_time for entry in zipfile.ZipFile(io.BytesIO(data)).infolist()} == {(1980, 1, 1, 0, 0, 0)}
    found = decode_npz(data)
    assert all((found[name] == values[name]).all() for name in values)
    with pytest.raises(ValueError, match="damaged"):
        decode_npz(data[:-30])


def test_the_rig_is_the_same_for_everybody_and_portraits_are_not():
    config = DatasetConfig(views=3, portraits=2, takes=2)
    one, other, again = (planned_views(config, index, 1) for index in (0, 1, 0))
    assert [view.name for view in one] == ["t1v00", "t1v01", "t1v02", "t1p00", "t1p01"]
    same = [(a.camera.world_to_camera == b.camera.world_to_camera).all() for a, b in zip(one, other, strict=True)]
    assert same == [True, True, True, False, False]
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a.camera.world_to_camera, b.camera.world_to_camera)


@pytest.fixture
def good():
    camera = Camera.orbit(0, 0, distance=1.35, fov_degrees=21.5, size=64, target=(0, 0, 0))
    around = np.random.default_rng(0).normal(size=(300, 3))
    skull = 0.98 * standin.RADIUS * around / np.linalg.norm(around, axis=1, keepdims=True)
    return standin.draw(camera, 3), camera, skull, CLASSES


def test_a_good_view_has_figures_and_nothing_wrong(good):
    figures, wrong = check_view(*good)
    assert wrong == []
    assert figures["covered"] == 1 and 0.2 < figures["area"] < 0.4 and figures["skin"] == 1


def empty(shown):
    return {name: np.zeros_like(values) for name, values in shown.items()}


def half(shown):
    cut = {name: values.copy() for name, values in shown.items()}
    for values in cut.values():
        values[40:] = 0
    return cut


def dark(shown):
    return shown | {"rgba": shown["rgba"] * [0.001, 0.001, 0.001, 1]}


def not_a_number(shown):
    return shown | {"depth": np.where(shown["depth"] > 1.3, np.nan, shown["depth"])}


def strange(shown):
    return shown | {"segmentation": shown["segmentation"] * 77}


def behind(shown):
    return shown | {"depth": shown["depth"] + 0.2 * (shown["depth"] > 0)}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (empty, "fills 0.0%"),
        (half, "covers"),
        (dark, "luminance is 0.0"),
        (not_a_number, "depth holds values that are no numbers"),
        (strange, "unknown classes \\[77\\]"),
        (behind, "covers"),
    ],
)
def test_what_is_wrong_with_a_view_is_said(good, spoil, sentence):
    shown, *rest = good
    _, wrong = check_view(spoil(shown), *rest)
    assert any(re.search(sentence, problem) for problem in wrong), wrong


def test_a_head_outside_the_frame_is_found(good):
    shown, camera, skull, classes = good
    aside = dataclasses.replace(camera, intrinsics=camera.intrinsics + [[0, 0, 25.0], [0, 0, 0], [0, 0, 0]])
    assert "the head is outside the frame" in check_view(shown, aside, skull, classes)[1]


def test_large_pictures_are_judged_no_more_strictly_than_small_ones(good):
    """What stands out by a hundredth of the radius is half a pixel in one picture and two pixels in the other."""
    _, camera, skull, classes = good
    skull = skull * 1.03
    shares = []
    for size in (128, 512):
        larger = camera.resized(size, size)
        shares.append(check_view(standin.draw(larger, 3), larger, skull, classes)[0]["covered"])
    assert shares[0] > 0.95 and abs(shares[0] - shares[1]) < 0.02


def test_the_index_of_a_set_needs_no_blender():
    code = "import sys, synthetic_data.reader, synthetic_data.cli, synthetic_data.loader; print('bpy' in sys.modules)"
    command, root = [sys.executable, "-c", code], Path(__file__).parents[2]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout == "False\n"


@pytest.mark.slow
def test_a_real_head_is_the_same_alone_and_after_another_with_other_threads(tmp_path):
    pytest.importorskip("bpy", exc_type=ImportError)
    settings = {"views": 2, "size": 32, "samples": 1, "portrait_samples": 1, "passes": ("normal", "uv")}
    after = DatasetConfig(count=2, portraits=0, **settings)
    alone = DatasetConfig(first=1, count=1, portraits=1, **settings)
    entries = []
    for threads, config in ((1, after), (2, alone)):
        folder = tmp_path / str(threads)
        open_folder(folder, config)
        schedule = render_locally(config, folder, [0], Workers(1, threads=threads))
        assert not schedule.failures
        entries.append(DataSet.open(folder).find(1))
    pictures = [name for name in entries[0].members if name.endswith(".png")]
    assert len(pictures) == 10
    for name in [*pictures, "mesh.npz"]:
        assert entries[0].read(name) == entries[1].read(name), name
    for entry, views in zip(entries, (2, 3), strict=True):
        person = Person.read(entry)
        labels, mesh = entry.decode("labels.npz"), entry.decode("mesh.npz")
        assert person.data["takes"][0]["caption"].startswith(("A ", "An "))
        assert len(person.views) == views and labels["visible"].any() and not labels["visible"].all()
        assert mesh["neutral"].dtype == np.float32 and mesh["offsets"].shape == (1, *mesh["neutral"].shape)
        for view, pixels in zip(person.views, labels["pixels"], strict=True):
            np.testing.assert_allclose(view.camera.project(labels["points"][0]), pixels, atol=0.05)
            depth = person.picture(view, "depth")
            assert 0.7 < depth[depth > 0].min() < depth.max() < 2.2
            skin = person.picture(view, "segmentation") == person.data["classes"]["skin"]
            np.testing.assert_array_equal(np.isfinite(person.picture(view, "uv")).all(-1), skin)
