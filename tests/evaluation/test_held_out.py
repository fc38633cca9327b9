"""People of a rendered set, as a measurement needs them."""

import dataclasses

import numpy as np
import pytest

from backend.body_model.anny import load_anny
from backend.errors import MaquetteError
from backend.evaluation.held_out import find_people, read_head, read_strip, shrink, strip, write_picture
from synthetic_data.record import encode_view, planned_views
from synthetic_data.shards import open_folder, render_shard
from tests.synthetic_data import standin


@pytest.fixture(scope="module")
def ball_set(tmp_path_factory):
    folder, config = tmp_path_factory.mktemp("set"), standin.config(count=3, size=256, views=3)
    open_folder(folder, config)
    render_shard(config, 0, folder, standin.render)
    return folder


def test_views_are_halved_and_lie_over_white(ball_set):
    entry = find_people(ball_set, range(1, 3))[0]
    head = read_head(entry)
    assert (head.index, head.attributes["sex"]) == (1, "male")
    assert head.views.shape == (3, 128, 128, 3) and head.masks.shape == (3, 128, 128)
    np.testing.assert_allclose(head.views[:, 0, 0], 1)
    for camera, mask in zip(head.cameras, head.masks, strict=True):
        assert (camera.width, camera.height) == (128, 128)
        rows, columns = np.nonzero(mask)
        middle = camera.project(np.zeros((1, 3)))[0]
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], middle, atol=0.5)


def test_what_lies_outside_the_cube_is_white(tmp_path):
    """A ball whose lower part reaches out of the cube through its floor, 0.25 m below the origin."""

    def low(config, index, threads):
        record, shown = standin.render(config, index, threads), {}
        for view in planned_views(config, index, 0):
            drawn = standin.draw(view.camera, index, (0, 0, -0.2))
            shown |= encode_view(view.name, {kind: drawn[kind] for kind in config.passes})
        return dataclasses.replace(record, members={**record.members, **shown})

    config = standin.config(count=1, size=128, views=24)
    open_folder(tmp_path, config)
    render_shard(config, 0, tmp_path, low)
    head = read_head(find_people(tmp_path, None)[0])
    assert head.hidden.any() and (head.views[head.hidden] == 1).all() and not head.masks[head.hidden].any()
    front = int(np.argmin([abs(c.centre[0]) + abs(c.centre[2] + 0.04) + c.centre[1] for c in head.cameras]))
    pixels = head.cameras[front].project(np.array([[0, -0.15, -0.2], [0, -0.136, -0.262]])).astype(int)
    (u, v), (u_low, v_low) = pixels
    assert head.masks[front, v, u] and not head.masks[front, v_low, u_low]
    np.testing.assert_allclose(head.views[front, v_low, u_low], 1)


def test_the_portrait_comes_with_the_truth_of_the_body(ball_set):
    head, model = read_head(find_people(ball_set, None)[0]), load_anny()
    fit, portrait = head.true_fit(model), head.true_portrait()
    np.testing.assert_allclose(fit.posed(), model.neutral(head.identity))
    assert portrait.size == fit.camera.width == 256
    u, v = fit.camera.project(np.zeros((1, 3)))[0].astype(int)
    assert portrait.matte[v, u] == 1 and portrait.matte[2, 2] == 0
    np.testing.assert_allclose(portrait.foreground[v, u], head.portrait_over(0.0)[v, u])
    assert head.portrait_over(0.5, 128)[0, 0] == pytest.approx(0.5)


def test_people_who_are_not_in_the_set_are_said(ball_set):
    assert [entry.index for entry in find_people(ball_set, range(1, 9))] == [1, 2]
    with pytest.raises(MaquetteError, match="holds none of the people"):
        find_people(ball_set, range(5, 9))


def test_those_of_an_unfinished_set_are_found(tmp_path):
    config = standin.config(count=4)
    open_folder(tmp_path, config)
    render_shard(config, 1, tmp_path, standin.render)
    assert [entry.index for entry in find_people(tmp_path, None)] == [3]


def test_small_views_are_said(tmp_path):
    config = standin.config(count=1, size=24)
    open_folder(tmp_path, config)
    render_shard(config, 0, tmp_path, standin.render)
    with pytest.raises(MaquetteError, match="128 pixels or a multiple"):
        read_head(find_people(tmp_path, None)[0])


def test_strips_come_back(tmp_path):
    pictures = np.random.default_rng(0).uniform(size=(4, 8, 8, 3))
    write_picture(tmp_path / "deep" / "strip.png", strip(pictures))
    np.testing.assert_allclose(read_strip(tmp_path / "deep" / "strip.png"), pictures, atol=0.002)
    np.testing.assert_allclose(shrink(pictures[0], 2)[0, 0], pictures[0, :4, :4].mean((0, 1)), atol=1e-6)
