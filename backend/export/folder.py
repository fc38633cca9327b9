"""The avatar folder: written aside as a whole, then put in place by one rename."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from backend.api import AvatarRequest, ErrorCode
from backend.errors import MaquetteError
from backend.export.arrays import npz_bytes
from backend.export.files import explained
from backend.export.glb import glb_bytes
from backend.export.preview import preview_png, turntable_gif

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from backend.rigging.avatar import RiggedAvatar

AVATAR_FILES = ("avatar.glb", "avatar.npz", "preview.png", "turntable.gif", "triplane.safetensors", "report.json")

# What file managers leave in any folder that they have shown.
_FOREIGN_BUT_WORTHLESS = (".DS_Store", "Thumbs.db", "desktop.ini")


def check_destination(directory: Path) -> None:
    """Refuse early what could only fail after minutes of work: see `staged_folder` for what may be written to.

    Raises:
        MaquetteError: OUTPUT_NOT_WRITABLE with what to do; nothing is left behind.
    """
    with staged_folder(directory, commit=False):
        pass


def read_request(directory: Path) -> AvatarRequest:
    """What the avatar in `directory` was generated from.

    Raises:
        MaquetteError: BAD_REQUEST when there is no such avatar, or its report is broken.
    """
    path = directory / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        sentence = f"{directory} is no avatar: give a folder that 'maquette generate' made."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request") from None
    except (ValueError, RecursionError):
        sentence = f"{path} is broken: generate the avatar again."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request") from None
    request = report.get("request") if isinstance(report, dict) else None
    if not isinstance(request, dict):
        sentence = f"{path} holds no request: give an avatar that was generated, not only rigged."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request")
    try:
        return AvatarRequest.from_json(request)
    except ValueError as problem:
        sentence = f"{path} holds no request that this version understands: {str(problem).rstrip('.')}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request") from None


def write_avatar_folder(
    directory: Path,
    avatar: RiggedAvatar,
    *,
    make_report: Callable[[], dict[str, Any]],
    more_files: Mapping[str, Callable[[Path], None]] | None = None,
    turntable_frames: int = 24,
) -> None:
    """Write the whole avatar folder; until the last moment `directory` is as it was.

    Args:
        directory: does not exist, is empty, or holds an earlier avatar, which is replaced. Parents are made.
        avatar: what to write.
        make_report: called when all else is written, for what goes into ``report.json``, so that it can hold the cost
            of writing too.
        more_files: further files of `AVATAR_FILES`, by name, each with the function that writes it to a path.
        turntable_frames: pictures in the turntable; it takes most of the time.

    Raises:
        MaquetteError: OUTPUT_NOT_WRITABLE or DISK_FULL; `directory` is as it was then.
    """
    more_files = more_files or {}
    if unknown := sorted(set(more_files) - set(AVATAR_FILES)):
        raise ValueError(f"{unknown} are no files of an avatar folder, so a later run would refuse to replace it.")
    with staged_folder(directory) as aside:
        (aside / "avatar.glb").write_bytes(glb_bytes(avatar))
        (aside / "avatar.npz").write_bytes(npz_bytes(avatar))
        (aside / "preview.png").write_bytes(preview_png(avatar))
        (aside / "turntable.gif").write_bytes(turntable_gif(avatar, frame_count=turntable_frames))
        for name, write in more_files.items():
            write(aside / name)
        report = json.dumps(make_report(), indent=2, ensure_ascii=False) + "\n"
        (aside / "report.json").write_text(report, encoding="utf-8")


@contextlib.contextmanager
def staged_folder(directory: Path, *, commit: bool = True) -> Iterator[Path]:
    """A new folder beside `directory` that takes its place when the block ends without an exception.

    `directory` may be missing, empty, or an avatar folder: one with a ``report.json`` and nothing but files of
    `AVATAR_FILES`. Whatever else it holds, such as a .blend file saved beside the avatar, is never deleted: it is
    refused. After an exception of any kind, Ctrl-C included, nothing new is left, parent folders included. With
    `commit=False` that is so after success too.
    """
    with explained(directory):
        directory = directory.expanduser().resolve()
        _refuse_what_is_not_ours(directory)
        made = _make_parents(directory.parent)
        aside = None
        try:
            aside = _new_sibling(directory, "part")
            yield aside
            if commit:
                _flush(aside)
                _put_in_place(aside, directory)
                made = []
        finally:
            if aside is not None:
                shutil.rmtree(aside, ignore_errors=True)
            for parent in reversed(made):
                with contextlib.suppress(OSError):
                    parent.rmdir()


def _refuse_what_is_not_ours(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        sentence = f"{directory} is a file: give the name of a folder for the avatar."
        raise MaquetteError(ErrorCode.OUTPUT_NOT_WRITABLE, sentence, stage="export")
    entries = {entry.name: entry for entry in directory.iterdir() if entry.name not in _FOREIGN_BUT_WORTHLESS}
    foreign = sorted(name for name, entry in entries.items() if name not in AVATAR_FILES or not entry.is_file())
    if foreign or (entries and "report.json" not in entries):
        what = foreign[0] if foreign else sorted(entries)[0]
        sentence = f"{directory} holds something other than an avatar ({what}): choose a new or empty folder."
        raise MaquetteError(ErrorCode.OUTPUT_NOT_WRITABLE, sentence, stage="export")
    if not os.access(directory, os.W_OK | os.X_OK):
        sentence = f"{directory} is read-only: choose a folder where you may write."
        raise MaquetteError(ErrorCode.OUTPUT_NOT_WRITABLE, sentence, stage="export")


def _make_parents(parent: Path) -> list[Path]:
    """Make the missing folders down to `parent`; returns those that were made, outermost first."""
    missing = []
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    made: list[Path] = []
    try:
        for folder in reversed(missing):
            folder.mkdir()
            made.append(folder)
    except OSError:
        for folder in reversed(made):
            folder.rmdir()
        raise
    return made


def _new_sibling(directory: Path, purpose: str) -> Path:
    """A new, hidden folder in the same file system, with the permissions a new folder normally gets."""
    for number in range(1000):
        sibling = directory.with_name(f".{directory.name}.{os.getpid()}-{number}.{purpose}")
        with contextlib.suppress(FileExistsError):
            sibling.mkdir()
            return sibling
    raise FileExistsError(17, "too many unfinished avatars beside it", str(directory))


def _put_in_place(aside: Path, directory: Path) -> None:
    """Rename `aside` to `directory`; an avatar that is there already comes back if that fails."""
    if not directory.exists():
        aside.rename(directory)
        return
    old = _new_sibling(directory, "old")
    old.rmdir()
    try:
        directory.rename(old)
        aside.rename(directory)
    except BaseException:
        if not directory.exists():
            old.rename(directory)
        raise
    _sync(directory.parent)
    shutil.rmtree(old, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    _sync(folder)


def _sync(folder: Path) -> None:
    """Flush the list of a folder's files; Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
