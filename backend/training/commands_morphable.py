"""The stage that trains Morphable Diffusion."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.training import team
from backend.training.progress import Run, resume
from backend.training.recipes import read_recipe

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from backend.morphable.model import MorphableDiffusion
    from backend.training.subjects import Subjects

_SHOWN = 4
"""People on the sheet of samples."""
_BODY_MODEL = "anny"
"""Of the people in the set."""


def morphable(options: argparse.Namespace) -> None:
    from backend.body_model.registry import load_body_model
    from backend.morphable.weights import load_morphable, save_morphable
    from backend.training.morphable_stage import MorphableStage, MorphableStageConfig
    from backend.training.subjects import load_subjects

    config = read_recipe(MorphableStageConfig, "morphable", options.config)
    start = load_morphable(options.weights) if options.weights else None
    if start is not None:
        # Whatever topology they knew, from here on they learn the set's.
        config = dataclasses.replace(config, model=dataclasses.replace(start.config, body_model=_BODY_MODEL))
    elif config.model.autoencoder:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST,
            "This recipe needs an autoencoder: give imported weights to go on from with --weights.",
            stage="train",
        )
    begun = time.monotonic()
    try:
        subjects = load_subjects(options.data, load_body_model(_BODY_MODEL), config.model, options.heads)
    except (OSError, ValueError) as problem:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST, f"{options.data} cannot be read: {problem}.", stage="train"
        ) from None
    people = len(subjects.person.unique())
    print(f"{people} people, {len(subjects)} expressions in {time.monotonic() - begun:.0f} s", flush=True)
    try:
        stage = MorphableStage(subjects.to(options.device), config, start)
    except ValueError as problem:
        raise MaquetteError(ErrorCode.BAD_REQUEST, f"{_sentence(problem)}.", stage="train") from None
    folder = options.out / "morphable"
    state = folder / "state"
    resume(stage, state)
    stage.run(report=Run(state, options.minutes, config.steps, lambda: stage.save(state)))
    if not team.leads():
        return
    stage.save(state)
    write_sheet(stage.averaged_model(), stage.subjects, folder / "samples.png")
    # So many the engine draws if nobody says otherwise: it is the rig that they know.
    told = dataclasses.replace(config.model, views=subjects.pictures.shape[1])
    save_morphable(folder / "weights", stage.averaged_model().cpu().state_dict(), told)
    print(f"Done: {folder / 'weights'}; {stage.seconds:.0f} s.")


def _sentence(problem: ValueError) -> str:
    text = str(problem)
    return text[:1].upper() + text[1:]


def write_sheet(model: MorphableDiffusion, subjects: Subjects, path: Path) -> None:
    """Per person the portrait, then the true views above and the drawn ones below."""
    import numpy as np
    import torch

    from backend.evaluation.held_out import write_picture
    from backend.training.morphable_stage import draw_views

    items = torch.arange(0, len(subjects), max(1, len(subjects) // _SHOWN))[:_SHOWN].to(subjects.pictures.device)
    drawn = draw_views(model, subjects, items, items).cpu()
    rows = []
    for item, made in zip(items.tolist(), drawn, strict=True):
        portrait = subjects.portraits[item, :1].cpu().float() / 255
        true = subjects.pictures[item].cpu().float() / 255
        for pictures in (torch.cat([portrait, true]), torch.cat([torch.ones_like(portrait), made])):
            rows.append(np.hstack([picture.permute(1, 2, 0).numpy() for picture in pictures]))
    write_picture(path, np.vstack(rows))
