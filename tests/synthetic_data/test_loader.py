"""What was rendered is what training sees."""

import json

import numpy as np
import pytest
import torch
import webdataset
from torch.utils.data import DataLoader

from backend.errors import MaquetteError
from synthetic_data.loader import Heads, HeadStream, Selection
from synthetic_data.reader import DataSet, Person
from synthetic_data.record import DEPTH_UNIT, planned_views
from synthetic_data.shards import open_folder, render_shard, shard_path
from tests.synthetic_data import standin

ALL = Selection(("rgba", "depth", "normal", "segmentation", "uv"), ("view", "portrait"), check=True)


@pytest.fixture
def folder(tmp_path):
    config = standin.config(takes=2, passes=ALL.passes)
    open_folder(tmp_path, config)
    for shard in range(config.shards):
        render_shard(config, shard, tmp_path, standin.render)
    return tmp_path


def test_an_item_is_what_was_drawn_within_the_rounding_of_its_files(folder):
    config = DataSet.open(folder).config
    heads = Heads(folder, ALL)
    assert len(heads) == 22
    for number in (0, 7, 21):
        item, (index, take) = heads[number], divmod(number, 2)
        assert (item["index"], item["take"], item["caption"]) == (index, take, f"ball {index}")
        for k, view in enumerate(planned_views(config, index, take)):
            drawn = standin.draw(view.camera, index + 1000 * take)
            shown = {name: item[name][k].permute(1, 2, 0).numpy() for name in ("rgb", "alpha", "depth", "normal", "uv")}
            assert np.abs(shown["rgb"] - drawn["rgba"][..., :3]).max() <= 0.5 / 255 + 1e-6
            np.testing.assert_array_equal(shown["alpha"], drawn["rgba"][..., 3:])
            assert np.abs(shown["depth"][..., 0] - drawn["depth"]).max() <= 0.51 * DEPTH_UNIT
            assert np.abs(shown["normal"] - drawn["normal"]).max() <= 1.01 / 255
            np.testing.assert_allclose(shown["uv"], drawn["uv"], atol=1e-5)
            np.testing.assert_array_equal(item["segmentation"][k, 0].numpy(), drawn["segmentation"])
            np.testing.assert_allclose(item["world_to_camera"][k].numpy(), view.camera.world_to_camera, atol=1e-6)
            np.testing.assert_allclose(item["intrinsics"][k].numpy(), view.camera.intrinsics, rtol=1e-6)
            np.testing.assert_allclose(
                item["pixels"][k].numpy(), view.camera.project(item["points"].numpy()), atol=1e-4
            )


def test_depth_and_cameras_agree_with_the_conventions_of_the_backend(folder):
    person = Person.read(DataSet.open(folder).find(3))
    for view in person.views:
        depth = person.picture(view, "depth")
        row, column = np.nonzero(depth)
        points = view.camera.unproject(np.stack([column, row], -1) + 0.5, depth[row, column])
        assert np.median(np.abs(np.linalg.norm(points, axis=1) - standin.RADIUS)) < DEPTH_UNIT


def keys(items):
    return [(int(item["index"]), int(item["take"])) for item in items]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_holds_everything_once(folder, workers):
    loader = DataLoader(HeadStream(folder, seed=1, buffer=4), batch_size=None, num_workers=workers)
    found = keys(loader)
    assert sorted(found) == [(index, take) for index in range(11) for take in range(2)]


def test_ranks_share_the_shards(folder):
    parts = [keys(HeadStream(folder, seed=5, rank=rank, world=2)) for rank in range(2)]
    assert not set(parts[0]) & set(parts[1]) and len(parts[0] + parts[1]) == 22


def test_a_seed_and_an_epoch_give_an_order(folder):
    plain, one, two = HeadStream(folder), HeadStream(folder, seed=1, buffer=5), HeadStream(folder, seed=1, buffer=5)
    assert keys(plain) == sorted(keys(plain))
    assert keys(one) == keys(two) != keys(plain)
    two.set_epoch(1)
    assert keys(one) != keys(two) and sorted(keys(one)) == sorted(keys(two))


def test_a_selection_chooses_passes_and_views(folder):
    item = Heads(folder, Selection(("depth",), ("portrait",)))[3]
    assert item["depth"].shape == (1, 1, 24, 24) and "rgb" not in item
    assert Heads(folder, Selection(views=1))[3]["rgb"].shape == (1, 3, 24, 24)
    assert Heads(folder)[3]["alpha"].dtype == torch.float32
    with pytest.raises(MaquetteError, match="depth_of_field"):
        Heads(folder, Selection(("depth_of_field",)))[0]


def test_a_shard_cut_short_is_named(folder):
    path = shard_path(folder, 2)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(MaquetteError, match=r"shard-000002\.tar is cut short: run 'maquette dataset verify --repair"):
        Heads(folder)


def test_a_shard_cut_while_it_is_read_is_named(folder):
    stream = HeadStream(folder, ALL)
    path = shard_path(folder, 1)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(MaquetteError, match=r"shard-000001\.tar is cut short"):
        list(stream)


def test_a_flipped_bit_is_found_when_it_is_looked_for(folder):
    member = DataSet.open(folder).find(0).members["t0v00.depth.png"]
    path = shard_path(folder, 0)
    data = bytearray(path.read_bytes())
    data[member.offset + member.size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(MaquetteError, match="damaged"):
        Heads(folder, ALL)[0]


def test_a_set_that_is_not_finished_is_not_trained_on(folder):
    shard_path(folder, 3).with_suffix(".json").unlink()
    with pytest.raises(MaquetteError, match="not finished"):
        Heads(folder)
    assert len(list(DataSet.open(folder, partial=True).entries())) == 9


def test_identities_that_failed_are_left_out(tmp_path):
    config = standin.config()
    open_folder(tmp_path, config)
    for shard in range(config.shards):
        render_shard(config, shard, tmp_path, standin.faulty)
    assert [entry.index for entry in DataSet.open(tmp_path).entries()] == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]


def test_webdataset_itself_reads_a_shard_person_by_person(folder):
    people = list(webdataset.WebDataset(str(shard_path(folder, 0)), shardshuffle=False))
    assert [person["__key__"] for person in people] == ["0000000", "0000001", "0000002"]
    for entry, person in zip(DataSet.open(folder).entries(), people, strict=False):
        assert json.loads(person["identity.json"])["index"] == entry.index
        assert person["t0v00.rgba.png"] == entry.read("t0v00.rgba.png", check=True)
