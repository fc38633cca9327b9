"""What people and other programs see of a set."""

import json
import re

import numpy as np
import pytest

from backend.errors import MaquetteError
from backend.radiance.cameras import Camera
from synthetic_data.export_transforms import export_transforms
from synthetic_data.png import decode_png
from synthetic_data.preview import contact_sheet, narrowed, person_sheet, shown, three_views, write_preview
from synthetic_data.reader import DataSet, Person
from synthetic_data.record import DEPTH_UNIT
from synthetic_data.shards import open_folder, render_shard
from tests.synthetic_data import standin


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, config = tmp_path_factory.mktemp("set"), standin.config(views=6, passes=("normal", "uv"))
    open_folder(folder, config)
    for shard in range(config.shards - 1):  # not finished
        render_shard(config, shard, folder, standin.render)
    return folder


def test_nerfstudio_cameras_see_the_ball_where_it_is(folder, tmp_path):
    """Every pixel of the depth pictures, taken back through the exported numbers alone, lies on the ball."""
    path = export_transforms(folder, 4, tmp_path / "ball")
    data = json.loads(path.read_text())
    assert len(data["frames"]) == 6
    for frame in data["frames"]:
        depth = decode_png((path.parent / frame["depth_file_path"]).read_bytes()) * data["depth_unit_scale_factor"]
        rgba = decode_png((path.parent / frame["file_path"]).read_bytes())
        assert rgba.shape == (frame["h"], frame["w"], 4)
        row, column = np.nonzero(depth)
        # OpenGL: x right, y up, the camera looks along -z.
        x = (column + 0.5 - frame["cx"]) / frame["fl_x"] * depth[row, column]
        y = -(row + 0.5 - frame["cy"]) / frame["fl_y"] * depth[row, column]
        seen = np.stack([x, y, -depth[row, column], np.ones_like(x)], -1) @ np.array(frame["transform_matrix"]).T
        assert len(row) > 30
        error = np.abs(np.linalg.norm(seen[:, :3], axis=1) - standin.RADIUS)
        assert error.max() < 6 * DEPTH_UNIT and np.median(error) < DEPTH_UNIT


def test_exported_matrices_are_those_of_the_cameras(folder, tmp_path):
    frames = json.loads(export_transforms(folder, 0, tmp_path).read_text())["frames"]
    person = Person.read(DataSet.open(folder, partial=True).find(0))
    points = np.array([[0.1, -0.05, 0.08], [-0.04, 0.02, -0.1]])
    for view, frame in zip(person.views, frames, strict=False):
        k = np.array([[frame["fl_x"], 0, frame["cx"]], [0, frame["fl_y"], frame["cy"]], [0, 0, 1]])
        camera = Camera.from_blender_matrix(np.array(frame["transform_matrix"]), k, frame["w"], frame["h"])
        np.testing.assert_allclose(camera.project(points), view.camera.project(points), atol=1e-9)


def test_an_identity_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(MaquetteError, match="no identity 99"):
        export_transforms(folder, 99, tmp_path)


def test_the_sheet_shows_every_identity_from_three_sides(folder):
    people = [Person.read(entry) for entry in DataSet.open(folder, partial=True).entries()]
    sheet = contact_sheet(people, columns=2)
    assert sheet.shape == (5 * 24 + 4, 2 * 3 * 24 + 1, 3)  # with gaps of a pixel
    sides = [view.camera.centre for view in three_views(people[0].views)]
    assert sides[0][1] < 0 and abs(sides[0][0]) < -sides[0][1] and sides[2][1] > sides[0][1]
    assert len({view.name for view in three_views(people[0].views)}) == 3


def test_a_person_is_shown_in_full(tmp_path):
    config = standin.config(count=1, identities_per_shard=1, views=5, takes=3, passes=("normal",))
    open_folder(tmp_path, config)
    render_shard(config, 0, tmp_path, standin.render)
    person = Person.read(DataSet.open(tmp_path).find(0))
    sheet = person_sheet(person, config.passes, columns=4)
    assert sheet.shape == (24 * (1 + 2 + 1), 24 * 4, 3)  # 3 expressions, 5 views, 4 passes
    front = three_views([view for view in person.views if view.take == 2])[0]
    np.testing.assert_array_equal(sheet[:24, 48:72], shown(person, front, "rgba"))


def test_the_page_stands_alone(folder, tmp_path):
    write_preview(folder, tmp_path, first=2, count=5)
    page = (tmp_path / "index.html").read_text()
    assert not re.search(r"https?://|src=", page) and "@" not in re.sub(r"@media", "", page)
    found = re.search(r"const people = (.*);\n", page)
    assert 'const classes = [["skin", "rgb(224, 172, 140)"]];' in page
    assert found
    people = json.loads(found[1].replace("<\\/", "</"))
    assert [person["index"] for person in people] == [2, 3, 4, 5, 6]
    for person in people:
        angles = [int(name.split()[1].rstrip("°")) for name in person["views"]]
        assert person["views"][0].startswith("t0p") and angles[1:] == sorted(angles[1:]) and len(angles) == 7
        assert list(person["files"]) == ["rgba", "depth", "normal", "segmentation", "uv"]
        assert all((tmp_path / name).exists() for name in person["files"].values())


def test_words_of_a_caption_cannot_leave_the_script(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("synthetic_data.preview._described", lambda person, files: {"caption": "</script><b>"})
    write_preview(folder, tmp_path, count=1)
    assert "</script><b>" not in (tmp_path / "index.html").read_text()


def test_nothing_to_show_is_said(folder, tmp_path):
    with pytest.raises(ValueError, match="from 500 on"):
        write_preview(folder, tmp_path, first=500)


@pytest.mark.parametrize(("views", "size"), [(24, (256, 24 * 256)), (288, (86, 24576))])
def test_a_person_with_many_views_still_fits_into_a_picture(views, size):
    assert narrowed(np.zeros((256, views * 256, 3), np.uint8)).shape == (*size, 3)
