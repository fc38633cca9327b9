"""A renderer that draws a ball in no time: the machinery around it is what the tests are about."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path

import numpy as np

from backend.body_model.anny import load_anny
from backend.radiance.cameras import Camera
from synthetic_data.archive import encode_npz
from synthetic_data.config import DatasetConfig
from synthetic_data.pack import write_pack
from synthetic_data.record import encode_identity, encode_labels, encode_view, planned_views
from synthetic_data.shards import Record, open_folder, render_shard

RADIUS = 0.15


def config(**changes: object) -> DatasetConfig:
    """Eleven identities in four shards, the last of them shorter."""
    values = {"count": 11, "size": 24, "views": 2, "portraits": 1, "identities_per_shard": 3, "name": "balls"}
    return DatasetConfig(**{**values, **changes})  # type: ignore[arg-type]


def draw(camera: Camera, index: int, centre: tuple[float, float, float] = (0, 0, 0)) -> dict[str, np.ndarray]:
    """A ball, coloured by where its surface is and by the index."""
    origin, directions = camera.rays()
    towards = origin - np.array(centre)
    a, b = (directions**2).sum(-1), directions @ towards
    root = b**2 - a * (towards @ towards - RADIUS**2)
    hit = root > 0
    depth = np.where(hit, (-b - np.sqrt(np.maximum(root, 0))) / a, 0).astype(np.float32)
    points = origin + directions * depth[..., None]
    normal = np.where(hit[..., None], (points - centre) / RADIUS, 0).astype(np.float32)
    shade = np.random.default_rng(index).uniform(0.3, 1, 3) * (0.5 + 0.4 * normal)
    rgba = np.concatenate([np.where(hit[..., None], shade, 0), hit[..., None]], -1).astype(np.float32)
    uv = np.where(hit[..., None], normal[..., :2] / 2 + 0.5, np.nan).astype(np.float32)
    return {"rgba": rgba, "depth": depth, "normal": normal, "segmentation": hit.astype(np.uint8), "uv": uv}


@functools.lru_cache
def _body() -> dict[str, object]:
    """The mean head, looking straight ahead."""
    model = load_anny()
    return {
        "identity": [parameter.mean for parameter in model.identity_parameters],
        "expression": [0.0] * len(model.expression_parameters),
    }


def render(config: DatasetConfig, index: int, threads: int) -> Record:
    """An identity of balls."""
    members, views = {}, []
    points = np.array([[0, -RADIUS, 0], [0, 0, RADIUS]])
    for take in range(config.takes):
        for view in planned_views(config, index, take):
            shown = draw(view.camera, index + 1000 * take)
            members |= encode_view(view.name, {key: shown[key] for key in config.passes})
            views.append(view)
    spec = {"seed": config.seed, "index": index, **_body()}
    said = {
        "spec": spec,
        "caption": f"ball {index}",
        "attributes": {"odd": index % 2, "sex": ("female", "male")[index % 2]},
    }
    vertices = np.random.default_rng(index).normal(size=(50, 3)).astype(np.float32)
    first = {
        "identity.json": encode_identity(config, index, [said] * config.takes, views, {"skin": 1}),
        "labels.npz": encode_labels(
            np.stack([points] * config.takes),
            np.stack([view.camera.project(points) for view in views]),
            np.tile([True, False], (len(views), 1)),
        ),
        "mesh.npz": encode_npz({"neutral": vertices, "offsets": np.zeros((config.takes, 50, 3), np.float16)}),
    }
    return Record(first | members)


def pack(folder: Path, **changes: object) -> Path:
    """A set of balls, rendered into `folder` and packed: as trainers read people."""
    made = config(**changes)
    open_folder(folder, made)
    for shard in range(made.shards):
        render_shard(made, shard, folder, render)
    write_pack(folder, folder / "pack")
    return folder / "pack"


def slow(config: DatasetConfig, index: int, threads: int) -> Record:
    """The same, at a pace at which a killer can aim."""
    time.sleep(0.03)
    return render(config, index, threads)


def faulty(config: DatasetConfig, index: int, threads: int) -> Record:
    """Identity 4 always fails."""
    if index == 4:
        raise ValueError("the head is outside the frame")
    return render(config, index, threads)


def mine(config: DatasetConfig, index: int, threads: int) -> Record:
    """Identity 4 always ends its process."""
    if index == 4:
        os.abort()
    return render(config, index, threads)


def shot_once(config: DatasetConfig, index: int, threads: int) -> Record:
    """The first process that comes to identity 4 is killed; `MAQUETTE_TEST_MARK` names the file that tells."""
    mark = Path(os.environ["MAQUETTE_TEST_MARK"])
    if index == 4 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return render(config, index, threads)
