"""What the user sees when things go wrong: ``python -m tests.blender.disasters [--real] [--write]``.

Runs the built extension in the bpy module with a real backend process, breaks something, and reads the add-on's own
panels. Prints one table; `--write` puts it into docs/when_things_go_wrong.md. Jobs are a stand-in's, which stays in
each stage for as long as it is wanted; with `--real` backend, job and Blender are killed in the real pipeline (draft
quality, some minutes). Checks as it goes: no process is left, no finished avatar is lost, no traceback is printed, no
call of the timer takes longer than 100 ms, a job is cancelled within 5 s. Linux alone: it reads /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.export.arrays import write_npz
from tests.addon.stub_backend import StubBackend
from tests.conftest import ROOT, load_script, make_environment
from tests.server.driver import STAND_IN, TOKEN, Server, gone
from tests.server.limits import little_memory, small_disk

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENT = ROOT / "docs/when_things_go_wrong.md"
INSIDE = Path(__file__).with_name("disasters_inside.py")
START = Path(__file__).with_name("disasters_start.py")
LONGEST_CALL, LONGEST_CANCEL = 0.1, 5.0  # seconds on a busy machine; the test in a window holds calls to half of it
MARK = "MAQUETTE_TEST_RUN"  # an environment variable that all processes of a run inherit
_STAND_IN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from backend import cli
from backend.server import serve
serve.worker_command = lambda: [sys.executable, {str(ROOT / "tests/server/stand_in.py")!r}]
sys.exit(cli.main(sys.argv[sys.argv.index("serve"):]))
"""
_OF_START = ("half_installed", "silent", "addresses", "start")
_HELLO = {"version": "9.9", "pid": 1, "device": "cpu", "cores": 2, "memory_mb": 4000, "engines": []}


class Disasters:
    """One run: the things that all scenarios share, and the rows that they found.

    `timed`: a long call of the timer is a fault too.
    """

    def __init__(self, folder: Path, blender: str = sys.executable, *, real: bool = False, timed: bool = True) -> None:
        self.folder, self.blender, self.real = folder, blender, real
        self._longest_call = LONGEST_CALL if timed else float("inf")
        self.rows: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.zip = load_script(ROOT / "build_addon.py").build(folder / "dist")
        self.python = make_environment(folder / "environment für alle")
        self.stand_in = self._program("stand in", _STAND_IN)
        self.avatar = folder / "avatar.npz"
        write_npz(load_script(ROOT / "tests/export/conftest.py").build_avatar(), self.avatar)
        self.portrait = folder / "astronaut.png"
        _save_portrait(self.portrait)

    def _program(self, name: str, body: str) -> Path:
        """An executable that the add-on takes for a Python with the backend: it gets the same arguments."""
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{body}", encoding="utf-8")
        path.chmod(0o755)
        return path

    def blender_process(self, scenario: str, given: dict[str, Any]) -> tuple[subprocess.Popen[str], str]:
        """A Blender that runs `scenario`; also the mark of all that it starts."""
        mark = secrets.token_hex(8)
        data = self.folder / "data" / mark
        data.mkdir(parents=True)
        settings = {
            "zip": str(self.zip),
            "data": str(data),
            "python": str(self.stand_in),
            "avatar": str(self.avatar),
            "portrait": str(self.portrait),
            "stand_in": True,
            "mark": mark,
        } | given
        process = subprocess.Popen(
            [self.blender, str(START if scenario in _OF_START else INSIDE), scenario],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {MARK: mark},
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(settings))
        process.stdin.close()
        return process, mark

    def scenario(self, name: str, **given: Any) -> None:
        """Run one to its end and take over its rows."""
        process, mark = self.blender_process(name, given)
        assert process.stdout is not None
        log = process.stdout.read()
        process.wait()
        self._check(process.returncode == 0, f"{name}: Blender ended with {process.returncode}\n{log[-3000:]}")
        self._look_at_the_log(name, log)
        self._check(gone(MARK, mark, 10), f"{name}: processes are left")
        with contextlib.suppress(ValueError, IndexError, KeyError):
            found = json.loads(log.splitlines()[-1])
            self._check(
                found["slowest"] < self._longest_call, f"{name}: a call of the timer took {found['slowest']:.3f} s"
            )
            for row in found["rows"]:  # a scenario that failed prints none
                self._check(row.get("kept", True), f"{name}: a finished avatar is lost")
                self._check(row.get("seconds", 0) < LONGEST_CANCEL, f"{row['what']}: it took {row.get('seconds')} s")
                self._check(not row.get("orphans"), f"{row['what']}: a process is left")
                if "seen" in row:
                    self.rows.append(row)

    def _look_at_the_log(self, name: str, log: str) -> None:
        self._check("Traceback" not in log, f"{name}: a traceback in Blender's log\n{log[-3000:]}")

    def _check(self, fine: bool, fault: str) -> None:
        if not fine:
            self.faults.append(fault)
            print(f"FAULT: {fault}", file=sys.stderr, flush=True)

    # The disasters

    def in_each_stage(self) -> None:
        self.scenario("stages", **self._pipeline)

    @property
    def _pipeline(self) -> dict[str, Any]:
        """The real one, where it was asked for."""
        return {"python": str(self.python), "stand_in": False} if self.real else {}

    def blender_goes(self) -> None:
        """It is killed, or closed, while a job runs."""
        for stage in ("field", "export"):
            data = self.folder / f"of a killed Blender, {stage}"
            data.mkdir()
            process, mark = self.blender_process("until_killed", self._pipeline | {"data": str(data), "stage": stage})
            lines = []
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if line.startswith('{"ready"'):
                    break
            process.kill()
            process.wait()
            self._look_at_the_log("until_killed", "".join(lines))
            self._check(gone(MARK, mark, 10), f"Blender is killed: {stage}: processes are left")
            what = f"Blender is killed: {stage}, and opened again"
            finished = json.loads(lines[-1])["finished"]
            self.scenario("after_a_kill", **self._pipeline, data=str(data), what=what, finished=finished)
        self.scenario("quit_in_a_job", **self._pipeline)

    def files_and_jobs(self) -> None:
        self.scenario("other_file")
        self.scenario("two_jobs")
        self.scenario("late")
        self.scenario("switched_off")
        self.scenario("half_installed")

    def addresses(self) -> None:
        """The three ways in which a port can be taken, a wrong token, and other versions."""
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Server(self.folder / "served", STAND_IN))
            stubs = [stack.enter_context(contextlib.closing(StubBackend())) for _ in range(3)]
            stranger, newer, older = stubs
            stranger.routes = {"GET /v1/hello": (200, b"<html>A web page</html>")}
            newer.routes = {"GET /v1/hello": (200, _HELLO | {"protocol": 2})}
            older.routes = {"GET /v1/hello": (200, _HELLO | {"protocol": 0, "version": "0.0.1"})}
            addresses = [
                ("Nothing listens at the address", "http://127.0.0.1:9"),
                ("The port is taken by another program", stranger.url),
                ("The token is wrong", f"http://127.0.0.1:{server.port}"),
                ("The backend is newer than the add-on", newer.url),
                ("The backend is older than the add-on", older.url),
                ("The address is none", "http://nowhere:99999"),
            ]
            self.scenario("addresses", addresses=addresses)
            self._say_port(server)

    def elsewhere(self) -> None:
        """A backend on another machine that hangs or dies during a job."""
        with Server(self.folder / "hangs", STAND_IN) as one, Server(self.folder / "dies", STAND_IN) as two:
            addresses = {
                name: {"url": f"http://127.0.0.1:{server.port}", "token": TOKEN, "pid": server.process.pid}
                for name, server in (("hangs", one), ("dies", two))
            }
            self.scenario("silent", **addresses)
            one.process.send_signal(signal.SIGCONT)

    def _say_port(self, server: Server) -> None:
        command = [sys.executable, "-m", "backend", "serve", "--data", str(self.folder / "x"), "--port"]
        said = subprocess.run([*command, str(server.port)], capture_output=True, text=True, check=False, cwd=ROOT)
        self._check(said.returncode != 0, "a taken port was taken once more")
        what = "`maquette serve --port` with a port that is taken (the add-on itself takes a free one)"
        self.rows.append({"what": what, "terminal": said.stderr.strip()})

    def starting(self) -> None:
        with Server(self.folder / "in use", STAND_IN):
            crash = self._program("crash", "raise SystemExit('ImportError: libGL.so.1: no such file')\n")
            (self.folder / "file").touch()
            data = str(self.folder / "data" / "starting")
            starts = [
                ("The backend is killed while it starts", str(self.stand_in), data),
                ("The backend ends right after its start", str(crash), data),
                ("Another Blender uses the data folder", str(self.stand_in), str(self.folder / "in use")),
                ("The data folder cannot be written", str(self.stand_in), str(self.folder / "file" / "data")),
                ("The environment is gone", str(self.folder / "no python"), data),
            ]
            self.scenario("start", starts=starts)

    def want(self) -> None:
        """Of memory and of room on the disk; as far as this user may make control groups and file systems."""
        failing = [("A picture without a face", "refusing"), ("The job asks for too much memory", "large")]
        with little_memory() as group:
            if group is not None:
                failing.append(("The system ends the job for want of memory", "growing"))
            self.scenario("failing", failing=failing, group=str(group))
        with small_disk(self.folder / "disk", megabytes=8) as disk:
            if disk is None:
                print("left out: a full disk (needs the right to mount)", file=sys.stderr)
                return
            failing = [("The disk gets full during the job", "too_much_for_the_disk")]
            self.scenario("failing", failing=failing, data=str(disk / "data"), ballast=str(disk / "ballast"))

    def table(self) -> str:
        """In Markdown, with what differs from run to run replaced."""
        lines = ["| What happens | The panel says | Buttons | Backend |", "|---|---|---|---|"]
        for events, cells in self._merged():
            event = events[0].partition(": ")[0]
            stages = [each.partition(": ")[2] for each in events]
            what = event + (f" ({', '.join(stages)})" if stages[0] else "")
            lines.append(f"| {' | '.join((what, *cells))} |")
        return "\n".join(lines) + "\n"

    def _merged(self) -> list[tuple[list[str], tuple[str, ...]]]:
        """What happened and the other cells; rows that differ in the stage alone are one."""
        merged: list[tuple[list[str], tuple[str, ...]]] = []
        for row in self.rows:
            event, _, stage = row["what"].partition(": ")
            cells = tuple(map(self._plain, _cells(row)))
            if stage and merged and merged[-1][0][0].startswith(f"{event}: ") and merged[-1][1] == cells:
                merged[-1][0].append(row["what"])
            else:
                merged.append(([row["what"]], cells))
        return merged

    def _plain(self, text: str) -> str:
        text = re.sub(r"(jobs|data)/[\da-f-]{10,}", r"\1/…", text.replace(str(self.folder), "…"))
        text = re.sub(r"(127\.0\.0\.1:|[Pp]ort )\d{4,5}", r"\g<1>12345", text)
        return re.sub(r"\d+ (s|min)( left)?\b", r"12 s\2", text)


def _cells(row: dict[str, Any]) -> tuple[str, str, str]:
    """What the panel says, its buttons, and the backend with its button."""
    if "terminal" in row:
        return f"`{row['terminal']}` (terminal)", "", ""
    seen = row["seen"]
    old = "".join(seen["history"][:1])
    said = [*seen["job"], *seen["sentences"]] or [f"(nothing; history: {old})" if old else "(nothing)"]
    buttons = " ".join(f"[{each}]" for each in seen["buttons"])
    return "<br>".join(said), buttons, f"{seen['state']} [{seen['button']}]"


def _save_portrait(path: Path) -> None:
    import skimage.data
    from PIL import Image

    Image.fromarray(skimage.data.astronaut()).save(path)


def document(table: str) -> str:
    """The page with its table replaced."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)
    return f"{before}{_BEGIN}\n{table}{_END}{rest.partition(_END)[2]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true", help="the real pipeline for 'stages' and 'blender'")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}")
    parser.add_argument("--blender", default=sys.executable, help="a Python with another bpy")
    parser.add_argument("--only", choices=SCENARIOS, help="one group of disasters")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="maquette-disasters-") as folder:
        run = Disasters(Path(folder), options.blender, real=options.real)
        for name, scenario in SCENARIOS.items():
            if options.only in (None, name):
                scenario(run)
        table = run.table()
    print(table)
    slowest = max((row.get("seconds", 0) for row in run.rows), default=0)
    print(f"{len(run.rows)} disasters, {len(run.faults)} faults; cancelled within {slowest} s")
    if options.write:
        DOCUMENT.write_text(document(table), encoding="utf-8")
        print(DOCUMENT)
    return 1 if run.faults else 0


SCENARIOS: dict[str, Callable[[Disasters], None]] = {
    "stages": Disasters.in_each_stage,
    "blender": Disasters.blender_goes,
    "files": Disasters.files_and_jobs,
    "addresses": Disasters.addresses,
    "elsewhere": Disasters.elsewhere,
    "starting": Disasters.starting,
    "want": Disasters.want,
}
_BEGIN, _END = "<!-- made by tests.blender.disasters -->\n", "<!-- end -->"

if __name__ == "__main__":
    sys.exit(main())
