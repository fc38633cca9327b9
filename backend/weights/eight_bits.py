"""Matrices of networks in whole numbers of eight bits, half the size of half precision.

Each row has its own scale, the largest of its numbers over 127; what is small or no matrix stays as it is. That moves a
network's weights by a hundredth of their deviation, far less than what they learn is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

SCALE = ".scale"
_LEAST = 4096
"""Numbers that a matrix must have for its scales to be worth while."""


def halved(name: str, value: Tensor) -> Tensor:
    """What is neither in eight bits nor their scale, in half precision."""
    keep = value.dtype == torch.int8 or name.endswith(SCALE)
    return (value if keep else value.half()).contiguous()


def to_eight_bits(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large matrices as int8 of their shape beside ``name.scale``, float32, one for each row; the others untouched."""
    held: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if value.ndim < 2 or value.numel() < _LEAST:
            held[name] = value
            continue
        rows = value.detach().float().flatten(1)
        scale = (rows.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        held[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(value.shape)
        held[name + SCALE] = scale
    return held


def from_eight_bits(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back, all in float32. Raises `ValueError` for whole numbers without a scale."""
    found: dict[str, Tensor] = {}
    for name, value in held.items():
        if value.dtype == torch.int8:
            if name + SCALE not in held:
                raise ValueError(f"{name} has no scale")
            scale = held[name + SCALE].float()
            found[name] = value.float() * scale.reshape(-1, *[1] * (value.ndim - 1))
        elif not (name.endswith(SCALE) and name.removesuffix(SCALE) in held):
            found[name] = value.float()
    return found
