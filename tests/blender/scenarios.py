"""What must hold inside Blender: ``python scenarios.py NAME`` runs one of the functions below in a fresh Blender.

Settings come as JSON on stdin: `zip` (the built extension), `avatar` (an avatar.npz), and for some scenarios `data`
(where the backend keeps its files) and `python` (an environment that holds it). Needs only Blender itself, so that one
file serves all versions. The last line on stdout is a JSON object for the test to judge.
"""

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

if "bpy" not in sys.modules:  # else a Blender program runs this, which was started with a folder of its own
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="maquette-blender-")  # never the user's own files

import bpy

MODULE = "bl_ext.user_default.maquette"
HANDLERS = ("undo_pre", "redo_pre", "load_pre", "load_post")


def install(given):
    """As a user does: from the zip."""
    done = bpy.ops.extensions.package_install_files(
        filepath=given["zip"], repo="user_default", enable_on_install=True, overwrite=True
    )
    assert done == {"FINISHED"} and MODULE in bpy.context.preferences.addons
    if "python" in given:
        configure(given)


def configure(given):
    """The preferences for a backend in an existing environment."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.python, preferences.data_folder = "ENVIRONMENT", given["python"], given["data"]
    wait(lambda: part("running").session().backend.settings.python == given["python"])


def part(name):
    """A module of the installed extension."""
    return sys.modules[f"{MODULE}.{name}"]


longest_work = 0.0  # processor seconds of one call of the timer: on a busy machine the clock counts other programs too


def wait(condition, seconds=60.0):
    """Run the add-on's timer, which never fires without a window, until something is true."""
    global longest_work
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        started = time.thread_time()
        part("running").tick()
        longest_work = max(longest_work, time.thread_time() - started)
        time.sleep(0.01)


def traces():
    """What the add-on has put into Blender."""
    return {
        "types": sorted(name for name in dir(bpy.types) if "maquette" in name.lower()),
        "scene": hasattr(bpy.types.Scene, "maquette"),
        "handlers": [name for name in HANDLERS for each in getattr(bpy.app.handlers, name) if is_ours(each)],
        "timer": bpy.app.timers.is_registered(part("running").tick),
        "threads": [thread.name for thread in threading.enumerate() if thread.name.startswith("maquette")],
        "menu": sum(map(is_ours, bpy.types.TOPBAR_MT_file_import._dyn_ui_initialize())),
    }


def is_ours(function):
    return getattr(function, "__module__", "").startswith(MODULE)


def surface(thing):
    """Evaluated vertices, metres."""
    bpy.context.view_layer.update()
    evaluated = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return [thing.matrix_world @ vertex.co for vertex in evaluated.data.vertices]


def moved(before, after):
    return max((a - b).length for a, b in zip(before, after, strict=True))


def avatars():
    return [thing.name for thing in bpy.context.scene.objects if "maquette_avatar" in thing]


def register_twice(given):
    install(given)
    addon = sys.modules[MODULE]
    for _ in range(2):
        addon.unregister()
        assert not hasattr(bpy.types.Scene, "maquette")
        addon.register()
    install(given)  # over itself
    while_on = traces()
    bpy.ops.preferences.addon_disable(module=MODULE)
    off, folder = traces(), Path(str(sys.modules[MODULE].__file__)).parent
    repositories = bpy.context.preferences.extensions.repos
    index = [repository.module for repository in repositories].index("user_default")
    was_there = folder.is_dir()
    bpy.ops.extensions.package_uninstall(repo_index=index, pkg_id="maquette")
    return {"on": while_on, "off": off, "folder": [was_there, folder.exists()]}


def import_avatar(given):
    install(given)
    started = time.perf_counter()
    bpy.ops.maquette.import_avatar(filepath=given["avatar"])
    seconds = time.perf_counter() - started
    armature = bpy.data.objects[avatars()[0]]
    parts = {child["maquette_part"]: child for child in armature.children}
    head = part("avatar_operators").head_of(armature)
    found = {}
    for name, child in parts.items():
        material = child.data.materials[0]
        nodes = material.node_tree.nodes
        shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
        image = shader.inputs["Base Color"].links[0].from_node.image
        keys = child.data.shape_keys
        found[name] = {
            "vertices": len(child.data.vertices),
            "faces": len(child.data.polygons),
            "keys": [block.name for block in keys.key_blocks[1:]] if keys else [],
            "values": [block.value for block in keys.key_blocks[1:]] if keys else [],
            "uv": [list(uv.vector) for uv in child.data.uv_layers[0].uv[:30]],
            "packed": image.packed_file is not None,
            "colour_space": image.colorspace_settings.name,
            "alpha": shader.inputs["Alpha"].is_linked,
            "groups": sorted(group.name for group in child.vertex_groups),
            "weights": max(abs(sum(g.weight for g in v.groups) - 1) for v in child.data.vertices),
            "valid": not child.data.validate(verbose=True),
        }
    rest = {name: surface(child) for name, child in parts.items()}
    following = {}
    for block in head.data.shape_keys.key_blocks[1:]:
        block.value = 1
        following[block.name] = [n for n, child in parts.items() if moved(rest[n], surface(child)) > 1e-6]
        block.value = 0
    armature.pose.bones["Head"].rotation_mode = "XYZ"
    armature.pose.bones["Head"].rotation_euler = (0.3, 0, 0)
    turned = [name for name, child in parts.items() if moved(rest[name], surface(child)) > 1e-3]
    return {
        "seconds": seconds,
        "head": head["maquette_part"],
        "parts": found,
        "following": following,
        "turned": turned,
        "lowest": min(
            rest[n][i].z for n, child in parts.items() for face in child.data.polygons for i in face.vertices
        ),
        "front": min(rest[head["maquette_part"]], key=lambda point: point.y).y,
        "bones": {b.name: [*b.head_local, *b.tail_local] for b in armature.data.bones},
        "bone_collections": {
            c.name: [c.is_visible, sorted(b.name for b in c.bones)] for c in armature.data.collections
        },
        "active": bpy.context.object.name,
        "scenes": len(bpy.data.scenes),
    }


def places(given):
    """Where avatars stand: in the scene that Blender begins with, and in one with nothing but a moved 3D cursor."""
    install(given)
    bpy.ops.maquette.import_avatar(filepath=given["avatar"])
    beside = list(bpy.data.objects[avatars()[0]].location)
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.context.scene.cursor.location = (1, 2, 0.5)
    for _ in range(2):
        bpy.ops.maquette.import_avatar(filepath=given["avatar"])
    return {"beside": beside, "at_cursor": sorted(list(bpy.data.objects[name].location) for name in avatars())}


def leave_the_user_alone(given):
    """An avatar that arrives while the user edits something else."""
    install(given)
    bpy.ops.object.mode_set(mode="EDIT")
    data, build = part("avatar_data"), part("avatar_import").build
    avatar = data.read_avatar(Path(given["avatar"]))
    steps, longest, visible = build(avatar, "Ada"), 0.0, []
    while True:
        started = time.thread_time()
        try:
            next(steps)
        except StopIteration:
            break
        finally:
            longest = max(longest, time.thread_time() - started)
        visible.append(len(avatars()))
    half = build(avatar, "Bob")
    for _ in range(5):
        next(half)
    before = len(bpy.data.meshes)
    half.close()
    return {
        "mode": bpy.context.mode,
        "active": bpy.context.object.name,
        "longest": longest,
        "visible_before_the_end": any(visible),
        "avatars": avatars(),
        "meshes": [before, len(bpy.data.meshes)],
        "orphans": [mesh.name for mesh in bpy.data.meshes if "Bob" in mesh.name],
    }


def undo_and_redo(given):
    install(given)
    bpy.ops.ed.undo_push(message="Before")
    running, session = part("running"), part("running").session()
    job = part("session").Job(1, "Ada", {"seed": 7}, session.file_generation, finished=True)
    job.avatar = part("avatar_data").read_avatar(Path(given["avatar"]))
    session.jobs.append(job)
    running.tick()  # the import has begun, then the user undoes something
    bpy.ops.ed.undo_push(message="Something")
    bpy.ops.ed.undo()
    wait(lambda: job.imported)
    seen = [avatars()]
    bpy.ops.ed.undo()
    seen.append(avatars())
    bpy.ops.ed.redo()
    seen.append(avatars())
    armature = bpy.data.objects[avatars()[0]]
    head = part("avatar_operators").head_of(armature)
    path = str(Path(given["data"]) / "saved.blend")
    request = json.loads(armature["maquette_request"])
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    head = part("avatar_operators").head_of(bpy.data.objects[avatars()[0]])
    images = [image for image in bpy.data.images if image.name.startswith("Ada")]
    return {
        "seen": seen,
        "request": request,
        "keys_after_reload": len(head.data.shape_keys.key_blocks) - 1,
        "sizes_after_reload": [list(image.size) for image in images],
        "longest_work": longest_work,
        "longest_tick": running.longest_tick,
        "error": str(job.error),
    }


def expressions(given):
    install(given)
    bpy.ops.maquette.import_avatar(filepath=given["avatar"])
    head = part("avatar_operators").selected_head(bpy.context)
    bpy.ops.maquette.expression(preset="Wink", strength=0.5)
    winking = {block.name: block.value for block in head.data.shape_keys.key_blocks[1:] if block.value}
    bpy.ops.maquette.key_expression()
    bpy.ops.maquette.expression(preset="Neutral")
    neutral = sum(block.value for block in head.data.shape_keys.key_blocks[1:])
    bpy.context.scene.frame_set(2)
    keyed = {block.name: block.value for block in head.data.shape_keys.key_blocks[1:] if block.value}
    return {"winking": winking, "neutral": neutral, "keyed": keyed}


def damaged_file(given):
    install(given)
    sentences = []
    for content in (b"", b"PK\x03\x04 no", Path(given["avatar"]).read_bytes()[:-5000]):
        path = Path(given["data"]) / "avatar.npz"
        path.write_bytes(content)
        try:
            bpy.ops.maquette.import_avatar(filepath=str(path))
        except RuntimeError as error:
            sentences.append(str(error))
    return {"sentences": sentences, "meshes": len(bpy.data.meshes)}


def generate(given):
    """A script's one line; then a press, which is cancelled; then what was made once comes back from the history."""
    install(given)
    running, session = part("running"), part("running").session()
    done = bpy.ops.maquette.generate(portrait=given["portrait"], quality="draft", seed=3)
    armature = bpy.data.objects[avatars()[0]]
    result = {"done": sorted(done), "marks": {key: armature[key] for key in armature.keys() if "maquette" in key}}  # noqa: SIM118
    bpy.ops.maquette.add_portraits(filepath=given["portrait"])
    result["reason"] = part("operators").reason_against(bpy.context)
    bpy.context.scene.maquette.portraits.clear()
    result["reason_without"] = part("operators").reason_against(bpy.context)
    request = part("api").AvatarRequest(portraits=(given["portrait"],), quality="draft")
    job = session.generate(request, "Two")
    wait(lambda: job.status is not None and job.status.stage == "fit")
    bpy.ops.maquette.cancel(number=job.number)
    wait(lambda: job.finished, 10)
    result["cancelled"] = job.text
    wait(lambda: len(session.history) == 2)
    bpy.ops.maquette.history(job=armature["maquette_job"], action="IMPORT")
    wait(lambda: session.jobs[-1].imported)
    result["avatars"] = avatars()
    result["longest_work"], result["longest_tick"] = longest_work, running.longest_tick
    job = session.generate(request, "Three")
    wait(lambda: job.status is not None and job.status.stage == "fit")
    pid = session.backend.hello.pid
    started = time.monotonic()
    bpy.ops.preferences.addon_disable(module=MODULE)  # in the middle of a job
    result["disabled_within"] = time.monotonic() - started
    result["pid"] = pid
    return result


def tell(scenario):
    """Run one and print what it found."""
    outcome = scenario(json.load(sys.stdin))
    print(json.dumps({"blender": bpy.app.version_string} | outcome, default=str), flush=True)


if __name__ == "__main__":
    tell(globals()[sys.argv[-1]])
