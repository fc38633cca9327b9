"""A second recipe, which ends in pictures: portrait, fit, views in one or several expressions, files. No mesh is made.

portrait ─► Portrait ─► BodyFit ─► views, expression by expression ─► folder of pictures
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.api import DEVICES, ErrorCode
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float, UInt8

    from backend.morphable.engine import DrawnViews

    Progress = Callable[[str, float], None]

PORTRAIT = "portrait"
"""Expression of the portrait itself, where none is asked for."""
_CROP = 1024
_MOST_VIEWS, _MOST_STEPS, _MOST_GUIDANCE, _MOST_ROWS = 64, 1000, 20, 500


@dataclasses.dataclass(frozen=True)
class ViewsRequest:
    """`expressions` as `body_model.expression_words` reads them, `expressions_of` pictures whose expression is taken;
    with neither, the portrait's own. `weights` is a folder of Morphable Diffusion's, None for those that are found; so
    many `views` as it wants when None, and its own `guidance`. The rest as in `morphable.engine.draw_views`."""

    portrait: Path
    expressions: tuple[str, ...] = ()
    expressions_of: tuple[Path, ...] = ()
    weights: Path | None = None
    views: int | None = None
    steps: int = 20
    guidance: float | None = None
    seed: int = 0
    device: str = "auto"

    def validate(self) -> None:
        """Raise `MaquetteError` (BAD_REQUEST) with one sentence for a value that nothing can be done with."""
        from backend.body_model.expression_words import parse_expression

        for name, value, most in (("views", self.views, _MOST_VIEWS), ("steps", self.steps, _MOST_STEPS)):
            if value is not None and not 1 <= value <= most:
                raise _refused(f"The number of {name} must be a whole number from 1 to {most}.")
        if not 0 <= self.seed < 2**32:
            raise _refused("The seed must be a whole number from 0 to 4294967295.")
        if self.guidance is not None and not 0 <= self.guidance <= _MOST_GUIDANCE:
            raise _refused(f"The guidance must be a number from 0 to {_MOST_GUIDANCE}.")
        if self.device not in DEVICES:
            raise _refused(f"Unknown device {self.device!r}: choose one of {', '.join(DEVICES)}.")
        if len(self.expressions) + len(self.expressions_of) > _MOST_ROWS:
            raise _refused(f"Ask for at most {_MOST_ROWS} expressions.")
        try:
            for text in self.expressions:
                parse_expression(text)
        except ValueError as problem:
            raise _refused(str(problem)) from None


def draw(request: ViewsRequest, out: Path, progress: Progress = lambda stage, fraction: None) -> None:
    """Draw the views of `request` into the new folder `out`, which appears whole at the end or not at all.

    It holds ``e000v00.png``, ``e000v01.png``... (expression, view), ``sheet.png`` with a row for each expression behind
    the portrait, and ``views.json`` with the expressions and the cameras. Raises `MaquetteError` for everything that a
    user can mend.
    """
    from backend.export.folder import check_destination
    from backend.weights.bundle import morphable_in, require

    request.validate()
    folder = request.weights and (morphable_in(request.weights) or request.weights)
    folder = folder or require("morphable")
    check_destination(out)
    progress("portrait", 0.0)
    from backend.body_model.expression_words import parse_expression
    from backend.body_model.expressions import arkit_weights
    from backend.body_model.of_portrait import fit_portrait
    from backend.body_model.registry import load_body_model
    from backend.morphable.engine import draw_views
    from backend.morphable.weights import load_morphable
    from backend.portrait.portrait import load_portraits

    network = load_morphable(folder)
    model = load_body_model(network.config.mesh_model)
    pictures = [load_portraits([path], size=_CROP)[0] for path in (request.portrait, *request.expressions_of)]
    progress("fit", 0.0)
    fit, *others = [fit_portrait(model, picture) for picture in pictures]
    rows: list[tuple[str, dict[str, float] | None]] = [(text, parse_expression(text)) for text in request.expressions]
    rows += [
        (str(path), arkit_weights(model, other.identity, other.expression))
        for path, other in zip(request.expressions_of, others, strict=True)
    ]
    rows = rows or [(PORTRAIT, None)]
    drawn: list[DrawnViews] = []
    for number, (_, weights) in enumerate(rows):
        drawn.append(
            draw_views(
                network,
                pictures[0],
                fit,
                seed=request.seed,
                expression=weights,
                count=request.views,
                steps=request.steps,
                guidance=request.guidance,
                device=request.device,
                progress=lambda part, number=number: progress("views", (number + part) / len(rows)),
            )
        )
    progress("export", 0.0)
    own = arkit_weights(model, fit.identity, fit.expression)
    named = [{"of": name, "weights": own if weights is None else weights} for name, weights in rows]
    _write(out, drawn, {"request": _plain(request), "weights": str(folder), "expressions": named})


def read_curve(path: Path) -> tuple[str, ...]:
    """The expressions of a text file, one a line, such as the frames of a curve; empty lines are left out.

    Raises `MaquetteError` (BAD_REQUEST) when it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise _refused(f"{path} cannot be read: give a text file with an expression on each line.") from None
    return tuple(line.strip() for line in lines if line.strip())


def contact_sheet(drawn: list[DrawnViews]) -> Float[np.ndarray, "H W 3"]:
    """A row for each expression: what the networks were shown, then their views."""
    return np.vstack([np.hstack([each.shown, *each.pictures]) for each in drawn])


def _write(out: Path, drawn: list[DrawnViews], told: dict[str, Any]) -> None:
    from backend.export.files import encode_png
    from backend.export.folder import staged_folder

    cameras = [
        {
            "world_to_camera": camera.world_to_camera.tolist(),
            "intrinsics": camera.intrinsics.tolist(),
            "size": [camera.width, camera.height],
        }
        for camera in drawn[0].cameras
    ]
    with staged_folder(out) as aside:
        for row, each in enumerate(drawn):
            for view, picture in enumerate(each.pictures):
                (aside / f"e{row:03d}v{view:02d}.png").write_bytes(encode_png(_bytes(picture)))
        (aside / "sheet.png").write_bytes(encode_png(_bytes(contact_sheet(drawn))))
        text = json.dumps(told | {"cameras": cameras}, indent=1, ensure_ascii=False) + "\n"
        (aside / "views.json").write_text(text, encoding="utf-8")


def _plain(request: ViewsRequest) -> dict[str, Any]:
    values = dataclasses.asdict(request) | {"portrait": str(request.portrait)}
    return values | {
        "weights": request.weights and str(request.weights),
        "expressions_of": [str(path) for path in request.expressions_of],
    }


def _bytes(picture: Float[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def _refused(sentence: str) -> MaquetteError:
    return MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request")
