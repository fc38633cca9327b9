"""The wrapped avatar: the body model's own faces, shells for what it lacks, textured and rigged."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from backend.body_model.fitting import BodyFit, gaze_rotation
from backend.meshing.atlas import face_focused_uvs
from backend.meshing.eyes import eye_texture, eyeball_mesh
from backend.meshing.inner_part import InnerPart
from backend.meshing.levelset import compact
from backend.meshing.mesh import Mesh
from backend.meshing.observation import Observation
from backend.meshing.shell_texture import bake_shell
from backend.meshing.shells import Shell, unwrap
from backend.meshing.texture import (
    View,
    compose_texture,
    mirror_vertices,
    project_view,
    sample_image,
    smoothstep,
    vertex_tone,
    visibility,
)
from backend.rigging.assemble import close_openings, eye_part, rigged_part
from backend.rigging.attach import Attachment
from backend.rigging.avatar import AvatarPart, Material, RiggedAvatar

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, Int, UInt8


_ENDS = 0.01
"""Metres of hair beside bare skin that are painted on the scalp."""


@dataclasses.dataclass(frozen=True)
class TextureSizes:
    """Edge lengths in texels."""

    skin: int = 2048
    shell: int = 1024
    eye: int = 512


@dataclasses.dataclass
class HeadGeometry:
    """The skin as it will be seen: body vertices (neutral and posed), the faces kept, and caps over the openings.

    Vertices are the body model's, followed by one per cap; `attachment` says which of the body's each one follows.
    """

    neutral: Float[np.ndarray, "N 3"]
    posed: Float[np.ndarray, "N 3"]
    faces: Int[np.ndarray, "F 3"]
    uvs: Float[np.ndarray, "T 2"]
    uv_faces: Int[np.ndarray, "F 3"]
    attachment: Attachment


def head_geometry(
    fit: BodyFit, offsets: Float[np.ndarray, "V 3"], hidden: Float[np.ndarray, " V"], cut: Float[np.ndarray, " V"]
) -> HeadGeometry:
    """Faces of the skin that stay: not deep under a garment (`hidden` > 0.5), not beyond the bust's cut (`cut` < 0).

    `offsets` has already drawn the vertices beyond the cut onto it.
    """
    model, topology = fit.model, fit.model.topology
    faces = topology.faces[topology.parts["skin"]]
    keep = ~((hidden[faces].min(1) > 0.5) | (cut[faces].max(1) < 0))
    faces = faces[keep]
    used, local_uv = np.unique(topology.uv_faces[topology.parts["skin"]], return_inverse=True)
    uvs = face_focused_uvs(
        topology.uvs[used],
        local_uv.reshape(-1, 3),
        topology.faces[topology.parts["skin"]],
        model.template,
        topology.regions["face"],
    )
    uv_faces = local_uv.reshape(-1, 3)[keep]

    neutral = fit.neutral() + offsets
    posed = fit.posed() + offsets
    caps = close_openings(model.template, faces, below=-0.10)
    sources = np.tile(np.arange(len(neutral))[:, None], (1, 1))
    rows, weights = [sources], [np.ones((len(neutral), 1))]
    width = max([1, *[len(loop) for loop in caps]])
    if caps:
        rows[0] = np.pad(sources, ((0, 0), (0, width - 1)))
        weights[0] = np.pad(weights[0], ((0, 0), (0, width - 1)))
        first_uv = np.zeros(len(neutral), int)
        first_uv[faces.ravel()] = uv_faces.ravel()
        for loop in caps:
            centre = len(neutral)
            neutral = np.concatenate([neutral, neutral[loop].mean(0, keepdims=True)])
            posed = np.concatenate([posed, posed[loop].mean(0, keepdims=True)])
            fan = np.stack([np.roll(loop, -1), loop, np.full(len(loop), centre)], 1)
            uvs = np.concatenate([uvs, uvs[first_uv[loop[:1]]]])
            fan_uv = np.stack([first_uv[np.roll(loop, -1)], first_uv[loop], np.full(len(loop), len(uvs) - 1)], 1)
            # The texture of a cap collapses to its border's colour: nobody looks there, and no island is wasted.
            fan_uv[:, :2] = len(uvs) - 1
            faces, uv_faces = np.concatenate([faces, fan]), np.concatenate([uv_faces, fan_uv])
            rows.append(np.pad(loop, (0, width - len(loop)))[None])
            weights.append(np.pad(np.full(len(loop), 1 / len(loop)), (0, width - len(loop)))[None])
    attachment = Attachment(np.concatenate(rows), np.concatenate(weights))
    return HeadGeometry(neutral, posed, faces, uvs, uv_faces, attachment)


def build_wrapped(
    fit: BodyFit,
    observation: Observation,
    shells: list[Shell],
    offsets: Float[np.ndarray, "V 3"],
    hidden: Float[np.ndarray, " V"],
    cut: Float[np.ndarray, " V"],
    sizes: TextureSizes,
    generator: np.random.Generator,
    progress: Callable[[float], None],
    expected_colour: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]] | None = None,
) -> RiggedAvatar:
    """Texture and rig the skin, the eyes, the inside of the mouth, the lashes and the shells of one person.

    Args:
        offsets: displacement of the body's vertices towards the field.
        hidden: where a garment hides the skin so deep that it is left out, per body vertex.
        cut: metres above the cut that ends the bust, per body vertex.
        expected_colour: of the shells at points in the pose of the portrait (metres), for what the picture hides.
    """
    from backend.meshing.lashes import lashes
    from backend.meshing.mouth import close_lips, teeth, tongue

    model, topology = fit.model, fit.model.topology
    neutral_body = fit.neutral()
    offsets = offsets + close_lips(model, neutral_body)
    head = head_geometry(fit, offsets, hidden, cut)
    keys = {name: value for name, value in model.arkit_offsets(fit.identity).items()}
    skin_weights = model.skin_weights
    body_count = len(neutral_body)

    # One vertex array for every occlusion test: posed body, then shells.
    stacked = [head.posed]
    shell_faces = []
    for shell in shells:
        shell_faces.append(shell.faces + sum(map(len, stacked)))
        stacked.append(shell.vertices)
    everything = np.concatenate(stacked)
    inner = [topology.faces[topology.parts[p]] for p in topology.parts if p.startswith("eye_")]
    occluders = np.concatenate([head.faces, *inner, *shell_faces])
    view = dataclasses.replace(observation.view, vertices=everything)

    hair_tone = _median_colour(observation.view.image, observation.hair)
    # What lies before the skin in the picture, its pixels tell; the shells' borders would only hide skin beside them.
    body = np.concatenate([head.faces, *inner])
    texture = _skin_texture(fit, head, view, body, shells, observation, hair_tone, everything, sizes.skin)
    progress(0.5)
    parts = [
        _compact_part(
            rigged_part(
                "head",
                Mesh(head.neutral, head.faces, head.uvs, head.uv_faces),
                texture,
                Material(roughness=0.55),
                head.attachment,
                keys,
                skin_weights,
            )
        )
    ]
    spheres = model.eye_spheres(neutral_body + offsets)
    skeleton = model.skeleton(fit.identity)
    bones = [skeleton.names.index(name) for name in ("LeftEye", "RightEye")]
    # The model does not know this person's offsets; an eyeball turns about its own centre.
    moves = np.zeros_like(skeleton.heads)
    moves[bones] = [sphere.centre - skeleton.heads[bone] for sphere, bone in zip(spheres, bones, strict=True)]
    skeleton = dataclasses.replace(skeleton, heads=skeleton.heads + moves, tails=skeleton.tails + moves)
    for k, side in enumerate(("left", "right")):
        vertices = np.unique(topology.faces[topology.parts[f"eye_{side}"]])
        mesh = eyeball_mesh(spheres[k])
        opening = observation.openings[k]
        posed_view = dataclasses.replace(observation.view)
        picture = eye_texture(spheres[k], gaze_rotation(fit.gaze[k]), posed_view, opening, generator, sizes.eye)
        parts.append(eye_part(f"eye_{side}", mesh, picture, bones[k], spheres[k], keys, vertices, neutral_body))
    shade = _teeth_shade(observation)
    lash_colour = np.clip(hair_tone * 0.35, 0.02, 0.25) if hair_tone is not None else np.array([0.08, 0.06, 0.05])
    settled = neutral_body + offsets
    inner_parts = [
        *teeth(model, settled, shade, generator),
        tongue(model, settled),
        lashes(model, settled, lash_colour),
    ]
    for part in inner_parts:
        if part is None:  # the body model has no such part
            continue
        if part.name == "teeth_upper":
            part = _teeth_as_seen(part, fit, observation, everything, occluders)
        parts.append(
            rigged_part(part.name, part.mesh, part.texture, part.material, part.attachment, keys, skin_weights)
        )
    progress(0.7)

    moved = head.posed[:body_count] - head.neutral[:body_count]
    candidates = np.unique(topology.faces[topology.parts["skin"]])
    candidates = candidates[topology.regions["mouth_interior"][candidates] < 0.5]
    for shell, faces in zip(shells, shell_faces, strict=True):
        mask = observation.hair if shell.name == "hair" else observation.garment
        unwrapped = unwrap(shell.vertices, shell.faces)
        in_view = Mesh(everything, faces, unwrapped.uvs, unwrapped.uv_faces)
        height = float(np.median(KDTree(head.posed[candidates]).query(shell.vertices)[0]))
        expected = None if expected_colour is None else expected_colour(everything)
        inside = np.zeros(len(everything))
        inside[faces] = shell.inside[shell.faces]
        picture = bake_shell(
            in_view,
            view,
            mask,
            observation.bare,
            body,
            occluders,
            shell.name,
            sizes.shell,
            generator,
            height,
            inside,
            expected,
        )
        reach = 0.015 if shell.name == "hair" else 0.03
        follows = Attachment.nearest(shell.vertices, head.posed[:body_count], candidates, reach=reach)
        neutral = shell.vertices - follows.carry(moved)
        weights = _smooth_attachment(shell.vertices, head.posed[:body_count], candidates)
        part = rigged_part(
            shell.name,
            Mesh(neutral, unwrapped.faces, unwrapped.uvs, unwrapped.uv_faces),
            picture,
            Material(roughness=0.7 if shell.name == "hair" else 0.8, double_sided=True, alpha_mask=True),
            follows,
            keys if shell.name == "hair" else {},
            skin_weights,
        )
        part.joints, part.weights = _bone_weights(weights, skin_weights)
        parts.append(part)
        progress(0.85)
    return RiggedAvatar(parts, skeleton)


def _smooth_attachment(points: np.ndarray, body: np.ndarray, candidates: np.ndarray) -> Attachment:
    return Attachment.nearest(points, body, candidates, count=12)


def _bone_weights(attachment: Attachment, skin_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from backend.rigging.assemble import strongest_weights

    return strongest_weights(attachment.carry_skin_weights(skin_weights))


def _compact_part(part: AvatarPart) -> AvatarPart:
    """Leave out vertices and texture coordinates that no face uses."""
    used, faces = np.unique(part.mesh.faces, return_inverse=True)
    uvs, uv_faces = compact(part.mesh.uvs, part.mesh.uv_faces)
    mesh = Mesh(part.mesh.vertices[used], faces.reshape(-1, 3), uvs, uv_faces)
    keys = {name: value[used] for name, value in part.shape_keys.items()}
    return dataclasses.replace(part, mesh=mesh, joints=part.joints[used], weights=part.weights[used], shape_keys=keys)


def _median_colour(image: Float[np.ndarray, "H W 3"], mask: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "3"] | None:
    chosen = image[mask > 0.7]
    return np.median(chosen, 0) if len(chosen) > 200 else None


def _teeth_shade(observation: Observation) -> Float[np.ndarray, "3"]:
    """Colour of the brightest part between the lips, when teeth show; a natural white otherwise."""
    natural = np.array([0.86, 0.82, 0.74])
    chosen = observation.view.image[observation.mouth > 0.8]
    if len(chosen) < 60:
        return natural
    bright = chosen[chosen.mean(1) >= np.quantile(chosen.mean(1), 0.7)].mean(0)
    looks_like_teeth = bright.mean() > 0.35 and bright[0] - bright[2] < 0.3
    return np.clip(0.5 * natural + 0.5 * bright * min(1.3, 0.85 / bright.max()), 0, 1) if looks_like_teeth else natural


def _skin_texture(
    fit: BodyFit,
    head: HeadGeometry,
    view: View,
    body_faces: Int[np.ndarray, "F 3"],
    shells: list[Shell],
    observation: Observation,
    hair_tone: Float[np.ndarray, "3"] | None,
    everything: Float[np.ndarray, "N 3"],
    size: int,
) -> UInt8[np.ndarray, "S S 3"]:
    from backend.meshing.mouth import mouth_interior_colour

    model, regions = fit.model, fit.model.topology.regions
    count, body = len(everything), len(model.template)

    def extended(values: np.ndarray) -> np.ndarray:
        """Body-vertex values over the stacked vertices; caps and shells get zero."""
        return np.concatenate([values, np.zeros((count - body, *values.shape[1:]))])

    mirror = np.arange(count)
    mirror[:body] = mirror_vertices(model.template)
    mesh = Mesh(everything, head.faces, head.uvs, head.uv_faces)
    lining = smoothstep(0.3, 0.8, regions["mouth_interior"])
    # The rim of the lids is dark with lashes: the tone of the lids comes from further out.
    tone = vertex_tone(mesh, view, body_faces, mirror, extended(1 - folded_lids(fit, 0.0006, 0.002)))
    # Painted after the tone was carried on, so that neither colour spreads into the skin beside it.
    inside = mouth_interior_colour(model, fit.neutral())
    painted = [(extended(mask), colour) for mask, colour in inside.values()]
    if hair_tone is not None:
        # Below the hair the scalp takes its colour, so that a parting or a thin spot does not shine through.
        under_hair = covered_by(head.posed[:body], [s for s in shells if s.name == "hair"], 0.006) * regions["scalp"]
        painted.append((extended(under_hair), hair_tone * 0.75))
    for mask, colour in painted:
        tone = tone * (1 - mask[:, None]) + mask[:, None] * colour
    # The ends of hair at its border are painted on the scalp: no shell has edges that soft.
    ends = observation.hairline(_ENDS), smoothstep(0.05, 0.4, extended(regions["scalp"]))
    projection = project_view(mesh, view, body_faces, size, extended(folded_lids(fit)), ends)
    no_borrow = extended(np.clip(lining + regions["scalp"], 0, 1))
    texture = compose_texture(mesh, tone, projection, mirror, no_borrow, size)
    return (np.clip(texture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _teeth_as_seen(
    part: InnerPart,
    fit: BodyFit,
    observation: Observation,
    everything: Float[np.ndarray, "N 3"],
    occluders: Int[np.ndarray, "F 3"],
) -> InnerPart:
    """The upper row of teeth at the height where the portrait shows it, in the portrait's colours there.

    Body models know where lips are, not how far below them a person's teeth end.
    """
    expression = np.tensordot(fit.expression, fit.model.expression_offsets(fit.identity), 1)
    posed = part.mesh.vertices + part.attachment.carry(expression)
    drop = np.array([0, 0, _seen_edge(posed, observation)])
    mesh = dataclasses.replace(part.mesh, vertices=part.mesh.vertices + drop)
    posed = posed + drop
    if observation.mouth.max() < 0.5:
        return dataclasses.replace(part, mesh=mesh)
    vertices = np.concatenate([everything, posed])
    shifted = Mesh(vertices, mesh.faces + len(everything), mesh.uvs, mesh.uv_faces)
    inside = np.clip((observation.mouth - 0.6) / 0.3, 0, 1)
    bright = observation.view.image.mean(2) / max(float(_teeth_shade(observation).mean()), 1e-3)
    view = View(observation.view.image, inside * smoothstep(0.08, 0.2, bright), observation.view.camera, vertices)
    size = part.texture.shape[0]
    seen = project_view(shifted, view, np.concatenate([occluders, shifted.faces]), size)
    weight = ndimage.gaussian_filter(seen.weight, 1.0)[..., None]
    weight = np.minimum(weight, seen.weight[..., None])
    base = part.texture[..., :3].astype(np.float32) / 255
    texture = (np.clip(base * (1 - weight) + seen.colour * weight, 0, 1) * 255 + 0.5).astype(np.uint8)
    return dataclasses.replace(part, mesh=mesh, texture=texture)


def _seen_edge(posed: Float[np.ndarray, "n 3"], observation: Observation, limit: float = 0.005) -> float:
    """How far up (+) or down the edge of the upper front teeth must move to end where the picture shows it, metres."""
    camera, mouth = observation.view.camera, observation.mouth > 0.7
    front = posed[(np.abs(posed[:, 0]) < 0.008)]
    if mouth.sum() < 80 or len(front) == 0:
        return 0.0
    edge = front[front[:, 2].argmin()]
    column = int(camera.project(edge)[0])
    image = observation.view.image.mean(2)
    tone = float(_teeth_shade(observation).mean())
    ends = []
    for k in range(column - 6, column + 7):
        rows = np.flatnonzero(mouth[:, k]) if 0 <= k < mouth.shape[1] else []
        bright = [r for r in rows if image[r, k] > 0.6 * tone]
        if len(bright) > 2:
            ends.append(max(bright))
    if len(ends) < 5:
        return 0.0
    depth = camera.to_camera(edge)[2]
    wanted = camera.unproject(np.array([column + 0.5, np.median(ends) + 0.5]), np.array(depth))
    return float(np.clip(wanted[2] - edge[2], -limit, 0.4 * limit))


def folded_lids(fit: BodyFit, low: float = 0.0025, high: float = 0.006) -> Float[np.ndarray, " V"]:
    """Skin in [0, 1] that an open eye hides or shows only as a narrow strip: what moves when it closes.

    The picture of that strip, stretched over the closed lid, would be a smear of lashes. `low` and `high` are the
    travels in metres between which the mask rises.
    """
    keys = fit.model.arkit_offsets(fit.identity)
    left, right = (np.linalg.norm(keys[f"eyeBlink{side}"], axis=1) for side in ("Left", "Right"))
    return smoothstep(low, high, left + right)


def shown_bare(observation: Observation, faces: Int[np.ndarray, "F 3"]) -> Bool[np.ndarray, " V"]:
    """Vertices of the posed body that the picture shows without hair or garment: shells are cut out before them, so
    the skin has to be there."""
    view = observation.view
    bare = sample_image(observation.bare[..., None], view.camera.project(view.vertices))[:, 0]
    return (bare > 0.3) & visibility(view, faces, view.vertices)


def beyond_border(points: Float[np.ndarray, "V 3"], shells: list[Shell], within: float) -> Bool[np.ndarray, " V"]:
    """Whether something of a shell that does not show lies within `within` metres of the point."""
    outside = np.concatenate([np.zeros((0, 3)), *(s.vertices[s.inside < 0.5] for s in shells)])
    if not len(outside):
        return np.zeros(len(points), bool)
    return np.isfinite(KDTree(outside).query(points, distance_upper_bound=within)[0])


def covered_by(points: Float[np.ndarray, "V 3"], shells: list[Shell], within: float) -> Float[np.ndarray, " V"]:
    """1 where a shell, as far as it shows, lies within `within` metres of the point, softly 0 beyond."""
    if not shells:
        return np.zeros(len(points))
    tree = KDTree(np.concatenate([s.vertices[s.inside > 0.5] for s in shells]))
    distance = tree.query(points, distance_upper_bound=2 * within)[0]
    return smoothstep(1.5 * within, within, np.minimum(distance, 2 * within))
