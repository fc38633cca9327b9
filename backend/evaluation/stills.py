"""``maquette evaluate stills``: what the refiner adds to pictures of fields, on people whom it has not learned from.

Fields are fitted to the renders of ``DATA``, drawn a quarter as large, and refined. OUT holds ``stills.json`` and
``stills.png``: enlarged, refined, rendered. A refiner invents: against the very same render its strands lie elsewhere,
so beside PSNR and SSIM stands how much detail there is at all.
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
from backend.radiance.occupancy import OccupancyGrid
from backend.rodin.refiner import SCALE, draw_small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from backend.radiance.decoder import Decoder
    from backend.training.bank import HeadBank


@dataclasses.dataclass(frozen=True)
class StillsRequest:
    """A packed set of large pictures `data`; `weights` of the engine 'rodin', whose decoder the fields are fitted to,
    and `refiner`, files; a head is visited `visits` times, with so many `rays`."""

    data: Path
    weights: Path
    refiner: Path
    out: Path
    visits: int = 300
    rays: int = 1024


def evaluate_stills(request: StillsRequest, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure, write, and return what ``stills.json`` holds. Raises `MaquetteError` when something cannot be read."""
    from backend.body_model.registry import load_body_model
    from backend.evaluation.held_out import write_picture
    from backend.rodin.refiner import enlarged, load_refiner
    from backend.rodin.weights import load_rodin
    from backend.training.bank import load_bank
    from backend.training.plane_set import PlaneSet, PlaneSetConfig
    from backend.training.refiner_stage import over_white

    model = load_body_model("anny")
    rodin, refiner = load_rodin(request.weights, model), load_refiner(request.refiner)
    try:
        bank = load_bank(request.data, model)
        if bank.rgb.shape[-1] % SCALE:
            raise ValueError(f"its pictures have {bank.rgb.shape[-1]} pixels, which is no multiple of {SCALE}")
    except (OSError, ValueError) as problem:
        sentence = f"{request.data} cannot be read: {problem}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate") from None
    size, together = rodin.mean.shape[-1], min(16, len(bank))
    levels = (size // 4, size // 2, size)
    config = PlaneSetConfig(rodin.decoder.config, levels, request.visits, together, rays=request.rays)
    fit = PlaneSet(bank, config, decoder=rodin.decoder)
    fit.base.data.copy_(rodin.mean)
    fit.run(report=lambda step, loss: say(f"fit: step {step}/{fit.steps}") if step % 40 == 0 else None)
    rows: dict[str, list[dict[str, float]]] = {"enlarged": [], "refined": []}
    strips: list[np.ndarray] = []
    for head in range(len(bank)):
        for small, large in pairs(bank, head, fit.planes(torch.tensor([head]))[0], rodin.decoder):
            truth = over_white(large).permute(1, 2, 0).numpy()
            shown = []
            for name, enlarge in (("enlarged", enlarged), ("refined", refiner)):
                with torch.no_grad():
                    made = over_white(enlarge(small[None])[0].clamp(0, 1)).permute(1, 2, 0).numpy()
                rows[name].append(figures(made, truth, large[3].numpy() > 0.98))
                shown.append(made)
            strips.append(np.hstack([middle(picture) for picture in (*shown, truth)]))
    means = {
        name: {word: round(float(np.mean([row[word] for row in found])), 3) for word in found[0]}
        for name, found in rows.items()
    }
    told = {"people": len(bank), "pictures": len(strips), "rows": means}
    request.out.mkdir(parents=True, exist_ok=True)
    (request.out / "stills.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    write_picture(request.out / "stills.png", np.vstack(strips))
    for name, row in means.items():
        say(f"{name}: " + ", ".join(f"{word} {value}" for word, value in row.items()))
    return told


def pairs(
    bank: HeadBank, head: int, planes: Float[Tensor, "3 C S S"], decoder: Decoder
) -> list[tuple[Float[Tensor, "4 s s"], Float[Tensor, "4 S S"]]]:
    """All views of a head: the field's picture, and the render, `SCALE` times as large; sRGB times alpha, and alpha.
    What lies outside of the field's cube is in neither."""
    from backend.training.measure import field_of, seen_in_cube

    field = field_of(bank, head, planes.float(), decoder)
    grid = OccupancyGrid.build(field)
    size = bank.rgb.shape[-1]
    found = []
    for view in range(bank.rgb.shape[1]):
        seen, counts = seen_in_cube(bank, head, view)
        alpha = (seen.alpha * counts)[..., None]
        drawn = draw_small(field, seen.camera.resized(size // SCALE, size // SCALE), grid)
        share = counts.reshape(size // SCALE, SCALE, size // SCALE, SCALE).mean((1, 3), dtype=np.float32)
        both = drawn * share[..., None], np.concatenate([seen.rgb * alpha, alpha], -1)
        found.append(tuple(torch.from_numpy(np.asarray(each, np.float32)).permute(2, 0, 1) for each in both))
    return found


def figures(
    made: Float[np.ndarray, "H W 3"], truth: Float[np.ndarray, "H W 3"], person: np.ndarray
) -> dict[str, float]:
    """PSNR in dB, SSIM, and the detail there is, as a part of the truth's: of the mean steepness between neighbouring
    pixels of the `person`."""
    detail = steepness(made, person) / max(steepness(truth, person), 1e-6)
    return {"psnr": psnr(made, truth), "ssim": ssim(made, truth), "detail": detail}


def steepness(picture: Float[np.ndarray, "H W 3"], where: np.ndarray) -> float:
    """Mean difference of brightness between neighbours, both of which lie `where` it counts."""
    grey = picture.mean(-1)
    total = count = 0.0
    for axis in (0, 1):
        both = np.minimum(*(np.delete(where, end, axis) for end in (0, -1)))
        total += float(np.abs(np.diff(grey, axis=axis))[both].sum())
        count += float(both.sum())
    return total / max(count, 1.0)


def middle(picture: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W 3"]:
    """The middle half, in which the head is."""
    size = len(picture)
    return picture[size // 6 : 2 * size // 3, size // 4 : 3 * size // 4]
