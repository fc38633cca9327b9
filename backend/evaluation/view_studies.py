"""``maquette evaluate studies``: what Morphable Diffusion owes to the mesh, to shuffled expressions, to other
augmentation, to its resolution and to its rate (questions that section 4 of the paper leaves open).

Every variant is trained from nothing for the same number of steps on the same people, then all draw the people of
another set as `views` has it. A killed run goes on. OUT holds ``views.json``, ``sheet.png`` and the weights. How much a
mesh may be wrong needs no training: ``maquette evaluate views --mesh-error``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from backend.evaluation.views import ViewsRequest, evaluate_views, read_subjects

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backend.training.morphable_stage import MorphableStageConfig

_SAVE_EVERY = 50
"""Steps."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """`words` for the table; `recipe` replaces fields of the recipe, `model` those of the networks' sizes; `pace` is a
    factor of the recipe's rate."""

    words: str
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    pace: float = 1.0


def variants(recipe: MorphableStageConfig) -> dict[str, Variant]:
    """The variants by name; `recipe` tells what half of its resolution is."""
    half = {"image_size": recipe.model.image_size // 2, "map_channels": recipe.model.map_channels // 4}
    return {
        "full": Variant("everything"),
        "no_mesh": Variant("the mean head in place of everybody's mesh", model={"meshless": True}),
        "not_shuffled": Variant("the portrait in the expression of the views", {"shuffled": False}),
        "not_mirrored": Variant("shuffled expressions without mirrored people", {"mirror": False}),
        "neither": Variant("neither shuffled nor mirrored", {"shuffled": False, "mirror": False}),
        "half_size": Variant("pictures of half the size", model=half),
        "slow": Variant("a third of the rate", pace=1 / 3),
        "fast": Variant("three times the rate", pace=3.0),
    }


@dataclasses.dataclass(frozen=True)
class StudyRequest:
    """`steps` of training for each variant of `only` on the packed set `data`; the people of `unseen`, another one, are
    drawn in `sampling_steps` with `guidance`."""

    data: Path
    unseen: Path
    out: Path
    recipe: MorphableStageConfig
    only: tuple[str, ...]
    steps: int = 300
    sampling_steps: int = 10
    guidance: float | None = None


def run_studies(request: StudyRequest, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train what is not trained yet and measure all; returns what ``views.json`` holds.

    Raises `MaquetteError` when a set cannot be read, or ``OUT`` holds a run of another recipe.
    """
    table = variants(request.recipe)
    weights = {name: request.out / name / "weights" for name in request.only}
    for name, folder in weights.items():
        if not folder.exists():
            _train(request, table[name], folder, lambda words, name=name: say(f"{name}: {words}"))
    drawn = ViewsRequest(
        request.unseen, weights, request.out, None, request.sampling_steps, request.guidance,
        told={"trained for": request.steps, "variants": {name: table[name].words for name in request.only}},
    )  # fmt: skip
    return evaluate_views(drawn, say)


def _train(request: StudyRequest, variant: Variant, weights: Path, say: Callable[[str], None]) -> None:
    from backend.body_model.registry import load_body_model
    from backend.morphable.weights import save_morphable
    from backend.training.morphable_stage import MorphableStage
    from backend.training.progress import resume

    recipe = request.recipe
    config = dataclasses.replace(
        recipe,
        steps=request.steps,
        rate=recipe.rate * variant.pace,
        model=dataclasses.replace(recipe.model, **variant.model),
        **variant.recipe,
    )
    subjects = read_subjects(request.data, load_body_model("anny"), config.model)
    stage = MorphableStage(subjects, config)
    state = weights.with_name("state")
    resume(stage, state)
    while stage.step_number < config.steps:
        losses: list[float] = []
        until = min(stage.step_number + _SAVE_EVERY, config.steps)
        stage.run(until=until, report=lambda _, figures, losses=losses: losses.append(figures["error"]))
        stage.save(state)
        say(f"step {until}/{config.steps}, {sum(losses) / len(losses):.4f}")
    told = dataclasses.replace(config.model, views=subjects.pictures.shape[1])
    save_morphable(weights, stage.averaged_model().state_dict(), told)
