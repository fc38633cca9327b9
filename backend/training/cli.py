"""``maquette train STAGE``: each stage reads what the one before it wrote, stops when it is told to, and goes on.

=========  =================================================================================================
planes     a packed set to fitted planes and a decoder: ``planes.safetensors``, ``decoder.safetensors``
base       packed set and planes to the base model: ``rodin.safetensors``, the engine's weights
judges     a packed set to what `maquette evaluate heads` judges with: ``verifier.safetensors``,
           ``classifier.safetensors``
baselines  packed set and planes to what an engine has to beat: ``baselines.safetensors``
=========  =================================================================================================

Every stage but the last, which needs no going on, writes ``state.safetensors`` (to go on) and ``curve.jsonl`` (figures
per step); those that make planes draw ``samples.png``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.api import ErrorCode
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backend.training.bank import HeadBank

STAGES = ("planes", "base", "judges", "baselines")
_SAVE_EVERY, _REPORT_EVERY = 300.0, 20.0
"""Seconds."""


def main(arguments: Sequence[str]) -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(prog="maquette train", description="train one stage of the learned engines")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--config", default="small", metavar="NAME|FILE", help="a recipe (default: small)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a packed set, see 'dataset pack'")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of all stages")
    parser.add_argument("--heads", type=int, metavar="N", help="only the first N heads")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after so long; the same command goes on")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    options = parser.parse_args(list(arguments))
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    {"planes": _planes, "base": _base, "judges": _judges, "baselines": _baselines}[options.stage](options)


class _Run:
    """Prints progress, writes the curve, and says when to save and when time is up."""

    def __init__(self, folder: Path, minutes: float | None, steps: int, save: Callable[[], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._curve = (folder / "curve.jsonl").open("a")
        self._end = time.monotonic() + minutes * 60 if minutes else float("inf")
        self._save, self._steps = save, steps
        self._saved = self._reported = time.monotonic()
        self._sums: dict[str, float] = {}
        self._count = self._since = 0
        self._begun = time.monotonic()

    def __call__(self, step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._since += 1
        now = time.monotonic()
        if now - self._reported > _REPORT_EVERY or step == self._steps:
            means = {name: value / self._count for name, value in self._sums.items()}
            rate = self._since / max(now - self._begun, 1e-9)
            left = (self._steps - step) / rate / 60
            words = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
            print(f"step {step}/{self._steps}: {words}; {rate:.2f} steps/s, {left:.0f} min left", flush=True)
            self._curve.write(json.dumps({"step": step, **means}) + "\n")
            self._curve.flush()
            self._sums, self._count, self._reported = {}, 0, now
        if now - self._saved > _SAVE_EVERY:
            self._save()
            self._saved = time.monotonic()
        if now > self._end and step < self._steps:
            self._save()
            raise _TimeIsUp


class _TimeIsUp(Exception):
    pass


def _bank(options: argparse.Namespace) -> HeadBank:
    from backend.body_model.registry import load_body_model
    from backend.training.bank import load_bank

    begun = time.monotonic()
    try:
        bank = load_bank(options.data, load_body_model("anny"), count=options.heads)
    except (OSError, ValueError) as problem:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST, f"{options.data} cannot be read: {problem}.", stage="train"
        ) from None
    print(f"{len(bank)} heads in {time.monotonic() - begun:.0f} s", flush=True)
    return bank.to(options.device)


def _planes(options: argparse.Namespace) -> None:
    import torch
    from safetensors.torch import save_file

    from backend.training.measure import contact_sheet
    from backend.training.plane_set import PlaneSet, PlaneSetConfig
    from backend.training.recipes import read_recipe

    config = read_recipe(PlaneSetConfig, "planes", options.config)
    stage = PlaneSet(_bank(options), config)
    folder = options.out / "planes"
    stage.load(folder)
    run = _Run(folder, options.minutes, stage.steps, lambda: stage.save(folder))
    try:
        stage.run(report=lambda step, loss: run(step, {"loss": loss}))
    except _TimeIsUp:
        print(f"Stopped at step {stage.step_number} of {stage.steps}: the same command goes on.")
        return
    stage.save(folder)
    count = len(stage.bank)
    planes = torch.cat([stage.planes(part).half().cpu() for part in torch.arange(count).split(64)])
    save_file({"planes": planes.contiguous()}, folder / "planes.safetensors")
    state = {name: value.cpu().contiguous() for name, value in stage.decoder.state_dict().items()}
    save_file(state, folder / "decoder.safetensors", {"config": json.dumps(dataclasses.asdict(stage.decoder.config))})
    heads = list(range(0, count, max(1, count // 8)))[:8]
    figure = contact_sheet(stage.bank, heads, lambda head: planes[head].float(), stage.decoder, folder / "samples.png")
    print(f"Done: {folder}; {figure:.2f} dB on 3 views of {len(heads)} heads, {stage.seconds:.0f} s.")


def load_decoder(folder: Path) -> Any:
    """The decoder that the stage "planes" wrote."""
    from safetensors import safe_open

    from backend.radiance.decoder import Decoder, DecoderConfig

    with safe_open(str(folder / "planes" / "decoder.safetensors"), framework="pt") as file:
        decoder = Decoder(DecoderConfig(**json.loads(file.metadata()["config"])))
        decoder.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118, not a dict
    return decoder.requires_grad_(False)


def _base(options: argparse.Namespace) -> None:
    from safetensors.torch import load_file

    from backend.body_model.registry import load_body_model
    from backend.rodin.aligned import make_anchors
    from backend.rodin.weights import Rodin, save_rodin
    from backend.training.base_stage import BaseStage, BaseStageConfig
    from backend.training.measure import contact_sheet, regress
    from backend.training.recipes import read_recipe

    config = read_recipe(BaseStageConfig, "base", options.config)
    bank = _bank(options)
    planes = load_file(options.out / "planes" / "planes.safetensors")["planes"][: len(bank)].to(options.device)
    decoder = load_decoder(options.out).to(options.device)
    anchors = make_anchors(load_body_model("anny"), config.model.size)
    stage = BaseStage(bank, planes, decoder, anchors, config)
    folder = options.out / "base"
    stage.load(folder)

    def show() -> None:
        stage.save(folder)
        heads = list(range(0, len(bank), max(1, len(bank) // 6)))[:6]
        model = stage.averaged_model()
        make = lambda head: stage.denormalise(regress(model, bank, head))  # noqa: E731
        print(f"  {contact_sheet(bank, heads, make, decoder, folder / 'samples.png'):.2f} dB on training heads")

    run = _Run(folder, options.minutes, config.steps, show)
    try:
        stage.run(report=run)
    except _TimeIsUp:
        print(f"Stopped at step {stage.step_number} of {config.steps}: the same command goes on.")
        return
    show()
    weights = options.out / "rodin.safetensors"
    save_rodin(weights, Rodin(stage.averaged_model(), decoder, stage.mean, stage.spread, half_size=bank.half_size))
    print(f"Done: {weights}")


def _judges(options: argparse.Namespace) -> None:
    from backend.evaluation.judges import save_judge
    from backend.training.judge_stage import JudgeStage, JudgeStageConfig
    from backend.training.recipes import read_recipe

    config = read_recipe(JudgeStageConfig, "judges", options.config)
    stage = JudgeStage(_bank(options), config)
    folder = options.out / "judges"
    stage.load(folder)
    run = _Run(folder, options.minutes, config.steps, lambda: stage.save(folder))
    try:
        stage.run(report=run)
    except _TimeIsUp:
        print(f"Stopped at step {stage.step_number} of {config.steps}: the same command goes on.")
        return
    stage.save(folder)
    for name, judge in (("verifier", stage.verifier), ("classifier", stage.classifier)):
        save_judge(options.out / f"{name}.safetensors", judge)
    print(f"Done: verifier.safetensors and classifier.safetensors in {options.out}, {stage.seconds:.0f} s.")


def _baselines(options: argparse.Namespace) -> None:
    from safetensors.torch import load_file

    from backend.evaluation.baselines import BaselineConfig, make_baselines, save_baselines
    from backend.training.recipes import read_recipe

    config = read_recipe(BaselineConfig, "baselines", options.config)
    bank = _bank(options)
    planes = load_file(options.out / "planes" / "planes.safetensors")["planes"][: len(bank)].to(options.device)
    made, kept = make_baselines(bank, planes, load_decoder(options.out).to(options.device), config)
    path = options.out / "baselines.safetensors"
    save_baselines(path, made)
    print(f"Done: {path}; {len(made.components)} components keep {kept:.0%} of the variance of {len(bank)} heads.")
