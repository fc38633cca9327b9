"""The GLB file: valid glTF 2.0, and every number in it says what the avatar says."""

import io
import json
import struct
import subprocess

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from backend.errors import MaquetteError
from backend.export.glb import base_height, glb_bytes, write_glb
from backend.rigging.avatar import ARKIT_SHAPES
from backend.rigging.pose import pose_avatar

DTYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A reader that follows the specification rather than the writer."""

    def __init__(self, data):
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        self.json = json.loads(data[20 : 20 + size])
        binary, kind = struct.unpack_from("<I4s", data, 20 + size)
        assert kind == b"BIN\0"
        self.blob = data[28 + size :]
        assert len(self.blob) == binary

    def view(self, index):
        view = self.json["bufferViews"][index]
        assert view["byteOffset"] % 4 == 0
        return self.blob[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]

    def array(self, index):
        accessor = self.json["accessors"][index]
        shape = (accessor["count"], WIDTHS[accessor["type"]])
        result = np.zeros(shape, DTYPES[accessor["componentType"]])
        if "bufferView" in accessor:
            result = np.frombuffer(self.view(accessor["bufferView"]), result.dtype).reshape(shape).copy()
        if sparse := accessor.get("sparse"):
            rows = np.frombuffer(self.view(sparse["indices"]["bufferView"]), DTYPES[sparse["indices"]["componentType"]])
            values = np.frombuffer(self.view(sparse["values"]["bufferView"]), result.dtype).reshape(-1, shape[1])
            result[rows] = values
        if "min" in accessor:
            np.testing.assert_array_equal(result.min(0), accessor["min"])
            np.testing.assert_array_equal(result.max(0), accessor["max"])
        return result[:, 0] if shape[1] == 1 else result

    def primitive(self, part):
        (primitive,) = self.json["meshes"][part]["primitives"]
        return primitive

    def attribute(self, part, name):
        return self.array(self.primitive(part)["attributes"][name])

    def joint_matrices(self, turns=None):
        """World matrices of the skin's joints, each turned by `turns[name]` in its own axes."""
        nodes = self.json["nodes"]
        parents = {child: parent for parent, node in enumerate(nodes) for child in node.get("children", [])}

        def world(index):
            matrix = np.eye(4)
            matrix[:3, :3] = Rotation.from_quat(nodes[index].get("rotation", [0, 0, 0, 1])).as_matrix()
            matrix[:3, :3] = matrix[:3, :3] @ (turns or {}).get(nodes[index].get("name"), np.eye(3))
            matrix[:3, 3] = nodes[index].get("translation", [0, 0, 0])
            return world(parents[index]) @ matrix if index in parents else matrix

        return np.array([world(joint) for joint in self.json["skins"][0]["joints"]])

    def skinned(self, part, keys=None, turns=None):
        """Vertex positions as a viewer computes them."""
        positions = self.attribute(part, "POSITION").astype(float)
        names = self.json["meshes"][part].get("extras", {}).get("targetNames", [])
        for name, target in zip(names, self.primitive(part).get("targets", []), strict=True):
            positions += (keys or {}).get(name, 0) * self.array(target["POSITION"])
        inverse_binds = self.array(self.json["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        matrices = self.joint_matrices(turns) @ inverse_binds
        matrices = np.einsum(
            "vk,vkij->vij", self.attribute(part, "WEIGHTS_0"), matrices[self.attribute(part, "JOINTS_0")]
        )
        return np.einsum("vij,vj->vi", matrices[:, :3], np.column_stack([positions, np.ones(len(positions))]))


@pytest.fixture(scope="module")
def glb(avatar):
    return Glb(glb_bytes(avatar))


def to_gltf(points, avatar):
    x, y, z = (points + np.array([0, 0, base_height(avatar)])).T
    return np.stack([x, z, -y], 1)


def corners(glb, part, values):
    """One row per corner of each triangle, in file order."""
    return values[glb.array(glb.primitive(part)["indices"])]


def test_the_khronos_validator_finds_nothing(avatar, node, tmp_path):
    write_glb(avatar, tmp_path / "avatar.glb")
    command = ["node", node / "validate.mjs", tmp_path / "avatar.glb"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    assert report["issues"]["messages"] == []
    assert report["issues"]["numErrors"] == report["issues"]["numWarnings"] == 0
    assert report["info"]["hasMorphTargets"] and report["info"]["hasSkins"] and report["info"]["hasTextures"]


def test_the_validator_does_complain_about_a_bad_file(avatar, node, tmp_path):
    data = bytearray(glb_bytes(avatar))
    at = data.index(b'"WEIGHTS_0":') + len(b'"WEIGHTS_0":')
    data[at : at + 1] = b"0"  # weights that are positions
    (tmp_path / "bad.glb").write_bytes(data)
    command = ["node", node / "validate.mjs", tmp_path / "bad.glb"]
    (report,) = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    assert report["issues"]["numErrors"] > 0


def test_the_same_avatar_gives_the_same_bytes(avatar):
    assert glb_bytes(avatar) == glb_bytes(avatar)


def test_it_stands_on_the_ground_and_looks_along_z(glb, avatar):
    lowest = min(glb.attribute(part, "POSITION")[:, 1].min() for part in range(len(avatar.parts)))
    assert lowest == pytest.approx(0, abs=1e-7)
    head = glb.attribute(0, "POSITION")
    nose = head[head[:, 2].argmax()]
    assert abs(nose[0]) < 1e-3
    assert glb.attribute(1, "POSITION")[:, 0].mean() == pytest.approx(0.032, abs=1e-3)  # the left eye is at +X
    assert glb.json["asset"]["extras"]["headFrameHeight"] == base_height(avatar)


def test_every_corner_has_its_position_texture_coordinate_and_outward_normal(glb, avatar):
    for index, part in enumerate(avatar.parts):
        mesh = part.mesh
        expected = to_gltf(mesh.vertices, avatar)[mesh.faces.ravel()]
        np.testing.assert_allclose(corners(glb, index, glb.attribute(index, "POSITION")), expected, atol=1e-7)
        expected = mesh.uvs[mesh.uv_faces.ravel()] * [1, -1] + [0, 1]
        np.testing.assert_allclose(corners(glb, index, glb.attribute(index, "TEXCOORD_0")), expected, atol=1e-7)
        normals = glb.attribute(index, "NORMAL")
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
        a, b, c = to_gltf(mesh.vertices, avatar)[mesh.faces].transpose(1, 0, 2)
        outwards = np.cross(b - a, c - a)
        assert (np.einsum("fkc,fc->fk", corners(glb, index, normals).reshape(-1, 3, 3), outwards) > 0).mean() > 0.99


def test_vertices_are_doubled_at_the_seam_alone_and_shading_runs_across_it(glb, avatar):
    mesh, positions, normals = avatar.parts[0].mesh, glb.attribute(0, "POSITION"), glb.attribute(0, "NORMAL")
    pairs = {(v, t) for face in zip(mesh.faces, mesh.uv_faces, strict=True) for v, t in zip(*face, strict=True)}
    assert len(positions) == len(pairs)
    _, first, inverse = np.unique(positions, axis=0, return_index=True, return_inverse=True)
    assert len(first) == len(mesh.vertices)
    np.testing.assert_array_equal(normals, normals[first][inverse.ravel()])


def test_the_head_has_all_52_keys_by_name_and_other_parts_their_own(glb, avatar):
    for index, part in enumerate(avatar.parts):
        mesh = glb.json["meshes"][index]
        names = mesh.get("extras", {}).get("targetNames", [])
        assert names == (list(ARKIT_SHAPES) if index == 0 else list(part.shape_keys))
        assert mesh.get("weights", []) == [0] * len(names)


def test_keys_move_what_the_avatar_says_and_normals_follow(glb, avatar):
    for index, part in enumerate(avatar.parts):
        for name in part.shape_keys:
            (posed,) = pose_avatar(type(avatar)([part], avatar.skeleton), {name: 1.0})
            expected = to_gltf(posed, avatar)[part.mesh.faces.ravel()]
            np.testing.assert_allclose(corners(glb, index, glb.skinned(index, {name: 1.0})), expected, atol=2e-6)
    jaw = glb.primitive(0)["targets"][ARKIT_SHAPES.index("jawOpen")]
    turned = glb.attribute(0, "NORMAL") + glb.array(jaw["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1, atol=2e-3)
    assert np.abs(glb.array(jaw["NORMAL"])).max() > 0.1


def test_keys_that_move_little_are_stored_sparsely(glb):
    accessors = [glb.json["accessors"][target["POSITION"]] for target in glb.primitive(0)["targets"]]
    still = accessors[ARKIT_SHAPES.index("tongueOut")]
    assert "sparse" not in still and "bufferView" not in still
    assert sum("sparse" in accessor for accessor in accessors) >= 50


def test_bones_turn_as_they_do_in_the_avatar(glb, avatar):
    """A turn about the head frame's axes, carried into each bone's own, gives the same posed surface."""
    rest = {name: matrix[:3, :3] for name, matrix in zip(avatar.skeleton.names, glb.joint_matrices(), strict=True)}
    to_axes = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    turns = {"Neck": [0.2, 0.1, 0.5], "Jaw": [0.4, 0, 0], "LeftEye": [0.1, 0, 0.4]}
    turns = {name: Rotation.from_rotvec(vector).as_matrix() for name, vector in turns.items()}
    in_bone = {name: rest[name].T @ to_axes @ turn @ to_axes.T @ rest[name] for name, turn in turns.items()}
    for index, posed in enumerate(pose_avatar(avatar, {}, turns)):
        expected = to_gltf(posed, avatar)[avatar.parts[index].mesh.faces.ravel()]
        np.testing.assert_allclose(corners(glb, index, glb.skinned(index, turns=in_bone)), expected, atol=1e-6)


def test_joints_carry_the_bones_names_places_and_directions(glb, avatar):
    skeleton = avatar.skeleton
    nodes = glb.json["nodes"]
    assert [nodes[joint]["name"] for joint in glb.json["skins"][0]["joints"]] == list(skeleton.names)
    for matrix, head, tail in zip(glb.joint_matrices(), skeleton.heads, skeleton.tails, strict=True):
        np.testing.assert_allclose(matrix[:3, 3], to_gltf(head[None], avatar)[0], atol=1e-9)
        along = to_gltf(tail[None], avatar)[0] - to_gltf(head[None], avatar)[0]
        np.testing.assert_allclose(matrix[:3, 1], along / np.linalg.norm(along), atol=1e-9)


def test_skin_weights_are_in_the_form_that_glTF_asks_for(glb, avatar):
    for index in range(len(avatar.parts)):
        joints, weights = glb.attribute(index, "JOINTS_0"), glb.attribute(index, "WEIGHTS_0")
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
        assert (joints[weights == 0] == 0).all()
        assert joints.max() < len(avatar.skeleton.names)


def test_textures_are_embedded_and_materials_say_how_to_draw_them(glb, avatar):
    for index, part in enumerate(avatar.parts):
        image, material = glb.json["images"][index], glb.json["materials"][index]
        picture = np.asarray(Image.open(io.BytesIO(glb.view(image["bufferView"]))))
        assert picture.shape == part.texture.shape
        difference = np.abs(picture.astype(int) - part.texture)
        assert image["mimeType"] == ("image/png" if part.material.alpha_mask else "image/jpeg")
        assert difference.max() == 0 if part.material.alpha_mask else difference.mean() < 2
        assert material.get("alphaMode", "OPAQUE") == ("MASK" if part.material.alpha_mask else "OPAQUE")
        assert material.get("doubleSided", False) == part.material.double_sided
        surface = material["pbrMetallicRoughness"]
        assert (surface["metallicFactor"], surface["roughnessFactor"]) == (0, part.material.roughness)
        assert glb.json["textures"][surface["baseColorTexture"]["index"]]["source"] == index
        assert glb.primitive(index)["material"] == index


def test_a_place_that_cannot_be_written_is_one_sentence_and_leaves_nothing(avatar, tmp_path):
    (tmp_path / "avatar.glb").mkdir()
    with pytest.raises(MaquetteError, match=r"avatar.glb cannot be written \(is a directory\)"):
        write_glb(avatar, tmp_path / "avatar.glb")
    with pytest.raises(MaquetteError, match="no such file or directory"):
        write_glb(avatar, tmp_path / "missing" / "avatar.glb")
    assert [path.name for path in tmp_path.rglob("*")] == ["avatar.glb"]
