"""Noise over time, and the same for diffusers' samplers."""

import pytest
import torch

from backend.rodin.schedule import STEPS, add_noise, scheduler, signal, step_back


def test_signal_falls_from_all_to_nothing():
    kept = signal(torch.linspace(0, 1, 101))
    assert kept[0] == 1 and kept[-1] < 1e-12 and (kept.diff() <= 0).all()


@pytest.mark.parametrize(("time", "log_snr"), [(0.1, 1.0), (0.25, -0.5), (0.5, -2.8), (0.75, -6.8)])
def test_it_is_rodinhd_s_cosine(time, log_snr):
    kept = signal(torch.tensor(time, dtype=torch.float64))
    assert torch.log(kept / (1 - kept)).item() == pytest.approx(log_snr, abs=0.06)


def test_the_sampler_has_the_same_schedule():
    plan = scheduler()
    times = torch.arange(1, STEPS + 1, dtype=torch.float64) / STEPS
    torch.testing.assert_close(plan.alphas_cumprod.double(), signal(times), atol=1e-4, rtol=1e-3)
    plan.set_timesteps(10)
    assert int(plan.timesteps[0]) == STEPS - 1, "sampling starts at nothing but noise"


def test_a_network_that_knows_the_planes_is_sampled_to_them():
    clean = torch.randn(1, 3, 2, 4, 4)
    plan = scheduler()
    plan.set_timesteps(10)
    generator = torch.Generator().manual_seed(0)
    planes = add_noise(clean, torch.randn(clean.shape, generator=generator), torch.ones(1))
    for step in plan.timesteps:
        planes = step_back(plan, clean, step, planes, generator)
    torch.testing.assert_close(planes, clean, atol=1e-3, rtol=0)


@pytest.mark.parametrize("options", [(), (0.0, 1.0)])
def test_any_number_of_steps_stays_finite(options):
    """With as much new noise as possible the share of the old is zero, which rounding makes a root of less."""
    for count in (*range(1, 30), 70, 80):
        plan = scheduler(*options)
        plan.set_timesteps(count)
        vector, generator = torch.zeros(1, 2), torch.Generator().manual_seed(0)
        for step in plan.timesteps:
            vector = step_back(plan, torch.zeros(1, 2), step, vector, generator)
        assert torch.isfinite(vector).all(), count


def test_the_usual_cosine_is_gentler():
    times = torch.linspace(0.05, 0.95, 10)
    assert (signal(times, 0.0, 1.0) > signal(times)).all()
    torch.testing.assert_close(signal(torch.tensor([0.5]), 0.0, 1.0), torch.tensor([0.5]))


def test_noise_is_added_to_anything():
    clean, noise, times = torch.ones(2, 5), torch.zeros(2, 5), torch.tensor([0.0, 1.0])
    found = add_noise(clean, noise, times)
    torch.testing.assert_close(found, torch.stack([torch.ones(5), torch.zeros(5)]))
