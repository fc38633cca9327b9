"""One picture that shows an avatar from all sides and in motion, for judging by eye.

``python -m backend.evaluation.sheet AVATAR_DIR [--portrait FILE] [--plain AVATAR_DIR] --out FILE`` draws the turn
around the head, the neutral face, smile, open jaw and blink, and close-ups of eyes and mouth; `--plain` adds a row with
the avatar of ``--mesh levelset``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.export.arrays import read_npz
from backend.meshing.renderer import render
from backend.radiance.cameras import Camera
from backend.rigging.avatar import RiggedAvatar
from backend.rigging.pose import pose_avatar

if TYPE_CHECKING:
    from jaxtyping import Float

_WHITE = (1.0, 1.0, 1.0)
SMILE = {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4}
TURN = (0, 30, -30, 60, -60, 90, 180)
"""Directions in which an avatar is looked at, degrees."""
BLINK = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
JAW = {"jawOpen": 0.6}


def whole(azimuth: float, size: int, elevation: float = 0.0) -> Camera:
    """A view of head and bust."""
    return Camera.orbit(azimuth, elevation, distance=1.3, fov_degrees=19, size=size, target=(0, 0, -0.035))


def _close(target: tuple[float, float, float], size: int, azimuth: float = 0.0) -> Camera:
    return Camera.orbit(azimuth, 0, distance=0.8, fov_degrees=9, size=size, target=target)


def rows_of(avatar: RiggedAvatar, size: int) -> list[list[Float[np.ndarray, "S S 3"]]]:
    """Three rows of pictures: the turn, expressions, close-ups."""

    def draw(camera: Camera, weights: dict[str, float] | None = None) -> np.ndarray:
        vertices = pose_avatar(avatar, weights or {})
        return render(avatar.parts, camera, vertices=vertices, background=_WHITE)[..., :3]

    eyes, mouth = (0.0, -0.08, 0.02), (0.0, -0.08, -0.05)
    turn = [draw(whole(azimuth, size)) for azimuth in TURN]
    motion = [
        draw(whole(0, size), SMILE),
        draw(whole(0, size), JAW),
        draw(whole(0, size), BLINK),
        draw(whole(30, size), SMILE | {"jawOpen": 0.2}),
        draw(whole(0, size), {"browInnerUp": 1.0, "mouthFunnel": 0.8}),
        draw(whole(0, size, 30)),
        draw(whole(135, size)),
    ]
    close = [
        draw(_close(eyes, size)),
        draw(_close(eyes, size), BLINK),
        draw(_close(mouth, size)),
        draw(_close(mouth, size), SMILE),
        draw(_close(mouth, size), JAW),
        draw(_close(mouth, size, 30), JAW),
        draw(_close(eyes, size, 40)),
    ]
    return [turn, motion, close]


def compose(rows: list[list[Float[np.ndarray, "S S 3"]]]) -> Float[np.ndarray, "H W 3"]:
    """Pictures of equal size side by side and below each other."""
    return np.concatenate([np.concatenate(row, 1) for row in rows])


def main() -> None:
    """Command line of the sheet."""
    from PIL import Image

    parser = argparse.ArgumentParser(description="A sheet of pictures of one avatar.")
    parser.add_argument("avatar", type=Path, metavar="AVATAR_DIR")
    parser.add_argument("--portrait", type=Path, help="picture to put beside the avatar")
    parser.add_argument("--plain", type=Path, metavar="AVATAR_DIR", help="the same person with --mesh levelset")
    parser.add_argument("--size", type=int, default=300, help="pixels of each picture")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    rows = rows_of(read_npz(options.avatar / "avatar.npz"), options.size)
    if options.plain:
        plain = rows_of(read_npz(options.plain / "avatar.npz"), options.size)
        rows.append([*plain[0][:2], plain[0][5], plain[0][6], *plain[1][:3]])
    sheet = compose(rows)
    if options.portrait:
        from backend.portrait.portrait import load_portraits

        portrait = load_portraits([options.portrait])[0].image
        side = round(0.8 * len(portrait))
        top, left = int(0.08 * len(portrait)), (len(portrait) - side) // 2
        picture = Image.fromarray((portrait[top : top + side, left : left + side] * 255 + 0.5).astype(np.uint8))
        beside = np.ones((len(sheet), 2 * options.size, 3), np.float32)
        shown = np.asarray(picture.resize((2 * options.size, 2 * options.size), Image.Resampling.LANCZOS)) / 255
        beside[: 2 * options.size] = shown
        sheet = np.concatenate([beside, sheet], 1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray((np.clip(sheet, 0, 1) * 255 + 0.5).astype(np.uint8))
    settings: dict[str, Any] = {"quality": 88} if options.out.suffix in (".jpg", ".jpeg") else {"optimize": True}
    image.save(options.out, **settings)
    print(options.out)


if __name__ == "__main__":
    main()
