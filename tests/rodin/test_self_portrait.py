"""A field as a picture of itself; and a portrait whose person was edited: what stays of it, and what the field says."""

import dataclasses

import numpy as np
import pytest

from backend.body_model.anny import load_anny
from backend.body_model.base import defaults
from backend.rodin.self_portrait import frontal_fit, observe_edit, observe_field
from tests.radiance.fields import made_of

BEFORE = made_of("hair")


@pytest.fixture(scope="module")
def portrait():
    """Of a person made of hair, in finer colours than the field has, with one eye; and the fit."""
    model = load_anny()
    fit = frontal_fit(model, defaults(model.identity_parameters), 128)
    seen = observe_field(BEFORE, fit)
    detail = np.random.default_rng(0).normal(0, 0.05, seen.view.image.shape)
    eye = np.zeros(seen.person.shape, np.float32)
    eye[50:54, 50:60] = 1
    view = dataclasses.replace(seen.view, image=(seen.view.image + detail).clip(0, 1).astype(np.float32))
    return fit, dataclasses.replace(seen, view=view, openings=(eye, 0 * eye))


def test_a_field_is_seen_by_the_camera_of_its_fit(portrait):
    fit, _ = portrait
    fractions = []
    seen = observe_field(made_of("skin", "garment"), fit, fractions.append)
    assert seen.view.image.shape == (128, 128, 3) and seen.known.all() and fractions == sorted(fractions)
    assert seen.person.mean() > 0.9 and not np.any([*seen.openings, seen.mouth])
    np.testing.assert_allclose(seen.garment, 0.5 * seen.person, atol=0.01)
    assert not seen.hair.max() > 0.01


def test_an_edit_that_changes_nothing_leaves_the_portrait(portrait):
    fit, seen = portrait
    again = observe_edit(BEFORE, BEFORE, fit, seen)
    np.testing.assert_allclose(again.view.image, seen.view.image, atol=1e-5)
    for name in ("hair", "garment", "person"):
        np.testing.assert_allclose(getattr(again, name), getattr(seen, name), atol=1e-5)


def test_where_matter_stays_the_portrait_takes_on_the_change_of_colour_and_keeps_its_detail(portrait):
    fit, seen = portrait
    fractions = []
    made = observe_edit(BEFORE, made_of("hair", light=1.0), fit, seen, fractions.append)
    change = made.view.image - seen.view.image
    assert change.mean() > 0.1 and change.std() < 0.01
    np.testing.assert_allclose(made.hair, seen.hair, atol=1e-5)
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_where_matter_changes_the_field_is_seen_but_for_the_eyes(portrait):
    fit, seen = portrait
    after = made_of("garment")
    made, new = observe_edit(BEFORE, after, fit, seen), observe_field(after, fit)
    eye = seen.openings[0] > 0
    np.testing.assert_allclose(made.view.image[~eye], new.view.image[~eye], atol=1e-5)
    np.testing.assert_allclose(made.garment[~eye], new.garment[~eye], atol=1e-5)
    np.testing.assert_allclose(made.view.image[eye], seen.view.image[eye], atol=1e-2)
    assert made.openings is seen.openings
