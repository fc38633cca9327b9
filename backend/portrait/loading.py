"""Any picture file a person would try, as float32 sRGB.

Sizes are judged from the file's header before a pixel is decoded, so a decompression bomb costs nothing.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from backend.api import ErrorCode
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from jaxtyping import Float

MAX_FILE_BYTES = 200 * 2**20
MAX_PIXELS = 100_000_000
MIN_SIDE = 64
WORKING_SIDE = 2048

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
_READABLE = "JPEG, PNG, WebP, TIFF, BMP or GIF"
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    EOFError,
    struct.error,
    zlib.error,
    cv2.error,
)


def load_image(path: str | Path, *, max_side: int = WORKING_SIDE) -> Float[np.ndarray, "H W C"]:
    """Read a picture: upright, sRGB, float32 in [0, 1], with straight alpha as fourth channel if it has any.

    Handles EXIF rotation, embedded colour profiles, palettes, grey, CMYK and 16-bit files. A picture whose longer side
    exceeds `max_side` is reduced to it. Raises `MaquetteError` (`BAD_IMAGE`) with what to do when it cannot be used.
    """
    path = Path(path)
    data = _read(path)
    with warnings.catch_warnings():
        # The pixel limit below is stricter than Pillow's warning; damaged EXIF only loses the rotation.
        warnings.simplefilter("ignore")
        try:
            pixels = _decode(data, path, max_side)
        except _DECODING_ERRORS as error:
            if "truncated" in str(error).lower() or "image file is incomplete" in str(error).lower():
                raise _bad(path, "is incomplete: copy or download it again") from error
            raise _bad(path, f"is damaged and cannot be decoded: export it again as {_READABLE}") from error
    return _checked(pixels, path)


def _bad(path: Path, what: str) -> MaquetteError:
    return MaquetteError(ErrorCode.BAD_IMAGE, f"The picture {path} {what}.", stage="portrait")


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise _bad(path, "is a folder: give the file of a portrait")
        if not path.is_file():
            what = "is not a regular file: give the file of a portrait" if path.exists() else "does not exist"
            raise _bad(path, what if path.exists() else f"{what}: check its name and folder")
        size = path.stat().st_size
        if size == 0:
            raise _bad(path, "is an empty file: copy or download it again")
        if size > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 2**20
            raise _bad(path, f"is {size / 2**20:.0f} MB large: give one of at most {limit} MB")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise _bad(path, "cannot be read: check its name and its permissions") from error


def _refuse_unknown(data: bytes, path: Path) -> MaquetteError:
    """Why no decoder wanted `data`, in the words of what the file most likely is."""
    head = data[:1024].lstrip().lower()
    if data[4:8] == b"ftyp":
        return _bad(path, f"is a HEIC, AVIF or video file, which is not supported: export it as {_READABLE}")
    if b"<svg" in head:
        return _bad(path, f"is an SVG drawing, not a photograph: give a {_READABLE}")
    if head.startswith(b"%pdf"):
        return _bad(path, f"is a PDF document: export its picture as {_READABLE}")
    return _bad(path, f"is not a picture that can be read: give a {_READABLE}")


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 10**6
        raise _bad(path, f"has {width} x {height} pixels: reduce it to at most {limit} megapixels")
    if min(width, height) < MIN_SIDE:
        raise _bad(path, f"has only {width} x {height} pixels: give one of at least {MIN_SIDE} x {MIN_SIDE}")


def _decode(data: bytes, path: Path, max_side: int) -> np.ndarray:
    Image.init()  # `formats` looks only among registered decoders
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        limit = MAX_PIXELS // 10**6
        raise _bad(path, f"has too many pixels: reduce it to at most {limit} megapixels") from error
    except Image.UnidentifiedImageError as error:
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _decode_deep_tiff(data, path, max_side)
        raise _refuse_unknown(data, path) from error
    with image:
        _check_size(*image.size, path)
        if image.format == "PNG":
            # Decoding alone does not look at the checksums of the pixel data.
            with Image.open(io.BytesIO(data), formats=("PNG",)) as copy:
                copy.verify()
        orientation = _orientation(image)
        # JPEG alone can skip resolution while decoding; elsewhere this does nothing.
        image.draft(None, (max_side, max_side))
        image.load()
        if image.mode.startswith(("I", "F")):
            pixels = _deep_to_float(_reduced(np.asarray(image), max_side), image.mode, path)
        else:
            pixels = _to_srgb(image, max_side)
    return _oriented(pixels, orientation)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except _DECODING_ERRORS:
        return 1


def _oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels upright by the EXIF orientation 1 to 8 (anything else counts as 1)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _to_srgb(image: Image.Image, max_side: int) -> np.ndarray:
    """8-bit image of any mode as reduced float sRGB, H×W×3 or 4."""
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode not in ("RGB", "RGBA", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if max(image.size) > max_side:
        # Reducing first keeps the colour conversion and the float copy small; Pillow weighs colours by their alpha.
        image = ImageOps.contain(image, (max_side, max_side), Image.Resampling.LANCZOS)
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    image = _convert_profile(image.convert("RGB") if alpha else image, profile)
    colour = np.asarray(image.convert("RGB"), np.float32) / 255
    return colour if alpha is None else np.dstack([colour, np.asarray(alpha, np.float32) / 255])


def _convert_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile:
        return image
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # a broken or foreign profile: every viewer shows the plain values
    return converted if converted is not None else image


def _deep_to_float(pixels: np.ndarray, mode: str, path: Path) -> np.ndarray:
    """Grey 16-bit, 32-bit or float pixels as H×W×3 in [0, 1]."""
    pixels = pixels.astype(np.float32)
    if not np.isfinite(pixels).all():
        raise _bad(path, f"contains values that are not numbers: export it again as {_READABLE}")
    if not mode.startswith("F"):
        pixels /= 65535
    elif pixels.max() > 1:
        pixels /= 255
    return np.repeat(pixels.clip(0, 1)[..., None], 3, axis=-1)


def _decode_deep_tiff(data: bytes, path: Path, max_side: int) -> np.ndarray:
    """TIFF kinds that Pillow does not know, 16-bit and float colour above all."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its findings become our sentences
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            _check_size(page.imagewidth, page.imagelength, path)  # pyright: ignore[reportAttributeAccessIssue]
            tag = page.tags.get("Orientation")  # pyright: ignore[reportAttributeAccessIssue]
            orientation = int(tag.value) if tag else 1
    except tifffile.TiffFileError as error:
        raise _refuse_unknown(data, path) from error
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise _bad(path, f"is a kind of TIFF that cannot be decoded: export it again as {_READABLE}")
    scale = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(pixels.dtype, 1)
    pixels = np.atleast_3d(_reduced(pixels, max_side)).astype(np.float32) / scale
    if not np.isfinite(pixels).all():
        raise _bad(path, f"contains values that are not numbers: export it again as {_READABLE}")
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    pixels[..., :3] = pixels[..., 2::-1]  # OpenCV decodes to BGR
    return _oriented(pixels.clip(0, 1), orientation)


def _reduced(pixels: np.ndarray, max_side: int) -> np.ndarray:
    """Area-averaged, in the type it came in, so that the longer side is at most `max_side`."""
    height, width = pixels.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if not np.issubdtype(pixels.dtype, np.uint16):
        pixels = pixels.astype(np.float32, copy=False)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _checked(pixels: np.ndarray, path: Path) -> np.ndarray:
    if pixels.shape[-1] == 4:
        if pixels[..., 3].max() < 0.5:
            raise _bad(path, "is fully transparent: give one that shows the person")
        if pixels[..., 3].min() > 0.996:
            pixels = pixels[..., :3]
    if np.ptp(pixels[..., :3]) < 0.02:
        raise _bad(path, "shows a single colour only: give a photograph of a face")
    return np.ascontiguousarray(pixels.clip(0, 1), dtype=np.float32)
