"""What training minimises: only some weights, at two rates, and the loss goes down."""

import copy

import torch

from backend.morphable.objective import CONDITIONING_RATE, UNET_RATE, parameter_groups, training_loss


def batch(condition):
    generator = torch.Generator().manual_seed(3)
    views, noise = torch.randn(2, 2, 3, 12, 8, 8, generator=generator)
    return views, noise, torch.tensor([300, 700]), condition, torch.tensor([0, 2])


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


def test_what_is_new_learns_ten_times_faster(tiny):
    unet, new = parameter_groups(tiny)
    assert (unet["lr"], new["lr"]) == (UNET_RATE, CONDITIONING_RATE) == (5e-5, 5e-4)
    assert len(unet["params"]) + len(new["params"]) == len(list(tiny.parameters()))
