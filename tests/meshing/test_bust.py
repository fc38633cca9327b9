"""The rounded cut that ends an avatar below."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.meshing.bust import BUST_BOTTOM, bust_inside, onto_cut

HALF = 0.25
points_of_the_cube = st.lists(st.tuples(*[st.floats(-0.26, 0.26)] * 3), min_size=1, max_size=30).map(np.array)


def test_the_cut_is_rounded_and_lies_below_the_chin():
    inside = np.array([[0, 0, 0], [0.2, 0, 0], [0, 0, BUST_BOTTOM + 0.005], [0.1, 0, -0.15]])
    outside = np.array([[0, 0, BUST_BOTTOM - 0.005], [0.17, 0, -0.2], [-0.17, 0, -0.2], [0, 0, 0.245]])
    assert (bust_inside(inside, HALF) > 0).all()
    assert (bust_inside(outside, HALF) < 0).all()


@given(points=points_of_the_cube)
@settings(max_examples=40, deadline=None)
def test_points_beyond_the_cut_come_back_onto_it_and_the_others_stay(points):
    moves = onto_cut(points, HALF)
    inside = bust_inside(points, HALF) >= 0
    np.testing.assert_array_equal(moves[inside], 0)
    assert np.isfinite(moves).all()
    landed = bust_inside(points + moves, HALF)
    assert (landed > -0.004).all()
    # Not further than needed: what was just outside is not drawn deep inside.
    assert (landed[~inside] < 0.02).all()
