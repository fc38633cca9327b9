"""``maquette evaluate SUITE``: what the learned engines reach, measured anew."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api import ErrorCode
from backend.arguments import Parser
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(arguments: Sequence[str]) -> None:
    """Run one suite. Raises MaquetteError with a sentence for the user."""
    parser = Parser(prog="maquette evaluate", description=(__doc__ or "").strip(), allow_abbrev=False)
    suites = parser.add_subparsers(title="suites", metavar="SUITE", required=True)
    text = "the learned engine against what it has to beat, on held-out people"
    heads = suites.add_parser("heads", help=text, description=text, allow_abbrev=False)
    heads.set_defaults(run=_heads)
    heads.add_argument("--seeds", type=_span, metavar="A:B", help="people of the held-out split (default: 0:100)")
    heads.add_argument("--data", type=Path, metavar="DIR", help="a rendered set instead (default: render into OUT/set)")
    heads.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="rodin.safetensors; verifier, classifier and baselines lie beside it (default: what 'weights list' names)",
    )
    heads.add_argument("--rows", type=lambda words: tuple(words.split(",")), metavar="A,B", help="only these rows")
    heads.add_argument("--fitted", action="store_true", help="also with everything from the picture alone")
    heads.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    heads.add_argument("--out", type=Path, required=True, metavar="DIR", help="the same folder goes on")
    text = "what the learned engine makes without a portrait: people out of nothing and out of words, and edits"
    words = suites.add_parser("words", help=text, description=text, allow_abbrev=False)
    words.set_defaults(run=_words)
    words.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="rodin.safetensors; verifier and classifier lie beside it (default: what 'weights list' names)",
    )
    words.add_argument(
        "--only", type=lambda words: tuple(words.split(",")), metavar="A,B", help="of samples, prompts, edits"
    )
    words.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    words.add_argument("--out", type=Path, required=True, metavar="DIR", help="the same folder goes on")
    text = "views and expressions that Morphable Diffusion draws of people whom it has not learned from"
    views = suites.add_parser("views", help=text, description=text, allow_abbrev=False)
    views.set_defaults(run=_views)
    views.add_argument("--data", type=Path, required=True, metavar="DIR", help="a packed set with --takes 2")
    views.add_argument("--weights", type=_named, action="append", default=[], metavar="NAME=DIR", help="a row; repeat")
    views.add_argument("--people", type=_count, default=16, metavar="N", help="the last N of the set (default: 16)")
    views.add_argument("--steps", type=_count, default=50, metavar="N", help="of sampling (default: %(default)s)")
    views.add_argument("--guidance", type=float, metavar="X", help="(default: what the weights say)")
    views.add_argument("--template", action="store_true", help="a row of the template engine's views")
    views.add_argument(
        "--mesh-error", type=_millimetres, action="append", default=[], metavar="MM", help="rows; repeat"
    )
    views.add_argument("--device", default="cpu")
    views.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    views.add_argument("--out", type=Path, required=True, metavar="DIR")
    text = "what Morphable Diffusion owes to mesh, shuffled expressions, augmentation, resolution and rate"
    studies = suites.add_parser("studies", help=text, description=text, allow_abbrev=False)
    studies.set_defaults(run=_studies)
    studies.add_argument("--data", type=Path, required=True, metavar="DIR", help="a packed set to learn from")
    text = "another packed set, with --takes 2, to measure with"
    studies.add_argument("--unseen", type=Path, required=True, metavar="DIR", help=text)
    studies.add_argument("--config", default="small", metavar="NAME|FILE", help="recipe of the stage")
    studies.add_argument(
        "--steps", type=_count, default=300, metavar="N", help="of each variant (default: %(default)s)"
    )
    text = "of sampling (default: %(default)s)"
    studies.add_argument("--sampling-steps", type=_count, default=10, metavar="N", help=text)
    studies.add_argument("--guidance", type=float, metavar="X", help="(default: what the weights say)")
    studies.add_argument("--only", type=lambda words: tuple(words.split(",")), metavar="A,B", help="these variants")
    studies.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    studies.add_argument("--out", type=Path, required=True, metavar="DIR", help="the same folder goes on")
    text = "what the refiner adds to pictures of fields, on people whom it has not learned from"
    stills = suites.add_parser("stills", help=text, description=text, allow_abbrev=False)
    stills.set_defaults(run=_stills)
    stills.add_argument("--data", type=Path, required=True, metavar="DIR", help="a packed set of large pictures")
    text = "rodin.safetensors (default: what 'weights list' names)"
    stills.add_argument("--weights", type=Path, metavar="FILE", help=text)
    text = "refiner.safetensors (default: what 'weights list' names)"
    stills.add_argument("--refiner", type=Path, metavar="FILE", help=text)
    stills.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    stills.add_argument("--out", type=Path, required=True, metavar="DIR")
    text = "what each part of the base model is worth"
    ablations = suites.add_parser("ablations", help=text, description=text, allow_abbrev=False)
    ablations.set_defaults(run=_ablations)
    ablations.add_argument("--data", type=Path, required=True, metavar="DIR", help="a packed set")
    ablations.add_argument("--stages", type=Path, required=True, metavar="DIR", help="what 'maquette train' made of it")
    ablations.add_argument("--config", default="small", metavar="NAME|FILE", help="recipe of the base stage")
    ablations.add_argument("--planes", default="small", metavar="NAME|FILE", help="recipe of planes in plain space")
    ablations.add_argument("--steps", type=int, default=600, metavar="N", help="of each variant (default: %(default)s)")
    ablations.add_argument("--heads", type=int, metavar="N", help="to learn from (default: all)")
    ablations.add_argument("--unseen", type=int, default=24, metavar="N", help="to measure with (default: %(default)s)")
    ablations.add_argument("--only", type=lambda words: tuple(words.split(",")), metavar="A,B", help="these variants")
    ablations.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    ablations.add_argument("--out", type=Path, required=True, metavar="DIR", help="the same folder goes on")
    options = parser.parse_args(list(arguments))
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    options.run(options)


def _span(text: str) -> range:
    first, colon, end = text.partition(":")
    if not (colon and first.isdigit() and end.isdigit() and int(first) < int(end)):
        raise argparse.ArgumentTypeError(f"{text!r} is no range such as 0:100")
    return range(int(first), int(end))


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1000")
    return int(text)


def _millimetres(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 50:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of millimetres, at most 50")
    return value


def _named(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (equals and name.isidentifier() and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=DIR")
    return name, Path(folder)


def _heads(options: argparse.Namespace) -> None:
    from backend.evaluation.heads import DEFAULT_ROWS, HeadsRequest, evaluate_heads
    from backend.weights.bundle import require

    people = options.seeds or (None if options.data else range(100))
    rows = options.rows or DEFAULT_ROWS
    request = HeadsRequest(options.out, options.weights or require("rodin"), people, options.data, rows, options.fitted)
    with _stops_kindly():
        evaluate_heads(request)
    print(f"Done: {options.out.resolve()} holds heads.json and sheets")


def _words(options: argparse.Namespace) -> None:
    from backend.evaluation.words import PARTS, WordsRequest, evaluate_words
    from backend.weights.bundle import require

    request = WordsRequest(options.out, options.weights or require("rodin"), options.only or PARTS)
    with _stops_kindly():
        evaluate_words(request)
    print(f"Done: {options.out.resolve()} holds words.json and a sheet of each part")


def _stills(options: argparse.Namespace) -> None:
    from backend.evaluation.stills import StillsRequest, evaluate_stills
    from backend.weights.bundle import require

    weights, refiner = options.weights or require("rodin"), options.refiner or require("refiner")
    evaluate_stills(StillsRequest(options.data, weights, refiner, options.out))
    print(f"Done: {options.out.resolve()} holds stills.json and stills.png")


def _views(options: argparse.Namespace) -> None:
    from backend.evaluation.views import RESERVED, ViewsRequest, evaluate_views

    weights = dict(options.weights)
    if not weights or len(weights) < len(options.weights) or not RESERVED.isdisjoint(weights):
        sentence = (
            "Name the weights to look at, such as --weights mine=run/morphable/weights; "
            f"{', '.join(sorted(RESERVED))} are other rows."
        )
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate")
    sizes = {name: getattr(options, name) for name in ("people", "steps", "guidance", "template", "device")}
    errors = tuple(options.mesh_error)
    evaluate_views(ViewsRequest(options.data, weights, options.out, mesh_errors=errors, **sizes))
    print(f"Done: {options.out.resolve()} holds views.json and sheet.png")


def _studies(options: argparse.Namespace) -> None:
    from backend.evaluation.view_studies import StudyRequest, run_studies, variants
    from backend.training.morphable_stage import MorphableStageConfig
    from backend.training.recipes import read_recipe

    recipe = read_recipe(MorphableStageConfig, "morphable", options.config)
    known = tuple(variants(recipe))
    only = options.only or known
    if unknown := sorted(set(only) - set(known)):
        sentence = f"There is no variant {unknown[0]}: choose among {', '.join(known)}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate")
    sizes = {name: getattr(options, name) for name in ("steps", "sampling_steps", "guidance")}
    with _stops_kindly():
        run_studies(StudyRequest(options.data, options.unseen, options.out, recipe, only, **sizes))
    print(f"Done: {options.out.resolve()} holds views.json and sheet.png")


@contextlib.contextmanager
def _stops_kindly() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        sentence = "Stopped; what was measured is kept, and the same command goes on."
        raise MaquetteError(ErrorCode.CANCELLED, sentence, stage="evaluate") from None


def _ablations(options: argparse.Namespace) -> None:
    from backend.evaluation.ablations import VARIANTS, AblationRequest, run_ablations
    from backend.training.base_stage import BaseStageConfig
    from backend.training.plane_set import PlaneSetConfig
    from backend.training.recipes import read_recipe

    only = options.only or tuple(VARIANTS)
    if unknown := sorted(set(only) - set(VARIANTS)):
        sentence = f"There is no variant {unknown[0]}: choose among {', '.join(VARIANTS)}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate")
    recipes = (
        read_recipe(BaseStageConfig, "base", options.config),
        read_recipe(PlaneSetConfig, "planes", options.planes),
    )
    sizes = {"steps": options.steps, "heads": options.heads, "unseen": options.unseen, "only": only}
    run_ablations(AblationRequest(options.data, options.stages, options.out, *recipes, **sizes))
    print(f"Done: {options.out.resolve()} holds ablations.json and ablations.png")
