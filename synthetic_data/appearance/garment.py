"""Clothes: layers of the body model's hull, lifted off the skin and cut, with what is sewn to their edges."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from backend.body_model.base import BodyModel
from synthetic_data.appearance import collars, cutting
from synthetic_data.appearance.atlas import ValueNoise, smoothstep
from synthetic_data.appearance.clipping import clip
from synthetic_data.appearance.patterns import cloth_tile
from synthetic_data.appearance.pieces import Piece, boundary_loops, grid_patch, join, thicken, tube
from synthetic_data.identity import Colour, GarmentSpec
from synthetic_data.surface import Patch, extract, unit, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

_WHITE = (0.72, 0.72, 0.71)


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
    hull = _hull(model, vertices, spec)
    tailor = _Tailor(spec, hull, _Head.of(model, vertices), rng)
    lift = 0.006 if spec.kind in cutting.WITH_SHIRT else 0.0
    tailor.underside(lift)
    if spec.kind in cutting.WITH_SHIRT:
        tailor.undershirt()
    elif spec.kind == "overall":
        tailor.tee("tee", spec.second_colour, 0.0)
        tailor.bib()
        return tailor.pieces
    tailor.main(lift)
    return tailor.pieces


@dataclasses.dataclass(frozen=True)
class _Head:
    """Where the head hangs over a collar: points of the skin and their normals."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]

    @classmethod
    def of(cls, model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> _Head:
        skin = model.topology.faces[model.topology.parts["skin"]]
        used = np.unique(skin)
        return cls(vertices[used], vertex_normals(vertices, skin)[used])

    def room(self, edge: collars.Edge, most: float) -> Float[np.ndarray, " n"]:
        """How far a collar may stand up from each point of its edge before it meets jaw or chin, at most `most`."""
        heights = np.linspace(0, most + 0.004, 24)
        at = edge.points[:, None] + heights[:, None] * edge.up + 0.004 * edge.out[:, None]
        nearest = KDTree(self.points).query(at)[1]
        clear = ((at - self.points[nearest]) * self.normals[nearest]).sum(-1) > 0.002
        free = np.where(clear.all(1), most, heights[(~clear).argmax(1)] - 0.004)
        # A chin lowers the collar all around it, not in a notch.
        free = ndimage.minimum_filter1d(free, 9, mode="wrap" if edge.closed else "nearest")
        return np.clip(ndimage.gaussian_filter1d(free, 3, mode="wrap" if edge.closed else "nearest"), 0.002, most)


class _Tailor:
    """Makes one garment, piece by piece."""

    def __init__(self, spec: GarmentSpec, hull: Patch, head: _Head, rng: np.random.Generator) -> None:
        self.spec, self.hull, self.head, self.rng = spec, hull, head, rng
        self.pieces: list[Piece] = []

    def main(self, lift: float) -> None:
        """The outermost layer and its collar."""
        spec = self.spec
        shell, field = self._shell(lambda p: cutting.neckline(p, spec), lift)
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
                self._add("collar", collars.folded(edge, rise, rise + 0.014, shell, lean=-0.15), plain, 0.05)
            case "polo" | "shirt":
                self._placket(shell, plain, spec.kind == "shirt")
                self._shirt_collar(shell, field, plain)
            case "hoodie":
                self._add("hood", collars.hood(collars.neck_edge(shell, field, gap=0.012), self.rng), texture, side)
                self._drawstrings(shell)
            case _:
                self._lapels(shell, field, texture, side)

    def underside(self, lift: float) -> None:
        """A smooth sheet that closes the bust from below: straight from the cut in front to the cut behind."""
        whole, field = self._shell(cutting.bust, lift)
        loop = max(boundary_loops(whole.faces), key=lambda b: (np.abs(field[b]) < 1e-5).sum())
        template = whole.attributes["template"][loop]
        # From one arm along the breast to the other, and back.
        left, right = int(template[:, 0].argmax()), int(template[:, 0].argmin())
        loop = np.roll(loop, -left)
        middle = (right - left) % len(loop)
        halves = [loop[: middle + 1], np.r_[loop[middle:], loop[:1]][::-1]]
        # Bare arms are thinner than the hull around them.
        bare = smoothstep(0.005, -0.005, cutting.neckline(whole.attributes["template"], self.spec))
        points = whole.vertices - bare[:, None] * whole.attributes["above"]
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
            self.tee("tee", spec.second_colour, 0.0)
            return
        pale = _WHITE if self.rng.random() < 0.6 else tuple(0.5 + 0.4 * np.array(spec.second_colour))
        shirt = dataclasses.replace(spec, colour=pale, pattern="plain")
        texture, side = cloth_tile(shirt)
        shell, field = self._shell(lambda p: cutting.undershirt(p, spec), 0.0, short=0.004)
        self._add("shirt", shell, texture, side)
        self._shirt_collar(shell, field, texture, beneath=True)
        if spec.kind == "suit":
            self._tie(shell)
        else:
            self._placket(shell, texture, True)

    def tee(self, name: str, colour: Colour, lift: float) -> None:
        """A plain tee with a ribbed neck."""
        shell, field = self._shell(lambda p: cutting.around_neck(p, 0.080), lift, short=0.002)
        texture, side = cloth_tile(dataclasses.replace(self.spec, colour=colour), "plain")
        self._add(name, shell, texture, side)
        self._add("collar", collars.rib(collars.neck_edge(shell, field), 0.012), texture, side)

    def bib(self) -> None:
        """Breast and straps of an overall, with two buttons."""
        shell, _ = self._shell(cutting.bib, 0.005)
        texture, side = cloth_tile(self.spec, "plain")
        self._add("overall", shell, texture, side)
        spots = [self._front(shell, np.array([[x, -0.190]])) for x in (-0.068, 0.068)]
        self._buttons(spots, 0.008, "metal", (0.6, 0.5, 0.3))

    def _shell(self, cut, lift: float, *, short: float = 0.0) -> tuple[Patch, np.ndarray]:
        """The hull lifted and cut, and the cutting field at its vertices; it ends `short` of the bust's border."""
        hull = self.hull
        lifted = dataclasses.replace(hull, vertices=hull.vertices + lift * vertex_normals(hull.vertices, hull.faces))
        template = hull.attributes["template"]
        shell = clip(lifted, cut(template), cutting.bust(template) - short)
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
        fall = np.interp(edge.across, [0, 0.55, 0.85, 1.0], [0.016, 0.018, 0.7 * point, point])
        self._add("collar", collars.folded(edge, rise, fall, shell, lean=0.05, points=True), texture, 0.05)

    def _lapels(self, shell: Patch, field: np.ndarray, texture: np.ndarray, side: float) -> None:
        edge = collars.neck_edge(shell, field, count=200)
        notched = self.spec.kind != "robe"
        fall = collars.lapel_width(edge.across, notched=notched)
        rise = 0.020 * smoothstep(0.6, 0.25, edge.across) + 0.001
        self._add("lapels", collars.folded(edge, rise, fall, shell), texture, side)

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
        self._buttons([self._front(shell, np.array([[0.0, z]])) for z in heights], 0.0052, "plastic", pale)

    def _buttons(self, spots: list, radius: float, finish: str, colour: Colour) -> None:
        discs = []
        for place, normal in spots:
            path = place + np.array([[0.001], [0.0036], [0.0042]]) * normal
            discs.append(tube(path, np.array([1, 1, 0.8]) * radius, sides=14))
        if discs:
            self.pieces.append(Piece("buttons", join(discs), "garment", finish, colour))

    def _front(self, shell: Patch, places: Float[np.ndarray, "n 2"]) -> tuple[np.ndarray, np.ndarray]:
        """Points and normals of the breast at some template (x, z)."""
        template = shell.attributes["template"]
        front = np.flatnonzero(template[:, 1] < 0.01)
        distance, nearest = KDTree(template[front][:, [0, 2]]).query(places, k=6)
        weight = np.exp(-((distance / 0.006) ** 2)) + 1e-9
        weight = (weight / weight.sum(1, keepdims=True))[..., None]
        normals = vertex_normals(shell.vertices, shell.faces)
        points = (shell.vertices[front[nearest]] * weight).sum(1)
        return points, unit((normals[front[nearest]] * weight).sum(1))

    def _drawstrings(self, shell: Patch) -> None:
        strings = []
        for side in (-1, 1):
            t = np.linspace(0, 1, 14)
            x = side * (0.020 + 0.010 * t + 0.003 * np.sin(5 * t + side))
            points, normals = self._front(shell, np.stack([x, -0.140 - 0.085 * t], 1))
            strings.append(tube(points + 0.004 * normals, np.where(t > 0.93, 0.0034, 0.0024)))
        colour = _WHITE if sum(self.spec.colour) < 1.5 else (0.1, 0.1, 0.11)
        self.pieces.append(Piece("drawstrings", join(strings), "garment", "cloth", colour))

    def _tie(self, shell: Patch) -> None:
        t = np.linspace(0, 1, 30)
        half = np.interp(t, [0, 0.10, 0.16, 0.2, 1], [0.017, 0.014, 0.010, 0.013, 0.034])
        across = np.linspace(-1, 1, 9)
        z = -0.108 - 0.18 * t
        places = np.stack([np.outer(half, across), np.repeat(z[:, None], 9, 1)], -1).reshape(-1, 2)
        points, normals = self._front(shell, places)
        bulge = np.interp(t, [0, 0.06, 0.15, 0.2, 1], [0.008, 0.013, 0.010, 0.006, 0.006])[:, None]
        lift = 0.003 + bulge * (1 - 0.5 * across**2)
        middle, _ = self._front(shell, np.stack([0 * z, z], 1))
        points = points.reshape(30, 9, 3)
        points[..., 1] = np.minimum(points[..., 1], middle[:, None, 1] + 0.004)
        points = points + lift[..., None] * normals.reshape(30, 9, 3)
        points[:, :, 1] = _smooth_rows(points[:, :, 1])
        tie = dataclasses.replace(self.spec, colour=self.spec.second_colour, second_colour=self.spec.colour)
        texture, side = cloth_tile(tie, "stripes" if self.rng.random() < 0.4 else "plain")
        patch = thicken(grid_patch(points[:, ::-1]), 0.002)
        along, across = np.moveaxis(patch.corner_uvs, -1, 0)
        # A tie is cut on the bias.
        patch = dataclasses.replace(patch, corner_uvs=np.stack([across, along + 0.8 * across], -1))
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


def _smooth_rows(values: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter1d(values, 1.0, axis=0, mode="nearest")


def _hull(model: BodyModel, vertices: Float[np.ndarray, "V 3"], spec: GarmentSpec) -> Patch:
    """The refined hull, lifted clear of the skin, looser towards the hem, with a few soft folds.

    The attribute "above" is the way from the skin to the hull.
    """
    topology = model.topology
    triangles = topology.parts["garment"]
    faces = topology.faces[triangles]
    uvs = topology.uvs[topology.uv_faces[triangles]]
    hull = extract(vertices, faces, uvs, {"template": model.template}).refined(2)
    template = hull.attributes["template"]
    normals = vertex_normals(hull.vertices, hull.faces)
    loose = smoothstep(-0.12, -0.25, template[:, 2])
    fold = ValueNoise(spec.seed % 65536)(template * [1.6, 1.6, 0.7], 16, 2) - 0.5
    lift = 0.006 + loose * (0.002 + 0.006 * spec.fit + (0.004 + 0.010 * spec.fit) * fold)
    points = hull.vertices + lift[:, None] * normals
    skin = topology.faces[topology.parts["skin"]]
    used = np.unique(skin)
    _, nearest = KDTree(vertices[used]).query(points)
    skin_normals = vertex_normals(vertices, skin)[used][nearest]
    height = ((points - vertices[used][nearest]) * skin_normals).sum(1)
    points = points + np.clip(0.0045 - height, 0, 0.03)[:, None] * skin_normals
    above = np.clip(height, 0.0045, 0.03)[:, None] * skin_normals
    return dataclasses.replace(hull, vertices=points, attributes={**hull.attributes, "above": above})
