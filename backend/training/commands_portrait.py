"""The stage that makes what reads portraits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.training import team
from backend.training.progress import Run, resume
from backend.training.recipes import read_recipe

if TYPE_CHECKING:
    import argparse


def parser(options: argparse.Namespace) -> None:
    """Stage "parser"."""
    from backend.portrait.parser import save_parser
    from backend.training.parser_stage import ParserStage, ParserStageConfig, load_pictures, write_sheet

    config = read_recipe(ParserStageConfig, "parser", options.config)
    begun = time.monotonic()
    try:
        pictures = load_pictures(options.data, options.heads)
    except (OSError, ValueError) as problem:
        sentence = f"{options.data} cannot be read: {problem}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="train") from None
    print(f"{len(pictures)} pictures in {time.monotonic() - begun:.0f} s", flush=True)
    stage = ParserStage(pictures, config, options.device)
    folder = options.out / "parser"
    resume(stage, folder)
    stage.run(report=Run(folder, options.minutes, config.steps, lambda: stage.save(folder)))
    if not team.leads():
        return
    stage.save(folder)
    trained = stage.averaged_model().cpu()
    save_parser(options.out / "parser.safetensors", trained)
    write_sheet(trained, pictures, folder / "samples.png")
    print(f"Done: {options.out / 'parser.safetensors'}, {stage.seconds:.0f} s.")
