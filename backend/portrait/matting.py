"""Soft matte of the person in the crop, and the person's own colours along its soft edge.

The person network sees 256 × 256 pixels, so its answers for several framings are averaged into a prior. Along the
border, closed-form matting (Levin et al. 2008) lets the picture's own colours decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from backend.portrait.alignment import similarity, warp
from backend.portrait.mediapipe_models import MediaPipeModels

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8
    from scipy.sparse import csr_array

_NETWORK_SIDE = 256
# Centre (from the crop's middle, in crop sides) and zoom of each framing: body, whole crop, bust, head, both shoulders.
_FRAMINGS = ((0.0, 0.06, 0.85), (0.0, 0.0, 1.0), (0.0, -0.04, 1.25), (0.0, -0.08, 1.6), (-0.08, 0.0, 1.1))
_FRAMINGS += ((0.08, 0.0, 1.1),)
_MATTING_SIDE = 512
# Ridge of the local colour models, and how strongly the prior holds where colours do not decide.
_RIDGE, _PRIOR_WEIGHT = 1e-4, 2e-3


def person_prior(
    source: UInt8[np.ndarray, "H W 3"], source_to_crop: Float[np.ndarray, "3 3"], size: int, models: MediaPipeModels
) -> Float[np.ndarray, "S S"]:
    """Probability in [0, 1] that a crop pixel shows a person (any), averaged over framings and their mirror images."""
    ramp = np.minimum(np.arange(_NETWORK_SIDE), np.arange(_NETWORK_SIDE)[::-1])
    # A framing counts less towards its border, where the network sees no surroundings.
    window = (np.minimum(np.minimum.outer(ramp, ramp) / 24, 1) + 1e-3).astype(np.float32)
    total = np.zeros((size, size), np.float32)
    weight = np.zeros((size, size), np.float32)
    for x, y, zoom in _FRAMINGS:
        frame = similarity((np.array([x, y]) + 0.5) * size, 0.0, zoom * _NETWORK_SIDE / size, _NETWORK_SIDE)
        image = warp(source, frame @ source_to_crop, _NETWORK_SIDE)
        mask = models.person(image) + models.person(np.ascontiguousarray(image[:, ::-1]))[:, ::-1]
        back = np.linalg.inv(frame)[:2]
        total += cv2.warpAffine(mask / 2 * window, back, (size, size))
        weight += cv2.warpAffine(window, back, (size, size))
    return total / np.maximum(weight, 1e-6)


def refine_matte(
    image: Float[np.ndarray, "S S 3"], prior: Float[np.ndarray, "S S"], *, band: float
) -> Float[np.ndarray, "S S"]:
    """Closed-form matte: `prior` away from its border, the picture's colours within `band` pixels of it."""
    size = len(image)
    side = min(size, _MATTING_SIDE)
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    small_prior = cv2.resize(prior, (side, side), interpolation=cv2.INTER_AREA)
    radius = max(1, round(band * side / size))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    person = cv2.erode((small_prior > 0.85).astype(np.uint8), disc) > 0
    background = cv2.erode((small_prior < 0.15).astype(np.uint8), disc) > 0
    matte = _closed_form(small, person, background, small_prior)
    matte = cv2.resize(matte, (size, size), interpolation=cv2.INTER_LINEAR)
    if size > side:
        matte = cv2.ximgproc.guidedFilter(image, matte, round(1.5 * size / side), 1e-5)
    return matte.clip(0, 1)


def _closed_form(
    image: np.ndarray, person: Bool[np.ndarray, "h w"], background: Bool[np.ndarray, "h w"], prior: np.ndarray
) -> Float[np.ndarray, "h w"]:
    from scipy import sparse
    from scipy.sparse.linalg import cg

    matte = person.astype(np.float32)
    unknown = np.flatnonzero(~(person | background))
    if not len(unknown):
        return matte
    rows = _matting_laplacian(image, ~(person | background))[unknown]
    # A tie to the prior keeps smooth, unsure areas from drifting and the system well conditioned.
    system = rows[:, unknown] + sparse.diags_array(np.full(len(unknown), _PRIOR_WEIGHT, np.float32))
    right = _PRIOR_WEIGHT * prior.ravel()[unknown] - rows @ matte.ravel()
    scaling = sparse.diags_array(1 / system.diagonal())
    solution, _ = cg(system, right, x0=prior.ravel()[unknown], rtol=1e-3, maxiter=120, M=scaling)
    matte.ravel()[unknown] = solution.clip(0, 1)
    return matte


def _matting_laplacian(image: Float[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"]) -> csr_array:
    """Levin's matting Laplacian (equation 12) from the 3 × 3 windows that touch `where`."""
    from scipy import sparse

    height, width = where.shape
    windows = cv2.dilate(where.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    windows[[0, -1]] = False
    windows[:, [0, -1]] = False
    offsets = np.add.outer(np.arange(-1, 2) * width, np.arange(-1, 2)).ravel()
    index = np.flatnonzero(windows)[:, None] + offsets
    colours = image.reshape(-1, 3)[index].astype(np.float32)
    colours -= colours.mean(axis=1, keepdims=True)
    covariance = np.einsum("nij,nik->njk", colours, colours) / 9 + _RIDGE / 9 * np.eye(3, dtype=np.float32)
    affinity = (1 + np.einsum("nij,njk,nlk->nil", colours, np.linalg.inv(covariance), colours, optimize=True)) / 9
    entries = np.eye(9, dtype=np.float32) - affinity
    shape = (height * width, height * width)
    rows, columns = np.repeat(index, 9, axis=1), np.tile(index, 9)
    return sparse.coo_array((entries.ravel(), (rows.ravel(), columns.ravel())), shape=shape).tocsr()


def foreground_colours(
    image: Float[np.ndarray, "S S 3"], matte: Float[np.ndarray, "S S"], *, radii: tuple[int, ...] = (48, 6)
) -> Float[np.ndarray, "S S 3"]:
    """The person's colours without the background's share: what to composite with the matte (straight alpha).

    Blurred foreground and background means explain each pixel; their residual is split by the matte (Forte and Pitié
    2021). Where the matte is zero the nearest colours of the person continue.
    """
    alpha = matte[..., None]
    foreground, background = image, image
    for radius in radii:
        kernel = (2 * radius + 1, 2 * radius + 1)

        def mean(values: np.ndarray, weight: np.ndarray, kernel: tuple[int, int] = kernel) -> np.ndarray:
            return cv2.blur(values * weight, kernel) / np.maximum(cv2.blur(weight, kernel), 1e-4)[..., None]

        smooth_foreground = mean(foreground, alpha)
        background = mean(background, 1 - alpha)
        residual = image - alpha * smooth_foreground - (1 - alpha) * background
        foreground = (smooth_foreground + alpha * residual).clip(0, 1)
    return foreground
