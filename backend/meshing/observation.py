"""One portrait laid over the fitted body: what each pixel shows, in the form that meshing and texturing read."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import cv2
import numpy as np

from backend.meshing.texture import View
from backend.portrait.face_regions import (
    LEFT_BROW,
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    eye_polygons,
    face_mask,
    inner_lip_polygon,
    polygon_mask,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from backend.body_model.fitting import BodyFit
    from backend.portrait.portrait import Portrait


@dataclasses.dataclass(frozen=True)
class Observation:
    """A `view` of the posed body with soft masks in [0, 1] over its pixels.

    `hair` includes headwear; `person` is the matte; `openings` are the visible eyeballs, left and right;
    `mouth` is what shows between the lips; `known` is false outside the picture; `face` is the face oval.
    """

    view: View
    hair: Float[np.ndarray, "H W"]
    garment: Float[np.ndarray, "H W"]
    person: Float[np.ndarray, "H W"]
    openings: tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]
    mouth: Float[np.ndarray, "H W"]
    known: Bool[np.ndarray, "H W"]
    face: Bool[np.ndarray, "H W"]

    @property
    def bare(self) -> Float[np.ndarray, "H W"]:
        """Where the person shows through neither hair nor garment, in [0, 1]."""
        return np.clip(self.person - self.hair - self.garment, 0, 1)

    @property
    def pixels_per_metre(self) -> float:
        """At the distance of the body."""
        camera = self.view.camera
        return float(camera.intrinsics[0, 0] / np.median(camera.to_camera(self.view.vertices)[:, 2]))

    def grown(self, mask: Float[np.ndarray, "H W"], metres: float) -> Float[np.ndarray, "H W"]:
        """`mask`, one of the layers, spread by about so many metres over what the person shows bare."""
        wider = cv2.dilate(mask.astype(np.float32), _disc(metres * self.pixels_per_metre))
        return np.maximum(mask, np.minimum(wider, self.bare))

    def hairline(self, metres: float) -> Float[np.ndarray, "H W"]:
        """Hair and what is between hair and skin, in [0, 1], up to about so many metres from bare skin."""
        radius = metres * self.pixels_per_metre
        # Opened: along the outline of the person the matte leaves a thin line that is nothing else either.
        bare = cv2.morphologyEx(self.bare.astype(np.float32), cv2.MORPH_OPEN, _disc(0.3 * radius))
        near = cv2.GaussianBlur(cv2.dilate(bare, _disc(0.7 * radius)), (0, 0), 0.3 * radius)
        inner = cv2.erode(self.person.astype(np.float32), _disc(0.1 * radius))
        return np.minimum(near, np.minimum(inner, np.clip(4 * (1 - self.garment) - 3, 0, 1)))


def observe(portrait: Portrait, fit: BodyFit) -> Observation:
    """Lay `portrait` over the body that was fitted to it."""
    segmentation, landmarks, size = portrait.segmentation, portrait.landmarks, portrait.size
    unit = float(np.linalg.norm(landmarks[468] - landmarks[473]))

    def soft(polygon: np.ndarray, grow: float = 0.0) -> np.ndarray:
        return cv2.GaussianBlur(polygon_mask(polygon, size, grow=grow).astype(np.float32), (0, 0), 0.012 * unit)

    right, left = eye_polygons(landmarks)
    mouth = inner_lip_polygon(landmarks)
    # Lids and lips are read a little away from the openings, where lashes, teeth and shadow begin.
    openings = np.maximum(np.maximum(soft(right, 0.033 * unit), soft(left, 0.033 * unit)), soft(mouth, 0.02 * unit))
    strands = _strands_on_skin(portrait.image, segmentation.skin, segmentation.hair, landmarks, unit)
    shine = segmentation.baldness * _shine(portrait.image, segmentation.skin, landmarks, unit)
    hair = np.clip(segmentation.hair * (1 - shine) + strands * segmentation.skin, 0, 1)
    frames = portrait.glasses * _frames_on_skin(portrait.image, segmentation.skin, landmarks, unit)
    skin = np.clip(segmentation.skin * (1 - strands) * (1 - frames), 0, 1)
    skin = cv2.GaussianBlur(_shrunk(skin, 0.02 * unit), (0, 0), 0.015 * unit) * portrait.inside
    view = View(portrait.foreground, skin * (1 - openings), fit.camera, fit.posed())

    def seen_eye(polygon: np.ndarray) -> np.ndarray:
        """Nothing behind dark lenses: the eye is better imagined than painted black."""
        around = polygon_mask(polygon, size, grow=0.12 * unit)
        return soft(polygon) * (frames[around].mean() < 0.6)

    def layer(mask: np.ndarray) -> np.ndarray:
        """Without teeth finer than the grid that the shells are cut from."""
        return cv2.GaussianBlur((mask * portrait.matte).astype(np.float32), (0, 0), 0.025 * unit)

    return Observation(
        view,
        layer(hair),
        layer(segmentation.garment),
        portrait.matte,
        (seen_eye(left), seen_eye(right)),
        soft(mouth),
        portrait.inside,
        face_mask(landmarks, size),
    )


def _strands_on_skin(
    image: Float[np.ndarray, "H W 3"],
    skin: Float[np.ndarray, "H W"],
    hair: Float[np.ndarray, "H W"],
    landmarks: Float[np.ndarray, "478 2"],
    unit: float,
) -> Float[np.ndarray, "H W"]:
    """Pixels in [0, 1] that the segmentation calls skin but that have the colour of the hair beside them.

    Thin fringes are finer than the segmentation; painted on the forehead they would stay there without their hair.
    """
    near = cv2.GaussianBlur(cv2.dilate((hair > 0.5).astype(np.uint8), _disc(0.32 * unit)).astype(np.float32), (0, 0), 3)
    lab = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2LAB)
    inner = cv2.GaussianBlur(cv2.dilate((hair > 0.5).astype(np.uint8), _disc(0.2 * unit)).astype(np.float32), (0, 0), 3)
    surely_hair, surely_skin = hair > 0.9, (skin > 0.95) & (inner < 0.01) & face_mask(landmarks, len(skin))
    if surely_hair.sum() < 500 or surely_skin.sum() < 500:
        return np.zeros(skin.shape, np.float32)
    to_skin = _distance_to_tones(lab, lab[surely_skin])
    to_hair = _distance_to_tones(lab, lab[surely_hair])
    like_hair = np.clip((to_skin - to_hair) / 1.2, 0, 1) * np.clip((to_skin - 1.0) / 0.8, 0, 1)
    # On the skin of somebody whose hair is lighter, what is light is as well a reflection.
    usual = [float(np.median(lab[sure, 0])) for sure in (surely_hair, surely_skin)]
    if usual[0] > usual[1]:
        like_hair = like_hair * np.clip(1 - (lab[..., 0] - usual[1]) / 6, 0, 1)
    # Brows, eyes and what lies below them have such colours too.
    features = np.zeros(skin.shape, np.uint8)
    for ring, margin in ((RIGHT_BROW, 0.04), (LEFT_BROW, 0.04), (RIGHT_EYE, 0.1), (LEFT_EYE, 0.1), (OUTER_LIPS, 0.1)):
        features |= polygon_mask(landmarks[list(ring)], len(skin), grow=margin * unit).astype(np.uint8)
    rows = np.arange(len(skin))[:, None]
    above = np.clip((landmarks[[33, 263], 1].mean() - rows) / (0.2 * unit), 0, 1)
    # Beside the face, strands also hang lower, down to the height of the nose.
    columns = np.arange(skin.shape[1])[None]
    low, high = landmarks[[33, 263], 0].min() - 0.25 * unit, landmarks[[33, 263], 0].max() + 0.25 * unit
    beside = np.clip(np.maximum(low - columns, columns - high) / (0.1 * unit), 0, 1)
    above = np.maximum(above, beside * np.clip((landmarks[2, 1] - rows) / (0.2 * unit), 0, 1))
    return cv2.GaussianBlur((like_hair * near * above * (1 - features)).astype(np.float32), (0, 0), 0.01 * unit)


def _shine(
    image: Float[np.ndarray, "H W 3"],
    skin: Float[np.ndarray, "H W"],
    landmarks: Float[np.ndarray, "478 2"],
    unit: float,
) -> Float[np.ndarray, "H W"]:
    """Pixels in [0, 1] over the brows, between the temples, that are lighter than skin: on a bald head a reflection."""
    lightness = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2LAB)[..., 0]
    sure = (skin > 0.95) & face_mask(landmarks, len(skin))
    across, down = _from_eyes(landmarks, skin.shape)
    crown = np.clip((-0.5 - down) / 0.1, 0, 1) * np.clip((1.0 - np.abs(across)) / 0.1, 0, 1)
    usual = float(np.median(lightness[sure])) if sure.any() else 60.0
    return crown * np.clip((lightness - usual) / 6, 0, 1)


def _from_eyes(
    landmarks: Float[np.ndarray, "478 2"], shape: tuple[int, ...]
) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    """How far each pixel lies across and down the face from the midpoint of the eyes, in pupil distances."""
    eyes = landmarks[[468, 473]]
    unit = float(np.linalg.norm(eyes[1] - eyes[0]))
    along = (eyes[1] - eyes[0]) / unit
    grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape[::-1])), -1) - eyes.mean(0)
    return grid @ along / unit, grid @ np.array([-along[1], along[0]]) / unit


def _frames_on_skin(
    image: Float[np.ndarray, "H W 3"],
    skin: Float[np.ndarray, "H W"],
    landmarks: Float[np.ndarray, "478 2"],
    unit: float,
) -> Float[np.ndarray, "H W"]:
    """Pixels in [0, 1] where glasses hide the skin of a person who wears them: around the eyes, unlike skin.

    Brows are left alone: what shows of them over or through the glasses belongs to the face.
    """
    across, down = _from_eyes(landmarks, skin.shape)
    band = np.clip((1.25 - np.abs(across)) / 0.05, 0, 1) * np.clip((down + 0.5) / 0.05, 0, 1)
    band *= np.clip((0.6 - down) / 0.05, 0, 1)
    # Below the bridge, between the lenses, is the nose.
    band *= 1 - np.clip((0.3 - np.abs(across)) / 0.05, 0, 1) * np.clip((down - 0.3) / 0.05, 0, 1)
    lab = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2LAB)
    sure = (skin > 0.95) & (band == 0) & face_mask(landmarks, len(skin)) & (down < 1.0)
    if sure.sum() < 500:
        return np.zeros(skin.shape, np.float32)
    unlike = np.clip((_distance_to_tones(lab, lab[sure]) - 1.3) / 0.7, 0, 1) * band
    for ring in (RIGHT_BROW, LEFT_BROW):
        unlike = unlike * ~polygon_mask(landmarks[list(ring)], len(skin))
    # A frame is thicker than its dark core: its edges shine or throw shadows.
    grown = cv2.dilate(unlike.astype(np.float32), _disc(0.025 * unit))
    return cv2.GaussianBlur(grown, (0, 0), 0.012 * unit)


def _distance_to_tones(
    lab: Float[np.ndarray, "H W 3"], examples: Float[np.ndarray, "n 3"], tones: int = 5
) -> Float[np.ndarray, "H W"]:
    """Distance of each pixel to the nearest of the common colours among `examples`, in typical deviations.

    Faces lit from two sides and streaked hair have several colours; those of a few stray pixels are left out.
    """
    spread = np.array([9.0, 5.0, 6.0], np.float32)
    step = max(1, len(examples) // 4000)
    samples = np.ascontiguousarray(examples[::step] / spread, np.float32)
    order = np.argsort(samples[:, 0], kind="stable")
    start = np.zeros((len(samples), 1), np.int32)
    start[order, 0] = np.arange(len(samples)) * tones // len(samples)
    criteria = (cv2.TERM_CRITERIA_COUNT, 12, 0.0)
    _, labels, centres = cv2.kmeans(samples, tones, start, criteria, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    share = np.bincount(labels.ravel(), minlength=tones) / len(samples)
    kept = centres[share > 0.07]
    scaled = lab / spread
    return np.min([np.linalg.norm(scaled - centre, axis=2) for centre in kept], axis=0)


def _disc(radius: float) -> np.ndarray:
    r = max(1, round(radius))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))


def _shrunk(mask: Float[np.ndarray, "H W"], pixels: float) -> Float[np.ndarray, "H W"]:
    return cv2.erode(mask.astype(np.float32), _disc(pixels))
