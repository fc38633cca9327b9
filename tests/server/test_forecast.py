"""The fraction never falls, the time left comes to the truth, and estimates fit the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.server.forecast import GENERATE, RIG, Costs, Forecast, estimate, learned, on_cores

DRAFT = GENERATE["draft", "wrapped"]
STAGES = list(DRAFT.stages)


def _run(factor: float, moments: list[float]) -> list[tuple[float, float]]:
    """States at `moments`, parts of the whole, of a job whose every stage takes `factor` times as long as planned."""
    forecast, begun, states = Forecast(DRAFT.stages, 0.0), 0.0, []
    waiting = [moment * DRAFT.seconds * factor for moment in moments]
    for stage, planned in DRAFT.stages.items():
        took = planned * factor
        for step in range(20):
            now = begun + took * step / 20
            while waiting and waiting[0] <= now:
                states.append(forecast.state(waiting.pop(0)))
            forecast.tell(stage, step / 20, now)
        begun += took
    return states


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0, 20.0])
def test_half_way_the_time_left_is_right_within_a_fifth(factor: float) -> None:
    (fraction, left), (_, late) = _run(factor, [0.5, 0.8])
    assert fraction == pytest.approx(0.5, abs=0.05)
    assert left == pytest.approx(0.5 * DRAFT.seconds * factor, rel=0.2)
    assert late == pytest.approx(0.2 * DRAFT.seconds * factor, rel=0.25)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*STAGES, "unknown"]), st.floats(allow_nan=False), st.floats(min_value=0, max_value=1e4)
        )
    )
)
def test_the_fraction_never_falls_whatever_a_worker_says(events: list[tuple[str, float, float]]) -> None:
    forecast, now, before = Forecast(DRAFT.stages, 0.0), 0.0, 0.0
    for stage, told, pause in events:
        now += pause
        forecast.tell(stage, told, now)
        fraction, left = forecast.state(now)
        assert before <= fraction <= 1
        assert left >= 0
        before = fraction


def test_a_stage_that_says_nothing_moves_with_the_clock_but_not_to_its_end() -> None:
    forecast = Forecast({"rig": 10.0, "export": 10.0}, 0.0)
    fractions = [forecast.state(now)[0] for now in (0, 1, 5, 10, 100, 10_000)]
    assert fractions == sorted(set(fractions))
    assert fractions[-1] < 0.5


def test_every_choice_has_an_estimate_and_more_quality_costs_more() -> None:
    for mesh in ("wrapped", "levelset"):
        seconds = [GENERATE[quality, mesh].seconds for quality in ("draft", "standard", "high")]
        assert seconds == sorted(seconds)
    assert all(costs.memory_mb > 500 for costs in (*GENERATE.values(), RIG))


def test_estimates_are_those_of_two_cores_and_fewer_cores_take_longer() -> None:
    assert on_cores(DRAFT, 2) == DRAFT
    seconds = [on_cores(DRAFT, cores).seconds for cores in (1, 2, 4, 16)]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] < 2 * seconds[1], "one core is at most half as fast"
    assert estimate(DRAFT).seconds == pytest.approx(DRAFT.seconds, abs=0.1)


def test_what_ran_here_counts_more_than_what_was_measured_elsewhere() -> None:
    runs = [
        Costs({stage: seconds for stage in STAGES[1:]}, memory) for seconds, memory in ((1, 10), (2, 20), (90, 900))
    ]
    known = learned(DRAFT, runs)
    assert known.stages == {stage: 2 for stage in STAGES} | {"starting": DRAFT.stages["starting"]}
    assert known.memory_mb == 20
    assert learned(DRAFT, []) is DRAFT
