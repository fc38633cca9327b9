"""Figures of merit: how near one picture is to another, how well a score tells people apart, how real a set looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float

_ALEXNET = "alexnet-owt-7be5be79.pth"


def psnr(
    one: Float[np.ndarray, "*n 3"], other: Float[np.ndarray, "*n 3"], mask: Bool[np.ndarray, "*n"] | None = None
) -> float:
    """Peak signal-to-noise ratio in dB of two pictures in [0, 1], all of them or where `mask` is set."""
    error = np.square(one - other)
    return float(-10 * np.log10(max(float(error.mean() if mask is None else error[mask].mean()), 1e-10)))


def ssim(one: Float[np.ndarray, "H W 3"], other: Float[np.ndarray, "H W 3"]) -> float:
    """Structural similarity of two pictures in [0, 1], as published (Wang et al. 2004): Gaussian window of 1.5 pixels,
    mean over the colours."""
    from skimage.metrics import structural_similarity

    value: Any = structural_similarity(
        one, other, channel_axis=-1, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(value)


def frechet_distance(one: Float[np.ndarray, "N F"], other: Float[np.ndarray, "M F"]) -> float:
    """Fréchet distance between the normal distributions of two sets of features (Heusel et al. 2017).

    The trace of the root of C1 C2 is taken from the symmetric sqrt(C1) C2 sqrt(C1), which has the same eigenvalues and
    stays real when there are fewer pictures than features.
    """
    one, other = one.astype(np.float64), other.astype(np.float64)
    shift = one.mean(0) - other.mean(0)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    return float(max(shift @ shift + np.trace(first) + np.trace(second) - 2 * cross, 0.0))


def verification(same: Float[np.ndarray, " P"], different: Float[np.ndarray, " N"]) -> dict[str, Any]:
    """How well a score tells pairs of one person from pairs of two: the area under the ROC curve, the equal error
    rate, and points of the curve as {false accept rate: true accept rate}."""
    same, different = np.sort(same), np.sort(different)
    below = (np.searchsorted(different, same, "left") + np.searchsorted(different, same, "right")) / 2
    thresholds = np.unique(np.concatenate([same, different]))
    missed = np.searchsorted(same, thresholds, "left") / len(same)
    accepted = 1 - np.searchsorted(different, thresholds, "left") / len(different)
    nearest = int(np.abs(missed - accepted).argmin())
    curve = {}
    for rate in (0.001, 0.01, 0.1):
        allowed = accepted <= rate
        curve[str(rate)] = float(1 - missed[allowed].min()) if allowed.any() else 0.0
    return {
        "auc": float(below.mean() / len(different)),
        "eer": float((missed[nearest] + accepted[nearest]) / 2),
        "true_accept_at_false_accept": curve,
        "pairs": [len(same), len(different)],
    }


def load_lpips() -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """LPIPS (Zhang et al. 2018, AlexNet) of B pairs of pictures, B x H x W x 3 in [0, 1] to (B,), or None where this
    computer lacks it.

    It needs what we may not ship: the package `lpips`, and torchvision's AlexNet as
    ``checkpoints/alexnet-owt-7be5be79.pth`` in the folder that `torch.hub.get_dir` names
    (``~/.cache/torch/hub`` by default). Nothing is downloaded here.
    """
    from importlib.util import find_spec

    if find_spec("lpips") is None or not (Path(torch.hub.get_dir()) / "checkpoints" / _ALEXNET).is_file():
        return None
    lpips: Any = __import__("lpips")
    network = lpips.LPIPS(net="alex", verbose=False).eval()

    @torch.no_grad()
    def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        first, second = (torch.from_numpy(p).permute(0, 3, 1, 2).float() * 2 - 1 for p in (one, other))
        return network(first, second).reshape(-1).numpy()

    return distance
