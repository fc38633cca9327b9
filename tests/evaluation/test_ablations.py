"""Every variant is trained and measured alike, and a killed run goes on."""

import json

import pytest

from backend.cli import main
from backend.evaluation.ablations import VARIANTS
from tests.training.test_cli import SMALL


@pytest.fixture(scope="module")
def stages(ball_pack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablations")
    encoders = {"size": 16, "picture": 32, "widths": [8, 8], "text_width": 16, "buckets": 64}
    model = {"size": 16, "channels": 8, "widths": [16, 24], "blocks": [1, 1], "embedding": 32, "picture": 64}
    sizes = {"latent_size": 16, "tokens": 32, "feature_channels": 8}
    recipes = {
        "planes": SMALL | {"visits": 2},
        "latent": {"model": encoders, "steps": 2, "batch": 3},
        "base": {"model": model | sizes, "batch": 2, "points": 300, "rays": 32, "rate": 2e-2, "warm_up": 1},
    }
    for name, recipe in recipes.items():
        (folder / f"{name}.json").write_text(json.dumps(recipe))
    for stage in ("planes", "latent"):
        given = ["--data", str(ball_pack), "--out", str(folder), "--config", str(folder / f"{stage}.json")]
        assert main(["train", stage, *given]) == 0
    return folder


def ablate(ball_pack, stages, out, *more):
    recipes = ["--config", str(stages / "base.json"), "--planes", str(stages / "planes.json")]
    given = ["--data", str(ball_pack), "--stages", str(stages), "--steps", "4", "--unseen", "2"]
    return main(["evaluate", "ablations", *given, *recipes, "--out", str(out), *more])


@pytest.mark.slow
def test_all_variants_make_a_table_and_a_sheet(ball_pack, stages, tmp_path, capsys):
    assert ablate(ball_pack, stages, tmp_path) == 0
    rows = json.loads((tmp_path / "ablations.json").read_text())["rows"]
    assert set(rows) == set(VARIANTS)
    assert all(3 < row["psnr"] < 40 and 0 < row["ssim"] < 1 for row in rows.values())
    assert rows["concatenated"]["parameters"] != rows["full"]["parameters"]
    assert len({row["psnr"] for row in rows.values()}) >= 5, "variants are different networks"
    assert (tmp_path / "ablations.png").stat().st_size > 0
    before = (tmp_path / "ablations.json").read_text()
    (tmp_path / "whole" / "figures.json").unlink()
    assert ablate(ball_pack, stages, tmp_path) == 0
    assert (tmp_path / "ablations.json").read_text() == before, "from its last state the variant gives the same row"


def test_variants_that_do_not_exist_are_refused(ball_pack, stages, tmp_path, capfd):
    assert ablate(ball_pack, stages, tmp_path, "--only", "full,everything_else") == 2
    assert "There is no variant everything_else" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--data", "nothing"), "holds no packed set"),
        (("--stages", "nothing"), "train the stage 'planes' first"),
        (("--unseen", "500"), "nobody to learn from"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_written(ball_pack, stages, tmp_path, capfd, given, sentence):
    assert ablate(ball_pack, stages, tmp_path / "out", *given) == 2
    assert sentence in capfd.readouterr().err and not (tmp_path / "out").exists()
