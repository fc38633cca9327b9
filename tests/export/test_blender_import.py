"""Real Blender imports the GLB; `tests/blender/check_glb_import.py` does the same for other versions than this one."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.export.glb import base_height, write_glb
from backend.rigging.avatar import ARKIT_SHAPES

pytestmark = pytest.mark.slow


def test_blender_imports_armature_keys_and_connected_textures(avatar, tmp_path):
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("bpy is not installed")
    write_glb(avatar, tmp_path / "avatar.glb")
    script = Path(__file__).parents[1] / "blender" / "check_glb_import.py"
    command = [sys.executable, script, tmp_path / "avatar.glb"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["parts"] == [part.name for part in avatar.parts]
    assert found["keys"] == list(ARKIT_SHAPES)
    skeleton = avatar.skeleton
    for name, head, tail in zip(skeleton.names, skeleton.heads, skeleton.tails, strict=True):
        along = (tail - head) / np.linalg.norm(tail - head)
        np.testing.assert_allclose(found["bones"][name][:3], head + np.array([0, 0, base_height(avatar)]), atol=1e-6)
        np.testing.assert_allclose(found["bones"][name][3:], along, atol=1e-5)
