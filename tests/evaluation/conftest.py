"""The balls of the training's tests, of which every label is known, and the engine that has learned nothing."""

from tests.rodin.conftest import rodin
from tests.training.conftest import ball_pack, balls

__all__ = ["ball_pack", "balls", "rodin"]
