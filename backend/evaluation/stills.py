"""``maquette evaluate stills``: what the refiner adds to pictures of fields, on people whom it has not learned from.

Their fields are fitted to the renders of ``DATA``, as in training, then drawn a quarter as large and refined. OUT holds
``stills.json`` and ``stills.png``: enlarged, refined, rendered.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.evaluation.figures import psnr, ssim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backend.training.refiner_stage import Pairs


@dataclasses.dataclass(frozen=True)
class StillsRequest:
    """A packed set of large pictures `data`; `weights` of the engine 'rodin', whose decoder the fields are fitted to,
    and `refiner`, files; a head is visited `visits` times."""

    data: Path
    weights: Path
    refiner: Path
    out: Path
    visits: int = 120


def evaluate_stills(request: StillsRequest, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure, write, and return what ``stills.json`` holds. Raises `MaquetteError` when something cannot be read."""
    from backend.body_model.registry import load_body_model
    from backend.rodin.refiner import enlarged, load_refiner
    from backend.rodin.weights import load_rodin
    from backend.training.bank import load_bank
    from backend.training.plane_set import PlaneSet, PlaneSetConfig
    from backend.training.refiner_stage import draw_pairs, write_sheet

    model = load_body_model("anny")
    rodin, refiner = load_rodin(request.weights, model), load_refiner(request.refiner)
    try:
        bank = load_bank(request.data, model)
        size = rodin.mean.shape[-1]
        levels, together = (size // 4, size // 2, size), min(16, len(bank))
        config = PlaneSetConfig(rodin.decoder.config, levels, request.visits, together)
        fit = PlaneSet(bank, config, decoder=rodin.decoder)
        fit.base.data.copy_(rodin.mean)
        fit.run(report=lambda step, loss: say(f"fit: step {step}/{fit.steps}") if step % 40 == 0 else None)
        pairs = draw_pairs(bank, fit.planes(torch.arange(len(bank))), rodin.decoder)
    except (OSError, ValueError) as problem:
        sentence = f"{request.data} cannot be read: {problem}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate") from None
    rows = {"enlarged": figures(pairs, enlarged), "refined": figures(pairs, refiner)}
    found = {"people": len(bank), "pictures": len(pairs), "rows": rows}
    request.out.mkdir(parents=True, exist_ok=True)
    (request.out / "stills.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_sheet(refiner, pairs, request.out / "stills.png")
    for name, row in rows.items():
        say(f"{name}: " + ", ".join(f"{word} {value:.3f}" for word, value in row.items()))
    return found


@torch.no_grad()
def figures(pairs: Pairs, enlarge: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
    """Of pictures over white: mean PSNR in dB and SSIM against the renders, and the detail that they have, as a part of
    the renders': of the mean steepness between neighbouring pixels of the person."""
    found: list[tuple[float, float, float]] = []
    for small, large in zip(pairs.small, pairs.large, strict=True):
        made = enlarge(small[None].float() / 255)[0].clamp(0, 1)
        one, other = (over_white(picture) for picture in (made, large.float() / 255))
        person = large[3].numpy() > 250
        detail = steepness(one, person) / max(steepness(other, person), 1e-6)
        found.append((psnr(one, other), ssim(one, other), detail))
    return dict(zip(("psnr", "ssim", "detail"), np.mean(found, 0).tolist(), strict=True))


def over_white(picture: torch.Tensor) -> np.ndarray:
    """H x W x 3, of sRGB times alpha and alpha."""
    return (picture[:3] + 1 - picture[3:]).clamp(0, 1).permute(1, 2, 0).numpy()


def steepness(picture: np.ndarray, where: np.ndarray) -> float:
    """Mean difference of brightness between neighbours, both of which lie `where` it counts."""
    grey = picture.mean(-1)
    total = count = 0.0
    for axis in (0, 1):
        both = np.minimum(*(np.delete(where, end, axis) for end in (0, -1)))
        total += float(np.abs(np.diff(grey, axis=axis))[both].sum())
        count += float(both.sum())
    return total / max(count, 1.0)
