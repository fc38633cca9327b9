"""``maquette evaluate SUITE``: the figures of the README, computed anew."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from backend.api import ErrorCode
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one sentence."""

    def error(self, message: str) -> NoReturn:
        sentence = f"{message[0].upper()}{message[1:].rstrip('.')}; see '{self.prog} --help'."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="command line")


def main(arguments: Sequence[str]) -> None:
    """Run one suite. Raises MaquetteError with a sentence for the user."""
    parser = _Parser(prog="maquette evaluate", description=(__doc__ or "").strip(), allow_abbrev=False)
    suites = parser.add_subparsers(title="suites", metavar="SUITE", required=True)
    text = "the learned engine against what it has to beat, on held-out people"
    heads = suites.add_parser("heads", help=text, description=text, allow_abbrev=False)
    heads.set_defaults(run=_heads)
    heads.add_argument("--seeds", type=_span, metavar="A:B", help="people of the held-out split (default: 0:100)")
    heads.add_argument("--data", type=Path, metavar="DIR", help="a rendered set instead (default: render into OUT/set)")
    heads.add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="FILE",
        help="rodin.safetensors; verifier, classifier and baselines lie beside it",
    )
    heads.add_argument("--rows", type=lambda words: tuple(words.split(",")), metavar="A,B", help="only these rows")
    heads.add_argument("--fitted", action="store_true", help="also with everything from the picture alone")
    heads.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    heads.add_argument("--out", type=Path, required=True, metavar="DIR", help="the same folder goes on")
    options = parser.parse_args(list(arguments))
    options.run(options)


def _span(text: str) -> range:
    first, colon, end = text.partition(":")
    if not (colon and first.isdigit() and end.isdigit() and int(first) < int(end)):
        raise argparse.ArgumentTypeError(f"{text!r} is no range such as 0:100")
    return range(int(first), int(end))


def _heads(options: argparse.Namespace) -> None:
    import torch

    from backend.evaluation.heads import DEFAULT_ROWS, HeadsRequest, evaluate_heads

    if options.threads:
        torch.set_num_threads(options.threads)
    people = options.seeds or (None if options.data else range(100))
    rows = options.rows or DEFAULT_ROWS
    try:
        evaluate_heads(HeadsRequest(options.out, options.weights, people, options.data, rows, options.fitted))
    except KeyboardInterrupt:
        sentence = "Stopped; what was measured is kept, and the same command goes on."
        raise MaquetteError(ErrorCode.CANCELLED, sentence, stage="evaluate") from None
    print(f"Done: {options.out.resolve()} holds heads.json and sheets")
