"""The command line, `maquette`.

Reads the arguments, hands one request to `backend.pipeline`, draws its progress on stdout, and says every failure in
one sentence on stderr. Nothing heavy is imported before the arguments are understood, so that `--help` answers at once.

Exit status: 0 when the result is there; 130 after Ctrl-C or SIGTERM; otherwise 2 plus the position of the failure's
`ErrorCode`, so that 2 (a bad request) means what it means for every other command. `exit_status` is that rule.

`MAQUETTE_DEBUG=1` shows stack traces and the chatter of native libraries, both of which are hidden otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api import AvatarRequest, ErrorCode, default_engine
from backend.command_parser import make_parser
from backend.errors import MaquetteError
from backend.terminal import quiet_stderr, report, say, sigterm_as_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MOST_PEOPLE = 10_000
"""Whom one `maquette sample` makes at most: a folder's name has four digits."""
_ELSEWHERE = {
    "dataset": ("render a training set of synthetic heads", "synthetic_data.cli"),
    "train": ("train the learned engines", "backend.training.cli"),
    "evaluate": ("measure the engines on people that nobody learned from", "backend.evaluation.cli"),
    "weights": ("list, check and import weights of the learned engines", "backend.weights.cli"),
}
"""Commands with a parser of their own: what they are for, and the module whose `main` runs them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; `arguments` default to those of the process."""
    with contextlib.suppress(AttributeError):  # a path that the terminal's encoding lacks must not end the job
        sys.stdout.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    debug = os.environ.get("MAQUETTE_DEBUG") == "1"
    with quiet_stderr(enabled=not debug) as stderr, sigterm_as_ctrl_c():
        try:
            options = make_parser(_RUNS, _WORDS).parse_args(arguments, argparse.Namespace(stderr=stderr))
            options.run(options)
            return 0
        except (Exception, KeyboardInterrupt) as problem:
            if debug:
                import traceback

                traceback.print_exception(problem, file=stderr)
            error = describe(problem)
            print(f"error: {error.message}", file=stderr, flush=True)
            return exit_status(error.code)
        finally:
            say("")  # what argparse wrote may still wait for a reader that is gone


def exit_status(code: ErrorCode) -> int:
    """Status of the process for a failure: 130 when it was cancelled, else 2 plus the code's position."""
    return 130 if code is ErrorCode.CANCELLED else 2 + list(ErrorCode).index(code)


def describe(problem: BaseException) -> MaquetteError:
    """The sentence and code for anything that can end a job, however deep it was raised."""
    if isinstance(problem, MaquetteError):
        return problem
    if isinstance(problem, KeyboardInterrupt):
        return MaquetteError(ErrorCode.CANCELLED, "Stopped; nothing was written.", stage="command line")
    # torch raises a RuntimeError for its own allocators, a subclass of that name for the accelerators.
    allocation = type(problem).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(problem)
    if isinstance(problem, MemoryError) or allocation:
        sentence = "There is not enough memory for this job: close other programs or choose --quality draft."
        return MaquetteError(ErrorCode.OUT_OF_MEMORY, sentence, stage="command line")
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        sentence = "The disk is full: free some space or choose another --out folder; nothing was written."
        return MaquetteError(ErrorCode.DISK_FULL, sentence, stage="command line")
    if isinstance(problem, OSError) and problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        sentence = f"Permission was denied for {problem.filename}: choose an --out folder that you may write to."
        return MaquetteError(ErrorCode.OUTPUT_NOT_WRITABLE, sentence, stage="command line")
    if isinstance(problem, ImportError) and "cannot open shared object file" in str(problem):
        library = str(problem).split(":")[0]
        sentence = f"The system library {library} is missing: on Debian, 'apt install libgl1 libglib2.0-0' brings it."
        return MaquetteError(ErrorCode.INTERNAL, sentence, stage="command line")
    sentence = (
        f"Something went wrong inside Maquette ({type(problem).__name__}); "
        "please run the command again with MAQUETTE_DEBUG=1 and report what it shows."
    )
    return MaquetteError(ErrorCode.INTERNAL, sentence, stage="command line")


def _generate(options: argparse.Namespace) -> None:
    portraits = _own_or_example(options)
    request = AvatarRequest(
        # Absolute, so that the report still names them when it is read from another folder.
        portraits=tuple(str(Path(portrait).absolute()) for portrait in portraits),
        prompt=options.prompt,
        engine=options.engine or default_engine(options.body_model),
        seed=options.seed,
        quality=options.quality,
        mesh=options.mesh,
        device=options.device,
        body_model=options.body_model,
        expression=options.expression,
    )
    _check(request)
    from backend import pipeline

    report(options.out, lambda progress: pipeline.generate(request, options.out, progress))


def _own_or_example(options: argparse.Namespace) -> tuple[str, ...]:
    """The portraits of the command line, or the example."""
    if not options.example:
        return tuple(options.portraits)
    if options.portraits:
        sentence = "Give portraits of your own or --example, not both."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="command line")
    return (_example_portrait(),)


def _views(options: argparse.Namespace) -> None:
    portraits = _own_or_example(options)
    if len(portraits) != 1:
        raise MaquetteError(ErrorCode.BAD_REQUEST, "Give one portrait, or --example.", stage="command line")
    from backend import novel_views

    request = novel_views.ViewsRequest(
        Path(portraits[0]).absolute(),
        (*options.expression, *(novel_views.read_curve(options.curve) if options.curve else ())),
        tuple(path.absolute() for path in options.expression_of),
        options.weights,
        options.views,
        options.steps,
        options.guidance,
        options.seed,
        options.device,
    )
    report(options.out, lambda progress: novel_views.draw(request, options.out, progress), "sheet.png and the views")


def _edit(options: argparse.Namespace) -> None:
    from backend import engines
    from backend.export.folder import read_request

    made_from = read_request(options.avatar)
    given = {name: value for name in ("seed", "quality") if (value := getattr(options, name)) is not None}
    request = dataclasses.replace(made_from, edits=(*made_from.edits, options.words), **given)
    _check(request)
    engines.require(request)
    for portrait in map(Path, request.portraits):
        if not portrait.is_file():
            sentence = f"The avatar's portrait {portrait} is no longer there: put it back, it is needed for every edit."
            raise MaquetteError(ErrorCode.BAD_IMAGE, sentence, stage="command line")
    from backend import pipeline

    report(options.out, lambda progress: pipeline.generate(request, options.out, progress))


def _sample(options: argparse.Namespace) -> None:
    if not 1 <= options.count <= _MOST_PEOPLE:
        sentence = f"The count must be a whole number from 1 to {_MOST_PEOPLE}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="command line")
    people = {
        options.out / f"{number:04}": AvatarRequest(
            engine="rodin", seed=options.seed + number, quality=options.quality, anyone=True
        )
        for number in range(options.count)
    }
    for request in people.values():
        _check(request)
    from backend import engines
    from backend.export.files import explained

    engines.require(next(iter(people.values())))
    with explained(options.out):
        missing = {folder: request for folder, request in people.items() if not _is_made(folder, request)}
    from backend import pipeline

    def job(progress: Callable[[str, float], None]) -> None:
        for folder, request in missing.items():
            pipeline.generate(request, folder, lambda stage, part, who=folder.name: progress(f"{who} {stage}", part))

    first, last = min(people).name, max(people).name
    try:
        report(options.out, job, f"{options.count} avatars, {first} to {last}")
    except KeyboardInterrupt:
        sentence = "Stopped; whoever was finished is kept, and the same command goes on."
        raise MaquetteError(ErrorCode.CANCELLED, sentence, stage="command line") from None


def _is_made(folder: Path, request: AvatarRequest) -> bool:
    """Whether the avatar of `request` is in `folder`. Raises `MaquetteError` when something else is."""
    from backend.export.folder import check_destination, read_request

    if not folder.exists():
        return False
    if not (folder / "report.json").exists():
        check_destination(folder)
        return False
    if read_request(folder) != request:
        sentence = f"{folder} holds an avatar of another seed or kind: choose another --out folder."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="command line")
    return True


def _check(request: AvatarRequest) -> None:
    try:
        request.validate()
    except ValueError as problem:
        raise MaquetteError(ErrorCode.BAD_REQUEST, str(problem), stage="command line") from None


def _still(options: argparse.Namespace) -> None:
    if not (abs(options.azimuth) <= 360 and abs(options.elevation) <= 80):
        sentence = "The azimuth must be a number from -360 to 360, the elevation one from -80 to 80."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="command line")
    from backend import stills

    stills.draw(options.avatar, options.out, options.azimuth, options.elevation)
    say(f"Done: {options.out.resolve()}\n")


def _rig(options: argparse.Namespace) -> None:
    from backend import pipeline

    report(options.out, lambda progress: pipeline.rig(options.mesh, options.like, options.out, progress))


def _serve(options: argparse.Namespace) -> None:
    from backend.server import serve

    serve.serve(options.host, options.port, options.data, with_parent=options.with_parent, log=options.stderr)


def _elsewhere(options: argparse.Namespace) -> None:
    from importlib import import_module

    import_module(_ELSEWHERE[options.name][1]).main(options.arguments)


def _example_portrait() -> str:
    """Path of NASA's portrait of Eileen Collins, a file of the scikit-image package."""
    from importlib.util import find_spec

    package = find_spec("skimage")
    assert package is not None and package.origin is not None, "scikit-image is a dependency"
    return str(Path(package.origin).parent / "data" / "astronaut.png")


_RUNS = {
    "generate": _generate,
    "views": _views,
    "edit": _edit,
    "sample": _sample,
    "still": _still,
    "rig": _rig,
    "serve": _serve,
    "elsewhere": _elsewhere,
}
_WORDS = {name: words for name, (words, _) in _ELSEWHERE.items()}
