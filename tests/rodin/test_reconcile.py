"""Covers of a generated field end where the picture ends them, and are the field's own where nobody looks."""

import dataclasses

import numpy as np
import pytest

from backend.body_model.anny import load_anny
from backend.meshing.distance import SurfaceSamples
from backend.meshing.mesh import vertex_normals
from backend.meshing.observation import Observation
from backend.meshing.rasterizer import rasterize
from backend.meshing.texture import View
from backend.radiance.cameras import Camera
from backend.rodin.reconcile import Reconciled
from backend.template.engine import outer_faces

CAMERA = Camera.orbit(0, 0, distance=1.0, fov_degrees=28, size=192)
HALF = 0.25


class Layers:
    """Fields that know what their matter is: hair, unless they say otherwise."""

    tells = True

    def garment(self, points):
        return np.zeros(len(points))


class Hair(Layers):
    """A field with hair between the skin of the scalp and `thickness` metres over it."""

    def __init__(self, anny, thickness):
        self.samples = SurfaceSamples.spread(anny.template, outer_faces(anny), 0.005)
        self.height = self.samples.at_samples(np.where(anny.topology.regions["scalp"] > 0.5, thickness, -0.01))

    def covers(self, points, no_skin=None):
        distance, nearest = self.samples.query(points)
        return 1 / (1 + np.exp(np.clip((distance - self.height[nearest]) / 0.001, -30, 30)))


@pytest.fixture(scope="module")
def anny():
    return load_anny()


@pytest.fixture(scope="module")
def seen(anny):
    return seen_by(CAMERA, anny)


def seen_by(camera, anny):
    """A person of whom the picture shows hair above the forehead, and whose outline is that of the body."""
    vertices = anny.template
    screen = np.c_[camera.project(vertices), camera.to_camera(vertices)[:, 2]]
    person = np.isfinite(rasterize(screen, outer_faces(anny), camera.height, camera.width).depth).astype(np.float32)
    rows = np.arange(camera.height)[:, None] * np.ones((1, camera.width))
    hair = (rows <= camera.project(np.array([0, -0.09, 0.06]))[1]).astype(np.float32) * person
    nothing, everywhere = np.zeros_like(person), np.ones(person.shape, bool)
    view = View(np.full((*person.shape, 3), 0.5, np.float32), person * (1 - hair), camera, vertices)
    return Observation(view, hair, nothing, person, (nothing, nothing), nothing, everywhere, everywhere)


def over(anny, direction, height):
    """A point so far over the skin where a ray from the middle of the head leaves it, metres."""
    direction = np.array(direction) / np.linalg.norm(direction)
    inwards = np.array([0, -0.02, 0.02]) + np.linspace(0.2, 0.04, 800)[:, None] * direction
    samples = SurfaceSamples.spread(anny.template, outer_faces(anny), 0.005)
    distance = samples.query(inwards)[0]
    return inwards[np.argmax(distance < height)][None]


BEHIND, BESIDE = (0.0, 1.0, 0.2), (1.0, 0.15, 0.35)


def test_what_the_picture_hides_is_the_field_s(anny, seen):
    thick, none = (Reconciled(Hair(anny, t), anny, seen) for t in (0.025, -0.01))
    place = over(anny, BEHIND, 0.018)
    assert thick.covers(place)[0] > 0.5 > none.covers(place)[0]


def test_beyond_the_outline_of_the_person_there_is_nothing(anny, seen):
    place = over(anny, BESIDE, 0.018)
    assert Hair(anny, 0.025).covers(place)[0] > 0.9
    assert Reconciled(Hair(anny, 0.025), anny, seen).covers(place)[0] < 0.5


def test_where_the_picture_shows_hair_there_is_some_even_if_the_field_has_none(anny, seen):
    bald = Reconciled(Hair(anny, -0.01), anny, seen)
    forehead = over(anny, (0.0, -1.0, 1.3), 0.003)
    assert bald.covers(forehead)[0] > 0.5


def test_a_fringe_stands_no_further_towards_the_camera_than_was_measured(anny, seen):
    bushy = Hair(anny, 0.05)
    bushy.height[:] = 0.05
    near, far = (over(anny, (0.0, -1.0, 0.9), height) for height in (0.003, 0.03))
    assert bushy.covers(far)[0] > 0.9
    covers = Reconciled(bushy, anny, seen).covers
    assert covers(near)[0] > 0.5 > covers(far)[0]


def beside_the_temple(camera, seen, width):
    """The same picture with hair on the right beside the temple, so many metres wide, which also hides its very rim."""
    rows = camera.project(np.array([[0, 0, 0.08], [0, 0, 0.025]]))[:, 1].astype(int)
    hair = seen.hair.copy()
    for row in range(rows[0], rows[1]):
        right = np.flatnonzero(seen.person[row])[-1]
        hair[row, right - 2 : right + round(width * seen.pixels_per_metre)] = 1
    return dataclasses.replace(seen, hair=hair, person=np.maximum(seen.person, hair))


def test_hair_may_stand_before_a_temple_as_far_as_it_is_wide_and_a_narrow_strip_is_no_hair_there(anny):
    """The head is turned; its other temple is bare in the picture, so that strip is hair of the side of the head."""
    camera = Camera.orbit(-30, 0, distance=1.0, fov_degrees=28, size=192)
    seen, bushy = seen_by(camera, anny), Hair(anny, 0.03)
    bushy.height[:] = 0.03
    used = np.unique(outer_faces(anny))
    normals = vertex_normals(anny.template, outer_faces(anny))[used]
    turned = (normals * (camera.centre - anny.template[used])).sum(1)
    temple = (anny.template[used, 0] > 0.02) & (np.abs(anny.template[used, 2] - 0.042) < 0.006)
    rim = np.flatnonzero(temple)[np.argmin(np.abs(turned[temple] - 0.1))]
    place = (anny.template[used[rim]] + 0.008 * normals[rim])[None]
    wide, narrow = (
        Reconciled(bushy, anny, beside_the_temple(camera, seen, width)).covers(place)[0] for width in (0.04, 0.012)
    )
    assert narrow < 0.5 < wide


def test_a_shoulder_that_reaches_beyond_the_outline_stays_dressed(anny, seen):
    dressed = Hair(anny, 0.0)
    dressed.height = dressed.samples.at_samples(np.where(anny.template[:, 2] < -0.12, 0.01, -0.01))
    columns = CAMERA.project(np.array([[-0.09, 0, -0.15], [0.09, 0, -0.15]]))[:, 0]
    narrow = seen.person * ((np.arange(CAMERA.width) > columns[0]) & (np.arange(CAMERA.width) < columns[1]))
    observation = dataclasses.replace(seen, person=narrow.astype(np.float32))
    used = np.unique(outer_faces(anny))
    normals = np.zeros_like(anny.template)
    normals[used] = vertex_normals(anny.template, outer_faces(anny))[used]
    outer = (anny.template[used, 0] > 0.12) & (anny.template[used, 0] < 0.165)
    top = used[outer & (normals[used, 2] > 0.6) & (anny.template[used, 2] < -0.14)]
    assert len(top) > 5
    covers = Reconciled(dressed, anny, observation).covers(anny.template[top] + 0.003 * normals[top])
    assert np.median(covers) > 0.5


def test_a_shoulder_that_stands_a_little_higher_than_the_field_s_cloth_is_dressed_all_the_same(anny, seen):
    low = Hair(anny, 0.0)
    low.height = low.samples.at_samples(np.where(anny.template[:, 2] < -0.11, -0.008, -0.05))
    used = np.unique(outer_faces(anny))
    back = used[
        (anny.template[used, 1] > 0.06) & (np.abs(anny.template[used, 0]) < 0.1) & (anny.template[used, 2] < -0.14)
    ]
    outwards = np.zeros_like(anny.template)
    outwards[used] = vertex_normals(anny.template, outer_faces(anny))[used]
    places = anny.template[back] + 0.002 * outwards[back]
    assert len(places) > 20 and np.median(low.covers(places)) < 0.01
    assert np.median(Reconciled(low, anny, seen).covers(places)) > 0.5


def test_bare_skin_in_the_picture_stays_bare(anny, seen):
    hairy = Hair(anny, 0.02)
    hairy.height[:] = 0.02
    cheek = over(anny, (0.3, -1.0, -0.35), 0.012)
    assert hairy.covers(cheek)[0] > 0.9
    assert Reconciled(hairy, anny, seen).covers(cheek)[0] < 0.5


def test_the_bust_ends_in_its_cut(anny, seen):
    everywhere = Hair(anny, 0.02)
    everywhere.covers = lambda points, no_skin=None: np.ones(len(points))
    below = np.array([[0.0, 0.0, -0.24], [0.23, 0.0, -0.15]])
    assert (Reconciled(everywhere, anny, seen).covers(below) < 0.5).all()


class Garment(Hair):
    """A field that is dressed everywhere below the neck but for `gap`, a mask of vertices."""

    def __init__(self, anny, gap):
        self.samples = SurfaceSamples.spread(anny.template, outer_faces(anny), 0.005)
        dressed = (anny.template[:, 2] < -0.1) & ~gap
        self.height = self.samples.at_samples(np.where(dressed, 0.008, -0.04))


def test_a_hole_on_a_shoulder_that_the_picture_does_not_show_is_closed(anny, seen):
    used = np.unique(outer_faces(anny))
    behind = used[np.argmin(np.linalg.norm(anny.template[used] - [0.1, 0.1, -0.145], axis=1))]
    shoulder, normal = anny.template[behind], vertex_normals(anny.template, outer_faces(anny))[behind]
    place = (shoulder + 0.002 * normal)[None]
    gap = np.linalg.norm(anny.template - shoulder, axis=1) < 0.03
    assert Garment(anny, gap).covers(place)[0] < 0.1
    hidden = dataclasses.replace(seen, garment=seen.person * (1 - seen.hair))
    assert Reconciled(Garment(anny, gap), anny, hidden).covers(place)[0] > 0.5
    undressed = np.ones(len(anny.template), bool)
    assert Reconciled(Garment(anny, undressed), anny, seen).covers(place)[0] < 0.5, "a bare shoulder stays bare"


class Strand(Layers):
    """A field with nothing but a strand of hair beside and behind the neck."""

    low, high = np.array([0.085, 0.02, -0.10]), np.array([0.115, 0.05, 0.0])

    def covers(self, points, no_skin=None):
        outside = np.maximum(self.low - points, points - self.high).max(1)
        return 1 / (1 + np.exp(np.clip(outside / 0.001, -30, 30)))


def with_hair(seen, columns, rows):
    """The same picture with hair in a rectangle of it."""
    more = np.zeros_like(seen.person)
    more[int(rows[0]) : int(rows[1]), int(columns[0]) : int(columns[1])] = 1
    hair = np.maximum(seen.hair, more * (1 - seen.person))
    return dataclasses.replace(seen, hair=hair, person=np.maximum(seen.person, more))


def test_hair_that_hangs_beside_the_neck_hangs_where_the_field_has_it(anny, seen):
    middle = (Strand.low + Strand.high) / 2
    (left, top), (right, bottom) = CAMERA.project(np.array([[0.085, 0.02, 0.0], [0.115, 0.02, -0.10]]))
    shown = with_hair(seen, (left, right + 1), (top, bottom + 1))
    covers = Reconciled(Strand(), anny, shown).covers
    assert covers(middle[None])[0] > 0.9
    for towards_camera in (0.06, 0.09):
        assert covers(middle[None] - [0, towards_camera, 0])[0] < 0.1, "not a curtain before the face"


class Faint(Strand):
    """The same strand, of which the field is not sure."""

    def covers(self, points, no_skin=None):
        return 0.35 * super().covers(points)


def test_faint_hair_is_there_where_the_picture_shows_it_and_nowhere_else(anny, seen):
    middle = ((Strand.low + Strand.high) / 2)[None]
    (left, top), (right, bottom) = CAMERA.project(np.array([[0.085, 0.02, 0.0], [0.115, 0.02, -0.10]]))
    shown = with_hair(seen, (left, right + 1), (top, bottom + 1))
    assert Reconciled(Faint(), anny, shown).covers(middle)[0] > 0.5
    assert Reconciled(Faint(), anny, seen).covers(middle)[0] < 0.5


def test_hair_hangs_down_to_where_the_picture_shows_it(anny, seen):
    """The field's strand ends 5 cm higher."""
    (left, top), (right, bottom) = CAMERA.project(np.array([[0.085, 0.02, 0.0], [0.115, 0.02, -0.15]]))
    longer = with_hair(seen, (left, right + 1), (top, bottom + 1))
    end = np.array([[0.100, 0.035, -0.135]])
    assert Reconciled(Strand(), anny, longer).covers(end)[0] > 0.5 > Strand().covers(end)[0]


def test_the_field_is_stretched_to_the_outline_and_only_sideways(anny, seen):
    (left, top), (right, bottom) = CAMERA.project(np.array([[0.085, 0.02, 0.0], [0.130, 0.02, -0.10]]))
    wider = with_hair(seen, (left, right), (top, bottom))
    covers = Reconciled(Strand(), anny, wider).covers
    outside = np.array([[0.122, 0.035, -0.05]])
    assert Strand().covers(outside)[0] < 0.01 and covers(outside)[0] > 0.5
    assert covers(np.array([[0.135, 0.035, -0.05]]))[0] < 0.5, "no further than that"
    assert covers(np.array([[0.100, 0.062, -0.05], [0.100, 0.008, -0.05]])).max() < 0.5


def test_a_skull_that_is_fitted_too_high_is_no_bald_patch(anny, seen):
    used = np.unique(outer_faces(anny))
    crown = used[np.argmax(anny.template[used, 2])]
    rows = np.arange(CAMERA.height)[:, None] > CAMERA.project(anny.template[crown][None])[0, 1] + 4
    lower = dataclasses.replace(seen, person=seen.person * rows, hair=seen.hair * rows)
    place = anny.template[crown][None] + [0, 0, 0.002]
    assert Reconciled(Hair(anny, -0.007), anny, lower).covers(place)[0] > 0.5
    assert Reconciled(Hair(anny, -0.05), anny, lower).covers(place)[0] < 0.5, "a bald head stays bald"


class Curtain(Layers):
    """A field with hair behind the neck that hangs down to the shoulders, but for a `gap` between these heights; below
    it there may be cloth instead."""

    def __init__(self, gap, *, cloth=False):
        self.gap, self.cloth = gap, cloth

    def covers(self, points, no_skin=None):
        outside = np.maximum(np.abs(points - [0, 0.115, -0.05]) - [0.07, 0.012, 0.11], 0).max(1)
        there = (points[:, 2] < self.gap[0]) | (points[:, 2] > self.gap[1])
        return (outside <= 0) * there * 1.0

    def garment(self, points):
        return (points[:, 2] < self.gap[0]) * float(self.cloth)


def test_hair_that_hangs_on_below_a_gap_hangs_there_too(anny, seen):
    place = np.array([[0.0, 0.115, -0.07]])
    assert Curtain((-0.09, -0.05)).covers(place)[0] == 0
    assert Reconciled(Curtain((-0.09, -0.05)), anny, seen).covers(place)[0] > 0.8
    wide, collar = Curtain((-0.13, -0.01)), Curtain((-0.09, -0.05), cloth=True)
    assert Reconciled(wide, anny, seen).covers(place)[0] < 0.2, "short hair over something on the shoulders"
    assert Reconciled(collar, anny, seen).covers(place)[0] < 0.2, "a neck between hair and collar"
