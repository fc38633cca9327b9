"""``maquette train STAGE``: each stage reads what the one before it wrote, stops when it is told to, and goes on.

========  ==================================================================================================
planes    a packed set to fitted planes and a decoder: ``planes.safetensors``, ``decoder.safetensors``
latent    pictures and captions of a packed set to the space that both share: ``latent.safetensors``
prior     points of that space and bodies to a model that invents people: ``prior.safetensors``
base      packed set, planes and latent space to the base model: ``rodin.safetensors``, the engine's weights, which
          also hold latent space and prior
========  ==================================================================================================

With ``--clip DIR`` prior and base take the space of a CLIP model on the user's disk instead of our own.

Every stage writes ``state.safetensors`` (to go on), ``curve.jsonl`` (figures per step) and ``samples.png``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backend.api import ErrorCode
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backend.rodin.latent import LatentSpace
    from backend.training.bank import HeadBank
    from backend.training.people import People
    from backend.training.stage import Stage

    Heads = TypeVar("Heads", HeadBank, People)

STAGES = ("planes", "latent", "prior", "base")
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
    parser.add_argument("--clip", type=Path, metavar="DIR", help="a CLIP model instead of the stage 'latent'")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    options = parser.parse_args(list(arguments))
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    stages = {"planes": _planes, "latent": _latent, "prior": _prior, "base": _base}
    try:
        stages[options.stage](options)
    except _TimeIsUp as stop:
        print(f"Stopped at step {stop.step} of {stop.steps}: the same command goes on.")


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
            raise _TimeIsUp(step, self._steps)


class _TimeIsUp(Exception):
    def __init__(self, step: int, steps: int) -> None:
        super().__init__()
        self.step, self.steps = step, steps


def _bank(options: argparse.Namespace) -> HeadBank:
    from backend.body_model.registry import load_body_model
    from backend.training.bank import load_bank

    model = load_body_model("anny")
    return _read(options, lambda: load_bank(options.data, model, count=options.heads, device=options.device))


def _people(options: argparse.Namespace) -> People:
    from backend.training.people import load_people

    return _read(options, lambda: load_people(options.data, options.heads))


def _read(options: argparse.Namespace, read: Callable[[], Heads]) -> Heads:
    begun = time.monotonic()
    try:
        heads = read()
    except (OSError, ValueError) as problem:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST, f"{options.data} cannot be read: {problem}.", stage="train"
        ) from None
    print(f"{len(heads)} heads in {time.monotonic() - begun:.0f} s", flush=True)
    return heads


def _space(options: argparse.Namespace) -> LatentSpace:
    """The user's CLIP, or what the stage "latent" made."""
    from backend.rodin.clip import ClipLatent
    from backend.rodin.weights import load_latent

    if options.clip:
        return ClipLatent.from_folder(options.clip, options.device)
    path = options.out / "latent" / "latent.safetensors"
    if not path.exists():
        raise MaquetteError(
            ErrorCode.BAD_REQUEST,
            f"There is no {path}: train the stage 'latent' first, or give a CLIP model with --clip.",
            stage="train",
        )
    return load_latent(path).to(options.device)


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
    stage.run(report=lambda step, loss: run(step, {"loss": loss}))
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


def _latent(options: argparse.Namespace) -> None:
    from backend.rodin.weights import save_latent
    from backend.training.latent_stage import LatentStage, LatentStageConfig, plain_points
    from backend.training.recipes import read_recipe
    from backend.training.retrieval import REQUESTS, portrait_sheet, retrieval, zero_shot

    config = read_recipe(LatentStageConfig, "latent", options.config)
    people = _people(options)
    stage = LatentStage(people, config, options.device)
    folder = options.out / "latent"
    _resume(stage, folder)
    unseen = list(range(stage.learned, len(people)))

    def show() -> None:
        stage.save(folder)
        space = stage.averaged_space()
        points = plain_points(space, people, unseen)
        found = retrieval(space, points, [people.prompts.captions[head] for head in unseen])
        asked = zero_shot(space, points, [people.prompts.facts[head] for head in unseen])
        figures = {"step": stage.step_number, "heads": len(unseen), "retrieval": found, "zero_shot": asked}
        (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
        print("  portrait to caption, heads not learned from: " + ", ".join(f"{k} {v:.0%}" for k, v in found.items()))
        for attribute, row in asked.items():
            print(f"  {attribute}: {row['accuracy']:.0%} right, guessing {row['chance']:.0%}", flush=True)
        wanted = {text: space.encode_texts([text]) for text in REQUESTS}
        portrait_sheet(people, unseen, points, wanted, folder / "samples.png")

    stage.run(report=_Run(folder, options.minutes, config.steps, show))
    show()
    save_latent(folder / "latent.safetensors", stage.averaged_space())
    print(f"Done: {folder / 'latent.safetensors'}; {stage.seconds:.0f} s.")


def _prior(options: argparse.Namespace) -> None:
    import torch

    from backend.rodin.prior import sample_prior
    from backend.rodin.weights import save_prior
    from backend.training.latent_stage import plain_points
    from backend.training.prior_stage import PriorStage, PriorStageConfig, points_of, texts_of
    from backend.training.recipes import read_recipe
    from backend.training.retrieval import REQUESTS, heeded, portrait_sheet

    config = read_recipe(PriorStageConfig, "prior", options.config)
    people, space = _people(options), _space(options)
    points = points_of(space, people, config, options.device)
    texts = texts_of(space, people.prompts, len(people), config)
    stage = PriorStage(points, people.identity.to(options.device), texts, config)
    folder = options.out / "prior"
    _resume(stage, folder)

    def show() -> None:
        stage.save(folder)
        prior, generator = stage.averaged_model(), torch.Generator().manual_seed(0)
        draw = lambda text, count: sample_prior(prior, space.encode_texts([text]), generator, count)  # noqa: E731
        known = plain_points(space, people, list(range(len(people))))
        figures = heeded(lambda text, count: draw(text, count)[0], known, people.prompts.facts)
        (folder / "figures.json").write_text(
            json.dumps({"step": stage.step_number, "heeded": figures}, indent=1) + "\n"
        )
        print("  nearest people are as asked for: " + ", ".join(f"{k} {v:.0%}" for k, v in figures.items()), flush=True)
        drawn = {text: draw(text, 6)[0] for text in REQUESTS}
        portrait_sheet(people, list(range(len(people))), known, drawn, folder / "samples.png")

    stage.run(report=_Run(folder, options.minutes, config.steps, show))
    show()
    save_prior(folder / "prior.safetensors", stage.averaged_model())
    print(f"Done: {folder / 'prior.safetensors'}; {stage.seconds:.0f} s.")
    _add_prior(options)


def _add_prior(options: argparse.Namespace) -> None:
    """The engine's weights may have been written before there was a prior."""
    from backend.body_model.registry import load_body_model
    from backend.rodin.weights import load_prior, load_rodin, save_rodin

    weights, prior = options.out / "rodin.safetensors", options.out / "prior" / "prior.safetensors"
    if weights.exists():
        rodin = load_rodin(weights, load_body_model("anny"))
        save_rodin(weights, dataclasses.replace(rodin, prior=load_prior(prior)))
        print(f"Added to {weights}.")


def _resume(stage: Stage[Any, Any], folder: Path) -> None:
    try:
        stage.load(folder)
    except ValueError as problem:
        raise MaquetteError(ErrorCode.BAD_REQUEST, f"{problem}.", stage="train") from None


def _base(options: argparse.Namespace) -> None:
    from safetensors.torch import load_file

    from backend.body_model.registry import load_body_model
    from backend.rodin.aligned import make_anchors
    from backend.rodin.weights import Rodin, load_prior, save_rodin
    from backend.training.base_stage import BaseStage, BaseStageConfig
    from backend.training.measure import contact_sheet, regress
    from backend.training.recipes import read_recipe

    config = read_recipe(BaseStageConfig, "base", options.config)
    space = _space(options)
    if space.size != config.model.latent_size:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST,
            f"The recipe's latent_size is {config.model.latent_size}, the latent space has {space.size}.",
            stage="train",
        )
    bank = _bank(options)
    planes = load_file(options.out / "planes" / "planes.safetensors")["planes"][: len(bank)].to(options.device)
    decoder = load_decoder(options.out).to(options.device)
    anchors = make_anchors(load_body_model("anny"), config.model.size)
    stage = BaseStage(bank, planes, decoder, anchors, space.encode_pictures, config)
    folder = options.out / "base"
    _resume(stage, folder)

    def show() -> None:
        stage.save(folder)
        heads = list(range(0, len(bank), max(1, len(bank) // 6)))[:6]
        model = stage.averaged_model()
        make = lambda head: stage.denormalise(regress(model, bank, space.encode_pictures, head))  # noqa: E731
        print(f"  {contact_sheet(bank, heads, make, decoder, folder / 'samples.png'):.2f} dB on training heads")

    stage.run(report=_Run(folder, options.minutes, config.steps, show))
    show()
    weights, prior = options.out / "rodin.safetensors", options.out / "prior" / "prior.safetensors"
    rodin = Rodin(stage.averaged_model(), decoder, stage.mean, stage.spread, half_size=bank.half_size, latent=space)
    if prior.exists():
        rodin = dataclasses.replace(rodin, prior=load_prior(prior))
    save_rodin(weights, rodin)
    print(f"Done: {weights}")
