"""The plain avatar: one closed surface of the whole field, textured from field and portrait, rigged by transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.meshing.hidden import DepthMaps, visible_faces
from backend.meshing.levelset import compact, evaluate_grid, extract, face_components, taubin_smooth
from backend.meshing.mesh import Mesh, vertex_normals
from backend.meshing.rasterizer import interpolate, rasterize_uv
from backend.meshing.shells import decimate, unwrap
from backend.meshing.texture import View, facing, fill_outside, harmonic, sample_image, smoothstep, visibility
from backend.rigging.assemble import close_openings
from backend.rigging.avatar import Material, RiggedAvatar
from backend.rigging.carried import RigSource, carry_rig
from backend.template.engine import outer_faces

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int, UInt8

    from backend.body_model.base import BodyModel
    from backend.body_model.fitting import BodyFit
    from backend.meshing.observation import Observation
    from backend.radiance.triplane import TriPlane

    Occupancy = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]]

_SMOOTHING = 8
_SPARE = 0.999
"""Share of the triangles that decimation may leave; the rest is for its repair."""
_REPAIRS = 8
_FIELD_TEXTURE = 1024
"""Texels along each edge at which the field's colour is asked: finer than the texels of its planes."""
_BUST = -0.09
"""Height in metres below which the field may end anywhere."""
_MOUTH_COLOUR = np.array([0.26, 0.08, 0.08])
_DEEP = 0.004
"""The field is believed to this depth under the skin of the body, in metres."""
_RIPPLE = 0.008
"""Depth in metres by which the level set may hide itself."""
_OUTLINE = 0.002
"""Along the outline of the person this much, in metres, is not believed: those pixels mix with what lies behind."""


def build_plain(
    field: TriPlane,
    fit: BodyFit,
    observation: Observation,
    *,
    grid: int,
    face_budget: int,
    texture_size: int,
    progress: Callable[[float], None],
) -> RiggedAvatar:
    """Mesh, texture and rig the whole field as one part, ``"head"``.

    The surface is watertight: lips and lids of the portrait are one skin with what lies between them, so the keys
    stretch it there and open nothing.

    Args:
        field: in the pose of the portrait, expression included.
        grid: samples along each edge of the field's cube.
        face_budget: number of triangles at most.
        texture_size: texels along each edge.
        progress: called with the finished part, 0 to 1.

    Raises:
        MaquetteError: BAD_MESH when the field is empty.
    """
    model = fit.model
    posed = fit.posed()
    occupancy = _solid(_occupancy(field), body_depths(model, posed))
    vertices, faces = closed_surface(occupancy, field.half_size, grid, face_budget)
    progress(0.3)
    mesh = unwrap(vertices, faces)
    progress(0.5)
    texture = _bake(field, mesh, observation, texture_size)
    progress(0.8)
    carried = carry_rig(_source(fit, posed), vertices, faces)
    progress(1.0)
    part = carried.part("head", mesh, texture, Material(roughness=0.6))
    return RiggedAvatar([part], model.skeleton(fit.identity))


def body_depths(model: BodyModel, posed: Float[np.ndarray, "V 3"]) -> DepthMaps:
    """The body looked at from everywhere, with lids on the cuts that end it, lest one sees into it from below."""
    vertices, faces = posed, outer_faces(model)
    for loop in close_openings(posed, faces, below=-0.10):
        faces = np.concatenate([faces, _fan(loop, len(vertices))])
        vertices = np.concatenate([vertices, vertices[loop].mean(0, keepdims=True)])
    return DepthMaps.of(vertices, faces)


def _fan(loop: Int[np.ndarray, " n"], centre: int) -> Int[np.ndarray, "n 3"]:
    """Triangles that close a loop of border vertices around a vertex in its middle."""
    return np.stack([np.roll(loop, -1), loop, np.full(len(loop), centre)], 1)


def _source(fit: BodyFit, posed: Float[np.ndarray, "V 3"]) -> RigSource:
    """The rig of the fitted body in the pose of the portrait, on the faces that show."""
    model = fit.model
    faces = outer_faces(model)
    faces = faces[visible_faces(posed, faces)]
    is_eye = np.zeros(len(posed), bool)
    for side in ("left", "right"):
        is_eye[model.topology.faces[model.topology.parts[f"eye_{side}"]]] = True
    keys = model.arkit_offsets(fit.identity)
    return RigSource(
        posed, faces, keys, model.skin_weights, shift=posed - fit.neutral(), eye_faces=is_eye[faces].all(1)
    )


def closed_surface(
    occupancy: Occupancy,
    half_size: float,
    grid: int,
    face_budget: int,
) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """The largest closed surface where the occupancy is one half, without cavities and crumbs; watertight.

    Raises:
        MaquetteError: BAD_MESH when there is no surface.
    """
    values = evaluate_grid(occupancy, half_size, grid, 0.5)
    vertices, faces = extract(values, half_size, 0.5)
    if len(faces) == 0:
        sentence = "The radiance field is empty: choose another portrait or another engine."
        raise MaquetteError(ErrorCode.BAD_MESH, sentence, stage="mesh")
    # Crumbs and the walls of cavities are closed pieces of their own.
    label = face_components(faces, len(vertices))
    volumes = np.bincount(label, _signed_volumes(vertices, faces))
    vertices, faces = compact(vertices, faces[label == volumes.argmax()])
    vertices = taubin_smooth(vertices, faces, _SMOOTHING)
    return decimate_closed(vertices, faces, face_budget)


def decimate_closed(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], budget: int
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """About `budget` triangles at most of a watertight surface, watertight: every edge has exactly two triangles."""
    vertices, faces = decimate(vertices, faces, int(budget * _SPARE))
    for _ in range(_REPAIRS):
        pinched = pinched_vertices(faces)
        if len(pinched) == 0:
            break
        # Edge collapse can press a thin tunnel into an edge with four triangles: it is cut out, and both ends closed.
        faces = faces[~np.isin(faces, pinched).any(1)]
        for loop in close_openings(vertices, faces, below=np.inf):
            faces = np.concatenate([faces, _fan(loop, len(vertices))])
            vertices = np.concatenate([vertices, vertices[loop].mean(0, keepdims=True)])
    return compact(vertices, faces)


def pinched_vertices(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, " n"]:
    """Ends of the edges that do not have exactly two triangles; none on a watertight surface."""
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    links, count = np.unique(sides, axis=0, return_counts=True)
    return np.unique(links[count != 2])


def _signed_volumes(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, " F"]:
    """Volume between each triangle and the origin; the walls of a cavity sum to a negative number."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return (a * np.cross(b, c)).sum(1) / 6


def _solid(occupancy: Occupancy, body: DepthMaps) -> Occupancy:
    """Full deep inside of head and neck: no picture taught the field anything there, and its hollows would surface."""

    def solid(points: np.ndarray) -> np.ndarray:
        return np.where((points[:, 2] > _BUST) & (body.behind(points) > _DEEP), 1.0, occupancy(points))

    return solid


def _occupancy(field: TriPlane) -> Occupancy:
    import torch

    def occupancy(points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return field.occupancy(torch.from_numpy(np.asarray(points, np.float32))).numpy().astype(np.float64)

    return occupancy


def _bake(field: TriPlane, mesh: Mesh, observation: Observation, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """The field's colour, and the portrait over it where it saw the surface."""
    base = _field_colour(field, mesh, min(size, _FIELD_TEXTURE))
    if len(base) != size:
        base = cv2.resize(base, (size, size), interpolation=cv2.INTER_LINEAR)
    view = observation.view
    buffers = rasterize_uv(mesh.uvs, mesh.uv_faces, size)
    covered = buffers.face_index >= 0
    pixels = view.camera.project(interpolate(buffers, mesh.faces, mesh.vertices)[covered].astype(np.float64))
    seen = interpolate(buffers, mesh.faces, _seen(mesh, view)[:, None])[covered, 0]
    layers = np.concatenate([view.image, _clear_matte(mesh, observation)[..., None]], 2)
    shown = sample_image(layers, pixels)
    texture = base.copy()
    weight = (seen * shown[:, 3])[:, None]
    texture[covered] += (shown[:, :3] - base[covered]) * weight
    # One skin from lip to lip: teeth on it would be drawn out with every word, a dark line opens like a mouth.
    between = smoothstep(0.2, 0.8, sample_image(observation.mouth[..., None], pixels)) * seen[:, None] * shown[:, 3:]
    texture[covered] += (_MOUTH_COLOUR - texture[covered]) * between
    return (np.clip(fill_outside(texture, covered), 0, 1) * 255 + 0.5).astype(np.uint8)


def _seen(mesh: Mesh, view: View) -> Float[np.ndarray, " V"]:
    """How well the picture shows each vertex, 0 to 1.

    Judged on a smoother surface: a ripple of the level set must not hide itself from the picture it came from.
    """
    smooth = taubin_smooth(mesh.vertices, mesh.faces, 30)
    in_view = View(view.image, view.skin, view.camera, smooth)
    cosine = facing(view, smooth, vertex_normals(smooth, mesh.faces))
    seen = smoothstep(0.15, 0.45, cosine) * visibility(in_view, mesh.faces, smooth, _RIPPLE)
    strength = np.full(len(seen), 0.1)
    return np.minimum(seen, harmonic(mesh.faces, strength, 0.1 * seen[:, None], len(seen))[:, 0] * 1.2)


def _clear_matte(mesh: Mesh, observation: Observation) -> Float[np.ndarray, "H W"]:
    """The person without the outline, whose pixels mix with what lies behind."""
    camera = observation.view.camera
    depth = float(np.median(camera.to_camera(mesh.vertices)[:, 2]))
    outline = _OUTLINE * camera.intrinsics[0, 0] / depth
    matte = cv2.erode((observation.person * observation.known).astype(np.float32), _disc(1.5 * outline))
    return cv2.GaussianBlur(matte, (0, 0), outline / 2)


def _field_colour(field: TriPlane, mesh: Mesh, size: int) -> Float[np.ndarray, "S S 3"]:
    """The field's colour at the point of the surface that each texel shows; continued outside of the charts."""
    import torch

    buffers = rasterize_uv(mesh.uvs, mesh.uv_faces, size)
    covered = buffers.face_index >= 0
    points = interpolate(buffers, mesh.faces, mesh.vertices)[covered]
    colours = np.zeros((size, size, 3), np.float32)
    with torch.no_grad():
        parts = torch.from_numpy(points).split(1 << 18)
        colours[covered] = torch.cat([field.colour_and_density(part)[0] for part in parts]).numpy()
    return fill_outside(colours, covered)


def _disc(radius: float) -> np.ndarray:
    r = max(1, round(radius))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
