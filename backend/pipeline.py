"""The recipe: portrait, fit, field, mesh, texture, rig, files. Each stage knows only what it is given.

portrait ─► Portrait ─► BodyFit ─► TriPlane ─► shells and wrap ─► RiggedAvatar ─► avatar folder
words, or none ─► latent and body ► TriPlane
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend import engines
from backend.api import AvatarReport, AvatarRequest, ErrorCode, StageReport
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backend.body_model.base import BodyModel
    from backend.body_model.fitting import BodyFit
    from backend.meshing.observation import Observation
    from backend.portrait.portrait import Portrait
    from backend.radiance.triplane import TriPlane
    from backend.rigging.avatar import RiggedAvatar
    from backend.rodin.weights import Rodin
    from backend.template.engine import TemplateSettings

    Progress = Callable[[str, float], None]
    Show = Callable[[np.ndarray], None]


@dataclasses.dataclass(frozen=True)
class Quality:
    """What a quality level means: crop and texture sizes, field and grid sizes, steps of sampling, triangles.

    `sampling_steps` are those of the engine 'rodin', `view_steps` those of 'morphable'.
    """

    crop: int
    skin_texture: int
    shell_texture: int
    level_sizes: tuple[int, ...]
    field_points: int
    field_steps: int
    sampling_steps: int
    grid: int
    shell_faces: int
    turntable_frames: int
    view_steps: int = 20


QUALITY = {
    "draft": Quality(1024, 1024, 512, (32, 64), 160_000, 160, 1, 96, 12_000, 12, 10),
    "standard": Quality(1024, 2048, 1024, (32, 64, 128), 300_000, 300, 1, 128, 22_000, 24),
    "high": Quality(2048, 4096, 2048, (32, 64, 128), 500_000, 600, 1, 160, 25_000, 36, 50),
}
MAX_FACES = 40_000


class Stages:
    """Times the stages of a job and passes their progress on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.reports: list[StageReport] = []
        self._started: float | None = None
        self._name = ""

    def begin(self, name: str) -> None:
        """End the running stage and start another."""
        self.end()
        self._name, self._started = name, time.perf_counter()
        self._progress(name, 0.0)

    def advance(self, fraction: float) -> None:
        """Finished part of the running stage, 0 to 1."""
        self._progress(self._name, min(max(fraction, 0.0), 1.0))

    def end(self) -> None:
        """Close the running stage, if any."""
        if self._started is not None:
            self._progress(self._name, 1.0)
            seconds = time.perf_counter() - self._started
            self.reports.append(StageReport(self._name, round(seconds, 3), _peak_memory_mb()))
        self._started = None


def generate(
    request: AvatarRequest,
    out: Path,
    progress: Progress = lambda stage, fraction: None,
    show: Show = lambda picture: None,
) -> AvatarReport:
    """Make the avatar that `request` describes in the folder `out`.

    The folder appears whole at the end or not at all. `show` is given a picture of what is at hand, H×W×3 float32 sRGB,
    as soon as there is one: the portrait, cropped and upright. Raises `MaquetteError` for everything that a user can
    mend.
    """
    try:
        request.validate()
    except ValueError as error:
        raise MaquetteError(ErrorCode.BAD_REQUEST, str(error), stage="request") from None
    engines.require(request)
    from backend.export.folder import check_destination, write_avatar_folder

    check_destination(out)
    quality = QUALITY[request.quality]
    started = time.perf_counter()
    stages = Stages(progress)

    make = _from_portrait if request.portraits else _invented
    person = make(request, quality, stages, show)
    fit, observation, field = person.fit, person.observation, person.field

    stages.begin("mesh")
    if request.mesh == "levelset":
        from backend.rigging.plain import build_plain

        avatar = build_plain(
            field,
            fit,
            observation,
            grid=quality.grid,
            face_budget=MAX_FACES,
            texture_size=quality.skin_texture,
            progress=stages.advance,
        )
    else:
        learned = request.engine != "template"
        generator = np.random.default_rng(request.seed)
        avatar = _wrapped_avatar(field, fit, observation, quality, generator, stages, learned=learned)

    stages.begin("export")
    quality_figures = {**figures(avatar, fit, observation), "warnings": list(person.warnings)}
    reports: list[AvatarReport] = []

    def make_report() -> dict[str, Any]:
        stages.end()
        total = round(time.perf_counter() - started, 3)
        reports.append(AvatarReport(request, _versions(), total, tuple(stages.reports), quality_figures))
        return reports[0].to_json()

    write_avatar_folder(
        out,
        avatar,
        make_report=make_report,
        more_files={"triplane.safetensors": field.save},
        turntable_frames=quality.turntable_frames,
    )
    return reports[0]


def rig(mesh: Path, like: Path, out: Path, progress: Progress = lambda stage, fraction: None) -> dict[str, Any]:
    """Rig the head in the file `mesh` like the avatar in the folder `like`; returns what ``report.json`` holds.

    The folder `out` appears whole at the end or not at all. Raises `MaquetteError` for everything that a user can mend.
    """
    import shutil

    from backend.export.folder import check_destination, write_avatar_folder
    from backend.rigging.foreign import rig_mesh

    check_destination(out)
    started = time.perf_counter()
    stages = Stages(progress)
    stages.begin("rig")
    avatar = rig_mesh(mesh, like)
    stages.begin("export")
    report: dict[str, Any] = {"mesh": str(mesh), "like": str(like), "versions": _versions()}

    def make_report() -> dict[str, Any]:
        stages.end()
        report["total_seconds"] = round(time.perf_counter() - started, 3)
        report["stages"] = [dataclasses.asdict(stage) for stage in stages.reports]
        report["quality"] = {
            "faces": int(sum(len(part.mesh.faces) for part in avatar.parts)),
            "parts": [part.name for part in avatar.parts],
        }
        return report

    # The field stays that of the avatar, so that it can still be edited as one.
    field = (like if like.is_dir() else like.parent) / "triplane.safetensors"
    copies = {field.name: lambda path: shutil.copyfile(field, path)} if field.is_file() else {}
    write_avatar_folder(out, avatar, make_report=make_report, more_files=copies)
    return report


@dataclasses.dataclass(frozen=True)
class _Person:
    """What meshing needs of somebody: the body, what is seen of them, and their field."""

    fit: BodyFit
    observation: Observation
    field: TriPlane
    warnings: tuple[str, ...] = ()


def _from_portrait(request: AvatarRequest, quality: Quality, stages: Stages, show: Show) -> _Person:
    stages.begin("portrait")
    from backend.portrait.portrait import load_portraits

    portraits = load_portraits([Path(p) for p in request.portraits], size=quality.crop)
    portrait = portraits[0]
    show(portrait.image)

    stages.begin("fit")
    from backend.body_model.of_portrait import fit_portrait
    from backend.body_model.registry import load_body_model
    from backend.meshing.observation import observe

    fit = fit_portrait(load_body_model(request.body_model), portrait)
    observation = observe(portrait, fit)

    stages.begin("field")
    warnings = tuple(portrait.warnings)
    if request.engine != "rodin":
        if request.engine == "template":
            field = _template_field(fit, observation, quality, request.seed, stages.advance)
        else:
            field = _morphable_field(request, portrait, fit, observation, quality, stages.advance)
        if request.prompt.strip():
            sentence = f"The engine {request.engine!r} does not read prompts: choose 'rodin' to change people by words."
            warnings += (sentence,)
        return _Person(fit, observation, field, warnings)
    from backend.rodin.engine import edit_in_turn, generate_field, portrait_condition
    from backend.rodin.self_portrait import observe_edit

    edits = (request.prompt, *request.edits) if request.prompt.strip() else request.edits
    rodin, share = _rodin(fit.model), 0.5 if edits else 1.0
    field = generate_field(
        rodin,
        portrait,
        fit,
        request.seed,
        steps=quality.sampling_steps,
        likeness=not edits,
        progress=lambda part: stages.advance(share * part),
    )
    if edits:
        condition = portrait_condition(rodin, portrait, fit)
        before, field = (
            field,
            edit_in_turn(
                rodin, field, condition, edits, request.seed, lambda part: stages.advance(share + 0.35 * part)
            ),
        )
        observed: Callable[[float], None] = lambda part: stages.advance(0.85 + 0.15 * part)  # noqa: E731
        observation = observe_edit(before, field, fit, observation, observed)
    return _Person(fit, observation, field, warnings)


def _invented(request: AvatarRequest, quality: Quality, stages: Stages, show: Show) -> _Person:
    stages.begin("field")
    from backend.body_model.registry import load_body_model
    from backend.rodin.engine import edit_in_turn, generate_from_prompt, generate_unconditional, point_condition
    from backend.rodin.self_portrait import frontal_fit, observe_field

    model = load_body_model(request.body_model)
    rodin, share = _rodin(model), 0.35 if request.edits else 0.7
    made: Callable[[float], None] = lambda part: stages.advance(share * part)  # noqa: E731
    if request.anyone:
        invented = generate_unconditional(rodin, model, request.seed, progress=made)
    else:
        invented = generate_from_prompt(rodin, model, request.prompt, request.seed, progress=made)
    field = invented.field
    if request.edits:
        condition = point_condition(rodin, model, invented.latent, invented.identity)
        field = edit_in_turn(
            rodin, field, condition, request.edits, request.seed, lambda part: stages.advance(share + 0.35 * part)
        )
    fit = frontal_fit(model, invented.identity, quality.crop)
    observation = observe_field(field, fit, progress=lambda part: stages.advance(0.7 + 0.3 * part))
    show(observation.view.image)
    return _Person(fit, observation, field)


def _rodin(model: BodyModel) -> Rodin:
    from backend.rodin.weights import load_rodin
    from backend.weights.bundle import require

    return load_rodin(require("rodin"), model)


def _template_field(
    fit: BodyFit, observation: Observation, quality: Quality, seed: int, progress: Callable[[float], None]
) -> TriPlane:
    from backend.template.engine import fit_field

    return fit_field(fit.model, observation, _field_settings(quality), seed, progress)


def _morphable_field(
    request: AvatarRequest,
    portrait: Portrait,
    fit: BodyFit,
    observation: Observation,
    quality: Quality,
    progress: Callable[[float], None],
) -> TriPlane:
    from backend.body_model.expression_words import parse_expression
    from backend.morphable.field import generate_field
    from backend.morphable.weights import load_morphable
    from backend.weights.bundle import require

    return generate_field(
        load_morphable(require("morphable")),
        portrait,
        fit,
        observation,
        _field_settings(quality),
        request.seed,
        expression=parse_expression(request.expression) if request.expression else None,
        steps=quality.view_steps,
        device=request.device,
        progress=progress,
    )


def _field_settings(quality: Quality) -> TemplateSettings:
    from backend.template.engine import TemplateSettings

    return TemplateSettings(quality.field_points, quality.field_steps, quality.level_sizes)


def _wrapped_avatar(
    field: TriPlane,
    fit: BodyFit,
    observation: Observation,
    quality: Quality,
    generator: np.random.Generator,
    stages: Stages,
    *,
    learned: bool,
) -> RiggedAvatar:
    """`learned`: a network has made the field, so it knows colours all round, and faces worse than the body model."""
    from backend.meshing.bust import bust_inside, onto_cut
    from backend.meshing.shells import extract_shells, standing_off
    from backend.meshing.wrap import wrap_offsets
    from backend.radiance.matter import Matter
    from backend.rigging.wrapped import TextureSizes, beyond_border, build_wrapped, covered_by, shown_bare
    from backend.rodin.reconcile import Reconciled
    from backend.template.engine import outer_faces

    model, topology = fit.model, fit.model.topology
    matter = Matter(field)
    faces = outer_faces(model)
    posed = observation.view.vertices
    covers = Reconciled(matter, model, observation).covers if matter.tells else matter.covers
    shells = extract_shells(
        covers,
        observation,
        faces,
        topology.regions["face"],
        field.half_size,
        quality.grid,
        quality.shell_faces,
        matter.garment if matter.tells else None,
    )
    stages.advance(0.7)
    offsets = np.zeros_like(posed)
    if not learned:
        soft = np.clip(2 * sum(topology.regions[r] for r in ("eyelids", "lips", "mouth_interior", "ears")), 0, 1)
        offsets = wrap_offsets(matter.occupancy, posed, faces, 1 - soft)
    off = standing_off(covers, posed, faces)
    garment = [shell for shell in shells if shell.name == "garment"]
    deep = np.maximum(off > 0.006, covered_by(posed, garment, 0.02) * (model.template[:, 2] < -0.13))
    hidden = deep * (model.template[:, 2] < -0.12) * float(bool(garment)) * ~shown_bare(observation, faces)
    hidden = hidden * ~beyond_border(posed, garment, 0.012)
    cut = bust_inside(posed, field.half_size)
    offsets += onto_cut(posed + offsets, field.half_size)
    stages.begin("texture")
    sizes = TextureSizes(quality.skin_texture, quality.shell_texture)
    expected = matter.colour if learned else None
    return build_wrapped(fit, observation, shells, offsets, hidden, cut, sizes, generator, stages.advance, expected)


def figures(avatar: RiggedAvatar, fit: BodyFit, observation: Observation) -> dict[str, Any]:
    """Quality figures of the report. `face_psnr` compares the avatar, posed and seen as in the portrait, with it."""
    from backend.body_model.expressions import arkit_weights
    from backend.body_model.fitting import gaze_rotation
    from backend.meshing.renderer import render
    from backend.rigging.pose import pose_avatar

    expression = arkit_weights(fit.model, fit.identity, fit.expression)
    turned = {"LeftEye": gaze_rotation(fit.gaze[0]), "RightEye": gaze_rotation(fit.gaze[1])}
    posed = pose_avatar(avatar, expression, turned)
    drawn = render(avatar.parts, fit.camera, vertices=posed, supersample=1, lighting="unlit")[..., :3]
    error = ((drawn - observation.view.image)[observation.face] ** 2).mean()
    return {
        "face_psnr": round(float(-10 * np.log10(max(error, 1e-10))), 2),
        "faces": int(sum(len(part.mesh.faces) for part in avatar.parts)),
        "parts": [part.name for part in avatar.parts],
        "median_landmark_error": round(fit.median_landmark_error, 5),
    }


def _versions() -> dict[str, str]:
    from importlib import metadata

    names = ("maquette", "torch", "numpy", "mediapipe", "scikit-image")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _peak_memory_mb() -> float:
    """Largest resident memory of this process so far, megabytes."""
    import sys

    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
