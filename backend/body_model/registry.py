"""Body models by name."""

from __future__ import annotations

from pathlib import Path

from backend.api import ErrorCode
from backend.body_model.base import BodyModel
from backend.body_model.landmarks import LandmarkMap
from backend.errors import MaquetteError

BODY_MODELS = ("anny", "flame", "smplx", "bilinear")


def load_body_model(name: str, path: Path | str | None = None) -> BodyModel:
    """The body model called `name`, one of `BODY_MODELS`.

    Args:
        path: its file or folder, for the models that a user brings; without it the environment variable
            ``MAQUETTE_<NAME>`` and then ``~/.maquette/body_models/<name>`` are tried. Anny comes with the package.

    Raises `MaquetteError`: ``BAD_REQUEST`` for an unknown name, ``MODEL_MISSING`` for a missing or unusable file.
    """
    if name == "anny":
        from backend.body_model.anny import load_anny

        return load_anny()
    if name == "flame":
        from backend.body_model.flame import load_flame

        return load_flame(path)
    if name == "smplx":
        from backend.body_model.smplx_model import load_smplx

        return load_smplx(path)
    if name == "bilinear":
        from backend.body_model.bilinear import load_bilinear

        return load_bilinear(path)
    raise MaquetteError(
        ErrorCode.BAD_REQUEST,
        f"There is no body model {name!r}: choose one of {', '.join(BODY_MODELS)}.",
        stage="body_model",
    )


def landmark_map(model: BodyModel) -> LandmarkMap:
    """Where MediaPipe's landmarks lie on `model`: measured for Anny, carried over from Anny for the others."""
    if model.name == "anny":
        return LandmarkMap.load("anny", model.topology.faces)
    from backend.body_model.carry import transferred_landmarks
    from backend.body_model.linear import LinearHead

    assert isinstance(model, LinearHead)
    return transferred_landmarks(model)
