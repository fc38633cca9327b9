"""Imports an avatar.glb into real Blender and checks what an artist gets; prints what it found as JSON.

Usage: ``python check_glb_import.py avatar.glb`` in an environment with any ``bpy`` from 4.2, or
``blender --background --factory-startup --python check_glb_import.py -- avatar.glb``. Exit status 1 and one line per
finding when something is wrong. Needs only Blender itself, so that one file serves all versions.
"""

import json
import struct
import sys
from pathlib import Path

import bpy
from mathutils import Vector

KEYS_OF_A_HEAD = 52


def read_document(path: Path) -> dict:
    """The JSON chunk of a GLB file."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length])


def base_colour_image(material: bpy.types.Material) -> bpy.types.Image | None:
    """The image whose colour reaches Principled BSDF's Base Color, through whatever lies between."""
    shaders = [node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED"]
    waiting = [link.from_node for shader in shaders for link in shader.inputs["Base Color"].links]
    while waiting:
        node = waiting.pop()
        if node.type == "TEX_IMAGE":
            return node.image
        waiting += [link.from_node for socket in node.inputs for link in socket.links]
    return None


def check_part(found: bpy.types.Object, mesh: dict, armature: bpy.types.Object) -> list[str]:
    """What is wrong with one imported object."""
    wrong = []
    expected = mesh.get("extras", {}).get("targetNames", [])
    keys = found.data.shape_keys
    names = [key.name for key in keys.key_blocks[1:]] if keys else []
    if names != expected:
        wrong.append(f"has the shape keys {names}")
    if keys and any(key.value for key in keys.key_blocks[1:]):
        wrong.append("has a shape key switched on")
    modifiers = [modifier for modifier in found.modifiers if modifier.type == "ARMATURE"]
    if [modifier.object for modifier in modifiers] != [armature]:
        wrong.append("does not hang on the armature")
    if not {group.name for group in found.vertex_groups} <= {bone.name for bone in armature.data.bones}:
        wrong.append("has vertex groups without a bone")
    if any(abs(sum(group.weight for group in vertex.groups) - 1) > 1e-4 for vertex in found.data.vertices):
        wrong.append("has skin weights that do not sum to one")
    if not found.data.uv_layers:
        wrong.append("has no UV map")
    image = base_colour_image(found.data.materials[0]) if found.data.materials else None
    if image is None or not all(image.size) or not image.packed_file or image.colorspace_settings.name != "sRGB":
        wrong.append("has no packed sRGB texture connected to Base Color")
    return [f"{found.name} {sentence}" for sentence in wrong]


def check_movement(found: bpy.types.Object, armature: bpy.types.Object, key: str, bone: str) -> list[str]:
    """Whether a key and a bone really move the evaluated surface."""

    def surface() -> list[Vector]:
        bpy.context.view_layer.update()
        evaluated = found.evaluated_get(bpy.context.evaluated_depsgraph_get())
        return [found.matrix_world @ vertex.co for vertex in evaluated.data.vertices]

    def moved() -> float:
        return max((a - b).length for a, b in zip(rest, surface(), strict=True))

    wrong, rest = [], surface()
    found.data.shape_keys.key_blocks[key].value = 1
    if moved() < 1e-3:
        wrong.append(f"{key} moves nothing")
    found.data.shape_keys.key_blocks[key].value = 0
    pose_bone = armature.pose.bones[bone]
    pose_bone.rotation_mode = "XYZ"
    pose_bone.rotation_euler = (0.3, 0, 0)
    if moved() < 1e-3:
        wrong.append(f"turning {bone} moves nothing")
    pose_bone.rotation_euler = (0, 0, 0)
    if moved() > 1e-6:
        wrong.append("the surface does not return to rest")
    return wrong


def main(path: Path) -> int:
    document = read_document(path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(path))
    objects = bpy.context.scene.objects
    armatures = [item for item in objects if item.type == "ARMATURE"]
    wrong = [] if len(armatures) == 1 else [f"{len(armatures)} armatures"]
    armature = armatures[0]
    joints = [document["nodes"][joint] for joint in document["skins"][0]["joints"]]
    if sorted(bone.name for bone in armature.data.bones) != sorted(joint["name"] for joint in joints):
        wrong.append(f"bones {[bone.name for bone in armature.data.bones]}")
    nodes = [node for node in document["nodes"] if "mesh" in node]
    for node in nodes:
        if node["name"] not in objects:
            wrong.append(f"part {node['name']} is missing")
            continue
        wrong += check_part(objects[node["name"]], document["meshes"][node["mesh"]], armature)
    head = objects[nodes[0]["name"]]
    keys = [key.name for key in head.data.shape_keys.key_blocks[1:]]
    if len(keys) != KEYS_OF_A_HEAD:
        wrong.append(f"the head has {len(keys)} shape keys")
    wrong += check_movement(head, armature, "jawOpen", "Head")

    # The importer adds an object of its own, the shape it draws bones with.
    parts = [objects[node["name"]] for node in nodes if node["name"] in objects]
    corners = [part.matrix_world @ Vector(corner) for part in parts for corner in part.bound_box]
    lowest = min(corner.z for corner in corners)
    if abs(lowest) > 1e-4:
        wrong.append(f"the avatar's lowest point is at height {lowest:.4f} m")
    size = max(corner.z for corner in corners)
    if not 0.1 < size < 1.0:
        wrong.append(f"the avatar is {size:.2f} m high")
    bones = {
        bone.name: [*bone.head_local, *(bone.tail_local - bone.head_local).normalized()] for bone in armature.data.bones
    }
    print(
        json.dumps(
            {
                "blender": bpy.app.version_string,
                "parts": [part.name for part in parts],
                "keys": keys,
                "height": size,
                "bones": bones,
                "wrong": wrong,
            }
        )
    )
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[-1]).resolve()))
