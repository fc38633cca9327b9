"""From an `IdentitySpec` to a `Person`: body, skin, eyes, mouth, clothes, hair and light, joined without Blender."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

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
_EVEN = LightSpec(kind="even", strength=0.75, warmth=0.0, contrast=0.0, seed=0)


def assemble(spec: IdentitySpec, model: BodyModel, preset: str = "portrait", *, pixels: int | None = None) -> Person:
    """The person in the head frame, metres. Raises KeyError for a preset that is not one of `DETAIL`.

    `pixels`, the side of the largest picture to be made, spares texels that it could not show.
    """
    detail = DETAIL[preset]
    if pixels is not None:
        detail = dataclasses.replace(detail, face_size=min(detail.face_size, max(256, 4 * pixels)))
    vertices = posed_vertices(spec, model)
    accessories, covered = make_accessories(model, vertices, spec.accessories)
    pieces = [*make_mouth(model, vertices), *make_garment(model, vertices, spec.garment), *accessories]
    things = [
        _skin(spec, model, vertices, detail),
        *_eyes(spec, model, vertices),
        *map(_from_piece, pieces),
        *_hair(spec, model, vertices, covered, detail),
    ]
    return Person(tuple(things), environment_map(_EVEN if detail.even_light else spec.light))


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
        values={"roughness": spec.skin.roughness, "scattering": float(detail.scattering)},
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
    beard = dataclasses.replace(hair, melanin=hair.melanin * (1 - 0.6 * spec.beard.greyer), dye=0.0)
    brows = dataclasses.replace(hair, melanin=max(hair.melanin, 0.3), dye=0.0)
    lashes = dataclasses.replace(hair, melanin=1.0, dye=0.0)
    grown: list[tuple[str, Strands | None, HairSpec, str]] = [
        ("hair", None if veiled else grow_hair(model, vertices, hair, covered, detail=share), hair, "hair"),
        ("beard", grow_beard(model, vertices, spec.beard, hair, detail=share), beard, "beard"),
        ("brows", grow_brows(model, vertices, hair, detail=share), brows, "brow"),
        ("lashes", grow_lashes(model, vertices, hair, detail=share), lashes, "lash"),
    ]
    for name, strands, pigments, segment in grown:
        if strands is None:
            continue
        if detail.natural_hair:
            melanin = pigments.melanin * (1 - 0.75 * pigments.dye)
            red, green, blue = (1 + pigments.dye * (c - 1) for c in pigments.dye_colour)
            finish, colour, values = "hair", (red, green, blue), {"melanin": melanin, "redness": pigments.redness}
        else:
            finish, colour, values = "plain hair", hair_colour(pigments), {}
        yield Thing(name, segment, finish, points=strands.points, radius=strands.radius, colour=colour, values=values)
