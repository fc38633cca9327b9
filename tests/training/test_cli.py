"""``maquette train``: stages that go on after a stop, and refusals in one sentence."""

import json

import pytest

from backend.cli import main
from backend.evaluation.baselines import BaselineConfig, load_baselines
from backend.evaluation.judges import load_classifier, load_verifier
from backend.training.judge_stage import JudgeStageConfig
from backend.training.plane_set import PlaneSetConfig
from backend.training.recipes import FOLDER, build, read_recipe

SMALL = {
    "decoder": {"channels": 8, "density_channels": 4, "width": 16, "classes": 6},
    "levels": [8, 16], "visits": 4, "heads_per_step": 3, "points": 300, "rays": 32, "ray_samples": 8,
    "rescale_sizes": [8],
}  # fmt: skip


@pytest.mark.slow
def test_planes_then_base_from_the_command_line(ball_pack, tmp_path, capsys):
    recipe, base = tmp_path / "planes.json", tmp_path / "base.json"
    recipe.write_text(json.dumps(SMALL))
    model = {"size": 16, "channels": 8, "widths": [16, 24], "blocks": [1, 1], "embedding": 32, "picture": 64}
    sizes = {"latent_size": 16, "tokens": 32, "feature_channels": 8}
    base.write_text(json.dumps({"model": model | sizes, "steps": 3, "batch": 2, "points": 300, "rays": 32}))
    given = ["--data", str(ball_pack), "--out", str(tmp_path / "run")]
    assert main(["train", "planes", "--config", str(recipe), *given]) == 0
    assert main(["train", "base", "--config", str(base), *given]) == 0
    said = capsys.readouterr().out
    assert "dB on 3 views" in said and "step 3/3" in said
    for name in ("planes/planes.safetensors", "planes/samples.png", "planes/curve.jsonl", "base/samples.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0


@pytest.mark.slow
def test_judges_and_baselines_from_the_command_line(ball_pack, tmp_path, capsys):
    recipes = {"planes": SMALL | {"visits": 1}, "judges": {"model": {"widths": [8, 16]}, "steps": 2, "heads": 3}}
    for stage, recipe in recipes.items():
        (tmp_path / f"{stage}.json").write_text(json.dumps(recipe))
        given = ["--data", str(ball_pack), "--out", str(tmp_path), "--config", str(tmp_path / f"{stage}.json")]
        assert main(["train", stage, *given]) == 0
    assert main(["train", "baselines", "--data", str(ball_pack), "--out", str(tmp_path)]) == 0
    assert "of the variance of 6 heads" in capsys.readouterr().out
    assert load_verifier(tmp_path / "verifier.safetensors").config.widths == (8, 16)
    assert load_classifier(tmp_path / "classifier.safetensors").vocabulary == {"sex": ["female", "male"]}
    assert len(load_baselines(tmp_path / "baselines.safetensors").coefficients) == 6


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config", "gigantic"], "There is no recipe gigantic: choose one of small"),
        (["--config", "{tmp}/broken.json"], "is not a recipe of this stage: PlaneSetConfig has no stepz"),
        ([], "nothing cannot be read: "),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_sentence(arguments, sentence, tmp_path, capfd):
    (tmp_path / "broken.json").write_text('{"stepz": 3}')
    arguments = [word.format(tmp=tmp_path) for word in arguments]
    given = ["--data", str(tmp_path / "nothing"), "--out", str(tmp_path / "run")]
    assert main(["train", "planes", *arguments, *given]) == 2
    assert sentence in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_shipped_recipes_are_read():
    for stage, kind in (("planes", PlaneSetConfig), ("judges", JudgeStageConfig), ("baselines", BaselineConfig)):
        found = [read_recipe(kind, stage, str(path)) for path in FOLDER.glob(f"{stage}-*.json")]
        assert found, stage


def test_recipes_nest_and_refuse_what_they_do_not_know():
    config = build(PlaneSetConfig, {"levels": [8], "decoder": {"width": 32}})
    assert config.levels == (8,) and config.decoder.width == 32
    with pytest.raises(ValueError, match="DecoderConfig has no wide"):
        build(PlaneSetConfig, {"decoder": {"wide": 3}})
