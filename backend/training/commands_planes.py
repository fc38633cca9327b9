"""The stages that fit planes."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.training import inputs
from backend.training.progress import Run
from backend.training.recipes import read_recipe

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from backend.training.plane_set import PlaneSet


def planes(options: argparse.Namespace) -> None:
    """Stage "planes"."""
    from backend.training.plane_set import PlaneSet, PlaneSetConfig

    config, known = read_recipe(PlaneSetConfig, "planes", options.config), inputs.known(options)
    if known is None:
        stage = PlaneSet(inputs.bank(options), config)
    else:
        config = dataclasses.replace(config, decoder=known.decoder.config)
        stage = PlaneSet(inputs.bank(options), config, decoder=known.decoder)
        if stage.base.shape != known.mean.shape:
            sentence = f"The recipe's planes have {config.levels[-1]} texels, those of {options.weights} have "
            sentence += f"{known.mean.shape[-1]}."
            raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="train")
        stage.base.data.copy_(known.mean)
    folder = options.out / "planes"
    _fit(stage, folder, options)
    state = {name: value.cpu().contiguous() for name, value in stage.decoder.state_dict().items()}
    _write(state, folder / "decoder.safetensors", {"config": json.dumps(dataclasses.asdict(stage.decoder.config))})
    _show(stage, folder)


def large(options: argparse.Namespace) -> None:
    """Stage "large"."""
    from backend.training.plane_set import PlaneSet, PlaneSetConfig

    config = read_recipe(PlaneSetConfig, "large", options.config)
    start, decoder = inputs.load_planes(options.out)[: options.heads], inputs.load_decoder(options.out)
    stage = PlaneSet(inputs.bank(options), config, decoder=decoder, start=start)
    folder = options.out / "large"
    _fit(stage, folder, options)
    _show(stage, folder)


def _fit(stage: PlaneSet, folder: Path, options: argparse.Namespace) -> None:
    try:
        stage.load(folder)
    except ValueError as problem:
        raise MaquetteError(ErrorCode.BAD_REQUEST, f"{problem}.", stage="train") from None
    run = Run(folder, options.minutes, stage.steps, lambda: stage.save(folder))
    stage.run(report=lambda step, loss: run(step, {"loss": loss}))
    stage.save(folder)
    everyone = torch.arange(len(stage.bank))
    fitted = torch.cat([stage.planes(part).half().cpu() for part in everyone.split(64)])
    _write({"planes": fitted.contiguous()}, folder / "planes.safetensors")


def _write(tensors: dict[str, torch.Tensor], path: Path, told: dict[str, str] | None = None) -> None:
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, told)
    partial.replace(path)


def _show(stage: PlaneSet, folder: Path) -> None:
    from backend.training.measure import contact_sheet

    count = len(stage.bank)
    heads = list(range(0, count, max(1, count // 8)))[:8]
    one = lambda head: stage.planes(torch.tensor([head]))[0]  # noqa: E731
    figure = contact_sheet(stage.bank, heads, one, stage.decoder, folder / "samples.png")
    print(f"Done: {folder}; {figure:.2f} dB on 3 views of {len(heads)} heads, {stage.seconds:.0f} s.")
