"""More scenarios like those of `scenarios.py`: the packer, Rigify, saved expressions. ``python extras.py NAME``."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # a Blender program does not look beside the script that it runs

from scenarios import avatars, bpy, install, moved, part, surface, tell
from screen import read


def packer(given):
    """What this Blender's own packer says of the zip, and of the same unpacked."""
    scripts = Path(bpy.utils.system_resource("SCRIPTS"))
    program, said = scripts / "addons_core/bl_pkg/cli/blender_ext.py", []
    tags = next(scripts.glob("**/extensions/tags.py"))
    folder = Path(given["data"], "unpacked")
    zipfile.ZipFile(given["zip"]).extractall(folder)
    for more in (["validate", given["zip"]], ["build", "--source-dir", str(folder), "--output-dir", given["data"]]):
        command = [sys.executable, "-I", str(program), more[0], f"--valid-tags={tags}", *more[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said.append((done.returncode, done.stdout + done.stderr))
    return {"said": said, "built": [path.name for path in Path(given["data"]).glob("*.zip")]}


def metarig(given):
    """Rigify makes a rig of the avatar's bones; turning its controls moves the mesh."""
    install(given)
    bpy.ops.maquette.import_avatar(filepath=given["avatar"])
    armature = bpy.data.objects[avatars()[0]]
    head = part("avatar_operators").head_of(armature)
    armature.location = (0.5, 0.2, 0.1)
    rest = surface(head)
    bpy.ops.maquette.add_metarig()
    made = bpy.context.object
    types = {bone.name: bone.rigify_type for bone in made.pose.bones}
    aligned = max(
        (bone.matrix_local.inverted() @ made.data.bones[bone.name].matrix_local).translation.length
        for bone in armature.data.bones
    )
    bpy.ops.pose.rigify_generate()
    rig = next(each for each in bpy.data.objects if each.type == "ARMATURE" and each not in (armature, made))
    generated = moved(rest, surface(head))
    found = {}
    for control in ("neck", "head", "Jaw"):
        rig.pose.bones[control].rotation_mode = "XYZ"
        rig.pose.bones[control].rotation_euler.x = 0.3
        found[control] = moved(rest, surface(head))
        rig.pose.bones[control].rotation_euler.x = 0
    bpy.context.view_layer.objects.active = made
    bpy.ops.pose.rigify_generate()
    constraints = {bone.name: len(bone.constraints) for bone in armature.pose.bones}
    return {
        "types": types,
        "aligned": aligned,
        "generated": generated,
        "found": found,
        "again": moved(rest, surface(head)),
        "constraints": constraints,
        "deform": sorted(bone.name for bone in rig.data.bones if bone.name.startswith("DEF-")),
        "controls": sorted(bone.name for bone in rig.data.bones if not bone.name.startswith(("DEF-", "ORG-", "MCH-"))),
        "hidden": armature.hide_get(),
    }


def no_rigify(given):
    install(given)
    bpy.ops.maquette.import_avatar(filepath=given["avatar"])
    vars(part("rigify_metarig"))["_RIGIFY"] = "no_such_add_on"
    try:
        bpy.ops.maquette.add_metarig()
    except RuntimeError as error:
        return {"sentence": str(error), "armatures": len(bpy.data.armatures)}


def saved_expressions(given):
    """The sliders as they are, kept under a name, used on another avatar, and deleted."""
    install(given)
    root = part("running").current_settings().root
    for _ in range(2):
        bpy.ops.maquette.import_avatar(filepath=given["avatar"])
    first, second = (part("avatar_operators").head_of(bpy.data.objects[name]) for name in avatars())
    select(first)
    sentences = []
    for name in ("Nothing", "Smile", "Half smile"):  # no slider is moved; taken; fine
        first.data.shape_keys.key_blocks["mouthSmileLeft"].value = 0.0 if name == "Nothing" else 0.4
        try:
            bpy.ops.maquette.save_expression(name=name)
        except RuntimeError as error:
            sentences.append(str(error))
    select(second)
    bpy.ops.maquette.expression(preset="Half smile", strength=0.5)
    used = {block.name: block.value for block in second.data.shape_keys.key_blocks[1:] if block.value}
    drawn = [text for kind, text in read(part("panels").MAQUETTE_PT_avatar) if kind == "button"]
    bpy.ops.maquette.delete_expression(preset="Half smile")
    try:
        bpy.ops.maquette.expression(preset="Half smile")
    except RuntimeError as error:
        sentences.append(str(error))
    return {"sentences": sentences, "used": used, "drawn": drawn, "file": (root / "expressions.json").read_text()}


def select(thing):
    bpy.context.view_layer.objects.active = thing


if __name__ == "__main__":
    tell(globals()[sys.argv[-1]])
    if sys.argv[-1] == "metarig":  # Blender with Rigify never ends (4.5) or crashes at its end (4.2), also without us
        sys.stdout.flush()
        os._exit(0)
