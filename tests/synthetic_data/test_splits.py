"""The test protocol is frozen, and a set's description is all that decides it."""

import dataclasses

import numpy as np
import pytest

from backend.errors import MaquetteError
from backend.radiance.cameras import Camera
from synthetic_data import splits
from synthetic_data.cameras import orbit_rig
from synthetic_data.cli import main
from synthetic_data.config import DatasetConfig
from synthetic_data.splits import measured_views, protocol, split


def test_nobody_is_in_two_splits():
    people = {name: {(split(name).seed, i) for i in range(split(name).first, split(name).first + split(name).count)}
              for name in protocol()["splits"]}  # fmt: skip
    assert not people["train"] & people["held-out"]
    assert len(people["held-out"]) == 100 and split("held-out").seed == 9001


def test_the_rig_of_today_is_the_frozen_one():
    frozen, crop = protocol()["cameras"], protocol()["crop"]
    assert len(measured_views()) == split("held-out").views == 24
    for size in protocol()["sizes"]:
        for camera, view in zip(orbit_rig(size, 24), measured_views(), strict=True):
            expected = Camera.orbit(
                view["azimuth"],
                view["elevation"],
                distance=frozen["distance"],
                fov_degrees=frozen["fov_degrees"],
                size=size,
                target=tuple(crop["target"]),
            )
            np.testing.assert_allclose(camera.world_to_camera, expected.world_to_camera, atol=1e-6)
            np.testing.assert_allclose(camera.intrinsics, expected.intrinsics, atol=1e-9)


def test_other_people_than_the_frozen_ones_are_refused(monkeypatch):
    changed = {**protocol(), "frozen": {**protocol()["frozen"], "distributions_digest": "0" * 64}}
    monkeypatch.setattr(splits, "protocol", lambda: changed)
    with pytest.raises(ValueError, match="distributions digest"):
        split("held-out")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="only train, held-out"):
        split("validation")


def test_freezing_writes_what_this_package_makes():
    data, config = splits.freeze(), DatasetConfig()
    assert data["frozen"] == {
        "schema_version": config.schema_version,
        "looks_version": config.looks_version,
        "distributions_digest": config.distributions_digest,
    }
    assert data["cameras"]["views"] == measured_views()


def test_a_description_survives_json_and_every_field_counts():
    config = DatasetConfig()
    assert DatasetConfig.from_json(config.to_json()) == config
    others = {
        "name": "x", "seed": 2, "first": 5, "count": 7, "preset": "show", "size": 64, "views": 3, "portraits": 0,
        "takes": 2, "passes": ("uv",), "samples": 1, "portrait_samples": 1, "identities_per_shard": 3,
        "distributions_digest": "0", "schema_version": 99, "looks_version": 99,
    }  # fmt: skip
    assert others.keys() == {field.name for field in dataclasses.fields(config)}
    digests = {dataclasses.replace(config, **{name: value}).digest for name, value in others.items()}
    assert len(digests | {config.digest}) == 1 + len(others)


NO_DESCRIPTIONS = (
    "",
    "{}",
    "[]",
    "null",
    '{"passes": 3}',
    '{"passes": [], "colour": 1}',
    '{"passes": [], "size": "1"}',
    "\n".join(line for line in DatasetConfig().to_json().splitlines() if "looks_version" not in line),
)


@pytest.mark.parametrize("text", NO_DESCRIPTIONS)
def test_another_text_is_no_description(text):
    with pytest.raises(ValueError):
        DatasetConfig.from_json(text)


def test_shards_cover_every_identity_once():
    config = DatasetConfig(first=7, count=130, identities_per_shard=64)
    assert [i for shard in range(config.shards) for i in config.indices(shard)] == list(range(7, 137))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "required: COMMAND"),
        (["conjure"], "invalid choice: 'conjure'"),
        (["render", "--identities", "0:2"], "required: --out"),
        (["plan", "--identities", "5"], "'5' is no range"),
        (["plan", "--identities", "5:5"], "'5:5' is no range"),
        (["plan", "--seed", "-1"], "Seed is -1"),
        (["plan", "--seed", "x"], "invalid int"),
        (["plan", "--resolution", "8"], "Size is 8"),
        (["plan", "--preset", "magic"], "no preset 'magic'"),
        (["plan", "--passes", "rgba,albedo"], "no pass 'albedo'"),
        (["plan", "--views", "0", "--portraits", "0"], "at least one view"),
        (["plan", "--name", "../x"], "plain word"),
        (["plan", "--workers", "-2"], "--workers must be"),
        (["plan", "--threads", "0"], "--threads must be"),
        (["plan", "--shards", "0:900"], "shards, from 0 to"),
        (["plan", "--split", "validation"], "no split 'validation'"),
        (["plan", "--split", "train", "--seed", "3"], "frozen"),
        (["resume", "FOLDER"], "holds no data set"),
        (["verify", "FOLDER"], "holds no data set"),
        (["preview", "FOLDER"], "holds no data set"),
        (["pack", "FOLDER", "--out", "FOLDER"], "holds no data set"),
        (["export", "FOLDER", "--identity", "0", "--out", "FOLDER"], "holds no data set"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(arguments, sentence, tmp_path):
    with pytest.raises(MaquetteError) as caught:
        main([str(tmp_path) if argument == "FOLDER" else argument for argument in arguments])
    message = caught.value.message
    assert sentence in message and message.endswith(".") and "\n" not in message and ". " not in message
    assert list(tmp_path.iterdir()) == []


def test_a_plan_says_hours_and_bytes(capsys):
    main(["plan", "--split", "train", "--workers", "2"])
    said = capsys.readouterr().out
    assert "3000 identities, 30000 views" in said and "core-hours" in said and "GB" in said
