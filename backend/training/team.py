"""Several processes that train one network, one per graphics card; alone, nothing here does anything.

``accelerate launch -m backend train …`` and ``torchrun -m backend train …`` start them and tell each its number in the
environment. Every process draws its own batches from the same data and all of them take the mean gradient, so n
processes train with batches n times as large.
"""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING

import torch
import torch.distributed as distributed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn


def join(device: str) -> str:
    """Meet the other processes, if there are any; returns this one's device (``"cuda"`` becomes ``"cuda:2"``)."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return device
    cuda = device.startswith("cuda")
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if cuda else "gloo")
        # A group left behind keeps threads that the interpreter's own end tears down: now and then the process aborts.
        atexit.register(distributed.destroy_process_group)
    return f"cuda:{os.environ['LOCAL_RANK']}" if cuda else device


def rank() -> int:
    """This process's number; 0 is the one that writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def leads() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def any_of(flag: bool) -> bool:
    """Whether `flag` is set in any process; all of them have to ask."""
    if size() == 1:
        return flag
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    told = torch.tensor([float(flag)], device=device)
    distributed.all_reduce(told)
    return bool(told.item())


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes, in one exchange."""
    if size() == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= size()
    for parameter, part in zip(parameters, flat.split([g.numel() for g in gradients]), strict=True):
        parameter.grad = part.view_as(parameter)
