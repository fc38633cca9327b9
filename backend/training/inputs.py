"""What the stages read: packed heads, and what the stages before have made."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, TypeVar

from backend.api import ErrorCode
from backend.errors import MaquetteError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from backend.radiance.decoder import Decoder
    from backend.rodin.latent import LatentSpace
    from backend.rodin.weights import Rodin
    from backend.training.bank import HeadBank
    from backend.training.people import People

    Heads = TypeVar("Heads", HeadBank, People)


def bank(options: argparse.Namespace, *, warps: bool = True) -> HeadBank:
    """The heads of ``--data``, as many as ``--heads`` says."""
    from backend.body_model.registry import load_body_model
    from backend.training.bank import load_bank

    model = load_body_model("anny")
    return _read(
        options, lambda: load_bank(options.data, model, count=options.heads, device=options.device, warps=warps)
    )


def people(options: argparse.Namespace) -> People:
    """The same heads as latent and prior know them."""
    from backend.training.people import load_people

    return _read(options, lambda: load_people(options.data, options.heads))


def _read(options: argparse.Namespace, read: Callable[[], Heads]) -> Heads:
    begun = time.monotonic()
    try:
        heads = read()
    except (OSError, ValueError) as problem:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST, f"{options.data} cannot be read: {problem}.", stage="train"
        ) from None
    print(f"{len(heads)} heads in {time.monotonic() - begun:.0f} s", flush=True)
    return heads


def known(options: argparse.Namespace) -> Rodin | None:
    """The weights that ``--weights`` says to go on from. Raises `MaquetteError` when their planes lie otherwise than
    those that are fitted now."""
    from backend.body_model.registry import load_body_model
    from backend.radiance.canonical import FOVEA
    from backend.rodin.weights import load_rodin

    if not options.weights:
        return None
    rodin = load_rodin(options.weights, load_body_model("anny"))
    if rodin.fovea != FOVEA:
        sentence = f"The planes of {options.weights} are laid out for another version of this program: train anew."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="train")
    return rodin


def space(options: argparse.Namespace) -> LatentSpace:
    """The user's CLIP, or what the stage "latent" made, or that of the weights to go on from."""
    from backend.rodin.clip import ClipLatent
    from backend.rodin.weights import load_latent

    if options.clip:
        return ClipLatent.from_folder(options.clip, options.device)
    path = options.out / "latent" / "latent.safetensors"
    if not path.exists() and options.weights:
        path = options.weights
    if not path.exists():
        raise MaquetteError(
            ErrorCode.BAD_REQUEST,
            f"There is no {path}: train the stage 'latent' first, or give a CLIP model with --clip.",
            stage="train",
        )
    return load_latent(path).to(options.device)


def load_decoder(folder: Path) -> Decoder:
    """The decoder that the stage "planes" wrote."""
    from safetensors import safe_open

    from backend.radiance.decoder import Decoder, DecoderConfig

    with safe_open(str(folder / "planes" / "decoder.safetensors"), framework="pt") as file:
        decoder = Decoder(DecoderConfig(**json.loads(file.metadata()["config"])))
        decoder.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118, not a dict
    return decoder.requires_grad_(False)


def load_planes(folder: Path, stage: str = "planes") -> Float[Tensor, "N 3 C S S"]:
    """What the stage "planes" or "large" wrote. Raises `MaquetteError` when it has not."""
    from safetensors.torch import load_file

    path = folder / stage / "planes.safetensors"
    if not path.exists():
        sentence = f"There is no {path}: train the stage {stage!r} first."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="train")
    return load_file(path)["planes"]
