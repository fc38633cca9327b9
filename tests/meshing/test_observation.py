"""A real portrait laid over a body: which pixels show what, and which are left to nobody."""

import dataclasses

import numpy as np
import pytest
import skimage.data
from PIL import Image
from scipy import ndimage

from backend.body_model.anny import load_anny
from backend.body_model.base import defaults
from backend.body_model.fitting import BodyFit
from backend.meshing.observation import observe
from backend.portrait.portrait import load_portraits
from backend.radiance.cameras import Camera

SIZE = 512
LEFT_IRIS, RIGHT_IRIS, NOSE, CHIN, FOREHEAD, BETWEEN_BROWS = 473, 468, 4, 152, 151, 9


@pytest.fixture(scope="module")
def portrait(tmp_path_factory):
    path = tmp_path_factory.mktemp("portrait") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    (found,) = load_portraits([path], size=SIZE)
    return found


@pytest.fixture(scope="module")
def fit():
    """The body is only passed through, so the average person does."""
    model = load_anny()
    camera = Camera.orbit(0, 0, distance=1.1, fov_degrees=28, size=SIZE)
    return BodyFit(
        model,
        defaults(model.identity_parameters),
        defaults(model.expression_parameters),
        camera,
        np.zeros((2, 2)),
        np.zeros_like(model.template),
        np.zeros(478),
    )


@pytest.fixture(scope="module")
def observation(portrait, fit):
    return observe(portrait, fit)


def at(mask, landmark, portrait):
    column, row = portrait.landmarks[landmark].astype(int)
    return mask[row, column]


def test_masks_are_soft_and_of_the_size_of_the_picture(observation):
    masks = (observation.hair, observation.garment, observation.person, observation.mouth, observation.view.skin)
    for mask in (*masks, *observation.openings):
        assert mask.shape == (SIZE, SIZE)
        assert mask.min() >= 0
        assert mask.max() <= 1 + 1e-6
    assert observation.face.dtype == observation.known.dtype == bool


def test_the_body_is_that_of_the_fit(observation, fit):
    np.testing.assert_array_equal(observation.view.vertices, fit.posed())
    assert observation.view.camera is fit.camera


def test_plain_skin_is_skin(observation, portrait):
    for landmark in (NOSE, CHIN, 50, 280):  # and both cheeks
        assert at(observation.view.skin, landmark, portrait) > 0.9
        assert at(observation.hair, landmark, portrait) < 0.1


def test_eyes_and_what_is_between_the_lips_are_no_skin(observation, portrait):
    left, right = observation.openings
    for own, other, iris in ((left, right, LEFT_IRIS), (right, left, RIGHT_IRIS)):
        assert at(own, iris, portrait) > 0.9
        assert at(other, iris, portrait) < 0.01
        assert at(observation.view.skin, iris, portrait) < 0.05
    assert observation.mouth.max() > 0.8  # she smiles with open lips
    assert observation.view.skin[observation.mouth > 0.5].max() < 0.5


def test_the_characters_left_eye_is_on_the_right_of_the_picture(observation):
    left, right = ((mask * np.arange(SIZE)).sum() / mask.sum() for mask in observation.openings)
    assert left > right


def test_hair_is_above_the_face_and_the_garment_below(observation, portrait):
    rows = np.arange(SIZE)[:, None]
    hair, garment = ((mask * rows).sum() / mask.sum() for mask in (observation.hair, observation.garment))
    assert hair < at(rows * np.ones((1, SIZE)), NOSE, portrait) < garment
    assert observation.garment[observation.face].max() < 0.5


def test_layers_lie_within_the_person(observation):
    """But for the softness of their borders."""
    background = observation.person < 0.01
    for mask in (observation.hair, observation.garment):
        assert (mask[background] > 0.5).mean() < 0.001


def test_no_pixel_is_clearly_two_things(observation):
    total = observation.hair + observation.garment + observation.view.skin
    assert (total > 1.6).mean() < 0.001


def test_a_strand_across_the_forehead_is_hair(observation, portrait, fit):
    """Thin strands are finer than the segmentation and called skin by it; their colour gives them away."""
    column, row = portrait.landmarks[FOREHEAD].astype(int)
    colour = np.median(portrait.image[portrait.segmentation.hair > 0.9], 0) * 0.6
    image = portrait.image.copy()
    image[row - 25 : row + 15, column - 2 : column + 3] = colour
    marked = observe(dataclasses.replace(portrait, image=image), fit)
    strand = np.s_[row - 5 : row + 5, column]
    assert marked.view.skin[strand].mean() < 0.6 * observation.view.skin[strand].mean()
    beside = np.s_[row - 5 : row + 5, column + 20]
    assert marked.view.skin[beside].mean() == pytest.approx(observation.view.skin[beside].mean(), abs=0.1)


def test_a_reflection_on_the_forehead_of_somebody_with_white_hair_is_no_strand(portrait, fit):
    """White strands and reflections have the same colour; dark ones are still found."""
    hair = portrait.segmentation.hair[..., None]
    white = (portrait.image * (1 - hair) + hair * (0.85 + 0.1 * portrait.image)).astype(np.float32)
    column, row = portrait.landmarks[FOREHEAD].astype(int)
    spot = np.s_[row - 20 : row + 18, column - 3 : column + 4]
    found = []
    for image in (white, portrait.image):
        marked = image.copy()
        marked[spot] = np.median(image[portrait.segmentation.hair > 0.9], 0)
        found.append(observe(dataclasses.replace(portrait, image=marked), fit).hair[row + 4 : row + 12, column].mean())
    assert found[0] < 0.1 < found[1]


def test_the_hairline_is_hair_near_skin(observation, portrait):
    line = observation.hairline(0.01)
    away = np.asarray(ndimage.distance_transform_edt(observation.bare < 0.5)) / observation.pixels_per_metre
    inner = (observation.hair > 0.9) & (np.asarray(ndimage.minimum_filter(observation.person, 9)) > 0.99)
    assert line[inner & (away < 0.004)].mean() > 0.5
    assert line[inner & (away > 0.02)].max() < 0.1
    assert line[observation.garment > 0.6].max() < 0.1


def test_what_lies_outside_the_source_picture_shows_nothing(portrait, fit):
    inside = portrait.inside.copy()
    inside[:, : SIZE // 2] = False
    seen = observe(dataclasses.replace(portrait, inside=inside), fit)
    assert seen.view.skin[:, : SIZE // 2].max() == 0
    np.testing.assert_array_equal(seen.known, inside)


def with_glasses(portrait, lens):
    """The portrait with dark rims painted around the eyes, filled with `lens` where that is a colour."""
    image = portrait.image.copy()
    unit = np.linalg.norm(portrait.landmarks[LEFT_IRIS] - portrait.landmarks[RIGHT_IRIS])
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    for iris in (LEFT_IRIS, RIGHT_IRIS):
        x, y = portrait.landmarks[iris]
        distance = np.hypot(columns - x, rows - y - 0.05 * unit) / unit
        image[np.abs(distance - 0.38) < 0.04] = 0.05
        if lens is not None:
            image[distance < 0.38] = lens
    rims = np.abs(distance - 0.38) < 0.03  # of the right eye
    return dataclasses.replace(portrait, image=image, glasses=1.0), rims & (rows > y + 0.25 * unit)


def test_the_rims_of_glasses_are_no_skin(portrait, observation, fit):
    glasses, rims = with_glasses(portrait, None)
    seen = observe(glasses, fit)
    assert observation.view.skin[rims].mean() > 0.9
    assert seen.view.skin[rims].mean() < 0.15
    for landmark in (NOSE, CHIN, BETWEEN_BROWS):
        assert at(seen.view.skin, landmark, portrait) > 0.7
    assert at(seen.openings[0], LEFT_IRIS, portrait) > 0.9


def test_behind_dark_lenses_no_eye_is_seen(portrait, fit):
    seen = observe(with_glasses(portrait, 0.03)[0], fit)
    assert max(opening.max() for opening in seen.openings) == 0


def test_a_reflection_on_a_bald_head_is_no_hair(portrait, fit):
    """Where the scalp is bare, what is lighter than the face above the brows is a lamp, unless it is at the sides."""
    hair = np.zeros((SIZE, SIZE), np.float32)
    row, column = (portrait.landmarks[FOREHEAD] - [0, 20]).astype(int)[::-1]
    reflection = np.s_[row - 30 : row + 6, column - 25 : column + 25]
    hair[reflection] = 1
    parts = portrait.segmentation.probabilities * (1 - hair[..., None]) + hair[..., None] * [0, 1, 0, 0]
    image = portrait.image.copy()
    image[reflection] = 0.97
    for baldness, least, most in ((1.0, 0.0, 0.1), (0.0, 0.9, 1.0)):
        segmentation = dataclasses.replace(portrait.segmentation, probabilities=parts, baldness=baldness)
        seen = observe(dataclasses.replace(portrait, image=image, segmentation=segmentation), fit)
        assert least <= seen.hair[row - 15 : row - 5, column - 10 : column + 10].mean() <= most
