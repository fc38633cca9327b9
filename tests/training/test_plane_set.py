"""Joint fitting: balls come out as balls, and a stop leaves no trace."""

import dataclasses

import pytest
import torch

from backend.evaluation.figures import psnr
from backend.radiance.decoder import CLASSES, DecoderConfig
from backend.radiance.triplane import resize_planes
from backend.training.measure import contact_sheet, field_of, render_head, view_of
from backend.training.plane_set import PlaneSet, PlaneSetConfig

CONFIG = PlaneSetConfig(
    decoder=DecoderConfig(channels=8, density_channels=4, width=32, classes=len(CLASSES)),
    levels=(8, 16),
    visits=90,
    heads_per_step=4,
    points=900,
    rays=128,
    ray_samples=16,
    rescale_sizes=(8,),
    smooth_weight=0.1,  # of a ball, sixteen texels show nothing finer
    smooth_density_weight=1.0,
)


@pytest.fixture(scope="module")
def fitted(balls):
    stage = PlaneSet(balls, CONFIG)
    losses = []
    stage.run(report=lambda step, loss: losses.append(loss))
    return stage, losses


def test_balls_are_found_again(balls, fitted, tmp_path):
    stage, losses = fitted
    assert len(losses) == stage.steps == 180
    drawn = render_head(balls, 1, stage.planes(torch.tensor([1]))[0], stage.decoder, [0, 3])
    for view, picture in zip((0, 3), drawn, strict=True):
        assert psnr(picture, view_of(balls, 1, view)[1]) > 23
    field = field_of(balls, 1, stage.planes(torch.tensor([1]))[0], stage.decoder)
    occupancy = field.occupancy(torch.tensor([[0.0, -0.145, 0], [0.0, -0.2, 0], [0.2, 0.2, 0.2]]))
    assert occupancy[0] > 0.5 and (occupancy[1:] < 0.2).all()
    assert field.classes(torch.tensor([[0.0, -0.148, 0]])).argmax() == CLASSES.index("skin")
    assert (
        contact_sheet(balls, [0, 2], lambda h: stage.planes(torch.tensor([h]))[0], stage.decoder, tmp_path / "s.png")
        > 21
    )


def test_going_on_after_a_stop_gives_the_same_planes(balls, fitted, tmp_path):
    config = dataclasses.replace(CONFIG, visits=12)
    whole = PlaneSet(balls, config)
    whole.run()
    first = PlaneSet(balls, config)
    first.run(until=13)
    first.save(tmp_path)
    second = PlaneSet(balls, config)
    assert second.load(tmp_path) and second.step_number == 13
    second.run()
    for one, other in zip(whole.levels, second.levels, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(whole.base, second.base)


def test_another_recipe_does_not_go_on_here(balls, tmp_path):
    PlaneSet(balls, CONFIG).save(tmp_path)
    with pytest.raises(ValueError, match="another recipe"):
        PlaneSet(balls, dataclasses.replace(CONFIG, points=800)).load(tmp_path)


def test_large_planes_grow_from_small_ones(balls, fitted):
    """They begin as the small ones, only finer, and get better; the decoder stays as it is."""
    small, _ = fitted
    everyone = torch.arange(len(balls))
    start = small.planes(everyone)
    config = dataclasses.replace(CONFIG, levels=(16, 32), visits=40, points=3000, rays=256, plane_rate=4e-3)
    before = {name: value.clone() for name, value in small.decoder.state_dict().items()}
    large = PlaneSet(balls, config, decoder=small.decoder, start=start)
    assert (resize_planes(large.planes(everyone), 16) - start).square().mean().sqrt() < 0.02
    truth = view_of(balls, 2, 1)[1]

    def figure():
        planes = large.planes(torch.tensor([2]))[0]
        return psnr(render_head(balls, 2, planes, large.decoder, [1])[0], truth)

    first = figure()
    large.run()
    assert figure() > first
    for name, value in large.decoder.state_dict().items():
        assert torch.equal(value, before[name])
