"""A bilinear face model (identity times expression), in the layout of FaceScape, from a file that the user owns.

Yang et al., "FaceScape: a Large-scale High Quality 3D Face Dataset" (CVPR 2020), section 4.2: vertices are the core
tensor multiplied by identity and expression weights. With 52 expressions, the first is the neutral face and the others
are blendshapes under the names that FaceScape's authors give.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import Parameter, Topology
from backend.body_model.linear import Y_UP_TO_HEAD, EyeAnchor, LinearHead, LinearShape, head_frame_shift
from backend.body_model.model_files import Entries, ModelFile, unusable
from backend.body_model.safe_pickle import RefusedPickleError, load_pickle
from backend.body_model.uv_layout import cylindrical_layout, flat_ball
from backend.rigging.avatar import ARKIT_SHAPES, Skeleton

if TYPE_CHECKING:
    from jaxtyping import Float, Int

BILINEAR_FILE = ModelFile(
    "The FaceScape bilinear model",
    "MAQUETTE_BILINEAR",
    "bilinear",
    (
        "facescape_bm_v1.6_847_50_52_id_front.npz",
        "facescape_bm_v1.6_847_50_52_id.npz",
        "facescape_bm_v1.6_847_300_52_id.npz",
        "core_847_50_52.npy",
    ),
    "accept its licence at https://github.com/zhuhao-nju/facescape (bilinear model v1.6) and download it",
)

# FaceScape's expressions 1 to 51 (0 is the neutral face), by the authors' own list, under ARKit's names.
_SIDES = ("Left", "Right")
FACESCAPE_EXPRESSIONS: tuple[str, ...] = (
    *(f"{name}{side}" for name in ("eyeBlink", "eyeSquint", "eyeLookDown", "eyeLookIn") for side in _SIDES),
    *(f"{name}{side}" for name in ("eyeWide", "eyeLookOut", "eyeLookUp", "browDown") for side in _SIDES),
    *("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("jawOpen", "mouthClose", "jawLeft", "jawRight", "jawForward"),
    *(f"{name}{side}" for name in ("mouthUpperUp", "mouthLowerDown") for side in _SIDES),
    *("mouthRollUpper", "mouthRollLower"),
    *(f"{name}{side}" for name in ("mouthSmile", "mouthDimple", "mouthStretch") for side in _SIDES),
    *(f"{name}{side}" for name in ("mouthFrown", "mouthPress") for side in _SIDES),
    *("mouthPucker", "mouthFunnel", "mouthLeft", "mouthRight", "mouthShrugLower", "mouthShrugUpper"),
    *("noseSneerLeft", "noseSneerRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight"),
)

_IDENTITY_LIMIT = 4.0
_EYE_RADIUS = 0.0122
_EYE_DEPTH = 0.011
"""How far the centre of an eyeball lies behind the mean of the points around its opening, metres."""
_ARRAYS = ("shape_bm_core", "id_mean", "id_var", "fv_indices", "ft_indices", "texcoords", "lm_list_v16")

# Of the 68 landmarks of iBUG that come with the file (0 based): the names of `registration.find_anchors`.
_EYE_LANDMARKS = {"left": range(42, 48), "right": range(36, 42)}
_KNOWN_LANDMARKS = {
    "right eye, right end": 36,
    "right eye, left end": 39,
    "left eye, right end": 42,
    "left eye, left end": 45,
    "tip of the nose": 30,
    "upper lip 0": 60,
    "lower lip 0": 60,
    "upper lip 4": 62,
    "lower lip 4": 66,
    "upper lip 8": 64,
    "lower lip 8": 64,
}


class BilinearHead(LinearHead):
    """A face that is linear in its identity and, for each identity, in its expressions.

    Identity parameters are standardised (mean 0, standard deviation 1 over the people of the data set). Eyeballs are
    put behind the openings of the lids, vertices after those of the file. Bones, weights and masks are read off Anny;
    the ARKit shapes too, unless the file has them (all but ``tongueOut`` in FaceScape).
    """

    def __init__(
        self,
        core: Float[np.ndarray, "V3 E I"],
        identity_mean: Float[np.ndarray, " I"],
        identity_sd: Float[np.ndarray, " I"],
        scale: float,
        landmarks: Int[np.ndarray, " 68"],
        faces: Int[np.ndarray, "F 3"],
        layout: tuple[Float[np.ndarray, "T 2"], Int[np.ndarray, "F 3"]] | None,
    ) -> None:
        self._core, self._mean, self._sd, self._scale = core, identity_mean, identity_sd, scale
        count = len(core) // 3
        basis = (core[:, 0, :] * identity_sd.astype(core.dtype)).T.reshape(-1, count, 3)
        mean = (core[:, 0, :] @ identity_mean).reshape(count, 3)
        shape = LinearShape(mean, basis).rotated(Y_UP_TO_HEAD, scale)
        behind = np.array([0, _EYE_DEPTH, 0])
        left, right = (EyeAnchor(landmarks[list(_EYE_LANDMARKS[s])], behind, _EYE_RADIUS) for s in ("left", "right"))
        shift = head_frame_shift(shape, (left, right))
        shape = shape.shifted(*shift)
        average = self._offsets(np.zeros(len(identity_mean)))
        self._names = _expression_names(average, shape.mean)
        self._named = set(self._names) <= set(ARKIT_SHAPES)
        jaw = np.full(count, 0.5)
        if self._named:
            opening = np.linalg.norm(average[self._names.index("jawOpen")], axis=1)
            jaw = np.clip(opening / (0.65 * opening.max()), 0, 1)
        shape, topology = _with_eyeballs(shape, (left, right), faces, layout)
        self._eye_count = len(shape.mean) - count
        super().__init__(
            "bilinear",
            shape,
            topology,
            (left, right),
            tuple(
                Parameter(f"identity{i:03d}", -_IDENTITY_LIMIT, _IDENTITY_LIMIT, 0.0, 1.0)
                for i in range(len(identity_mean))
            ),
            tuple(Parameter(name, 0.0, 1.0, 0.0, 0.25) for name in self._names),
            np.concatenate([jaw, np.zeros(self._eye_count)]),
            shift,
            {name: int(landmarks[i]) for name, i in _KNOWN_LANDMARKS.items()},
        )

    def _offsets(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "E V 3"]:
        weights = (self._mean + self._sd * identity).astype(self._core.dtype)
        shapes = self._core.reshape(-1, len(weights)) @ weights
        shapes = shapes.reshape(-1, 3, self._core.shape[1])
        offsets = np.moveaxis(shapes[..., 1:] - shapes[..., :1], 2, 0)
        return offsets @ (self._scale * Y_UP_TO_HEAD.T).astype(offsets.dtype)

    def expression_offsets(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "E V 3"]:
        offsets = self._offsets(np.asarray(identity, float))
        return np.pad(offsets, ((0, 0), (0, self._eye_count), (0, 0)))

    def arkit_offsets(self, identity: Float[np.ndarray, " I"]) -> dict[str, Float[np.ndarray, "V 3"]]:
        if not self._named:
            return super().arkit_offsets(identity)
        own = dict(zip(self._names, self.expression_offsets(identity), strict=True))
        nothing = np.zeros_like(self.template)
        return self.turn_eyes({name: own.get(name, nothing) for name in ARKIT_SHAPES}, identity)

    def skeleton(self, identity: Float[np.ndarray, " I"]) -> Skeleton:
        """Anny's bones laid into the template; each follows the mean of the skin that hangs on it."""
        bones = self.from_anny.skeleton
        neutral = self.neutral(identity)
        weights = self.skin_weights / np.maximum(self.skin_weights.sum(0), 1e-9)
        shift = weights.T @ (neutral - self.template)
        heads, tails = bones.heads + shift, bones.tails + shift
        for name, sphere in zip(("LeftEye", "RightEye"), self.eye_spheres(neutral), strict=True):
            j = bones.names.index(name)
            heads[j], tails[j] = sphere.centre, sphere.centre - [0, 0.03, 0]
        return Skeleton(bones.names, bones.parents, heads, tails)

    @property
    def skin_weights(self) -> Float[np.ndarray, "V J"]:
        return self.from_anny.skin_weights


def _with_eyeballs(
    shape: LinearShape,
    eyes: tuple[EyeAnchor, EyeAnchor],
    faces: Int[np.ndarray, "F 3"],
    layout: tuple[Float[np.ndarray, "T 2"], Int[np.ndarray, "F 3"]] | None,
) -> tuple[LinearShape, Topology]:
    """Two balls more, which follow their lids; in the file's own layout they get squares in the lower corners."""
    directions, ball = _ball()
    means, bases, triangles = [shape.mean], [shape.basis], [faces]
    parts = {"skin": np.arange(len(faces))}
    for part, eye in zip(("eye_left", "eye_right"), eyes, strict=True):
        follow = shape.basis[:, eye.vertices].mean(1)
        parts[part] = sum(map(len, triangles)) + np.arange(len(ball))
        triangles.append(ball + sum(map(len, means)))
        means.append(eye.centre(shape.mean) + _EYE_RADIUS * directions)
        bases.append(np.repeat(follow[:, None], len(directions), axis=1))
    whole = LinearShape(np.concatenate(means), np.concatenate(bases, axis=1))
    all_faces = np.concatenate(triangles)
    if layout is None:
        uvs, uv_faces = cylindrical_layout(whole.mean, all_faces, parts)
        return whole, Topology(all_faces, uvs, uv_faces, parts, {})
    uvs, uv_faces = [layout[0]], [layout[1]]
    for corner in (0.0, 0.92):
        uv_faces.append(ball + sum(map(len, uvs)))
        uvs.append(flat_ball(directions) * 0.08 + [corner, 0.0])
    return whole, Topology(all_faces, np.concatenate(uvs), np.concatenate(uv_faces), parts, {})


def _ball(rings: int = 12, segments: int = 20) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "F 3"]]:
    """Directions from the centre of an eye that looks along -Y, front pole first, and triangles."""
    polar, around = np.pi * np.arange(1, rings) / rings, 2 * np.pi * np.arange(segments) / segments
    t, p = (grid.ravel() for grid in np.meshgrid(polar, around, indexing="ij"))
    ring = np.stack([np.sin(t) * np.cos(p), -np.cos(t), np.sin(t) * np.sin(p)], 1)
    directions = np.concatenate([[[0, -1, 0]], ring, [[0, 1, 0]]])
    here, there = np.arange(segments), (np.arange(segments) + 1) % segments
    start = 1 + segments * np.arange(rings - 2)[:, None]
    a, b = (start + here).ravel(), (start + there).ravel()
    last = len(directions) - 1
    caps = [np.stack([0 * here, 1 + here, 1 + there], 1)]
    caps.append(np.stack([0 * here + last, last - segments + there, last - segments + here], 1))
    sides = [np.stack([a, a + segments, b + segments], 1), np.stack([a, b + segments, b], 1)]
    return directions, np.concatenate(caps + sides)


def load_bilinear(path: Path | str | None = None) -> BilinearHead:
    """A bilinear model from a file, from a folder that holds it, or from where it is usually kept.

    ``.npz`` as FaceScape v1.6 has it: ``shape_bm_core`` (3V, expressions, identities), ``id_mean``, ``id_var``,
    ``fv_indices``, ``ft_indices``, ``texcoords``, ``lm_list_v16``. ``.npy`` as its versions before have it: the core
    as (identities, expressions, 3V), with ``factors_id_….npy``, ``predef_faces.pkl`` and ``landmark_indices.npz``
    (``v10``) beside it. Raises `MaquetteError`.
    """
    file = BILINEAR_FILE.locate(path)
    return _load_npy(file) if file.suffix == ".npy" else _load_npz(file)


def _load_npz(file: Path) -> BilinearHead:
    entries = Entries(file, _ARRAYS)
    core = entries.float32("shape_bm_core", (None, None, None))
    count, identities = _vertex_count(core, file), core.shape[2]
    variance = entries.floats("id_var", (identities,))
    faces = _zero_based(entries.indices("fv_indices", (None, 3)), count, file)
    layout = None
    if "texcoords" in entries and "ft_indices" in entries:
        uvs = entries.floats("texcoords", (None, 2))
        layout = uvs, _zero_based(entries.indices("ft_indices", (len(faces), 3)), len(uvs), file)
    landmarks = entries.indices("lm_list_v16", (68,), count)
    return _checked(file, core, entries.floats("id_mean", (identities,)), variance, landmarks, faces, layout)


def _load_npy(file: Path) -> BilinearHead:
    try:
        core = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise unusable(file, "it is cut short or is not an .npy file") from error
    if not isinstance(core, np.ndarray) or core.ndim != 3 or core.dtype.kind != "f":
        raise unusable(file, "it is not a tensor of identities, expressions and coordinates")
    core = np.ascontiguousarray(core.transpose(2, 1, 0), np.float32)
    count = _vertex_count(core, file)
    factors = _beside(file, file.name.replace("core", "factors_id"))
    try:
        people = np.load(factors, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise unusable(factors, "it is cut short or is not an .npy file") from error
    if not isinstance(people, np.ndarray) or people.ndim != 2 or people.shape[1] != core.shape[2]:
        raise unusable(factors, f"it has no {core.shape[2]} identity factors per person")
    face_file = _beside(file, "predef_faces.pkl")
    try:
        faces = np.asarray(load_pickle(face_file.read_bytes()))
    except (RefusedPickleError, ValueError) as error:
        raise unusable(face_file, f"it contains {error}") from error
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise unusable(face_file, "it is not a list of triangles")
    faces = _zero_based(faces.astype(np.int64), count, face_file)
    landmarks = Entries(_beside(file, "landmark_indices.npz"), ("v10",)).indices("v10", (68,), count)
    return _checked(file, core, people.mean(0).astype(float), people.var(0).astype(float), landmarks, faces, None)


def _vertex_count(core: Float[np.ndarray, "V3 E I"], file: Path) -> int:
    if not len(core) or len(core) % 3 or core.shape[1] < 2:
        raise unusable(file, f"a core of {' x '.join(map(str, core.shape))} holds no vertices in several expressions")
    return len(core) // 3


def _beside(file: Path, name: str) -> Path:
    path = file.parent / name
    if not path.is_file():
        raise unusable(file, f"{name} is not in the same folder")
    return path


def _zero_based(indices: Int[np.ndarray, "F 3"], count: int, file: Path) -> Int[np.ndarray, "F 3"]:
    """Indices that may count from one, as FaceScape's do."""
    if indices.size and indices.min() >= 1:
        indices = indices - 1
    if not indices.size or indices.min() < 0 or indices.max() >= count:
        raise unusable(file, f"its triangles point beyond {count} entries")
    return indices


def _checked(
    file: Path,
    core: Float[np.ndarray, "V3 E I"],
    mean: Float[np.ndarray, " I"],
    variance: Float[np.ndarray, " I"],
    landmarks: Int[np.ndarray, " 68"],
    faces: Int[np.ndarray, "F 3"],
    layout: tuple[Float[np.ndarray, "T 2"], Int[np.ndarray, "F 3"]] | None,
) -> BilinearHead:
    shapes = (core @ mean.astype(core.dtype)).reshape(-1, 3, core.shape[1]).astype(float)
    neutral = shapes[..., 0]
    size = np.sqrt(((neutral - neutral.mean(0)) ** 2).sum(1).mean())
    change = np.sqrt(((shapes[..., 1:] - shapes[..., :1]) ** 2).sum(1).mean(0)).max()
    if change > 0.3 * size:
        raise unusable(
            file, "its expressions are principal components, not faces (take the file whose name ends in _id_front)"
        )
    eyes = float(np.linalg.norm(neutral[landmarks[36]] - neutral[landmarks[45]]))
    # Outer corners of the eyes are about 90 mm apart; the file may be in millimetres, centimetres or metres.
    scale = next((unit for unit in (0.001, 0.01, 1.0) if 0.05 < eyes * unit < 0.15), None)
    if scale is None or (variance < 0).any():
        raise unusable(file, "its landmarks or its identity variances make no face")
    return BilinearHead(core, mean, np.sqrt(variance), scale, landmarks, faces, layout)


def _expression_names(offsets: Float[np.ndarray, "E V 3"], neutral: Float[np.ndarray, "V 3"]) -> tuple[str, ...]:
    """ARKit's names for FaceScape's 51 blendshapes, numbers for others; left is checked to be the character's left."""
    if len(offsets) != len(FACESCAPE_EXPRESSIONS):
        return tuple(f"expression{i:03d}" for i in range(len(offsets)))
    blink = np.linalg.norm(offsets[FACESCAPE_EXPRESSIONS.index("eyeBlinkLeft")], axis=1)
    if (blink * neutral[:, 0]).sum() >= 0:
        return FACESCAPE_EXPRESSIONS
    mirrored = {"Left": "Right", "Right": "Left"}
    return tuple(
        next((name.removesuffix(side) + other for side, other in mirrored.items() if name.endswith(side)), name)
        for name in FACESCAPE_EXPRESSIONS
    )
