"""Views per core-second, ours against BlenderProc's, on the same head in the same Blender.

Both need Blender 4.2 (BlenderProc's own), so this runs in an environment of its own:

    python3.11 -m venv bproc && bproc/bin/pip install "bpy==4.2.*" "numpy<2" blenderproc==2.8.0 gitpython h5py \\
        imageio matplotlib "opencv-python-headless<4.12" progressbar pypng pyyaml rich scikit-image scikit-learn trimesh
    .venv/bin/python tests/benchmarks/bench_blenderproc.py person.npz       # puts the head together
    bproc/bin/python tests/benchmarks/bench_blenderproc.py person.npz --run

Same person, cameras, samples, denoiser, light paths and passes (colour with alpha, depth, normals, classes); arrays in
memory at the end. BlenderProc is set up as its documentation shows. Each process is bound to one core before Blender
is loaded: with more, a helper thread of Blender's waits by spinning, and its CPU time would count.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from synthetic_data.cameras import orbit_rig
from synthetic_data.person import Person


def prepare_blenderproc() -> None:
    """What `blenderproc.init` does but for the language, which the module has only one of."""
    blenderproc_in_module()
    from blenderproc.python.utility import Initializer

    Initializer.clean_up(clean_up_camera=True)
    Initializer.RendererUtility.set_render_devices()
    Initializer._Initializer.set_default_parameters()


def core_seconds() -> float:
    """CPU time of this process and of what it has started."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def blenderproc_in_module() -> None:
    """BlenderProc as if it ran inside its own Blender, without its installer of packages."""
    folder = tempfile.mkdtemp()
    installer = types.ModuleType("blenderproc.python.utility.SetupUtility")

    class SetupUtility:
        @staticmethod
        def setup(*_: Any) -> None:
            from blenderproc.python.utility.Utility import Utility

            Utility.temp_dir = folder

    installer.SetupUtility = SetupUtility  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules[installer.__name__] = installer
    os.environ["INSIDE_OF_THE_INTERNAL_BLENDER_PYTHON_ENVIRONMENT"] = "1"
    packages = next(path for path in sys.path if (Path(path) / "blenderproc").is_dir())
    sys.path.append(packages)  # it takes the first entry away
    importlib.import_module("blenderproc")


def ours(person: Person, views: int, size: int, samples: int, preset: str) -> list[dict[str, np.ndarray]]:
    from synthetic_data.render import render_scene
    from synthetic_data.scene import build_scene

    build_scene(person)
    return render_scene(orbit_rig(size, views), preset=preset, samples=samples, threads=1)


def theirs(person: Person, views: int, size: int, samples: int, preset: str) -> dict[str, list[np.ndarray]]:
    import blenderproc as bproc
    import bpy

    from synthetic_data.render import PRESETS
    from synthetic_data.scene import build_scene

    build_scene(person)
    for thing in bpy.data.objects:
        thing["category_id"] = thing.pass_index
    bpy.context.scene.world["category_id"] = 0
    bpy.context.scene.render.engine = "CYCLES"
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    cameras = orbit_rig(size, views)
    bproc.camera.set_intrinsics_from_K_matrix(cameras[0].intrinsics, size, size)
    for one in cameras:
        bproc.camera.add_camera_pose(one.to_blender_matrix())
    bproc.renderer.set_max_amount_of_samples(samples)
    bproc.renderer.set_noise_threshold(0)
    bproc.renderer.set_denoiser("INTEL")
    bproc.renderer.set_cpu_threads(1)
    bounces = PRESETS[preset].bounces
    bproc.renderer.set_light_bounces(diffuse_bounces=2, glossy_bounces=2, transmission_bounces=3, max_bounces=bounces)
    bproc.renderer.set_output_format(enable_transparency=True)
    bproc.renderer.enable_depth_output(activate_antialiasing=False)
    bproc.renderer.enable_normals_output()
    bproc.renderer.enable_segmentation_output(map_by=["category_id"], default_values={"category_id": 0})
    return bproc.renderer.render(output_dir=tempfile.mkdtemp())


JOBS = {"ours": ours, "BlenderProc": theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("person", type=Path)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--job", choices=JOBS, help="only this one, printing views per core-second")
    parser.add_argument("--index", type=int, default=13, help="which person of seed 1")
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--preset", choices=("fit", "portrait"), default="portrait", help="of person and light paths")
    arguments = parser.parse_args()
    if not arguments.run:
        from backend.body_model.anny import load_anny
        from synthetic_data.assemble import assemble
        from synthetic_data.identity import sample_identity

        model = load_anny()
        assemble(sample_identity(model, 1, arguments.index), model, arguments.preset).save(arguments.person)
        return
    if arguments.job is None:
        rates = {}
        for name in JOBS:  # a process each: one's settings stay in the scene
            command = [sys.executable, __file__, *sys.argv[1:], "--job", name]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rates[name] = float(said.splitlines()[-1])
        report(rates)
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    person = Person.load(arguments.person)
    settings = (arguments.views, arguments.size, arguments.samples, arguments.preset)
    if arguments.job == "BlenderProc":
        prepare_blenderproc()
    start = core_seconds()
    made = JOBS[arguments.job](person, *settings)
    spent = core_seconds() - start
    assert len(made if isinstance(made, list) else made["colors"]) == arguments.views
    print(arguments.views / spent, flush=True)
    os._exit(0)  # the module stumbles over what BlenderProc registered when it is torn down


def report(rates: dict[str, float]) -> None:
    rates["ratio"] = rates["ours"] / rates["BlenderProc"]
    print(json.dumps({name: round(value, 3) for name, value in rates.items()}))


if __name__ == "__main__":
    main()
