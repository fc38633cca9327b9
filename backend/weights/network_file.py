"""One small network in a safetensors file, in half precision, with the configuration that it is made from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from backend.api import ErrorCode
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Network = TypeVar("Network", bound=nn.Module)


def save_network(path: Path, kind: str, network: nn.Module, told: dict[str, Any]) -> None:
    """Write `network`, whole or not at all; `kind` is the word that `load_network` knows it by, `told` plain values
    that it is made from."""
    from safetensors.torch import save_file

    held = {name: value.detach().cpu().half().contiguous() for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(held, partial, {f"maquette_{kind}": json.dumps(told)})
    partial.replace(path)


def load_network(
    path: Path, kind: str, make: Callable[[dict[str, Any]], Network], *, trained_by: str, stage: str
) -> Network:
    """Read what `save_network` wrote, frozen; `make` builds the network from what was told.

    Raises `MaquetteError` (MODEL_MISSING, of `stage`) when the file is missing, broken or of another kind; its sentence
    names the stage of training `trained_by`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            network = make(json.loads((file.metadata() or {})[f"maquette_{kind}"]))
            network.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise MaquetteError(
            ErrorCode.MODEL_MISSING,
            f"{path} holds no {kind}: make it with 'maquette train {trained_by}'.",
            stage=stage,
            hint=str(problem),
        ) from problem
    return network.eval().requires_grad_(False)
