"""A folder of weights: `model.safetensors` with all tensors under our names, and `config.json` with the sizes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import TYPE_CHECKING

import torch

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.morphable.config import MorphableConfig
from backend.morphable.model import MorphableDiffusion

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def empty_model(config: MorphableConfig) -> MorphableDiffusion:
    """The model without memory for its weights: names and shapes."""
    with torch.device("meta"):
        return MorphableDiffusion(config)


def save_morphable(folder: Path, tensors: Mapping[str, Tensor], config: MorphableConfig) -> None:
    """Write a model's state, whole or not at all; what `folder` held before is replaced."""
    from safetensors.torch import save_file

    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        save_file(dict(tensors), partial / WEIGHTS)
        (partial / CONFIG).write_text(json.dumps(dataclasses.asdict(config), indent=1) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_morphable(folder: Path) -> MorphableDiffusion:
    """The model in evaluation mode, on the CPU, its weights views of the file.

    Raises `MaquetteError` (MODEL_MISSING) when the folder is missing, broken or of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model = empty_model(MorphableConfig.from_values(json.loads((folder / CONFIG).read_text())))
        model.load_state_dict(load_file(folder / WEIGHTS), assign=True)
    except (OSError, SafetensorError, AttributeError, TypeError, ValueError, RuntimeError) as problem:
        raise MaquetteError(
            ErrorCode.MODEL_MISSING,
            f"{folder} does not hold weights of the engine 'morphable': make it with 'maquette weights import' or "
            "'maquette train morphable'.",
            stage="field",
            hint=str(problem),
        ) from problem
    return model.eval().requires_grad_(False)
