"""The stages that train the networks of the engine 'rodin': "base", "upsampler" and "refiner"."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.training import inputs, team
from backend.training.progress import Run, resume
from backend.training.recipes import read_recipe

if TYPE_CHECKING:
    import argparse


def base(options: argparse.Namespace) -> None:
    from backend.body_model.registry import load_body_model
    from backend.rodin.aligned import make_anchors
    from backend.rodin.weights import Rodin, load_prior, save_rodin
    from backend.training.base_stage import BaseStage, BaseStageConfig
    from backend.training.measure import contact_sheet, regress

    config, known = read_recipe(BaseStageConfig, "base", options.config), inputs.known(options)
    if known is not None:
        config = dataclasses.replace(config, model=known.base.config)
    space = inputs.space(options)
    if space.size != config.model.latent_size:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST,
            f"The recipe's latent_size is {config.model.latent_size}, the latent space has {space.size}.",
            stage="train",
        )
    bank = inputs.bank(options)
    planes = inputs.load_planes(options.out)[: len(bank)].to(options.device)
    decoder = inputs.load_decoder(options.out).to(options.device)
    anchors = make_anchors(load_body_model("anny"), config.model.size)
    stage = BaseStage(bank, planes, decoder, anchors, space.encode_pictures, config, start=known)
    folder = options.out / "base"
    resume(stage, folder)

    def show() -> None:
        stage.save(folder)
        heads = list(range(0, len(bank), max(1, len(bank) // 6)))[:6]
        model = stage.averaged_model()
        make = lambda head: stage.denormalise(regress(model, bank, space.encode_pictures, head))  # noqa: E731
        print(f"  {contact_sheet(bank, heads, make, decoder, folder / 'samples.png'):.2f} dB on training heads")

    stage.run(report=Run(folder, options.minutes, config.steps, show))
    if not team.leads():
        return
    show()
    weights, prior = options.out / "rodin.safetensors", options.out / "prior" / "prior.safetensors"
    rodin = Rodin(stage.averaged_model(), decoder, stage.mean, stage.spread, half_size=bank.half_size, latent=space)
    if prior.exists():
        rodin = dataclasses.replace(rodin, prior=load_prior(prior))
    elif known is not None:
        rodin = dataclasses.replace(rodin, prior=known.prior)
    save_rodin(weights, rodin)
    print(f"Done: {weights}")


def upsampler(options: argparse.Namespace) -> None:
    """Stage "upsampler"."""
    from backend.body_model.registry import load_body_model
    from backend.rodin.aligned import make_anchors
    from backend.rodin.weights import load_rodin, save_rodin
    from backend.training.upsampler_stage import UpsamplerStage, UpsamplerStageConfig

    config = read_recipe(UpsamplerStageConfig, "upsampler", options.config)
    weights, model = options.out / "rodin.safetensors", load_body_model("anny")
    rodin = load_rodin(weights, model)
    fitted = inputs.load_planes(options.out, "large")
    options.heads = len(fitted)
    bank, device = inputs.bank(options), options.device
    mean, spread, decoder = rodin.mean.to(device), rodin.spread.to(device), rodin.decoder.to(device)
    anchors = make_anchors(model, config.model.size)
    stage = UpsamplerStage(bank, fitted.to(device), mean, spread, decoder, anchors, config)
    folder = options.out / "upsampler"
    resume(stage, folder)
    stage.run(report=Run(folder, options.minutes, config.steps, lambda: stage.save(folder)))
    if not team.leads():
        return
    stage.save(folder)
    trained = stage.averaged_model().cpu()
    made = dataclasses.replace(rodin, decoder=decoder.cpu(), upsampler=trained, detail=stage.detail_spread.cpu())
    save_rodin(weights, made)
    print(f"Done: {weights}")


def refiner(options: argparse.Namespace) -> None:
    """Stage "refiner"."""
    from backend.rodin.refiner import save_refiner
    from backend.training.refiner_stage import RefinerStage, RefinerStageConfig, load_renders, write_sheet

    config = read_recipe(RefinerStageConfig, "refiner", options.config)
    try:
        stage = RefinerStage(load_renders(options.data, options.heads), config, options.device)
    except (OSError, ValueError) as problem:
        sentence = f"{options.data} cannot be read: {problem}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="train") from None
    folder = options.out / "refiner"
    resume(stage, folder)

    def show() -> None:
        stage.save(folder)
        write_sheet(stage, stage.averaged_model().refiner, folder / "samples.png")

    stage.run(report=Run(folder, options.minutes, config.steps, show))
    if not team.leads():
        return
    show()
    save_refiner(options.out / "refiner.safetensors", stage.averaged_model().cpu().refiner)
    print(f"Done: {options.out / 'refiner.safetensors'}, {stage.seconds:.0f} s.")
