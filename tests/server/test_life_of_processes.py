"""Whoever is killed, nothing goes on without anybody knowing, and no finished avatar is lost.

Linux alone: it reads /proc.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.api import JobState
from tests.server import limits
from tests.server.driver import STAND_IN, TOKEN, Server, children, finished, gone_within, is_running

BUSY = ["slow", "deaf", "busy_native", "writing"]


def _stage(prompt: str) -> str:
    return "export" if prompt == "writing" else "field"


def test_a_killed_worker_takes_only_its_job_along(server: Server) -> None:
    job, other = server.submit("slow").id, server.submit("quick").id
    server.in_stage(job, "field")
    os.kill(server.worker(job), signal.SIGKILL)
    status = server.end_of(job)
    assert status.state is JobState.FAILED
    assert status.error is not None and status.error.code == "internal"
    assert finished(server.end_of(other))


def test_what_a_worker_started_ends_with_it(server: Server) -> None:
    job = server.submit("parent").id
    server.in_stage(job, "field")
    grandchild = int((server.data / "jobs" / job / "grandchild").read_text())
    assert is_running(grandchild)
    server.ask("POST", f"/v1/jobs/{job}/cancel")
    server.end_of(job)
    assert gone_within(grandchild, 3)


@pytest.mark.parametrize("prompt", BUSY)
def test_a_killed_server_leaves_no_worker(tmp_path: Path, prompt: str) -> None:
    with Server(tmp_path / "data") as server:
        job = server.submit(prompt).id
        server.in_stage(job, _stage(prompt))
        worker = server.worker(job)
        server.kill()
        assert gone_within(worker, 3)


def test_whatever_the_stage_a_killed_server_starts_again_and_tells(tmp_path: Path) -> None:
    stages = ["portrait", "fit", "field", "mesh", "texture", "export"]
    for count, stage in enumerate(stages, start=1):
        with Server(tmp_path / "data") as server:
            assert len(server.ask("GET", "/v1/jobs")) == count - 1
            job = server.submit(f"slow {stage}").id
            server.in_stage(job, stage)
            worker = server.worker(job)
            server.kill()
            assert gone_within(worker, 3)
    with Server(tmp_path / "data") as server:
        errors = [status["error"]["code"] for status in server.ask("GET", "/v1/jobs")]
        assert errors == ["interrupted"] * len(stages)


def test_without_linux_s_own_signal_the_pipe_is_enough(tmp_path: Path) -> None:
    """What ends a worker on the other systems: the same worker, with that call taken away."""
    program = tmp_path / "elsewhere.py"
    stand_in = Path(STAND_IN[1]).with_name("stand_in.py")
    program.write_text(
        "import runpy, sys\nfrom backend.server import life\nlife.die_with_parent_thread = lambda: None\n"
        f"runpy.run_path({str(stand_in)!r}, run_name='__main__')\n"
    )
    serving = tmp_path / "serving.py"
    serving.write_text(
        Path(STAND_IN[1]).read_text().replace('str(Path(__file__).with_name("stand_in.py"))', f"{str(program)!r}")
    )
    with Server(tmp_path / "data", [sys.executable, str(serving)]) as server:
        job = server.submit("slow").id
        server.in_stage(job, "field")
        worker = server.worker(job)
        server.kill()
        assert gone_within(worker, 3)


@pytest.mark.parametrize("prompt", BUSY)
def test_the_server_and_its_worker_end_when_the_pipe_is_closed(tmp_path: Path, prompt: str) -> None:
    with Server(tmp_path / "data") as server:
        job = server.submit(prompt).id
        server.in_stage(job, _stage(prompt))
        worker = server.worker(job)
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 6
        assert gone_within(worker, 1)
    status = json.loads((tmp_path / "data" / "jobs" / job / "job.json").read_text())
    assert (status["state"], status["error"]["code"]) == ("failed", "interrupted")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    """The parent, like Blender, starts the server from a thread that ends, and is killed while a job runs."""
    program = (
        "import subprocess, sys, threading, time\n"
        "def start():\n"
        "    global server\n"
        f"    server = subprocess.Popen({[*STAND_IN, str(tmp_path / 'data')]!r}, stdin=-1, stdout=-1)\n"
        "thread = threading.Thread(target=start); thread.start(); thread.join()\n"
        "print(server.stdout.readline().decode(), end='', flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = os.environ | {"MAQUETTE_TOKEN": TOKEN}
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert parent.stdout is not None
    line = json.loads(parent.stdout.readline())
    server = Server.__new__(Server)
    server.data, server.port = tmp_path / "data", line["port"]
    job = server.submit("slow").id
    server.in_stage(job, "field")
    worker = server.worker(job)
    time.sleep(1.5)  # long enough to see that the thread's end does no harm
    assert is_running(line["pid"]) and is_running(worker)
    parent.send_signal(how)
    parent.wait()
    parent.stdout.close()
    assert gone_within(line["pid"], 6) and gone_within(worker, 1)


def test_after_a_restart_finished_jobs_are_there_and_others_are_said_to_be_interrupted(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        done, running, waiting = (server.submit(prompt).id for prompt in ("quick Ada", "slow", "quick"))
        before = server.end_of(done)
        last = server.in_stage(running, "field")
        server.kill()
    with Server(tmp_path / "data") as server:
        assert server.get(done) == before
        assert server.raw("GET", f"/v1/jobs/{done}/files/avatar.npz") == (200, b"Ada")
        for job in (running, waiting):
            status = server.get(job)
            assert status.state is JobState.FAILED
            assert status.error is not None and status.error.code == "interrupted"
            assert status.queue_position is None and status.seconds_left is None
        assert server.get(running).revision > last.revision, "who waits for a newer one gets it"
        assert finished(server.end_of(server.submit("quick").id))


def test_an_avatar_whose_end_the_server_did_not_live_to_note_is_not_lost(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        job = server.submit("quick Ada").id
        done = server.end_of(job)
    path = tmp_path / "data" / "jobs" / job / "job.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running", "files": [], "folder": None}))
    with Server(tmp_path / "data") as server:
        assert finished(server.get(job))
        assert server.get(job).files == done.files


def test_two_servers_never_share_a_folder(server: Server) -> None:
    second = subprocess.run([*STAND_IN, str(server.data)], stdin=subprocess.PIPE, capture_output=True, text=True)
    assert second.returncode != 0 and second.stdout == ""
    assert "Another backend uses the data folder" in second.stderr


def test_a_taken_port_is_said_in_one_sentence(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backend", "serve", "--data", str(tmp_path / "other"), "--port", str(server.port)]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode != 0 and second.stdout == ""
    assert (
        second.stderr == f"error: Port {server.port} of 127.0.0.1 cannot be had: choose another, or 0 for a free one.\n"
    )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_kill_ends_it_in_order(server: Server, how: signal.Signals) -> None:
    job = server.submit("slow").id
    server.in_stage(job, "field")
    worker = server.worker(job)
    server.process.send_signal(how)
    assert server.process.wait(6) == 0
    assert not is_running(worker) and not children(server.process.pid)


def test_it_gives_way_and_leaves_a_core(server: Server) -> None:
    assert os.getpriority(os.PRIO_PROCESS, server.process.pid) >= 10
    job = server.submit("slow").id
    server.in_stage(job, "field")
    worker = server.worker(job)
    assert os.getpriority(os.PRIO_PROCESS, worker) >= 10
    cores = len(os.sched_getaffinity(0))
    assert len(os.sched_getaffinity(worker)) == max(cores - 1, 1) == server.ask("GET", "/v1/hello")["cores"]


def test_a_full_disk_is_said_and_the_server_lives_on(server: Server) -> None:
    """Files of this server may not grow beyond 1 MB."""
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (2**20, 2**20))
    assert server.refusal("POST", "/v1/uploads?name=a.jpg", bytes(2**21), expect=507) == "disk_full"
    assert list((server.data / "uploads").iterdir()) == []
    assert finished(server.end_of(server.submit("quick").id))


@pytest.fixture
def few_megabytes() -> Iterator[Path]:
    """What is in this control group has 400 MB; a process whose number is written into the file is in it."""
    with limits.little_memory() as group:
        if group is None:
            pytest.skip("needs the right to make a control group")
        yield group


def test_a_job_that_the_kernel_kills_for_want_of_memory_says_so(server: Server, few_megabytes: Path) -> None:
    job = server.submit("growing").id
    server.in_stage(job, "field")
    few_megabytes.write_text(str(server.worker(job)))
    (server.data / "jobs" / job / "go").touch()
    status = server.end_of(job)
    assert status.state is JobState.FAILED
    assert status.error is not None and status.error.code == "out_of_memory"
    assert finished(server.end_of(server.submit("quick").id))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, of one megabyte."""
    with limits.small_disk(tmp_path / "disk") as folder:
        if folder is None:
            pytest.skip("needs the right to mount a file system")
        yield folder


def test_on_a_disk_that_is_really_full_nothing_is_half_written(small_disk: Path) -> None:
    with Server(small_disk / "data") as server:
        done = server.submit("quick Ada").id
        server.end_of(done)
        job = server.submit("too_much_for_the_disk").id
        status = server.end_of(job)
        assert status.error is not None and status.error.code == "disk_full"
        picture = server.upload()
        (small_disk / "ballast").write_bytes(bytes(300_000))
        try:
            with (small_disk / "more").open("wb", buffering=0) as ballast:
                while True:
                    ballast.write(bytes(4096))
        except OSError:
            pass
        request = {"generate": {"portraits": [picture], "prompt": "quick"}}
        assert server.refusal("POST", "/v1/uploads?name=b.jpg", b"another", expect=507) == "disk_full"
        assert server.refusal("POST", "/v1/jobs", request, expect=507) == "disk_full"
        assert server.raw("GET", f"/v1/jobs/{done}/files/avatar.npz") == (200, b"Ada")
        server.kill()
    for ballast in (small_disk / "ballast", small_disk / "more"):
        ballast.unlink()
    with Server(small_disk / "data") as server:
        assert [status["state"] for status in server.ask("GET", "/v1/jobs")] == ["failed", "done"]
