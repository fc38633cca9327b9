"""The iris is measured by its edge in the picture, wherever lids leave enough of it to see."""

import numpy as np
import pytest

from backend.portrait.iris import iris_radius


def eyes(radius: float, *, upper_lid: float = 1.1, iris: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Two drawn eyes and landmarks as the network sets them: rings of one size, centred in what lids leave.

    `upper_lid` is how far above the centre the lid cuts the iris, in radii.
    """
    y, x = np.mgrid[:120, :240] + 0.5
    picture = np.full((120, 240, 3), 0.6)
    landmarks = np.zeros((478, 2))
    for centre, ring, at in ((468, range(469, 473), 60.0), (473, range(474, 478), 180.0)):
        away = np.hypot(x - at, y - 60)
        opening = (np.abs(x - at) < 30) & (y > 60 - upper_lid * radius) & (y < 60 + 1.3 * radius)
        blend = np.clip(away - radius + 0.5, 0, 1)
        ball = iris * (1 - blend) + 0.9 * blend
        picture[opening] = ball[opening, None]
        seen = np.array([at, 60 + max(0, 1 - upper_lid) * radius / 2])
        landmarks[centre] = seen
        landmarks[list(ring)] = seen + 11.0 * np.array([[1, 0], [0, -1], [-1, 0], [0, 1]])
    return picture, landmarks


@pytest.mark.parametrize("radius", [9.0, 10.5, 12.5, 14.0])
def test_finds_the_edge_whatever_the_network_guessed(radius: float) -> None:
    assert iris_radius(*eyes(radius)) == pytest.approx(radius, rel=0.02)


@pytest.mark.parametrize("upper_lid", [0.7, 0.3, 0.1])
def test_an_iris_half_under_the_lid_is_not_taken_for_a_smaller_one(upper_lid: float) -> None:
    assert iris_radius(*eyes(12.0, upper_lid=upper_lid)) == pytest.approx(12.0, rel=0.04)


def test_says_nothing_where_iris_and_white_look_alike() -> None:
    assert iris_radius(*eyes(12.0, iris=0.89)) is None


def test_says_nothing_about_closed_eyes() -> None:
    picture, landmarks = eyes(12.0)
    assert iris_radius(np.full_like(picture, 0.6), landmarks) is None
