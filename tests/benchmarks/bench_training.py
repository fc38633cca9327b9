"""Speed and memory of training: ``python -m tests.benchmarks.bench_training [--stages A,B] [--growth] [--paper]``.

Seconds per step and peak memory of each stage at the recipe `small`, on coloured balls that are made on the fly, with
one thread; the memory is that of the whole process, data and libraries included. With ``--growth`` the same of the base
model at other plane sizes and batches. With ``--paper`` one step of batch 1 of the networks at the paper's size, with
their activations checkpointed, which should stay below 20 GB. Every row has a process of its own. Linux only.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from backend.body_model.anny import load_anny
from backend.radiance.decoder import CLASSES, Decoder, DecoderConfig
from backend.rodin.aligned import make_anchors
from backend.rodin.latent import LatentConfig, LatentEncoder
from backend.training.bank import HeadBank, load_bank
from backend.training.base_stage import BaseStage, BaseStageConfig
from backend.training.latent_stage import LatentStage, LatentStageConfig
from backend.training.parser_stage import ParserStage, ParserStageConfig, Pictures
from backend.training.people import load_people
from backend.training.plane_set import PlaneSet, PlaneSetConfig
from backend.training.prior_stage import PriorStage, PriorStageConfig
from backend.training.prompts import Prompts
from backend.training.recipes import read_recipe
from backend.training.stage import Stage
from backend.training.upsampler_stage import UpsamplerStage, UpsamplerStageConfig
from synthetic_data.pack import write_pack
from synthetic_data.shards import open_folder, render_shard
from tests.synthetic_data import standin
from tests.training.test_prompts import PLAIN

STAGES = ("planes", "latent", "prior", "base", "upsampler", "parser")
HEADS = 60
"""So many that what the latent stage learns from fills a batch."""
CAPTION = (
    "A middle-aged man with olive skin, cropped black hair and a short beard, wearing a white tee and round glasses"
)
GROWTH = [(64, 1), (64, 2), (64, 4), (64, 8), (64, 16), (32, 4), (96, 4), (128, 4)]
"""Plane size and batch of the base model."""
STEPS = 3
GOAL = 20.0
"""Gigabytes that a step at the paper's size may take."""


def make_pack(folder: Path, heads: int, size: int) -> Path:
    """Balls as the trainers read people; pictures of `size` x `size` pixels."""
    config = standin.config(count=heads, size=size, views=4, portraits=2)
    open_folder(folder, config)
    for shard in range(config.shards):
        render_shard(config, shard, folder, standin.render)
    write_pack(folder, folder / "pack")
    return folder / "pack"


def planes_stage(pack: Path) -> PlaneSet:
    return PlaneSet(load_bank(pack, load_anny()), read_recipe(PlaneSetConfig, "planes", "small"))


def latent_stage(pack: Path) -> LatentStage:
    people = load_people(pack)
    prompts = Prompts([CAPTION] * len(people), [PLAIN] * len(people))
    return LatentStage(dataclasses.replace(people, prompts=prompts), read_recipe(LatentStageConfig, "latent", "small"))


def prior_stage(pack: Path) -> PriorStage:
    config = read_recipe(PriorStageConfig, "prior", "small")
    latent, texts = (torch.randn(HEADS, count, config.model.latent) for count in (config.points, config.texts))
    return PriorStage(latent, load_people(pack).identity, texts, config)


def base_stage(pack: Path, size: int | None = None, batch: int | None = None) -> BaseStage:
    config = read_recipe(BaseStageConfig, "base", "small")
    model = dataclasses.replace(config.model, size=size or config.model.size)
    return _base(load_bank(pack, load_anny()), dataclasses.replace(config, model=model, batch=batch or config.batch))


def upsampler_stage(pack: Path) -> UpsamplerStage:
    return _upsampler(load_bank(pack, load_anny()), read_recipe(UpsamplerStageConfig, "upsampler", "small"))


def parser_stage(pack: Path) -> ParserStage:
    rgba = torch.randint(0, 256, (HEADS, 4, 128, 128), dtype=torch.uint8)
    classes = torch.randint(0, 4, (HEADS, 128, 128), dtype=torch.uint8)
    pictures = Pictures(rgba, classes, torch.eye(3).expand(HEADS, 3, 3))
    return ParserStage(pictures, read_recipe(ParserStageConfig, "parser", "small"))


def paper_base_stage(pack: Path) -> BaseStage:
    config = dataclasses.replace(_paper(BaseStageConfig, "base"), batch=1, point_alone=0.0, nothing=0.0)
    return _base(load_bank(pack, load_anny()), config, _paper_decoder())


def paper_upsampler_stage(pack: Path) -> UpsamplerStage:
    config = _paper(UpsamplerStageConfig, "upsampler")
    return _upsampler(load_bank(pack, load_anny()), config, _paper_decoder())


def _base(bank: HeadBank, config: BaseStageConfig, decoder: Decoder | None = None) -> BaseStage:
    model = config.model
    planes = 0.2 * torch.randn(len(bank), 3, model.channels, model.size, model.size)
    encode = LatentEncoder(LatentConfig(size=model.latent_size)).eval().requires_grad_(False)
    decoder = decoder or _decoder(DecoderConfig(classes=len(CLASSES)))
    return BaseStage(bank, planes, decoder, make_anchors(load_anny(), model.size), encode, config)


def _upsampler(bank: HeadBank, config: UpsamplerStageConfig, decoder: Decoder | None = None) -> UpsamplerStage:
    model = config.model
    planes = 0.2 * torch.randn(len(bank), 3, model.channels, model.size, model.size)
    statistics = torch.zeros(3, model.channels, model.low, model.low), torch.full((3, model.channels, 1, 1), 0.2)
    decoder = decoder or _decoder(DecoderConfig(classes=len(CLASSES)))
    return UpsamplerStage(bank, planes, *statistics, decoder, make_anchors(load_anny(), model.size), config)


def _paper_decoder() -> Decoder:
    return _decoder(_paper(PlaneSetConfig, "planes").decoder)


def _paper(kind: type[Any], stage: str) -> Any:
    return read_recipe(kind, stage, "paper")


def _decoder(config: DecoderConfig) -> Decoder:
    return Decoder.initialised(config, torch.Generator().manual_seed(0))


MAKERS: dict[str, Callable[..., PlaneSet | Stage[Any, Any]]] = {
    "planes": planes_stage,
    "latent": latent_stage,
    "prior": prior_stage,
    "base": base_stage,
    "upsampler": upsampler_stage,
    "parser": parser_stage,
    "paper base": paper_base_stage,
    "paper upsampler": paper_upsampler_stage,
}


def measure(name: str, pack: Path, steps: int, more: dict[str, int]) -> tuple[float, float, int]:
    """Wall seconds per step, peak memory in GB, and parameters of what is trained beside planes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    stage = MAKERS[name](pack, **more)
    # From the middle on, rays are cast as well: that is what most steps are like.
    middle = (stage.steps if isinstance(stage, PlaneSet) else stage.config.steps) // 2
    stage.step_number = middle
    if steps > 1:
        stage.run(until=middle + 1)
    first = stage.step_number
    begun = time.perf_counter()
    stage.run(until=first + steps)
    seconds = (time.perf_counter() - begun) / steps
    network = stage.decoder if isinstance(stage, PlaneSet) else stage.model
    return seconds, _peak_memory(), sum(parameter.numel() for parameter in network.parameters())


def _peak_memory() -> float:
    """Of this process, GB. Not `getrusage`, whose peak begins with that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9


def row(title: str, name: str, pack: Path, steps: int = STEPS, **more: int) -> float:
    """Measure in a process of its own, print, and return the peak memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        seconds, peak, parameters = pool.submit(measure, name, pack, steps, more).result()
    print(f"{title:32} {parameters / 1e6:8.2f} M parameters {seconds:9.2f} s/step {peak:7.2f} GB", flush=True)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--stages", type=lambda text: text.split(","), default=STAGES, help="only these")
    parser.add_argument("--growth", action="store_true", help="the base model at other sizes instead")
    parser.add_argument("--paper", action="store_true", help="the paper's sizes instead")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, 1 thread")
    with tempfile.TemporaryDirectory() as folder:
        if options.paper:
            decoder = sum(parameter.numel() for parameter in _paper_decoder().parameters())
            print(f"{'paper decoder':32} {decoder / 1e6:8.2f} M parameters")
            pack = make_pack(Path(folder), 2, _paper(BaseStageConfig, "base").model.picture)
            for name in ("paper base", "paper upsampler"):
                peak = row(f"{name}, batch 1, checkpointed", name, pack, steps=1)
                print(f"  {'within' if peak <= GOAL else 'beyond'} the goal of {GOAL:.0f} GB")
            return
        pack = make_pack(Path(folder), HEADS, 128)
        if options.growth:
            for size, batch in GROWTH:
                row(f"base, planes {size}², batch {batch}", "base", pack, size=size, batch=batch)
            return
        for name in options.stages:
            row(name, name, pack)


if __name__ == "__main__":
    main()
