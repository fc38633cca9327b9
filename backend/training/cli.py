"""``maquette train STAGE``: each stage reads what the one before it wrote, stops when it is told to, and goes on.

=========  =================================================================================================
planes     a packed set to fitted planes and a decoder: ``planes.safetensors``, ``decoder.safetensors``
latent     pictures and captions of a packed set to the space that both share: ``latent.safetensors``
prior      points of that space and bodies to a model that invents people: ``prior.safetensors``
base       packed set, planes and latent space to the base model: ``rodin.safetensors``, the engine's weights, which
           also hold latent space and prior
large      some heads' planes to larger ones for the same decoder: ``large/planes.safetensors``
upsampler  the difference of the two to the upsampler, which joins the engine's weights
judges     a packed set to what `maquette evaluate heads` judges with: ``verifier.safetensors``,
           ``classifier.safetensors``
baselines  packed set and planes to what an engine has to beat: ``baselines.safetensors``
refiner    a packed set of large pictures and its planes to the network that makes stills sharp:
           ``refiner.safetensors``
parser     a set, not packed, to the network that tells hair, skin and garment in pictures: ``parser.safetensors``
morphable  a packed set with several expressions of everybody to the weights of Morphable Diffusion, the folder
           ``morphable/weights``
=========  =================================================================================================

With ``--clip DIR`` prior and base take the space of a CLIP model on the user's disk instead of our own.

With ``--weights FILE`` planes are fitted to the decoder of finished weights, and base goes on from them: so more
people, or a set of one's own, are learned without beginning anew. For morphable it is a folder, such as
``maquette weights import`` makes.

Every stage but "baselines", which needs no going on, writes ``state.safetensors`` (to go on) and ``curve.jsonl``
(figures per step); those that have something to look at draw ``samples.png``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api import ErrorCode
from backend.arguments import Parser
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Sequence

STAGES = {
    "planes": "commands_planes",
    "latent": "commands_latent",
    "prior": "commands_latent",
    "base": "commands_rodin",
    "large": "commands_planes",
    "upsampler": "commands_rodin",
    "judges": "commands_judging",
    "baselines": "commands_judging",
    "refiner": "commands_rodin",
    "parser": "commands_portrait",
    "morphable": "commands_morphable",
}
"""Each stage and the module whose function of that name runs it."""


def main(arguments: Sequence[str]) -> None:
    """Run one stage."""
    parser = Parser(prog="maquette train", description="train one stage of the learned engines")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--config", default="small", metavar="NAME|FILE", help="a recipe (default: small)")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="a packed set, see 'dataset pack'; for 'parser' the set itself",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of all stages")
    parser.add_argument("--heads", type=_positive, metavar="N", help="only the first N people")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after so long; the same command goes on")
    parser.add_argument("--clip", type=Path, metavar="DIR", help="a CLIP model instead of the stage 'latent'")
    parser.add_argument(
        "--weights", type=Path, metavar="PATH", help="finished weights for 'planes', 'base', 'morphable' to go on from"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    options = parser.parse_args(list(arguments))
    from importlib import import_module

    import torch

    from backend.training import team
    from backend.training.progress import Stopped, stops_between_steps

    if options.threads:
        torch.set_num_threads(options.threads)
    options.device = team.join(_known_device(options.device))
    try:
        with stops_between_steps():
            getattr(import_module(f"backend.training.{STAGES[options.stage]}"), options.stage)(options)
    except Stopped as stop:
        sentence = f"Stopped at step {stop.step} of {stop.steps}: the same command goes on."
        if stop.asked:
            raise MaquetteError(ErrorCode.CANCELLED, sentence, stage="train") from None
        print(sentence)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 upwards")
    return int(text)


def _known_device(name: str) -> str:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        sentence = f"This computer has no device {name!r}: leave --device out, or choose cpu, cuda or cuda:1."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="train") from None
    return name
