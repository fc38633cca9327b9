"""Colour and texture statistics of one picture: how typical a pixel is of a class, from weighted examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# Bins over CIELAB and the local contrast; a bin is 5 lightness units, 4.5 chroma units, one octave of contrast.
_BINS = (20, 20, 20, 5)
_NARROW = (1.0, 1.0, 1.0, 0.7)
# Skin is the same skin in light and in shadow.
_WIDE = (2.0, 1.3, 1.3, 0.7)
_LIT_SHARE = 0.25
_FLOOR = 0.03


class ColourModel:
    """Smoothed histograms over one picture's pixels."""

    def __init__(self, image: Float[np.ndarray, "N N 3"], usual_contrast: Bool[np.ndarray, "N N"]) -> None:
        """`usual_contrast` marks pixels, of plain skin, whose median contrast the texture axis is measured from."""
        self.lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        lightness = self.lab[..., 0]
        variance = cv2.GaussianBlur(lightness**2, (0, 0), 3) - cv2.GaussianBlur(lightness, (0, 0), 3) ** 2
        contrast = np.sqrt(np.maximum(variance, 0))
        usual = float(np.median(contrast[usual_contrast])) if usual_contrast.any() else float(np.median(contrast))
        octave = np.log2((contrast + 0.3) / (usual + 0.3)) + 1.5
        self._index = _bin_index(self.lab, octave)
        # The same surface in a highlight: lighter and closer to the colour of the lamp.
        lit = self.lab * [1, 0.6, 0.6] + np.array([0.5, 0, 0]) * (100 - lightness[..., None])
        self._lit_index = _bin_index(lit, octave)

    def log_ratio(self, weights: Float[np.ndarray, "N N"], *, wide: bool = False) -> Float[np.ndarray, "N N"]:
        """Log-likelihood of each pixel under the weighted examples, relative to a uniform distribution."""
        total = float(weights.sum())
        if total < 1:
            return np.zeros(weights.shape)
        size = int(np.prod(_BINS))
        counts = np.bincount(self._index.ravel(), weights.ravel(), minlength=size) / total
        if wide:
            counts += _LIT_SHARE * np.bincount(self._lit_index.ravel(), weights.ravel(), minlength=size) / total
        smooth = ndimage.gaussian_filter(counts.reshape(_BINS), _WIDE if wide else _NARROW, mode="nearest")
        density = (1 - _FLOOR) * smooth / smooth.sum() * size + _FLOOR
        return np.log(density.ravel()[self._index])


def _bin_index(lab: np.ndarray, octave: np.ndarray) -> np.ndarray:
    scaled = np.dstack([lab / [5, 4.5, 4.5] + [0, 35 / 4.5, 35 / 4.5], octave])
    bins = np.clip(scaled, 0, np.array(_BINS) - 1).astype(int)
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(bins, -1, 0)), _BINS))


def main_colour(lab: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
    """Which pixels share the most common colour: strands, glasses and paint over skin are outliers."""
    middle = np.median(lab, axis=0)
    kept = np.ones(len(lab), bool)
    for _ in range(4):
        spread = 1.48 * np.median(np.abs(lab - middle), axis=0) + [2, 1, 1]
        kept = (((lab - middle) / spread) ** 2).sum(axis=1) < 10
        if not kept.any():
            return np.ones(len(lab), bool)
        middle = np.median(lab[kept], axis=0)
    return kept
