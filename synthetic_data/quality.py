"""Is a rendered view what was asked for? Figures of every view, and a sentence for what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from backend.radiance.cameras import Camera

if TYPE_CHECKING:
    from jaxtyping import Float

AREA = (0.06, 0.96)
"""Part of the picture that the person may fill."""
LUMINANCE = (0.015, 0.93)
"""Mean sRGB luminance of the person; the darkest skin in black clothes lies at 0.05."""
COVERED = 0.985
"""Part of the skull's vertices that must lie under the mask, and not before the first surface."""
FACE_SKIN = 0.01
"""Part of the mask that is skin where the camera looks at the face."""
_SLACK = 0.006
_REACH = 1 / 128


class QualityError(Exception):
    """A view that must not enter the set; the message says which and why."""


def skull_points(
    template: Float[np.ndarray, "V 3"], vertices: Float[np.ndarray, "V 3"], limit: int = 400
) -> Float[np.ndarray, "n 3"]:
    """Vertices above the upper lip that hair, hats and clothes can hide but never remove, at most `limit`.

    `template` is the model's mean head, in which "above" is the same for everybody.
    """
    above = np.flatnonzero((template[:, 2] > -0.01) & (np.abs(template[:, 0]) < 0.085))
    return vertices[above[:: max(1, len(above) // limit)]]


def check_view(
    pictures: Mapping[str, np.ndarray], camera: Camera, skull: Float[np.ndarray, "n 3"], classes: Mapping[str, int]
) -> tuple[dict[str, float], list[str]]:
    """Figures of a view, and what is wrong with it: nothing, for a good one.

    Args:
        pictures: ``rgba``, ``depth`` and ``segmentation`` at least, as `render.render_identity` returns them.
        camera: of the view.
        skull: see `skull_points`.
        classes: number of every class that a pixel may have.
    """
    wrong = [f"{name} holds values that are no numbers" for name in _not_finite(pictures)]
    if wrong:
        return {}, wrong
    rgba, depth, segmentation = pictures["rgba"], pictures["depth"], pictures["segmentation"]
    alpha = rgba[..., 3]
    mask = alpha > 0.5
    luma = rgba[..., :3] @ np.array([0.2126, 0.7152, 0.0722])
    figures = {
        "area": float(alpha.mean()),
        "luminance": float(luma[mask].mean()) if mask.any() else 0.0,
        "covered": _covered(mask, depth, camera, skull),
        "skin": float((segmentation[mask] == classes["skin"]).mean()) if mask.any() else 0.0,
    }
    if not AREA[0] <= figures["area"] <= AREA[1]:
        wrong.append(f"the person fills {figures['area']:.1%} of the picture")
    if not LUMINANCE[0] <= figures["luminance"] <= LUMINANCE[1]:
        wrong.append(f"the mean luminance is {figures['luminance']:.3f}")
    pixels = camera.project(skull)
    if (pixels < 0).any() or (pixels > [camera.width, camera.height]).any():
        wrong.append("the head is outside the frame")
    elif figures["covered"] < COVERED:
        wrong.append(f"the mask covers {figures['covered']:.1%} of the skull")
    strange = set(np.unique(segmentation).tolist()) - set(classes.values())
    if strange:
        wrong.append(f"pixels have unknown classes {sorted(strange)}")
    if _looks_at_face(camera) and figures["skin"] < FACE_SKIN:
        wrong.append(f"skin is {figures['skin']:.1%} of the face's view")
    return {name: round(value, 4) for name, value in figures.items()}, wrong


def _not_finite(pictures: Mapping[str, np.ndarray]) -> Collection[str]:
    # Texture coordinates are undefined where a surface has none.
    return [name for name, values in pictures.items() if name != "uv" and not np.isfinite(values).all()]


def _covered(mask: np.ndarray, depth: np.ndarray, camera: Camera, skull: np.ndarray) -> float:
    """Part of the points under the mask with a surface at or before them; what lies within the `_REACH`-th part of the
    picture counts as the place itself, so that large pictures are no more strictly judged than small ones."""
    reach = max(1, round(camera.width * _REACH))
    column, row = np.floor(camera.project(skull)).astype(int).T
    distance = camera.to_camera(skull)[:, 2]
    padded_mask = np.pad(mask, reach)
    padded_depth = np.pad(np.where(depth > 0, depth, np.inf), reach, constant_values=np.inf)
    found = np.zeros(len(skull), bool)
    nearest = np.full(len(skull), np.inf)
    inside = (column >= 0) & (row >= 0) & (column < mask.shape[1]) & (row < mask.shape[0])
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    for down in range(2 * reach + 1):
        for across in range(2 * reach + 1):
            found |= padded_mask[row + down, column + across]
            nearest = np.minimum(nearest, padded_depth[row + down, column + across])
    return float((inside & found & (nearest < distance + _SLACK)).mean())


def _looks_at_face(camera: Camera) -> bool:
    """Within 50 degrees of straight ahead; the face looks along -Y."""
    towards = camera.centre / np.linalg.norm(camera.centre)
    return bool(-towards[1] > np.cos(np.radians(50)))
