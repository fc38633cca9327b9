"""A person ready to be rendered, as plain arrays: what `assemble` makes and what a Blender scene is built from.

Only numpy is needed here, so that an installed Blender, whose Python has nothing else, can read it.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthetic_data.surface import Patch

if TYPE_CHECKING:
    from jaxtyping import Float

    from synthetic_data.identity import Colour

DEVICES = ("CPU", "CUDA", "OPTIX", "HIP", "ONEAPI", "METAL")
"""What Cycles can render a person with."""
SEGMENTS = {
    "background": 0,
    "skin": 1,
    "eye": 2,
    "teeth": 3,
    "tongue": 4,
    "hair": 5,
    "brow": 6,
    "lash": 7,
    "garment": 8,
    "beard": 9,
    "glasses": 10,
    "headwear": 11,
    "earring": 12,
}
"""Class of every pixel in the segmentation pass."""


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object of the scene: a surface (`patch`) or strands (`points`, `radius`), and of what it is made.

    `finish` names a material of `materials`; `colour` (linear RGB), `values` (numbers) and `textures` (linear RGBA, row
    0 on top) are what that material reads. `window` is the part (left, bottom, right, top) of the texture layout that a
    second UV layer "window" spreads over the whole square. `radius` is that of each point along a strand, metres.
    """

    name: str
    segment: str
    finish: str
    patch: Patch | None = None
    points: Float[np.ndarray, "N P 3"] | None = None
    radius: Float[np.ndarray, " P"] | None = None
    colour: Colour = (1.0, 1.0, 1.0)
    values: dict[str, float] = dataclasses.field(default_factory=dict)
    textures: dict[str, Float[np.ndarray, "h w 4"]] = dataclasses.field(default_factory=dict)
    window: tuple[float, float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Person:
    """Everything in the scene but the camera; `surroundings` is the light, equirectangular linear RGB radiance."""

    things: tuple[Thing, ...]
    surroundings: Float[np.ndarray, "H W 3"]

    def save(self, path: Path) -> None:
        """Write an .npz without pickles; float32 is enough for every picture."""
        arrays: dict[str, np.ndarray] = {"surroundings": self.surroundings.astype(np.float32)}
        described: list[dict[str, Any]] = []
        for number, thing in enumerate(self.things):
            found: dict[str, np.ndarray] = {f"textures/{name}": image for name, image in thing.textures.items()}
            if thing.patch is not None:
                found |= {"vertices": thing.patch.vertices, "faces": thing.patch.faces, "uvs": thing.patch.corner_uvs}
                found |= {f"attributes/{name}": values for name, values in thing.patch.attributes.items()}
            if thing.points is not None and thing.radius is not None:
                found |= {"points": thing.points, "radius": thing.radius}
            for name, array in found.items():
                kind = np.int32 if array.dtype.kind in "iu" else np.float32
                arrays[f"{number}/{name}"] = np.asarray(array, kind)
            plain = ("name", "segment", "finish", "colour", "values", "window")
            described.append({field: getattr(thing, field) for field in plain} | {"arrays": sorted(found)})
        arrays["things"] = np.array(json.dumps(described))
        with path.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType] (its annotation takes no names)

    @classmethod
    def load(cls, path: Path) -> Person:
        """Inverse of `save`. Raises ValueError for a file of another kind."""
        try:
            with np.load(path, allow_pickle=False) as data:
                things = []
                for number, told in enumerate(json.loads(str(data["things"]))):
                    found = {name: data[f"{number}/{name}"] for name in told.pop("arrays")}
                    things.append(_thing(told, found))
                return cls(tuple(things), data["surroundings"])
        except (KeyError, TypeError, OSError, json.JSONDecodeError) as problem:
            raise ValueError(f"{path} holds no person to render: {problem}") from problem


def _thing(told: dict[str, Any], found: dict[str, np.ndarray]) -> Thing:
    def below(folder: str) -> dict[str, np.ndarray]:
        return {name.split("/", 1)[1]: array for name, array in found.items() if name.startswith(folder + "/")}

    patch = None
    if "vertices" in found:
        patch = Patch(found["vertices"], found["faces"], found["uvs"], below("attributes"))
    told["colour"] = tuple(told["colour"])
    told["window"] = tuple(told["window"]) if told["window"] else None
    return Thing(
        **told, patch=patch, points=found.get("points"), radius=found.get("radius"), textures=below("textures")
    )
