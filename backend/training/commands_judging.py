"""The stages that make what engines are judged with and against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.training import inputs, team
from backend.training.progress import Run, resume
from backend.training.recipes import read_recipe

if TYPE_CHECKING:
    import argparse


def judges(options: argparse.Namespace) -> None:
    """Stage "judges"."""
    from backend.evaluation.judges import save_judge
    from backend.training.judge_stage import JudgeStage, JudgeStageConfig

    config = read_recipe(JudgeStageConfig, "judges", options.config)
    stage = JudgeStage(inputs.bank(options, warps=False), config)
    folder = options.out / "judges"
    resume(stage, folder)
    stage.run(report=Run(folder, options.minutes, config.steps, lambda: stage.save(folder)))
    if not team.leads():
        return
    stage.save(folder)
    trained = stage.averaged_model()
    save_judge(options.out / "verifier.safetensors", trained.verifier)
    save_judge(options.out / "classifier.safetensors", trained.classifier)
    print(f"Done: verifier.safetensors and classifier.safetensors in {options.out}, {stage.seconds:.0f} s.")


def baselines(options: argparse.Namespace) -> None:
    """Stage "baselines"."""
    from backend.evaluation.baselines import BaselineConfig, make_baselines, save_baselines

    config = read_recipe(BaselineConfig, "baselines", options.config)
    bank = inputs.bank(options, warps=False)
    planes = inputs.load_planes(options.out)[: len(bank)].to(options.device)
    made, kept = make_baselines(bank, planes, inputs.load_decoder(options.out).to(options.device), config)
    path = options.out / "baselines.safetensors"
    save_baselines(path, made)
    print(f"Done: {path}; {len(made.components)} components keep {kept:.0%} of the variance of {len(bank)} heads.")
