"""How long a job takes: before it runs, from figures measured on two cores, and while it runs, from its own pace."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.api import Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STARTING = 2.0  # seconds to start a process and load its libraries
_MEASURED_CORES = 2
_PARALLEL = 0.6  # of the time on two cores, the part that more cores share


@dataclass(frozen=True)
class Costs:
    """Seconds of each stage in the order they come, and the peak of memory in megabytes."""

    stages: dict[str, float]
    memory_mb: int

    @property
    def seconds(self) -> float:
        return sum(self.stages.values())


def _costs(memory_mb: int, **stages: float) -> Costs:
    return Costs({"starting": STARTING, **stages}, memory_mb)


# Wall seconds of the astronaut on two otherwise idle cores; "wrapped" by the engine for those who name none, the other
# by the template engine.
GENERATE = {
    ("draft", "wrapped"): _costs(1050, portrait=2.2, fit=3.1, field=4.7, mesh=6.4, texture=5.5, export=4.8),
    ("standard", "wrapped"): _costs(1700, portrait=2.0, fit=2.5, field=4.4, mesh=8.2, texture=11.9, export=7.2),
    ("high", "wrapped"): _costs(4450, portrait=4.1, fit=7.3, field=5.0, mesh=17.7, texture=48.4, export=11.6),
    ("draft", "levelset"): _costs(1100, portrait=2.2, fit=2.5, field=8.0, mesh=12.0, export=4.7),
    ("standard", "levelset"): _costs(1200, portrait=2.0, fit=1.8, field=11.3, mesh=26.1, export=6.5),
    ("high", "levelset"): _costs(3500, portrait=3.0, fit=4.0, field=45.0, mesh=60.0, export=13.0),
}
RIG = _costs(700, rig=7.0, export=5.0)


def on_cores(costs: Costs, cores: int) -> Costs:
    """The same on `cores` cores instead of two."""
    factor = (1 - _PARALLEL) + _PARALLEL * _MEASURED_CORES / cores
    return Costs({name: seconds * factor for name, seconds in costs.stages.items()}, costs.memory_mb)


def learned(costs: Costs, runs: Sequence[Costs]) -> Costs:
    """`costs`, or the median of `runs` of the same kind that were measured on this machine."""
    if not runs:
        return costs
    stages = {
        name: statistics.median(run.stages.get(name, seconds) for run in runs) for name, seconds in costs.stages.items()
    }
    return Costs(stages, round(statistics.median(run.memory_mb for run in runs)))


def estimate(costs: Costs) -> Estimate:
    """What to tell before the run."""
    return Estimate(round(costs.seconds, 1), costs.memory_mb)


class Forecast:
    """Where a running job stands, as a fraction of the whole, and how long it still takes.

    Between two words of the job it moves with the clock, ever slower, and never to the end of the stage. Times are in
    seconds of any steady clock, passed in.
    """

    def __init__(self, stages: Mapping[str, float], now: float) -> None:
        self._expected = dict(stages)
        self._names = list(stages)
        self._total = sum(stages.values())
        self._stage = self._names[0]
        self._told = 0.0
        self._begun = now
        self._heard = now  # when `_told` was true
        self._shown = 0.0

    def tell(self, stage: str, fraction: float, now: float) -> None:
        """The job has done `fraction` of `stage`; a stage that was not expected is part of the one before it."""
        if stage not in self._expected:
            return
        if stage != self._stage:
            self._stage, self._told, self._heard = stage, 0.0, now
        if fraction > self._told:
            self._told, self._heard = min(fraction, 1.0), now

    def state(self, now: float) -> tuple[float, float]:
        """Fraction of the whole job, which never falls, and seconds left."""
        expected, silent = self._expected[self._stage], max(now - self._heard, 0.0)
        before = sum(self._expected[name] for name in self._names[: self._names.index(self._stage)])
        done = before + self._told * expected
        # Wall seconds for a planned one; a small part of the plan holds it, so that one slow start does not scare.
        held, spent = 0.04 * self._total, self._heard - self._begun
        pace = (spent + held) / (done + held)
        pace = max(pace, (spent + silent + held) / (before + expected + held))  # if this stage ended now
        rest = before + expected - done
        done += 0.95 * rest * math.tanh(silent / (rest * pace + 1e-6))
        self._shown = min(max(self._shown, done / self._total), 1.0)
        return self._shown, max(self._total - done, 0.0) * pace
