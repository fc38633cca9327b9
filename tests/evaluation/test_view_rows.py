"""What stands beside the drawn views: expressions that pictures show, meshes that are wrong, the template engine."""

import numpy as np
import pytest
import skimage.data
import torch

from backend.body_model.anny import load_anny
from backend.body_model.of_portrait import fit_portrait
from backend.body_model.registry import landmark_map
from backend.evaluation.view_rows import agreement, cut_out, disturbed, find_face, shown_expression, template_views
from backend.portrait.mediapipe_models import MediaPipeModels
from backend.portrait.portrait import load_portraits
from backend.rigging.avatar import ARKIT_SHAPES
from backend.training.subjects import load_subjects
from tests.morphable.conftest import TINY
from tests.synthetic_data import standin


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return standin.pack(tmp_path_factory.mktemp("rows"), count=2, size=32, views=4, portraits=1, takes=2)


def test_whoever_shows_what_was_asked_agrees_and_whoever_always_shows_the_same_does_not():
    rng = np.random.default_rng(0)
    asked = np.zeros((40, len(ARKIT_SHAPES)))
    asked[:, :10] = rng.uniform(0, 1, (40, 10))
    asked[:, 10] = rng.uniform(0, 0.01, 40)
    shown = 0.5 * asked + 0.2
    assert agreement(asked, shown)["all"] == pytest.approx(1)
    assert set(agreement(asked, shown)) == {"all", *ARKIT_SHAPES[:10]}, "what is hardly asked for does not count"
    assert agreement(asked, np.tile(asked.mean(0), (40, 1)))["all"] == 0
    assert abs(agreement(asked, rng.uniform(0, 1, asked.shape))["all"]) < 0.2


@pytest.mark.parametrize("millimetres", [1.0, 5.0])
def test_a_mesh_is_wrong_by_so_many_millimetres_smoothly_and_for_each_in_its_own_way(pack, millimetres):
    subjects = load_subjects(pack, load_anny(), TINY)
    wrong = disturbed(subjects, torch.tensor([0, 1]), millimetres)
    moved = (wrong.vertices - subjects.vertices) / 2.5e-3
    assert moved[:2].square().sum(-1).mean(1).sqrt().tolist() == pytest.approx([millimetres] * 2, rel=1e-4)
    assert not moved[2:].any() and not torch.allclose(moved[0], moved[1])
    near = torch.cdist(subjects.vertices[0], subjects.vertices[0]) < 2.5e-3 * 4
    apart = torch.cdist(moved[0], moved[0])[near]
    assert apart.mean() < 0.3 * millimetres, "neighbours move together"
    again = disturbed(subjects, torch.tensor([1]), millimetres)
    assert torch.equal(again.vertices[1], wrong.vertices[1])


def test_the_true_body_lies_over_the_portrait_that_the_template_engine_reads(tmp_path):
    """A picture as the set has it, with the camera of a fit as the truth."""
    model, picture = load_anny(), skimage.data.astronaut()[:256, 96:352]
    path = tmp_path / "face.png"
    skimage.io.imsave(path, picture)
    known = load_portraits([path], size=256)[0]
    fit = fit_portrait(model, known)
    matrix = np.linalg.inv(known.source_to_crop) @ fit.camera.intrinsics
    item = {
        "rgb": torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255,
        "alpha": torch.ones(1, 1, 256, 256),
        "identity": torch.from_numpy(fit.identity).float(),
        "expression": torch.from_numpy(fit.expression).float(),
        "world_to_camera": torch.from_numpy(fit.camera.world_to_camera)[None].float(),
        "intrinsics": torch.from_numpy(matrix / matrix[2, 2])[None].float(),
    }
    portrait, laid = cut_out(item, model, tmp_path / "cut.png")
    table = landmark_map(model)
    corners = laid.posed()[model.topology.faces[table.face]]
    points = np.einsum("lkd,lk->ld", corners, table.barycentric)
    off = np.linalg.norm(laid.camera.project(points) - portrait.landmarks, axis=1)
    assert np.median(off) < 0.02 * portrait.size


def test_without_a_face_there_is_nothing_to_show(tmp_path):
    with MediaPipeModels() as models:
        assert find_face(np.ones((64, 64, 3), np.float32), models) is None
        assert not shown_expression(np.ones((64, 64, 3), np.float32), load_anny(), models).any()
    dots = standin.pack(tmp_path / "dots", count=1, size=16, views=4, portraits=1, takes=2)
    drawn, lost = template_views(dots, load_anny(), [1], [0], 16, tmp_path)
    assert drawn.shape == (1, 4, 16, 16, 3) and (drawn == 1).all() and lost == 1, "counted, not hidden"


def test_a_smile_is_seen():
    picture = skimage.data.astronaut()[:256, 96:352].astype(np.float32) / 255
    with MediaPipeModels() as models:
        shown = dict(zip(ARKIT_SHAPES, shown_expression(picture, load_anny(), models), strict=True))
    assert shown["mouthSmileLeft"] + shown["mouthSmileRight"] > 0.5 > shown["mouthFrownLeft"]
