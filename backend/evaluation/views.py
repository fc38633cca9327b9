"""``maquette evaluate views``: what Morphable Diffusion draws of people nobody learned from.

As the paper measures (section 5): camera and mesh are the true ones. Of each person the *views* are asked for in the
portrait's expression, the *expressions* in all others that the set has. Several weights may stand side by side, such as
those trained without a mesh or without shuffled portraits; the row ``copy`` is the portrait itself in place of every
view, ``template`` the template engine's field, whose true body is then bent into the other expression. A row
``name_2mm`` has the weights see meshes that are wrong by two millimetres.

The published protocol makes every pixel white where the true picture shows nobody, which forgives a wrong outline:
``psnr_masked`` and ``ssim_masked`` do so, ``psnr`` and ``ssim`` do not. Landmarks (PCK: the share that lies within 0.2
times the distance of the inner eye corners) and the identity are measured on the views within 55 degrees of the front;
a picture in which no face is found, though the true one has one, has no landmark in its place.

``control`` says how far the faces that were drawn show the *expressions* that were asked for: a body fit to the view
nearest to the front, and the correlation of its ARKit weights with those that the mesh had, over all people and
expressions (`view_rows.agreement`). Its row ``truth`` is what the same fit makes of the true pictures: no network can
be expected to do better.
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
from backend.evaluation.view_rows import (
    agreement,
    asked_expressions,
    disturbed,
    find_face,
    shown_expression,
    template_views,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from backend.body_model.base import BodyModel
    from backend.evaluation.judges import Verifier
    from backend.morphable.config import MorphableConfig
    from backend.morphable.model import MorphableDiffusion
    from backend.portrait.mediapipe_models import MediaPipeModels
    from backend.training.subjects import Subjects

KINDS = ("views", "expressions")
COPY, TEMPLATE, TRUTH = "copy", "template", "truth"
RESERVED = frozenset((COPY, TEMPLATE, TRUTH))
"""Names of rows that no weights may have."""
_FRONT, _NEAR = np.cos(np.radians(55.0)), 0.2
_SHOWN = 6
_INNER_CORNERS = (133, 362)


@dataclasses.dataclass(frozen=True)
class ViewsRequest:
    """`weights` are folders by row name; the last `people` of the packed set `data`, which has several expressions a
    person, are drawn, or all (None). Networks whose pictures are smaller than others' have theirs enlarged.
    `mesh_errors` are millimetres, each of which makes a row more of all weights; with `template` the template engine
    has a row, too. What is `told` goes into the file as it is."""

    data: Path
    weights: Mapping[str, Path]
    out: Path
    people: int | None
    steps: int
    guidance: float | None
    template: bool = False
    mesh_errors: tuple[float, ...] = ()
    device: str = "cpu"
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def evaluate_views(request: ViewsRequest, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Draw, measure, and write ``views.json`` and ``sheet.png`` into ``request.out``; returns what the former holds.

    Raises `MaquetteError` when the data or weights cannot be read, or somebody has one expression alone.
    """
    from backend.body_model.registry import load_body_model
    from backend.evaluation.judges import load_verifier
    from backend.morphable.weights import load_morphable
    from backend.portrait.mediapipe_models import MediaPipeModels
    from backend.weights.bundle import find

    networks = {name: load_morphable(folder).to(request.device) for name, folder in request.weights.items()}
    request.out.mkdir(parents=True, exist_ok=True)
    model = load_body_model("anny")
    every = {_sizes(network.config): network.config for network in networks.values()}
    sets = {sizes: read_subjects(request.data, model, config) for sizes, config in every.items()}
    subjects = sets[max(sets)]
    size = subjects.pictures.shape[-1]
    tasks = tasks_of(subjects, request.people)
    verifier = load_verifier(path) if (path := find("verifier")) is not None else None
    rows: dict[str, dict[str, Any]] = {}
    control: dict[str, dict[str, float]] = {}
    faceless: dict[str, int] = {}
    strips: list[list[np.ndarray]] = []
    for kind, (items, told) in tasks.items():
        truth = _arrays(subjects.pictures[items].float() / 255)
        front = facing_front(subjects, items)
        drawn = {COPY: _arrays(subjects.portraits[told, :1].float() / 255).repeat(truth.shape[1], 1)}
        if request.template:
            say(f"{kind}: {TEMPLATE}")
            pairs = (items.tolist(), told.tolist())
            drawn[TEMPLATE], lost = template_views(request.data, model, *pairs, size, request.out / "portraits")
            faceless[kind] = lost
        for error in (0.0, *request.mesh_errors):
            for name, network in networks.items():
                row = f"{name}_{error:g}mm" if error else name
                say(f"{kind}: {row}")
                held = sets[_sizes(network.config)]
                held = (disturbed(held, items, error) if error else held).to(request.device)
                drawn[row] = _drawn(network, held, items, told, size, request)
        with MediaPipeModels() as faces:
            for name, pictures in drawn.items():
                rows.setdefault(name, {})[kind] = measure(pictures, truth, front, verifier, faces)
            if kind == "expressions":
                say("control")
                nearest = frontality(subjects, items).argmax(1)
                asked = asked_expressions(request.data, model, items.tolist())
                for name, pictures in {TRUTH: truth, **drawn}.items():
                    seen = pictures[np.arange(len(items)), nearest]
                    control[name] = agreement(asked, np.stack([shown_expression(p, model, faces) for p in seen]))
        strips += _strips(subjects, told, truth, drawn)
    found = {
        "rows": rows,
        "control": {name: {shape: round(value, 3) for shape, value in row.items()} for name, row in control.items()},
        "people": len(tasks["views"][0]),
        "expressions": len(tasks["expressions"][0]),
        "steps": request.steps,
        "guidance": request.guidance,
        "weights": {name: str(folder) for name, folder in request.weights.items()},
        **({"template_found_no_face": faceless} if faceless else {}),
        **request.told,
    }
    write_json(request.out / "views.json", found)
    _write_sheet(strips, request.out / "sheet.png")
    return found


def read_subjects(data: Path, model: BodyModel, config: MorphableConfig) -> Subjects:
    """All people of a packed set. Raises `MaquetteError` (BAD_REQUEST) when it cannot be read."""
    from backend.training.subjects import load_subjects

    try:
        return load_subjects(data, model, config)
    except (OSError, ValueError) as problem:
        raise MaquetteError(ErrorCode.BAD_REQUEST, f"{data} cannot be read: {problem}.", stage="evaluate") from None


def _sizes(config: MorphableConfig) -> tuple[int, int]:
    return config.image_size, config.map_size


def _drawn(
    network: MorphableDiffusion, subjects: Subjects, items: Tensor, told: Tensor, size: int, request: ViewsRequest
) -> Float[np.ndarray, "B N H W 3"]:
    """All views by one of the networks, one item after the other, `size` pixels wide."""
    from backend.training.morphable_stage import draw_views

    parts = [
        draw_views(
            network,
            subjects,
            some.to(request.device),
            same.to(request.device),
            steps=request.steps,
            guidance=request.guidance,
        )[0]
        for some, same in zip(items.split(1), told.split(1), strict=True)
    ]
    if parts[0].shape[-1] < size:
        parts = [F.interpolate(part, (size, size), mode="bicubic", align_corners=False).clamp(0, 1) for part in parts]
    return _arrays(torch.stack(parts))


def tasks_of(subjects: Subjects, people: int | None) -> dict[str, tuple[Tensor, Tensor]]:
    """Per kind the items that are asked for and the items whose portraits are shown, of the last `people` or of all:
    the first expression of each from its own portrait, and the others from that portrait as well."""
    chosen = subjects.person.unique()[-people if people else 0 :]
    first, others, shown = [], [], []
    for person in chosen.tolist():
        own = (subjects.person == person).nonzero()[:, 0].tolist()
        if len(own) < 2:
            raise MaquetteError(
                ErrorCode.BAD_REQUEST,
                "Everybody in the set needs at least two expressions: render it with --takes 2.",
                stage="evaluate",
            )
        first.append(own[0])
        others += own[1:]
        shown += [own[0]] * (len(own) - 1)
    told = torch.tensor(first)
    return {"views": (told, told), "expressions": (torch.tensor(others), torch.tensor(shown))}


def facing_front(subjects: Subjects, items: Tensor) -> np.ndarray:
    """(B, N) bool: views within 55 degrees of the front."""
    return frontality(subjects, items) > _FRONT


def frontality(subjects: Subjects, items: Tensor) -> Float[np.ndarray, "B N"]:
    """Cosine between each camera's direction and the front; the networks' world has z out of the face."""
    matrix = subjects.world_to_camera[items].double()
    centre = -(matrix[..., :3].transpose(-1, -2) @ matrix[..., 3:])[..., 0]
    return F.normalize(centre, dim=-1)[..., 2].cpu().numpy()


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
    places = []
    for picture in (other, one):
        face = find_face(picture, models)
        if face is None:
            return 0.0 if places else None
        places.append(face.landmarks)
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
