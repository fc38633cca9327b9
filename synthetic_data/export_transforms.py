"""One identity as nerfstudio (and instant-ngp) read it: ``transforms.json`` and pictures beside it.

Matrices are camera-to-world with OpenGL's axes (x right, y up, z backwards), metres, the head frame as the world. Depth
pictures are in units of 0.1 mm: nerfstudio is told with ``--depth-unit-scale-factor 0.0001``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synthetic_data.archive import write_whole
from synthetic_data.reader import DataSet, Person


def export_transforms(folder: Path, index: int, out: Path, *, take: int = 0) -> Path:
    """Write the views of the rig of one identity; returns the path of ``transforms.json``.

    Raises:
        MaquetteError: the set lacks the identity, or is damaged.
    """
    person = Person.read(DataSet.open(folder, partial=True).find(index))
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "depth").mkdir(exist_ok=True)
    frames: list[dict[str, Any]] = []
    for view in person.views:
        if view.kind != "view" or view.take != take:
            continue
        camera, frame = view.camera, {}
        for key, kind, place in (("file_path", "rgba", "images"), ("depth_file_path", "depth", "depth")):
            frame[key] = f"{place}/{view.name}.png"
            write_whole(out / frame[key], person.entry.read(f"{view.name}.{kind}.png", check=True))
        frame |= {
            "w": camera.width,
            "h": camera.height,
            "fl_x": float(camera.intrinsics[0, 0]),
            "fl_y": float(camera.intrinsics[1, 1]),
            "cx": float(camera.intrinsics[0, 2]),
            "cy": float(camera.intrinsics[1, 2]),
            "transform_matrix": camera.to_blender_matrix().tolist(),
        }
        frames.append(frame)
    path = out / "transforms.json"
    header = {"camera_model": "OPENCV", "aabb_scale": 1, "depth_unit_scale_factor": person.data["depth_unit"]}
    write_whole(path, (json.dumps({**header, "frames": frames}, indent=1) + "\n").encode())
    return path
