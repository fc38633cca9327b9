"""Noise over time, for training and for sampling: Stable Diffusion's schedule and diffusers' DDIM."""

from __future__ import annotations

from typing import Any

STEPS = 1000


def scheduler(steps: int | None = None) -> Any:
    """A diffusers `DDIMScheduler` for networks that predict the noise, set to so many sampling steps.

    50 steps are 981, 961, ..., 1, and after the last comes the signal of time 0, not a clean picture.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    plan = DDIMScheduler(
        STEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )
    if steps is not None:
        plan.set_timesteps(steps)
    return plan
