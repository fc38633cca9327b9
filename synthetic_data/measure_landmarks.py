"""Measure where MediaPipe sees its landmarks on a body model: ``python -m synthetic_data.measure_landmarks``.

Renders random people from many sides, detects the 478 landmarks, casts rays through them onto the posed mesh, carries
the hits to the template and takes their geometric median, both halves of the face together. Then it renders other
people and reports how far the landmarks found there lie from the map.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from backend.body_model.anny import load_anny
from backend.body_model.base import BodyModel
from backend.body_model.landmarks import DATA_DIR, LandmarkMap
from backend.radiance.cameras import Camera
from synthetic_data.appearance.eyes import gaze_rotation
from synthetic_data.cameras import portrait_camera
from synthetic_data.identity import IdentitySpec, sample_identity
from synthetic_data.raycast import closest_on_triangles, facing, first_hits, geometric_median, on_faces

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

COUNT = 478
"""468 landmarks of the face mesh, then five of each iris (468-472 of the character's right eye, 473-477 left)."""

# MediaPipe's contours, character's right side first.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
UPPER_LID = (246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398)
LOWER_LID = (7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382)
EYE_CORNERS = (33, 133, 263, 362)
UPPER_INNER_LIP = (191, 80, 81, 82, 13, 312, 311, 310, 415)
LOWER_INNER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324)
UPPER_OUTER_LIP = (185, 40, 39, 37, 0, 267, 269, 270, 409)
LOWER_OUTER_LIP = (146, 91, 181, 84, 17, 314, 405, 321, 375)
LIP_CORNERS = (61, 291, 78, 308)
BROWS = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
NOSE = (
    1, 2, 4, 5, 6, 19, 94, 97, 98, 99, 168, 195, 197, 326, 327, 328, 48, 64, 115, 129, 220, 278, 294, 344, 358, 440,
    45, 275, 51, 281, 44, 274, 218, 438, 49, 279, 131, 360, 102, 331, 219, 439,
)  # fmt: skip
IRISES = tuple(range(468, 478))
REGIONS: dict[str, tuple[int, ...]] = {
    "upper lids": UPPER_LID,
    "lower lids": LOWER_LID,
    "eye corners": EYE_CORNERS,
    "brows": BROWS,
    "nose": NOSE,
    "outer lips": UPPER_OUTER_LIP + LOWER_OUTER_LIP + LIP_CORNERS[:2],
    "inner lips": UPPER_INNER_LIP + LOWER_INNER_LIP + LIP_CORNERS[2:],
    "face oval": FACE_OVAL,
    "irises": IRISES,
}

# (azimuth, elevation) in degrees of the pictures of one person, by expression.
_VIEWS: dict[str, tuple[tuple[float, float], ...]] = {
    "neutral": ((0, 0), (-15, 0), (15, 0), (-30, 3), (30, -3)),
    "open": ((0, 4), (-18, -6), (18, 0)),
    "mixed": ((0, 12), (-10, -10), (12, 6)),
}
_SIZE, _SAMPLES = 256, 6


@dataclasses.dataclass(frozen=True)
class Observation:
    """One picture in which the landmarks were found, pixels."""

    spec: IdentitySpec
    camera: Camera
    landmarks: Float[np.ndarray, "L 2"]

    def mouth_open(self, model: BodyModel) -> float:
        """Strength of jawOpen."""
        names = [p.name for p in model.expression_parameters]
        return self.spec.expression[names.index("jawOpen")]


def observe(model: BodyModel, seed: int, count: int, threads: int | None = None) -> Iterator[Observation]:
    """Render `count` people of the set `seed` and yield every picture in which MediaPipe found the face."""
    from synthetic_data.render import render_identity

    names = [p.name for p in model.expression_parameters]
    with _face_mesh() as face_mesh:
        for index in range(count):
            person = sample_identity(model, seed, index, gaze_gain=0.5, hair_families=("bald", "buzz")).bare()
            rng = np.random.default_rng([seed, index])
            jaw_open = np.zeros(len(names))
            jaw_open[names.index("jawOpen")] = rng.uniform(0.3, 0.5)
            expressions = {"neutral": np.zeros(len(names)), "open": jaw_open, "mixed": np.array(person.expression)}
            for kind, angles in _VIEWS.items():
                spec = dataclasses.replace(person, expression=tuple(float(v) for v in expressions[kind]))
                cameras = [
                    portrait_camera(
                        _SIZE,
                        azimuth_degrees=azimuth + rng.normal(0, 2),
                        elevation_degrees=elevation + rng.normal(0, 2),
                        fov_degrees=15.5,
                    )
                    for azimuth, elevation in angles
                ]
                views = render_identity(spec, cameras, model=model, samples=_SAMPLES, passes=("rgba",), threads=threads)
                for camera, view in zip(cameras, views, strict=True):
                    landmarks = detect(face_mesh, view["rgba"])
                    if landmarks is not None:
                        yield Observation(spec, camera, landmarks)


def detect(face_mesh: Any, rgba: Float[np.ndarray, "H W 4"]) -> Float[np.ndarray, "L 2"] | None:
    """The 478 landmarks in pixels of a face on a grey ground, or None."""
    alpha = rgba[..., 3:]
    image = rgba[..., :3] * alpha + 0.6 * (1 - alpha)
    result = face_mesh.process((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))
    if not result.multi_face_landmarks:
        return None
    height, width = image.shape[:2]
    return np.array([[p.x * width, p.y * height] for p in result.multi_face_landmarks[0].landmark])


def _face_mesh() -> Any:
    import mediapipe

    return mediapipe.solutions.face_mesh.FaceMesh(  # pyright: ignore[reportAttributeAccessIssue]
        static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.4
    )


class SurfaceRules:
    """Which triangles each landmark may lie on, so that closed lips and lids are told apart."""

    def __init__(self, model: BodyModel) -> None:
        topology = model.topology
        offsets = model.arkit_offsets(np.array([p.mean for p in model.identity_parameters]))
        self.skin = np.zeros(len(topology.faces), bool)
        self.skin[topology.parts["skin"]] = True
        faces = topology.faces
        lips = topology.regions["lips"] > 0.05
        # With the jaw open everything above the corners of the mouth is upper lip, everything below is lower lip.
        opened = model.template + 0.5 * offsets["jawOpen"]
        rim = np.flatnonzero(topology.regions["lips"] > 0.5)
        corner_height = opened[rim[np.argsort(np.abs(opened[rim, 0]))[-4:]], 2].mean()
        above, below = opened[:, 2] > corner_height - 0.001, opened[:, 2] < corner_height + 0.001
        blink = offsets["eyeBlinkLeft"][:, 2] + offsets["eyeBlinkRight"][:, 2]
        lids = topology.regions["eyelids"] > 0.05
        upper_lid = blink < 0.3 * blink.min()
        near_upper = blink < 0.05 * blink.min()
        self.groups: list[tuple[tuple[int, ...], Bool[np.ndarray, " F"]]] = [
            (UPPER_INNER_LIP, on_faces(faces, lips & above)),
            (LOWER_INNER_LIP, on_faces(faces, lips & below)),
            (UPPER_LID, on_faces(faces, lids & near_upper) & self.skin),
            (LOWER_LID, on_faces(faces, lids & ~upper_lid) & self.skin),
        ]
        # The lining of the mouth and the pockets behind the lids are skin, too, but nobody sees them.
        hidden = on_faces(faces, topology.regions["mouth_interior"] > 0.5) & ~on_faces(faces, lips)
        self.visible_skin = self.skin & ~hidden

    def allowed(self, landmark: int) -> Bool[np.ndarray, " F"]:
        """Mask of triangles for one landmark of the face mesh (not the irises)."""
        for members, mask in self.groups:
            if landmark in members:
                return mask & self.visible_skin
        return self.visible_skin


_EDGE_LANDMARKS = frozenset(UPPER_INNER_LIP + LOWER_INNER_LIP + UPPER_LID + LOWER_LID + EYE_CORNERS + LIP_CORNERS)
"""Landmarks on a rim, where the surface turns away and a ray may just miss it."""


def template_hits(model: BodyModel, rules: SurfaceRules, observation: Observation) -> Float[np.ndarray, "L 3"]:
    """Place of every landmark on the template; NaN where it is not seen well enough."""
    spec, camera = observation.spec, observation.camera
    vertices = spec.vertices(model)
    faces = model.topology.faces
    solid = np.concatenate([v for k, v in model.topology.parts.items() if k not in ("lashes", "garment")])
    pixels = observation.landmarks
    cosines = facing(camera.centre, vertices, faces)
    solid = solid[cosines[solid] > 0]  # the first surface along a ray faces the camera
    rays = camera.unproject(pixels, np.ones(COUNT)) - camera.centre
    hits = first_hits(camera, pixels[:468], vertices, faces[solid])
    projected = camera.project(vertices)[faces]
    metres_per_pixel = camera.to_camera(vertices)[:, 2].mean() / camera.intrinsics[0, 0]
    mouth_open = observation.mouth_open(model) > 0.2

    places = np.full((COUNT, 3), np.nan)
    for landmark in range(468):
        if landmark in UPPER_INNER_LIP + LOWER_INNER_LIP and not mouth_open:
            continue
        allowed = rules.allowed(landmark)
        edge, oval = landmark in _EDGE_LANDMARKS, landmark in FACE_OVAL
        face = solid[hits.face[landmark]] if hits.face[landmark] >= 0 else -1
        if face >= 0 and allowed[face] and cosines[face] > (0.05 if edge or oval else 0.4):
            weights = hits.barycentric[landmark]
        elif edge or oval:
            candidates = np.flatnonzero(allowed & (cosines > 0.05))
            choices, distances = closest_on_triangles(pixels[landmark], projected[candidates])
            best = int(distances.argmin())
            if distances[best] * metres_per_pixel > (0.010 if oval else 0.003):
                continue
            face, weights = candidates[best], choices[best]
        else:
            continue
        places[landmark] = weights @ model.template[faces[face]]
    _add_irises(model, spec, camera.centre, rays, vertices, places)
    return places


def _add_irises(
    model: BodyModel,
    spec: IdentitySpec,
    origin: np.ndarray,
    rays: np.ndarray,
    vertices: np.ndarray,
    places: np.ndarray,
) -> None:
    """Iris landmarks on the eyeballs with the gaze taken out, written into `places`."""
    topology = model.topology
    for first, part, sphere, rest in zip(
        (473, 468),
        ("eye_left", "eye_right"),
        model.eye_spheres(vertices),
        model.eye_spheres(model.template),
        strict=True,
    ):
        indices = topology.parts[part]
        for landmark in range(first, first + 5):
            ray = rays[landmark] / np.linalg.norm(rays[landmark])
            to_centre = sphere.centre - origin
            along = to_centre @ ray
            miss = to_centre @ to_centre - along**2
            if miss > sphere.radius**2:
                continue
            point = origin + (along - np.sqrt(sphere.radius**2 - miss)) * ray - sphere.centre
            ahead = gaze_rotation(spec.gaze).T @ point / sphere.radius * rest.radius + rest.centre
            weights, distance = closest_on_triangles(ahead, model.template[topology.faces[indices]])
            best = int(distance.argmin())
            places[landmark] = weights[best] @ model.template[topology.faces[indices[best]]]


def estimate(model: BodyModel, observations: list[Observation]) -> LandmarkMap:
    """The robust mean place of every landmark, mirrored landmarks measured together."""
    rules = SurfaceRules(model)
    places = np.stack([template_hits(model, rules, o) for o in observations])
    mirror = _mirror_map(np.array([_median(places[:, k]) for k in range(COUNT)]))
    face, barycentric, scatter = np.zeros(COUNT, int), np.zeros((COUNT, 3)), np.zeros(COUNT)
    faces = model.topology.faces
    for landmark in range(COUNT):
        points = np.concatenate([places[:, landmark], places[:, mirror[landmark]] * [-1, 1, 1]])
        points = points[np.isfinite(points[:, 0])]
        if len(points) < 2:
            raise RuntimeError(f"landmark {landmark} was seen in {len(points)} pictures only; render more people")
        centre = geometric_median(points)
        candidates = _eye_faces(model, landmark) if landmark in IRISES else np.flatnonzero(rules.allowed(landmark))
        weights, distance = closest_on_triangles(centre, model.template[faces[candidates]])
        best = int(distance.argmin())
        face[landmark], barycentric[landmark] = candidates[best], weights[best]
        place = weights[best] @ model.template[faces[candidates[best]]]
        scatter[landmark] = 1000 * np.median(np.linalg.norm(points - place, axis=1))
    contour = np.isin(np.arange(COUNT), FACE_OVAL)
    return LandmarkMap(faces, face, barycentric, scatter, contour)


def _eye_faces(model: BodyModel, landmark: int) -> Int[np.ndarray, " n"]:
    return model.topology.parts["eye_left" if landmark >= 473 else "eye_right"]


def _median(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3"]:
    points = points[np.isfinite(points[:, 0])]
    return geometric_median(points) if len(points) else np.full(3, np.nan)


def _mirror_map(places: Float[np.ndarray, "L 3"]) -> Int[np.ndarray, " L"]:
    """For every landmark the one on the other side of the face, found by matching mirrored places."""
    known = np.nan_to_num(places, nan=1.0)
    cost = np.linalg.norm(known[:, None] * [-1, 1, 1] - known[None], axis=-1)
    # Landmarks that coincide when the lips are closed must not swap: lip groups match only within themselves.
    group = np.zeros(COUNT, int)
    for k, members in enumerate((UPPER_INNER_LIP, LOWER_INNER_LIP, UPPER_LID, LOWER_LID, IRISES), start=1):
        group[list(members)] = k
    return linear_sum_assignment(cost + (group[:, None] != group[None]))[1]


def report(model: BodyModel, landmark_map: LandmarkMap, observations: list[Observation]) -> dict[str, float]:
    """Median distance between mapped and detected landmarks by region, % of the distance of the outer eye corners."""
    errors = []
    for observation in observations:
        vertices = observation.spec.vertices(model)
        for sphere, part in zip(model.eye_spheres(vertices), ("eye_left", "eye_right"), strict=True):
            eye = np.unique(model.topology.faces[model.topology.parts[part]])
            vertices[eye] = (vertices[eye] - sphere.centre) @ gaze_rotation(observation.spec.gaze).T + sphere.centre
        projected = observation.camera.project(landmark_map.positions(vertices))
        span = np.linalg.norm(projected[33] - projected[263])
        errors.append(100 * np.linalg.norm(projected - observation.landmarks, axis=1) / span)
    stacked = np.array(errors)
    figures = {name: float(np.median(stacked[:, list(members)])) for name, members in REGIONS.items()}
    figures["all but the oval"] = float(np.median(stacked[:, ~landmark_map.contour]))
    return figures


def write_map(landmark_map: LandmarkMap, path: Path) -> None:
    """Store in the form that `LandmarkMap.load` reads; the triangles themselves stay with the body model."""
    aside = path.with_name(path.stem + ".partial.npz")
    kept = {k: getattr(landmark_map, k) for k in ("face", "barycentric", "scatter_mm", "contour")}
    np.savez_compressed(aside, **kept)
    aside.replace(path)


def save_observations(path: Path, observations: list[Observation]) -> None:
    """Keep what was rendered and detected, so that the estimate can be repeated without rendering."""
    np.savez_compressed(
        path,
        specs=np.array([o.spec.to_json() for o in observations]),
        world_to_camera=np.stack([o.camera.world_to_camera for o in observations]),
        intrinsics=np.stack([o.camera.intrinsics for o in observations]),
        sizes=np.array([[o.camera.width, o.camera.height] for o in observations]),
        landmarks=np.stack([o.landmarks for o in observations]),
    )


def load_observations(path: Path) -> list[Observation]:
    """Inverse of `save_observations`."""
    with np.load(path, allow_pickle=False) as data:
        columns = [data[k] for k in ("specs", "world_to_camera", "intrinsics", "sizes", "landmarks")]
    return [
        Observation(IdentitySpec.from_json(str(spec)), Camera(pose, k, int(size[0]), int(size[1])), landmarks)
        for spec, pose, k, size, landmarks in zip(*columns, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=14, help="people to measure on")
    parser.add_argument("--check", type=int, default=4, help="other people to verify on")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--observations", type=Path, help="npz to keep, or to reuse when it exists")
    parser.add_argument("--out", type=Path, help="default: the packaged file")
    arguments = parser.parse_args()
    model = load_anny()
    kept = arguments.observations
    if kept is not None and kept.exists():
        observations = load_observations(kept)
    else:
        observations = []
        for observation in observe(model, arguments.seed, arguments.people + arguments.check, arguments.threads):
            observations.append(observation)
            print(f"{len(observations)} pictures", flush=True)
            if kept is not None and len(observations) % 40 == 0:
                save_observations(kept, observations)
        if kept is not None:
            save_observations(kept, observations)
    measured = [o for o in observations if o.spec.index < arguments.people]
    fresh = [o for o in observations if o.spec.index >= arguments.people]
    landmark_map = estimate(model, measured)
    out = arguments.out or DATA_DIR / f"landmarks_{model.name}.npz"
    write_map(landmark_map, out)
    print(f"{len(measured)} pictures -> {out}, median scatter {np.median(landmark_map.scatter_mm):.2f} mm")
    for name, value in report(model, landmark_map, fresh).items():
        print(f"{name:18s} {value:5.2f} % of the distance of the outer eye corners")


if __name__ == "__main__":
    main()
