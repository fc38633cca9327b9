"""``maquette evaluate views``: what Morphable Diffusion draws of people nobody learned from.

As the paper measures (section 5): camera and mesh are the true ones. Of each person the *views* are asked for in the
portrait's expression, the *expressions* in another one. Several weights may stand side by side, such as those trained
without a mesh or without shuffled portraits; the row ``copy`` is the portrait itself in place of every view.

The published protocol makes every pixel white where the true picture shows nobody, which forgives a wrong outline:
``psnr_masked`` and ``ssim_masked`` do so, ``psnr`` and ``ssim`` do not. Landmarks (PCK: the share that lies within 0.2
times the distance of the inner eye corners) and the identity are measured on the views within 55 degrees of the front;
a picture in which no face is found, though the true one has one, has no landmark in its place.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.evaluation.figures import psnr, ssim
from backend.evaluation.going_on import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from backend.evaluation.judges import Verifier
    from backend.portrait.mediapipe_models import MediaPipeModels
    from backend.training.subjects import Subjects

KINDS = ("views", "expressions")
COPY = "copy"
_FRONT, _NEAR = np.cos(np.radians(55.0)), 0.2
_LARGE = 512
"""Pixels to which small pictures are enlarged, for a face to be found in them."""
_SHOWN = 6
_INNER_CORNERS = (133, 362)


@dataclasses.dataclass(frozen=True)
class ViewsRequest:
    """`weights` are folders by row name; the last `people` of the packed set `data`, which has several expressions a
    person, are drawn."""

    data: Path
    weights: Mapping[str, Path]
    out: Path
    people: int
    steps: int
    guidance: float
    device: str = "cpu"


def evaluate_views(request: ViewsRequest, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Draw, measure, and write ``views.json`` and ``sheet.png`` into ``request.out``; returns what the former holds.

    Raises `MaquetteError` when the data or weights cannot be read, the weights draw pictures of several sizes, or
    somebody has one expression alone.
    """
    from backend.body_model.registry import load_body_model
    from backend.evaluation.judges import load_verifier
    from backend.morphable.weights import load_morphable
    from backend.portrait.mediapipe_models import MediaPipeModels
    from backend.training.morphable_stage import draw_views
    from backend.training.subjects import load_subjects
    from backend.weights.bundle import find

    models = {name: load_morphable(folder).to(request.device) for name, folder in request.weights.items()}
    config = next(iter(models.values())).config
    sizes = {(model.config.image_size, model.config.map_size) for model in models.values()}
    if len(sizes) > 1:
        sentence = "These weights draw pictures of several sizes: look at them one after the other."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate")
    request.out.mkdir(parents=True, exist_ok=True)
    try:
        subjects = load_subjects(request.data, load_body_model("anny"), config)
    except (OSError, ValueError) as problem:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST, f"{request.data} cannot be read: {problem}.", stage="evaluate"
        ) from None
    tasks = tasks_of(subjects, request.people)
    verifier = load_verifier(path) if (path := find("verifier")) is not None else None
    rows: dict[str, dict[str, Any]] = {}
    strips: list[list[np.ndarray]] = []
    for kind, (items, told) in tasks.items():
        say(f"{kind}: {', '.join(models)}")
        truth = _arrays(subjects.pictures[items].float() / 255)
        front = facing_front(subjects, items)
        drawn = {COPY: _arrays(subjects.portraits[told, :1].float() / 255).repeat(truth.shape[1], 1)}
        held = subjects.to(request.device)
        for name, model in models.items():
            parts = [
                draw_views(
                    model,
                    held,
                    some.to(request.device),
                    same.to(request.device),
                    steps=request.steps,
                    guidance=request.guidance,
                )
                for some, same in zip(items.split(1), told.split(1), strict=True)
            ]
            drawn[name] = _arrays(torch.cat(parts))
        with MediaPipeModels() as faces:
            for name, pictures in drawn.items():
                rows.setdefault(name, {})[kind] = measure(pictures, truth, front, verifier, faces)
        strips += _strips(subjects, told, truth, drawn)
    found = {
        "rows": rows,
        "people": len(tasks["views"][0]),
        "steps": request.steps,
        "guidance": request.guidance,
        "weights": {name: str(folder) for name, folder in request.weights.items()},
    }
    write_json(request.out / "views.json", found)
    _write_sheet(strips, request.out / "sheet.png")
    return found


def tasks_of(subjects: Subjects, people: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Per kind the items that are asked for and the items whose portraits are shown, of the last `people` people."""
    chosen = subjects.person.unique()[-people:]
    first, second = [], []
    for person in chosen.tolist():
        own = (subjects.person == person).nonzero()[:, 0].tolist()
        if len(own) < 2:
            raise MaquetteError(
                ErrorCode.BAD_REQUEST,
                "Everybody in the set needs at least two expressions: render it with --takes 2.",
                stage="evaluate",
            )
        first.append(own[0])
        second.append(own[1])
    told = torch.tensor(first)
    return {"views": (told, told), "expressions": (torch.tensor(second), told)}


def facing_front(subjects: Subjects, items: Tensor) -> np.ndarray:
    """(B, N) bool: views within 55 degrees of the front, where the networks' world has z out of the face."""
    matrix = subjects.world_to_camera[items].double()
    centre = -(matrix[..., :3].transpose(-1, -2) @ matrix[..., 3:])[..., 0]
    return (F.normalize(centre, dim=-1)[..., 2] > _FRONT).cpu().numpy()


def measure(
    drawn: Float[np.ndarray, "B N H W 3"],
    truth: Float[np.ndarray, "B N H W 3"],
    front: np.ndarray,
    verifier: Verifier | None,
    models: MediaPipeModels,
) -> dict[str, float | int]:
    """Means over all pictures, landmarks and identity over those of the `front`; what cannot be measured is absent."""
    nobody = (truth > 0.998).all(-1, keepdims=True)
    masked = np.where(nobody, 1.0, drawn)
    flat = lambda pictures: pictures.reshape(-1, *pictures.shape[2:])  # noqa: E731
    mean = lambda figure, pictures: float(  # noqa: E731
        np.mean([figure(one, other) for one, other in zip(flat(pictures), flat(truth), strict=True)])
    )
    found: dict[str, float | int] = {
        "psnr": mean(psnr, drawn),
        "ssim": mean(ssim, drawn),
        "psnr_masked": mean(psnr, masked),
        "ssim_masked": mean(ssim, masked),
    }
    pairs = list(zip(drawn[front], truth[front], strict=True))
    near = [share for one, other in pairs if (share := landmarks_near(one, other, models)) is not None]
    found["faces"] = len(near)
    if near:
        found["pck"] = float(np.mean(near))
    if verifier is not None and pairs:
        from backend.evaluation.judges import PICTURE, similarity

        enlarge = lambda pictures: F.interpolate(  # noqa: E731
            torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float(), (PICTURE, PICTURE), mode="bilinear"
        )
        one, other = (enlarge(side) for side in zip(*pairs, strict=True))
        found["identity"] = float(np.mean(np.asarray(similarity(verifier, one, other))))
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def landmarks_near(
    one: Float[np.ndarray, "H W 3"], other: Float[np.ndarray, "H W 3"], models: MediaPipeModels
) -> float | None:
    """Share of the face's landmarks in `one` that lie where they are in `other`: 0 when no face is found in `one`, None
    when there is none in `other`."""
    from backend.portrait.detection import detect_face

    places = []
    for picture in (other, one):
        large = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        large = F.interpolate(large, (_LARGE, _LARGE), mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
        try:
            places.append(detect_face((large.clamp(0, 1) * 255).round().byte().numpy(), models).landmarks)
        except MaquetteError:
            return 0.0 if places else None
    eyes = np.linalg.norm(np.subtract(*places[0][list(_INNER_CORNERS)]))
    return float((np.linalg.norm(places[0] - places[1], axis=1) < _NEAR * eyes).mean())


def _arrays(pictures: Float[Tensor, "B N 3 H W"]) -> Float[np.ndarray, "B N H W 3"]:
    return pictures.permute(0, 1, 3, 4, 2).cpu().numpy()


def _strips(
    subjects: Subjects, told: Tensor, truth: np.ndarray, drawn: Mapping[str, np.ndarray]
) -> list[list[np.ndarray]]:
    """Per person the truth, then what each of the weights drew, each after the portrait."""
    rows = []
    for number in range(min(_SHOWN, len(told))):
        portrait = subjects.portraits[told[number], 0].permute(1, 2, 0).numpy() / 255
        rows.append([portrait, *truth[number]])
        rows += [[np.ones_like(portrait), *drawn[name][number]] for name in drawn if name != COPY]
    return rows


def _write_sheet(strips: list[list[np.ndarray]], path: Path) -> None:
    from backend.evaluation.held_out import write_picture

    write_picture(path, np.vstack([np.hstack(strip) for strip in strips]))
