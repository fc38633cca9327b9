"""Noise over time, for training and for sampling: Stable Diffusion's schedule and diffusers' DDIM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backend.morphable.config import Prediction

STEPS = 1000


def scheduler(steps: int | None = None, prediction: Prediction = "epsilon") -> Any:
    """A diffusers `DDIMScheduler` for what a network predicts, set to so many sampling steps.

    For the noise, 50 steps are 981, 961, ..., 1, and after the last comes the signal of time 0, not a clean picture.
    For clean views noise goes up to nothing else ("Common Diffusion Noise Schedules and Sample Steps are Flawed",
    arXiv 2305.08891), so that no brightness leaks into the first step, and 50 steps are 999, 979, ..., 19.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    published = prediction == "epsilon"
    plan = DDIMScheduler(
        STEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        clip_sample=False,
        set_alpha_to_one=not published,
        steps_offset=1,
        timestep_spacing="leading" if published else "trailing",
        rescale_betas_zero_snr=not published,
    )
    if steps is not None:
        plan.set_timesteps(steps)
    return plan
