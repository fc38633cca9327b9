"""One person from all sides with colour and depth: ``python -m synthetic_data.views --index 3 --out FILE.npz``.

Keys of the file, N views of S x S pixels: ``rgba`` (N, S, S, 4) uint8, sRGB, straight alpha; ``depth`` (N, S, S)
float32, planar z in metres, 0 where there is nothing; ``normal`` (N, S, S, 3) float16, world axes; ``segmentation``
(N, S, S) uint8; ``world_to_camera`` (N, 4, 4) and ``intrinsics`` (N, 3, 3), OpenCV axes, pixel centres at +0.5;
``held_out`` (N,) bool, views kept for measuring; ``vertices`` (V, 3) of the body model; ``spec`` as JSON.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from backend.body_model.anny import load_anny
from synthetic_data.cameras import held_out_rig, orbit_rig
from synthetic_data.identity import HAIR_FAMILIES, sample_identity


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--index", type=int, default=0, help="which person of the set")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--held-out", type=int, default=8)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--hair", nargs="+", choices=HAIR_FAMILIES, default=list(HAIR_FAMILIES))
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    from synthetic_data.render import render_identity

    model = load_anny()
    spec = sample_identity(
        model,
        arguments.seed,
        arguments.index,
        expression_gain=0.0,
        gaze_gain=0.0,
        hair_families=tuple(arguments.hair),
    )
    cameras = orbit_rig(arguments.size, arguments.views) + held_out_rig(arguments.size, arguments.held_out)
    views = render_identity(spec, cameras, model=model, samples=arguments.samples, threads=arguments.threads)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    aside = arguments.out.with_name(arguments.out.stem + ".partial.npz")
    np.savez_compressed(
        aside,
        rgba=np.stack([np.rint(255 * v["rgba"]).astype(np.uint8) for v in views]),
        depth=np.stack([v["depth"] for v in views]),
        normal=np.stack([v["normal"] for v in views]).astype(np.float16),
        segmentation=np.stack([v["segmentation"] for v in views]),
        world_to_camera=np.stack([c.world_to_camera for c in cameras]),
        intrinsics=np.stack([c.intrinsics for c in cameras]),
        held_out=np.arange(len(cameras)) >= arguments.views,
        vertices=spec.vertices(model).astype(np.float32),
        spec=np.array(spec.to_json()),
    )
    aside.replace(arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    main()
