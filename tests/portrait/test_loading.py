"""Any file a person would try is read as the same upright sRGB picture, or refused in one sentence."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.portrait import loading
from backend.portrait.loading import load_image


@pytest.fixture
def picture(astronaut) -> Image.Image:
    return Image.fromarray(astronaut)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


def test_png_is_read_exactly(picture, astronaut, tmp_path):
    picture.save(tmp_path / "a.png")
    pixels = load_image(tmp_path / "a.png")
    assert pixels.dtype == np.float32
    assert np.array_equal(pixels, astronaut.astype(np.float32) / 255)


@pytest.mark.parametrize(("suffix", "tolerance"), [("jpg", 0.02), ("webp", 0.02), ("bmp", 0.0), ("tif", 0.0)])
def test_common_formats_look_alike(picture, astronaut, tmp_path, suffix, tolerance):
    path = tmp_path / f"a.{suffix}"
    picture.save(path)
    assert difference(load_image(path), astronaut / 255) <= tolerance + 1e-6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(picture, tmp_path, orientation):
    # The inverse of what the tag asks a viewer to do.
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = picture.crop((0, 0, 512, 400))
    turned = upright.transpose(stored[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(load_image(tmp_path / "a.png"), np.asarray(upright, np.float32) / 255)


def test_grey_palette_and_cmyk_become_rgb(picture, astronaut, tmp_path):
    picture.convert("L").save(tmp_path / "grey.png")
    grey = load_image(tmp_path / "grey.png")
    assert grey.shape == (512, 512, 3)
    assert np.array_equal(grey[..., 0], grey[..., 2])
    picture.quantize(256).save(tmp_path / "palette.png")
    assert difference(load_image(tmp_path / "palette.png"), astronaut / 255) < 0.03
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert difference(load_image(tmp_path / "cmyk.jpg"), astronaut / 255) < 0.03


def test_sixteen_bit_files_keep_their_brightness(picture, astronaut, tmp_path):
    grey = np.asarray(picture.convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey.png")
    assert difference(load_image(tmp_path / "grey.png")[..., 0], grey / 255) < 1e-4
    cv2.imwrite(str(tmp_path / "colour.png"), astronaut[..., ::-1].astype(np.uint16) * 257)
    assert difference(load_image(tmp_path / "colour.png"), astronaut / 255) < 0.003
    tifffile.imwrite(tmp_path / "colour.tif", astronaut.astype(np.uint16) * 257, photometric="rgb")
    assert difference(load_image(tmp_path / "colour.tif"), astronaut / 255) < 1e-4


def test_first_frame_of_an_animation_is_taken(picture, astronaut, tmp_path):
    picture.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", picture.size)])
    assert difference(load_image(tmp_path / "a.gif"), astronaut / 255) < 0.05


def test_alpha_is_kept_straight_and_dropped_where_it_hides_nothing(picture, astronaut, tmp_path):
    alpha = np.zeros((512, 512), np.uint8)
    alpha[:, 100:] = 255
    Image.fromarray(np.dstack([astronaut, alpha])).save(tmp_path / "a.png")
    pixels = load_image(tmp_path / "a.png")
    assert pixels.shape == (512, 512, 4)
    assert np.array_equal(pixels[..., 3], (alpha / 255).astype(np.float32))
    assert difference(pixels[:, 100:, :3], astronaut[:, 100:] / 255) < 1e-6
    picture.convert("RGBA").save(tmp_path / "opaque.png")
    assert load_image(tmp_path / "opaque.png").shape == (512, 512, 3)


def test_reducing_does_not_mix_hidden_colours_into_the_edge(tmp_path):
    pixels = np.zeros((300, 300, 4), np.uint8)
    pixels[..., :3] = (255, 0, 0)
    pixels[:, 151:] = (30, 200, 90, 255)
    pixels[:20, 151:, :3] = 250
    Image.fromarray(pixels).save(tmp_path / "a.png")
    small = load_image(tmp_path / "a.png", max_side=100)
    edge = small[50, 50]
    assert 0 < edge[3] < 1
    assert np.allclose(edge[:3], np.array([30, 200, 90]) / 255, atol=0.01)


def test_embedded_profile_is_converted_to_srgb(astronaut, tmp_path):
    lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB", renderingIntent=1
    )
    in_lab = ImageCms.applyTransform(Image.fromarray(astronaut), lab)
    assert in_lab is not None
    in_lab.save(tmp_path / "a.tif", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    assert difference(load_image(tmp_path / "a.tif"), astronaut / 255) < 0.02


def test_broken_profile_is_ignored(picture, astronaut, tmp_path):
    picture.save(tmp_path / "a.png", icc_profile=b"no profile at all")
    assert difference(load_image(tmp_path / "a.png"), astronaut / 255) < 1e-6


def test_large_pictures_are_reduced_to_the_working_size(picture, tmp_path):
    picture.resize((3000, 1500)).save(tmp_path / "a.jpg")
    assert load_image(tmp_path / "a.jpg").shape == (1024, 2048, 3)


def encoded(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


BAD_FILES = {
    "empty.jpg": (lambda _: b"", "empty"),
    "truncated.jpg": (lambda image: encoded(image, "JPEG")[:20_000], "incomplete"),
    "truncated.png": (lambda image: encoded(image, "PNG")[:20_000], "incomplete"),
    "text.jpg": (lambda _: b"Dear diary, today I renamed a text file.\n" * 50, "not a picture"),
    "zeros.jpg": (lambda _: bytes(5000), "not a picture"),
    "damaged.bmp": (lambda _: b"BM" + bytes(60), "damaged"),
    "damaged.tif": (lambda _: b"II*\0" + bytes(60), "damaged"),
    "pixel.png": (lambda _: encoded(Image.new("RGB", (1, 1)), "PNG"), "at least 64 x 64"),
    "thin.png": (lambda _: encoded(Image.new("RGB", (5000, 3)), "PNG"), "at least 64 x 64"),
    "enormous.png": (lambda _: png_header(20_000, 20_000), "100 megapixels"),
    "large.png": (lambda _: png_header(12_000, 9_000), "100 megapixels"),
    "drawing.svg": (lambda _: b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "phone.heic": (lambda _: b"\0\0\0\x18ftypheic" + bytes(500), "HEIC"),
    "paper.pdf": (lambda _: b"%PDF-1.4\n" + bytes(500), "PDF"),
    "clear.png": (lambda _: encoded(Image.new("RGBA", (300, 300)), "PNG"), "transparent"),
    "black.png": (lambda _: encoded(Image.new("RGB", (300, 300)), "PNG"), "single colour"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_unusable_files_are_refused_in_one_sentence(picture, tmp_path, name):
    content, reason = BAD_FILES[name]
    (tmp_path / name).write_bytes(content(picture))
    assert_refused(tmp_path / name, reason)


def assert_refused(path, reason: str) -> None:
    with pytest.raises(MaquetteError, match=reason) as caught:
        load_image(path)
    assert caught.value.code is ErrorCode.BAD_IMAGE
    assert caught.value.stage == "portrait"
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_values_that_are_not_numbers_are_refused(tmp_path):
    for kind, shape in (("minisblack", (100, 100)), ("rgb", (100, 100, 3))):
        name = f"{kind}.tif"
        tifffile.imwrite(tmp_path / name, np.full(shape, np.nan, np.float32), photometric=kind)
        assert_refused(tmp_path / name, "not numbers")


def test_paths_that_are_no_files_are_refused(tmp_path):
    assert_refused(tmp_path / "missing.jpg", "does not exist")
    assert_refused(tmp_path, "folder")
    assert_refused(tmp_path / ("n" * 300), "cannot be read")
    assert_refused("/dev/null", "regular file")


def test_files_beyond_the_limit_are_not_even_read(picture, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "MAX_FILE_BYTES", 1000)
    picture.save(tmp_path / "a.png")
    assert_refused(tmp_path / "a.png", "MB")
