"""Pictures that go with an avatar: one to recognise it by, and one that turns."""

from __future__ import annotations

import dataclasses
import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from backend.export.files import encode_png, write_file
from backend.meshing.renderer import render, shrink_texture
from backend.radiance.cameras import Camera

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, UInt8

    from backend.rigging.avatar import RiggedAvatar

_FIELD_OF_VIEW = 20.0  # degrees; that of a portrait lens
_PREVIEW_SIZE, _PREVIEW_AZIMUTH, _ELEVATION = 1024, 28.0, 5.0
_COLLAR = -0.17  # metres, in the head frame: what lies lower is not framed
_TURNTABLE_SIZE, _TURN_MILLISECONDS = 384, 2400


def write_preview(avatar: RiggedAvatar, path: Path) -> None:
    """Write `preview_png`.

    Raises:
        MaquetteError: DISK_FULL or OUTPUT_NOT_WRITABLE; nothing is left at `path` then.
    """
    write_file(path, preview_png(avatar))


def write_turntable(avatar: RiggedAvatar, path: Path, *, frame_count: int = 24) -> None:
    """Write `turntable_gif`.

    Raises:
        MaquetteError: DISK_FULL or OUTPUT_NOT_WRITABLE; nothing is left at `path` then.
    """
    write_file(path, turntable_gif(avatar, frame_count=frame_count))


def preview_png(avatar: RiggedAvatar) -> bytes:
    """A PNG of 1024 x 1024 pixels: the avatar at rest, three-quarter view, studio light."""
    camera = framing_camera(avatar, _PREVIEW_AZIMUTH, size=_PREVIEW_SIZE)
    return encode_png(_to_8_bit(render(avatar.parts, camera)))


def turntable_gif(avatar: RiggedAvatar, *, frame_count: int = 24) -> bytes:
    """A GIF of 384 x 384 pixels in which the avatar turns once in 2.4 seconds, starting at the face.

    A GIF because every browser, chat and README shows it and Pillow alone writes it, the same bytes each time.
    """
    from PIL import Image

    # Shrunk once here rather than in every frame.
    shrunk = [shrink_texture(part.texture, max(part.texture.shape[1] // 1024, 1)) for part in avatar.parts]
    parts = [dataclasses.replace(part, texture=small) for part, small in zip(avatar.parts, shrunk, strict=True)]

    def frame(number: int) -> UInt8[np.ndarray, "H W 3"]:
        # The camera walks towards the avatar's right, which is as if the avatar turned to its left.
        camera = framing_camera(avatar, -number * 360 / frame_count, size=_TURNTABLE_SIZE)
        return _to_8_bit(render(parts, camera))

    # numpy works outside Python's lock; each frame is its own, so the order of work changes no byte.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
        frames = list(pool.map(frame, range(frame_count)))
    # One palette for all frames, or the colours would flicker.
    some = np.concatenate(frames[:: max(frame_count // 6, 1)], 1)[::2, ::2]
    palette = Image.fromarray(some).quantize(255, Image.Quantize.MEDIANCUT, 2)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]
    stream = io.BytesIO()
    duration = _TURN_MILLISECONDS // frame_count
    images[0].save(stream, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=False)
    return stream.getvalue()


def framing_camera(avatar: RiggedAvatar, azimuth_degrees: float, *, size: int) -> Camera:
    """A camera that sees head and neck from any side at the same distance, a little from above.

    Shoulders run out of the picture, as in a portrait: wide ones would leave little room for the face.
    """
    points = np.concatenate([part.mesh.vertices[part.mesh.faces.ravel()] for part in avatar.parts])
    points = points[points[:, 2] > _COLLAR] if (points[:, 2] > _COLLAR).any() else points
    centre = (points.min(0) + points.max(0)) / 2
    # The upright cylinder that the head fills as it turns must fit, its front edge included.
    radius = np.linalg.norm((points - centre)[:, :2], axis=1).max()
    half_height = np.abs(points - centre)[:, 2].max() + radius * np.sin(np.radians(_ELEVATION))
    half_angle = np.radians(_FIELD_OF_VIEW / 2)
    distance = float(radius + 1.05 * max(radius, half_height) / np.tan(half_angle))
    x, y, z = centre.tolist()
    return Camera.orbit(
        azimuth_degrees, _ELEVATION, distance=distance, fov_degrees=_FIELD_OF_VIEW, size=size, target=(x, y, z)
    )


def _to_8_bit(picture: Float[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W C"]:
    return np.round(picture * 255).astype(np.uint8)
