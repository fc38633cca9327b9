"""Renders real heads while somebody kills the renderer: ``python -m tests.benchmarks.kill_dataset --out DIR``.

A set is rendered twice with the command that people use. The second time, at random moments, either one worker or the
whole group of processes gets SIGKILL; after the latter the same command is given again. Both sets must have the same
files with the same bytes, but for the sidecars, which tell of times. Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def render_command(folder: Path, identities: int) -> list[str]:
    """Small pictures: what is tested is the farm, not the light."""
    cheap = ["--views=2", "--portraits=0", "--resolution=32", "--samples=1", "--per-shard=5", "--nice=0"]
    place = ["--identities", f"0:{identities}", "--out", str(folder)]
    return [sys.executable, "-m", "backend", "dataset", "render", *cheap, *place]


def render_under_fire(command: list[str], kills: int, rng: np.random.Generator) -> tuple[int, int]:
    """Give the command until it ends by itself; return how many workers and how many whole groups were killed."""
    workers = groups = 0
    while True:
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        while process.poll() is None and workers + groups < kills:
            time.sleep(rng.uniform(2, 12))
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            crew = children.read_text().split() if children.exists() else []
            if process.poll() is not None:
                break
            if crew and rng.random() < 0.5:
                os.kill(int(rng.choice(crew)), signal.SIGKILL)
                workers += 1
            else:
                os.killpg(process.pid, signal.SIGKILL)
                groups += 1
        if process.wait() == 0:
            return workers, groups


def members(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that must not depend on the way the set was made."""
    paths = [*folder.glob("*.tar"), folder / "config.json"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--identities", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    whole, shot = arguments.out / "whole", arguments.out / "killed"
    started = time.monotonic()
    subprocess.run(render_command(whole, arguments.identities), check=True, stdout=subprocess.DEVNULL)
    quiet = time.monotonic() - started
    command = render_command(shot, arguments.identities)
    workers, groups = render_under_fire(command, arguments.kills, np.random.default_rng(arguments.seed))
    loud = time.monotonic() - started - quiet
    print(f"{arguments.identities} identities: {quiet:.0f} s in peace; {loud:.0f} s under fire,")
    print(f"  with SIGKILL for {workers} single workers and {groups} times for all processes")
    ours, theirs = members(shot), members(whole)
    wrong = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    left = sorted(path.name for path in shot.iterdir() if "partial" in path.name)
    print(f"  {len(ours)} files, {len(wrong)} differ, {len(left)} left over")
    if wrong or left or workers + groups < arguments.kills:
        raise SystemExit("the set is not what an uninterrupted run makes, or the run ended before the last shot")


if __name__ == "__main__":
    main()
