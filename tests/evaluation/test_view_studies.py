"""Variants of Morphable Diffusion are trained alike, measured together, and a killed run goes on."""

import json

import pytest

from backend.cli import main
from backend.evaluation.view_studies import variants
from backend.training.morphable_stage import MorphableStageConfig
from tests.morphable.conftest import TINY
from tests.synthetic_data import standin


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """One to learn from, another to measure with."""
    sizes = {"size": 32, "views": 4, "portraits": 1, "takes": 2}
    known = standin.pack(tmp_path_factory.mktemp("known"), count=3, **sizes)
    return known, standin.pack(tmp_path_factory.mktemp("unseen"), count=1, seed=5, **sizes)


def study(packs, out, *more):
    model = {name: getattr(TINY, name) for name in TINY.__dataclass_fields__}
    recipe = out.parent / "recipe.json"
    recipe.write_text(json.dumps({"model": model, "batch": 2, "views": 3, "targets": 2, "warm_up": 1}))
    given = ["--data", str(packs[0]), "--unseen", str(packs[1]), "--config", str(recipe), "--sampling-steps", "1"]
    return main(["evaluate", "studies", *given, "--steps", "2", "--out", str(out), *more])


@pytest.mark.slow
def test_variants_make_one_table_and_what_is_trained_is_not_trained_again(packs, tmp_path, capfd):
    chosen = ("half_size", "fast")
    assert study(packs, tmp_path / "out", "--only", ",".join(chosen)) == 0
    path = tmp_path / "out" / "views.json"
    found = json.loads(path.read_text())
    assert set(found["rows"]) == {"copy", *chosen} and found["people"] == 1 and found["trained for"] == 2
    weights = {(tmp_path / "out" / name / "weights" / "model.safetensors").read_bytes() for name in chosen}
    assert len(weights) == 2, "variants are different networks"
    assert "fast: step 2/2" in capfd.readouterr().out
    assert study(packs, tmp_path / "out", "--only", "fast") == 0
    assert json.loads(path.read_text())["rows"]["fast"] == found["rows"]["fast"]
    assert "step 2/2" not in capfd.readouterr().out


def test_every_variant_is_another_recipe():
    recipe = MorphableStageConfig()
    table = variants(recipe)
    assert len({(str(v.recipe), str(v.model), v.pace) for v in table.values()}) == len(table)
    half = table["half_size"].model
    assert half["map_channels"] * 4 == recipe.model.map_channels and half["image_size"] * 2 == recipe.model.image_size


def test_variants_that_do_not_exist_are_refused(packs, tmp_path, capfd):
    assert study(packs, tmp_path / "out", "--only", "full,nothing") == 2
    assert "There is no variant nothing" in capfd.readouterr().err
