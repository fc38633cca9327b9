"""A set of coloured balls, packed: every label of it is known."""

import pytest

from backend.body_model.anny import load_anny
from backend.training.bank import load_bank
from tests.synthetic_data import standin


@pytest.fixture(scope="session")
def ball_pack(tmp_path_factory):
    return standin.pack(tmp_path_factory.mktemp("balls"), count=6, size=64, views=6, portraits=2)


@pytest.fixture(scope="session")
def balls(ball_pack):
    return load_bank(ball_pack, load_anny())
