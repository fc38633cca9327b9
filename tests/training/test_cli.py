"""``maquette train``: stages that go on after a stop, and refusals in one sentence."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from backend.body_model.anny import load_anny
from backend.cli import main
from backend.evaluation.baselines import BaselineConfig, load_baselines
from backend.evaluation.judges import load_classifier, load_verifier
from backend.radiance.canonical import Fovea
from backend.radiance.decoder import CLASSES, DecoderConfig
from backend.rodin.weights import load_rodin, save_rodin
from backend.training.base_stage import BaseStageConfig
from backend.training.judge_stage import JudgeStageConfig
from backend.training.latent_stage import LatentStageConfig
from backend.training.morphable_stage import MorphableStageConfig
from backend.training.parser_stage import ParserStageConfig
from backend.training.plane_set import PlaneSetConfig
from backend.training.prior_stage import PriorStageConfig
from backend.training.recipes import FOLDER, build, read_recipe
from backend.training.upsampler_stage import UpsamplerStageConfig

ROOT = Path(__file__).parents[2]
SMALL = {
    "decoder": {"channels": 8, "density_channels": 4, "width": 16, "classes": 6},
    "levels": [8, 16], "visits": 4, "heads_per_step": 3, "points": 300, "rays": 32, "ray_samples": 8,
    "rescale_sizes": [8],
}  # fmt: skip


@pytest.mark.slow
def test_all_stages_from_the_command_line(ball_pack, tmp_path, capfd):
    recipe, latent, prior, base = (tmp_path / f"{name}.json" for name in ("planes", "latent", "prior", "base"))
    recipe.write_text(json.dumps(SMALL))
    model = {"size": 16, "channels": 8, "widths": [16, 24], "blocks": [1, 1], "embedding": 32, "picture": 64}
    sizes = {"latent_size": 16, "tokens": 32, "feature_channels": 8}
    base.write_text(json.dumps({"model": model | sizes, "steps": 3, "batch": 2, "points": 300, "rays": 32}))
    encoders = {"size": 16, "picture": 32, "widths": [8, 8], "text_width": 16, "buckets": 64}
    latent.write_text(json.dumps({"model": encoders, "steps": 3, "batch": 3}))
    prior.write_text(json.dumps({"model": {"width": 16, "blocks": 1}, "steps": 3, "batch": 4, "texts": 2, "points": 2}))
    given = ["--data", str(ball_pack), "--out", str(tmp_path / "run")]
    assert main(["train", "planes", "--config", str(recipe), *given]) == 0
    assert main(["train", "base", "--config", str(base), *given]) == 2
    assert "train the stage 'latent' first" in capfd.readouterr().err
    assert main(["train", "latent", "--config", str(latent), *given]) == 0
    assert main(["train", "base", "--config", str(base), *given]) == 0
    weights = tmp_path / "run" / "rodin.safetensors"
    assert load_rodin(weights, load_anny()).prior is None
    assert main(["train", "prior", "--config", str(prior), *given]) == 0
    said = capfd.readouterr().out
    assert "step 3/3" in said and f"Added to {weights}" in said
    assert "portrait to caption, heads not learned from" in said
    for name in ("planes/planes.safetensors", "planes/curve.jsonl", "latent/figures.json", "prior/figures.json"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    for stage in ("planes", "latent", "prior", "base"):
        assert (tmp_path / "run" / stage / "samples.png").stat().st_size > 0
    rodin = load_rodin(weights, load_anny())
    assert rodin.prior is not None and rodin.latent_space().size == 16
    assert main(["train", "base", "--config", str(base), *given]) == 0, "finished: nothing to do, and said so"
    assert load_rodin(weights, load_anny()).prior is not None
    go_on_with_others(tmp_path, ball_pack, weights)
    enlarge(tmp_path, given)
    whole = load_rodin(weights, load_anny())
    assert whole.prior is not None and whole.upsampler is not None and whole.upsampler.config.size == 32


def go_on_with_others(tmp_path, ball_pack, weights):
    """Finished weights learn from other heads: the decoder and what planes mean stay as they are."""
    given = ["--data", str(ball_pack), "--out", str(tmp_path / "more"), "--weights", str(weights), "--heads", "4"]
    wide = tmp_path / "wide.json"
    wide.write_text(json.dumps(SMALL | {"levels": [8, 32]}))
    assert main(["train", "planes", "--config", str(wide), *given]) == 2, "planes of another size"
    elsewhere = tmp_path / "elsewhere.safetensors"
    save_rodin(elsewhere, dataclasses.replace(load_rodin(weights, load_anny()), fovea=Fovea()))
    assert main(["train", "planes", *given, "--weights", str(elsewhere)]) == 2, "planes that lie otherwise"
    assert main(["train", "planes", "--config", str(tmp_path / "planes.json"), *given]) == 0
    assert main(["train", "base", "--config", str(tmp_path / "base.json"), *given]) == 0
    before, after = (load_rodin(path, load_anny()) for path in (weights, tmp_path / "more" / "rodin.safetensors"))
    assert all(map(torch.equal, before.decoder.state_dict().values(), after.decoder.state_dict().values()))
    assert torch.equal(before.mean, after.mean) and torch.equal(before.spread, after.spread)
    assert after.prior is not None and after.latent is not None
    moved = [not torch.equal(a, b) for a, b in zip(before.base.parameters(), after.base.parameters(), strict=True)]
    assert any(moved)
    apart = [(a - b).abs().max() for a, b in zip(before.base.parameters(), after.base.parameters(), strict=True)]
    assert max(apart) < 0.02, "three steps from there, not from nothing"


def enlarge(tmp_path, given):
    large, upsampler = tmp_path / "large.json", tmp_path / "upsampler.json"
    large.write_text(json.dumps(SMALL | {"levels": [16, 32], "visits": 1}))
    model = {"size": 32, "low": 16, "channels": 8, "widths": [16, 24], "blocks": [1, 1], "embedding": 32}
    upsampler.write_text(json.dumps({"model": model, "steps": 2, "batch": 2, "points": 300, "rays": 32}))
    assert main(["train", "upsampler", "--config", str(upsampler), *given]) == 2, "before 'large'"
    assert main(["train", "large", "--config", str(large), *given, "--heads", "3"]) == 0
    assert main(["train", "upsampler", "--config", str(upsampler), *given]) == 0


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
        (["--config", "gigantic"], "There is no recipe gigantic: choose one of base, paper, small"),
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


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("planes", PlaneSetConfig),
        ("latent", LatentStageConfig),
        ("prior", PriorStageConfig),
        ("base", BaseStageConfig),
        ("large", PlaneSetConfig),
        ("upsampler", UpsamplerStageConfig),
        ("judges", JudgeStageConfig),
        ("baselines", BaselineConfig),
        ("morphable", MorphableStageConfig),
        ("parser", ParserStageConfig),
    ],
)
def test_shipped_recipes_are_read(stage, kind):
    names = {path.stem.removeprefix(f"{stage}-") for path in FOLDER.glob(f"{stage}-*.json")}
    assert names >= {"small", "base"} and all(read_recipe(kind, stage, name) for name in names)


def test_the_stages_of_a_size_fit_together():
    for size in ("small", "base", "paper"):
        planes, large = (read_recipe(PlaneSetConfig, stage, size) for stage in ("planes", "large"))
        base = read_recipe(BaseStageConfig, "base", size).model
        upsampler = read_recipe(UpsamplerStageConfig, "upsampler", size).model
        assert planes.levels[-1] == large.levels[0] == base.size == upsampler.low
        assert large.levels[-1] == upsampler.size
        assert planes.decoder.channels == base.channels == upsampler.channels
        assert planes.decoder.classes == len(CLASSES)
        assert read_recipe(LatentStageConfig, "latent", size).model.size == base.latent_size
    assert planes.decoder == dataclasses.replace(DecoderConfig.paper(), classes=len(CLASSES))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_stops_between_steps_with_everything_saved(ball_pack, tmp_path):
    recipe, out = tmp_path / "latent.json", tmp_path / "run"
    model = {"size": 16, "picture": 32, "widths": [8, 8], "text_width": 16, "buckets": 64}
    recipe.write_text(json.dumps({"model": model, "steps": 100_000, "batch": 2}))
    command = [sys.executable, "-m", "backend", "train", "latent", "--config", str(recipe), "--out", str(out)]
    run = subprocess.Popen(
        [*command, "--data", str(ball_pack)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert run.stdout is not None and "6 heads" in run.stdout.readline()
    time.sleep(2)
    run.send_signal(signal.SIGINT)
    said, complaint = run.communicate(timeout=60)
    assert run.returncode != 0 and "once more to stop at once" in said
    assert "of 100000: the same command goes on." in complaint and "Traceback" not in complaint
    assert (out / "latent" / "state.safetensors").stat().st_size > 1000


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (["--device", "gpu"], "This computer has no device 'gpu'"),
        (["--heads", "0"], "'0' is no number from 1 upwards"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(ball_pack, tmp_path, capfd, option, sentence):
    given = ["--data", str(ball_pack), "--out", str(tmp_path / "run")]
    assert main(["train", "latent", *given, *option]) == 2
    assert sentence in capfd.readouterr().err


def test_another_recipe_is_refused_in_one_sentence(ball_pack, tmp_path, capfd):
    recipe = tmp_path / "latent.json"
    given = ["--config", str(recipe), "--data", str(ball_pack), "--out", str(tmp_path / "run")]
    model = {"size": 16, "picture": 32, "widths": [8, 8], "text_width": 16, "buckets": 64}
    for steps, code in ((1, 0), (2, 2)):
        recipe.write_text(json.dumps({"model": model, "steps": steps, "batch": 2}))
        assert main(["train", "latent", *given]) == code
    assert "was made with another recipe: choose another folder." in capfd.readouterr().err


def test_recipes_nest_and_refuse_what_they_do_not_know():
    config = build(PlaneSetConfig, {"levels": [8], "decoder": {"width": 32}})
    assert config.levels == (8,) and config.decoder.width == 32
    with pytest.raises(ValueError, match="DecoderConfig has no wide"):
        build(PlaneSetConfig, {"decoder": {"wide": 3}})
