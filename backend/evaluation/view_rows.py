"""What stands beside the network's views: the template engine's, meshes that are wrong by so many millimetres, and the
expression that a picture shows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from backend.body_model.controls import control_vertices
from backend.body_model.expressions import arkit_weights
from backend.body_model.fitting import BodyFit, fit_landmarks
from backend.body_model.registry import landmark_map
from backend.errors import MaquetteError
from backend.morphable.meshes import HEAD
from backend.radiance.cameras import Camera
from backend.radiance.canonical import Fovea, warp_grid
from backend.rigging.avatar import ARKIT_SHAPES
from backend.training.bank import body_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from backend.body_model.base import BodyModel
    from backend.portrait.detection import Face
    from backend.portrait.mediapipe_models import MediaPipeModels
    from backend.portrait.portrait import Portrait
    from backend.radiance.triplane import TriPlane
    from backend.training.subjects import Subjects

LARGE = 512
"""Pixels to which small pictures are enlarged, for a face to be found in them."""
_WAVELENGTHS = (0.06, 0.20)
"""Metres, between which errors of a fitted mesh go up and down."""
_WAVES = 24


def find_face(picture: Float[np.ndarray, "H W 3"], models: MediaPipeModels) -> Face | None:
    """The face in a small picture, in pixels of its enlargement; None when none is found."""
    from backend.portrait.detection import detect_face

    large = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    large = F.interpolate(large, (LARGE, LARGE), mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
    try:
        return detect_face((large.clamp(0, 1) * 255).round().byte().numpy(), models)
    except MaquetteError:
        return None


def asked_expressions(data: Path, model: BodyModel, items: Sequence[int]) -> Float[np.ndarray, "B 52"]:
    """ARKit's weights of the expressions of some items of a packed set."""
    from synthetic_data.packed import PackedHeads

    pack = PackedHeads(data)
    return np.stack([_weights(model, *_parameters(pack[item])) for item in items])


def shown_expression(
    picture: Float[np.ndarray, "H W 3"], model: BodyModel, models: MediaPipeModels
) -> Float[np.ndarray, "52"]:
    """ARKit's weights as a body fit to the picture measures them; zeros where no face is found."""
    face = find_face(picture, models)
    if face is None:
        return np.zeros(len(ARKIT_SHAPES))
    fit = fit_landmarks(model, landmark_map(model), face.landmarks, (LARGE, LARGE))
    return _weights(model, fit.identity, fit.expression)


def agreement(
    asked: Float[np.ndarray, "B E"], shown: Float[np.ndarray, "B E"], least: float = 0.05
) -> dict[str, float]:
    """Correlations over the B pictures of the shapes that are asked for with a deviation of `least` at least: of each,
    and, as "all", of all these weights together, each shape less its own mean, so that knowing the mean is worth
    nothing."""
    strong = asked.std(0) >= least
    a, b = asked[:, strong] - asked[:, strong].mean(0), shown[:, strong] - shown[:, strong].mean(0)
    names = [name for name, wanted in zip(ARKIT_SHAPES, strong, strict=True) if wanted]
    found = {name: _correlation(a[:, k], b[:, k]) for k, name in enumerate(names)}
    return {"all": _correlation(a.ravel(), b.ravel()), **found}


def disturbed(subjects: Subjects, items: Tensor, millimetres: float, seed: int = 0) -> Subjects:
    """The subjects with meshes that are wrong by a root mean square of so many millimetres, smoothly, as fits are: each
    of `items` by waves of its own in every direction, 6 to 20 cm long."""
    body = subjects.body.clone()
    for item in items.tolist():
        rng = np.random.default_rng([seed, item])
        ways = rng.normal(size=(_WAVES, 3))
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        lengths = rng.uniform(*_WAVELENGTHS, (_WAVES, 1)) * HEAD.scale
        phases = body[item].numpy() @ (2 * np.pi * ways / lengths).T + rng.uniform(0, 2 * np.pi, _WAVES)
        moved = np.cos(phases) @ rng.normal(size=(_WAVES, 3))
        moved *= 1e-3 * millimetres * HEAD.scale / np.sqrt((moved[subjects.skin.numpy()] ** 2).sum(1).mean())
        body[item] += torch.from_numpy(moved).float()
    return dataclasses.replace(subjects, body=body)


def template_views(
    data: Path, model: BodyModel, items: Sequence[int], told: Sequence[int], size: int, folder: Path
) -> tuple[Float[np.ndarray, "B N S S 3"], int]:
    """All views of some items by the template engine: the field that it makes of the portrait of `told`, true body and
    camera given, carried into the expression of the item. It ends with the bust; what the set shows beside that is
    white, and so is everything where it finds no face in the portrait: the second value counts such items.
    """
    from backend.evaluation.rows import draw_views, template_field
    from synthetic_data.packed import PackedHeads

    views, portraits = PackedHeads(data), PackedHeads(data, portraits=True)
    controls = control_vertices(model)
    fields: dict[int, tuple[TriPlane, BodyFit] | None] = {}
    pictures = []
    for item, shown in zip(items, told, strict=True):
        if shown not in fields:
            try:
                portrait, fit = cut_out(portraits[shown], model, folder / f"{shown:05d}.png")
                fields[shown] = template_field(portrait, fit), fit
            except MaquetteError:
                fields[shown] = None
        wanted = views[item]
        if (made := fields[shown]) is None:
            pictures.append(np.ones((len(wanted["rgb"]), size, size, 3), np.float32))
            continue
        field, fit = made
        posed = body_of(model, wanted)
        if item != shown:
            there, here = (torch.from_numpy(each[controls]).float() for each in (posed, fit.posed()))
            field = dataclasses.replace(
                field, warp=warp_grid(there, here, field.half_size, Fovea(strength=(0.0, 0.0, 0.0)))
            )
        known = wanted["rgb"].shape[-1]
        cameras = tuple(
            Camera(matrix.double().numpy(), lens.double().numpy(), known, known).resized(size, size)
            for matrix, lens in zip(wanted["world_to_camera"], wanted["intrinsics"], strict=True)
        )
        pictures.append(draw_views(field, cameras))
    return np.stack(pictures), sum(fields[shown] is None for shown in told)


def cut_out(item: dict[str, Any], model: BodyModel, path: Path) -> tuple[Portrait, BodyFit]:
    """The item's first portrait, enlarged, as the product reads a picture with a transparent ground, and the true body
    before its camera. Raises `MaquetteError` when it shows no face."""
    from backend.evaluation.held_out import write_picture
    from backend.pipeline import QUALITY
    from backend.portrait.portrait import load_portraits

    rgba = torch.cat([item["rgb"][0], item["alpha"][0]]).permute(1, 2, 0).numpy()
    factor = max(1, LARGE // len(rgba))
    side = factor * len(rgba)
    write_picture(path, cv2.resize(rgba, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1))
    portrait = load_portraits([path], size=QUALITY["standard"].crop)[0]
    lens = item["intrinsics"][0].double().numpy().copy()
    lens[:2] *= factor
    matrix = item["world_to_camera"][0].double().numpy()
    camera = Camera(matrix, portrait.source_to_crop @ lens, portrait.size, portrait.size)
    still = np.zeros_like(model.template)
    return portrait, BodyFit(model, *_parameters(item), camera, np.zeros((2, 2)), still, np.zeros(478))


def _parameters(item: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return item["identity"].double().numpy(), item["expression"].double().numpy()


def _weights(model: BodyModel, identity: np.ndarray, expression: np.ndarray) -> Float[np.ndarray, "52"]:
    found = arkit_weights(model, identity, expression)
    return np.array([found.get(name, 0.0) for name in ARKIT_SHAPES])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    both = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / both) if both > 0 else 0.0
