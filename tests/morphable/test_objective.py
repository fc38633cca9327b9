"""What training minimises: only some weights, at two rates, and the loss goes down."""

import copy
import dataclasses

import torch

from backend.morphable.model import Condition
from backend.morphable.objective import (
    CONDITIONING_RATE,
    UNET_RATE,
    drop,
    parameter_groups,
    predict_target,
    training_loss,
)


def batch(condition):
    generator = torch.Generator().manual_seed(3)
    views, noise = torch.randn(2, 2, 3, 12, 8, 8, generator=generator)
    return views, noise, torch.tensor([300, 700]), condition, torch.tensor([[0], [2]])


def test_every_trained_weight_is_reached_and_a_few_steps_help(tiny, scene, condition):
    model = copy.deepcopy(tiny).requires_grad_(True).train()
    views, noise, steps, told, target = batch(condition)
    groups = parameter_groups(model)
    optimiser = torch.optim.AdamW([{**group, "lr": 20 * group["lr"]} for group in groups])
    losses = []
    for _ in range(6):
        loss = training_loss(model, views, noise, steps, scene, told, target)
        optimiser.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    assert losses[-1] < 0.8 * losses[0]
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert {name.split(".")[0] for name in without} == {"image_encoder"}, "it comes in through the condition"


def test_clean_views_are_compared_with_the_true_ones(tiny, scene, condition):
    model = copy.copy(tiny)
    model.config = dataclasses.replace(tiny.config, prediction="sample")
    views, noise, _, told, target = batch(condition)
    last = torch.tensor([999, 999])
    with torch.no_grad():
        predicted = predict_target(model, views, noise, last, scene, told, target)[:, 0]
        loss = training_loss(model, views, noise, last, scene, told, target)
    asked = views[torch.arange(2), target[:, 0]]
    torch.testing.assert_close(loss, (predicted - asked).square().mean())


def test_several_targets_share_the_volume(tiny, scene, condition):
    views, noise, steps, told, _ = batch(condition)
    chance = torch.tensor([0.5, 0.06])
    with torch.no_grad():
        together = predict_target(tiny, views, noise, steps, scene, told, torch.tensor([[0, 2], [2, 1]]), chance)
        for k, target in enumerate(([[0], [2]], [[2], [1]])):
            alone = predict_target(tiny, views, noise, steps, scene, told, torch.tensor(target), chance)[:, 0]
            torch.testing.assert_close(together[:, k], alone, atol=1e-3 * float(alone.std()), rtol=0)


def test_of_twenty_samples_one_loses_everything_and_three_a_part_of_it():
    chance = (torch.arange(20) + 0.5) / 20
    told = Condition(torch.ones(20, 3, 4, 4), torch.ones(20, 1, 5))
    kept, (volume,) = drop(told, [torch.ones(20, 6, 2, 4, 4)], chance)
    seen = [each.flatten(1).amin(1).int().tolist() for each in (kept.latent, volume, kept.vector)]
    assert [row[:4] for row in seen] == [[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]]
    assert all(row[4:] == [1] * 16 for row in seen)


def test_what_is_dropped_does_not_count(tiny, scene, condition):
    views, noise, steps, told, target = batch(condition)
    other = Condition(told.latent + 1, told.vector + 1)
    with torch.no_grad():
        first, second = (
            predict_target(tiny, views, noise, steps, scene, each, target, torch.tensor([0.01, 0.9]))
            for each in (told, other)
        )
    assert torch.equal(first[0], second[0]) and not torch.allclose(first[1], second[1])


def test_what_is_new_learns_ten_times_faster(tiny):
    unet, new = parameter_groups(tiny)
    assert (unet["lr"], new["lr"]) == (UNET_RATE, CONDITIONING_RATE) == (5e-5, 5e-4)
    assert len(unet["params"]) + len(new["params"]) == len(list(tiny.parameters()))
