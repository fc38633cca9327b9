"""Hair, skin and garment of the person in the crop.

A small conditional random field per picture: what the head parser tells (`parser`) and what usually lies where
(`head_layout`), colours learned from the pixels that are sure by that (`colour_model`), and mean-field inference whose
messages are an edge-keeping filter (in the manner of Krähenbühl and Koltun 2011). Colours and labels are refined in
turn.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import cv2
import numpy as np

from backend.portrait.alignment import HALF_SIZE, LEFT_IRIS, RIGHT_IRIS
from backend.portrait.colour_model import ColourModel, main_colour
from backend.portrait.head_layout import GARMENT, HAIR, SKIN, HeadLayout, distance_inside, sigmoid
from backend.portrait.parser import CLASSES, HeadParser, parse

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

_SIDE = 256
_ROUNDS = 4
_MESSAGES = 4
_MESSAGE_WEIGHT = 4.0
_COLOUR_WEIGHT = 0.8
_BACKGROUND_WEIGHT = 0.7
_SEEN_PERSON, _TOLD_PERSON = 0.6, 1.0
"""What the person network's word and the parser's count, whether somebody is there..."""
_USUAL_PARTS, _TOLD_PARTS = 0.5, 0.7
"""... and what the usual place and the parser's word count, which part of somebody is there."""
_UNDRESSED = 0.25
"""How much skin may be where the parser sees garment: it has learned from people who wear more than others do."""
_SURE = 0.75
"""What the parser says at least of a pixel that is an example of hair or garment."""


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """`probabilities` of `CLASSES` per crop pixel, adding up to 1. Headwear counts as hair; brows, eyes, lips and
    beard as skin. `baldness` in [0, 1] is how alike scalp and forehead are."""

    probabilities: Float[np.ndarray, "S S 4"]
    baldness: float

    @property
    def labels(self) -> UInt8[np.ndarray, "S S"]:
        """Index into `CLASSES` of the likeliest class."""
        return self.probabilities.argmax(axis=-1).astype(np.uint8)

    @property
    def hair(self) -> Float[np.ndarray, "S S"]:
        return self.probabilities[..., 1]

    @property
    def skin(self) -> Float[np.ndarray, "S S"]:
        return self.probabilities[..., 2]

    @property
    def garment(self) -> Float[np.ndarray, "S S"]:
        return self.probabilities[..., 3]

    def with_matte(self, matte: Float[np.ndarray, "S S"]) -> Segmentation:
        """The same classes with `1 - matte` as background, so that they agree at soft edges."""
        parts = self.probabilities[..., 1:]
        # A strand beyond the first border is what the person is made of beside it.
        reach = 2 * round(len(matte) / 50) + 1
        parts = parts + 0.01 * cv2.blur(parts, (reach, reach))
        parts *= (matte / parts.sum(axis=-1))[..., None]
        return dataclasses.replace(self, probabilities=np.concatenate([(1 - matte)[..., None], parts], axis=-1))


def segment(
    image: Float[np.ndarray, "S S 3"],
    landmarks: Float[np.ndarray, "478 2"],
    person: Float[np.ndarray, "S S"],
    inside: Bool[np.ndarray, "S S"],
    neighbours: list[tuple[np.ndarray, float]],
    parser: HeadParser,
) -> Segmentation:
    """Classes of a crop, given the prior of `person` and which pixels lie `inside` the source picture.

    `neighbours` are other faces as eye midpoint and pupil distance in crop pixels.
    """
    size = len(image)
    scale = _SIDE / size
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    layout = HeadLayout.of(landmarks * scale, _SIDE)
    known = cv2.resize(inside.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) > 0.5
    own = cv2.resize(person, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    own = own * layout.own_share(_in_layout_units(neighbours, landmarks, size))
    told = cv2.resize(parse(parser, image, inside), (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR).clip(0.002, 0.998)
    # Under the chin there is a body, even where a dark coat before a dark ground hides it from the parser.
    there = np.maximum(1 - told[..., 0], 0.5 * layout.trunk)
    own = sigmoid(_SEEN_PERSON * _logit(own.clip(0.002, 0.998)) + _TOLD_PERSON * _logit(there))
    own = np.where(known, own, 0.0)
    own[(layout.beyond_face < -0.05) & known] = 0.9995
    told = told[..., 1:]
    told[..., SKIN] += _UNDRESSED * told[..., GARMENT]
    labels, baldness = _infer(small, layout, own, known, told / told.sum(-1, keepdims=True))
    return Segmentation(_enlarged(labels, image), baldness)


def _in_layout_units(
    neighbours: list[tuple[np.ndarray, float]], landmarks: np.ndarray, size: int
) -> list[tuple[np.ndarray, float]]:
    unit = size / (2 * HALF_SIZE)
    eyes = (landmarks[RIGHT_IRIS] + landmarks[LEFT_IRIS]) / 2
    return [((centre - eyes) / unit, distance / unit) for centre, distance in neighbours if distance > 0.35 * unit]


def _infer(
    image: np.ndarray, layout: HeadLayout, own: np.ndarray, known: np.ndarray, told: np.ndarray
) -> tuple[np.ndarray, float]:
    colours = ColourModel(image, layout.plain_skin)
    examples, baldness = _sure_pixels(colours, layout, own, known, told)
    usual = np.log(layout.prior(_depth(own), baldness).clip(1e-4))
    parts = _TOLD_PARTS * np.log(told.clip(1e-4)) + _USUAL_PARTS * usual
    certain = layout.features & (layout.beyond_face < -0.05)

    labels = np.zeros((_SIDE, _SIDE, len(CLASSES)))
    for turn in range(_ROUNDS):
        ratios = np.zeros((_SIDE, _SIDE, len(CLASSES)))
        for index, example in enumerate(examples):
            weights = example
            if turn > 0 and index > 0:
                weights = _normalised(example) + _normalised(labels[..., index] * known)
                weights = weights * max(float(example.sum()), 500.0)
            elif index == 1 + GARMENT:
                continue  # hair and skin claim their own first; garment is learned from what they leave
            ratios[..., index] = colours.log_ratio(weights, wide=index == 1 + SKIN)
        unary = _unary(own, parts, _COLOUR_WEIGHT * ratios.clip(-3.5, 5))
        unary[certain] = np.log([1e-4, 0.02, 1, 1e-4])
        labels = _connected(_mean_field(unary, image), layout)
    return labels, baldness


def _unary(own: np.ndarray, parts: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Scores from place and colour. Colour decides between the parts of the person; between person and background it
    counts less, because a varied background is unlike itself and the network has seen more people."""
    scores = parts + ratios[..., 1:]
    person = np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    background = np.log((1 - own).clip(1e-4))[..., None] + _BACKGROUND_WEIGHT * ratios[..., :1]
    scores = np.log(own.clip(1e-4))[..., None] + scores - (1 - _BACKGROUND_WEIGHT) * person
    return np.concatenate([background, scores], axis=-1)


def _sure_pixels(
    colours: ColourModel, layout: HeadLayout, own: np.ndarray, known: np.ndarray, told: np.ndarray
) -> tuple[list[np.ndarray], float]:
    """Weights of the pixels that show background, hair, skin and garment beyond doubt, and the baldness."""
    skin = np.zeros_like(own)
    plain = layout.plain_skin & known
    skin[plain] = main_colour(colours.lab[plain])
    like_skin = colours.log_ratio(skin, wide=True)
    unlike_skin = sigmoid((0.8 - like_skin) / 0.5)

    depth = _depth(own)
    crown = (own > 0.7) & (layout.beyond_face > 0.1) & (layout.down < 0.7 * layout.top)
    crown &= (depth > 0.1) & (depth < 0.5) & (np.abs(layout.across) < 1.3) & known
    baldness = _baldness(colours.lab, crown, skin > 0, skin.astype(bool) & (layout.down < -0.35))
    nearer = _nearer(colours.lab, crown & (depth < 0.25), skin > 0)
    hair = crown * (nearer * (1 - baldness) + 0.5 * baldness * unlike_skin)
    hair = hair * told[..., HAIR] + (own > 0.7) * known * (told[..., HAIR] > _SURE)

    unlike_hair = sigmoid((1 - colours.log_ratio(hair)) / 0.5)
    low = (layout.below_chin > 0.5) * sigmoid((layout.below_chin - 0.9) / 0.15)
    garment = (own > 0.9) * unlike_skin * np.maximum(low * unlike_hair, told[..., GARMENT] > _SURE)
    background = ((own < 0.1) & known).astype(float)
    return [background, hair, skin, garment], baldness


def _baldness(lab: np.ndarray, crown: np.ndarray, skin: np.ndarray, forehead: np.ndarray) -> float:
    """How likely the crown is bare: as coloured as skin and forehead, and not darker."""
    if crown.sum() < 30 or not skin.any():
        return 0.0
    middle = np.median(lab[crown], axis=0)
    skin_colour = np.median(lab[skin], axis=0)
    forehead_colour = np.median(lab[forehead], axis=0) if forehead.sum() > 20 else skin_colour
    chroma = max(float(np.linalg.norm((middle - colour)[1:])) for colour in (skin_colour, forehead_colour))
    return float(sigmoid((7 - chroma) / 1.0) * sigmoid((middle[0] - forehead_colour[0] + 12) / 4))


def _nearer(lab: np.ndarray, rim: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """How surely a colour is rather that of the `rim` of the crown than of skin: a high forehead reaches far up."""
    if not (rim.any() and skin.any()):
        return np.ones(rim.shape)
    to_rim, to_skin = (np.linalg.norm(lab - np.median(lab[where], axis=0), axis=-1) for where in (rim, skin))
    return sigmoid((to_skin - to_rim) / 4)


def _depth(own: np.ndarray) -> np.ndarray:
    """Distance into the silhouette, in pupil distances."""
    return distance_inside(own > 0.6) * (2 * HALF_SIZE / _SIDE)


def _logit(chance: np.ndarray) -> np.ndarray:
    return np.log(chance / (1 - chance))


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / max(float(weights.sum()), 1.0)


def _mean_field(unary: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Label probabilities when alike neighbours agree; alike is what a guided filter mixes."""
    scores = unary
    for _ in range(_MESSAGES):
        beliefs = _softmax(scores).astype(np.float32)
        scores = unary + _MESSAGE_WEIGHT * cv2.ximgproc.guidedFilter(image, beliefs, 4, 1e-3).clip(0, 1)
    return _softmax(scores)


def _softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _connected(labels: np.ndarray, layout: HeadLayout) -> np.ndarray:
    """Hair hangs together with the head, and the person with the face; islands go to the next best class."""
    near_head = (layout.down < 0.1) & (layout.beyond_face < 1.0)
    hair = (labels.argmax(axis=-1) == 1 + HAIR).astype(np.uint8)
    # Below the jaw only a real strand connects, not the thin shadow between a neck and a dark collar.
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    strands = np.where(layout.below_chin > -0.3, cv2.erode(hair, disc), hair) > 0
    hanging = strands & ~_islands(strands, near_head)
    grown = cv2.dilate(hanging.astype(np.uint8), cv2.dilate(disc, disc)) > 0
    labels[..., 1 + HAIR] *= np.where((hair > 0) & ~grown, 1e-4, 1)
    island = _islands(labels.argmax(axis=-1) > 0, layout.face)
    labels[island] = [1, 0, 0, 0]
    return labels / labels.sum(axis=-1, keepdims=True)


def _islands(mask: np.ndarray, root: np.ndarray) -> np.ndarray:
    _, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return mask & ~np.isin(components, np.unique(components[root & mask]))


def _enlarged(labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Probabilities at the crop's size, their borders drawn to the picture's edges."""
    size = len(image)
    large = cv2.resize(labels.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    sharp = cv2.ximgproc.guidedFilter(image, large, max(2, round(size / 170)), 2e-4).clip(1e-6, 1)
    return sharp / sharp.sum(axis=-1, keepdims=True)
