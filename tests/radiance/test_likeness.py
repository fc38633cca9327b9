"""A portrait's colours reach the places that it shows, and no others."""

import dataclasses

import numpy as np
import pytest
import torch

from backend.radiance.cameras import Camera
from backend.radiance.likeness import Likeness
from backend.radiance.renderer import render_view
from backend.radiance.triplane import TriPlane
from tests.radiance.fields import sphere, uniform

SIZE, RADIUS, CENTRE = 96, 0.12, np.array([0.03, -0.02, 0.04])
FRONT = Camera.orbit(0, 0, distance=1.1, fov_degrees=24, size=SIZE, target=tuple(CENTRE))


@pytest.fixture(scope="module")
def ball():
    field = sphere(RADIUS, tuple(CENTRE))
    drawn = render_view(field, FRONT)
    stripes = np.where(np.arange(SIZE) // 6 % 2, 0.25, -0.25)[:, None, None]
    portrait = (drawn.rgb + stripes).astype(np.float32)
    return field, drawn, portrait


def likeness_of(ball, light=1.0, matte=1.0):
    _, drawn, portrait = ball
    return Likeness.between(portrait, np.full((SIZE, SIZE), matte), drawn, FRONT, light)


def on_ball(*direction):
    unit = np.array(direction, float) / np.linalg.norm(direction)
    return torch.tensor(CENTRE + RADIUS * unit).float()[None]


def test_the_front_shows_the_portraits_stripes(ball):
    likeness = likeness_of(ball)
    rows = np.array([47.5, 51, 57]) + 0.5  # middle of a stripe, of the next one and of the one after that
    signs = []
    for row in rows:
        pixel = np.array([SIZE / 2, row])
        depth = ball[1].depth[int(row), SIZE // 2]
        place = torch.tensor(FRONT.unproject(pixel[None], np.array([depth]))).float()
        signs.append(float(likeness(place)[0, 0]))
    assert signs[1] * signs[2] < 0 and min(abs(signs[1]), abs(signs[2])) > 0.15


@pytest.mark.parametrize("direction", [(0, 1, 0), (0.3, 1, 0.2), (1, 0.2, 0), (0, 0.1, 1)])
def test_what_the_portrait_does_not_see_stays_as_it_is(ball, direction):
    assert likeness_of(ball)(on_ball(*direction)).abs().max() < 0.02


def test_places_before_and_behind_the_surface_stay_as_they_are(ball):
    likeness = likeness_of(ball)
    towards = torch.tensor([[0.0, -1.0, 0.0]])
    assert likeness(on_ball(0, -1, 0.03)).abs().max() > 0.05
    for step in (0.03, -0.03):
        assert likeness(on_ball(0, -1, 0.03) + step * towards).abs().max() == 0


def test_where_nobody_is_nothing_is_believed(ball):
    assert likeness_of(ball, matte=0.0).difference.abs().max() == 0


def test_broad_light_can_be_left_out(ball):
    drawn = ball[1]
    lit = np.clip(drawn.rgb * 0.5, 0, 1).astype(np.float32)
    kept = Likeness.between(lit, np.ones((SIZE, SIZE)), drawn, FRONT, 1.0)
    without = Likeness.between(lit, np.ones((SIZE, SIZE)), drawn, FRONT, 0.0)
    middle = (slice(None), slice(40, 56), slice(40, 56))
    assert without.difference[middle].abs().mean() < 0.3 * kept.difference[middle].abs().mean()


def test_density_never_changes_and_the_file_keeps_it(ball, tmp_path):
    plain = uniform(20.0)
    dressed = dataclasses.replace(plain, likeness=likeness_of(ball))
    points = torch.cat([on_ball(0, -1, 0.1), on_ball(0, 1, 0)])
    assert torch.equal(plain.density(points), dressed.density(points))
    dressed.save(tmp_path / "t.safetensors")
    again = TriPlane.load(tmp_path / "t.safetensors")
    for one, other in zip(dressed.colour_and_density(points), again.colour_and_density(points), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(dressed.colour_and_density(points)[0], plain.colour_and_density(points)[0])
    assert TriPlane.load(tmp_path / "t.safetensors").to("cpu").likeness is not None
