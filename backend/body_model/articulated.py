"""Heads with a jaw, eyes and a neck on joints, as FLAME and SMPL-X describe them, in the head frame."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from backend.body_model.base import Parameter, Topology
from backend.body_model.correspondence import compact
from backend.body_model.linear import Y_UP_TO_HEAD, EyeAnchor, LinearHead, LinearShape, head_frame_shift
from backend.body_model.skinning import blend_skinning, pose_correctives
from backend.body_model.uv_layout import cylindrical_layout
from backend.rigging.avatar import Skeleton

if TYPE_CHECKING:
    from jaxtyping import Float, Int

IDENTITY_LIMIT = 5.0
EXPRESSION_LIMIT = 4.0
JAW_TURNS = {
    "jawOpen": np.array([0.45, 0.0, 0.0]),
    "jawLeft": np.array([0.0, 0.15, 0.0]),
    "jawRight": np.array([0.0, -0.15, 0.0]),
}
"""Rotation vector of the jaw joint at 1.0, in the axes of the file (+X the character's left, +Y up), radians."""


@dataclasses.dataclass(frozen=True)
class ArticulatedFile:
    """The arrays of a FLAME or SMPL-X file as they are, with the joints that matter here.

    `bones` lists the bones of the avatar: name, index of its parent bone (-1 for the root), index of its joint in the
    file, whose further joints are merged into it. `regions` are masks over the vertices.
    """

    template: Float[np.ndarray, "V 3"]
    shape_basis: Float[np.ndarray, "V 3 I"]
    expression_basis: Float[np.ndarray, "V 3 E"]
    pose_basis: Float[np.ndarray, "V 3 P"]
    joint_regressor: Float[np.ndarray, "J V"]
    parents: Int[np.ndarray, " J"]
    weights: Float[np.ndarray, "V J"]
    faces: Int[np.ndarray, "F 3"]
    layout: tuple[Float[np.ndarray, "T 2"], Int[np.ndarray, "F 3"]] | None
    """Texture coordinates and their triangles; None for a cylindrical layout."""
    jaw_joint: int
    eye_joints: tuple[int, int]
    """Left and right, the character's."""
    bones: tuple[tuple[str, int, int], ...]
    regions: dict[str, Float[np.ndarray, " V"]]


class ArticulatedHead(LinearHead):
    """FLAME, or the head of SMPL-X: shape components, expression components, and a jaw that turns.

    The jaw's rotations are expression parameters too, each the straight way from the closed to the fully turned jaw,
    because expressions add up linearly here (`base.BodyModel`); at 1.0 the position is exact.
    """

    def __init__(self, name: str, file: ArticulatedFile, keep: Int[np.ndarray, " V"] | None = None) -> None:
        whole = LinearShape(file.template, np.moveaxis(file.shape_basis, 2, 0).astype(np.float32))
        whole = whole.rotated(Y_UP_TO_HEAD)
        balls = [np.flatnonzero(file.weights[:, joint] > 0.5) for joint in file.eye_joints]
        eyes = (EyeAnchor.of_eyeball(balls[0], whole.mean), EyeAnchor.of_eyeball(balls[1], whole.mean))
        shift = head_frame_shift(whole, eyes)
        whole = whole.shifted(*shift)
        self._joints = whole.combine(file.joint_regressor)
        self._joint_expressions = np.einsum(
            "jv,ab,vbe->eja", file.joint_regressor, Y_UP_TO_HEAD, file.expression_basis, optimize=True
        )

        keep = np.arange(len(file.template)) if keep is None else keep
        place = np.full(len(file.template), -1)
        place[keep] = np.arange(len(keep))
        chosen = (place[file.faces] >= 0).all(1)
        faces = place[file.faces[chosen]]
        parts = _parts(faces, [place[ball] for ball in balls])
        regions = {region: mask[keep] for region, mask in file.regions.items()}
        if file.layout is None:
            uvs, uv_faces = cylindrical_layout(whole.mean[keep], faces, parts)
        else:
            used_uv, uv_faces = compact(file.layout[1][chosen])
            uvs = file.layout[0][used_uv]
        topology = Topology(faces, uvs, uv_faces, parts, regions)

        self._parents, self._weights = file.parents, file.weights[keep]
        self._pose_basis = np.einsum("ab,vbp->vap", Y_UP_TO_HEAD, file.pose_basis[keep]).astype(np.float32)
        self._expressions = np.einsum("ab,vbe->eva", Y_UP_TO_HEAD, file.expression_basis[keep]).astype(np.float32)
        self._jaw_joint, self._eye_joints, self._bones = file.jaw_joint, file.eye_joints, file.bones
        self._skin_weights = _merged_weights(file)[keep]
        count = file.shape_basis.shape[2]
        super().__init__(
            name,
            whole.select(keep),
            topology,
            (EyeAnchor(place[balls[0]], eyes[0].offset), EyeAnchor(place[balls[1]], eyes[1].offset)),
            tuple(Parameter(f"shape{i:03d}", -IDENTITY_LIMIT, IDENTITY_LIMIT, 0.0, 1.0) for i in range(count)),
            tuple(
                Parameter(f"expression{i:03d}", -EXPRESSION_LIMIT, EXPRESSION_LIMIT, 0.0, 1.0)
                for i in range(len(self._expressions))
            )
            + tuple(Parameter(turn, 0.0, 1.0, 0.0, 0.25) for turn in JAW_TURNS),
            file.weights[keep, file.jaw_joint],
            shift,
        )

    def posed(
        self,
        identity: Float[np.ndarray, " I"],
        components: Float[np.ndarray, " E"],
        turns: dict[int, Float[np.ndarray, "3"]],
    ) -> Float[np.ndarray, "V 3"]:
        """Vertices with expression components and with joints turned, as the file's authors define it.

        Args:
            components: coefficients of the expression components alone (without the jaw's three).
            turns: rotation vectors (radians, head frame) of joints by their index in the file.
        """
        rotations = np.tile(np.eye(3), (len(self._parents), 1, 1))
        for joint, turn in turns.items():
            rotations[joint] = Rotation.from_rotvec(turn).as_matrix()
        components = np.asarray(components, float)
        expression = np.tensordot(components, self._expressions, 1)
        # The correctives were learned on rotation matrices in the axes of the file.
        in_file = Y_UP_TO_HEAD.T @ rotations @ Y_UP_TO_HEAD
        vertices = self.neutral(identity) + expression + pose_correctives(in_file, self._pose_basis)
        joints = self._joints(identity) + np.tensordot(components, self._joint_expressions, 1)
        return blend_skinning(vertices, joints, self._parents, self._weights, rotations)

    def expression_offsets(self, identity: Float[np.ndarray, " I"]) -> Float[np.ndarray, "E V 3"]:
        neutral, still = self.neutral(identity), np.zeros(len(self._expressions))
        turned = [
            self.posed(identity, still, {self._jaw_joint: Y_UP_TO_HEAD @ turn}) - neutral for turn in JAW_TURNS.values()
        ]
        return np.concatenate([self._expressions, np.array(turned)])

    def skeleton(self, identity: Float[np.ndarray, " I"]) -> Skeleton:
        joints = self._joints(identity)
        names = tuple(name for name, _, _ in self._bones)
        heads = joints[[joint for _, _, joint in self._bones]].copy()
        for name, sphere in zip(("LeftEye", "RightEye"), self.eye_spheres(self.neutral(identity)), strict=True):
            heads[names.index(name)] = sphere.centre
        return Skeleton(names, np.array([parent for _, parent, _ in self._bones]), heads, _tails(names, heads))

    @property
    def skin_weights(self) -> Float[np.ndarray, "V J"]:
        return self._skin_weights


def _parts(faces: Int[np.ndarray, "F 3"], balls: list[Int[np.ndarray, " n"]]) -> dict[str, Int[np.ndarray, " n"]]:
    """Triangles of both eyeballs and of everything else, the skin."""
    left, right = (np.isin(faces, ball).all(1) for ball in balls)
    return {
        "skin": np.flatnonzero(~left & ~right),
        "eye_left": np.flatnonzero(left),
        "eye_right": np.flatnonzero(right),
    }


def _merged_weights(file: ArticulatedFile) -> Float[np.ndarray, "V B"]:
    """Weights of the avatar's bones: each joint of the file counts for the nearest bone above it, or for the root."""
    bone_of = {joint: bone for bone, (_, _, joint) in enumerate(file.bones)}
    merged = np.zeros((len(file.weights), len(file.bones)))
    for joint in range(len(file.parents)):
        ancestor = joint
        while ancestor not in bone_of and ancestor > 0:
            ancestor = int(file.parents[ancestor])
        merged[:, bone_of.get(ancestor, 0)] += file.weights[:, joint]
    return merged / merged.sum(1, keepdims=True)


def _tails(names: tuple[str, ...], heads: Float[np.ndarray, "B 3"]) -> Float[np.ndarray, "B 3"]:
    """Bones end where the next one begins; the last ones at the crown, the chin and in front of the eyes."""
    ends = {
        "Head": np.array([0, 0, 0.17]),
        "Jaw": np.array([0, -0.08, -0.05]),
        "LeftEye": np.array([0, -0.03, 0]),
        "RightEye": np.array([0, -0.03, 0]),
    }
    following = {"Chest": "Neck", "Neck": "Head"}
    return np.array(
        [
            heads[names.index(following[name])] if name in following else heads[j] + ends[name]
            for j, name in enumerate(names)
        ]
    )
