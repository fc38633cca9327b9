"""The frozen test protocol: which people a model learns from and is measured with, ``splits.json``."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

from synthetic_data.cameras import orbit_rig
from synthetic_data.config import DatasetConfig

_FROZEN = ("schema_version", "looks_version", "distributions_digest")
"""Fields of a set that decide who and what is seen."""


@functools.cache
def protocol() -> dict[str, Any]:
    """The content of ``splits.json``."""
    return json.loads(Path(__file__).with_name("splits.json").read_text(encoding="utf-8"))


def split(name: str) -> DatasetConfig:
    """The set of a split, e.g. ``"held-out"``.

    Raises:
        ValueError: there is no such split, or this package would draw other people or place other cameras than those
            that were frozen.
    """
    splits = protocol()["splits"]
    if name not in splits:
        raise ValueError(f"there is no split {name!r}, only {', '.join(splits)}")
    config = DatasetConfig(name=name, **splits[name])
    frozen = protocol()["frozen"]
    for field in _FROZEN:
        if frozen[field] is not None and frozen[field] != getattr(config, field):
            raise ValueError(f"this package has another {field.replace('_', ' ')} than the frozen protocol")
    return config


def measured_views() -> list[dict[str, float]]:
    """Azimuth and elevation in degrees of the held-out rig's cameras, as frozen."""
    return protocol()["cameras"]["views"]


def freeze() -> dict[str, Any]:
    """The protocol with the people and cameras that this package makes now; run once, before any training."""
    import numpy as np

    config = DatasetConfig()
    views = []
    for camera in orbit_rig(128, protocol()["splits"]["held-out"]["views"]):
        direction = camera.centre - np.array(protocol()["crop"]["target"])
        direction /= np.linalg.norm(direction)
        azimuth = float(np.degrees(np.arctan2(direction[0], -direction[1])))
        views.append({"azimuth": round(azimuth, 6), "elevation": round(float(np.degrees(np.arcsin(direction[2]))), 6)})
    data = json.loads(json.dumps(protocol()))
    data["cameras"]["views"] = views
    data["frozen"] = {key: dataclasses.asdict(config)[key] for key in _FROZEN}
    return data


if __name__ == "__main__":
    path = Path(__file__).with_name("splits.json")
    path.write_text(json.dumps(freeze(), indent=1) + "\n", encoding="utf-8")
