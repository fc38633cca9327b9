"""three.js in headless Chromium reads the GLB and draws what our own renderer draws."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from backend.export.glb import base_height, write_glb
from backend.meshing.renderer import render
from backend.radiance.cameras import Camera
from backend.rigging.avatar import ARKIT_SHAPES
from backend.rigging.pose import pose_avatar

pytestmark = pytest.mark.slow

SIZE, FOV, DISTANCE = 384, 22.0, 0.8


@pytest.fixture(scope="module")
def chromium():
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no Chromium or Chrome is installed, and CHROMIUM does not name one")
    return found


def test_three_draws_the_avatar_as_we_do(avatar, node, chromium, tmp_path):
    write_glb(avatar, tmp_path / "avatar.glb")
    height = base_height(avatar)
    turn = Rotation.from_rotvec([0, 0, 0.5]).as_matrix()  # towards its left
    # The neck bone leans back a little: the same turn in its own axes, as a viewer would set it.
    along = avatar.skeleton.tails[0] - avatar.skeleton.heads[0]
    lean = Rotation.align_vectors([along], [[0, 0, 1.0]])[0]
    in_bone = lean.inv() * Rotation.from_rotvec([0, 0, 0.5]) * lean
    x, y, z, w = in_bone.as_quat()
    poses = [
        (0.0, {}, {}, {}),
        (35.0, {"jawOpen": 1.0, "browInnerUp": 1.0}, {}, {}),
        (-20.0, {}, {"Neck": turn}, {"Neck": [x, z, -y, w]}),
    ]
    views, ours = [], []
    for number, (azimuth, keys, rotations, bones) in enumerate(poses):
        camera = Camera.orbit(azimuth, 5, distance=DISTANCE, fov_degrees=FOV, size=SIZE, target=(0, 0, 0))
        x, y, z = camera.centre.tolist()
        view = {"position": [x, z + height, -y], "target": [0, height, 0], "fov": FOV, "keys": keys, "bones": bones}
        views.append(view | {"unlit": True, "png": str(tmp_path / f"unlit{number}.png")})
        views.append(view | {"unlit": False, "png": str(tmp_path / f"lit{number}.png")})
        posed = pose_avatar(avatar, keys, rotations)
        ours.append(render(avatar.parts, camera, vertices=posed, lighting="unlit", background=(1, 1, 1)))
    request = {"glb": str(tmp_path / "avatar.glb"), "size": SIZE, "chromium": chromium, "views": views}
    (tmp_path / "request.json").write_text(json.dumps(request))
    command = ["node", node / "draw.mjs", tmp_path / "request.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    assert found["complaints"] == []
    assert [mesh["name"] for mesh in found["meshes"]] == [part.name for part in avatar.parts]
    assert found["meshes"][0]["keys"] == list(ARKIT_SHAPES)
    assert sorted(found["bones"]) == sorted(avatar.skeleton.names)
    for mesh, part in zip(found["meshes"], avatar.parts, strict=True):
        assert mesh["triangles"] == len(part.mesh.faces)
        assert mesh["texture"] == [part.texture.shape[1], part.texture.shape[0]]
    for number, picture in enumerate(ours):
        theirs = np.asarray(Image.open(tmp_path / f"unlit{number}.png").convert("RGB")) / 255
        Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(tmp_path / f"ours{number}.png")
        difference = np.abs(theirs - picture).max(-1)
        assert (difference > 0.1).mean() < 0.03, f"view {number} differs from ours"
        lit = np.asarray(Image.open(tmp_path / f"lit{number}.png").convert("RGB")) / 255
        assert np.abs(lit - theirs).mean() > 0.01  # shaded, and not by accident the same picture
    assert np.abs(ours[1] - ours[0]).mean() > 0.02
