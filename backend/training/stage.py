"""What all stages that train one network share: the optimiser, a running average, and stopping and going on."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

from backend.training import team
from backend.training.state import STATE, load_state, save_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


class Recipe(Protocol):
    """What the configuration of such a stage must say; it is a dataclass.

    The rate rises over `warm_up` steps and falls along a cosine to the part `final_rate` of `rate`; `average` is the
    decay of the running average.
    """

    @property
    def steps(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def warm_up(self) -> int: ...
    @property
    def final_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def average(self) -> float: ...
    @property
    def seed(self) -> int: ...


Model = TypeVar("Model", bound="nn.Module")


class NetworkStage(Generic[Model]):
    """A network under training. A subclass says what one step is, and how to make an untrained network.

    What is random in a step follows from the recipe's seed and the step's number, so a run that stops and goes on is
    the run that never stopped.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.generator = torch.Generator(device)
        torch.manual_seed(recipe.seed)
        self.model = self.make()
        self.averaged = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
        )
        self.step_number, self.seconds = 0, 0.0

    def make(self) -> Model:
        """An untrained network on the stage's device."""
        raise NotImplementedError

    def losses(self) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch, and figures for the curve."""
        raise NotImplementedError

    def run(
        self, *, until: int | None = None, report: Callable[[int, dict[str, float]], None] = lambda s, f: None
    ) -> None:
        """Go on to step `until`, or to the end."""
        end = min(until or self.recipe.steps, self.recipe.steps)
        while self.step_number < end:
            begun = time.perf_counter()
            self._draw_anew()
            for group in self.optimiser.param_groups:
                group["lr"] = self._rate()
            loss, figures = self.losses()
            loss.backward()
            team.average_gradients(list(self.model.parameters()))
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self._average()
            self.seconds += time.perf_counter() - begun
            self.step_number += 1
            report(self.step_number, figures)

    def averaged_model(self) -> Model:
        """The running average, for use."""
        model = self.make()
        model.load_state_dict(self.averaged)
        return model.eval().requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Everything that the next run needs, whole or not at all; of several processes the first writes."""
        if team.rank() > 0:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in self.averaged.items()}
        plain = {"step": self.step_number, "seconds": self.seconds, "config": self._told()}
        save_state(folder / STATE, tensors, self.optimiser, plain)

    def load(self, folder: Path) -> bool:
        """Go on where `save` left off; False when there is nothing to go on with.

        Raises `ValueError` when it belongs to another recipe.
        """
        if not (folder / STATE).exists():
            return False
        tensors, plain = load_state(folder / STATE, self.optimiser, self.device)
        if plain["config"] != json.loads(json.dumps(self._told())):
            raise ValueError(f"{folder / STATE} was made with another recipe: choose another folder")
        part = lambda prefix: {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}  # noqa: E731
        self.model.load_state_dict(part("model."))
        self.averaged = part("averaged.")
        self.step_number, self.seconds = plain["step"], plain["seconds"]
        return True

    def _draw_anew(self) -> None:
        seed = (self.recipe.seed * 1_000_003 + self.step_number) * 1_009 + team.rank()
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)  # dropout draws from the global one

    def _told(self) -> dict[str, Any]:
        return dataclasses.asdict(self.recipe)  # pyright: ignore[reportArgumentType]

    def _rate(self) -> float:
        recipe, step = self.recipe, self.step_number
        fallen = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        warm = min(1.0, (step + 1) / recipe.warm_up)
        return recipe.rate * warm * (recipe.final_rate + (1 - recipe.final_rate) * fallen)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.recipe.average, (self.step_number + 1) / (self.step_number + 10))
        for name, value in self.model.state_dict().items():
            self.averaged[name].lerp_(value, 1 - keep)
