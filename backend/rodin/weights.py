"""The weights of the engine: one safetensors file that holds base model, decoder and the statistics between them, the
upsampler, and what makes people out of words: the latent space and its prior. Files of these two alone come from their
training."""

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
from backend.rodin.latent import LatentConfig, TrainedLatent
from backend.rodin.prior import LatentPrior, PriorConfig
from backend.rodin.upsampler import Upsampler, UpsamplerConfig
from backend.weights.eight_bits import from_eight_bits, halved, to_eight_bits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor, nn

    from backend.body_model.base import BodyModel
    from backend.rodin.latent import LatentSpace

_KEY = "maquette_rodin"
_BROKEN = (KeyError, TypeError, ValueError, RuntimeError)


@dataclasses.dataclass(frozen=True)
class Rodin:
    """What sampling needs. `mean` (3, C, S, S) and `spread` (3, C, 1, 1) turn normalised planes into those that
    `decoder` reads, in the canonical space that `fovea` stretches. Without `latent` there are no points, without
    `prior` nobody without a portrait. With an `upsampler`, whose detail has the spread `detail` (3, C, 1, 1), the
    decoder reads larger planes."""

    base: BaseModel
    decoder: Decoder
    mean: Float[Tensor, "3 C S S"]
    spread: Float[Tensor, "3 C 1 1"]
    fovea: Fovea = FOVEA
    half_size: float = DEFAULT_HALF_SIZE
    latent: LatentSpace | None = None
    prior: LatentPrior | None = None
    upsampler: Upsampler | None = None
    detail: Float[Tensor, "3 C 1 1"] | None = None

    def denormalise(self, planes: Float[Tensor, "*B 3 C S S"]) -> Float[Tensor, "*B 3 C S S"]:
        """Normalised planes to those that the decoder reads."""
        return (planes * self.spread + self.mean).clamp(-1, 1)

    def normalise(self, planes: Float[Tensor, "*B 3 C S S"]) -> Float[Tensor, "*B 3 C S S"]:
        """The way back; values that were clamped stay so."""
        return (planes - self.mean) / self.spread

    def latent_space(self) -> LatentSpace:
        """The latent space. Raises `MaquetteError` (MODEL_MISSING) when the weights hold none."""
        if self.latent is None:
            raise _missing("no latent space: train it with 'maquette train latent', or give the folder of a CLIP model")
        return self.latent

    def latent_prior(self) -> LatentPrior:
        """The prior. Raises `MaquetteError` (MODEL_MISSING) when the weights hold none."""
        if self.prior is None:
            raise _missing(
                "no prior over people: train it with 'maquette train prior', or give a portrait and no words"
            )
        return self.prior


def _missing(what: str) -> MaquetteError:
    return MaquetteError(ErrorCode.MODEL_MISSING, f"The weights of the engine 'rodin' hold {what}.", stage="field")


def save_rodin(path: Path, rodin: Rodin) -> None:
    """Write `rodin`, large matrices in eight bits and the rest in half precision, whole or not at all. CLIP stays where
    the user has it."""
    parts: dict[str, nn.Module] = {"base": rodin.base, "decoder": rodin.decoder}
    told: dict[str, Any] = {
        "base": dataclasses.asdict(rodin.base.config),
        "decoder": dataclasses.asdict(rodin.decoder.config),
        "fovea": dataclasses.asdict(rodin.fovea),
        "half_size": rodin.half_size,
    }
    if isinstance(rodin.latent, TrainedLatent):
        parts["latent"], told["latent"] = rodin.latent, _told_latent(rodin.latent)
    if rodin.prior is not None:
        parts["prior"], told["prior"] = rodin.prior, dataclasses.asdict(rodin.prior.config)
    tensors = {"mean": rodin.mean, "spread": rodin.spread}
    if rodin.upsampler is not None and rodin.detail is not None:
        parts["upsampler"], told["upsampler"] = rodin.upsampler, dataclasses.asdict(rodin.upsampler.config)
        tensors["detail"] = rodin.detail
    _write(path, parts, told, tensors)


def load_rodin(path: Path, model: BodyModel, latent: LatentSpace | None = None) -> Rodin:
    """Read what `save_rodin` wrote, for portraits that `model` was fitted to. `latent`, a `clip.ClipLatent`, goes with
    weights that were trained with it, which hold no latent space of their own.

    Raises `MaquetteError` (MODEL_MISSING) when the file is missing, broken or of another kind.
    """
    told, tensors = _read(path)
    try:
        fovea = Fovea(**{key: tuple(values) for key, values in told["fovea"].items()})
        config = BaseConfig(**_tuples(told["base"]))
        base = BaseModel(config, make_anchors(model, config.size, fovea, told["half_size"]))
        base.load_state_dict(_part(tensors, "base"))
        decoder = Decoder(DecoderConfig(**told["decoder"]))
        decoder.load_state_dict(_part(tensors, "decoder"))
        mean, spread = tensors["mean"], tensors["spread"]
        own = _latent_from(told, tensors) if "latent" in told else latent
        prior = _prior_from(told, tensors) if "prior" in told else None
        upsampler = None
        if "upsampler" in told:
            sizes = UpsamplerConfig(**_tuples(told["upsampler"]))
            upsampler = Upsampler(sizes, make_anchors(model, sizes.size, fovea, told["half_size"]))
            upsampler.load_state_dict(_part(tensors, "upsampler"))
            upsampler.eval().requires_grad_(False)
    except _BROKEN as problem:
        raise _unusable(path, problem) from problem
    base, decoder = base.eval().requires_grad_(False), decoder.requires_grad_(False)
    parts = own, prior, upsampler, tensors.get("detail")
    return Rodin(base, decoder, mean, spread, fovea, told["half_size"], *parts)


def save_latent(path: Path, latent: TrainedLatent) -> None:
    """Write the pair of encoders alone, as `save_rodin` does."""
    _write(path, {"latent": latent}, {"latent": _told_latent(latent)}, {})


def load_latent(path: Path) -> TrainedLatent:
    """Read the encoders from what `save_latent` or `save_rodin` wrote, frozen. Raises as `load_rodin`."""
    told, tensors = _read(path)
    try:
        return _latent_from(told, tensors)
    except _BROKEN as problem:
        raise _unusable(path, problem) from problem


def save_prior(path: Path, prior: LatentPrior) -> None:
    """Write the prior alone, as `save_rodin` does."""
    _write(path, {"prior": prior}, {"prior": dataclasses.asdict(prior.config)}, {})


def load_prior(path: Path) -> LatentPrior:
    """Read the prior from what `save_prior` or `save_rodin` wrote, frozen. Raises as `load_rodin`."""
    told, tensors = _read(path)
    try:
        return _prior_from(told, tensors)
    except _BROKEN as problem:
        raise _unusable(path, problem) from problem


def _latent_from(told: dict[str, Any], tensors: Mapping[str, Tensor]) -> TrainedLatent:
    latent = TrainedLatent(LatentConfig(**_tuples(told["latent"]["config"])), told["latent"]["vocabulary"])
    latent.load_state_dict(_part(tensors, "latent"))
    return latent.eval().requires_grad_(False)


def _prior_from(told: dict[str, Any], tensors: Mapping[str, Tensor]) -> LatentPrior:
    prior = LatentPrior(PriorConfig(**told["prior"]))
    prior.load_state_dict(_part(tensors, "prior"))
    return prior.eval().requires_grad_(False)


def _told_latent(latent: TrainedLatent) -> dict[str, Any]:
    return {"config": dataclasses.asdict(latent.config), "vocabulary": latent.texts.vocabulary}


def _write(path: Path, parts: Mapping[str, nn.Module], told: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    held = dict(tensors)
    for prefix, part in parts.items():
        state = {f"{prefix}.{name}": value.cpu() for name, value in part.state_dict().items()}
        # The decoder is small, and read a million times for a picture.
        held |= state if prefix == "decoder" else to_eight_bits(state)
    small = {name: halved(name, value.detach().cpu()) for name, value in held.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(small, partial, {_KEY: json.dumps(told, sort_keys=True)})
    partial.replace(path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            told: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
            return told, from_eight_bits({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, *_BROKEN) as problem:
        raise _unusable(path, problem) from problem


def _unusable(path: Path, problem: Exception) -> MaquetteError:
    return MaquetteError(
        ErrorCode.MODEL_MISSING,
        f"{path} does not hold the weights of the engine 'rodin': install Maquette again, or train them.",
        stage="field",
        hint=str(problem),
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    start = prefix + "."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
