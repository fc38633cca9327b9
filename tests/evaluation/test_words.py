"""What the suite asks can be known, its figures are counted right, and a killed run goes on."""

import dataclasses
import json
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from backend.cli import main
from backend.evaluation import words as suite
from backend.evaluation.asks import EDITS, PEOPLE, PROMPTS, Ask
from backend.evaluation.baselines import Baselines, save_baselines
from backend.evaluation.judges import Classifier, JudgeConfig, Verifier, save_judge
from backend.evaluation.word_figures import (
    all_edits,
    distribution,
    diversity,
    edit_figures,
    holds,
    prompt_figures,
    shown,
    summary,
)
from backend.evaluation.word_sheets import edits_sheet, prompts_sheet, samples_sheet
from backend.rodin.weights import save_rodin
from backend.rodin.words import words
from backend.training.prompts import Prompts, clauses_of, facts_of
from synthetic_data.captions import colour_name, hair_colour_name, skin_name
from synthetic_data.distributions import default_distributions
from tests.training.test_prompts import PLAIN

ASKS = [*PROMPTS, *EDITS]
EVERY = [(ask.words, name, values) for ask in ASKS for name, values in {**ask.of, **ask.asked}.items()]
MAN = {"sex": "male", "hair": "crop", "hair colour": "black", "headwear": "none", "beard": "none"}
RED = Ask("with red hair", {"hair colour": ("red", "auburn")})
BEARD = Ask("with a beard", {"beard": ("full",)}, of={"sex": ("male",)})


@pytest.fixture(scope="module")
def vocabulary():
    """All that `captions.attributes` can say of the people whom the rules can draw."""
    rules = default_distributions().rules

    def choices(rule):
        if isinstance(rule, str):
            return {rule}
        return (
            set(rule["choice"]) if "choice" in rule else {w for k, r in rule.items() if k != "by" for w in choices(r)}
        )

    steps = np.linspace(0, 1.5, 50)
    pigments: list[Any] = [SimpleNamespace(dye=0, melanin=m, redness=r) for m in steps for r in steps]
    return {
        "sex": {"male", "female"},
        "age": {"young", "middle", "old"},
        "skin": {skin_name(pigment) for pigment in pigments},
        "hair": choices(rules["hair"]["family"]),
        "hair colour": {hair_colour_name(pigment) for pigment in pigments},
        "beard": choices(rules["beard"]["style"]),
        "glasses": choices(rules["accessories"]["glasses"]),
        "headwear": choices(rules["accessories"]["headwear"]),
        "garment colour": {colour_name(colour) for _, colour in rules["palettes"]["cloth"]},
    }


def test_everything_that_is_asked_for_exists(vocabulary):
    for asked, name, values in EVERY:
        assert values and set(values) <= vocabulary[name], (asked, name)


def test_words_mean_what_the_encoders_were_taught():
    """Each attribute's values are those of which some text of the training is true."""
    for asked, name, values in EVERY:
        if name != "sex":
            told = {
                claim for value in values for c in clauses_of(facts_of(PLAIN | {name: value})) for claim in c.claims
            }
            assert (name, frozenset(values)) in told, (asked, name)


def test_all_words_are_known_as_a_whole():
    people = [PLAIN | {name: value} for _, name, values in EVERY for value in values]
    known = set(Prompts(["a person"] * len(people), people).vocabulary())
    for text in [*(ask.words for ask in ASKS), *PEOPLE]:
        assert set(words(text)) <= known, text


def test_what_hats_and_bald_heads_hide_holds_of_nobody():
    assert holds(MAN | {"hair colour": "auburn"}, RED.asked)
    assert not holds(MAN | {"hair colour": "red", "headwear": "beanie"}, RED.asked)
    assert not holds(MAN | {"hair colour": "red", "hair": "bald"}, RED.asked)
    assert shown(MAN, "hair") and not shown(MAN, "glasses")


def test_a_prompt_is_heeded_when_all_of_it_is_true():
    ask = Ask("a man with red hair", {"sex": ("male",), **RED.asked})
    people = [MAN | {"hair colour": "red"}, MAN, MAN | {"sex": "female", "hair colour": "red"}, MAN]
    found = prompt_figures(ask, people, [MAN])
    assert found["true"] == 0.25 and found["true_by_chance"] == 0
    assert found["attributes"] == {"sex": 0.75, "hair colour": 0.5}
    assert prompt_figures(ask, people, [])["true_by_chance"] is None


def test_an_edit_counts_where_it_was_not_true_before():
    before = [MAN, MAN, MAN | {"hair colour": "red"}]
    after = [MAN | {"hair colour": "auburn"}, MAN | {"beard": "full", "hair": "quiff"}, MAN]
    found = edit_figures(RED, before, after)
    assert found["asked_of"] == [True, True, False]
    assert found["changed_counts"] == [1, 2] and found["changed"] == 0.5
    assert found["kept_counts"] == [6, 8], "four other attributes of two people, of which beard and hair have changed"


def test_nobody_asks_a_woman_for_a_beard_and_what_is_hidden_is_not_lost():
    before = [MAN | {"sex": "female"}, MAN]
    after = [before[0] | {"beard": "full"}, MAN | {"beard": "full", "headwear": "turban", "hair": "bald"}]
    found = edit_figures(BEARD, before, after)
    assert found["changed_counts"] == [1, 1] and found["kept_counts"] == [1, 2], "sex stays, headwear does not"
    nobody = edit_figures(BEARD, before[:1], after[:1])
    assert nobody["changed"] is None and nobody["kept"] is None
    assert all_edits([found, nobody]) == {"changed": 1.0, "kept": 0.5}
    assert all_edits([nobody]) == {"changed": None, "kept": None}
    text = summary({"edits": {"edits": [nobody], **all_edits([found]), "goal": 0.8}})
    assert text == "with a beard: changed -, kept -\nall edits: changed 100%, kept 50% (goal: 80% each)"


def test_people_who_are_alike_have_no_diversity():
    one, other = torch.eye(2)
    assert diversity(torch.stack([one, one, one])) == pytest.approx(0)
    assert diversity(torch.stack([one, one, other])) == pytest.approx(2 / 3)
    assert distribution([MAN, MAN, MAN | {"beard": "full"}])["beard"] == {"none": 2 / 3, "full": 1 / 3}


def test_sheets_show_everybody():
    views = np.zeros((3, 32, 32, 3), np.float32)
    assert samples_sheet([views] * 5).shape == (64, 4 * 96, 3)
    assert prompts_sheet(["a", "b"], [[views] * 2] * 2).shape == (2 * 48, 2 * 64, 3)
    assert edits_sheet(["bald"], [[views] * 2] * 3).shape == (16 + 3 * 32, 2 * 48, 3)


@pytest.fixture(scope="module")
def weights(rodin, vocabulary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_rodin(folder / "rodin.safetensors", rodin)
    torch.manual_seed(0)
    save_judge(folder / "verifier.safetensors", Verifier(JudgeConfig((8, 8), 8)))
    words_of = {name: sorted(values) for name, values in vocabulary.items()}
    save_judge(folder / "classifier.safetensors", Classifier(JudgeConfig((8, 8), 8), words_of))
    components = torch.randint(-127, 127, (2, 3, 8, 16, 16), dtype=torch.int8)
    ridge = torch.zeros(2, 4), torch.arange(2), torch.zeros(5, 2)
    learned = Baselines(rodin.mean, components, torch.full((2,), 0.01), torch.randn(2, 2), *ridge, rodin.decoder)
    save_baselines(folder / "baselines.safetensors", learned)
    return folder / "rodin.safetensors"


@pytest.fixture
def quick(monkeypatch):
    """Few and small people."""
    changes = {"SIZE": 32, "SAMPLES": range(2), "PROMPT_SEEDS": range(1), "PEOPLE": PEOPLE[:1]}
    for name, value in (changes | {"PROMPTS": PROMPTS[:1], "EDITS": EDITS[:2]}).items():
        monkeypatch.setattr(suite, name, value)


def measure(weights, out, *more):
    return main(["evaluate", "words", "--weights", str(weights), "--out", str(out), *more])


@pytest.mark.slow
def test_a_killed_run_goes_on_and_other_weights_are_refused(weights, quick, tmp_path, capfd):
    out = tmp_path / "out"
    assert measure(weights, out) == 0
    whole = (out / "words.json").read_text()
    found = json.loads(whole)
    assert found["samples"]["count"] == len(found["samples"]["seen"]) == 2
    assert found["samples"]["diversity"] >= 0 and found["samples"]["diversity_learned"] is not None
    assert [prompt["prompt"] for prompt in found["prompts"]] == [PROMPTS[0].words]
    assert [edit["edit"] for edit in found["edits"]["edits"]] == ["bald", "with red hair"]
    assert found["protocol"]["edits"]["steps"] > 0 and set(found["protocol"]["weights"]) == {
        "rodin", "verifier", "classifier", "baselines",
    }  # fmt: skip
    assert all((out / f"{part}.png").stat().st_size > 0 for part in suite.PARTS)
    assert capfd.readouterr().out.count("drawn: ") == 8

    for path in (out / "drawn/edits/0-bald.png", out / "words.json"):
        path.unlink()
    assert measure(weights, out) == 0
    assert capfd.readouterr().out.count("drawn: ") == 1, "nobody is drawn twice"
    assert (out / "words.json").read_text() == whole

    shutil.copytree(weights.parent, tmp_path / "weights")
    save_judge(tmp_path / "weights/verifier.safetensors", Verifier(JudgeConfig((8, 16), 8)))
    assert measure(tmp_path / "weights/rodin.safetensors", out, "--only", "edits") == 2
    assert "holds figures of another verifier" in capfd.readouterr().err


def test_what_cannot_be_measured_is_said_in_one_sentence(rodin, weights, tmp_path, capfd):
    out = tmp_path / "out"
    assert measure(weights, out, "--only", "samples,films") == 2
    assert "There is no part films: choose some of samples, prompts, edits" in capfd.readouterr().err
    save_rodin(tmp_path / "rodin.safetensors", dataclasses.replace(rodin, prior=None))
    assert measure(tmp_path / "rodin.safetensors", out) != 0
    assert "holds no judge: make it with 'maquette train judges'" in capfd.readouterr().err
    for judge in ("verifier", "classifier"):
        shutil.copy(weights.parent / f"{judge}.safetensors", tmp_path)
    assert measure(tmp_path / "rodin.safetensors", out) != 0
    assert "no prior over people" in capfd.readouterr().err
    save_judge(tmp_path / "classifier.safetensors", Classifier(JudgeConfig((8, 8), 8), {"sex": ["female", "male"]}))
    assert measure(tmp_path / "rodin.safetensors", out) != 0
    assert "knows no age: make it anew" in capfd.readouterr().err
    assert not out.exists()
