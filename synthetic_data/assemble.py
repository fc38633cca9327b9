"""From an `IdentitySpec` to a `Person`: body, skin, eyes, mouth, clothes, hair and light, joined without Blender."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.body_model.base import BodyModel
from synthetic_data.appearance.accessories import make_accessories
from synthetic_data.appearance.atlas import FACE_WINDOW, window_weight
from synthetic_data.appearance.beard import grow_beard
from synthetic_data.appearance.eyes import make_eyeball
from synthetic_data.appearance.garment import cut_skin, hidden_skin, make_garment
from synthetic_data.appearance.hair import grow_hair
from synthetic_data.appearance.hair_colour import hair_colour
from synthetic_data.appearance.light import environment_map
from synthetic_data.appearance.mouth import make_mouth
from synthetic_data.appearance.pieces import Piece, plain_patch
from synthetic_data.appearance.skin import paint_skin
from synthetic_data.appearance.strands import Strands, grow_brows, grow_lashes
from synthetic_data.identity import HairSpec, IdentitySpec, LightSpec
from synthetic_data.person import Person, Thing
from synthetic_data.posing import posed_vertices
from synthetic_data.surface import extract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Detail:
    """How much work goes into a person.

    `strands` is the share of hairs; `face_size` and `body_size` are the texels of the two skin maps; `refinements` is
    how often the body's triangles are split; `scattering` lets light travel under the skin; `natural_hair` is Cycles'
    hair model with pigments instead of a plain diffuse colour; `even_light` ignores the person's own surroundings.
    """

    strands: float
    face_size: int
    body_size: int
    refinements: int
    scattering: bool
    natural_hair: bool
    even_light: bool


DETAIL = {
    "fit": Detail(0.5, 384, 192, 1, scattering=False, natural_hair=False, even_light=True),
    "portrait": Detail(1.0, 1024, 512, 2, scattering=True, natural_hair=True, even_light=False),
    "show": Detail(1.0, 2048, 512, 2, scattering=True, natural_hair=True, even_light=False),
}
_SMALL = 128
"""Pixels of pictures that show half of the hairs like all of them, and of the way of light under the skin less than a
pixel."""
_EVEN = LightSpec(kind="even", strength=0.75, warmth=0.0, contrast=0.0, seed=0)


def assemble(spec: IdentitySpec, model: BodyModel, preset: str = "portrait", *, pixels: int | None = None) -> Person:
    """The person in the head frame, metres. Raises KeyError for a preset that is not one of `DETAIL`.

    `pixels`, the side of the largest picture to be made, spares what it could not show.
    """
    detail = _needed(preset, pixels)
    vertices = posed_vertices(spec, model)
    accessories, covered = make_accessories(model, vertices, spec.accessories)
    pieces = [*make_mouth(model, vertices), *make_garment(model, vertices, spec.garment), *accessories]
    things = [
        _skin(spec, model, vertices, detail),
        *_eyes(spec, model, vertices),
        *map(_from_piece, pieces),
        *_hair(spec, model, vertices, covered, detail),
    ]
    return Person(tuple(things), _surroundings(spec, detail))


def same_geometry(preset: str, other: str, pixels: int) -> bool:
    """Whether people assembled for two presets differ in finishes and light alone, see `dressed`."""
    shape = lambda detail: (detail.strands, detail.face_size, detail.body_size, detail.refinements)  # noqa: E731
    return shape(_needed(preset, pixels)) == shape(_needed(other, pixels))


def dressed(person: Person, spec: IdentitySpec, preset: str, pixels: int) -> Person:
    """`person`, assembled from `spec`, with the finishes and the light of another preset of the same geometry."""
    detail = _needed(preset, pixels)
    strands = {name: _hair_finish(pigments, detail) for name, pigments in _pigments(spec).items()}
    things = []
    for thing in person.things:
        if thing.name == "skin":
            thing = dataclasses.replace(thing, values=_skin_values(spec, detail))
        elif thing.name in strands:
            thing = dataclasses.replace(thing, **strands[thing.name])
        things.append(thing)
    return Person(tuple(things), _surroundings(spec, detail))


def _needed(preset: str, pixels: int | None) -> Detail:
    """The preset's detail, less what pictures of so many pixels could not show."""
    detail = DETAIL[preset]
    if pixels is None:
        return detail
    if pixels <= _SMALL:
        least = DETAIL["fit"]
        detail = dataclasses.replace(
            detail,
            strands=min(detail.strands, least.strands),
            body_size=min(detail.body_size, least.body_size),
            refinements=min(detail.refinements, least.refinements),
            scattering=False,
        )
    return dataclasses.replace(detail, face_size=min(detail.face_size, max(256, 2 * pixels)))


def _surroundings(spec: IdentitySpec, detail: Detail) -> Float[np.ndarray, "H W 3"]:
    return environment_map(_EVEN if detail.even_light else spec.light)


def _skin_values(spec: IdentitySpec, detail: Detail) -> dict[str, float]:
    return {"roughness": spec.skin.roughness, "scattering": float(detail.scattering)}


def _skin(spec: IdentitySpec, model: BodyModel, vertices: Float[np.ndarray, "V 3"], detail: Detail) -> Thing:
    topology = model.topology
    triangles = topology.parts["skin"][~hidden_skin(model, spec.garment)]
    attributes = {"template": model.template, "in_face": np.repeat(window_weight(model)[:, None], 3, 1)}
    patch = extract(vertices, topology.faces[triangles], topology.uvs[topology.uv_faces[triangles]], attributes)
    face = paint_skin(spec, model, detail.face_size, FACE_WINDOW)
    body = paint_skin(spec, model, detail.body_size)
    relief = np.repeat(face.height[..., None], 4, -1)
    return Thing(
        "skin",
        "skin",
        "skin",
        cut_skin(patch.refined(detail.refinements)),
        values=_skin_values(spec, detail),
        textures={"face": face.colour, "body": body.colour, "relief": relief},
        window=FACE_WINDOW,
    )


def _eyes(spec: IdentitySpec, model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> Iterator[Thing]:
    if "eye_left" not in model.topology.parts:
        return
    for side, sphere in zip(("left", "right"), model.eye_spheres(vertices), strict=True):
        eye = make_eyeball(sphere, spec.gaze, spec.eyes)
        patch = plain_patch(eye.vertices, eye.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3))
        yield Thing(f"eye_{side}", "eye", "eye", dataclasses.replace(patch, attributes={"colour": eye.colours}))


def _from_piece(piece: Piece) -> Thing:
    textures = {} if piece.texture is None else {"pattern": piece.texture}
    return Thing(piece.name, piece.segment, piece.finish, piece.patch, colour=piece.colour, textures=textures)


def _hair(
    spec: IdentitySpec, model: BodyModel, vertices: Float[np.ndarray, "V 3"], covered, detail: Detail
) -> Iterator[Thing]:
    hair, share = spec.hair, detail.strands
    veiled = spec.accessories.headwear == "headscarf"
    grown: dict[str, Strands | None] = {
        "hair": None if veiled else grow_hair(model, vertices, hair, covered, detail=share),
        "beard": grow_beard(model, vertices, spec.beard, hair, detail=share),
        "brows": grow_brows(model, vertices, hair, detail=share),
        "lashes": grow_lashes(model, vertices, hair, detail=share),
    }
    pigments = _pigments(spec)
    for name, strands in grown.items():
        if strands is not None:
            finish = _hair_finish(pigments[name], detail)
            yield Thing(name, _HAIR_SEGMENTS[name], points=strands.points, radius=strands.radius, **finish)


_HAIR_SEGMENTS = {"hair": "hair", "beard": "beard", "brows": "brow", "lashes": "lash"}


def _pigments(spec: IdentitySpec) -> dict[str, HairSpec]:
    hair = spec.hair
    return {
        "hair": hair,
        "beard": dataclasses.replace(hair, melanin=hair.melanin * (1 - 0.6 * spec.beard.greyer), dye=0.0),
        "brows": dataclasses.replace(hair, melanin=max(hair.melanin, 0.3), dye=0.0),
        "lashes": dataclasses.replace(hair, melanin=1.0, dye=0.0),
    }


def _hair_finish(pigments: HairSpec, detail: Detail) -> dict[str, Any]:
    """`finish`, `colour` and `values` of a `Thing`: all three, for they take the place of those of another dress."""
    if not detail.natural_hair:
        return {"finish": "plain hair", "colour": hair_colour(pigments), "values": {}}
    if pigments.dye > 0:
        return {"finish": "dyed hair", "colour": hair_colour(pigments), "values": {}}
    values = {"melanin": pigments.melanin, "redness": pigments.redness}
    return {"finish": "hair", "colour": (1.0, 1.0, 1.0), "values": values}
