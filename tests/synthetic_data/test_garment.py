"""Clothes cover the body and leave the neck free; patterns follow the cloth."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial import KDTree

from backend.body_model.anny import load_anny
from synthetic_data.appearance.clipping import clip
from synthetic_data.appearance.cutting import bust, cloth_coordinates, neckline
from synthetic_data.appearance.garment import cut_skin, hidden_skin, make_garment
from synthetic_data.appearance.hull import skin_border
from synthetic_data.appearance.patterns import cloth_tile
from synthetic_data.appearance.pieces import boundary_edges, plain_patch, thicken
from synthetic_data.identity import GARMENT_KINDS, PATTERNS, sample_identity
from synthetic_data.posing import posed_vertices
from synthetic_data.surface import extract, vertex_normals


@pytest.fixture(scope="module")
def person():
    return sample_identity(load_anny(), 3, 1, expression_gain=0.0)


@pytest.fixture(scope="module")
def vertices(person):
    return posed_vertices(person, load_anny())


@pytest.mark.parametrize("kind", GARMENT_KINDS)
def test_every_kind_is_made_of_sound_pieces_below_the_face(kind, person, vertices):
    spec = dataclasses.replace(person.garment, kind=kind)
    pieces = make_garment(load_anny(), vertices, spec)
    assert pieces
    for piece in pieces:
        assert np.isfinite(piece.patch.vertices).all() and np.isfinite(piece.patch.corner_uvs).all(), piece.name
        assert piece.patch.faces.max() < len(piece.patch.vertices)
        assert piece.patch.vertices[:, 2].max() < 0.0, piece.name  # the mouth stays free
        assert piece.segment == "garment"


@pytest.mark.parametrize("kind", GARMENT_KINDS)
def test_hidden_skin_is_under_cloth(kind, person, vertices):
    model = load_anny()
    spec = dataclasses.replace(person.garment, kind=kind)
    skin = model.topology.faces[model.topology.parts["skin"]]
    hidden = skin[hidden_skin(model, spec)]
    hidden = hidden[(bust(model.template)[hidden] > 0).all(1)]
    assert len(hidden) > 50
    centres = vertices[hidden].mean(1)
    cloth = np.concatenate([p.patch.vertices for p in make_garment(model, vertices, spec)])
    assert KDTree(cloth).query(centres)[0].max() < 0.035


@pytest.mark.parametrize("kind", ["tee", "suit", "tank top"])
def test_the_bust_ends_in_a_smooth_line_and_is_closed_from_below(kind, person, vertices):
    model = load_anny()
    pieces = {p.name: p.patch for p in make_garment(model, vertices, dataclasses.replace(person.garment, kind=kind))}
    template = {"template": model.template}
    skin = model.topology.parts["skin"]
    whole = extract(vertices, model.topology.faces[skin], model.topology.uvs[model.topology.uv_faces[skin]], template)
    bare = cut_skin(whole)
    assert bust(bare.attributes["template"]).min() > -0.003
    sheet = KDTree(pieces["underside"].vertices)
    for patch in (pieces["garment"], bare):
        # Every border that is no neckline is where the sheet begins.
        border = patch.vertices[np.unique(boundary_edges(patch.faces))] if patch is bare else patch.vertices
        assert sheet.query(border[border[:, 2] < vertices[:, 2].min() + 0.03])[0].max(initial=0) < 0.03


def test_a_lower_neckline_shows_more_skin(person):
    model = load_anny()
    for kind in ("tee", "v-neck", "scoop", "off shoulder"):
        high, low = (
            (neckline(model.template, dataclasses.replace(person.garment, kind=kind, neckline=n)) > 0).sum()
            for n in (0.0, 1.0)
        )
        assert low < high, kind


def test_stripes_are_level_on_the_breast_and_go_on_over_the_shoulder():
    breast = np.array([[x, -0.06, -0.2] for x in np.linspace(-0.1, 0.1, 9)])
    down = cloth_coordinates(breast)[:, 1]
    assert np.ptp(down) < 0.012
    lower = cloth_coordinates(breast - [0, 0, 0.02])[:, 1]
    # The breast slopes, so that a step down is somewhat less along the lines that run over the shoulder.
    assert ((lower - down > 0.012) & (lower - down < 0.021)).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_tile_repeats_without_a_seam_in_its_colours(pattern, person):
    tile, side = cloth_tile(dataclasses.replace(person.garment, pattern=pattern))
    assert side > 0.01 and tile[..., :3].min() >= 0 and tile[..., :3].max() <= 1.3
    if pattern in ("plain", "heather", "print"):
        inner = np.abs(np.diff(tile[..., :3], axis=0)).mean()
        seam = np.abs(tile[0, :, :3] - tile[-1, :, :3]).mean()
        assert seam < 3 * inner + 0.01
    if pattern not in ("plain", "heather"):
        plain, _ = cloth_tile(dataclasses.replace(person.garment, pattern="plain"))
        assert tile[..., :3].std() > 2 * plain[..., :3].std()


def test_a_thick_sheet_is_closed():
    sheet = plain_patch(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    assert len(boundary_edges(sheet.faces)) == 4
    assert len(boundary_edges(thicken(sheet, 0.1).faces)) == 0


def test_clip_cuts_where_the_value_vanishes():
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0), indexing="ij"), -1).reshape(-1, 2)
    points = np.c_[grid, np.zeros(25)]
    index = np.arange(16) + np.arange(16) // 4
    faces = np.concatenate([np.stack([index, index + 5, index + 6], 1), np.stack([index, index + 6, index + 1], 1)])
    cut = clip(plain_patch(points, faces), points[:, 0] - 1.3)
    a, b, c = (cut.vertices[cut.faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    np.testing.assert_allclose(area, 2.7 * 4)
    np.testing.assert_allclose(cut.vertices[:, 0].min(), 1.3)


def test_the_same_garment_twice_is_the_same(person, vertices):
    one, two = (make_garment(load_anny(), vertices, person.garment) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.patch.vertices, b.patch.vertices)


@pytest.mark.parametrize("index", [1, 9, 17, 36])
def test_a_tie_goes_under_the_fronts_of_the_jacket(index):
    model = load_anny()
    person = sample_identity(model, 1, index)
    spec = dataclasses.replace(person.garment, kind="suit")
    pieces = {p.name: p.patch for p in make_garment(model, posed_vertices(person, model), spec)}
    # The first half of a thick sheet is its outside.
    outside, tie = pieces["garment"], pieces["tie"].vertices
    count = len(outside.vertices) // 2
    faces = outside.faces[(outside.faces < count).all(1)]
    jacket = outside.vertices[:count]
    border = KDTree(jacket[np.unique(boundary_edges(faces))])
    nearest = KDTree(jacket).query(tie)[1]
    over = ((tie - jacket[nearest]) * vertex_normals(jacket, faces)[nearest]).sum(1)
    # Away from the edges of the fronts every point that lies on the jacket lies under it.
    covered = border.query(jacket[nearest])[0] > 0.002
    assert covered.sum() > 20
    assert over[covered].max() < 0.0


@pytest.mark.parametrize("kind", ["tank top", "off shoulder"])
def test_the_edge_of_a_garment_on_bare_skin_lies_on_it(kind, person, vertices):
    model = load_anny()
    pieces = {p.name: p.patch for p in make_garment(model, vertices, dataclasses.replace(person.garment, kind=kind))}
    cloth, sheet = pieces["garment"], pieces["underside"].vertices
    faces = cloth.faces[(cloth.faces < len(cloth.vertices) // 2).all(1)]
    edge = cloth.vertices[np.unique(boundary_edges(faces))]
    edge = edge[KDTree(sheet).query(edge)[0] > 0.015]
    skin = model.topology.faces[model.topology.parts["skin"]]
    used = np.unique(skin)
    nearest = KDTree(vertices[used]).query(edge)[1]
    height = ((edge - vertices[used][nearest]) * vertex_normals(vertices, skin)[used][nearest]).sum(1)
    assert len(edge) > 50
    assert np.percentile(height, 95) < 0.0045
    # The sheet below begins where the bare arms end.
    sides = sheet.reshape(7, -1, 3)[[0, -1]].reshape(-1, 3)
    template = model.template[used][KDTree(vertices[used]).query(sides)[1]]
    bare = neckline(template, dataclasses.replace(person.garment, kind=kind)) < -0.01
    assert KDTree(skin_border(model, vertices)).query(sides[bare])[0].max(initial=0) < 0.002
    assert bare.any() or kind != "tank top"


def test_a_collar_keeps_clear_of_the_chin(person, vertices):
    model = load_anny()
    skin = model.topology.faces[model.topology.parts["skin"]]
    jaw = (model.template[:, 2] > -0.10) & (model.template[:, 1] < 0.03)
    jaw = np.intersect1d(np.unique(skin), np.flatnonzero(jaw))
    normals = vertex_normals(vertices, skin)[jaw]
    for kind in ("turtleneck", "shirt", "suit"):
        for piece in make_garment(model, vertices, dataclasses.replace(person.garment, kind=kind)):
            if piece.name != "collar":
                continue
            points = piece.patch.vertices
            distance, nearest = KDTree(vertices[jaw]).query(points)
            height = ((points - vertices[jaw][nearest]) * normals[nearest]).sum(1)
            assert height[distance < 0.015].min(initial=1) > -0.001, kind
