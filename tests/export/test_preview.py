"""The two pictures of an avatar."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from backend.export.preview import framing_camera


@pytest.fixture(scope="module")
def frames(turntable):
    with Image.open(io.BytesIO(turntable)) as gif:
        assert gif.info["loop"] == 0
        pictures = []
        for number in range(gif.n_frames):
            gif.seek(number)
            pictures.append(np.asarray(gif.convert("RGB")).astype(int))
    return np.stack(pictures)


def share(picture, colour):
    """Share of pixels of about that colour, and their mean column."""
    columns = np.nonzero(np.abs(picture - colour).max(-1) < 60)[1]
    return len(columns) / picture[..., 0].size, columns.mean() if len(columns) else None


def test_the_preview_shows_the_left_three_quarters_of_the_face(preview):
    picture = np.asarray(Image.open(io.BytesIO(preview))).astype(int)
    assert picture.shape == (1024, 1024, 3)
    area, column = share(picture, [220, 30, 30])
    assert area > 5e-4 and column > 512  # the red, left ear is on the right of the picture
    assert share(picture, [30, 60, 220])[0] == 0
    assert np.ptp(picture[[0, -1]]) < 4 and np.ptp(picture[:, [0, -1]]) < 4  # nothing is cut off


def test_the_turntable_goes_round_once_by_the_right_side_first(frames):
    assert frames.shape == (24, 384, 384, 3)
    blue, red = ([share(frame, colour)[0] for frame in frames] for colour in ([30, 60, 220], [220, 30, 30]))
    assert 3 <= np.argmax(blue) <= 9 and 15 <= np.argmax(red) <= 21
    steps = np.abs(np.diff(frames, axis=0, append=frames[:1])).mean((1, 2, 3))
    assert steps.min() > 0.5 and steps.max() < 5 * np.median(steps)  # no frame is missing, the last leads to the first


def test_the_turntables_background_does_not_flicker(frames):
    assert np.ptp(frames[:, :4], axis=0).max() == 0


@pytest.mark.parametrize("stretch", [(1, 1, 1), (3, 1, 1), (0.2, 0.2, 1), (2, 2, 1.3)])
def test_the_whole_head_is_in_sight_from_every_side(avatar, stretch):
    moved, extents = place(avatar, stretch), []
    for azimuth in range(0, 360, 15):
        pixels = framing_camera(moved, azimuth, size=100).project(moved.parts[0].mesh.vertices)
        assert pixels.min() >= 0 and pixels.max() <= 100
        extents.append(np.ptp(pixels, axis=0).max())
    assert max(extents) > 75


def test_shoulders_do_not_make_the_head_small(avatar):
    shoulders = place(avatar, (4, 1.2, 1), (0, 0, -0.32)).parts  # from 0.2 m below the head frame downwards
    with_shoulders = type(avatar)([*avatar.parts, *shoulders], avatar.skeleton)
    alone, together = (framing_camera(a, 30, size=100).centre for a in (avatar, with_shoulders))
    np.testing.assert_allclose(alone, together)


def place(avatar, stretch, shift=(0, 0, 0)):
    """The head alone, stretched and shifted."""
    head = avatar.parts[0]
    moved = head.mesh.vertices * np.array(stretch) + np.array(shift)
    part = dataclasses.replace(head, mesh=dataclasses.replace(head.mesh, vertices=moved))
    return type(avatar)([part], avatar.skeleton)
