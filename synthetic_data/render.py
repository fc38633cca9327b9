"""Cycles views of an identity with exact labels."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np
from mathutils import Matrix

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.radiance.cameras import Camera
from synthetic_data.exr import read_channels
from synthetic_data.person import DEVICES, SEGMENTS
from synthetic_data.scene import build_scene

if TYPE_CHECKING:
    from jaxtyping import Float

    from backend.body_model.base import BodyModel
    from synthetic_data.identity import IdentitySpec

PASSES = ("rgba", "depth", "normal", "segmentation", "uv", "position")


@dataclasses.dataclass(frozen=True)
class Quality:
    """What a preset asks of Cycles: samples per pixel, and bounces of light."""

    samples: int
    bounces: int


PRESETS = {"fit": Quality(8, 3), "portrait": Quality(24, 4), "show": Quality(96, 6)}
"""``"fit"`` is cheap and evenly lit, ``"portrait"`` like a photograph, ``"show"`` for pictures to look at."""
_SENSOR_MM = 36.0
_FAR = 1e6
"""Metres; Cycles writes a larger depth where a ray meets nothing."""


def render_identity(
    spec: IdentitySpec,
    cameras: Sequence[Camera],
    *,
    model: BodyModel,
    preset: str = "portrait",
    samples: int | None = None,
    passes: Sequence[str] = PASSES[:4],
    threads: int | None = None,
    device: str = "CPU",
) -> list[dict[str, np.ndarray]]:
    """Build the person once and render it through every camera.

    Args:
        spec: who, in which expression and light.
        cameras: square pixels (fx = fy); the size of a picture is the camera's own.
        model: the body model that `spec.model` names.
        preset: one of `PRESETS`.
        samples: Cycles samples per pixel before denoising, instead of the preset's.
        passes: any of `PASSES`.
        threads: of the renderer; all cores this process may use by default.
        device: one of `person.DEVICES`; only the CPU renders the same bits everywhere.

    Returns:
        One dict per camera. ``rgba`` (H, W, 4) float32, sRGB, straight alpha, no background; ``depth`` (H, W) float32,
        planar z of the camera in metres at the pixel centre, 0 where there is nothing; ``normal`` (H, W, 3) float32 in
        world axes; ``segmentation`` (H, W) uint8, see `person.SEGMENTS`; ``uv`` (H, W, 2) float32, texture coordinates
        of the skin (v up), 0 elsewhere; ``position`` (H, W, 3) float32 in the head frame, metres. All but ``rgba`` are
        those of the first surface at the pixel's centre and are not antialiased.
    """
    _known("pass", passes, PASSES)
    _known("preset", [preset], tuple(PRESETS))
    from synthetic_data.assemble import assemble

    pixels = max(max(camera.width, camera.height) for camera in cameras)
    build_scene(assemble(spec, model, preset, pixels=pixels))
    return render_scene(cameras, preset=preset, samples=samples, passes=passes, threads=threads, device=device)


def _known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"there is no {what} {name!r}: choose from {', '.join(known)}")


def render_scene(
    cameras: Sequence[Camera],
    *,
    preset: str = "portrait",
    samples: int | None = None,
    passes: Sequence[str] = PASSES[:4],
    threads: int | None = None,
    device: str = "CPU",
) -> list[dict[str, np.ndarray]]:
    """Render the current Blender scene, see `render_identity`."""
    _settings(PRESETS[preset], samples, passes, threads or available_cores())
    _use_device(device)
    shot = _add_camera()
    views = []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder, _silence():
        path = Path(folder) / "view.exr"
        for camera in cameras:
            place_camera(shot, camera)
            bpy.context.scene.render.filepath = str(path)
            bpy.ops.render.render(write_still=True)
            views.append(_collect(read_exr(path), passes))
    return views


def _use_device(device: str) -> None:
    """Render on a graphics card. Raises MaquetteError when Blender finds none of that kind."""
    _known("device", [device], DEVICES)
    cycles = bpy.context.scene.cycles
    cycles.device = "CPU" if device == "CPU" else "GPU"
    if device == "CPU":
        return
    preferences = bpy.context.preferences.addons["cycles"].preferences
    try:
        preferences.compute_device_type = device
    except TypeError:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST, f"This Blender cannot render with {device}.", stage="dataset"
        ) from None
    preferences.refresh_devices()
    found = [card for card in preferences.devices if card.type == device]
    if not found:
        sentence = f"No {device} device was found: render on the CPU, or check the driver."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="dataset")
    for card in preferences.devices:
        card.use = card in found


def available_cores() -> int:
    """Cores that this process may use."""
    # The processes of a cluster are often bound to a few of a machine's cores.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def place_camera(shot: Any, camera: Camera) -> None:
    """Give a Blender camera object the pose, lens and picture size of `camera`."""
    fx, fy = camera.intrinsics[0, 0], camera.intrinsics[1, 1]
    if abs(fx - fy) > 1e-6 * fx:
        raise ValueError("only square pixels can be rendered")
    shot.matrix_world = Matrix(camera.to_blender_matrix().tolist())
    shot.data.sensor_fit, shot.data.sensor_width = "HORIZONTAL", _SENSOR_MM
    shot.data.lens = fx * _SENSOR_MM / camera.width
    shot.data.shift_x = (camera.width / 2 - camera.intrinsics[0, 2]) / camera.width
    shot.data.shift_y = (camera.intrinsics[1, 2] - camera.height / 2) / camera.width
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = camera.width, camera.height


def _add_camera() -> Any:
    data = bpy.data.cameras.new("camera")
    data.clip_start, data.clip_end = 0.02, 20
    shot = bpy.data.objects.new("camera", data)
    bpy.context.scene.collection.objects.link(shot)
    bpy.context.scene.camera = shot
    return shot


def _settings(quality: Quality, samples: int | None, passes: Sequence[str], threads: int) -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.samples, cycles.seed = samples or quality.samples, 0
    cycles.use_adaptive_sampling = False
    cycles.use_denoising, cycles.denoiser, cycles.denoising_use_gpu = "rgba" in passes, "OPENIMAGEDENOISE", False
    cycles.denoising_prefilter, cycles.denoising_quality = "FAST", "BALANCED"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = quality.bounces, 2, 2
    cycles.transmission_bounces, cycles.transparent_max_bounces = 3, 8
    cycles.sample_clamp_indirect, cycles.blur_glossy = 4, 1
    cycles.caustics_reflective = cycles.caustics_refractive = False
    scene.cycles_curves.shape, scene.cycles_curves.subdivisions = "RIBBONS", 2
    if scene.world is not None:
        # Cycles makes its map of where light comes from anew for every view, by default much finer than our light is.
        scene.world.cycles.sampling_method, scene.world.cycles.sample_map_resolution = "MANUAL", 256
    render = scene.render
    render.film_transparent, render.use_persistent_data = True, True
    render.resolution_percentage = 100
    render.threads_mode, render.threads = "FIXED", threads
    render.use_compositing = render.use_sequencer = False
    layer = bpy.context.view_layer
    layer.use_pass_z, layer.use_pass_normal = "depth" in passes, "normal" in passes
    layer.use_pass_object_index = "segmentation" in passes or "uv" in passes
    layer.use_pass_uv, layer.use_pass_position = "uv" in passes, "position" in passes
    image = render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "MULTI_LAYER_IMAGE"  # Blender 5 refuses the format before this
    image.file_format, image.color_depth, image.exr_codec = "OPEN_EXR_MULTILAYER", "32", "ZIP"


def read_exr(path: Path) -> dict[str, Float[np.ndarray, "H W"]]:
    """All channels by name, without the view layer's, named as Blender 5 does."""
    channels = {name.split(".", 1)[1]: pixels for name, pixels in read_channels(path).items() if "." in name}
    return {name.replace("IndexOB.", "Object Index."): pixels for name, pixels in channels.items()}


def _collect(channels: dict[str, np.ndarray], passes: Sequence[str]) -> dict[str, np.ndarray]:
    view = {}
    if "rgba" in passes:
        alpha = np.clip(channels["Combined.A"], 0, 1)[..., None]
        premultiplied = np.stack([channels[f"Combined.{c}"] for c in "RGB"], -1)
        linear = premultiplied / np.maximum(alpha, 1e-4)
        view["rgba"] = np.concatenate([encode_srgb(soft_shoulder(linear)), alpha], -1).astype(np.float32)
    if "depth" in passes:
        depth = channels["Depth.Z"]
        view["depth"] = np.where(depth < _FAR, depth, 0).astype(np.float32)
    if "normal" in passes:
        view["normal"] = np.stack([channels[f"Normal.{c}"] for c in "XYZ"], -1).astype(np.float32)
    if "segmentation" in passes:
        view["segmentation"] = np.rint(channels["Object Index.X"]).astype(np.uint8)
    if "uv" in passes:
        on_skin = np.rint(channels["Object Index.X"]) == SEGMENTS["skin"]
        uv = np.stack([_channel(channels, "UV", axis) for axis in ("UX", "VY")], -1)
        view["uv"] = np.where(on_skin[..., None], uv, 0).astype(np.float32)
    if "position" in passes:
        view["position"] = np.stack([channels[f"Position.{c}"] for c in "XYZ"], -1).astype(np.float32)
    return view


def _channel(channels: dict[str, np.ndarray], name: str, letters: str) -> np.ndarray:
    """A channel that versions of Blender end with another letter."""
    return next(channels[f"{name}.{letter}"] for letter in letters if f"{name}.{letter}" in channels)


def soft_shoulder(linear: Float[np.ndarray, "*n"], knee: float = 0.7) -> Float[np.ndarray, "*n"]:
    """Leaves values below `knee` alone and bends brighter ones towards 1."""
    linear = np.maximum(linear, 0)
    return np.where(linear > knee, knee + (1 - knee) * np.tanh((linear - knee) / (1 - knee)), linear)


def encode_srgb(linear: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear to sRGB, both in [0, 1]."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Blender prints a line per sample; Python's own output still works afterwards."""
    sys.stdout.flush()
    saved = os.dup(1)
    with Path(os.devnull).open("w") as sink:
        os.dup2(sink.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(saved, 1)
            os.close(saved)
