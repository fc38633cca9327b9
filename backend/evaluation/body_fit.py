"""How well the body model is recovered from rendered portraits whose parameters are known.

``python -m backend.evaluation.body_fit HEADS --out DIR`` reads what ``python -m synthetic_data.heads --out HEADS``
made, fits every portrait and writes `body_fit.json`. Per head: the median landmark error as a fraction of the distance
between the outer eye corners, and the median distance of the face's vertices from the truth after rigid alignment, in
millimetres, for the fit and for the mean head; without expression (identity alone) and as posed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.body_model.base import defaults
from backend.body_model.fitting import fit_landmarks
from backend.body_model.registry import landmark_map, load_body_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float


def rigid_transform(points: Float[np.ndarray, "n 3"], truth: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "4 4"]:
    """The rotation and shift, without scale, that bring `points` nearest to `truth` (Kabsch)."""
    a, b = points - points.mean(0), truth - truth.mean(0)
    u, _, vt = np.linalg.svd(a.T @ b)
    matrix = np.eye(4)
    matrix[:3, :3] = (u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt).T
    matrix[:3, 3] = truth.mean(0) - matrix[:3, :3] @ points.mean(0)
    return matrix


def rigid_distance(points: Float[np.ndarray, "n 3"], truth: Float[np.ndarray, "n 3"]) -> float:
    """Median distance after the best rotation and translation (no scale), in the unit of the points."""
    matrix = rigid_transform(points, truth)
    return float(np.median(np.linalg.norm(points @ matrix[:3, :3].T + matrix[:3, 3] - truth, axis=1)))


def evaluate(heads: Sequence[Path]) -> dict[str, Any]:
    """Figures for each ``head_*.png`` with its ``.npz`` beside it, and their medians."""
    from backend.portrait.detection import detect_face
    from backend.portrait.iris import iris_radius
    from backend.portrait.loading import load_image
    from backend.portrait.mediapipe_models import MediaPipeModels

    model = load_body_model("anny")
    marks = landmark_map(model)
    face = model.topology.regions["face"] > 0.5
    inside = model.topology.regions["mouth_interior"] > 0.5
    face &= ~inside
    mean = model.neutral(defaults(model.identity_parameters))
    rows = []
    with MediaPipeModels() as detectors:
        for path in heads:
            image = load_image(path)[..., :3]
            found = detect_face((image * 255 + 0.5).astype(np.uint8), detectors, name=str(path))
            size = (image.shape[1], image.shape[0])
            radius = iris_radius(image, found.landmarks)
            fit = fit_landmarks(model, marks, found.landmarks, size, iris_radius=radius)
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as truth:
                neutral, posed, expression = truth["neutral"], truth["vertices"], truth["expression"]
            offsets = np.tensordot(expression, model.expression_offsets(fit.identity), 1)
            rows.append(
                {
                    "head": path.stem,
                    "landmark_error": fit.median_landmark_error,
                    "fit_mm": 1e3 * rigid_distance(fit.neutral()[face], neutral[face]),
                    "mean_mm": 1e3 * rigid_distance(mean[face], neutral[face]),
                    "posed_fit_mm": 1e3 * rigid_distance(fit.posed()[face], posed[face]),
                    "posed_mean_mm": 1e3 * rigid_distance((mean + offsets)[face], posed[face]),
                }
            )
    summary = {key: float(np.median([row[key] for row in rows])) for key in rows[0] if key != "head"}
    summary["closer_than_mean"] = float(1 - summary["fit_mm"] / summary["mean_mm"])
    return {"heads": rows, "median": summary}


def main() -> None:
    """Command line of this evaluation."""
    parser = argparse.ArgumentParser(description="Accuracy of the body fit on rendered heads.")
    parser.add_argument("heads", type=Path, help="folder made by python -m synthetic_data.heads")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    pictures = sorted(options.heads.glob("head_*.png"))
    if not pictures:
        parser.error(f"{options.heads} holds no head_*.png: make some with python -m synthetic_data.heads --out DIR")
    result = evaluate(pictures)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "body_fit.json").write_text(json.dumps(result, indent=2) + "\n")
    for row in result["heads"]:
        print("  ".join(f"{key} {value:.3f}" if isinstance(value, float) else value for key, value in row.items()))
    print("median  " + "  ".join(f"{key} {value:.3f}" for key, value in result["median"].items()))


if __name__ == "__main__":
    main()
