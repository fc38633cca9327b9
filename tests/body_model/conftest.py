"""Small files in the formats of FLAME, SMPL-X and FaceScape, and other meshes of the same surface.

The files hold a head of a few hundred vertices made from formulas: an egg with eyeballs, in the axes of the files
(metres, +Y up, the face looks along +Z, +X is the character's left). What the components do is random but smooth.
"""

import dataclasses
import struct
import sys

import numpy as np
import pytest

from backend.body_model.correspondence import compact, edges

EYES = np.array([[0.032, 0.03, 0.06], [-0.032, 0.03, 0.06]])


@dataclasses.dataclass
class Sphere:
    vertices: np.ndarray
    faces: np.ndarray


def ball(centre, radii, rings=8, segments=12):
    """A closed surface around `centre`, poles at the top and the bottom, faces counter-clockwise from outside."""
    theta = np.pi * np.arange(1, rings) / rings
    phi = 2 * np.pi * np.arange(segments) / segments
    t, p = np.meshgrid(theta, phi, indexing="ij")
    around = np.stack([np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)], -1).reshape(-1, 3)
    points = np.concatenate([[[0, 1, 0]], around, [[0, -1, 0]]])
    faces = []
    last = len(points) - 1
    for k in range(segments):
        j = (k + 1) % segments
        faces += [(0, 1 + k, 1 + j), (last, last - segments + j, last - segments + k)]
        for ring in range(rings - 2):
            a, b = 1 + ring * segments + k, 1 + ring * segments + j
            faces += [(a, a + segments, b + segments), (a, b + segments, b)]
    return Sphere(np.asarray(centre) + points * radii, np.array(faces))


def head_mesh():
    """Vertices, faces and the vertex indices of the left and right eyeball."""
    spheres = [ball([0, 0, 0], [0.075, 0.12, 0.095], 14, 20)]
    spheres += [ball(eye, [0.012, 0.012, 0.012]) for eye in EYES]
    offsets = np.cumsum([0] + [len(s.vertices) for s in spheres])
    vertices = np.concatenate([s.vertices for s in spheres])
    faces = np.concatenate([s.faces + o for s, o in zip(spheres, offsets[:-1], strict=True)])
    return vertices, faces, np.arange(offsets[1], offsets[2]), np.arange(offsets[2], offsets[3])


def smooth_fields(random, vertices, count, size):
    """(V, 3, count): fields that change slowly over the surface, `size` metres or so."""
    frequency = random.normal(0, 12, (count, 3))
    phase = random.uniform(0, 2 * np.pi, (count, 3))
    wave = np.sin(np.einsum("vx,cx->vc", vertices, frequency)[:, None, :] + phase.T[None])
    return size * wave


def articulated_arrays(seed, joints, jaw, eyes, parents, components):
    """The arrays of a FLAME-like file with random, smooth content."""
    random = np.random.default_rng(seed)
    vertices, faces, *balls = head_mesh()
    count = len(vertices)
    weights = np.zeros((count, joints))
    upper = np.clip((vertices[:, 1] + 0.12) / 0.24, 0, 1)
    weights[:, 0], weights[:, 1] = 1 - upper, upper
    chin = (vertices[:, 1] < -0.04) & (vertices[:, 2] > 0)
    weights[chin] *= 0.3
    weights[chin, jaw] = 0.7
    for ball_vertices, joint in zip(balls, eyes, strict=True):
        weights[ball_vertices] = 0
        weights[ball_vertices, joint] = 1
    regressor = np.zeros((joints, count))
    skin = np.arange(min(balls[0]))
    for joint in range(joints):
        # On the axis of the head: the mean of the ring of vertices at some height, the jaw's a little below the eyes.
        height = -0.01 if joint == jaw else random.uniform(-0.1, 0.1)
        ring = skin[np.argsort(np.abs(vertices[skin, 1] - height), kind="stable")[:20]]
        regressor[joint, ring] = 1 / 20
    for ball_vertices, joint in zip(balls, eyes, strict=True):
        regressor[joint] = 0
        regressor[joint, ball_vertices] = 1 / len(ball_vertices)
    table = np.stack([np.asarray(parents), np.arange(joints)]).astype(np.int64)
    return {
        "v_template": vertices,
        "shapedirs": smooth_fields(random, vertices, components, 0.003),
        "posedirs": smooth_fields(random, vertices, 9 * (joints - 1), 0.0005),
        "J_regressor": regressor,
        "kintree_table": table,
        "weights": weights,
        "f": faces.astype(np.uint32),
    }


def flame_arrays(seed=0, components=20):
    """Joints: neck, head, jaw, left eye, right eye. 400 components are 300 + 100, 20 are 10 + 10."""
    return articulated_arrays(seed, 5, 2, (3, 4), [-1, 0, 1, 1, 1], components)


SMPLX_PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15]
SMPLX_PARENTS += [20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38]
SMPLX_PARENTS += [21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53]


def smplx_arrays(seed=0, components=20):
    """All 55 joints; the weights of the head lie on neck (12), head (15), jaw (22) and eyes (23, 24)."""
    arrays = articulated_arrays(seed, 55, 22, (23, 24), SMPLX_PARENTS, components)
    weights = arrays["weights"]
    weights[:, [12, 15]] += weights[:, [0, 1]]
    weights[:, [0, 1]] = 0
    # What `smplx.SMPLX` wants besides.
    arrays["lmk_faces_idx"] = np.zeros(51, np.int64)
    arrays["lmk_bary_coords"] = np.full((51, 3), 1 / 3)
    for side in "lr":
        arrays[f"hands_components{side}"] = np.eye(45)
        arrays[f"hands_mean{side}"] = np.zeros(45)
    return arrays


def facescape_arrays(seed=0, identities=6):
    """A core tensor in millimetres; blinks and jawOpen move what their names say, the rest is random and smooth."""
    random = np.random.default_rng(seed)
    vertices, faces, *_ = head_mesh()
    skin = np.arange(vertices.shape[0] - 2 * len(ball([0, 0, 0], [1, 1, 1]).vertices))
    vertices, faces = vertices[skin], faces[(faces < len(skin)).all(1)]
    identity = smooth_fields(random, vertices, identities, 2.0)
    expressions = smooth_fields(random, vertices, 52, 1.0)
    expressions[..., 0] = 0
    expressions[..., 1] = -5 * _bump(vertices, EYES[0])[:, None] * [0, 1, 0]
    expressions[..., 2] = -5 * _bump(vertices, EYES[1])[:, None] * [0, 1, 0]
    expressions[..., 20] = -20 * ((vertices[:, 1] < -0.04) & (vertices[:, 2] > 0))[:, None] * [0, 1, 0]
    core = np.zeros((len(vertices), 3, 52, identities))
    core += (vertices * 1000)[:, :, None, None] / identities
    core += identity[:, :, None, :]
    core += expressions[..., None] * random.uniform(0.8, 1.2, identities) / identities
    corner = {36: [-0.045, 0.03], 39: [-0.02, 0.03], 42: [0.02, 0.03], 45: [0.045, 0.03]}
    landmarks = np.zeros(68, int)
    for index in range(68):
        x, y = corner.get(index, random.uniform(-0.04, 0.04, 2))
        x, y = {range(36, 42): (-0.03, 0.03), range(42, 48): (0.03, 0.03)}.get(_eye_of(index), (x, y))
        x, y = corner.get(index, (x, y))
        landmarks[index] = np.linalg.norm(vertices - [x, y, 0.09], axis=1).argmin()
    return {
        "shape_bm_core": core.reshape(-1, 52, identities).astype(np.float32),
        "id_mean": np.ones(identities),
        "id_var": np.full(identities, 0.04),
        "fv_indices": faces + 1,
        "ft_indices": faces + 1,
        "texcoords": random.uniform(0, 1, (len(vertices), 2)),
        "lm_list_v16": landmarks,
        "vert_num": np.array(len(vertices)),
        "sym_dict": np.array({0: 0}, dtype=object),
    }


def _eye_of(index):
    return next((eye for eye in (range(36, 42), range(42, 48)) if index in eye), None)


def _bump(vertices, centre):
    return np.exp(-(((vertices - centre) / 0.015) ** 2).sum(1)) * (vertices[:, 2] > 0)


class Python2Pickle:
    """Writes a dictionary of arrays as Python 2 wrote FLAME: protocol 2, byte strings, chumpy and SciPy objects."""

    def __init__(self):
        self.parts = [b"\x80\x02"]

    def name(self, module, name):
        self.parts.append(b"c" + module.encode() + b"\n" + name.encode() + b"\n")

    def text(self, value):
        self.parts.append(b"U" + bytes([len(value)]) + value.encode("latin1"))

    def integer(self, value):
        self.parts.append(b"J" + struct.pack("<i", value))

    def array(self, array):
        array = np.asarray(array)
        self.name("numpy.core.multiarray", "_reconstruct")
        self.name("numpy", "ndarray")
        self.integer(0)
        self.parts.append(b"\x85")  # the shape (0,)
        self.text("b")
        self.parts.append(b"\x87R(")
        self.integer(1)
        self.parts.append(b"(")
        for size in array.shape:
            self.integer(size)
        self.parts.append(b"t")
        self.data_type(array.dtype)
        column_major = array.ndim > 1 and array.flags.f_contiguous
        self.parts.append(b"\x88" if column_major else b"\x89")
        raw = array.tobytes("F" if column_major else "C")
        self.parts.append(b"T" + struct.pack("<i", len(raw)) + raw)
        self.parts.append(b"tb")

    def data_type(self, data_type):
        self.name("numpy", "dtype")
        self.text(data_type.str[1:])
        self.integer(0)
        self.integer(1)
        self.parts.append(b"\x87R(")
        self.integer(3)
        self.text("<")
        self.parts.append(b"NNN")
        for value in (-1, -1, 0):
            self.integer(value)
        self.parts.append(b"tb")

    def chumpy(self, array):
        self.name("chumpy.ch", "Ch")
        self.parts.append(b")\x81}(")
        self.text("x")
        self.array(array)
        self.text("_dirty_vars")
        self.name("__builtin__", "set")
        self.parts.append(b"](")
        self.text("x")
        self.parts.append(b"e\x85R")
        self.text("_itr")
        self.parts.append(b"N")
        self.parts.append(b"ub")

    def sparse_columns(self, array):
        """As SciPy's compressed columns, an old-style reduction through `copy_reg`."""
        from scipy import sparse

        matrix = sparse.csc_matrix(array)
        self.name("copy_reg", "_reconstructor")
        self.name("scipy.sparse.csc", "csc_matrix")
        self.name("__builtin__", "object")
        self.parts.append(b"N\x87R}(")
        self.text("_shape")
        self.integer(matrix.shape[0])
        self.integer(matrix.shape[1])
        self.parts.append(b"\x86")
        for part in ("data", "indices", "indptr"):
            self.text(part)
            self.array(getattr(matrix, part))
        self.text("maxprint")
        self.integer(50)
        self.parts.append(b"ub")

    def content(self, arrays, wrapped=()):
        """The pickle of `arrays`; those in `wrapped` as chumpy objects, the joint regressor as a sparse matrix."""
        self.parts.append(b"}(")
        for name, array in arrays.items():
            self.text(name)
            if name in wrapped:
                self.chumpy(array)
            elif name == "J_regressor":
                self.sparse_columns(array)
            else:
                self.array(array)
        self.text("bs_style")
        self.text("lbs")
        self.parts.append(b"u.")
        return b"".join(self.parts)


def official_flame_pickle(arrays):
    """What ``generic_model.pkl`` looks like."""
    return Python2Pickle().content(arrays, wrapped=("shapedirs", "v_template"))


def smoothed(vertices, faces, rounds):
    links = edges(faces)
    for _ in range(rounds):
        total, count = np.zeros_like(vertices), np.zeros(len(vertices))
        for a, b in (links.T, links.T[::-1]):
            np.add.at(total, a, vertices[b])
            np.add.at(count, a, 1)
        vertices = 0.5 * vertices + 0.5 * total / count[:, None]
    return vertices


def refined(values, faces):
    """Every triangle cut into four; `values` (V, k) are interpolated."""
    links = edges(faces)
    middle = {tuple(link): len(values) + i for i, link in enumerate(links.tolist())}
    a, b, c = faces.T
    ab, bc, ca = (
        np.array([middle[tuple(sorted(pair))] for pair in zip(p.tolist(), q.tolist(), strict=True)])
        for p, q in ((a, b), (b, c), (c, a))
    )
    cut = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    return np.concatenate([values, values[links].mean(1)]), cut


def coarsened(vertices, faces, rounds):
    """Short edges collapsed to their middle, each round as many as do not touch each other."""
    for _ in range(rounds):
        links = edges(faces)
        order = np.argsort(np.linalg.norm(vertices[links[:, 0]] - vertices[links[:, 1]], axis=1), kind="stable")
        around = [set() for _ in vertices]
        for a, b in links.tolist():
            around[a].add(b)
            around[b].add(a)
        blocked = np.zeros(len(vertices), bool)
        target = np.arange(len(vertices))
        vertices = vertices.copy()
        for a, b in links[order[: len(order) // 3]].tolist():
            if blocked[a] or blocked[b] or len(around[a] & around[b]) != 2:
                continue
            vertices[a] = (vertices[a] + vertices[b]) / 2
            target[b] = a
            blocked[[a, b, *around[a], *around[b]]] = True
        faces = target[faces]
        whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
        used, faces = compact(faces[whole])
        vertices = vertices[used]
    return vertices, faces


@pytest.fixture(scope="session")
def files():
    """The functions of this file, for the tests beside it."""
    return sys.modules[__name__]
