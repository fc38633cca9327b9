"""One real face for all: NASA's portrait of Eileen Collins, public domain, part of scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image

from backend.portrait.detection import Face, detect_face
from backend.portrait.mediapipe_models import MediaPipeModels
from backend.portrait.portrait import Portrait, load_portraits


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """512 × 512 × 3, uint8."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def models():
    with MediaPipeModels() as models:
        yield models


@pytest.fixture(scope="session")
def astronaut_face(astronaut, models) -> Face:
    return detect_face(astronaut, models)


@pytest.fixture(scope="session")
def astronaut_portrait(astronaut, tmp_path_factory) -> Portrait:
    path = tmp_path_factory.mktemp("portrait") / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    return load_portraits([path])[0]
