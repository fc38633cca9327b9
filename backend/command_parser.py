"""The options of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from backend.api import DEVICES, ENGINES, MESHES, QUALITIES, AvatarRequest, default_engine
from backend.arguments import Parser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Run = Callable[[argparse.Namespace], None]


class _VersionAction(argparse.Action):
    """Prints the version; looks it up only then, because the look-up takes longer than the rest of the start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"maquette {version('maquette')}")
        parser.exit()


def make_parser(runs: Mapping[str, Run], elsewhere: Mapping[str, str]) -> argparse.ArgumentParser:
    """The parser of all commands. `runs` are what each command does with its options; `elsewhere` are commands with a
    parser of their own, and what they are for: they take their arguments, as they are, to ``runs["elsewhere"]``."""
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
    generate.set_defaults(run=runs["generate"])
    generate.add_argument("portraits", nargs="*", metavar="PORTRAIT", help="one to five pictures of the same person")
    generate.add_argument(
        "--example", action="store_true", help="use the public-domain astronaut portrait that comes with scikit-image"
    )
    generate.add_argument("--prompt", default="", metavar="TEXT", help="describe the person; alone or with a portrait")
    for option, default, allowed, text in (
        ("--quality", AvatarRequest.quality, QUALITIES, "time against detail"),
        ("--mesh", AvatarRequest.mesh, MESHES, "the body model's own faces, or the plain surface of the field"),
        ("--device", AvatarRequest.device, DEVICES, "where to compute"),
    ):
        # Not `choices`: the request itself says which values it understands, in a better sentence.
        generate.add_argument(option, default=default, metavar="|".join(allowed), help=f"{text} (default: {default})")
    generate.add_argument(
        "--engine",
        metavar="|".join(ENGINES),
        help=f"how the head is made (default: {default_engine()}; with another body model {default_engine('')})",
    )
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

    _add_views(commands, runs["views"])

    edit = commands.add_parser("edit", help="change an avatar of the engine 'rodin' by words", allow_abbrev=False)
    edit.set_defaults(run=runs["edit"])
    edit.add_argument("avatar", type=_path, metavar="AVATAR_DIR", help="the avatar, which stays as it is")
    edit.add_argument("words", metavar="TEXT", help='what is to change, such as "with red hair"')
    edit.add_argument("--seed", type=_whole_number, metavar="N", help="same seed, same avatar (default: the avatar's)")
    edit.add_argument(
        "--quality", metavar="|".join(QUALITIES), help="time against detail (default: that of the avatar)"
    )
    edit.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder for the changed avatar")

    sample = commands.add_parser("sample", help="make avatars of people whom nobody described", allow_abbrev=False)
    sample.set_defaults(run=runs["sample"])
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

    still = commands.add_parser(
        "still", help="a sharp picture of an avatar's radiance field from any side", allow_abbrev=False
    )
    still.set_defaults(run=runs["still"])
    still.add_argument("avatar", type=_path, metavar="AVATAR_DIR", help="the avatar, which stays as it is")
    for option, default, text in (
        ("--azimuth", 0.0, "from where it is seen: 0 in front, 90 from its left"),
        ("--elevation", 0.0, "above the eyes, from -80 to 80"),
    ):
        still.add_argument(
            option, type=_number, default=default, metavar="DEGREES", help=f"{text} (default: {default:.0f})"
        )
    still.add_argument("--out", type=_path, required=True, metavar="FILE", help="PNG, 1024 x 1024, no background")

    rig = commands.add_parser(
        "rig", help="give bones, weights and shape keys to an edited or foreign head", allow_abbrev=False
    )
    rig.set_defaults(run=runs["rig"])
    rig.add_argument(
        "mesh", type=_path, metavar="MESH", help="the head to rig: GLB, glTF, OBJ, PLY, STL; any axes, any unit"
    )
    rig.add_argument("--like", type=_path, required=True, metavar="AVATAR_DIR", help="avatar whose rig it takes over")
    rig.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder for the rigged head")

    serve = commands.add_parser("serve", help="wait for the Blender add-on's jobs", allow_abbrev=False)
    serve.set_defaults(run=runs["serve"])
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    serve.add_argument("--port", type=_whole_number, default=0, metavar="N", help="port; 0 takes a free one")
    serve.add_argument("--data", type=_path, metavar="DIR", help="folder of the jobs (default: the user's own)")
    serve.add_argument("--with-parent", action="store_true", help="end when standard input is closed")

    for name, words in elsewhere.items():
        # Their options are understood elsewhere: here nothing begins one.
        command = commands.add_parser(name, help=words, add_help=False, prefix_chars="\0")
        command.set_defaults(run=runs["elsewhere"], name=name)
        command.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _add_views(commands: argparse._SubParsersAction[Parser], run: Run) -> None:
    views = commands.add_parser(
        "views",
        help="draw a person from new sides and in other expressions, without a mesh (experimental)",
        description="Pictures by Morphable Diffusion, whose weights are not in the box.",
        allow_abbrev=False,
    )
    views.set_defaults(run=run)
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
        "--guidance", type=_number, metavar="X", help="1 is without guidance (default: what the weights say)"
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
