"""The state of a training run in one safetensors file: tensors, the optimiser's among them, and plain values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

STATE = "state.safetensors"
_OPTIMISER = "optimiser"


def save_state(
    path: Path, tensors: Mapping[str, Tensor], optimiser: torch.optim.Optimizer, plain: Mapping[str, Any]
) -> None:
    """Write everything, whole or not at all."""
    from safetensors.torch import save_file

    held = {name: value.detach().contiguous() for name, value in tensors.items()}
    for number, values in optimiser.state_dict()["state"].items():
        held |= {f"{_OPTIMISER}.{number}.{name}": value.contiguous() for name, value in values.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(held, partial, {"plain": json.dumps(plain)})
    partial.replace(path)


def load_state(path: Path, optimiser: torch.optim.Optimizer, device: torch.device) -> tuple[dict[str, Tensor], Any]:
    """The tensors and the plain values; the optimiser is put back to where it was."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt", device=str(device)) as file:
        plain = json.loads(file.metadata()["plain"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    state: dict[int, dict[str, Tensor]] = {}
    for name in [name for name in tensors if name.startswith(_OPTIMISER + ".")]:
        _, number, key = name.split(".", 2)
        state.setdefault(int(number), {})[key] = tensors.pop(name)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return tensors, plain
