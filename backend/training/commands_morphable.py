"""The stage that trains Morphable Diffusion."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.training.progress import Run, resume
from backend.training.recipes import read_recipe

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from backend.morphable.model import MorphableDiffusion
    from backend.training.subjects import Subjects

_SHOWN = 4
"""People on the sheet of samples."""


def morphable(options: argparse.Namespace) -> None:
    from backend.body_model.registry import load_body_model
    from backend.morphable.weights import load_morphable, save_morphable
    from backend.training.morphable_stage import MorphableStage, MorphableStageConfig
    from backend.training.subjects import load_subjects

    config = read_recipe(MorphableStageConfig, "morphable", options.config)
    start = load_morphable(options.weights) if options.weights else None
    if start is not None:
        config = dataclasses.replace(config, model=start.config)
    elif config.model.autoencoder:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST,
            "This recipe needs an autoencoder: give imported weights to go on from with --weights.",
            stage="train",
        )
    begun = time.monotonic()
    try:
        subjects = load_subjects(options.data, load_body_model("anny"), config.model, options.heads)
    except (OSError, ValueError) as problem:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST, f"{options.data} cannot be read: {problem}.", stage="train"
        ) from None
    people = len(subjects.person.unique())
    print(f"{people} people, {len(subjects)} expressions in {time.monotonic() - begun:.0f} s", flush=True)
    stage = MorphableStage(subjects.to(options.device), config, start)
    folder = options.out / "morphable"
    resume(stage, folder / "state")

    def show() -> None:
        stage.save(folder / "state")
        write_sheet(stage.averaged_model(), stage.subjects, folder / "samples.png", config.meshless)

    stage.run(report=Run(folder / "state", options.minutes, config.steps, show))
    show()
    save_morphable(folder / "weights", stage.averaged_model().cpu().state_dict(), config.model)
    print(f"Done: {folder / 'weights'}; {stage.seconds:.0f} s.")


def write_sheet(model: MorphableDiffusion, subjects: Subjects, path: Path, meshless: bool) -> None:
    """Per person the portrait, then the true views above and the drawn ones below."""
    import numpy as np
    import torch
    from PIL import Image

    from backend.training.morphable_stage import draw_views

    items = torch.arange(0, len(subjects), max(1, len(subjects) // _SHOWN))[:_SHOWN].to(subjects.pictures.device)
    drawn = draw_views(model, subjects, items, items, meshless=meshless).cpu()
    rows = []
    for item, made in zip(items.tolist(), drawn, strict=True):
        portrait = subjects.portraits[item, :1].cpu().float() / 255
        true = subjects.pictures[item].cpu().float() / 255
        for pictures in (torch.cat([portrait, true]), torch.cat([torch.ones_like(portrait), made])):
            rows.append(np.hstack([picture.permute(1, 2, 0).numpy() for picture in pictures]))
    Image.fromarray((np.vstack(rows) * 255 + 0.5).astype(np.uint8)).save(path)
