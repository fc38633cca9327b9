"""The packed form: small, and close to what was rendered."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synthetic_data import packed
from synthetic_data.loader import Heads, Selection
from synthetic_data.pack import write_pack
from synthetic_data.packed import DEPTH_UNIT, PackedHeads
from synthetic_data.shards import open_folder, render_shard
from tests.synthetic_data import standin


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, config = tmp_path_factory.mktemp("set"), standin.config(size=64, takes=2)
    open_folder(folder, config)
    for shard in range(config.shards):
        render_shard(config, shard, folder, standin.render)
    return folder


@pytest.fixture(scope="module")
def pack(folder):
    write_pack(folder, folder / "pack")
    return folder / "pack"


@pytest.mark.parametrize("portraits", [False, True])
def test_a_packed_item_is_the_rendered_one_within_its_coding(folder, pack, portraits):
    kinds = ("portrait",) if portraits else ("view",)
    heads = Heads(folder, Selection(("rgba", "depth", "segmentation"), kinds))
    small = PackedHeads(pack, portraits=portraits)
    assert len(small) == len(heads) == 22
    for number in range(0, 22, 5):
        one, other = heads[number], small[number]
        for name in ("index", "take", "caption"):
            assert one[name] == other[name]
        for name in ("world_to_camera", "intrinsics", "identity", "expression"):
            np.testing.assert_array_equal(one[name].numpy(), other[name].numpy())
        np.testing.assert_array_equal(one["alpha"].numpy(), other["alpha"].numpy())
        error = (one["rgb"] - other["rgb"]) * one["alpha"]
        assert (error**2).sum() / (3 * one["alpha"].sum()) < 10**-3.5
        if not portraits:
            assert (one["depth"] - other["depth"]).abs().max() < 0.51 * DEPTH_UNIT
            np.testing.assert_array_equal(one["segmentation"].numpy(), other["segmentation"].numpy())
        else:
            assert "depth" not in other


def test_no_file_is_larger_than_allowed(folder, tmp_path):
    paths = write_pack(folder, tmp_path, limit=40_000)
    assert len(paths) > 2 and max(path.stat().st_size for path in paths) <= 40_000
    assert [item["index"] for item in (PackedHeads(tmp_path)[i] for i in range(22))] == [i // 2 for i in range(22)]


def test_packing_twice_gives_the_same_bytes(folder, pack, tmp_path):
    (again,) = write_pack(folder, tmp_path)
    assert again.read_bytes() == (pack / again.name).read_bytes()
    with pytest.raises(ValueError, match="another folder"):
        write_pack(folder, tmp_path)


def test_the_reader_is_one_file_that_needs_nothing_of_ours(pack, tmp_path):
    shutil.copy(packed.__file__, tmp_path / "carried.py")
    code = (
        f"from carried import PackedHeads; heads = PackedHeads({str(pack)!r}); print(len(heads), heads[0]['rgb'].shape)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "22 torch.Size([2, 3, 64, 64])\n"
    assert "synthetic_data" not in Path(packed.__file__).read_text()
