"""``maquette evaluate words``: what the engine makes without a portrait, and how far it does what words ask.

Three parts: people out of nothing, people out of prompts, and edits of people (`asks` says which). Everybody is drawn
from the field, without a mesh, into ``OUT/drawn/``; what is drawn there already is not made again, so a run that was
stopped goes on. At the end ``words.json`` is written whole, beside one contact sheet per part.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
from typing import TYPE_CHECKING, Any

import torch

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.evaluation.asks import EDITS, PEOPLE, PROMPTS
from backend.evaluation.going_on import same_as_before, write_json
from backend.evaluation.held_out import SIZE, read_strip, strip, write_picture
from backend.evaluation.judges import as_batch, attributes, load_classifier, load_verifier
from backend.evaluation.rows import draw_views
from backend.evaluation.word_figures import (
    all_edits,
    distribution,
    diversity,
    edit_figures,
    embedding,
    prompt_figures,
    summary,
)
from backend.evaluation.word_sheets import edits_sheet, prompts_sheet, samples_sheet
from backend.radiance.cameras import Camera
from backend.rodin.engine import edit_field, generate_from_prompt, generate_unconditional, point_condition
from backend.weights.bundle import digest
from synthetic_data.cameras import ORBIT_DISTANCE, ORBIT_FOV

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from jaxtyping import Float

    from backend.body_model.base import BodyModel
    from backend.evaluation.baselines import Baselines
    from backend.evaluation.judges import Classifier, Verifier
    from backend.evaluation.word_figures import Seen
    from backend.radiance.triplane import TriPlane
    from backend.rodin.weights import Rodin

PARTS = ("samples", "prompts", "edits")
SAMPLES = range(32)
"""Seeds of the people out of nothing."""
PROMPT_SEEDS = range(4)
"""Seeds of the people of each prompt. Those who are edited have their place in `asks.PEOPLE` as seed."""
AZIMUTHS = (0.0, 40.0, 180.0)
"""Views of everybody, degrees: front, three-quarter, back."""
_JUDGED = 2
"""The classifier sees so many of them: it is asked for what shows from the front."""
_ELEVATION = 5.0
_GOAL = 0.8
"""What the project wants of edits, both shares."""


@dataclasses.dataclass(frozen=True)
class WordsRequest:
    """What is measured; judges lie beside `weights`. `parts` are some of `PARTS`."""

    out: Path
    weights: Path
    parts: tuple[str, ...] = PARTS


@dataclasses.dataclass(frozen=True)
class _Room:
    """What all parts share."""

    folder: Path
    model: BodyModel
    rodin: Rodin
    verifier: Verifier
    classifier: Classifier
    baselines: Baselines | None
    say: Callable[[str], None]

    def views(self, name: str, make: Callable[[], TriPlane]) -> Float[np.ndarray, "V S S 3"]:
        """The pictures of one person over white; `make` is called when they have not been drawn."""
        path = self.folder / f"{name}.png"
        if not path.exists():
            write_picture(path, strip(draw_views(make(), _cameras())))
            self.say(f"drawn: {name}")
        return read_strip(path)

    def seen(self, views: Float[np.ndarray, "V S S 3"]) -> Seen:
        """What the classifier sees."""
        return attributes(self.classifier, as_batch(views[:_JUDGED]))


def evaluate_words(request: WordsRequest, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure, write ``words.json`` and the sheets, and return what the file holds.

    Raises `MaquetteError` when a part is unknown, the weights make nobody from words, a judge is missing or knows
    other words, or OUT holds figures of other weights.
    """
    if unknown := [part for part in request.parts if part not in PARTS]:
        sentence = f"There is no part {unknown[0]}: choose some of {', '.join(PARTS)}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate")
    room, hashes = _open(request, say)
    protocol = _protocol()
    frozen = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()
    same_as_before(request.out, {"protocol": frozen, **hashes})
    whole: dict[str, Any] = {}
    anybody: list[Seen] = []
    if "samples" in request.parts:
        whole["samples"] = _samples(room, request.out)
        anybody = whole["samples"]["seen"]
    if "prompts" in request.parts:
        whole["prompts"] = _prompts(room, request.out, anybody)
    if "edits" in request.parts:
        whole["edits"] = _edits(room, request.out)
    whole["protocol"] = {"weights": hashes, **protocol}
    write_json(request.out / "words.json", whole)
    say(summary(whole))
    return whole


def _open(request: WordsRequest, say: Callable[[str], None]) -> tuple[_Room, dict[str, str]]:
    """Everything that is needed, and the hashes of its files. Nothing is written before all of it is there."""
    from backend.body_model.registry import load_body_model
    from backend.evaluation.baselines import load_baselines
    from backend.rodin.weights import load_rodin

    names = ("verifier", "classifier", "baselines")
    files = {"rodin": request.weights, **{n: request.weights.parent / f"{n}.safetensors" for n in names}}
    verifier, classifier = load_verifier(files["verifier"]), load_classifier(files["classifier"])
    asked = {name for ask in (*PROMPTS, *EDITS) for name in (*ask.asked, *ask.of)}
    if unknown := sorted(asked - classifier.vocabulary.keys()):
        sentence = f"{files['classifier']} knows no {unknown[0]}: make it anew with 'maquette train judges'."
        raise MaquetteError(ErrorCode.MODEL_MISSING, sentence, stage="evaluate")
    model = load_body_model("anny")
    rodin = load_rodin(files["rodin"], model)
    rodin.latent_space()
    rodin.latent_prior()
    baselines = None
    if files["baselines"].is_file():
        baselines = load_baselines(files["baselines"])
    else:
        del files["baselines"]
    room = _Room(request.out / "drawn", model, rodin, verifier, classifier, baselines, say)
    return room, {name: digest(path) for name, path in files.items()}


def _cameras() -> tuple[Camera, ...]:
    orbit = {"distance": ORBIT_DISTANCE, "fov_degrees": ORBIT_FOV, "size": SIZE}
    return tuple(Camera.orbit(azimuth, _ELEVATION, **orbit) for azimuth in AZIMUTHS)


def _samples(room: _Room, out: Path) -> dict[str, Any]:
    """People out of nothing. How different they are says little alone: where there are baselines, as many people that
    the engine has learned from, with the bodies of the sampled ones, are measured beside them."""
    drawn, learned = [], []
    for number, seed in enumerate(SAMPLES):
        invent = functools.cache(functools.partial(_anybody, room, seed))
        drawn.append(room.views(f"samples/{seed:05d}", invent))
        if room.baselines is not None and number < len(room.baselines.coefficients):
            known = functools.partial(_learned, room.baselines, number, invent)
            learned.append(room.views(f"learned/{number:05d}", known))
    write_picture(out / "samples.png", samples_sheet(drawn))
    who = lambda some: torch.stack([embedding(room.verifier, as_batch(views)) for views in some])  # noqa: E731
    seen = [room.seen(views) for views in drawn]
    return {
        "count": len(drawn),
        "diversity": diversity(who(drawn)),
        "diversity_learned": diversity(who(learned)) if len(learned) > 1 else None,
        "attributes": distribution(seen),
        "seen": seen,
    }


def _anybody(room: _Room, seed: int) -> TriPlane:
    return generate_unconditional(room.rodin, room.model, seed).field


def _learned(baselines: Baselines, number: int, invent: Callable[[], TriPlane]) -> TriPlane:
    """Planes of a training head on an invented body."""
    planes = baselines.planes(baselines.coefficients[number])
    return dataclasses.replace(invent(), planes=planes, decoder=baselines.decoder)


def _prompts(room: _Room, out: Path, anybody: list[Seen]) -> list[dict[str, Any]]:
    people = [
        [
            room.views(f"prompts/{_slug(ask.words)}-{seed}", functools.partial(_asked, room, ask.words, seed))
            for seed in PROMPT_SEEDS
        ]
        for ask in PROMPTS
    ]
    write_picture(out / "prompts.png", prompts_sheet([ask.words for ask in PROMPTS], people))
    return [
        prompt_figures(ask, [room.seen(views) for views in some], anybody)
        for ask, some in zip(PROMPTS, people, strict=True)
    ]


def _asked(room: _Room, words: str, seed: int) -> TriPlane:
    return generate_from_prompt(room.rodin, room.model, words, seed).field


def _edits(room: _Room, out: Path) -> dict[str, Any]:
    people = [_edited(room, words, seed) for seed, words in enumerate(PEOPLE)]
    write_picture(out / "edits.png", edits_sheet([ask.words for ask in EDITS], people))
    before, *after = [[room.seen(views) for views in column] for column in zip(*people, strict=True)]
    edits = [edit_figures(ask, before, some) for ask, some in zip(EDITS, after, strict=True)]
    return {
        "people": [{"prompt": words, "seed": seed, "seen": before[seed]} for seed, words in enumerate(PEOPLE)],
        "edits": edits,
        **all_edits(edits),
        "goal": _GOAL,
    }


def _edited(room: _Room, words: str, seed: int) -> list[Float[np.ndarray, "V S S 3"]]:
    """One person as made from words, and after each edit."""
    rodin, model = room.rodin, room.model
    invent = functools.cache(lambda: generate_from_prompt(rodin, model, words, seed))

    def edit(target: str) -> TriPlane:
        person = invent()
        condition = point_condition(rodin, model, person.latent, person.identity)
        return edit_field(rodin, person.field, condition, target, seed)

    drawn = [room.views(f"edits/{seed}-unedited", lambda: invent().field)]
    for ask in EDITS:
        drawn.append(room.views(f"edits/{seed}-{_slug(ask.words)}", functools.partial(edit, ask.words)))
    return drawn


def _protocol() -> dict[str, Any]:
    """How everybody is made: with the engine's own settings, as the product makes them."""
    return {
        "seeds": {"samples": [SAMPLES.start, SAMPLES.stop], "prompts": [PROMPT_SEEDS.start, PROMPT_SEEDS.stop]},
        "people": list(PEOPLE),
        "asks": {"prompts": [ask.words for ask in PROMPTS], "edits": [ask.words for ask in EDITS]},
        "samples": _settings(generate_unconditional),
        "prompts": _settings(generate_from_prompt),
        "edits": _settings(edit_field),
        "views": {"azimuths": list(AZIMUTHS), "elevation": _ELEVATION, "size": SIZE, "judged": _JUDGED},
    }


def _settings(function: Callable[..., Any]) -> dict[str, Any]:
    """Steps, guidance and the like: the plain defaults of a function of the engine."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    return {name: value for name, value in defaults.items() if isinstance(value, int | float | str)}


def _slug(words: str) -> str:
    return words.replace(" ", "-")
