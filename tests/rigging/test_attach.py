"""Parts ride on the body: what moves the body as a whole moves them with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.rigging.attach import Attachment

seeds = st.integers(0, 2**32 - 1)
moves = st.tuples(*[st.floats(-0.1, 0.1)] * 3).map(np.array)


def cloud(seed, count=200):
    return np.random.default_rng(seed).uniform(-0.1, 0.1, (count, 3))


def nearest(seed, **options):
    body = cloud(seed)
    points = body[:50] + np.random.default_rng(seed + 1).normal(0, 0.003, (50, 3))
    return body, points, Attachment.nearest(points, body, np.arange(len(body)), **options)


@given(seed=seeds, move=moves)
@settings(max_examples=30, deadline=None)
def test_a_move_of_the_whole_body_is_carried_exactly(seed, move):
    body, points, attachment = nearest(seed)
    carried = attachment.carry(np.tile(move, (len(body), 1)))
    np.testing.assert_allclose(carried, np.tile(move, (len(points), 1)), atol=1e-9)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_what_is_carried_lies_between_what_the_sources_do(seed):
    body, _, attachment = nearest(seed)
    offsets = np.random.default_rng(seed).uniform(-1, 1, body.shape)
    carried = attachment.carry(offsets)
    assert (carried <= offsets[attachment.sources].max(1) + 1e-9).all()
    assert (carried >= offsets[attachment.sources].min(1) - 1e-9).all()


@given(seed=seeds, count=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_weights_are_positive_sum_to_one_and_fall_with_the_distance(seed, count):
    body, points, attachment = nearest(seed, count=count)
    weights, sources = attachment.weights, attachment.sources
    assert weights.shape == (50, count)
    assert (weights > 0).all()
    np.testing.assert_allclose(weights.sum(1), 1)
    distance = np.linalg.norm(body[sources] - points[:, None], axis=2)
    assert (np.diff(distance, axis=1) >= 0).all()
    assert (np.diff(weights, axis=1) <= 1e-12).all()


def test_only_candidates_are_ridden_on():
    body = cloud(0)
    candidates = np.arange(100, 150)
    attachment = Attachment.nearest(body[:20], body, candidates)
    assert np.isin(attachment.sources, candidates).all()


def test_what_stands_off_follows_less_and_keeps_its_bones():
    """A third at one reach, next to nothing at two; but bones turn even what is far off as a whole."""
    body = np.c_[np.linspace(-0.1, 0.1, 41), np.zeros((41, 2))]
    points = np.array([[0.0, 0.0, 0.002], [0.0, 0.0, 0.024], [0.0, 0.0, 0.044], [0.0, 0.0, 3.0]])
    attachment = Attachment.nearest(points, body, np.arange(41), reach=0.02)
    follows = attachment.carry(np.ones((41, 1)))[:, 0]
    np.testing.assert_allclose(follows, [1, np.exp(-1), np.exp(-4), 0], rtol=0.001)
    bones = np.random.default_rng(0).dirichlet(np.ones(3), 41)
    np.testing.assert_allclose(attachment.carry_skin_weights(bones).sum(1), 1)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_bone_weights_are_carried_as_weights(seed):
    body, _, attachment = nearest(seed)
    bones = np.random.default_rng(seed).dirichlet(np.ones(4), len(body))
    carried = attachment.carry_skin_weights(bones)
    assert (carried >= 0).all()
    np.testing.assert_allclose(carried.sum(1), 1)
    rigid = np.zeros((len(body), 4))
    rigid[:, 2] = 1
    np.testing.assert_allclose(attachment.carry_skin_weights(rigid), rigid[:50])


def test_a_few_candidates_are_enough():
    body = cloud(0)
    attachment = Attachment.nearest(body[:5], body, np.array([3, 8]), count=6)
    assert attachment.sources.shape == (5, 2)
    assert np.isin(attachment.sources, [3, 8]).all()


def test_a_part_of_the_bodys_own_vertices_does_just_what_they_do():
    offsets = np.random.default_rng(0).normal(size=(10, 3))
    indices = np.array([7, 1, 1, 9])
    np.testing.assert_array_equal(Attachment.same(indices).carry(offsets), offsets[indices])


@pytest.mark.parametrize("reach", [0.005, 0.02])
def test_close_to_the_skin_nothing_is_lost(reach):
    """Within 4 mm the reach does not matter."""
    _, _, far = nearest(3, reach=np.inf)
    _, points, near = nearest(3, reach=reach)
    distance = np.linalg.norm(points - cloud(3)[near.sources[:, 0]], axis=1)
    close = distance < 0.004
    assert close.sum() > 10
    np.testing.assert_allclose(near.weights[close], far.weights[close])
