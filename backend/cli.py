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
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from backend.api import DEVICES, ENGINES, MESHES, QUALITIES, AvatarRequest, ErrorCode
from backend.arguments import Parser
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

_BAR_WIDTH = 24
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
    with _quiet_stderr(enabled=not debug) as stderr, _sigterm_as_ctrl_c():
        try:
            options = _parser().parse_args(arguments, argparse.Namespace(stderr=stderr))
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
            _say("")  # what argparse wrote may still wait for a reader that is gone


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


class _VersionAction(argparse.Action):
    """Prints the version; looks it up only then, because the look-up takes longer than the rest of the start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"maquette {version('maquette')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="maquette",
        description="One portrait becomes a rigged, textured 3D head for Blender, on your own computer.",
        epilog="Exit status: 0 done, 2 bad request, 130 stopped, 3 to 18 other failures, each with one sentence.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_VersionAction, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    generate = commands.add_parser(
        "generate", help="make an avatar from one to five portraits of a person", allow_abbrev=False
    )
    generate.set_defaults(run=_generate)
    generate.add_argument("portraits", nargs="*", metavar="PORTRAIT", help="one to five pictures of the same person")
    generate.add_argument(
        "--example", action="store_true", help="use the public-domain astronaut portrait that comes with scikit-image"
    )
    generate.add_argument("--prompt", default="", metavar="TEXT", help="describe the person; alone or with a portrait")
    for option, default, allowed, text in (
        ("--engine", AvatarRequest.engine, ENGINES, "how the head is made"),
        ("--quality", AvatarRequest.quality, QUALITIES, "time against detail"),
        ("--mesh", AvatarRequest.mesh, MESHES, "the body model's own faces, or the plain surface of the field"),
        ("--device", AvatarRequest.device, DEVICES, "where to compute"),
    ):
        # Not `choices`: the request itself says which values it understands, in a better sentence.
        generate.add_argument(option, default=default, metavar="|".join(allowed), help=f"{text} (default: {default})")
    generate.add_argument(
        "--body-model", default=AvatarRequest.body_model, metavar="NAME", help="morphable model (default: %(default)s)"
    )
    generate.add_argument(
        "--expression",
        default="",
        metavar="TEXT",
        help="what the engine 'morphable' draws (default: the portrait's own)",
    )
    generate.add_argument("--seed", type=_whole_number, default=0, metavar="N", help="same seed, same avatar")
    generate.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder for the avatar")

    _add_views(commands)

    edit = commands.add_parser("edit", help="change an avatar of the engine 'rodin' by words", allow_abbrev=False)
    edit.set_defaults(run=_edit)
    edit.add_argument("avatar", type=_path, metavar="AVATAR_DIR", help="the avatar, which stays as it is")
    edit.add_argument("words", metavar="TEXT", help='what is to change, such as "with red hair"')
    edit.add_argument("--seed", type=_whole_number, metavar="N", help="same seed, same avatar (default: the avatar's)")
    edit.add_argument(
        "--quality", metavar="|".join(QUALITIES), help="time against detail (default: that of the avatar)"
    )
    edit.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder for the changed avatar")

    sample = commands.add_parser("sample", help="make avatars of people whom nobody described", allow_abbrev=False)
    sample.set_defaults(run=_sample)
    sample.add_argument("--count", type=_whole_number, required=True, metavar="N", help="how many people")
    sample.add_argument(
        "--seed", type=_whole_number, default=0, metavar="N", help="that of the first; each next has one more"
    )
    sample.add_argument(
        "--quality",
        default=AvatarRequest.quality,
        metavar="|".join(QUALITIES),
        help="time against detail (default: %(default)s)",
    )
    sample.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder for the avatars' folders")

    rig = commands.add_parser(
        "rig", help="give bones, weights and shape keys to an edited or foreign head", allow_abbrev=False
    )
    rig.set_defaults(run=_rig)
    rig.add_argument(
        "mesh", type=_path, metavar="MESH", help="the head to rig: GLB, glTF, OBJ, PLY, STL; any axes, any unit"
    )
    rig.add_argument("--like", type=_path, required=True, metavar="AVATAR_DIR", help="avatar whose rig it takes over")
    rig.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder for the rigged head")

    serve = commands.add_parser("serve", help="wait for the Blender add-on's jobs", allow_abbrev=False)
    serve.set_defaults(run=_serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    serve.add_argument("--port", type=_whole_number, default=0, metavar="N", help="port; 0 takes a free one")
    serve.add_argument("--data", type=_path, metavar="DIR", help="folder of the jobs (default: the user's own)")
    serve.add_argument("--with-parent", action="store_true", help="end when standard input is closed")

    for name, (words, _) in _ELSEWHERE.items():
        # Their options are understood elsewhere: here nothing begins one.
        command = commands.add_parser(name, help=words, add_help=False, prefix_chars="\0")
        command.set_defaults(run=_elsewhere, name=name)
        command.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _add_views(commands: argparse._SubParsersAction[Parser]) -> None:
    views = commands.add_parser(
        "views",
        help="draw a person from new sides and in other expressions, without a mesh (experimental)",
        description="Pictures by Morphable Diffusion, whose weights are not in the box.",
        allow_abbrev=False,
    )
    views.set_defaults(run=_views)
    views.add_argument("portraits", nargs="*", metavar="PORTRAIT", help="a picture of a person")
    views.add_argument("--example", action="store_true", help="use scikit-image's portrait of an astronaut")
    views.add_argument(
        "--expression",
        action="append",
        default=[],
        metavar="TEXT",
        help="such as 'smile' or 'laugh=0.5,jawOpen=0.6'; again for another row (default: the portrait's own)",
    )
    views.add_argument("--curve", type=_path, metavar="FILE", help="more rows: a text file with an expression a line")
    views.add_argument(
        "--expression-of",
        action="append",
        type=_path,
        default=[],
        metavar="PICTURE",
        help="take the expression of a picture, of whomever; again for another row",
    )
    views.add_argument("--weights", type=_path, metavar="DIR", help="folder of the weights (default: MAQUETTE_WEIGHTS)")
    views.add_argument("--views", type=_whole_number, metavar="N", help="how many (default: what the weights say)")
    views.add_argument(
        "--steps", type=_whole_number, default=20, metavar="N", help="of sampling (default: %(default)s)"
    )
    views.add_argument(
        "--guidance", type=_number, default=2.0, metavar="X", help="1 is without guidance (default: %(default)s)"
    )
    views.add_argument("--seed", type=_whole_number, default=0, metavar="N", help="same seed, same pictures")
    views.add_argument("--device", default="auto", metavar="|".join(DEVICES), help="where to compute (default: auto)")
    views.add_argument("--out", type=_path, required=True, metavar="DIR", help="new folder for the pictures")


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("the path is empty" if not text else "the path holds a zero byte")
    return Path(text)


def _generate(options: argparse.Namespace) -> None:
    portraits = _own_or_example(options)
    request = AvatarRequest(
        # Absolute, so that the report still names them when it is read from another folder.
        portraits=tuple(str(Path(portrait).absolute()) for portrait in portraits),
        prompt=options.prompt,
        engine=options.engine,
        seed=options.seed,
        quality=options.quality,
        mesh=options.mesh,
        device=options.device,
        body_model=options.body_model,
        expression=options.expression,
    )
    _check(request)
    from backend import pipeline

    _report(options.out, lambda progress: pipeline.generate(request, options.out, progress))


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
    _report(options.out, lambda progress: novel_views.draw(request, options.out, progress), "sheet.png and the views")


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

    _report(options.out, lambda progress: pipeline.generate(request, options.out, progress))


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
        _report(options.out, job, f"{options.count} avatars, {first} to {last}")
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


def _rig(options: argparse.Namespace) -> None:
    from backend import pipeline

    _report(options.out, lambda progress: pipeline.rig(options.mesh, options.like, options.out, progress))


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


def _report(out: Path, job: Callable[[Callable[[str, float], None]], object], results: str = "") -> None:
    """Run `job` with a progress display, then say where its `results` are: all files in `out` if not said otherwise."""
    start = time.monotonic()
    progress = _Progress()
    try:
        job(progress)
    finally:
        progress.close()
    results = results or ", ".join(sorted(path.name for path in out.iterdir()))
    _say(f"Done in {time.monotonic() - start:.0f} s: {out.resolve()} holds {results}\n")


class _Progress:
    """One line per stage: redrawn in place on a terminal, written once when the stage is over anywhere else."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._stage = ""
        self._start = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        """Show that `stage` is done to `fraction` in [0, 1]; a new name ends the stage before it."""
        if stage != self._stage:
            self.close()
            self._stage, self._start = stage, time.monotonic()
        if self._live:
            filled = round(min(max(fraction, 0.0), 1.0) * _BAR_WIDTH)
            _say(f"\r{stage:<12} [{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {self._seconds()}")

    def close(self) -> None:
        """End the line of the stage at hand."""
        if self._stage:
            _say("\n" if self._live else f"{self._stage:<12} {self._seconds()}\n")
            self._stage = ""

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._start:6.1f} s"


def _say(text: str) -> None:
    """Write to stdout. Once its reader is gone (`maquette … | head`) the job goes on in silence."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        # Also keeps the interpreter from complaining when it flushes stdout on its way out.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)


@contextlib.contextmanager
def _quiet_stderr(*, enabled: bool) -> Iterator[TextIO]:
    """Yield a stream for our own sentences, and drop what native libraries write to file descriptor 2 meanwhile.

    MediaPipe, Blender and OpenCV log there from C++, out of reach of `logging` and `warnings`.
    """
    if not enabled:
        yield sys.stderr
        return
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace") as stream:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        os.close(devnull)
        try:
            yield stream
        finally:
            sys.stderr.flush()
            os.dup2(stream.fileno(), 2)


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let a polite kill unwind like Ctrl-C, so that the job removes what it has half-written."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
