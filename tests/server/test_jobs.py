"""The queue as a client sees it: one job at a time, every change told, nothing finished lost."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from backend.api import HINTS, ErrorCode, JobKind, JobState
from tests.server.driver import Server, finished


def test_a_job_goes_through_the_stages_and_ends_with_files(server: Server) -> None:
    job = server.submit("quick Ada").id
    seen = server.follow(job)
    last = seen[-1]
    assert last.state is JobState.DONE
    assert last.files == ("avatar.npz", "preview.png", "report.json")
    assert last.folder is not None and (Path(last.folder) / "report.json").is_file()
    assert (last.fraction, last.seconds_left, last.queue_position, last.preview) == (1.0, None, None, "preview.png")
    assert server.raw("GET", f"/v1/jobs/{job}/files/avatar.npz") == (200, b"Ada")
    fractions = [status.fraction for status in seen]
    assert fractions == sorted(fractions)
    revisions = [status.revision for status in seen]
    assert revisions == sorted(set(revisions))


def test_a_picture_can_be_had_while_the_job_runs(server: Server) -> None:
    job = server.submit("slow").id
    status = server.follow(job, lambda status: status.preview is not None)[-1]
    assert status.state is JobState.RUNNING
    code, picture = server.raw("GET", f"/v1/jobs/{job}/files/{status.preview}")
    assert code == 200 and picture.startswith(b"\x89PNG\r\n")
    assert server.raw("GET", f"/v1/jobs/{job}/files/portrait") == (200, b"a face")


def test_a_running_job_tells_how_long_it_has_run_and_still_takes(server: Server) -> None:
    job = server.submit("slow").id
    first = server.follow(job, lambda status: status.fraction > 0.2)[-1]
    later = server.follow(job, lambda status: status.fraction > first.fraction + 0.005)[-1]
    assert first.seconds_left is not None and later.seconds_left is not None
    assert later.seconds_left > 0
    assert later.seconds > first.seconds > 0


def test_the_second_job_waits_for_the_first(server: Server) -> None:
    first, second, third = server.submit("slow").id, server.submit("quick").id, server.submit("quick").id
    server.in_stage(first, "field")
    assert [server.get(job).queue_position for job in (first, second, third)] == [0, 1, 2]
    assert [status["id"] for status in server.ask("GET", "/v1/jobs")] == [third, second, first]
    server.ask("POST", f"/v1/jobs/{first}/cancel")
    seen = server.follow(third)
    assert finished(seen[-1]) and finished(server.get(second))
    assert 1 in [status.queue_position for status in seen], "it moved up when the one before it began"


def test_a_waiting_job_is_cancelled_at_once(server: Server) -> None:
    running, waiting, last = server.submit("slow").id, server.submit("quick").id, server.submit("quick").id
    status = server.ask("POST", f"/v1/jobs/{waiting}/cancel")
    assert (status["state"], status["queue_position"]) == ("cancelled", None)
    assert server.get(last).queue_position == 1
    assert server.get(running).state is not JobState.CANCELLED


@pytest.mark.parametrize("stage", ["portrait", "fit", "field", "mesh", "texture", "export"])
def test_a_running_job_is_cancelled_in_every_stage(shared_server: Server, stage: str) -> None:
    job = shared_server.submit(f"slow {stage}").id
    assert shared_server.in_stage(job, stage).state is JobState.RUNNING
    begun = time.monotonic()
    shared_server.ask("POST", f"/v1/jobs/{job}/cancel")
    assert shared_server.end_of(job).state is JobState.CANCELLED
    assert time.monotonic() - begun < 1.5, "it heard, and needed no force"
    left = {path.name for path in (shared_server.data / "jobs" / job).iterdir()}
    assert left == {"job.json", "input-0-face.jpg", "pid", "progress.png", "worker.log"}


def test_a_job_that_does_not_listen_is_ended_after_the_grace(server: Server) -> None:
    job = server.submit("deaf").id
    server.in_stage(job, "field")
    begun = time.monotonic()
    server.ask("POST", f"/v1/jobs/{job}/cancel")
    assert server.end_of(job).state is JobState.CANCELLED
    assert 1.5 < time.monotonic() - begun < 5


def test_nothing_half_written_is_left_when_a_job_is_cancelled_while_it_writes(server: Server) -> None:
    job = server.submit("writing").id
    server.in_stage(job, "export")
    server.ask("POST", f"/v1/jobs/{job}/cancel")
    assert server.end_of(job).files == ()
    assert not [path for path in (server.data / "jobs" / job).iterdir() if "avatar" in path.name]


def test_cancelling_what_is_over_changes_nothing(server: Server) -> None:
    job = server.submit("quick").id
    done = server.end_of(job)
    server.ask("POST", f"/v1/jobs/{job}/cancel")
    assert server.get(job) == done


@pytest.mark.parametrize(
    ("prompt", "code", "sentence"),
    [
        ("refusing", ErrorCode.NO_FACE, "There is no face in the picture."),
        ("large", ErrorCode.OUT_OF_MEMORY, "There is not enough memory for this job."),
        ("wrong", ErrorCode.INTERNAL, "Something went wrong inside Maquette (ZeroDivisionError)."),
        ("crashing", ErrorCode.INTERNAL, "The job's process crashed (SIGABRT)."),
    ],
)
def test_a_failure_has_a_code_a_sentence_and_a_hint(
    shared_server: Server, prompt: str, code: ErrorCode, sentence: str
) -> None:
    status = shared_server.end_of(shared_server.submit(prompt).id)
    assert status.state is JobState.FAILED
    assert status.error is not None
    assert (status.error.code, status.error.message, status.error.hint) == (code, sentence, HINTS[code])
    assert status.files == () and status.folder is None
    assert finished(shared_server.end_of(shared_server.submit("quick").id)), "the next job is not harmed"


def test_a_request_waits_for_a_change_and_no_longer_than_it_says(server: Server) -> None:
    running, queued = server.submit("slow").id, server.submit("quick").id
    revision = server.get(queued).revision
    begun = time.monotonic()
    assert server.ask("GET", f"/v1/jobs/{queued}?after={revision}&wait=0.6")["revision"] == revision
    assert 0.5 < time.monotonic() - begun < 2
    server.ask("POST", f"/v1/jobs/{running}/cancel")
    assert server.ask("GET", f"/v1/jobs/{queued}?after={revision}&wait=20")["revision"] > revision


def test_nobody_waits_for_a_job_that_is_over(server: Server) -> None:
    done = server.end_of(server.submit("quick").id)
    begun = time.monotonic()
    assert server.ask("GET", f"/v1/jobs/{done.id}?after={done.revision}&wait=20")["revision"] == done.revision
    assert time.monotonic() - begun < 5


def test_many_wait_for_the_same_job_and_the_server_still_answers(server: Server) -> None:
    first, second = server.submit("slow").id, server.submit("quick").id
    revision = server.get(second).revision
    answers: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(server.ask("GET", f"/v1/jobs/{second}?after={revision}&wait=20")["state"])
        )
        for _ in range(60)
    ]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    server.ask("GET", "/v1/hello")
    assert time.monotonic() - begun < 2
    server.ask("POST", f"/v1/jobs/{second}/cancel")
    for thread in threads:
        thread.join(10)
    assert answers == ["cancelled"] * 60
    assert server.get(first).state is not JobState.CANCELLED


def test_a_job_is_deleted_with_its_files_but_not_while_it_runs(server: Server) -> None:
    running, waiting = server.submit("slow").id, server.submit("quick").id
    server.in_stage(running, "field")
    assert server.refusal("DELETE", f"/v1/jobs/{running}", expect=409) == "busy"
    server.ask("DELETE", f"/v1/jobs/{waiting}", expect=204)
    assert server.refusal("GET", f"/v1/jobs/{waiting}", expect=404) == "not_found"
    assert not (server.data / "jobs" / waiting).exists()
    server.ask("POST", f"/v1/jobs/{running}/cancel")
    server.end_of(running)
    server.ask("DELETE", f"/v1/jobs/{running}", expect=204)
    assert list((server.data / "jobs").iterdir()) == []


def test_a_mesh_is_rigged_like_a_finished_avatar(server: Server) -> None:
    avatar = server.submit("quick").id
    mesh = server.upload(b"solid", name="head.stl")
    server.end_of(avatar)
    job = server.ask("POST", "/v1/jobs", {"rig": {"mesh": mesh, "like": avatar}}, expect=202)["id"]
    status = server.end_of(job)
    assert (status.kind, status.state) == (JobKind.RIG, JobState.DONE)
    assert status.request == {"mesh": mesh, "like": avatar}
    assert (server.data / "jobs" / job / "input-0-head.stl").read_bytes() == b"solid"


def test_the_estimate_learns_from_jobs_that_ran_here(server: Server) -> None:
    before = server.ask("GET", "/v1/estimate?quality=draft&mesh=wrapped&engine=rodin")
    assert before["memory_mb"] > 500
    server.end_of(server.submit("quick").id)
    after = server.ask("GET", "/v1/estimate?quality=draft&mesh=wrapped&engine=rodin")
    assert after["memory_mb"] == 123
    assert 6 <= after["seconds"] < 12, "the stand-in's report says six stages of one second"
    assert server.ask("GET", "/v1/estimate?quality=high")["seconds"] > before["seconds"]


def test_libraries_that_print_do_not_disturb_the_events(server: Server) -> None:
    job = server.submit("quick").id
    server.end_of(job)
    assert "a library talks" in (server.data / "jobs" / job / "worker.log").read_text()


def test_the_worker_never_learns_the_token(server: Server) -> None:
    job = server.submit("slow").id
    server.in_stage(job, "field")
    assert b"MAQUETTE_TOKEN" not in Path(f"/proc/{server.worker(job)}/environ").read_bytes()


def test_what_is_stored_is_what_was_asked(server: Server) -> None:
    job = server.submit("quick").id
    server.end_of(job)
    stored = json.loads((server.data / "jobs" / job / "job.json").read_text())
    assert stored == server.ask("GET", f"/v1/jobs/{job}")
