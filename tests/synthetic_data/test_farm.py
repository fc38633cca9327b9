"""A set is the same however it is rendered: in one go, by several processes, killed on the way, on Ray."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from backend.api import ErrorCode
from backend.errors import MaquetteError
from synthetic_data.cli import main
from synthetic_data.farm import Workers, render_locally
from synthetic_data.manifest import make_manifest
from synthetic_data.schedule import PATIENCE, Schedule
from synthetic_data.shards import Progress, open_folder, read_sidecar, render_shard, shard_path
from synthetic_data.verify import clear, verify
from tests.synthetic_data import standin

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The spawned workers find the stand-in, too."""
    monkeypatch.syspath_prepend(str(ROOT))


def tars(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The set, rendered in this process."""
    folder, config = tmp_path_factory.mktemp("plain"), standin.config()
    open_folder(folder, config)
    for shard in range(config.shards):
        render_shard(config, shard, folder, standin.render)
    return folder


def test_another_process_order_and_number_of_threads_changes_no_byte(plain, tmp_path):
    config = standin.config()
    open_folder(tmp_path, config)
    schedule = render_locally(config, tmp_path, [3, 1, 0, 2], Workers(2, threads=3), renderer=standin.render)
    assert sorted(schedule.finished) == [0, 1, 2, 3]
    assert tars(tmp_path) == tars(plain)
    assert make_manifest(tmp_path)["sha256"] == make_manifest(plain)["sha256"] is not None
    assert verify(tmp_path, deep=True) == []


def test_what_a_run_costs_is_known(plain, tmp_path):
    config = standin.config()
    open_folder(tmp_path, config)
    summary = render_locally(config, tmp_path, range(4), Workers(1), renderer=standin.slow).summary()
    assert (summary["done"], summary["identities"], summary["failed"]) == (11, 11, 0)
    assert summary["seconds_left"] == 0 and summary["core_seconds_per_view"] > 0
    contents = sum(m["size"] for shard in range(4) for m in read_sidecar(shard_path(tmp_path, shard))["members"])
    assert summary["bytes"] == contents


def test_a_worker_is_replaced_when_it_has_rendered_enough(plain, tmp_path):
    config = standin.config()
    open_folder(tmp_path, config)
    render_locally(config, tmp_path, range(4), Workers(1, recycle=6), renderer=standin.render)
    pids = [read_sidecar(shard_path(tmp_path, shard))["pid"] for shard in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    assert tars(tmp_path) == tars(plain)


def test_a_killed_worker_is_replaced_and_its_shard_rendered_again(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("MAQUETTE_TEST_MARK", str(tmp_path / "shot"))
    config = standin.config()
    open_folder(tmp_path / "set", config)
    schedule = render_locally(config, tmp_path / "set", range(4), Workers(2), renderer=standin.shot_once)
    assert (tmp_path / "shot").exists() and not schedule.failures
    assert tars(tmp_path / "set") == tars(plain)
    assert not list((tmp_path / "set").glob("*.partial"))


def test_an_identity_that_always_kills_its_process_is_set_aside(plain, tmp_path):
    config = standin.config()
    open_folder(tmp_path, config)
    schedule = render_locally(config, tmp_path, range(4), Workers(1), renderer=standin.mine)
    assert list(schedule.failures) == [4] and "died" in schedule.failures[4]
    ours, theirs = tars(tmp_path), tars(plain)
    assert {name for name in ours if ours[name] != theirs[name]} == {"shard-000001.tar"}
    assert [failure["index"] for failure in read_sidecar(shard_path(tmp_path, 1))["failed"]] == [4]


def test_an_identity_is_not_to_blame_when_somebody_kills_its_workers(plain):
    """The first identity of a worker takes longest, so that whoever kills at random hits it most."""
    schedule = Schedule(standin.config(), range(4))
    for _ in range(PATIENCE - 1):
        task = schedule.next()
        schedule.died(task, None, killed=True)
        assert (task.shard, task.set_aside) == (0, {})
    schedule.died(schedule.next(), None, killed=True)
    assert schedule.next().set_aside == {0: f"its process died {PATIENCE} times"}, "it may be what takes the memory"
    for _ in range(PATIENCE - 1):
        schedule.stillborn(schedule.next(), killed=True)
    with pytest.raises(MaquetteError, match="die as soon as they start"):
        schedule.stillborn(schedule.next(), killed=True)


def test_who_killed_a_worker_is_known(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("MAQUETTE_TEST_MARK", str(tmp_path / "shot"))
    told = []
    died = Schedule.died
    monkeypatch.setattr(Schedule, "died", lambda *a, killed: (told.append(killed), died(*a, killed=killed))[1])
    for number, renderer in enumerate((standin.shot_once, standin.mine)):
        folder = tmp_path / str(number)
        open_folder(folder, standin.config())
        render_locally(standin.config(), folder, range(4), Workers(1), renderer=renderer)
    assert told == [True, False, False, False]


def test_a_failure_is_tried_twice_then_set_aside_with_its_reason(tmp_path):
    config = standin.config()
    open_folder(tmp_path, config)
    schedule = render_locally(config, tmp_path, range(4), Workers(1), renderer=standin.faulty)
    (failure,) = read_sidecar(shard_path(tmp_path, 1))["failed"]
    assert failure == {"index": 4, "reason": "ValueError: the head is outside the frame", "attempts": 2}
    assert schedule.summary()["failed"] == 1 and verify(tmp_path, deep=True) == []
    manifest = make_manifest(tmp_path)
    assert (manifest["identities"], manifest["views"], manifest["complete"]) == (10, 30, True)
    assert manifest["failed"] == [failure]


def test_a_run_in_which_most_fails_ends():
    schedule = Schedule(standin.config(count=100), range(30))
    with pytest.raises(MaquetteError, match="no light"):
        for index in range(20):
            schedule.note(Progress(0, index, 1, 1, 0, "no light"))


def without_blender(config, index, threads):
    raise ImportError("no bpy")


def without_device(config, index, threads):
    raise MaquetteError(ErrorCode.BAD_REQUEST, "No CUDA device was found.", stage="dataset")


@pytest.mark.parametrize("broken", [without_blender, without_device])
def test_what_is_no_fault_of_an_identity_ends_the_run(tmp_path, broken):
    config = standin.config()
    open_folder(tmp_path, config)
    with pytest.raises((ImportError, MaquetteError)):
        render_shard(config, 0, tmp_path, broken)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_workers_that_cannot_start_end_the_run(tmp_path, monkeypatch):
    config = standin.config()
    open_folder(tmp_path, config)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr("multiprocessing.spawn._python_exe", b"/bin/false")
    with pytest.raises(MaquetteError, match="as soon as they start"):
        render_locally(config, tmp_path, range(4), Workers(1), renderer=standin.render)


SCRIPT = """
import sys
from pathlib import Path
from synthetic_data.cli import main
from synthetic_data.farm import Workers, render_locally
from synthetic_data.shards import open_folder
from synthetic_data.verify import clear, verify
from tests.synthetic_data import standin

if __name__ == "__main__":
    folder, config = Path(sys.argv[1]), standin.config(count=int(sys.argv[2]))
    open_folder(folder, config)
    render_locally(config, folder, clear(folder, verify(folder)), Workers(2), renderer=standin.slow)
"""


def render_and_kill(folder, count, rng, kills):
    """Render with a process group that is killed at random moments, the last time not."""
    script = folder.parent / "render.py"
    script.write_text(SCRIPT)
    for attempt in range(kills + 1):
        command = [sys.executable, str(script), str(folder), str(count)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        if attempt == kills:
            assert process.wait(timeout=120) == 0
            return
        target = len(list(folder.glob("*.json"))) + rng.integers(8)
        while len(list(folder.glob("*.json"))) < target:
            assert process.poll() is None, "it was done before it was killed"
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_a_set_killed_at_random_moments_equals_an_uninterrupted_one(tmp_path, kills):
    count = 40 * kills
    render_and_kill(tmp_path / "killed", count, np.random.default_rng(kills), kills)
    config = standin.config(count=count)
    whole = tmp_path / "whole"
    open_folder(whole, config)
    for shard in range(config.shards):
        render_shard(config, shard, whole, standin.render)
    assert tars(tmp_path / "killed") == tars(whole)
    assert verify(tmp_path / "killed", deep=True) == []
    assert not list((tmp_path / "killed").glob("*.partial"))


def test_another_set_in_the_same_folder_is_refused(plain):
    with pytest.raises(MaquetteError, match="other seed"):
        open_folder(plain, dataclasses.replace(standin.config(), seed=2))


@pytest.fixture
def damaged(plain, tmp_path):
    """A copy of the set to spoil."""
    for path in plain.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def cut(folder):
    path = shard_path(folder, 0)
    path.write_bytes(path.read_bytes()[:-1000])


def flip(folder):
    path = shard_path(folder, 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def flip_in_sidecar(folder):
    path = shard_path(folder, 1).with_suffix(".json")
    path.write_text(path.read_text().replace('"threads": 1', '"threads": 3'))


def lose(folder):
    shard_path(folder, 2).unlink()


def lose_sidecar(folder):
    shard_path(folder, 3).with_suffix(".json").unlink()


def swap(folder):
    for suffix in (".tar", ".json"):
        (folder / f"shard-000002{suffix}").write_bytes((folder / f"shard-000001{suffix}").read_bytes())


def add_one(folder):
    (folder / "shard-000009.tar").touch()


@pytest.mark.parametrize(
    ("spoil", "shard", "kind", "deep"),
    [
        (cut, 0, "short", False),
        (flip, 1, "damaged", True),
        (flip_in_sidecar, 1, "damaged", False),
        (lose, 2, "missing", False),
        (lose_sidecar, 3, "unfinished", False),
        (swap, 2, "foreign", False),
        (add_one, 9, "superfluous", False),
    ],
)
def test_damage_is_found_and_mended(plain, damaged, spoil, shard, kind, deep):
    assert verify(damaged, deep=True) == []
    spoil(damaged)
    problems = verify(damaged, deep=deep)
    assert [(problem.shard, problem.kind) for problem in problems] == [(shard, kind)]
    for again in clear(damaged, problems):
        render_shard(standin.config(), again, damaged, standin.render)
    assert verify(damaged, deep=True) == []
    assert tars(damaged) == tars(plain)


def test_ray_renders_the_same_set_though_a_worker_is_killed(plain, tmp_path):
    pytest.importorskip("ray")
    from synthetic_data.ray_farm import render_on_ray

    config = standin.config()
    open_folder(tmp_path, config)
    pids = []

    def shoot(schedule):
        if schedule.done and len(pids) == 2:
            os.kill(pids[0], signal.SIGKILL)
            pids.append(0)

    schedule = render_on_ray(
        config, tmp_path, range(4), Workers(2), "local", renderer=standin.slow, watch=shoot, hired=pids.append
    )
    assert 0 in pids and len(pids) >= 3
    assert sorted(schedule.finished) == [0, 1, 2, 3]
    assert tars(tmp_path) == tars(plain)
    assert verify(tmp_path, deep=True) == []


@pytest.mark.parametrize(
    ("option", "complaint"),
    [(["--device", "ABACUS"], "no device 'ABACUS'"), (["--blender", "/no/such/blender"], "no program")],
)
def test_a_renderer_that_is_not_there_is_named(tmp_path, option, complaint):
    with pytest.raises(MaquetteError, match=complaint):
        main(["render", "--out", str(tmp_path / "set"), "--identities", "0:2", *option])
    assert not list(tmp_path.iterdir())
