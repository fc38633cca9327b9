"""The occupancy grid: never blind to matter, and small."""

import pytest
import torch

from backend.radiance.occupancy import OccupancyGrid
from tests.radiance.fields import shape, sphere, uniform


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_every_point_of_the_matter_lies_in_an_occupied_cell(resolution):
    ball = sphere()
    grid = OccupancyGrid.build(ball, resolution)
    assert grid.cells.shape == (resolution,) * 3
    points = torch.rand(50_000, 3, generator=torch.Generator().manual_seed(0)) * 0.5 - 0.25
    assert grid.contains(points[ball.density(points) > 0]).all()


def test_finer_grids_are_tighter():
    fractions = [OccupancyGrid.build(sphere(), resolution).fraction for resolution in (32, 64, 128)]
    volume = 4 / 3 * torch.pi * 0.12**3 / 0.5**3
    assert fractions[0] > fractions[1] > fractions[2] > volume
    assert fractions[2] < 1.25 * volume


def test_a_thin_sheet_is_found():
    """A sheet of one centimetre, oblique to the axes, has no holes in the grid."""
    normal = torch.tensor([0.6, 0.48, 0.64])
    sheet = shape(lambda p: (p @ normal).abs() - 0.005)
    grid = OccupancyGrid.build(sheet)
    points = torch.rand(50_000, 3, generator=torch.Generator().manual_seed(0)) * 0.5 - 0.25
    assert grid.contains(points[sheet.density(points) > 0]).all()
    assert grid.fraction < 0.15


def test_axes_are_not_mixed_up():
    grid = OccupancyGrid.build(sphere(radius=0.03, centre=(0.2, -0.1, 0.05)), 64)
    assert grid.contains(torch.tensor([0.2, -0.1, 0.05]))
    for other in ([-0.1, 0.2, 0.05], [0.05, -0.1, 0.2], [0.2, 0.05, -0.1]):
        assert not grid.contains(torch.tensor(other))


def test_outside_of_the_cube_is_empty():
    grid = OccupancyGrid.build(uniform(100.0), 32)
    assert grid.fraction == 1
    assert not grid.contains(torch.tensor([[0.26, 0, 0], [0, -0.26, 0], [0, 0, 9.0]])).any()


def test_fog_below_the_threshold_is_skipped():
    # 10 mm of matter of density 0.05/m are opaque by 0.0005.
    assert OccupancyGrid.build(uniform(0.05), 32).fraction == 0
    assert OccupancyGrid.build(uniform(0.05), 32, threshold=1e-4).fraction == 1


def test_a_resolution_that_cannot_be_refined_to_is_refused():
    with pytest.raises(ValueError, match="not 96"):
        OccupancyGrid.build(uniform(1.0), 96)
