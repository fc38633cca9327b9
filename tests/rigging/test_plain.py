"""The plain level set of a small field of a smiling head, and the rig that it takes over from the body in it."""

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.api import ErrorCode
from backend.body_model.anny import load_anny
from backend.body_model.base import defaults
from backend.body_model.correspondence import edges
from backend.body_model.fitting import BodyFit
from backend.errors import MaquetteError
from backend.meshing.distance import SurfaceSamples
from backend.meshing.hidden import visible_faces
from backend.meshing.levelset import extract
from backend.meshing.observation import Observation
from backend.meshing.rasterizer import rasterize, sample_texture
from backend.meshing.texture import View
from backend.radiance.cameras import Camera
from backend.radiance.decoder import Decoder, DecoderConfig
from backend.radiance.triplane import TriPlane
from backend.rigging.carried import STRETCH_LIMIT, StretchGuard
from backend.rigging.plain import body_depths, build_plain, closed_surface, decimate_closed
from backend.rigging.pose import pose_avatar
from backend.template.engine import outer_faces

EXPRESSION = {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "browInnerUp": 0.8}
IN_THE_FIELD, IN_THE_PORTRAIT = np.array([0.7, 0.5, 0.4]), np.array([0.2, 0.6, 0.3])
BUDGET = 9000


@pytest.fixture(scope="module")
def fit():
    model = load_anny()
    expression = np.array([EXPRESSION.get(p.name, 0.0) for p in model.expression_parameters])
    looking = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 1.1], [0, 0, 0, 1]])
    camera = Camera(looking, np.array([[560.0, 0, 128], [0, 560.0, 128], [0, 0, 1]]), 256, 256)
    nothing = np.zeros_like(model.template)
    return BodyFit(
        model, defaults(model.identity_parameters), expression, camera, np.zeros((2, 2)), nothing, np.zeros(1)
    )


@pytest.fixture(scope="module")
def outside(fit):
    """Outer faces of the body, posed."""
    faces = outer_faces(fit.model)
    return fit.posed(), faces[visible_faces(fit.posed(), faces)]


@pytest.fixture(scope="module")
def observation(fit, outside):
    vertices, faces = outside
    camera = fit.camera
    screen = np.c_[camera.project(vertices), camera.to_camera(vertices)[:, 2]]
    person = (rasterize(screen, faces, 256, 256).face_index >= 0).astype(np.float32)
    empty, everywhere = np.zeros_like(person), np.ones(person.shape, bool)
    image = np.tile(IN_THE_PORTRAIT, (256, 256, 1))
    view = View(image, person, camera, vertices)
    return Observation(view, empty, empty, person, (empty, empty), empty, everywhere, everywhere)


class BodyField(TriPlane):
    """A field with a known answer: full inside of a body, of one colour."""

    def within(self, fit, faces):
        self.samples = SurfaceSamples.spread(fit.posed(), faces, 0.004)
        self.maps = body_depths(fit.model, fit.posed())
        return self

    def density(self, points):
        points = points.numpy().astype(np.float64)
        distance, _ = self.samples.query(points)
        distance = np.where(self.maps.behind(points) > 0.004, -0.02, distance)
        # The bust ends inside of the cube.
        distance = np.maximum(distance, np.abs(points).max(1) - 0.22)
        # An occupancy of one half at the surface, and a soft step of some millimetres.
        opacity = 1 / (1 + np.exp(np.clip(distance / 0.002, -12, 12)))
        length = self.decoder.config.occupancy_length * self.half_size
        return torch.from_numpy(-np.log1p(-opacity) / length).float()

    def colour_and_density(self, points):
        return torch.from_numpy(np.tile(IN_THE_FIELD, (len(points), 1))).float(), self.density(points)


@pytest.fixture(scope="module")
def field(fit, outside):
    config = DecoderConfig()
    return BodyField(torch.zeros(3, config.channels, 4, 4), Decoder(config)).within(fit, outside[1])


@pytest.fixture(scope="module")
def avatar(field, fit, observation):
    done = []
    made = build_plain(field, fit, observation, grid=96, face_budget=BUDGET, texture_size=256, progress=done.append)
    assert done == sorted(done) and done[-1] == 1.0
    return made


@pytest.fixture(scope="module")
def head(avatar):
    (part,) = avatar.parts
    assert part.name == "head"
    return part


def near(head, fit, place, within=0.008):
    """Vertices around a place of the neutral body."""
    found = np.linalg.norm(head.mesh.vertices - place, axis=1) < within
    assert found.any()
    return found


def test_the_surface_is_one_closed_piece_within_the_budget(head):
    mesh = trimesh.Trimesh(head.mesh.vertices, head.mesh.faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.body_count == 1
    assert 0.5 * BUDGET < len(mesh.faces) <= BUDGET
    assert mesh.volume > 0.003


def test_the_expression_of_the_portrait_is_taken_out(head, fit, outside):
    """The mouth lies on the neutral body; shape keys put it back where the field had it."""
    _, faces = outside
    posed = head.mesh.vertices + sum(weight * head.shape_keys[key] for key, weight in EXPRESSION.items())
    corner = near(head, fit, fit.neutral()[strongest(fit, "mouthSmileLeft")], 0.012)
    neutral_body, posed_body = (SurfaceSamples.spread(v, faces, 0.002) for v in (fit.neutral(), fit.posed()))

    def away(body, vertices):
        return np.median(np.abs(body.query(vertices[corner])[0]))

    assert away(neutral_body, head.mesh.vertices) < 0.6 * away(posed_body, head.mesh.vertices)
    assert away(posed_body, posed) < 0.6 * away(neutral_body, posed)


def strongest(fit, key):
    """The outer vertex of the body that a key moves most."""
    skin = np.unique(outer_faces(fit.model))
    return skin[np.linalg.norm(fit.model.arkit_offsets(fit.identity)[key][skin], axis=1).argmax()]


@pytest.mark.parametrize(
    "key",
    ["jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "eyeBlinkLeft", "cheekPuff", "noseSneerRight"],
)
def test_keys_move_what_their_name_says_about_as_far_as_on_the_body(head, fit, key):
    vertex = strongest(fit, key)
    around = near(head, fit, fit.neutral()[vertex])
    expected = fit.model.arkit_offsets(fit.identity)[key][vertex]
    offsets = head.shape_keys[key][around]
    best = offsets[(offsets @ expected).argmax()]
    assert np.linalg.norm(best - expected) < 0.45 * np.linalg.norm(expected)


def test_the_jaw_leaves_the_forehead_and_blinks_leave_the_brows(head, fit):
    brow = near(head, fit, fit.neutral()[strongest(fit, "browOuterUpLeft")])
    assert np.abs(head.shape_keys["jawOpen"][brow]).max() < 0.001
    assert np.abs(head.shape_keys["eyeBlinkRight"][brow]).max() < 0.001
    chin = near(head, fit, fit.neutral()[strongest(fit, "jawOpen")], 0.012)
    assert head.shape_keys["jawOpen"][chin, 2].mean() < -0.012


def test_no_key_tears_the_surface(head):
    links = edges(head.mesh.faces)
    rest = head.mesh.vertices
    length = np.linalg.norm(rest[links[:, 0]] - rest[links[:, 1]], axis=1)
    visible = length > 0.001
    assert len(head.shape_keys) >= 50
    for key, offsets in head.shape_keys.items():
        moved = rest + offsets
        stretched = np.linalg.norm(moved[links[:, 0]] - moved[links[:, 1]], axis=1)
        assert (stretched / length)[visible].max() < 1.2 * STRETCH_LIMIT, key


def test_bones_hold_the_surface(avatar, head):
    np.testing.assert_allclose(head.weights.sum(1), 1, atol=1e-9)
    assert head.weights.min() >= 0
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    (posed,) = pose_avatar(avatar, {}, {"Head": turn})
    pivot = avatar.skeleton.heads[avatar.skeleton.names.index("Head")]
    crown = head.mesh.vertices[:, 2] > 0.08
    np.testing.assert_allclose(posed[crown], (head.mesh.vertices[crown] - pivot) @ turn.T + pivot, atol=1e-3)


def test_the_front_shows_the_portrait_and_the_back_the_field(head):
    mesh = head.mesh
    uv = np.zeros((len(mesh.vertices), 2))
    uv[mesh.faces.ravel()] = mesh.uvs[mesh.uv_faces.ravel()]
    colour = sample_texture(head.texture, uv)
    at = mesh.vertices
    front = (at[:, 1] < -0.07) & (np.abs(at[:, 0]) < 0.04) & (np.abs(at[:, 2]) < 0.06)
    back = (at[:, 1] > 0.06) & (at[:, 2] > 0)
    assert np.abs(np.median(colour[front], 0) - IN_THE_PORTRAIT).max() < 0.05
    assert np.abs(np.median(colour[back], 0) - IN_THE_FIELD).max() < 0.1


def test_an_empty_field_is_refused():
    with pytest.raises(MaquetteError) as failure:
        closed_surface(lambda points: np.zeros(len(points)), 0.25, 32, 1000)
    assert failure.value.code is ErrorCode.BAD_MESH


def test_cavities_and_crumbs_are_left_out():
    def occupancy(points):
        r = np.linalg.norm(points, axis=1)
        crumb = np.linalg.norm(points - 0.2, axis=1)
        return 1 / (1 + np.exp(np.clip(200 * np.maximum(r - 0.15, 0.06 - r), -30, 30))) + (crumb < 0.03)

    vertices, faces = closed_surface(occupancy, 0.25, 48, 100_000)
    radius = np.linalg.norm(vertices, axis=1)
    assert radius.min() > 0.14 and radius.max() < 0.16
    assert trimesh.Trimesh(vertices, faces, process=False).is_watertight


@given(budget=st.integers(2600, 6000))
@settings(max_examples=10, deadline=None)
def test_decimation_never_opens_the_surface(budget):
    """A ball with thin tunnels, which edge collapse likes to press flat."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 40)] * 3, indexing="ij"), -1)
    tunnels = np.minimum(np.hypot(grid[..., 0], grid[..., 1] - 0.3), np.hypot(grid[..., 2], grid[..., 1] + 0.3)) < 0.08
    values = np.where(tunnels, 0.0, (np.linalg.norm(grid, axis=-1) < 0.8) * 1.0)
    vertices, faces = decimate_closed(*extract(values, 1.0, 0.5), budget)
    assert trimesh.Trimesh(vertices, faces, process=False).is_watertight
    assert len(faces) <= budget


@given(jump=st.floats(0.001, 0.06))
@settings(max_examples=15, deadline=None)
def test_a_tear_becomes_a_stretch(jump):
    """Half of a sheet moves away from the other half."""
    x, y = np.meshgrid(np.linspace(-0.1, 0.1, 41), np.linspace(-0.02, 0.02, 9))
    vertices = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1)
    quads = (np.arange(8)[:, None] * 41 + np.arange(40)).ravel()
    faces = np.concatenate(
        [np.stack([quads, quads + 1, quads + 41], 1), np.stack([quads + 1, quads + 42, quads + 41], 1)]
    )
    offsets = np.where(vertices[:, :1] > 0.001, [[jump, 0, 0]], [[0.0, 0, 0]])
    limited = StretchGuard(vertices, faces).limit(offsets)
    links = edges(faces)
    length = np.linalg.norm(np.subtract(*vertices[links.T]), axis=1)
    stretched = np.linalg.norm(np.subtract(*(vertices + limited)[links.T]), axis=1)
    assert (stretched / length).max() <= STRETCH_LIMIT + 1e-9
    ends = np.abs(vertices[:, 0]) > 0.06
    np.testing.assert_allclose(limited[ends], offsets[ends], atol=1e-12)
