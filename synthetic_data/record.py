"""One identity of a set as files: what a shard holds of it, and how they are rendered.

======================= ===============================================================================================
``identity.json``       who: `takes` (spec, caption, attributes), `views` (name, kind, take, camera, quality), `classes`
``labels.npz``          ``points`` (T, L, 3) landmarks in the head frame, metres; ``pixels`` (N, L, 2), centres at +0.5;
                        ``visible`` (N, L); N views in the order of `views`
``mesh.npz``            ``neutral`` (V, 3) float32, metres; ``offsets`` (T, V, 3) float16, what pose and expression add
``t0v00.rgba.png``      8 bits, sRGB, straight alpha; ``t`` counts takes, ``v`` views of the rig, ``p`` portraits
``t0v00.depth.png``     16 bits, planar depth in units of 0.1 mm, 0 where there is nothing
``t0v00.segmentation``  8 bits, classes
``t0v00.normal.png``    8 bits, world axes, (n + 1) / 2; black where there is nothing
``t0v00.uv.png``        16 bits, u and v in [0, 1]; the third channel is 0 where there are none
======================= ===============================================================================================
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.body_model.base import BodyModel
from backend.radiance.cameras import Camera
from synthetic_data.archive import encode_npz
from synthetic_data.cameras import orbit_rig, portrait_camera
from synthetic_data.config import DatasetConfig
from synthetic_data.identity import IdentitySpec, sample_identity, stream
from synthetic_data.png import encode_png
from synthetic_data.quality import QualityError, check_view, skull_points
from synthetic_data.shards import Record

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

DEPTH_UNIT = 1e-4
"""Metres per step of a depth picture."""


@dataclasses.dataclass(frozen=True)
class View:
    """A picture of an identity: `kind` is ``"view"`` (of the rig) or ``"portrait"``."""

    name: str
    kind: str
    take: int
    camera: Camera
    quality: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Matrices as nested lists, with all digits."""
        camera = self.camera
        return {
            "name": self.name,
            "kind": self.kind,
            "take": self.take,
            "width": camera.width,
            "height": camera.height,
            "intrinsics": camera.intrinsics.tolist(),
            "world_to_camera": camera.world_to_camera.tolist(),
            "quality": dict(self.quality),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> View:
        """Inverse of `to_json`."""
        matrices = np.array(data["world_to_camera"], float), np.array(data["intrinsics"], float)
        camera = Camera(*matrices, data["width"], data["height"])
        return cls(data["name"], data["kind"], data["take"], camera, data["quality"])


@dataclasses.dataclass(frozen=True)
class Group:
    """Views of one take that are rendered with one preset and so many samples."""

    views: Sequence[View]
    preset: str
    samples: int


def planned_views(config: DatasetConfig, index: int, take: int) -> list[View]:
    """The cameras of one take: the rig, the same for everybody, and portraits of the identity's own."""
    views = [View(f"t{take}v{n:02d}", "view", take, c) for n, c in enumerate(orbit_rig(config.size, config.views))]
    for number in range(config.portraits):
        rng = stream(config.seed, index, f"portrait camera/{take}/{number}")
        fov = float(rng.uniform(20, 25))
        camera = portrait_camera(
            config.size,
            azimuth_degrees=float(np.clip(rng.normal(0, 12), -30, 30)),
            elevation_degrees=float(np.clip(rng.normal(2, 5), -10, 12)),
            fov_degrees=fov,
            # The head fills about the same part of the picture at every focal length.
            distance=float(0.22 / np.tan(np.radians(fov) / 2)),
        )
        views.append(View(f"t{take}p{number:02d}", "portrait", take, camera))
    return views


def encode_view(name: str, pictures: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The files of one view, from the arrays of `render.render_identity`."""
    files = {}
    for kind, values in pictures.items():
        if kind == "rgba":
            pixels = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
        elif kind == "depth":
            pixels = np.rint(np.clip(values / DEPTH_UNIT, 0, 65535)).astype(np.uint16)
        elif kind == "normal":
            there = (values != 0).any(-1, keepdims=True)
            pixels = np.where(there, np.rint(255 * (np.clip(values, -1, 1) + 1) / 2), 0).astype(np.uint8)
        elif kind == "uv":
            there = np.isfinite(values[..., :2]).all(-1, keepdims=True) & (values[..., :2] != 0).any(-1, keepdims=True)
            known = np.clip(np.where(there, values[..., :2], 0), 0, 1)
            pixels = np.rint(65535 * np.concatenate([known, there], -1)).astype(np.uint16)
        elif kind == "segmentation":
            pixels = values.astype(np.uint8)
        else:
            raise ValueError(f"there is no pass {kind!r}")
        files[f"{name}.{kind}.png"] = encode_png(pixels)
    return files


def encode_identity(
    config: DatasetConfig,
    index: int,
    takes: Sequence[Mapping[str, Any]],
    views: Sequence[View],
    classes: Mapping[str, int],
) -> bytes:
    """``identity.json``; `takes` hold what is said of each expression."""
    data = {
        "seed": config.seed,
        "index": index,
        "takes": [dict(take) for take in takes],
        "views": [view.to_json() for view in views],
        "classes": dict(classes),
        "depth_unit": DEPTH_UNIT,
    }
    return json.dumps(data, sort_keys=True).encode()


def encode_labels(
    points: Float[np.ndarray, "T L 3"], pixels: Float[np.ndarray, "N L 2"], visible: Bool[np.ndarray, "N L"]
) -> bytes:
    """``labels.npz``."""
    return encode_npz(
        {"points": points.astype(np.float32), "pixels": pixels.astype(np.float32), "visible": visible.astype(bool)}
    )


def render_anny(
    config: DatasetConfig, index: int, threads: int, *, blender: str | None = None, device: str = "CPU"
) -> Record:
    """`render_record` with the packaged body model: the renderer of the farm."""
    from backend.body_model.anny import load_anny

    return render_record(config, index, load_anny(), threads=threads, blender=blender, device=device)


def render_record(
    config: DatasetConfig,
    index: int,
    model: BodyModel,
    *,
    threads: int | None = None,
    blender: str | None = None,
    device: str = "CPU",
) -> Record:
    """All files of one identity.

    `blender` is the executable of an installed Blender to use instead of the bpy module, `device` one of
    `person.DEVICES`; neither is part of the set's description, though only the CPU of one version renders the same bits
    everywhere.

    Raises:
        QualityError: a view is not what was asked for.
        RuntimeError: the installed Blender failed.
    """
    from synthetic_data.captions import attributes, caption
    from synthetic_data.labels import landmark_points, see
    from synthetic_data.person import SEGMENTS
    from synthetic_data.posing import posed_vertices

    started, rendering = time.monotonic(), 0.0
    views: list[View] = []
    takes, posed, points, pixels, visible = [], [], [], [], []
    files: dict[str, bytes] = {}
    neutral: np.ndarray = np.zeros(0)
    for take in range(config.takes):
        spec = sample_identity(model, config.seed, index, take=take)
        takes.append({"spec": json.loads(spec.to_json()), "caption": caption(spec), "attributes": attributes(spec)})
        neutral, vertices = model.neutral(np.array(spec.identity)), posed_vertices(spec, model)
        posed.append(vertices)
        skull = skull_points(model.template, vertices)
        points.append(landmark_points(model, vertices, _irises(spec, model, vertices)))
        normals = _normals_at(points[-1], model, vertices)
        planned = planned_views(config, index, take)
        groups = [
            Group([view for view in planned if view.kind == kind], preset, samples)
            for kind, preset, samples in (
                ("view", config.preset, config.samples),
                ("portrait", "portrait", config.portrait_samples),
            )
        ]
        groups = [group for group in groups if group.views]
        clock = time.monotonic()
        settings = {"passes": config.passes, "threads": threads, "device": device}
        pictures = _pictures(spec, groups, model, blender, settings)
        rendering += time.monotonic() - clock
        for view, shown in zip([view for group in groups for view in group.views], pictures, strict=True):
            figures, wrong = check_view(shown, view.camera, skull, SEGMENTS)
            if wrong:
                raise QualityError(f"{view.name}: {'; '.join(wrong)}")
            seen = see(points[-1], normals, view.camera, shown["depth"])
            views.append(dataclasses.replace(view, quality=figures))
            pixels.append(seen.pixels)
            visible.append(seen.visible)
            files |= encode_view(view.name, {kind: shown[kind] for kind in config.passes})
    members = {
        "identity.json": encode_identity(config, index, takes, views, SEGMENTS),
        "labels.npz": encode_labels(np.stack(points), np.stack(pixels), np.stack(visible)),
        "mesh.npz": encode_npz(
            {"neutral": neutral.astype(np.float32), "offsets": (np.stack(posed) - neutral).astype(np.float16)}
        ),
    }
    seconds = {"render": round(rendering, 3), "rest": round(time.monotonic() - started - rendering, 3)}
    return Record(members | files, seconds)


def _pictures(
    spec: IdentitySpec, groups: Sequence[Group], model: BodyModel, blender: str | None, settings: dict[str, Any]
) -> list[dict[str, np.ndarray]]:
    """Views of all groups in their order, from the bpy module or from an installed Blender.

    Groups whose presets differ in finishes and light alone share one assembled person, and in the module one scene.
    """
    from synthetic_data.assemble import assemble, dressed, same_geometry
    from synthetic_data.installed import render_in_blender

    pixels = max(view.camera.width for group in groups for view in group.views)
    person, before, pictures = None, "", []
    for group in groups:
        shared = person is not None and same_geometry(before, group.preset, pixels)
        if person is None or not shared:
            person = assemble(spec, model, group.preset, pixels=pixels)
        else:
            person = dressed(person, spec, group.preset, pixels)
        before, cameras = group.preset, [view.camera for view in group.views]
        options = {"preset": group.preset, "samples": group.samples, **settings}
        if blender is not None:
            pictures += render_in_blender(blender, [person], [cameras], **options)[0]
            continue
        with _seeing_cores(settings["threads"]):
            from synthetic_data.render import render_scene
            from synthetic_data.scene import build_scene, dress_scene
        (dress_scene if shared else build_scene)(person)
        pictures += render_scene(cameras, **options)
    return pictures


@contextlib.contextmanager
def _seeing_cores(count: int | None) -> Iterator[None]:
    """Bind this process to `count` cores while Blender is loaded.

    Blender's pool of tasks starts a thread for each core it sees, and one that it may not use later waits by spinning.
    """
    if count is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _irises(spec: IdentitySpec, model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "2 3"]:
    """Where the gaze leaves the left and the right eyeball."""
    yaw, pitch = spec.gaze
    towards = np.array([np.sin(yaw) * np.cos(pitch), -np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    return np.stack([sphere.centre + sphere.radius * towards for sphere in model.eye_spheres(vertices)])


def _normals_at(
    points: Float[np.ndarray, "L 3"], model: BodyModel, vertices: Float[np.ndarray, "V 3"]
) -> Float[np.ndarray, "L 3"]:
    """Outward unit normals of the surface at landmarks."""
    from scipy.spatial import KDTree

    faces = model.topology.faces[model.topology.parts["skin"]]
    across = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], across)
    skin = np.unique(faces)
    _, nearest = KDTree(vertices[skin]).query(points)
    found = normals[skin[nearest]]
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
