"""The command line: quick to answer, honest about progress, and clear about every kind of failure."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from backend.api import ENGINES, QUALITIES, ErrorCode
from backend.cli import describe, exit_status, main
from backend.errors import MaquetteError

COMMAND = [sys.executable, "-m", "backend"]


def _seconds(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def test_help_answers_in_under_half_a_second() -> None:
    assert min(_seconds("--help") for _ in range(5)) < 0.5


@pytest.mark.parametrize("command", ["generate", "edit", "sample"])
def test_reading_a_command_loads_no_numerical_library(command: str) -> None:
    program = (
        f"import sys, backend.cli; command = {command!r}\n"
        "try: backend.cli.main([command, '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'scipy', 'skimage', 'PIL', 'cv2', 'mediapipe', 'bpy'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_help_names_every_choice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["generate", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(choice in text for choice in ENGINES + QUALITIES)


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"maquette {version('maquette')}\n"


def test_every_failure_has_its_own_status_that_is_not_success() -> None:
    statuses = {code: exit_status(code) for code in ErrorCode}
    assert len(set(statuses.values())) == len(ErrorCode)
    assert statuses[ErrorCode.BAD_REQUEST] == 2  # as argparse, grep and most others have it
    assert statuses[ErrorCode.CANCELLED] == 130  # 128 + SIGINT
    assert 0 not in statuses.values() and 1 not in statuses.values()


def _allocation_failure() -> BaseException:
    with pytest.raises(MemoryError) as caught:
        np.zeros(2**60, np.uint8)
    return caught.value


def _torch_allocation_failure() -> BaseException:
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2**60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (_allocation_failure, ErrorCode.OUT_OF_MEMORY),
        (_torch_allocation_failure, ErrorCode.OUT_OF_MEMORY),
        (lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ErrorCode.DISK_FULL),
        (lambda: OSError(errno.EFBIG, os.strerror(errno.EFBIG)), ErrorCode.DISK_FULL),
        (lambda: PermissionError(errno.EACCES, "no", "/a/folder"), ErrorCode.OUTPUT_NOT_WRITABLE),
        (lambda: OSError(errno.EROFS, "no", "/a/folder"), ErrorCode.OUTPUT_NOT_WRITABLE),
        (KeyboardInterrupt, ErrorCode.CANCELLED),
        (lambda: ZeroDivisionError("division by zero"), ErrorCode.INTERNAL),
    ],
)
def test_anything_that_ends_a_job_becomes_one_sentence(problem, code: ErrorCode) -> None:
    error = describe(problem())
    assert error.code is code
    assert re.fullmatch(r"[A-Z][^\n]*\.", error.message)
    assert "Error(" not in error.message


def test_a_missing_system_library_is_named() -> None:
    problem = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    assert "libGL.so.1" in describe(problem).message


def test_our_own_failures_keep_their_words() -> None:
    error = MaquetteError(ErrorCode.NO_FACE, "There is no face in the picture.", stage="portrait")
    assert describe(error) is error


def test_stack_traces_are_for_those_who_ask(tmp_path: Path) -> None:
    arguments = [*COMMAND, "generate", str(tmp_path / "none.jpg"), "--out", str(tmp_path / "avatar")]
    quiet, loud = (
        subprocess.run(
            arguments, capture_output=True, text=True, check=False, env=os.environ | {"MAQUETTE_DEBUG": flag}
        )
        for flag in ("0", "1")
    )
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in loud.stderr
    assert loud.stderr.endswith(quiet.stderr)
    assert quiet.returncode == loud.returncode == exit_status(ErrorCode.BAD_IMAGE)


def test_a_reader_that_leaves_early_is_no_failure() -> None:
    """As in `maquette --help | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        result = subprocess.run([*COMMAND, "--help"], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


STAGES = "progress = backend.terminal.Progress(); [progress(s, f) for s in ('fit', 'bake') for f in (0, 0.5, 1)]"
PROGRESS = [sys.executable, "-c", f"import backend.terminal; {STAGES}; progress.close()"]


def test_in_a_log_every_stage_is_one_plain_line() -> None:
    text = subprocess.run(PROGRESS, check=True, capture_output=True, text=True).stdout
    assert re.fullmatch(r"fit +\d+\.\d s\nbake +\d+\.\d s\n", text)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")
def test_on_a_terminal_every_stage_redraws_its_line() -> None:
    master, slave = os.openpty()
    subprocess.run(PROGRESS, check=True, stdout=slave)
    os.close(slave)
    text = os.read(master, 10_000).decode()
    os.close(master)
    assert text.count("\n") == 2
    assert text.count("\r") >= 6
    fit, bake = text.split("\r\n")[:2]
    assert "fit" in fit and "bake" in bake
    assert "...." in fit.split("\r")[1] and "...." not in fit.split("\r")[-1]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_middle_leaves_nothing(how: signal.Signals, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    place = tmp_path / "place"
    temporary.mkdir()
    place.mkdir()
    job = subprocess.Popen(
        [*COMMAND, "generate", "--example", "--quality", "draft", "--out", str(place / "avatar")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "torch")},
        # A shell's background jobs, a CI runner among them, pass on that Ctrl-C is to be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert job.stdout is not None
    job.stdout.readline()  # the first stage is over
    time.sleep(1)
    job.send_signal(how)
    _, stderr = job.communicate(timeout=60)
    assert job.returncode == 130
    assert stderr == "error: Stopped; nothing was written.\n"
    assert list(place.iterdir()) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_the_example_becomes_an_avatar_and_its_place_is_said(tmp_path: Path) -> None:
    out = tmp_path / "astronaut"
    arguments = ["generate", "--example", "--quality", "draft", "--out", str(out)]
    result = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    *stages, last = result.stdout.splitlines()
    assert len(stages) >= 3 and all(re.fullmatch(r"\S.* +\d+\.\d s", line) for line in stages)
    assert str(out.resolve()) in last
    present = {path.name for path in out.iterdir()}
    assert {"avatar.glb", "avatar.npz", "preview.png", "triplane.safetensors", "report.json"} <= present
    assert all(name in last for name in present)
