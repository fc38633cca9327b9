"""The base model knows of each sample what it is told, and no more."""

import dataclasses
import itertools

import pytest
import torch

from backend.body_model.anny import load_anny
from backend.radiance.canonical import mirror_planes
from backend.rodin import sampling
from backend.rodin.aligned import make_anchors
from backend.rodin.base import BaseConfig, BaseModel, Condition
from backend.rodin.sampling import guided, regress, regress_both_ways, sample, sample_mixture
from backend.rodin.schedule import STEPS

CONFIG = BaseConfig(
    size=16, channels=4, widths=(8, 8), blocks=(1, 1), embedding=16, latent_size=6, tokens=16, picture=32,
    feature_channels=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    base = BaseModel(CONFIG, make_anchors(load_anny(), 16)).eval().requires_grad_(False)
    for layer in (base.unet.leave.conv, *(step.attention.out for step in base.unet.down[1])):
        torch.nn.init.normal_(layer.weight, std=0.1)
    return base


def condition(model, keep, keep_latent, seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch = len(keep)
    picture = torch.rand((batch, 4, 32, 32), generator=generator)
    latent = torch.randn((batch, 6), generator=generator)
    body = model.anchors.controls.expand(batch, -1, -1) + 0.01 * torch.randn((batch, 1, 3), generator=generator)
    camera, k = torch.eye(4), torch.tensor([[60.0, 0, 16], [0, 60, 16], [0, 0, 1]])
    # From one metre before the face, looking along +y.
    camera[:3] = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 1]])
    matrices = camera.expand(batch, 4, 4), k.expand(batch, 3, 3)
    return Condition(picture, latent, body, *matrices, torch.tensor(keep), torch.tensor(keep_latent))


def guess(model, condition):
    return regress(model, condition, torch.Generator().manual_seed(1))


def test_portrait_and_point_are_dropped_for_each_sample_by_itself(model):
    told = condition(model, [1.0, 0.0, 0.0], [1.0, 1.0, 0.0])
    first = guess(model, told)
    of_picture = guess(model, dataclasses.replace(told, picture=1 - told.picture))
    of_latent = guess(model, told.at(-told.latent))
    of_body = guess(model, dataclasses.replace(told, body=told.body + 0.02))
    changed = [[not torch.allclose(first[n], other[n]) for n in range(3)] for other in (of_picture, of_latent, of_body)]
    assert changed == [[True, False, False], [True, True, False], [True, True, True]]


def test_both_ways_mirrored_people_are_guessed_as_the_mirror_of_the_others(model, monkeypatch):
    told = condition(model, [1.0, 0.0], [1.0, 1.0])
    noise = torch.randn((2, 3, 4, 16, 16), generator=torch.Generator().manual_seed(3))
    draws = itertools.cycle([noise, mirror_planes(noise), mirror_planes(noise), noise])
    monkeypatch.setattr(sampling, "draw_noise", lambda *_: next(draws))
    generator = torch.Generator()
    first, second = (regress_both_ways(model, people, generator) for people in (told, told.mirrored()))
    assert torch.allclose(second, mirror_planes(first), atol=1e-5)
    assert not torch.allclose(second, first, atol=1e-2)


def test_people_without_portrait_or_point_are_told_nothing_of_them(model):
    told = condition(model, [1.0], [1.0])
    alone, nothing = told.without_portrait(), told.without_all()
    assert (alone.keep, alone.keep_latent, nothing.keep_latent) == (0, 1, 0)
    assert torch.equal(nothing.body, told.body)


def count_calls(model, monkeypatch):
    calls = []
    inner = model.unet.forward
    monkeypatch.setattr(model.unet, "forward", lambda planes, *rest: calls.append(len(planes)) or inner(planes, *rest))
    return calls


@pytest.mark.parametrize(("portrait", "latent", "rows"), [(1.0, 1.0, 1), (1.3, 1.3, 2), (1.0, 2.0, 3), (1.5, 1.0, 2)])
def test_guidance_is_one_batch_of_as_few_rows_as_it_needs(model, monkeypatch, portrait, latent, rows):
    calls = count_calls(model, monkeypatch)
    told = condition(model, [1.0], [1.0])
    sample(model, told, torch.Generator().manual_seed(0), steps=2, guidance=portrait, latent_guidance=latent)
    assert calls == [rows, rows]


def test_portrait_and_point_guide_separately(model):
    """One step: x0(body) + 2 (x0(point) - x0(body)) + 3 (x0(portrait, point) - x0(point))."""
    told = condition(model, [1.0, 1.0], [1.0, 1.0])
    mixture = guided(told, 3.0, 2.0)
    found = sample_mixture(model, mixture, torch.Generator().manual_seed(1), steps=1)
    full, point, body = (guess(model, c) for c in (told, told.without_portrait(), told.without_all()))
    torch.testing.assert_close(found, body + 2 * (point - body) + 3 * (full - point), atol=1e-4, rtol=1e-4)


def test_without_guidance_one_step_is_the_regressor(model):
    told = condition(model, [1.0], [1.0])
    found = sample(model, told, torch.Generator().manual_seed(1), steps=1, guidance=1.0, latent_guidance=1.0)
    torch.testing.assert_close(found, guess(model, told), atol=1e-5, rtol=1e-5)


def test_sampling_starts_from_planes_at_the_depth_asked_for(model, monkeypatch):
    told, planes = condition(model, [1.0], [1.0]), torch.zeros(1, 3, 4, 16, 16)
    times = []
    inner = BaseModel.forward
    monkeypatch.setattr(BaseModel, "forward", lambda self, x, t, e: times.append(float(t[0])) or inner(self, x, t, e))
    options = {"steps": 10, "planes": planes}
    sample_mixture(model, [(1.0, told)], torch.Generator().manual_seed(0), depth=0.4, **options)
    assert times == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=1 / STEPS)
    same = sample_mixture(model, [(1.0, told)], torch.Generator().manual_seed(0), depth=0.0, **options)
    assert torch.equal(same, planes)
