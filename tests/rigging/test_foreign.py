"""Heads from elsewhere: found in whatever axes and unit they come, recognised part by part, and rigged."""

import io

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from backend import pipeline
from backend.api import ErrorCode
from backend.body_model.anny import load_anny
from backend.body_model.base import defaults
from backend.errors import MaquetteError
from backend.export.arrays import read_npz, write_npz
from backend.export.glb import base_height, write_glb
from backend.meshing.distance import SurfaceSamples
from backend.meshing.hidden import DepthMaps
from backend.meshing.levelset import compact, evaluate_grid, extract, taubin_smooth
from backend.meshing.mesh import Mesh
from backend.meshing.shells import decimate
from backend.rigging.assemble import rigged_part
from backend.rigging.attach import Attachment
from backend.rigging.avatar import Material, RiggedAvatar
from backend.rigging.foreign import place, rig_mesh
from backend.rigging.foreign_file import Piece, read_pieces
from backend.rigging.pose import pose_avatar

TO_GLTF = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
HALF_TURN = np.diag([-1.0, -1, 1])
BROWN, GREEN = (180, 120, 90), (40, 160, 60)


def part_of(model, name, keys):
    """One part of Anny, with the model's own texture coordinates; the left half of its picture is green."""
    topology = model.topology
    indices = topology.parts[name]
    faces, uv_faces = topology.faces[indices], topology.uv_faces[indices]
    neutral = model.neutral(defaults(model.identity_parameters))
    if name == "skin":
        # A bust, as the avatars are.
        kept = neutral[faces, 2].min(1) > -0.2
        faces, uv_faces = faces[kept], uv_faces[kept]
    used = np.unique(faces)
    vertices, local = compact(neutral, faces)
    uvs, local_uv = compact(topology.uvs, uv_faces)
    texture = np.full((128, 128, 3), BROWN, np.uint8)
    texture[:, :64] = GREEN
    return rigged_part(
        "head" if name == "skin" else name,
        Mesh(vertices, local, uvs, local_uv),
        texture,
        Material(),
        Attachment.same(used),
        keys,
        model.skin_weights,
    )


@pytest.fixture(scope="module")
def avatar():
    model = load_anny()
    identity = defaults(model.identity_parameters)
    keys = model.arkit_offsets(identity)
    names = ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue")
    return RiggedAvatar([part_of(model, name, keys) for name in names], model.skeleton(identity))


@pytest.fixture(scope="module")
def like(avatar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("like")
    write_npz(avatar, folder / "avatar.npz")
    return folder


@pytest.fixture(scope="module")
def copy(avatar):
    """The head, smoothed and with half of its triangles."""
    head = avatar.parts[0].mesh
    smooth = taubin_smooth(head.vertices, head.faces, 3)
    return decimate(smooth, head.faces, len(head.faces) // 2)


@pytest.fixture(scope="module")
def rigged_copy(copy, like, tmp_path_factory):
    """An STL in millimetres, standing on the floor: no names, no texture, every triangle on its own."""
    vertices, faces = copy
    path = tmp_path_factory.mktemp("copy") / "copy.stl"
    trimesh.Trimesh(1000 * (vertices + np.array([0, 0, 1.4])), faces, process=False).export(path)
    return rig_mesh(path, like)


def displaced(avatar, key):
    rest, posed = pose_avatar(avatar, {})[0], pose_avatar(avatar, {key: 1.0})[0]
    return rest, posed - rest


def full_weights(part, bones):
    weights = np.zeros((len(part.weights), bones))
    np.add.at(weights, (np.arange(len(weights))[:, None], part.joints), part.weights)
    return weights


# ---- where it lies


@given(
    turn=st.sampled_from([np.eye(3), TO_GLTF, HALF_TURN, TO_GLTF @ HALF_TURN]),
    unit=st.sampled_from([1.0, 100.0, 1000.0]),
    offset=st.tuples(*[st.floats(-3, 3)] * 3),
)
@settings(max_examples=4, deadline=None)
def test_axes_unit_and_offset_are_recovered(avatar, copy, turn, unit, offset):
    vertices, faces = copy
    pieces = [piece_of(((vertices + np.array(offset)) @ turn.T) * unit, faces)]
    found = place(pieces, avatar)
    assert found is not None
    assert np.abs(found.apply(pieces[0].mesh.vertices) - vertices).max() < 0.0015


def piece_of(vertices, faces):
    return Piece(("x",), Mesh(vertices, faces, np.zeros((1, 2)), np.zeros_like(faces)), False, None, None, None)


def test_a_crooked_head_is_straightened(avatar, copy):
    vertices, faces = copy
    turn = Rotation.from_euler("xyz", [6, -5, 8], degrees=True).as_matrix()
    pieces = [piece_of(vertices @ turn.T + [0.02, 0.01, 1.5], faces)]
    found = place(pieces, avatar)
    assert np.abs(found.apply(pieces[0].mesh.vertices) - vertices).max() < 0.0015


def test_our_own_glb_comes_back_exactly(avatar, tmp_path):
    write_glb(avatar, tmp_path / "avatar.glb")
    found = place(read_pieces(tmp_path / "avatar.glb"), avatar)
    assert found.usual and found.scale == 1
    np.testing.assert_allclose(found.translation, [0, 0, -base_height(avatar)], atol=1e-6)


# ---- the avatar itself, out and in


def test_an_avatar_keeps_its_rig_through_glb(avatar, like, tmp_path):
    write_glb(avatar, tmp_path / "avatar.glb")
    again = rig_mesh(tmp_path / "avatar.glb", like)
    assert {part.name for part in again.parts} == {part.name for part in avatar.parts}
    assert again.parts[0].name == "head"
    parts = {part.name: part for part in again.parts}
    for part in avatar.parts:
        same = KDTree(parts[part.name].mesh.vertices).query(part.mesh.vertices)[1]
        assert set(parts[part.name].shape_keys) >= {k for k, v in part.shape_keys.items() if np.abs(v).max() > 1e-4}
        for key, offsets in part.shape_keys.items():
            if key in parts[part.name].shape_keys:
                error = np.linalg.norm(parts[part.name].shape_keys[key][same] - offsets, axis=1)
                assert np.quantile(error, 0.99) < 1e-4, (part.name, key)
        bones = len(avatar.skeleton.names)
        weights = full_weights(parts[part.name], bones)[same]
        assert np.quantile(np.abs(weights - full_weights(part, bones)), 0.99) < 1e-3


def test_texture_and_coordinates_of_the_artist_are_kept(avatar, like, tmp_path):
    write_glb(avatar, tmp_path / "avatar.glb")
    head = rig_mesh(tmp_path / "avatar.glb", like).parts[0]
    known = avatar.parts[0]
    assert head.texture.shape == known.texture.shape
    assert np.abs(head.texture.astype(int) - known.texture).mean() < 3  # JPEG

    def corners(mesh):
        return np.c_[mesh.vertices[mesh.faces.ravel()], mesh.uvs[mesh.uv_faces.ravel()]]

    assert KDTree(corners(head.mesh)).query(corners(known.mesh))[0].max() < 1e-5


# ---- a smoothed and decimated copy


def test_weights_of_the_copy_sum_to_one(rigged_copy):
    for part in rigged_copy.parts:
        np.testing.assert_allclose(part.weights.sum(1), 1, atol=1e-6)


def test_eyes_teeth_and_tongue_are_brought_along_behind_openings(rigged_copy, avatar):
    assert [part.name for part in rigged_copy.parts] == [part.name for part in avatar.parts]


@pytest.mark.parametrize("key", ["jawOpen", "mouthSmileLeft", "eyeBlinkRight", "browInnerUp", "mouthPucker"])
def test_keys_of_the_copy_do_what_they_did(rigged_copy, avatar, key):
    rest, moved = displaced(avatar, key)
    copied, offsets = displaced(rigged_copy, key)
    nearest = KDTree(rest).query(copied)[1]
    error = np.linalg.norm(offsets - moved[nearest], axis=1)
    strong = np.linalg.norm(moved[nearest], axis=1) > 0.3 * np.linalg.norm(moved, axis=1).max()
    assert strong.sum() > 5
    assert np.median(error[strong]) < 0.15 * np.linalg.norm(moved, axis=1).max()


def test_the_jaw_opens_and_the_lips_part(rigged_copy, avatar):
    rest, offsets = displaced(rigged_copy, "jawOpen")
    known, moved = displaced(avatar, "jawOpen")
    chin = np.linalg.norm(rest - known[moved[:, 2].argmin()], axis=1) < 0.012
    assert offsets[chin, 2].mean() < -0.015
    middle = (np.abs(rest[:, 0]) < 0.006) & (rest[:, 1] < -0.06) & (rest[:, 2] < -0.02)
    down = offsets[middle, 2]
    assert down.min() < -0.015 and down.max() > -0.004


def test_a_blink_moves_lids_not_brows(rigged_copy, avatar):
    rest, offsets = displaced(rigged_copy, "eyeBlinkLeft")
    known, brows = displaced(avatar, "browOuterUpLeft")
    brow = np.linalg.norm(rest - known[np.linalg.norm(brows, axis=1).argmax()], axis=1) < 0.008
    assert brow.any() and np.abs(offsets[brow]).max() < 0.0015
    assert offsets[:, 2].min() < -0.006


def test_without_a_texture_the_avatar_lends_its_colours(rigged_copy, avatar):
    def colours(part):
        uv = np.zeros((len(part.mesh.vertices), 2))
        uv[part.mesh.faces.ravel()] = part.mesh.uvs[part.mesh.uv_faces.ravel()]
        column = np.clip((uv[:, 0] * part.texture.shape[1]).astype(int), 0, part.texture.shape[1] - 1)
        row = np.clip(((1 - uv[:, 1]) * part.texture.shape[0]).astype(int), 0, part.texture.shape[0] - 1)
        return part.texture[row, column].astype(int)

    head, known = rigged_copy.parts[0], avatar.parts[0]
    nearest = KDTree(known.mesh.vertices).query(head.mesh.vertices)[1]
    same = np.abs(colours(head) - colours(known)[nearest]).max(1) < 30
    assert same.mean() > 0.85
    assert len(np.unique(colours(known)[nearest], axis=0)) > 1


# ---- parts


def joined(parts):
    starts = np.cumsum([0, *(len(part.mesh.vertices) for part in parts)])
    faces = [part.mesh.faces + start for part, start in zip(parts, starts, strict=False)]
    return np.concatenate([part.mesh.vertices for part in parts]), np.concatenate(faces)


def test_parts_joined_into_one_nameless_object_are_told_apart(avatar, like, tmp_path):
    vertices, faces = joined(avatar.parts)
    trimesh.Trimesh(vertices @ TO_GLTF.T * 100, faces, process=False).export(tmp_path / "joined.ply")
    made = rig_mesh(tmp_path / "joined.ply", like)
    assert sorted(part.name for part in made.parts) == sorted(part.name for part in avatar.parts)
    counts = {part.name: len(part.mesh.faces) for part in avatar.parts}
    for part in made.parts:
        assert abs(len(part.mesh.faces) - counts[part.name]) < 0.02 * counts[part.name] + 5


def test_crumbs_in_the_place_of_an_eye_are_no_eye(avatar, copy, like, tmp_path):
    crumb = trimesh.creation.icosphere(1, 0.004)
    crumb.apply_translation(avatar.parts[1].mesh.vertices[0])
    head = trimesh.Trimesh(*copy, process=False)
    trimesh.util.concatenate([head, crumb]).export(tmp_path / "crumb.stl")
    made = rig_mesh(tmp_path / "crumb.stl", like)
    assert len(made.parts[0].mesh.faces) == len(head.faces) + len(crumb.faces)
    assert [part.name for part in made.parts] == [part.name for part in avatar.parts]


def test_what_the_avatar_lacks_rides_along_under_its_own_name(avatar, like, tmp_path):
    head = avatar.parts[0]
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.Trimesh(head.mesh.vertices @ TO_GLTF.T, head.mesh.faces, process=False), "Head.001")
    above = head.mesh.vertices[head.mesh.vertices[:, 2] > -0.05]
    ear = above[above[:, 0].argmax()]
    ring = trimesh.creation.icosphere(2, 0.006)
    ring.apply_translation(TO_GLTF @ (ear + np.array([0.006, 0, -0.01])))
    scene.add_geometry(ring, "earring", "earring")
    scene.export(tmp_path / "scene.glb")
    made = rig_mesh(tmp_path / "scene.glb", like)
    parts = {part.name: part for part in made.parts}
    assert made.parts[0].name == "head" and "earring" in parts
    turned = pose_avatar(made, {}, {"Head": Rotation.from_euler("z", 40, degrees=True).as_matrix()})
    index = list(parts).index("earring")
    moved = np.linalg.norm(turned[index] - parts["earring"].mesh.vertices, axis=1)
    assert moved.min() > 0.02
    assert "jawOpen" not in parts["earring"].shape_keys or np.abs(parts["earring"].shape_keys["jawOpen"]).max() < 0.004


def test_a_closed_head_gets_no_eyes_to_pierce_its_skin(avatar, like, tmp_path):
    """Lids and lips fused, as on a level set: what is seen from outside, made thick by a voxel hull."""
    vertices, faces = joined([part for part in avatar.parts if part.name in ("head", "eye_left", "eye_right")])
    samples, maps = SurfaceSamples.spread(vertices, faces, 0.004), DepthMaps.of(vertices, faces)

    def near_or_inside(points):
        distance, _ = samples.query(points, limit=0.02)
        return np.where(maps.behind(points) > 0.003, 1.0, 0.5 - np.minimum(np.abs(distance), 0.02) / 0.006 * 0.5 + 0.25)

    hull, hull_faces = extract(evaluate_grid(near_or_inside, 0.25, 72, 0.5), 0.25, 0.5)
    trimesh.Trimesh(*decimate(hull, hull_faces, 5000), process=False).export(tmp_path / "hull.obj")
    made = rig_mesh(tmp_path / "hull.obj", like)
    assert [part.name for part in made.parts] == ["head"]
    _, offsets = displaced(made, "jawOpen")
    assert offsets[:, 2].min() < -0.012


# ---- mistakes


def _glb(mesh):
    return trimesh.Scene(mesh).export(file_type="glb")


def _broken():
    mesh = trimesh.creation.icosphere(2, 0.15)
    mesh.vertices[5] = np.nan
    return mesh.export(file_type="obj").encode()


BAD = {
    "empty.obj": b"",
    "only_points.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\n",
    "no_area.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 1 1\n",
    "missing_vertex.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n",
    "one_triangle.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "not_numbers.obj": _broken(),
    "text.stl": b"this is no mesh",
    "text.ply": b"this is no mesh",
    "zero.glb": b"",
    "truncated.glb": _glb(trimesh.creation.icosphere(3, 0.15))[:2000],
    "box.glb": _glb(trimesh.creation.box((0.2, 0.2, 0.3))),
    "ball.stl": trimesh.creation.icosphere(3, 0.12).export(file_type="stl"),
    "planet.ply": trimesh.creation.icosphere(3, 6e6).export(file_type="ply"),
    "drawing.fbx": b"Kaydara FBX Binary",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_head_is_refused_in_one_sentence(name, like, tmp_path):
    (tmp_path / name).write_bytes(BAD[name])
    with pytest.raises(MaquetteError) as failure:
        rig_mesh(tmp_path / name, like)
    assert failure.value.code is ErrorCode.BAD_MESH
    assert failure.value.message.endswith(".") and name in failure.value.message


def test_a_missing_mesh_and_a_missing_avatar_are_named(like, tmp_path):
    for mesh, avatar_folder in ((tmp_path / "none.obj", like), (tmp_path / "none.obj", tmp_path / "none")):
        with pytest.raises(MaquetteError, match="none") as failure:
            rig_mesh(mesh, avatar_folder)
        assert failure.value.code is ErrorCode.BAD_MESH


# ---- the command


def test_the_folder_of_a_rigged_head_is_an_avatar_folder(avatar, like, tmp_path):
    write_glb(avatar, tmp_path / "avatar.glb")
    stages = []
    report = pipeline.rig(tmp_path / "avatar.glb", like, tmp_path / "out", lambda stage, fraction: stages.append(stage))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "avatar.glb", "avatar.npz", "preview.png", "turntable.gif", "report.json",
    }  # fmt: skip
    assert read_npz(tmp_path / "out" / "avatar.npz").parts[0].name == "head"
    assert report["quality"]["parts"] == [part.name for part in avatar.parts]
    assert list(dict.fromkeys(stages)) == ["rig", "export"]
    with Image.open(io.BytesIO((tmp_path / "out" / "preview.png").read_bytes())) as picture:
        assert picture.size == (1024, 1024)


def test_after_a_refusal_nothing_is_left(like, tmp_path):
    (tmp_path / "bad.obj").write_text("v 0 0 0\n")
    with pytest.raises(MaquetteError):
        pipeline.rig(tmp_path / "bad.obj", like, tmp_path / "deep" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.obj"]
