"""A set of coloured balls, packed: every label of it is known."""

import pytest

from backend.body_model.anny import load_anny
from backend.training.bank import load_bank
from synthetic_data.pack import write_pack
from synthetic_data.shards import open_folder, render_shard
from tests.synthetic_data import standin


@pytest.fixture(scope="session")
def ball_pack(tmp_path_factory):
    folder, config = tmp_path_factory.mktemp("balls"), standin.config(count=6, size=64, views=6, portraits=2)
    open_folder(folder, config)
    for shard in range(config.shards):
        render_shard(config, shard, folder, standin.render)
    write_pack(folder, folder / "pack")
    return folder / "pack"


@pytest.fixture(scope="session")
def balls(ball_pack):
    return load_bank(ball_pack, load_anny())
