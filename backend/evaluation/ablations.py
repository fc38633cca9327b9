"""What each part of the base model is worth: the same people and the same number of steps, one part left out at a time.

``maquette evaluate ablations --data PACK --stages DIR --out DIR`` trains every variant from scratch on the planes and
in the latent space that `maquette train` has made in ``--stages``, leaves the last people of the set to be measured
with, and draws those in one step, their bodies being known. A killed run goes on. OUT then holds ``ablations.json`` and
``ablations.png``.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from backend.api import ErrorCode
from backend.body_model.controls import control_vertices
from backend.body_model.registry import load_body_model
from backend.errors import MaquetteError
from backend.evaluation.figures import psnr, ssim
from backend.rodin.aligned import make_anchors
from backend.rodin.weights import load_latent
from backend.training import inputs
from backend.training.bank import load_bank
from backend.training.base_stage import BaseStage, BaseStageConfig
from backend.training.measure import regress, render_head, view_of
from backend.training.plane_set import PlaneSet, PlaneSetConfig

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from backend.radiance.decoder import Decoder
    from backend.training.bank import HeadBank


@dataclasses.dataclass(frozen=True)
class Variant:
    """`words` for the table; `model` replaces fields of the base model's sizes. `canonical`: planes in the body's
    canonical space; `centred`: the network makes what differs from the mean planes, else whole planes."""

    words: str
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    canonical: bool = True
    centred: bool = True


VARIANTS = {
    "full": Variant("everything"),
    "no_exchange": Variant("without 3D-aware convolution: each plane for itself", {"kind": "plain"}),
    "concatenated": Variant("planes' channels concatenated", {"kind": "mixed"}),
    "no_latent": Variant("without the latent point", {"latent": False}),
    "no_aligned": Variant("without aligned features: point and tokens alone", {"aligned": False}),
    "plain_space": Variant("planes in plain instead of canonical space", canonical=False),
    "whole": Variant("whole planes instead of what differs from their mean", centred=False),
}


@dataclasses.dataclass(frozen=True)
class AblationRequest:
    """`steps` of training for each variant of `only`; `heads` to learn from and `unseen` to measure with; the recipe of
    the base stage gives everything else, `planes` that of the planes in plain space."""

    data: Path
    stages: Path
    out: Path
    recipe: BaseStageConfig
    planes: PlaneSetConfig
    steps: int = 600
    heads: int | None = None
    unseen: int = 24
    only: tuple[str, ...] = tuple(VARIANTS)


def run_ablations(request: AblationRequest) -> dict[str, Any]:
    """Train and measure all variants; returns what ``ablations.json`` holds."""
    _require(request)
    request.out.mkdir(parents=True, exist_ok=True)
    rows, pictures = {}, []
    for name in request.only:
        path = request.out / name / "figures.json"
        if not path.exists():
            row = _measure(request, name)
            path.write_text(json.dumps(row) + "\n", encoding="utf-8")
        rows[name] = {"what": VARIANTS[name].words, **json.loads(path.read_text(encoding="utf-8"))}
        pictures.append(np.load(request.out / name / "drawn.npy"))
        print(f"{name}: {rows[name]['psnr']:.2f} dB, SSIM {rows[name]['ssim']:.3f}", flush=True)
    found = {"steps": request.steps, "heads": request.heads, "unseen": request.unseen, "rows": rows}
    (request.out / "ablations.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    _sheet(request, pictures)
    return found


def _require(request: AblationRequest) -> None:
    """Refuse what cannot be read before anything is written."""
    from synthetic_data.packed import PackedHeads

    try:
        count = len(PackedHeads(request.data))
    except (OSError, ValueError) as problem:
        sentence = f"{request.data} cannot be read: {problem}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate") from None
    if min(count, count if request.heads is None else request.heads + request.unseen) <= request.unseen:
        sentence = f"The set has {count} people: measuring with {request.unseen} of them leaves nobody to learn from."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate")
    inputs.load_planes(request.stages)
    load_latent(request.stages / "latent" / "latent.safetensors")


def _measure(request: AblationRequest, name: str) -> dict[str, float]:
    variant, folder = VARIANTS[name], request.out / name
    bank, planes, decoder = _material(request, canonical=variant.canonical)
    space = load_latent(request.stages / "latent" / "latent.safetensors")
    config = dataclasses.replace(
        request.recipe, steps=request.steps, model=dataclasses.replace(request.recipe.model, **variant.model)
    )
    known = list(range(len(bank) - request.unseen))
    anchors = make_anchors(load_body_model("anny"), config.model.size)
    stage = BaseStage(bank.subset(known), planes[known], decoder, anchors, space.encode_pictures, config)
    if not variant.centred:
        whole = planes[known].float().square().mean((0, -1, -2)).sqrt().clamp(min=1e-3)
        stage.mean, stage.spread = torch.zeros_like(stage.mean), whole[..., None, None]
    stage.load(folder)
    while stage.step_number < config.steps:
        stage.run(until=stage.step_number + 50)
        stage.save(folder)
    model = stage.averaged_model()
    views = _views(bank)
    figures, drawn = [], []
    for head in range(len(known), len(bank)):
        made = stage.denormalise(regress(model, bank, space.encode_pictures, head))
        pictures = render_head(bank, head, made, decoder, views)
        true = [view_of(bank, head, view)[1] for view in views]
        figures += [(psnr(a, b), ssim(a, b)) for a, b in zip(pictures, true, strict=True)]
        drawn.append(np.hstack(pictures[:2]))
    np.save(folder / "drawn.npy", (np.stack(drawn[:8]) * 255 + 0.5).clip(0, 255).astype(np.uint8))
    mean = np.mean(figures, 0)
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "psnr": round(float(mean[0]), 3),
        "ssim": round(float(mean[1]), 4),
        "seconds": round(stage.seconds, 1),
        "parameters": parameters,
    }


def _material(request: AblationRequest, *, canonical: bool) -> tuple[HeadBank, Tensor, Decoder]:
    """People, their planes and the decoder of those; in plain space they are fitted first, with the same recipe."""
    model = load_body_model("anny")
    count = None if request.heads is None else request.heads + request.unseen
    bank = load_bank(request.data, model, count=count, canonical=canonical)
    if canonical:
        return bank, inputs.load_planes(request.stages)[: len(bank)], inputs.load_decoder(request.stages)
    # Texels are fixed in plain space, so what they look at does not move with the body either.
    rest = torch.from_numpy(model.template[control_vertices(model)]).float()
    bank = dataclasses.replace(bank, body=rest.expand_as(bank.body).clone())
    fit, folder = PlaneSet(bank, request.planes), request.out / "plain_planes"
    fit.load(folder)
    while fit.step_number < fit.steps:
        fit.run(until=fit.step_number + 200)
        fit.save(folder)
    with torch.no_grad():
        planes = torch.cat([fit.planes(part).half() for part in torch.arange(len(bank)).split(64)])
    return bank, planes, fit.decoder.requires_grad_(False)


def _views(bank: HeadBank) -> list[int]:
    """Every second view of the rig."""
    return list(range(0, bank.rgb.shape[1], 2))


def _sheet(request: AblationRequest, pictures: list[np.ndarray]) -> None:
    """One unseen person per row: the truth, then each variant in the order of the table."""
    from PIL import Image

    count = None if request.heads is None else request.heads + request.unseen
    bank = load_bank(request.data, load_body_model("anny"), count=count)
    first = len(bank) - request.unseen
    true = [
        np.hstack([view_of(bank, first + row, view)[1] for view in _views(bank)[:2]]) for row in range(len(pictures[0]))
    ]
    columns = [(np.stack(true) * 255 + 0.5).astype(np.uint8), *pictures]
    sheet = np.concatenate([np.concatenate([column[row] for column in columns], 1) for row in range(len(true))])
    Image.fromarray(sheet).save(request.out / "ablations.png")
