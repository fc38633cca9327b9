"""A real portrait and its body fit as the networks know them from the training set; or a point and a body alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.body_model.controls import control_vertices
from backend.portrait.head_crop import head_crop
from backend.rodin.base import Condition

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from backend.body_model.fitting import BodyFit
    from backend.portrait.portrait import Portrait


def condition_of(
    portrait: Portrait, fit: BodyFit, size: int, encode: Callable[[Float[Tensor, "B 4 H W"]], Float[Tensor, "B Z"]]
) -> Condition:
    """Crop the portrait to `size` x `size` pixels around the head, and `encode` it to its point; one row."""
    colour, alpha, camera = head_crop(portrait, fit.camera, size)
    rgb = (colour + 0.5 * (1 - alpha[..., None])).clip(0, 1)
    controls = fit.posed()[control_vertices(fit.model)]

    def row(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).float()[None]

    picture = row(np.dstack([rgb, alpha]).transpose(2, 0, 1))
    matrices = row(camera.world_to_camera), row(camera.intrinsics)
    with torch.no_grad():
        latent = encode(picture)
    return Condition(picture, latent, row(controls), *matrices, torch.ones(1), torch.ones(1))


def condition_without_portrait(latent: Float[Tensor, "B Z"], body: Float[Tensor, "B K 3"], size: int) -> Condition:
    """People that nobody has taken a picture of: points and posed controls (metres)."""
    batch = len(latent)
    empty = torch.zeros((batch, 4, size, size))
    camera, intrinsics = (torch.eye(n).expand(batch, n, n) for n in (4, 3))
    return Condition(empty, latent, body, camera, intrinsics, torch.zeros(batch), torch.ones(batch))
