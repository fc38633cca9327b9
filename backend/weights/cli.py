"""``maquette weights``: the learned engines' weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api import ErrorCode
from backend.arguments import Parser
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """Run one command."""
    parser = Parser(prog="maquette weights", description="weights of the learned engines")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    words = "what is in the box, and what goes before it"
    commands.add_parser("list", help=words, description=words).set_defaults(run=_list)
    words = "compare the files in the box with what was shipped"
    commands.add_parser("verify", help=words, description=words).set_defaults(run=_verify)
    words = "put what 'maquette train' made into the box, for those who publish it"
    shipping = commands.add_parser("ship", help=words, description=words)
    shipping.set_defaults(run=_ship)
    shipping.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="holds rodin.safetensors and what it is judged with, or parser.safetensors, refiner.safetensors, or all",
    )
    words = "convert a published checkpoint of Morphable Diffusion"
    importing = commands.add_parser("import", help=words, description=words)
    importing.set_defaults(run=_import)
    importing.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the authors' .ckpt file")
    importing.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the weights")
    importing.add_argument(
        "--body-model",
        choices=("flame", "bilinear"),
        default="flame",
        help="whose vertices the heads of the checkpoint were trained with (default: %(default)s)",
    )
    importing.add_argument(
        "--projection",
        choices=("perspective", "orthographic"),
        help="of heads or of bodies (default: what the checkpoint says)",
    )
    options = parser.parse_args(list(arguments))
    options.run(options)


def _list(_: argparse.Namespace) -> None:
    from backend.weights.bundle import contents, find

    told = contents()
    for name in sorted({*told, "rodin", "morphable"}):
        path = find(name)
        size = f"{_bytes(path) / 1e6:.1f} MB" if path else "not here"
        print(f"{name}: {size}, {path or 'no file'}, {told.get(name, {}).get('licence', 'not from the box')}")


def _bytes(path: Path) -> int:
    """Of a file, or of all files in a folder of weights."""
    return sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]) if file.is_file())


def _verify(_: argparse.Namespace) -> None:
    from backend.weights.bundle import contents, faults

    if found := faults():
        raise MaquetteError(ErrorCode.MODEL_MISSING, " ".join(found), stage="weights")
    print(f"{len(contents())} files, all as they were shipped.")


def _ship(options: argparse.Namespace) -> None:
    from backend.weights.bundle import ALONE, MEMBERS, put

    paths = {name: options.folder / f"{name}.safetensors" for name in (*MEMBERS, *ALONE)}
    missing = [name for name, path in paths.items() if not path.is_file()]
    lacking = [name for name in MEMBERS if name in missing]
    if len(missing) == len(paths) or 0 < len(lacking) < len(MEMBERS):
        sentence = f"There is no {paths[lacking[0]]}: train everything that belongs together first."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="weights")
    paths = {name: path for name, path in paths.items() if name not in missing}
    for name, path in paths.items():
        put(path, name, "CC0-1.0")
    print(f"Done: {len(paths)} files are in the box.")


def _import(options: argparse.Namespace) -> None:
    from backend.morphable.config import MorphableConfig
    from backend.weights.importing import import_checkpoint

    config = import_checkpoint(
        options.checkpoint, options.out, options.projection, MorphableConfig(body_model=options.body_model)
    )
    branch = "with" if config.dense_branch else "without"
    print(f"Done: {options.out} holds a model with {config.projection} cameras, {branch} dense branch.")
