"""The cost of a set is said before it is rendered."""

import dataclasses
from pathlib import Path

import pytest

from synthetic_data.config import DatasetConfig
from synthetic_data.farm import Workers
from synthetic_data.plan import estimate, human_bytes, probe
from tests.synthetic_data import standin

PLAIN = DatasetConfig(count=100, size=128, views=8, portraits=0)


def seconds(**changes):
    return estimate(dataclasses.replace(PLAIN, **changes), 100, Workers(1)).core_seconds


def test_more_of_anything_costs_more():
    assert seconds() < seconds(views=9) < seconds(views=9, samples=16) < seconds(views=9, samples=16, takes=2)
    assert seconds() < seconds(size=256)


def test_portraits_of_a_small_set_show_people_who_are_there_already():
    small, large = (seconds(portraits=1, size=size) - seconds(size=size) for size in (128, 256))
    assert 100 * 0.3 < small < 100 * 1.5 < large
    assert small < seconds(views=0, portraits=1) - 100
    assert seconds(preset="portrait") < 2 * seconds(), "small pictures show nothing of what would cost more"


def test_hours_are_those_of_all_workers_and_bytes_of_all_people():
    one, eight = (estimate(PLAIN, 100, Workers(count)) for count in (1, 8))
    assert eight.core_seconds == one.core_seconds and eight.seconds < one.seconds / 5
    half = estimate(PLAIN, 50, Workers(1))
    assert half.bytes == pytest.approx(one.bytes / 2) and half.views == 400
    assert str(one).startswith("100 identities, 800 views: ") and "from a table" in str(one)


def test_a_probe_measures(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # the spawned worker finds the stand-in, too
    config = standin.config(count=20, identities_per_shard=5)
    found = probe(config, 20, Workers(1), 2, renderer=standin.render)
    assert found.probed and found.identities == 20 and found.views == 60 and found.bytes > 0
    assert "measured with a few identities" in str(found)


def test_bytes_are_said_as_people_say_them():
    assert [human_bytes(n) for n in (12, 1500, 2e6, 3.21e9, 4e12)] == [
        "12 bytes", "1.5 kB", "2.0 MB", "3.2 GB", "4.0 TB",
    ]  # fmt: skip
