"""What training stages of one network do alike: step, warm up and slow down, average, stop, and go on bit for bit."""

from __future__ import annotations

import abc
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from backend.training import team
from backend.training.state import STATE, load_state, save_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Recipe(Protocol):
    """What every recipe says: the learning `rate` warms up for `warm_up` steps and falls along a cosine to the part
    `final_rate` of itself; `average` is how much of the running average each step keeps."""

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


def quick_in_bf16(device: torch.device) -> bool:
    """Whether the device multiplies faster in bfloat16: graphics cards do, and processors with AMX or AVX512-BF16."""
    if device.type == "cpu":
        # Trainers also run on other versions of torch than ours: those that cannot tell keep single precision.
        able = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    return device.type == "cuda"


Model = TypeVar("Model", bound=nn.Module)
Config = TypeVar("Config", bound=Recipe)


class Stage(abc.ABC, Generic[Model, Config]):
    """A network under training, its running average, and where it is. `make` builds the network; `told` is what, beside
    the recipe, must be the same when training goes on.

    What is random in a step follows from the recipe's seed and the step's number, so a run that stops and goes on is
    the run that never stopped. Several processes (`team`) draw different batches and take the mean gradient.
    """

    def __init__(
        self, config: Config, device: torch.device | str, make: Callable[[], Model], told: dict[str, Any] | None = None
    ) -> None:
        self.config, self.device = config, torch.device(device)
        self.generator = torch.Generator(self.device)
        torch.manual_seed(config.seed)
        self._make = make
        self.model = make().to(self.device)
        self.averaged = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.groups(), config.rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self._told = {"config": dataclasses.asdict(config), **(told or {})}  # pyright: ignore[reportArgumentType]
        self.step_number, self.seconds = 0, 0.0

    @abc.abstractmethod
    def loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the next step, and the figures that it is made of."""

    def groups(self) -> list[dict[str, Any]]:
        """What is trained, as AdamW takes it; a group's `pace` is a factor of the recipe's rate."""
        return [{"params": list(self.model.parameters())}]

    def clipped(self) -> list[nn.Module]:
        """The parts of the model whose gradients are kept short, each for itself."""
        return [self.model]

    def run(
        self, *, until: int | None = None, report: Callable[[int, dict[str, float]], None] = lambda s, f: None
    ) -> None:
        """Go on to step `until`, or to the end."""
        end = min(until or self.config.steps, self.config.steps)
        while self.step_number < end:
            begun = time.perf_counter()
            figures = self._step()
            self.seconds += time.perf_counter() - begun
            self.step_number += 1
            report(self.step_number, figures)

    def _step(self) -> dict[str, float]:
        self._draw_anew()
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate() * group.get("pace", 1.0)
        loss, figures = self.loss()
        loss.backward()
        team.average_gradients([parameter for parameter in self.model.parameters() if parameter.requires_grad])
        for part in self.clipped():
            torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._average()
        return {name: float(value.detach()) for name, value in figures.items()}

    def _draw_anew(self) -> None:
        seed = (self.config.seed * 1_000_003 + self.step_number) * 1_009 + team.rank()
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)  # dropout draws from the global one

    def averaged_model(self) -> Model:
        """The running average, for use."""
        model = self._make().to(self.device)
        model.load_state_dict(self.averaged)
        return model.eval().requires_grad_(False)

    def _rate(self) -> float:
        config, step = self.config, self.step_number
        warm = min(1.0, (step + 1) / max(config.warm_up, 1))
        cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
        return config.rate * warm * (config.final_rate + (1 - config.final_rate) * cosine)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.config.average, (self.step_number + 1) / (self.step_number + 10))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.averaged[name].lerp_(value, 1 - keep)
            else:
                self.averaged[name].copy_(value)

    def save(self, folder: Path) -> None:
        """Everything that the next run needs, whole or not at all; of several processes the first one writes."""
        if team.rank() > 0:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in self.averaged.items()}
        plain = {"step": self.step_number, "seconds": self.seconds, **self._told}
        save_state(folder / STATE, tensors, self.optimiser, plain)

    def load(self, folder: Path) -> bool:
        """Go on where `save` left off; False when there is nothing to go on with.

        Raises `ValueError` when it belongs to another recipe or to other data.
        """
        if not (folder / STATE).exists():
            return False
        tensors, plain = load_state(folder / STATE, self.optimiser, self.device)
        for key, value in json.loads(json.dumps(self._told)).items():
            if plain.get(key) != value:
                what = "recipe" if key == "config" else key
                raise ValueError(f"{folder / STATE} was made with another {what}: choose another folder")
        part = lambda prefix: {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}  # noqa: E731
        self.model.load_state_dict(part("model."))
        self.averaged = part("averaged.")
        self.step_number, self.seconds = plain["step"], plain["seconds"]
        return True
