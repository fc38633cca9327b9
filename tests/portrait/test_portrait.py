"""A portrait is aligned, cut out and divided into hair, skin and garment, whatever file it came in."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.portrait.alignment import HALF_SIZE, transform_points
from backend.portrait.detection import detect_face
from backend.portrait.loading import load_image
from backend.portrait.portrait import load_portraits

UNIT = 1024 / (2 * HALF_SIZE)


def around(image: np.ndarray, x: float, y: float, radius: int = 6) -> np.ndarray:
    """The pixels about a point of the crop."""
    return image[int(y) - radius : int(y) + radius + 1, int(x) - radius : int(x) + radius + 1]


def test_crop_is_level_and_holds_head_and_shoulders(astronaut_portrait):
    portrait = astronaut_portrait
    assert portrait.size == 1024
    right, left = portrait.landmarks[[468, 473]]
    assert abs(left[1] - right[1]) < 1e-6
    assert abs(left[0] - right[0] - UNIT) < 3
    assert np.abs((left + right) / 2 - [512, 512 - 45 / 63 * UNIT]).max() < 10
    # Hair above, garment below: the matte ends before the upper border and runs out through the lower one.
    assert portrait.matte[:40].max() < 0.05
    assert portrait.matte[-20:, 400:620].min() > 0.95


def test_crop_and_source_are_tied_both_ways(astronaut_portrait, astronaut_face):
    portrait = astronaut_portrait
    back = transform_points(portrait.crop_to_source, portrait.landmarks)
    assert np.allclose(back, astronaut_face.landmarks, atol=1e-6)
    assert np.allclose(portrait.source_to_crop @ portrait.crop_to_source, np.eye(3))
    x, y = np.round(back[4]).astype(int)
    u, v = transform_points(portrait.source_to_crop, np.array([x + 0.5, y + 0.5]))
    assert np.allclose(around(portrait.image, u, v, 1).mean((0, 1)), portrait.source[y, x], atol=0.03)


def test_matte_is_whole_in_the_face_empty_in_the_corners_soft_between(astronaut_portrait):
    matte, landmarks = astronaut_portrait.matte, astronaut_portrait.landmarks
    for index in (4, 10, 152, 50, 280):
        assert around(matte, *landmarks[index]).min() > 0.99
    assert around(matte, 60, 60).max() < 0.01
    assert around(matte, 960, 60).max() < 0.01
    soft = (matte > 0.05) & (matte < 0.95)
    assert 0.005 < soft.mean() < 0.08
    assert not matte[~astronaut_portrait.inside].any()


def test_background_does_not_bleed_into_the_hair(astronaut_portrait):
    """The wall is much lighter than the hair; on the soft edge the unmixed colours are as dark as the hair."""
    portrait = astronaut_portrait
    rim = (portrait.matte > 0.2) & (portrait.matte < 0.8) & (np.arange(1024)[:, None] < 300)
    hair = (portrait.segmentation.hair > 0.9) & (portrait.matte > 0.99)
    wall, mixed, unmixed = (
        float(image[where].mean())
        for image, where in (
            (portrait.image, (portrait.matte < 0.01) & portrait.inside & (np.arange(1024)[:, None] < 300)),
            (portrait.image, rim),
            (portrait.foreground, rim),
        )
    )
    tone = float(portrait.image[hair].mean())
    assert wall - tone > 0.3
    assert unmixed - tone < 0.4 * (wall - tone)
    assert unmixed < mixed
    assert np.allclose(portrait.foreground[hair], portrait.image[hair], atol=0.02)


def test_hair_skin_and_garment_lie_where_they_are(astronaut_portrait):
    """Places read off the picture: fringe, temples, cheeks, neck, collar and suit."""
    labels = astronaut_portrait.segmentation.labels
    landmarks = astronaut_portrait.landmarks
    eyes = landmarks[[468, 473]].mean(0)

    def share(name: int, across: float, down: float) -> float:
        return float((around(labels, *(eyes + np.array([across, down]) * UNIT)) == name).mean())

    background, hair, skin, garment = range(4)
    assert share(hair, 0, -1.15) == 1  # crown
    assert share(hair, 0, -0.72) == 1  # fringe, within the face's oval
    assert share(hair, -1.1, -0.4) == 1  # beside the temple
    assert share(hair, 1.2, 0) == 1
    for index in (50, 280, 4, 152, 9):
        assert (around(labels, *landmarks[index]) == skin).mean() > 0.95
    assert share(garment, 0, 2.7) == 1
    assert share(garment, 2.2, 3.3) == 1
    assert share(background, 2.5, -1) == 1


def test_probabilities_add_up(astronaut_portrait):
    probabilities = astronaut_portrait.segmentation.probabilities
    assert np.allclose(probabilities.sum(-1), 1, atol=1e-4)
    assert probabilities.min() >= 0
    assert np.allclose(probabilities[..., 0], 1 - astronaut_portrait.matte)
    assert astronaut_portrait.segmentation.baldness < 0.1


def test_no_glasses_are_seen_on_a_bare_face(astronaut_portrait):
    assert astronaut_portrait.glasses < 0.1


def test_drawn_glasses_are_seen(astronaut, astronaut_face, tmp_path):
    image = astronaut.copy()
    right, left = astronaut_face.landmarks[[468, 473]].round().astype(int)
    for eye in (right, left):
        cv2.ellipse(image, tuple(map(int, eye)), (17, 13), 0, 0, 360, (25, 15, 10), 3, cv2.LINE_AA)
    cv2.line(image, (int(right[0]) + 17, int(right[1])), (int(left[0]) - 17, int(left[1])), (25, 15, 10), 3)
    Image.fromarray(image).save(tmp_path / "glasses.png")
    portrait = load_portraits([tmp_path / "glasses.png"])[0]
    assert portrait.glasses > 0.9
    assert any("glasses" in warning for warning in portrait.warnings)


def test_a_shaved_head_has_almost_no_hair(astronaut, astronaut_portrait, tmp_path):
    """The astronaut with her hair painted in the colour of her cheeks."""
    portrait = astronaut_portrait
    hair = cv2.GaussianBlur((portrait.segmentation.hair * portrait.matte > 0.4).astype(np.float32), (0, 0), 2)
    cheek = around(portrait.image, *portrait.landmarks[50], 12).reshape(-1, 3)
    shade = 0.9 + 0.1 * np.random.default_rng(0).random((1024, 1024, 1), np.float32)
    shaved = portrait.image * (1 - hair[..., None]) + np.median(cheek, axis=0) * shade * hair[..., None]
    Image.fromarray((shaved * 255).round().astype(np.uint8)).save(tmp_path / "shaved.png")
    bald = load_portraits([tmp_path / "shaved.png"])[0]
    assert bald.segmentation.baldness > 0.8
    before, after = (float((p.segmentation.hair * p.matte).sum()) for p in (portrait, bald))
    assert after < 0.15 * before


def test_a_cut_out_keeps_its_own_alpha(astronaut, astronaut_portrait, tmp_path):
    alpha = np.zeros((512, 512), np.uint8)
    cv2.ellipse(alpha, (225, 130), (75, 100), 0, 0, 360, 255, -1, cv2.LINE_AA)
    Image.fromarray(np.dstack([astronaut, alpha])).save(tmp_path / "cut.png")
    portrait = load_portraits([tmp_path / "cut.png"])[0]
    expected = cv2.warpAffine(
        alpha, portrait.source_to_crop[:2], (1024, 1024), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    assert np.abs(portrait.matte - np.where(portrait.inside, expected / 255, 0)).mean() < 0.01
    assert np.abs(portrait.landmarks - astronaut_portrait.landmarks).mean() < 3


@pytest.mark.parametrize("kind", ["grey", "cmyk", "deep", "alpha", "webp", "exif"])
def test_every_kind_of_file_gives_nearly_the_same_landmarks(astronaut, astronaut_face, models, tmp_path, kind):
    picture = Image.fromarray(astronaut)
    suffix = {"cmyk": "jpg", "exif": "jpg", "webp": "webp"}.get(kind, "png")
    path = tmp_path / f"a.{suffix}"
    if kind == "deep":
        cv2.imwrite(str(path), astronaut[..., ::-1].astype(np.uint16) * 257)
    elif kind == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=92)
    else:
        modes = {"grey": "L", "cmyk": "CMYK", "alpha": "RGBA", "webp": "RGB"}
        picture.convert(modes[kind]).save(path)
    pixels = load_image(path)[..., :3]
    face = detect_face((pixels * 255 + 0.5).astype(np.uint8), models)
    limit = 0.02 * astronaut_face.pupil_distance
    assert np.linalg.norm(face.landmarks - astronaut_face.landmarks, axis=1).mean() < limit


def test_the_best_of_several_pictures_comes_first(astronaut, tmp_path):
    small = Image.fromarray(astronaut).resize((320, 320), Image.Resampling.LANCZOS)
    small.save(tmp_path / "small.png")
    Image.fromarray(astronaut).save(tmp_path / "large.png")
    portraits = load_portraits([tmp_path / "small.png", tmp_path / "large.png"], size=256)
    assert [portrait.path.name for portrait in portraits] == ["large.png", "small.png"]
    assert portraits[0].image.shape == (256, 256, 3)
    assert any("small" in warning for warning in portraits[1].warnings)


def test_a_neighbour_is_background(astronaut, tmp_path):
    head = Image.fromarray(astronaut[20:200, 160:290]).resize((98, 135), Image.Resampling.LANCZOS)
    pair = astronaut.copy()
    pair[60:195, 300:398] = head
    Image.fromarray(pair).save(tmp_path / "pair.png")
    portrait = load_portraits([tmp_path / "pair.png"], size=512)[0]
    assert any("1 more face" in warning for warning in portrait.warnings)
    # The neighbour's eyes, from where they were pasted.
    eyes = np.array([300 + (225 - 160) * 0.75, 60 + (103 - 20) * 0.75])
    x, y = transform_points(portrait.source_to_crop, eyes)
    assert around(portrait.matte, x, y, 8).max() < 0.2
    assert around(portrait.matte, *portrait.landmarks[4], 8).min() > 0.99


@pytest.mark.parametrize("count", [0, 6])
def test_one_to_five_pictures_are_asked_for(count):
    with pytest.raises(MaquetteError, match="one to five") as caught:
        load_portraits(["a.png"] * count)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_errors_name_the_picture(tmp_path):
    Image.fromarray(np.indices((300, 300)).sum(0).astype(np.uint8)).save(tmp_path / "ramp.png")
    with pytest.raises(MaquetteError, match=r"ramp\.png") as caught:
        load_portraits([tmp_path / "ramp.png"])
    assert caught.value.code is ErrorCode.NO_FACE


def test_another_process_gets_the_same_bytes_and_a_quiet_terminal(astronaut, tmp_path):
    Image.fromarray(astronaut).resize((300, 300)).save(tmp_path / "a.png")
    script = (
        "import hashlib, sys\n"
        "from backend.portrait.portrait import load_portraits\n"
        "p = load_portraits([sys.argv[1]], size=256)[0]\n"
        "parts = (p.image, p.foreground, p.matte, p.segmentation.probabilities, p.landmarks)\n"
        "print(hashlib.sha256(b''.join(part.tobytes() for part in parts)).hexdigest())\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "a.png")],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": threads},
        )
        for threads in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert [run.stderr for run in runs] == ["", ""]
