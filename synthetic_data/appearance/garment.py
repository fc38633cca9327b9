"""Clothes: layers of the body model's hull, lifted off the skin and cut, with what is sewn to their edges."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from backend.body_model.base import BodyModel
from synthetic_data.appearance import collars, cutting
from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.appearance.clipping import clip
from synthetic_data.appearance.hull import Head, make_hull, skin_border
from synthetic_data.appearance.patterns import cloth_tile
from synthetic_data.appearance.pieces import Piece, boundary_loops, grid_patch, join, thicken, tube
from synthetic_data.appearance.tie import make_tie, on_breast
from synthetic_data.identity import Colour, GarmentSpec
from synthetic_data.surface import Patch, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

_WHITE = (0.72, 0.72, 0.71)
_TEE_SNUG = 0.014
"""How wide a tee under something else lies on the skin around the neck, metres."""
_SHORT = 0.012
"""How much sooner what is worn beneath ends at the bust's border, metres, so that it does not show below."""


def hidden_skin(model: BodyModel, spec: GarmentSpec) -> Bool[np.ndarray, " S"]:
    """Triangles of the part "skin" that lie well under the garment and need not be rendered."""
    skin = model.topology.faces[model.topology.parts["skin"]]
    template = model.template
    depth = cutting.neckline(template, spec)
    if spec.kind in cutting.WITH_SHIRT:
        depth = np.maximum(depth, cutting.undershirt(template, spec))
    # The chin hangs over the throat and is no part of what lies under a collar.
    covered = ((depth > 0.022) & (template[:, 2] < -0.115)).astype(bool)[skin].all(1)
    return covered | (cutting.bust(template) < 0)[skin].all(1)


def cut_skin(patch: Patch) -> Patch:
    """The skin without what lies beyond the bust; `patch` has the attribute "template"."""
    names = set(patch.attributes)
    cut = clip(patch, cutting.bust(patch.attributes["template"]))
    return dataclasses.replace(cut, attributes={name: cut.attributes[name] for name in sorted(names)})


def make_garment(model: BodyModel, vertices: Float[np.ndarray, "V 3"], spec: GarmentSpec) -> list[Piece]:
    """All pieces of the garment; none when the model has no hull."""
    if not len(model.topology.parts.get("garment", [])):
        return []
    rng = np.random.default_rng([spec.seed, 10])
    hull = make_hull(model, vertices, spec)
    tailor = _Tailor(spec, hull, Head.of(model, vertices), rng)
    lift = 0.006 if spec.kind in cutting.WITH_SHIRT else 0.0
    tailor.underside(lift, skin_border(model, vertices) if spec.kind in cutting.BARE_ARMS else None)
    if spec.kind in cutting.WITH_SHIRT:
        tailor.undershirt()
    elif spec.kind == "overall":
        tailor.tee("tee", spec.second_colour)
        tailor.bib()
        return tailor.pieces
    tailor.main(lift)
    return tailor.pieces


def _tee_edge(template: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    return cutting.around_neck(template, 0.080)


class _Tailor:
    """Makes one garment, piece by piece."""

    def __init__(
        self,
        spec: GarmentSpec,
        hull: Patch,
        head: Head,
        rng: np.random.Generator,
    ) -> None:
        self.spec, self.hull, self.head, self.rng = spec, hull, head, rng
        self.pieces: list[Piece] = []
        self.shirt: Patch | None = None

    def main(self, lift: float) -> None:
        """The outermost layer and its collar."""
        spec = self.spec
        snug = 0.03 if spec.kind in cutting.SNUG else 0.0
        shell, field = self._shell(lambda p: cutting.neckline(p, spec), lift, snug=snug)
        pattern = _fitting_pattern(spec)
        loud = spec.kind in ("suit", "blazer")
        texture, side = cloth_tile(_toned_down(spec) if loud else spec, pattern)
        self._add("garment", shell, texture, side)
        plain, _ = cloth_tile(spec, "plain")
        trim = plain.copy()
        trim[..., :3] *= 0.8
        match spec.kind:
            case "tee" | "v-neck" | "scoop" | "sweater":
                width = 0.011 if spec.kind != "sweater" else 0.02
                if spec.kind == "tee" and spec.fit < 0.25:
                    trim[..., :3] = spec.second_colour
                self._add("collar", collars.rib(collars.neck_edge(shell, field), width), trim, 0.05)
            case "tank top" | "off shoulder":
                self._add("collar", collars.rib(collars.neck_edge(shell, field), 0.008), trim, 0.05)
            case "turtleneck":
                edge = collars.neck_edge(shell, field)
                rise = self.head.room(edge, 0.012 + 0.012 * (1 - spec.neckline))
                lean = np.minimum(self.head.lean(edge, rise, 0.006), -0.15)
                self._add("collar", collars.folded(edge, rise, rise + 0.014, shell, lean=lean), plain, 0.05)
            case "polo" | "shirt":
                self._placket(shell, plain, spec.kind == "shirt")
                self._shirt_collar(shell, field, plain)
            case "hoodie":
                self._add(
                    "hood", collars.hood(collars.neck_edge(shell, field, gap=0.012), shell, self.rng), texture, side
                )
                self._drawstrings(shell)
            case _:
                self._lapels(shell, field, texture, side)
                if spec.kind == "suit" and self.shirt is not None:
                    self._tie(self.shirt, shell)

    def underside(self, lift: float, arms: Float[np.ndarray, "n 3"] | None) -> None:
        """A smooth sheet that closes the bust from below: straight from the cut in front to the cut behind.

        `arms` are points of the border of the skin, where arms are bare.
        """
        whole, field = self._shell(cutting.bust, lift)
        loop = max(boundary_loops(whole.faces), key=lambda b: (np.abs(field[b]) < 1e-5).sum())
        template = whole.attributes["template"][loop]
        # From one arm along the breast to the other, and back.
        left, right = int(template[:, 0].argmax()), int(template[:, 0].argmin())
        loop = np.roll(loop, -left)
        middle = (right - left) % len(loop)
        halves = [loop[: middle + 1], np.r_[loop[middle:], loop[:1]][::-1]]
        points = whole.vertices.copy()
        if arms is not None:
            # Bare arms are thinner than the hull around them: there the sheet begins at the skin's own border.
            bare = smoothstep(0.005, -0.005, cutting.neckline(whole.attributes["template"][loop], self.spec))
            nearest = arms[KDTree(arms).query(points[loop])[1]]
            points[loop] += bare[:, None] * (nearest - points[loop])
        sides = []
        for half in halves:
            turn = np.arctan2(*(whole.attributes["template"][half][:, [0, 2]] + [0, 0.16]).T)
            turn = np.unwrap(turn)
            order = np.argsort(turn)
            at = np.linspace(turn.min(), turn.max(), 80)
            sides.append(np.stack([np.interp(at, turn[order], points[half][order, k]) for k in range(3)], 1))
        t = np.linspace(0, 1, 7)[:, None, None]
        sheet = grid_patch(sides[0][None] * (1 - t) + sides[1][None] * t)
        plain, _ = cloth_tile(self.spec, "plain")
        plain = plain * [0.7, 0.7, 0.7, 1]
        self._add("underside", sheet, plain, 0.05)

    def undershirt(self) -> None:
        """Shirt with collar (and a tie with a suit), or a tee."""
        spec = self.spec
        if spec.kind == "jacket":
            self.tee("tee", spec.second_colour, beneath=True)
            return
        pale = _WHITE if self.rng.random() < 0.6 else tuple(0.5 + 0.4 * np.array(spec.second_colour))
        shirt = dataclasses.replace(spec, colour=pale, pattern="plain")
        texture, side = cloth_tile(shirt)
        shell, field = self._shell(lambda p: cutting.undershirt(p, spec), 0.0, short=_SHORT)
        self._add("shirt", shell, texture, side)
        self._shirt_collar(shell, field, texture, beneath=True)
        self.shirt = shell
        if spec.kind != "suit":
            self._placket(shell, texture, True)

    def tee(self, name: str, colour: Colour, *, beneath: bool = False) -> None:
        """A plain tee with a ribbed neck."""
        shell, field = self._shell(_tee_edge, 0.0, short=_SHORT if beneath else 0.0, snug=_TEE_SNUG)
        texture, side = cloth_tile(dataclasses.replace(self.spec, colour=colour), "plain")
        self._add(name, shell, texture, side)
        self._add("collar", collars.rib(collars.neck_edge(shell, field), 0.012), texture, side)

    def bib(self) -> None:
        """Breast and straps of an overall, with two buttons."""
        # Straps follow the neck of the tee beneath.
        shell, _ = self._shell(cutting.bib, 0.005, snug=_TEE_SNUG, edge=_tee_edge)
        texture, side = cloth_tile(self.spec, "plain")
        self._add("overall", shell, texture, side)
        spots = [on_breast(shell, np.array([[x, -0.190]])) for x in (-0.068, 0.068)]
        self._buttons(spots, 0.008, "plastic", (0.42, 0.31, 0.13))

    def _shell(self, cut, lift: float, *, short: float = 0.0, snug: float = 0.0, edge=None) -> tuple[Patch, np.ndarray]:
        """The hull lifted and cut, and the cutting field at its vertices.

        It ends `short` of the bust's border; within `snug` metres of its edge (or of that of
        what it lies on, whose cut is `edge`) it comes down to the skin.
        """
        hull = self.hull
        template = hull.attributes["template"]
        field = cut(template)
        points = hull.vertices + lift * vertex_normals(hull.vertices, hull.faces)
        if snug:
            above = hull.attributes["above"]
            height = np.linalg.norm(above, axis=1)
            near = field if edge is None else edge(template)
            down = (1 - smoothstep(0.004, snug, near)) * np.maximum(1 - 0.0035 / height, 0)
            points = points - down[:, None] * above
        shell = clip(dataclasses.replace(hull, vertices=points), field, cutting.bust(template) - short)
        return shell, shell.attributes["cut"][:, 0]

    def _add(self, name: str, patch: Patch, texture: np.ndarray, side: float) -> None:
        """A piece of cloth; shells get their texture coordinates from the template, strips have their own."""
        if "template" in patch.attributes:
            template = patch.attributes["template"][patch.faces]
            uvs = cutting.cloth_coordinates(template)
            # A badge sits on the breast only.
            behind = (template[..., 1].mean(1) > 0.06) & (side > 0.5)
            uvs = uvs * [1, -1] / side + [0.5, 1.0] - 0.5 * behind[:, None, None] * [1, 1]
            patch = thicken(Patch(patch.vertices, patch.faces, uvs, {}), 0.0022)
        else:
            patch = dataclasses.replace(patch, corner_uvs=patch.corner_uvs / side)
        self.pieces.append(Piece(name, patch, "garment", "cloth", texture=texture))

    def _shirt_collar(self, shell: Patch, field: np.ndarray, texture: np.ndarray, *, beneath: bool = False) -> None:
        edge = collars.neck_edge(shell, field)
        # The edge runs down the open front; the collar ends at the top button.
        level = shell.attributes["template"][KDTree(shell.vertices).query(edge.points)[1]]
        around = cutting.around_neck(level, cutting.COLLAR["undershirt" if beneath else "shirt"])
        apart = 0.009 if beneath else 0.005
        kept = (np.abs(around) < 0.002) & ((np.abs(level[:, 0]) > apart) | (level[:, 1] > 0.03))
        first, last = np.flatnonzero(kept)[[0, -1]]
        edge = collars.part_of(edge, first, last + 1)
        point = 0.040 + 0.014 * self.spec.pattern_size - 0.010 * (self.spec.kind == "polo")
        rise = np.interp(edge.across, [0, 0.5, 1.0], [0.027, 0.024, 0.012])
        rise = np.minimum(rise, self.head.room(edge, 0.027))
        lean = self.head.lean(edge, rise, 0.006)
        fall = np.interp(edge.across, [0, 0.55, 0.85, 1.0], [0.016, 0.018, 0.7 * point, point])
        self._add("collar", collars.folded(edge, rise, fall, shell, lean=lean, points=True), texture, 0.05)

    def _lapels(self, shell: Patch, field: np.ndarray, texture: np.ndarray, side: float) -> None:
        edge = collars.neck_edge(shell, field, count=200)
        notched = self.spec.kind != "robe"
        fall = collars.lapel_width(edge.across, notched=notched)
        rise = 0.020 * smoothstep(0.6, 0.25, edge.across) + 0.001
        rise = np.minimum(rise, self.head.room(edge, 0.021))
        # The collar of a jacket lies close to that of the shirt beneath.
        air = 0.012 if self.spec.kind in ("suit", "blazer") else 0.008
        lean = np.clip(self.head.lean(edge, rise, air), -0.4, 0.1)
        self._add("lapels", collars.folded(edge, rise, fall, shell, lean=lean), texture, side)

    def _placket(self, shell: Patch, texture: np.ndarray, long: bool) -> None:
        """The strip with the buttons."""
        template = shell.attributes["template"]
        end = -0.4 if long else -0.205
        field = np.minimum(0.014 - np.abs(template[:, 0]), template[:, 2] - end) - 4 * np.maximum(template[:, 1], 0)
        lifted = dataclasses.replace(
            shell, vertices=shell.vertices + 0.0016 * vertex_normals(shell.vertices, shell.faces)
        )
        self._add("placket", clip(lifted, field), texture, 0.05)
        top = float(template[(np.abs(template[:, 0]) < 0.006) & (template[:, 1] < 0), 2].max())
        heights = np.arange(top - 0.008, max(end, -0.27), -0.055 if long else -0.03)
        pale: Colour = (0.6, 0.58, 0.52)
        self._buttons([on_breast(shell, np.array([[0.0, z]])) for z in heights], 0.0052, "plastic", pale)

    def _buttons(self, spots: list, radius: float, finish: str, colour: Colour) -> None:
        discs = []
        for place, normal, _ in spots:
            # A low dome; polished metal would mirror the dark side of the room as a hole.
            path = place + radius * np.array([[0.1], [0.35], [0.5], [0.6], [0.65]]) * normal
            discs.append(tube(path, np.array([1, 1, 0.85, 0.5, 0.2]) * radius, sides=16))
        if discs:
            self.pieces.append(Piece("buttons", join(discs), "garment", finish, colour))

    def _drawstrings(self, shell: Patch) -> None:
        strings = []
        for side in (-1, 1):
            t = np.linspace(0, 1, 14)
            x = side * (0.020 + 0.010 * t + 0.003 * np.sin(5 * t + side))
            points, normals, _ = on_breast(shell, np.stack([x, -0.140 - 0.085 * t], 1))
            strings.append(tube(points + 0.004 * normals, np.where(t > 0.93, 0.0034, 0.0024)))
        colour = _WHITE if sum(self.spec.colour) < 1.5 else (0.1, 0.1, 0.11)
        self.pieces.append(Piece("drawstrings", join(strings), "garment", "cloth", colour))

    def _tie(self, shirt: Patch, jacket: Patch) -> None:
        tie = dataclasses.replace(self.spec, colour=self.spec.second_colour, second_colour=self.spec.colour)
        texture, side = cloth_tile(tie, "stripes" if self.rng.random() < 0.4 else "plain")
        patch = make_tie(shirt, jacket, self.spec)
        along, across = np.moveaxis(patch.corner_uvs, -1, 0)
        # A tie is cut on the bias.
        patch = Patch(patch.vertices, patch.faces, np.stack([across, along + 0.8 * across], -1), {})
        self._add("tie", patch, texture, side)


_PRINTED = ("tee", "tank top", "sweater", "hoodie", "turtleneck", "off shoulder")
"""Kinds with an unbroken breast for a print."""


def _toned_down(spec: GarmentSpec) -> GarmentSpec:
    """The same with a second colour close to the first, as a suit's checks have."""
    first, second = np.array(spec.colour), np.array(spec.second_colour)
    red, green, blue = np.clip(first + 0.3 * (second - first) + 0.02, 0, 1)
    return dataclasses.replace(spec, second_colour=(float(red), float(green), float(blue)))


def _fitting_pattern(spec: GarmentSpec) -> str:
    """The pattern, or plain cloth where no tailor would use it."""
    if spec.pattern == "print":
        return "print" if spec.kind in _PRINTED else "plain"
    tailored = spec.kind in ("suit", "blazer", "robe")
    return "plain" if tailored and spec.pattern != "checks" else spec.pattern
