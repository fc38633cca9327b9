"""``maquette weights``: the learned engines' weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="maquette weights", description="weights of the learned engines")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    words = "convert a published checkpoint of Morphable Diffusion"
    importing = commands.add_parser("import", help=words, description=words)
    importing.set_defaults(run=_import)
    importing.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the authors' .ckpt file")
    importing.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the weights")
    importing.add_argument(
        "--projection",
        choices=("perspective", "orthographic"),
        help="of heads or of bodies (default: what the checkpoint says)",
    )
    options = parser.parse_args(list(arguments))
    options.run(options)


def _import(options: argparse.Namespace) -> None:
    from backend.weights.importing import import_checkpoint

    config = import_checkpoint(options.checkpoint, options.out, options.projection)
    branch = "with" if config.dense_branch else "without"
    print(f"Done: {options.out} holds a model with {config.projection} cameras, {branch} dense branch.")
