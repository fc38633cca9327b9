"""Made by Blender when it starts, out of sight of a type checker."""

from typing import Any

def __getattr__(name: str) -> Any: ...
