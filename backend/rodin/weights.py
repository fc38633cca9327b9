"""The weights of the engine: one safetensors file that holds base model, decoder and the statistics between them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.radiance.canonical import FOVEA, Fovea
from backend.radiance.decoder import Decoder, DecoderConfig
from backend.radiance.triplane import DEFAULT_HALF_SIZE
from backend.rodin.aligned import make_anchors
from backend.rodin.base import BaseConfig, BaseModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from backend.body_model.base import BodyModel

_KEY = "maquette_rodin"
_TUPLES = ("widths", "blocks")


@dataclasses.dataclass(frozen=True)
class Rodin:
    """What sampling needs. `mean` (3, C, S, S) and `spread` (3, C, 1, 1) turn normalised planes into those that
    `decoder` reads, in the canonical space that `fovea` stretches."""

    base: BaseModel
    decoder: Decoder
    mean: Float[Tensor, "3 C S S"]
    spread: Float[Tensor, "3 C 1 1"]
    fovea: Fovea = FOVEA
    half_size: float = DEFAULT_HALF_SIZE

    def denormalise(self, planes: Float[Tensor, "*B 3 C S S"]) -> Float[Tensor, "*B 3 C S S"]:
        """Normalised planes to those that the decoder reads."""
        return (planes * self.spread + self.mean).clamp(-1, 1)


def save_rodin(path: Path, rodin: Rodin) -> None:
    """Write `rodin` in half precision, whole or not at all."""
    from safetensors.torch import save_file

    tensors = {f"base.{name}": value for name, value in rodin.base.state_dict().items()}
    tensors |= {f"decoder.{name}": value for name, value in rodin.decoder.state_dict().items()}
    tensors |= {"mean": rodin.mean, "spread": rodin.spread}
    held = {name: value.detach().cpu().half().contiguous() for name, value in tensors.items()}
    told = {
        "base": dataclasses.asdict(rodin.base.config),
        "decoder": dataclasses.asdict(rodin.decoder.config),
        "fovea": dataclasses.asdict(rodin.fovea),
        "half_size": rodin.half_size,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(held, partial, {_KEY: json.dumps(told, sort_keys=True)})
    partial.replace(path)


def load_rodin(path: Path, model: BodyModel) -> Rodin:
    """Read what `save_rodin` wrote, for portraits that `model` was fitted to.

    Raises `MaquetteError` (MODEL_MISSING) when the file is missing, broken or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            told: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118, not a dict
        sizes: dict[str, Any] = {key: tuple(value) if key in _TUPLES else value for key, value in told["base"].items()}
        fovea = Fovea(*(tuple(told["fovea"][key]) for key in ("centre", "strength")))
        config = BaseConfig(**sizes)
        base = BaseModel(config, make_anchors(model, config.size, fovea, told["half_size"]))
        base.load_state_dict(_part(tensors, "base."))
        decoder = Decoder(DecoderConfig(**told["decoder"]))
        decoder.load_state_dict(_part(tensors, "decoder."))
        mean, spread = tensors["mean"], tensors["spread"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise MaquetteError(
            ErrorCode.MODEL_MISSING,
            f"{path} does not hold the weights of the engine 'rodin': install Maquette again, or train them.",
            stage="field",
            hint=str(problem),
        ) from problem
    return Rodin(
        base.eval().requires_grad_(False), decoder.requires_grad_(False), mean, spread, fovea, told["half_size"]
    )


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
