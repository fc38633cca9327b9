"""Surroundings have the wanted brightness and lie where Blender looks for them."""

import dataclasses

import numpy as np
import pytest

from backend.body_model.anny import load_anny
from synthetic_data.appearance.light import environment_map, equirectangular_directions
from synthetic_data.identity import LIGHTS, sample_identity


@pytest.fixture(scope="module")
def person():
    return sample_identity(load_anny(), 3, 1)


@pytest.mark.parametrize("kind", LIGHTS)
def test_light_has_the_wanted_mean_and_comes_from_above(kind, person):
    light = dataclasses.replace(person.light, kind=kind)
    radiance = environment_map(light)
    direction = equirectangular_directions(len(radiance))
    area = np.sqrt(1 - direction[..., 2] ** 2)
    luminance = radiance.mean(-1)
    np.testing.assert_allclose((luminance * area).sum() / area.sum(), light.strength, rtol=1e-3)
    assert radiance.min() > 0
    assert direction.reshape(-1, 3)[luminance.argmax()][2] > 0


def test_warm_light_is_redder_and_even_light_is_the_same_for_all(person):
    warm, cold = (
        environment_map(dataclasses.replace(person.light, kind="room", warmth=w)).mean((0, 1)) for w in (1.0, -1.0)
    )
    assert warm[0] / warm[2] > 1.2 * cold[0] / cold[2]
    one, two = (environment_map(dataclasses.replace(person.light, kind="even", seed=s, warmth=0.1 * s)) for s in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_directions_of_the_environment_follow_blenders_layout():
    direction = equirectangular_directions(64)
    np.testing.assert_allclose(direction[0].mean(0), [0, 0, 1], atol=0.03)
    middle = direction[31:33, 63:65].mean((0, 1))
    np.testing.assert_allclose(middle, [1, 0, 0], atol=0.01)
    assert direction[32, 32, 1] > 0.9  # a quarter to the left of the middle: +Y
