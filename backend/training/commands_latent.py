"""The stages that give words and portraits one space: "latent" and "prior"."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from backend.training import inputs, team
from backend.training.progress import Run, resume
from backend.training.recipes import read_recipe

if TYPE_CHECKING:
    import argparse


def latent(options: argparse.Namespace) -> None:
    from backend.rodin.weights import save_latent
    from backend.training.latent_stage import LatentStage, LatentStageConfig, plain_points
    from backend.training.retrieval import REQUESTS, portrait_sheet, retrieval, zero_shot

    config = read_recipe(LatentStageConfig, "latent", options.config)
    people = inputs.people(options)
    stage = LatentStage(people, config, options.device)
    folder = options.out / "latent"
    resume(stage, folder)
    unseen = list(range(stage.learned, len(people)))

    def show() -> None:
        stage.save(folder)
        space = stage.averaged_space()
        points = plain_points(space, people, unseen)
        found = retrieval(space, points, [people.prompts.captions[head] for head in unseen])
        asked = zero_shot(space, points, [people.prompts.facts[head] for head in unseen])
        figures = {"step": stage.step_number, "heads": len(unseen), "retrieval": found, "zero_shot": asked}
        (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
        print("  portrait to caption, heads not learned from: " + ", ".join(f"{k} {v:.0%}" for k, v in found.items()))
        for attribute, row in asked.items():
            print(f"  {attribute}: {row['accuracy']:.0%} right, guessing {row['chance']:.0%}", flush=True)
        wanted = {text: space.encode_texts([text]) for text in REQUESTS}
        portrait_sheet(people, unseen, points, wanted, folder / "samples.png")

    stage.run(report=Run(folder, options.minutes, config.steps, show))
    if not team.leads():
        return
    show()
    save_latent(folder / "latent.safetensors", stage.averaged_space())
    print(f"Done: {folder / 'latent.safetensors'}; {stage.seconds:.0f} s.")


def prior(options: argparse.Namespace) -> None:
    import torch

    from backend.rodin.prior import sample_prior
    from backend.rodin.weights import save_prior
    from backend.training.latent_stage import plain_points
    from backend.training.prior_stage import PriorStage, PriorStageConfig, points_of, texts_of
    from backend.training.retrieval import REQUESTS, heeded, portrait_sheet

    config = read_recipe(PriorStageConfig, "prior", options.config)
    people, space = inputs.people(options), inputs.space(options)
    points = points_of(space, people, config, options.device)
    texts = texts_of(space, people.prompts, len(people), config)
    stage = PriorStage(points, people.identity.to(options.device), texts, config)
    folder = options.out / "prior"
    resume(stage, folder)

    def show() -> None:
        stage.save(folder)
        prior, generator = stage.averaged_model(), torch.Generator().manual_seed(0)
        draw = lambda text, count: sample_prior(prior, space.encode_texts([text]), generator, count)  # noqa: E731
        known = plain_points(space, people, list(range(len(people))))
        figures = heeded(lambda text, count: draw(text, count)[0], known, people.prompts.facts)
        (folder / "figures.json").write_text(
            json.dumps({"step": stage.step_number, "heeded": figures}, indent=1) + "\n"
        )
        print("  nearest people are as asked for: " + ", ".join(f"{k} {v:.0%}" for k, v in figures.items()), flush=True)
        drawn = {text: draw(text, 6)[0] for text in REQUESTS}
        portrait_sheet(people, list(range(len(people))), known, drawn, folder / "samples.png")

    stage.run(report=Run(folder, options.minutes, config.steps, show))
    if not team.leads():
        return
    show()
    save_prior(folder / "prior.safetensors", stage.averaged_model())
    print(f"Done: {folder / 'prior.safetensors'}; {stage.seconds:.0f} s.")
    _add_prior(options)


def _add_prior(options: argparse.Namespace) -> None:
    """The engine's weights may have been written before there was a prior."""
    from backend.body_model.registry import load_body_model
    from backend.rodin.weights import load_prior, load_rodin, save_rodin

    weights, prior = options.out / "rodin.safetensors", options.out / "prior" / "prior.safetensors"
    if weights.exists():
        rodin = load_rodin(weights, load_body_model("anny"))
        save_rodin(weights, dataclasses.replace(rodin, prior=load_prior(prior)))
        print(f"Added to {weights}.")
