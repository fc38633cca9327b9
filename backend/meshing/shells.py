"""What the body model lacks, as separate closed meshes: hair, headwear and garment, from the field's level set."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from backend.meshing.bust import bust_inside
from backend.meshing.distance import SurfaceSamples
from backend.meshing.levelset import compact, evaluate_grid, extract, face_components, taubin_smooth
from backend.meshing.mesh import Mesh, vertex_normals
from backend.meshing.texture import harmonic, smoothstep

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, Int

    from backend.meshing.observation import Observation

    Occupancy = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]]
    """Of points in metres."""

# A shell starts this far outside bare skin, and this far below skin that it covers, so that nothing shines through.
_BARE_MARGIN, _COVERED_INSET = 0.004, 0.003
_COVER_THICKNESS = 0.0035
# Beyond its border a shell goes on this far as a skirt of this height, for the texture to cut the border out of.
_SKIRT, _SKIRT_HEIGHT = 0.008, 0.0025
# Between these heights over bare skin a shell goes from skirt to something that hangs there.
_LYING, _HANGING = 0.004, 0.007
_BORDER = 0.3  # strength of each vertex's say in where the border runs: less makes it smoother
_REACHES = 0.2  # where of the smoothed layer the border is: layers run out thinner than what counts as one
_SPECK, _HOLE = 0.004, 0.0015  # square metres: smaller patches of a layer, and bare ones inside it, are none
_RIM = 0.005  # metres from the cut that ends the bust, where a shell is whole
_SOLID_BELOW, _FAR = -0.125, 0.1
_SMALLEST_SHARE = 0.03
_HAIR_GROWS, _CLOTH_HANGS = -0.04, -0.12  # above the one height and below the other, metres


@dataclasses.dataclass
class Shell:
    """`name` is ``"hair"`` or ``"garment"``; `vertices` (metres) and `faces` are in the pose of the portrait.

    `inside` says in [0, 1] how far vertices lie inside the border on the skin, which runs where it is one half.
    """

    name: str
    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    inside: Float[np.ndarray, " V"]


def standing_off(
    occupancy: Occupancy, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], reach: float = 0.03
) -> Float[np.ndarray, " V"]:
    """How far along its normal each skin vertex is covered by matter of the field, metres (0 where bare)."""
    used = np.unique(faces)
    normals = vertex_normals(vertices, faces)[used]
    steps = np.linspace(0.002, reach, 15)
    points = vertices[used, None] + steps[:, None] * normals[:, None]
    filled = occupancy(points.reshape(-1, 3)).reshape(len(used), -1) > 0.5
    covered = np.zeros(len(vertices))
    covered[used] = np.where(filled.all(1), reach, steps[np.argmin(filled, 1)] * filled[:, 0])
    return covered


def extract_shells(
    occupancy: Occupancy,
    observation: Observation,
    outer_faces: Int[np.ndarray, "F 3"],
    face_region: Float[np.ndarray, " V"],
    half_size: float,
    resolution: int,
    face_budget: int,
    is_garment: Occupancy | None = None,
) -> list[Shell]:
    """Hair and garment shells of a field around the body posed as in `observation`.

    Args:
        outer_faces: closed outer surface of the body (skin without the lining of the mouth, with the eyeballs).
        face_region: soft mask of the face, where a layer needs to stand off clearly to be believed.
        resolution: level-set grid along each edge of the cube.
        face_budget: number of triangles that all shells together may have.
        is_garment: how sure the field is that matter is garment and not hair, in [0, 1]; without it the height decides
            where the picture shows nothing.
    """
    vertices = observation.view.vertices
    samples = SurfaceSamples.spread(vertices, outer_faces, 0.005)
    off = standing_off(occupancy, vertices, outer_faces)
    needed = _COVER_THICKNESS * (1 + 0.25 * face_region)
    layer = _without_specks(vertices, outer_faces, off > needed)
    # The field ends where the bust is cut, but what it wears does not.
    say = _BORDER * (bust_inside(vertices, half_size) > _RIM)
    level = harmonic(outer_faces, say, (say * layer)[:, None], len(off))[:, 0]
    covered = np.minimum(samples.at_samples(level) / (2 * _REACHES), 1.0)
    skirt = _skirt(samples, covered)
    # Under a garment the skin is left out, so the shell there is solid down to the cut that ends the bust.
    inset = samples.at_samples(np.where(vertices[:, 2] < _SOLID_BELOW, _FAR, _COVERED_INSET))
    solid = np.maximum(smoothstep(0.4, 0.6, covered), skirt)
    margin = _BARE_MARGIN * (1 - solid) - inset * solid

    def shell_field(points: np.ndarray) -> np.ndarray:
        # Occupancy 0.5 +- 0.5 as a length, so that both terms have comparable slopes at the level set.
        matter = np.clip(occupancy(points) - 0.5, -0.5, 0.5) * 0.012
        distance, nearest = samples.query(points, limit=_FAR)
        free, found = np.full(len(points), _FAR), nearest >= 0
        distance, nearest = distance[found], nearest[found]
        free[found] = distance - margin[nearest]
        skirted = (_SKIRT_HEIGHT + _BARE_MARGIN) * skirt[nearest] - _BARE_MARGIN - distance
        matter[found] = np.maximum(matter[found], np.minimum(skirted, bust_inside(points[found], half_size)))
        return np.minimum(matter, free)

    values = evaluate_grid(shell_field, half_size, resolution, 0.0)
    mesh_vertices, faces = extract(values, half_size, 0.0)
    if len(faces) == 0:
        return []
    faces = _keep_large(mesh_vertices, faces)
    mesh_vertices, faces = compact(mesh_vertices, faces)
    mesh_vertices = taubin_smooth(mesh_vertices, faces, 6)
    mesh_vertices = taper_edges(mesh_vertices, samples, covered < 0.5)
    mesh_vertices, faces = decimate(mesh_vertices, faces, face_budget)
    distance, nearest = samples.query(mesh_vertices)
    inside = np.maximum(covered[nearest], smoothstep(_LYING, _HANGING, distance))
    inside = np.maximum(inside, smoothstep(2 * _RIM, _RIM, bust_inside(mesh_vertices, half_size)))
    garment = _is_garment(mesh_vertices, faces, observation, is_garment)
    shells = []
    for name, chosen in (("hair", ~garment), ("garment", garment)):
        part = faces[chosen]
        if len(part) == 0:
            continue
        part = part[_large_pieces(mesh_vertices, part, _SMALLEST_SHARE)]
        part = part[_showing(part, inside)]
        if len(part) >= 60:
            used = np.unique(part)
            shells.append(Shell(name, *compact(mesh_vertices, part), inside[used]))
    return shells


def _without_specks(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], layer: Bool[np.ndarray, " V"]
) -> Bool[np.ndarray, " V"]:
    """`layer` without small patches, which are folds of the skin, and without small bare patches inside it, where it is
    thinner than it is believed to be."""
    tidy = layer.copy()
    for kind, least in ((True, _SPECK), (False, _HOLE)):
        patch = faces[(tidy == kind)[faces].any(1)]
        label = face_components(patch, len(vertices))
        small = np.bincount(label, _area(vertices, patch)) < least
        if not kind:  # eyeballs are small and bare, but nothing is around them
            small &= np.bincount(label, tidy[patch].any(1)) > 0
        tidy[patch[small[label]]] = not kind
    return tidy


def _skirt(samples: SurfaceSamples, covered: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Where, in [0, 1], a shell lies on the samples or would go on a little further."""
    layer = covered > 0.5
    if not layer.any():
        return np.zeros(len(covered))
    away = KDTree(samples.points[layer]).query(samples.points, distance_upper_bound=2 * _SKIRT)[0]
    return smoothstep(_SKIRT, 0.6 * _SKIRT, np.minimum(away, 2 * _SKIRT))


def taper_edges(
    shell: Float[np.ndarray, "n 3"], samples: SurfaceSamples, bare: Bool[np.ndarray, " m"], width: float = 0.014
) -> Float[np.ndarray, "n 3"]:
    """Let a shell run out flat towards bare skin over `width` metres, so that a hairline is no step.

    `bare` marks the samples of the body that no shell covers. Vertices far off the body are left where they are.
    """
    if not bare.any():
        return shell
    to_bare = KDTree(samples.points[bare]).query(shell, distance_upper_bound=2 * width)[0]
    distance, nearest = samples.query(shell, limit=0.02)
    near = (nearest >= 0) & (distance > 0)
    lowered = (1 - smoothstep(0.3 * width, width, np.minimum(to_bare, width))) * smoothstep(
        0.02, 0.010, np.abs(distance)
    )
    result = shell.copy()
    down = samples.normals[nearest[near]] * (distance[near] * 0.8 * lowered[near])[:, None]
    result[near] -= down
    return result


def _area(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def _large_pieces(vertices: np.ndarray, faces: np.ndarray, share: float) -> Bool[np.ndarray, " F"]:
    """Faces of connected pieces with at least `share` of the largest piece's area."""
    label = face_components(faces, len(vertices))
    areas = np.bincount(label, _area(vertices, faces))
    return areas[label] >= share * areas.max()


def _showing(faces: np.ndarray, inside: Float[np.ndarray, " V"]) -> Bool[np.ndarray, " F"]:
    """Faces of connected pieces of which a fifth or more lies inside the border: of others little but skirt is left."""
    label = face_components(faces, len(inside))
    return np.bincount(label, (inside[faces] > 0.5).all(1))[label] >= 0.2 * np.bincount(label)[label]


def _keep_large(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return faces[_large_pieces(vertices, faces, _SMALLEST_SHARE)]


def decimate(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], target: int
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """At most about `target` triangles by quadric edge collapse."""
    if len(faces) <= target:
        return vertices, faces
    import fast_simplification

    reduced, reduced_faces = fast_simplification.simplify(
        vertices.astype(np.float32),  # pyright: ignore[reportArgumentType] (its annotation leaves float32 out)
        faces.astype(np.int32),
        target_count=target,
        agg=3,
    )[:2]
    return compact(reduced.astype(np.float64), reduced_faces.astype(np.int64))


def _is_garment(
    vertices: np.ndarray, faces: np.ndarray, observation: Observation, told: Occupancy | None
) -> Bool[np.ndarray, " F"]:
    """Which triangles are garment rather than hair: what the picture says, carried on over what it does not show."""
    from backend.meshing.texture import View, facing, sample_image, visibility

    view = observation.view
    shell_view = View(view.image, view.skin, view.camera, vertices)
    seen = visibility(shell_view, faces, vertices) * smoothstep(
        0.0, 0.3, facing(view, vertices, vertex_normals(vertices, faces))
    )
    pixels = view.camera.project(vertices)
    hair = sample_image(observation.hair[..., None], pixels)[:, 0]
    garment = sample_image(observation.garment[..., None], pixels)[:, 0]
    seen = seen * np.clip(hair + garment, 0, 1)
    # Where nothing is seen: what the field says, or else hair above the chin and garment below the collar.
    guess, trust = (smoothstep(-0.10, -0.15, vertices[:, 2]), 0.02) if told is None else (told(vertices), 0.3)
    strength = 3.0 * seen + trust
    target = 3.0 * seen * garment / np.maximum(hair + garment, 1e-6) + trust * guess
    value = harmonic(faces, strength, target[:, None], len(vertices))[:, 0]
    garment = value[faces].mean(1) > 0.5
    shown = seen[faces].mean(1) > 0.3
    hair = _strays(vertices, faces, ~garment, shown | (vertices[:, 2] > _HAIR_GROWS)[faces].any(1))
    cloth = _strays(vertices, faces, garment, shown | (vertices[:, 2] < _CLOTH_HANGS)[faces].any(1))
    return (garment | hair) & ~cloth


def _strays(
    vertices: np.ndarray, faces: np.ndarray, layer: Bool[np.ndarray, " F"], own: Bool[np.ndarray, " F"]
) -> Bool[np.ndarray, " F"]:
    """Patches of a layer, apart from the rest of it, of whose area less than a tenth is surely the layer's `own`:
    nobody wears a tuft of hair on the shoulders."""
    result, chosen = np.zeros(len(faces), bool), np.flatnonzero(layer)
    if len(chosen):
        label, area = face_components(faces[chosen], len(vertices)), _area(vertices, faces[chosen])
        stray = np.bincount(label, area * own[chosen]) < 0.1 * np.bincount(label, area)
        result[chosen[stray[label]]] = True
    return result


def unwrap(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Mesh:
    """Texture coordinates for a shell (xatlas)."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32))
    charts = xatlas.ChartOptions()
    # Few large charts: hair and cloth forgive stretch, and every chart border costs padding.
    charts.max_cost = 8.0
    charts.normal_seam_weight = 1.0
    packing = xatlas.PackOptions()
    packing.padding = 4
    packing.resolution = 1024
    packing.bilinear = True
    atlas.generate(chart_options=charts, pack_options=packing)
    _, uv_faces, uvs = atlas[0]
    return Mesh(vertices, faces, uvs.astype(np.float64), uv_faces.astype(np.int64))
