"""A field as numpy functions: what is there, of what, in which colour."""

import numpy as np
import pytest

from backend.radiance.matter import Matter
from tests.radiance.fields import made_of, uniform

POINTS = np.array([[0.0, 0, 0], [0.1, -0.1, 0.2]])


def of_class(*names):
    return Matter(made_of(*names))


@pytest.mark.parametrize(("name", "covers"), [("skin", 0), ("beard", 0), ("glasses", 0), ("hair", 1), ("headwear", 1)])
def test_hair_headwear_and_garment_are_covers_and_the_body_is_not(name, covers):
    matter = of_class(name)
    assert matter.tells
    np.testing.assert_allclose(matter.occupancy(POINTS), 1, atol=0.01)
    np.testing.assert_allclose(matter.covers(POINTS), covers, atol=0.01)


def test_what_cannot_be_skin_is_what_else_it_may_be():
    known = np.array([True, False])
    np.testing.assert_allclose(of_class("skin", "hair").covers(POINTS, known), [1, 0.5], atol=0.01)
    np.testing.assert_allclose(of_class("skin", "glasses").covers(POINTS, known), 0, atol=0.01)


def test_garment_is_told_from_hair():
    np.testing.assert_allclose(of_class("garment").garment(POINTS), 1, atol=1e-3)
    np.testing.assert_allclose(of_class("hair").garment(POINTS), 0, atol=1e-3)
    np.testing.assert_allclose(of_class("hair", "garment").garment(POINTS), 0.5, atol=1e-3)
    np.testing.assert_allclose(of_class("skin", "garment").garment(POINTS), 1, atol=1e-3)


def test_a_field_that_does_not_tell_is_all_cover():
    matter = Matter(uniform(400.0, (0.2, 0.5, 0.9)))
    assert not matter.tells
    np.testing.assert_array_equal(matter.covers(POINTS), matter.occupancy(POINTS))
    np.testing.assert_allclose(matter.colour(POINTS), [[0.2, 0.5, 0.9]] * 2, atol=1e-5)
    assert matter.covers(np.array([[0.3, 0, 0]])) == 0
