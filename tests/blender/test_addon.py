"""The built extension inside real Blender, one process per scenario (`scenarios.py`).

The `bpy` of this environment is used, and every other Python with a `bpy`, or Blender program, that
``MAQUETTE_BLENDER_PYTHONS`` names (separated like a PATH).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.export.arrays import read_npz, write_npz
from backend.rigging.avatar import ARKIT_SHAPES

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PYTHONS = [sys.executable, *filter(None, os.environ.get("MAQUETTE_BLENDER_PYTHONS", "").split(os.pathsep))]
# Seconds of one call: quiet machines stay under 50 ms, a slow one took 52; a whole import at once takes a second.
UNNOTICED = 0.1


@pytest.fixture(scope="module", params=PYTHONS, ids=lambda python: Path(python).parents[1].name)
def run(request, built_zip, tmp_path_factory):
    """Run a scenario and return what it found; a traceback in Blender's log is a failure."""
    if request.param == sys.executable and importlib.util.find_spec("bpy") is None:
        pytest.skip("bpy is not installed")
    folder = tmp_path_factory.mktemp("blender")
    command = [request.param]
    if Path(request.param).name.startswith("blender"):
        options = ["--background", "--factory-startup", "--python-exit-code", "1", "--python"]
        command += options

    def scenario(name: str, script: str = "scenarios.py", **given: str) -> dict:
        data = folder / name
        data.mkdir()
        settings = {"zip": str(built_zip), "data": str(data)} | given
        done = subprocess.run(
            [*command, HERE / script, "--", name],
            input=json.dumps(settings),
            env=os.environ | {"BLENDER_USER_RESOURCES": str(data / "blender")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert "Traceback" not in done.stdout + done.stderr
        return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])

    return scenario


@pytest.fixture(scope="module")
def file(toy_avatar, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "avatar.npz"
    write_npz(toy_avatar, path)
    return path


def test_switching_on_and_off_leaves_nothing_behind(run):
    found = run("register_twice")
    assert found["on"]["scene"] and found["on"]["timer"] and found["on"]["types"]
    assert len(found["on"]["handlers"]) == 4 and found["on"]["menu"] == 1
    assert found["off"] == {"types": [], "scene": False, "handlers": [], "timer": False, "menu": 0, "threads": []}
    assert found["folder"] == [True, False]


def test_each_blenders_own_packer_accepts_it(run):
    found = run("packer", "extras.py")
    assert [status for status, _ in found["said"]] == [0, 0], found["said"]
    assert found["built"] == ["maquette-0.1.0.zip"]


def test_an_avatar_is_imported_exactly(run, file, toy_avatar):
    found = run("import_avatar", avatar=str(file))
    assert found["seconds"] < 1
    avatar = read_npz(file)
    height = -min(part.mesh.vertices[part.mesh.faces, 2].min() for part in avatar.parts)
    assert set(found["parts"]) == {part.name for part in avatar.parts}
    for part in avatar.parts:
        got = found["parts"][part.name]
        assert got["vertices"] == len(part.mesh.vertices) and got["faces"] == len(part.mesh.faces)
        assert got["keys"] == list(part.shape_keys)
        assert not any(got["values"])
        flat = part.mesh.uvs[part.mesh.uv_faces.reshape(-1)[:30]].ravel().tolist()
        assert [value for uv in got["uv"] for value in uv] == pytest.approx(flat, abs=1e-6)
        assert got["packed"] and got["colour_space"] == "sRGB" and got["valid"]
        assert got["alpha"] == part.material.alpha_mask
        assert got["groups"] == sorted(avatar.skeleton.names) and got["weights"] < 1e-4
        # Sliders of the head move exactly the parts that have the key.
        for key in part.shape_keys:
            assert part.name in found["following"][key], key
    assert found["head"] == avatar.parts[0].name
    assert list(found["following"]) == [key for key in ARKIT_SHAPES if key in avatar.parts[0].shape_keys]
    assert set(found["turned"]) == {part.name for part in avatar.parts}
    assert found["lowest"] == pytest.approx(0, abs=1e-5) and found["front"] < -0.05
    for name, head, tail in zip(avatar.skeleton.names, avatar.skeleton.heads, avatar.skeleton.tails, strict=True):
        expected = [*(head + [0, 0, height]), *(tail + [0, 0, height])]
        assert found["bones"][name] == pytest.approx(expected, abs=1e-5)
    assert found["bone_collections"]["Eyes"] == [False, ["LeftEye", "RightEye"]], "bars over the eyes"
    assert found["bone_collections"]["Body"][0] and "Head" in found["bone_collections"]["Body"][1]
    assert found["active"].endswith(avatar.parts[0].name) and found["scenes"] == 1


def test_an_avatar_stands_at_the_3d_cursor_or_beside_what_is_there(run, file):
    found = run("places", avatar=str(file))
    assert found["beside"] == pytest.approx([1.8, 0, 0])  # Blender's cube reaches to x = 1
    assert found["at_cursor"] == [pytest.approx([1, 2, 0.5]), pytest.approx([1.6, 2, 0.5])]


def test_an_avatar_arrives_while_the_user_edits_something_else(run, file):
    found = run("leave_the_user_alone", avatar=str(file))
    assert found["mode"] == "EDIT_MESH" and found["active"] == "Cube"
    assert not found["visible_before_the_end"] and found["avatars"] == ["Ada"]
    assert found["longest"] < UNNOTICED
    assert found["meshes"][1] < found["meshes"][0] and found["orphans"] == []


def test_an_avatar_is_one_undo_step_and_survives_redo_and_saving(run, file):
    found = run("undo_and_redo", avatar=str(file))
    assert found["seen"] == [["Ada"], [], ["Ada"]]
    assert found["request"] == {"seed": 7} and found["error"] == "None"
    assert found["keys_after_reload"] == 51 and found["sizes_after_reload"]
    assert all(min(size) > 0 for size in found["sizes_after_reload"])
    assert found["longest_work"] < UNNOTICED
    assert found["longest_tick"] < 0.5, "it waited for something"


def test_expressions_set_the_sliders_and_can_be_keyed(run, file):
    found = run("expressions", avatar=str(file))
    assert found["winking"] == pytest.approx({"eyeBlinkLeft": 0.5, "mouthSmileLeft": 0.25, "cheekSquintLeft": 0.3})
    assert found["neutral"] == 0 and found["keyed"] == pytest.approx(found["winking"])


def test_an_expression_is_saved_used_and_deleted(run, file):
    found = run("saved_expressions", "extras.py", avatar=str(file))
    assert "move some first" in found["sentences"][0] and "choose another name" in found["sentences"][1]
    assert found["used"] == pytest.approx({"mouthSmileLeft": 0.2})
    assert {"Neutral", "Half smile", "Save…"} <= set(found["drawn"])
    assert json.loads(found["file"]) == {} and "no expression 'Half smile'" in found["sentences"][2]


def test_rigify_makes_controls_that_move_the_avatar(run, file):
    found = run("metarig", "extras.py", avatar=str(file))
    assert found["types"]["Neck"] == "spines.super_head" and found["types"]["Head"] == ""
    assert {found["types"][name] for name in ("Jaw", "LeftEye", "RightEye")} == {"basic.super_copy"}
    assert found["aligned"] < 1e-6
    assert {f"DEF-{name}" for name in found["types"]} == set(found["deform"])
    assert found["generated"] < 1e-5, "making the rig moves nothing"
    assert all(0.01 < distance < 0.2 for distance in found["found"].values()), found["found"]
    assert found["again"] < 1e-5 and set(found["constraints"].values()) == {1}, "it can be made anew"


def test_without_rigify_one_sentence_says_so(run, file):
    found = run("no_rigify", "extras.py", avatar=str(file))
    assert "enable the add-on Rigify" in found["sentence"] and found["armatures"] == 1


def test_a_damaged_file_is_told_and_leaves_nothing(run, file):
    found = run("damaged_file", avatar=str(file))
    assert len(found["sentences"]) == 3 and all("damaged" in sentence for sentence in found["sentences"])
    assert found["meshes"] == 1  # Blender's cube


def test_one_line_makes_an_avatar_and_a_press_can_be_cancelled(run, environment, tmp_path):
    import skimage.data
    from PIL import Image

    portrait = tmp_path / "eileen.png"
    Image.fromarray(skimage.data.astronaut()).save(portrait)
    found = run("generate", python=str(environment), portrait=str(portrait))
    assert found["done"] == ["FINISHED"]
    assert json.loads(found["marks"]["maquette_request"])["seed"] == 3
    versions = json.loads(found["marks"]["maquette_versions"])
    assert versions["blender"] == found["blender"] and "torch" in versions
    assert found["reason"] == "" and found["reason_without"] == "Choose a portrait or write a prompt first"
    assert found["cancelled"] == "Cancelled"
    assert len(found["avatars"]) == 2
    assert found["longest_work"] < UNNOTICED
    assert found["longest_tick"] < 0.5, "it waited for something"
    assert found["disabled_within"] < 10
    if os.name == "posix":
        with pytest.raises(ProcessLookupError):
            os.kill(found["pid"], 0)
