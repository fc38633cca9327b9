"""Fit a body model to the landmarks of a portrait: camera, head pose, identity, expression, gaze, personal offsets.

Levenberg-Marquardt on the reprojection error of MediaPipe's landmarks with Gaussian priors on every parameter. What
the model's own parameters cannot reach is then closed by a smooth displacement of the neutral surface ("personal
offsets"), bounded in size, so that lips, lids and nostrils lie exactly where the picture shows them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from backend.body_model.base import BodyModel, EyeSphere, defaults
from backend.body_model.landmarks import LandmarkMap
from backend.radiance.cameras import Camera

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# MediaPipe's iris landmarks: centre first, then four points on the rim. "Left" is the character's left.
IRIS_RIGHT, IRIS_LEFT = np.arange(468, 473), np.arange(473, 478)
IRIS_EDGE = 0.00595
"""Radius in metres at which `backend.portrait.iris` sees the edge of a 6.0 mm iris (measured on rendered heads)."""
EYE_CORNERS = (33, 263)
"""Outer corners of the character's right and left eye; their distance is the unit of the landmark error."""


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """Weights of the fit. Standard deviations of landmarks are in units of the outer-eye-corner distance."""

    landmark_sd: float = 0.03
    contour_sd: float = 0.05
    symmetry_sd: float = 0.35
    """How far left and right halves of a pair may differ, in units of the parameter's own prior deviation."""
    distance_mean: float = 1.1
    """Usual distance of a portrait camera, metres."""
    distance_sd: float = 0.2
    """Its deviation, metres."""
    iris_sd: float = 0.025
    """Deviation of the measured size of the iris, as a fraction: measuring and people together."""
    iterations: int = 40
    offset_limit: float = 0.006
    """Largest personal offset, metres."""
    offset_stiffness: float = 2.0
    offset_ridge: float = 0.3
    """Pull of every vertex back to the model, in landmarks, away from lids and lips: detectors err together, and what
    all landmarks of a cheek want alike is more often their error than the person."""


@dataclasses.dataclass
class BodyFit:
    """A body model posed in front of a camera.

    `camera` maps head-frame points to crop pixels (head pose included: the head is the world). `offsets` are added to
    the neutral vertices. `gaze` holds rotations of the left and right eyeball from "straight ahead" (-Y), radians as
    (yaw towards +X, pitch up).
    """

    model: BodyModel
    identity: Float[np.ndarray, " I"]
    expression: Float[np.ndarray, " E"]
    camera: Camera
    gaze: Float[np.ndarray, "2 2"]
    offsets: Float[np.ndarray, "V 3"]
    landmark_error: Float[np.ndarray, " L"]
    """Reprojection error of every landmark, in units of the outer-eye-corner distance."""

    def neutral(self) -> Float[np.ndarray, "V 3"]:
        """Vertices of this person without expression, metres, head frame."""
        return self.model.neutral(self.identity) + self.offsets

    def posed(self) -> Float[np.ndarray, "V 3"]:
        """Vertices with the expression of the portrait (eyeballs not yet turned)."""
        offsets = self.model.expression_offsets(self.identity)
        return self.neutral() + np.tensordot(self.expression, offsets, 1)

    @property
    def median_landmark_error(self) -> float:
        """Median over the landmarks, as a fraction of the distance between the outer corners of the eyes."""
        return float(np.median(self.landmark_error))


def fit_landmarks(
    model: BodyModel,
    landmark_map: LandmarkMap,
    landmarks: Float[np.ndarray, "L 2"],
    image_size: tuple[int, int],
    settings: FitSettings | None = None,
    *,
    iris_radius: float | None = None,
) -> BodyFit:
    """Fit `model` to `landmarks` (pixels, x right, y down) of a picture of `image_size` (width, height).

    `iris_radius` in pixels, where it could be measured (`backend.portrait.iris`), tells the true size of the head,
    which a single picture shows by nothing else.
    """
    settings = settings or FitSettings()
    width, height = image_size
    surface = _SurfaceSubset(model, landmark_map)
    unit = float(np.linalg.norm(landmarks[EYE_CORNERS[0]] - landmarks[EYE_CORNERS[1]]))
    deviations = np.where(landmark_map.contour, settings.contour_sd, settings.landmark_sd)
    scatter = landmark_map.scatter_mm / 90.0  # outer corners are about 90 mm apart
    sigma = unit * np.hypot(deviations, scatter)
    sigma[np.r_[IRIS_LEFT, IRIS_RIGHT]] = np.inf  # the gaze turns the iris, not the head

    identity, expression = defaults(model.identity_parameters), defaults(model.expression_parameters)
    focal = _focal(unit, settings.distance_mean)
    pose = _initial_pose(surface.positions(identity, expression), landmarks, focal, (width, height))
    state = np.concatenate([pose, [0.0], identity, expression])
    prior = _Prior(model, settings)
    n_identity = len(identity)

    def unpack(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        return x[:6], x[7 : 7 + n_identity], x[7 + n_identity :], focal * float(np.exp(x[6]))

    corners = np.array([33, 133, 362, 263])
    iris = iris_radius  # as it would be in an eye that looks along the line of sight

    def iris_residual(depth: float, f: float) -> float:
        return 0.0 if iris is None else (f * IRIS_EDGE / depth / iris - 1) / settings.iris_sd

    def residuals(x: np.ndarray) -> np.ndarray:
        pose, identity, expression, f = unpack(x)
        points = surface.positions(identity, expression)
        projected = _project(points, pose, f, (width, height))
        depth = float((points[corners] @ Rotation.from_rotvec(pose[:3]).as_matrix()[2]).mean() + pose[5])
        reprojection = ((projected - landmarks) / sigma[:, None]).ravel()
        return np.append(reprojection, [iris_residual(depth, f), 0.0])

    def jacobian(x: np.ndarray) -> np.ndarray:
        pose, identity, expression, f = unpack(x)
        points = surface.positions(identity, expression)
        rotation = Rotation.from_rotvec(pose[:3]).as_matrix()
        camera_points = points @ rotation.T + pose[3:]
        z = camera_points[:, 2]
        # d(pixel)/d(camera point)
        project = np.zeros((len(points), 2, 3))
        project[:, 0, 0] = project[:, 1, 1] = f / z
        project[:, 0, 2] = -f * camera_points[:, 0] / z**2
        project[:, 1, 2] = -f * camera_points[:, 1] / z**2
        project /= sigma[:, None, None]
        columns = np.zeros((len(points), 2, len(x)))
        rotated = points @ rotation.T
        columns[:, :, :3] = project @ -_cross_matrices(rotated)  # a small turn applied after `rotation`
        columns[:, :, 3:6] = project
        columns[:, 0, 6] = f * camera_points[:, 0] / z / sigma
        columns[:, 1, 6] = f * camera_points[:, 1] / z / sigma
        directions = np.concatenate([surface.identity_jacobian(identity), surface.expression]) @ rotation.T
        columns[:, :, 7:] = np.einsum("nij,knj->nik", project, directions)
        size = np.zeros((2, len(x)))
        if iris is not None:
            depth = float(z[corners].mean())
            slope = f * IRIS_EDGE / depth / iris / settings.iris_sd
            size[0, 5], size[0, 6] = -slope / depth, slope
        return np.concatenate([columns.reshape(-1, len(x)), size])

    low = np.concatenate(
        [np.full(7, -np.inf), [p.low for p in model.identity_parameters + model.expression_parameters]]
    )
    high = np.concatenate(
        [np.full(7, np.inf), [p.high for p in model.identity_parameters + model.expression_parameters]]
    )

    def solve(state: np.ndarray) -> tuple[np.ndarray, BodyFit]:
        state = _levenberg_marquardt(state, residuals, jacobian, prior, low, high, settings.iterations)
        pose, identity, expression, f = unpack(state)
        projected = _project(surface.positions(identity, expression), pose, f, (width, height))
        world_to_camera = np.eye(4)
        world_to_camera[:3, :3] = Rotation.from_rotvec(pose[:3]).as_matrix()
        world_to_camera[:3, 3] = pose[3:]
        intrinsics = np.array([[f, 0, width / 2], [0, f, height / 2], [0, 0, 1.0]])
        camera = Camera(world_to_camera, intrinsics, width, height)
        error = np.linalg.norm(projected - landmarks, axis=1) / unit
        return state, BodyFit(
            model, identity, expression, camera, np.zeros((2, 2)), np.zeros_like(model.template), error
        )

    state, fit = solve(state)
    if iris is not None:
        # Only a fitted head tells where the eyes look, and an eye that looks aside shows its iris narrower than it is.
        iris /= _iris_foreshortening(fit, landmarks)
        state, fit = solve(state)
    camera = fit.camera
    fit.offsets = _personal_offsets(fit, landmark_map, landmarks, sigma, settings)
    fit.landmark_error = np.linalg.norm(camera.project(landmark_map.positions(fit.posed())) - landmarks, axis=1) / unit
    fit.gaze = estimate_gaze(fit, landmarks)
    irises = np.r_[IRIS_LEFT, IRIS_RIGHT]
    fit.landmark_error[irises] = _iris_error(fit, landmarks) / unit
    return fit


class _SurfaceSubset:
    """The model restricted to the triangles that carry landmarks."""

    def __init__(self, model: BodyModel, landmark_map: LandmarkMap) -> None:
        triangles = model.topology.faces[landmark_map.face]
        self.model = model
        self.vertices, corners = np.unique(triangles, return_inverse=True)
        self.corners = corners.reshape(-1, 3)
        self.barycentric = landmark_map.barycentric
        identity = defaults(model.identity_parameters)
        self.expression = self._blend(model.expression_offsets(identity)[:, self.vertices])

    def _blend(self, values: np.ndarray) -> np.ndarray:
        """(…, n, 3) at the subset's vertices to (…, L, 3) at the landmarks."""
        return np.einsum("...lkd,lk->...ld", values[..., self.corners, :], self.barycentric)

    def positions(self, identity: np.ndarray, expression: np.ndarray) -> Float[np.ndarray, "L 3"]:
        neutral = self._blend(self.model.neutral(identity)[self.vertices])
        return neutral + np.tensordot(expression, self.expression, 1)

    def identity_jacobian(self, identity: np.ndarray) -> Float[np.ndarray, "I L 3"]:
        return self._blend(self.model.identity_jacobian(identity, self.vertices))


class _Prior:
    """Linear residuals that hold the parameters near what people look like."""

    def __init__(self, model: BodyModel, settings: FitSettings) -> None:
        parameters = model.identity_parameters + model.expression_parameters
        names = [p.name for p in parameters]
        size = 7 + len(parameters)
        rows, targets = [], []

        def add(row: dict[int, float], target: float = 0.0) -> None:
            full = np.zeros(size)
            for index, value in row.items():
                full[index] = value
            rows.append(full)
            targets.append(target)

        # The distance has a prior and the focal length next to none: a picture tells the size of a head by nothing but
        # the identity's prior, and a wrong guess of the lens must not make the head smaller or larger.
        add({5: 1 / settings.distance_sd}, settings.distance_mean / settings.distance_sd)
        add({6: 0.5})
        for i, parameter in enumerate(parameters):
            add({7 + i: 1 / parameter.sd}, parameter.mean / parameter.sd)
            mirror = _mirror_name(parameter.name)
            if mirror > parameter.name and mirror in names:
                weight = 1 / (settings.symmetry_sd * parameter.sd)
                add({7 + i: weight, 7 + names.index(mirror): -weight})
        self.matrix, self.target = np.array(rows), np.array(targets)


def _mirror_name(name: str) -> str:
    """Name of the same parameter on the other side of the face, or the name itself."""
    if name.startswith(("l-", "r-")):
        return ("r-" if name[0] == "l" else "l-") + name[2:]
    if name.endswith("Left"):
        return name[:-4] + "Right"
    return name[:-5] + "Left" if name.endswith("Right") else name


def _levenberg_marquardt(state, residuals, jacobian, prior, low, high, iterations):
    """Minimise robust residuals plus the prior; parameters at a bound stay there while the gradient pushes outwards."""

    def cost(r: np.ndarray, x: np.ndarray) -> float:
        return float((_soft(r) ** 2).sum() + ((prior.matrix @ x - prior.target) ** 2).sum())

    # The rotation is stored as a vector but updated by composition, so that no pose is singular.
    damping = 1e-2
    r = residuals(state)
    current = cost(r, state)
    for _ in range(iterations):
        weight = np.repeat(1 / (1 + (r.reshape(-1, 2) ** 2).sum(1) / 9.0), 2)  # Cauchy, 3 deviations
        j = jacobian(state)
        hessian = (j * weight[:, None]).T @ j + prior.matrix.T @ prior.matrix
        gradient = j.T @ (weight * r) + prior.matrix.T @ (prior.matrix @ state - prior.target)
        free = ~(((state <= low) & (gradient > 0)) | ((state >= high) & (gradient < 0)))
        for _ in range(8):
            damped = hessian + damping * np.diag(np.diag(hessian))
            step = np.zeros_like(state)
            step[free] = -np.linalg.solve(damped[np.ix_(free, free)], gradient[free])
            trial = state + step
            trial[:3] = (Rotation.from_rotvec(step[:3]) * Rotation.from_rotvec(state[:3])).as_rotvec()
            trial = np.clip(trial, low, high)
            trial_r = residuals(trial)
            trial_cost = cost(trial_r, trial)
            if trial_cost < current:
                break
            damping *= 4
        else:
            break
        converged = current - trial_cost < 1e-5 * current
        state, r, current, damping = trial, trial_r, trial_cost, max(damping / 5, 1e-7)
        if converged:
            break
    return state


def _soft(r: np.ndarray) -> np.ndarray:
    """Square root of the Cauchy loss (scale 3) of each 2D residual, so that one wrong landmark cannot bend the face."""
    squared = (r.reshape(-1, 2) ** 2).sum(1)
    return np.sqrt(9.0 * np.log1p(squared / 9.0))


def _focal(unit: float, distance: float) -> float:
    """Focal length in pixels with which outer eye corners 90 mm apart at `distance` appear `unit` pixels apart."""
    return unit * distance / 0.090


def _project(points: np.ndarray, pose: np.ndarray, focal: float, size: tuple[int, int]) -> np.ndarray:
    camera_points = points @ Rotation.from_rotvec(pose[:3]).as_matrix().T + pose[3:]
    return focal * camera_points[:, :2] / camera_points[:, 2:] + np.array(size) / 2


def _initial_pose(points: np.ndarray, landmarks: np.ndarray, focal: float, size: tuple[int, int]) -> np.ndarray:
    """Rotation vector and translation from a scaled-orthographic fit, refined by what follows."""
    centred, target = points - points.mean(0), landmarks - landmarks.mean(0)
    affine = np.linalg.lstsq(centred, target, rcond=None)[0].T
    scale = np.sqrt(np.linalg.norm(affine[0]) * np.linalg.norm(affine[1]))
    rows = affine / np.linalg.norm(affine, axis=1, keepdims=True)
    guess = np.stack([rows[0], rows[1], np.cross(rows[0], rows[1])])
    u, _, vt = np.linalg.svd(guess)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    depth = focal / scale
    centre = np.append((landmarks.mean(0) - np.array(size) / 2) * depth / focal, depth)
    return np.concatenate([Rotation.from_matrix(rotation).as_rotvec(), centre - rotation @ points.mean(0)])


def _cross_matrices(v: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    zero = np.zeros(len(v))
    x, y, z = v.T
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)


def _personal_offsets(
    fit: BodyFit,
    landmark_map: LandmarkMap,
    landmarks: Float[np.ndarray, "L 2"],
    sigma: Float[np.ndarray, " L"],
    settings: FitSettings,
) -> Float[np.ndarray, "V 3"]:
    """Smooth displacement of the neutral skin that takes the landmarks to their pixels, parallel to the picture."""
    topology, camera = fit.model.topology, fit.camera
    posed = fit.posed()
    points = landmark_map.positions(posed)
    depth = camera.to_camera(points)[:, 2]
    wanted = camera.unproject(landmarks, depth) - points
    skin_faces = topology.faces[topology.parts["skin"]]
    used = np.isfinite(sigma) & ~landmark_map.contour & np.isin(landmark_map.face, topology.parts["skin"])

    skin = np.unique(skin_faces)
    local = np.full(len(posed), -1)
    local[skin] = np.arange(len(skin))
    triangles = local[topology.faces[landmark_map.face[used]]]
    rows = np.repeat(np.arange(used.sum()), 3)
    select = sparse.csr_matrix(
        (landmark_map.barycentric[used].ravel(), (rows, triangles.ravel())), (used.sum(), len(skin))
    )
    weight = (np.median(sigma[used]) / sigma[used]) ** 2
    weight *= _agreement(points[used], wanted[used], sigma[used] * depth[used] / camera.intrinsics[0, 0])
    laplacian = _graph_laplacian(local[skin_faces], len(skin))
    bending = laplacian.T @ laplacian
    neutral = fit.model.neutral(fit.identity)
    seams = np.maximum(topology.regions["lips"], topology.regions["eyelids"]) > 0.5
    from_seams = KDTree(neutral[seams]).query(neutral[skin])[0]
    ridge = sparse.diags(1e-3 + settings.offset_ridge * (1 - np.exp(-((from_seams / 0.012) ** 2))))
    system = select.T @ sparse.diags(weight) @ select + settings.offset_stiffness * bending + ridge
    solved = splu(sparse.csc_matrix(system)).solve(select.T @ (weight[:, None] * wanted[used]))
    length = np.linalg.norm(solved, axis=1, keepdims=True)
    solved *= settings.offset_limit * np.tanh(length / settings.offset_limit) / np.maximum(length, 1e-9)

    offsets = np.zeros_like(posed)
    offsets[skin] = solved
    _carry_inner_parts(fit.model, neutral, offsets)
    return offsets


def _agreement(
    points: Float[np.ndarray, "n 3"], wanted: Float[np.ndarray, "n 3"], sigma: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """How far each landmark is believed, in [0, 1]: faces differ smoothly, so one unlike all around it is wrong.

    Tukey's biweight of the distance between what it wants and the median of its eight nearest, to 6 `sigma` (metres).
    """
    nearest = KDTree(points).query(points, k=9)[1]
    deviation = np.linalg.norm(wanted - np.median(wanted[nearest], axis=1), axis=1) / sigma
    return np.maximum(1 - (deviation / 6) ** 2, 0) ** 2


def _graph_laplacian(faces: Int[np.ndarray, "F 3"], count: int) -> sparse.csr_matrix:
    """Umbrella operator: each vertex minus the mean of its neighbours."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    adjacency = sparse.csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    adjacency.data[:] = 1
    degree = np.asarray(adjacency.sum(1)).ravel()
    return sparse.eye(count, format="csr") - sparse.diags(1 / np.maximum(degree, 1)) @ adjacency


def _carry_inner_parts(model: BodyModel, neutral: np.ndarray, offsets: np.ndarray) -> None:
    """Eyes follow their lids as a whole, teeth and tongue the lips, lashes the nearest skin. Changes `offsets`."""
    topology = model.topology
    skin = np.unique(topology.faces[topology.parts["skin"]])
    tree = KDTree(neutral[skin])
    for part, indices in topology.parts.items():
        if part in ("skin", "garment") or len(indices) == 0:
            continue
        vertices = np.unique(topology.faces[indices])
        if part == "lashes":
            distance, nearest = tree.query(neutral[vertices], k=4)
            weight = 1 / (distance + 1e-4)
            offsets[vertices] = (offsets[skin[nearest]] * (weight / weight.sum(1, keepdims=True))[..., None]).sum(1)
            continue
        region = "eyelids" if part.startswith("eye") else "lips"
        mask = topology.regions[region][skin] > 0.5
        centre = neutral[vertices].mean(0)
        near = mask & (np.linalg.norm(neutral[skin] - centre, axis=1) < 0.035)
        if near.any():
            offsets[vertices] = offsets[skin[near]].mean(0)


def eye_spheres(fit: BodyFit) -> tuple[EyeSphere, EyeSphere]:
    """Eyeballs of the fitted person, left and right."""
    return fit.model.eye_spheres(fit.neutral())


def estimate_gaze(fit: BodyFit, landmarks: Float[np.ndarray, "L 2"]) -> Float[np.ndarray, "2 2"]:
    """Yaw and pitch of both eyeballs (radians) that put the iris centres under their landmarks."""
    gaze = np.zeros((2, 2))
    for k, (sphere, iris) in enumerate(zip(eye_spheres(fit), (IRIS_LEFT, IRIS_RIGHT), strict=True)):
        origin = fit.camera.centre
        through = fit.camera.unproject(landmarks[iris[:1]], np.ones(1))[0]
        direction = (through - origin) / np.linalg.norm(through - origin)
        to_centre = sphere.centre - origin
        along = to_centre @ direction
        miss = np.linalg.norm(to_centre - along * direction)
        depth = along - np.sqrt(max(sphere.radius**2 - miss**2, 0.0))
        axis = origin + depth * direction - sphere.centre
        axis /= np.linalg.norm(axis)
        gaze[k] = np.arctan2(axis[0], -axis[1]), np.arcsin(np.clip(axis[2], -1, 1))
    # Eyes look at one point far away: pitch is shared, yaw may converge a little.
    gaze[:, 1] = gaze[:, 1].mean()
    gaze[:, 0] = gaze[:, 0].mean() + np.clip(gaze[:, 0] - gaze[:, 0].mean(), -0.09, 0.09)
    return np.clip(gaze, -0.6, 0.6)


def _iris_foreshortening(fit: BodyFit, landmarks: Float[np.ndarray, "L 2"]) -> float:
    """Apparent over true width of the irises, which look aside of the line of sight."""
    cosines = []
    for sphere, gaze in zip(eye_spheres(fit), estimate_gaze(fit, landmarks), strict=True):
        axis = fit.camera.world_to_camera[:3, :3] @ gaze_rotation(gaze) @ np.array([0, -1.0, 0])
        sight = fit.camera.world_to_camera[:3, :3] @ (sphere.centre - fit.camera.centre)
        aside = np.arctan2(axis[0], -axis[2]) + np.arctan2(sight[0], sight[2])
        cosines.append(np.cos(aside))
    return float(np.clip(np.mean(cosines), 0.7, 1))


def gaze_rotation(gaze: Float[np.ndarray, "2"]) -> Float[np.ndarray, "3 3"]:
    """Rotation of an eyeball from looking along -Y to `gaze` (yaw towards +X, pitch up, radians)."""
    yaw, pitch = gaze
    return (Rotation.from_euler("z", yaw) * Rotation.from_euler("x", -pitch)).as_matrix()


def _iris_error(fit: BodyFit, landmarks: np.ndarray) -> Float[np.ndarray, " 10"]:
    """Pixels between the iris centres of the turned eyeballs and their landmarks, for IRIS_LEFT + IRIS_RIGHT."""
    errors = []
    for k, (sphere, iris) in enumerate(zip(eye_spheres(fit), (IRIS_LEFT, IRIS_RIGHT), strict=True)):
        centre = sphere.centre + gaze_rotation(fit.gaze[k]) @ np.array([0, -sphere.radius, 0])
        errors += [float(np.linalg.norm(fit.camera.project(centre) - landmarks[iris[0]]))] * len(iris)
    return np.array(errors)
