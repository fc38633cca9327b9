"""The avatar folder: whole or not at all, and nobody's files are lost."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.export.arrays import npz_bytes
from backend.export.folder import AVATAR_FILES, check_destination, staged_folder, write_avatar_folder
from backend.export.glb import glb_bytes


def fill(folder, text="new"):
    """Write an avatar folder's files quickly."""
    with staged_folder(folder) as aside:
        (aside / "avatar.glb").write_text(text)
        (aside / "report.json").write_text("{}")


def tree(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_new_folder_holds_the_whole_avatar_and_the_same_bytes_each_time(avatar, preview, turntable, tmp_path):
    seen = []

    def report():
        seen.extend(tmp_path.iterdir())
        return {"total_seconds": 1.5, "request": {"prompt": "Zoë"}}

    write_avatar_folder(
        tmp_path / "ada",
        avatar,
        make_report=report,
        more_files={"triplane.safetensors": lambda path: path.write_bytes(b"planes")},
    )
    assert sorted(path.name for path in (tmp_path / "ada").iterdir()) == sorted(AVATAR_FILES)
    assert json.loads((tmp_path / "ada/report.json").read_text(encoding="utf-8"))["request"]["prompt"] == "Zoë"
    expected = {"avatar.glb": glb_bytes(avatar), "avatar.npz": npz_bytes(avatar)}
    for name, data in (expected | {"preview.png": preview, "turntable.gif": turntable}).items():
        assert (tmp_path / "ada" / name).read_bytes() == data, name
    assert [path.name.startswith(".ada.") for path in seen] == [True]  # written aside, out of sight
    assert list(tmp_path.iterdir()) == [tmp_path / "ada"]


def test_a_file_that_a_later_run_would_refuse_to_replace_is_not_written(avatar, tmp_path):
    with pytest.raises(ValueError, match=r"notes.txt"):
        write_avatar_folder(tmp_path / "a", avatar, make_report=dict, more_files={"notes.txt": lambda path: None})
    assert list(tmp_path.iterdir()) == []


def test_missing_parents_are_made_and_an_empty_folder_is_used(tmp_path):
    fill(tmp_path / "deep/er/ada")
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty")
    assert tree(tmp_path / "deep/er/ada") == tree(tmp_path / "empty") == {"avatar.glb": "new", "report.json": "{}"}


def test_an_earlier_avatar_is_replaced_as_a_whole(tmp_path):
    fill(tmp_path / "ada", "old")
    (tmp_path / "ada/turntable.gif").write_text("old")
    (tmp_path / "ada/.DS_Store").write_text("left by a file manager")
    fill(tmp_path / "ada")
    assert tree(tmp_path) == {"ada/avatar.glb": "new", "ada/report.json": "{}"}


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    fill(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/avatar.glb").read_text() == "new"


@pytest.mark.parametrize(
    "contents",
    [
        {"report.json": "{}", "avatar.glb": "x", "scene.blend": "a day's work"},
        {"holiday.jpg": "x"},
        {"avatar.glb": "somebody else's"},
        {"report.json/inner": "x"},
    ],
)
def test_a_folder_with_anything_else_in_it_is_refused_and_untouched(tmp_path, contents):
    for name, text in contents.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(text)
    before = tree(tmp_path)
    with pytest.raises(MaquetteError, match="holds something other than an avatar") as caught:
        fill(tmp_path / "out")
    assert caught.value.code == ErrorCode.OUTPUT_NOT_WRITABLE
    assert tree(tmp_path) == before


def test_a_file_in_the_place_is_refused_and_untouched(tmp_path):
    (tmp_path / "out").write_text("mine")
    for place in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(MaquetteError) as caught:
            fill(place)
        assert caught.value.code == ErrorCode.OUTPUT_NOT_WRITABLE
        assert caught.value.message.endswith(".") and "\n" not in caught.value.message
    assert tree(tmp_path) == {"out": "mine"}


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_job_leaves_everything_as_it_was(tmp_path, problem):
    fill(tmp_path / "ada", "old")
    for place in (tmp_path / "ada", tmp_path / "new/er"):
        with pytest.raises(problem), staged_folder(place) as aside:
            (aside / "avatar.glb").write_text("half")
            raise problem
    assert tree(tmp_path) == {"ada/avatar.glb": "old", "ada/report.json": "{}"}
    assert list(tmp_path.iterdir()) == [tmp_path / "ada"]


def test_the_destination_can_be_checked_before_the_work(tmp_path):
    check_destination(tmp_path / "deep/er/ada")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MaquetteError, match="is a file"):
        check_destination(tmp_path / "file")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system in which nothing can be made")
def test_a_place_where_nothing_can_be_made_is_one_sentence():
    with pytest.raises(MaquetteError, match="cannot be written") as caught:
        check_destination(Path("/proc/self/avatar"))
    assert caught.value.code == ErrorCode.OUTPUT_NOT_WRITABLE


@pytest.fixture
def ordinary_user():
    """A folder of an ordinary user's, and being one: nothing is read-only to the root user."""
    if not hasattr(os, "setresuid"):
        pytest.skip("needs POSIX permissions")
    folder = Path(tempfile.mkdtemp())  # tmp_path lies where only its owner may look
    folder.chmod(0o777)
    is_root = os.geteuid() == 0
    if is_root:
        os.setresuid(65534, 65534, 0)
    yield folder
    if is_root:
        os.setresuid(0, 0, 0)
    shutil.rmtree(folder)


def test_a_read_only_folder_is_one_sentence(ordinary_user):
    locked = ordinary_user / "locked"
    locked.mkdir(mode=0o555)
    for place in (locked, locked / "ada", locked / "deep/er"):
        with pytest.raises(MaquetteError, match=r"read-only|permission denied") as caught:
            check_destination(place)
        assert caught.value.code == ErrorCode.OUTPUT_NOT_WRITABLE
        assert caught.value.message.endswith(".")
    check_destination(ordinary_user / "open")  # it is not the test that cannot write


WITHOUT_ROOM = """
import pathlib, sys
from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.export.folder import staged_folder
from backend.export.files import write_file
root = pathlib.Path(sys.argv[1])
def folder():
    with staged_folder(root / "ada") as aside:
        (aside / "avatar.glb").write_bytes(bytes(2**20))
for write in (folder, lambda: write_file(root / "avatar.glb", bytes(2**20))):
    try:
        write()
        sys.exit("written")
    except MaquetteError as problem:
        assert problem.code == ErrorCode.DISK_FULL, problem
        assert problem.message.startswith("There is no room left to write " + str(root)), problem
    assert list(root.iterdir()) == [], list(root.iterdir())
"""


def test_a_full_disk_is_one_sentence_and_nothing_is_left(tmp_path):
    mount = f"mount -t tmpfs -o size=64k none {tmp_path}"
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this system lets us make no small file system to fill")
    command = [unshare, "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c", WITHOUT_ROOM, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
