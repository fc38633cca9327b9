"""Eyes, lips and irises come from the landmarks as polygons, circles and masks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backend.portrait.face_regions import (
    eye_polygons,
    face_mask,
    feature_mask,
    inner_lip_polygon,
    irises,
    outer_lip_polygon,
    polygon_mask,
)


@given(x=st.floats(30, 70), y=st.floats(30, 70), width=st.floats(5, 25), height=st.floats(5, 25))
def test_a_polygon_covers_the_pixels_whose_centres_it_holds(x, y, width, height):
    corners = np.array([[x - width, y - height], [x + width, y - height], [x + width, y + height]])
    mask = polygon_mask(np.vstack([corners, [x - width, y + height]]), 100)
    rows, columns = np.mgrid[:100, :100] + 0.5
    beyond = np.maximum(np.abs(columns - x) - width, np.abs(rows - y) - height)
    assert mask[beyond < -1e-6].all()
    assert not mask[beyond > 1e-6].any()


def test_growing_and_shrinking_move_the_outline():
    square = np.array([[30.0, 30], [70, 30], [70, 70], [30, 70]])
    plain = polygon_mask(square, 100).sum()
    assert polygon_mask(square, 100, grow=3).sum() > plain > polygon_mask(square, 100, grow=-3).sum()


def test_irises_lie_in_the_eyes(astronaut_portrait):
    landmarks = astronaut_portrait.landmarks
    for iris, eye in zip(irises(landmarks), eye_polygons(landmarks), strict=True):
        mask = polygon_mask(eye, 1024)
        x, y = iris.centre.astype(int)
        assert mask[y, x]
        # An iris is about 11.7 mm wide, and 63 mm from the other one.
        assert 0.06 < iris.radius / (1024 / 8.4) < 0.13


def test_the_smile_shows_teeth_between_the_lips(astronaut_portrait):
    landmarks, image = astronaut_portrait.landmarks, astronaut_portrait.image
    mouth = polygon_mask(inner_lip_polygon(landmarks), 1024, grow=-3)
    lips = polygon_mask(outer_lip_polygon(landmarks), 1024) & ~polygon_mask(inner_lip_polygon(landmarks), 1024, grow=3)
    assert mouth.sum() > 500
    assert not (mouth & lips).any()
    # Teeth are lighter and less red than lips.
    assert image[mouth].mean() > image[lips].mean() + 0.05
    redness = [float(image[where][:, 0].mean() / image[where][:, 1].mean()) for where in (mouth, lips)]
    assert redness[0] < redness[1] - 0.1


def test_features_lie_in_the_face(astronaut_portrait):
    landmarks = astronaut_portrait.landmarks
    face, features = face_mask(landmarks, 1024), feature_mask(landmarks, 1024, grow=0)
    assert 0.02 < face.mean() < 0.15
    assert (features & ~face).sum() < 0.01 * features.sum()
