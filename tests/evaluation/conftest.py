"""The balls of the training's tests, of which every label is known."""

from tests.training.conftest import ball_pack, balls

__all__ = ["ball_pack", "balls"]
