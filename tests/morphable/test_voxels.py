"""Vertices to voxels, and one vertex per voxel."""

import pytest
import torch

from backend.morphable.voxels import VOXEL, last_of_each_voxel, voxelize


def test_coordinates_are_counted_from_the_low_corner_in_z_y_x():
    vertices = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]) * VOXEL
    assert voxelize(vertices - 0.2).coordinates.tolist() == [[0, 0, 0], [3, 2, 1]]


@pytest.mark.parametrize(("extent", "side"), [(3, 4), (4, 8), (7, 8), (8, 12)])
def test_sides_are_multiples_of_four_beyond_the_mesh(extent, side):
    vertices = torch.tensor([[0.0, 0, 0], [extent - 0.001, 0, 0]]) * VOXEL
    assert voxelize(vertices).size == (4, 4, side)


def test_of_those_in_one_voxel_the_last_is_kept():
    coordinates = torch.tensor([[0, 0, 1], [2, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]])
    assert last_of_each_voxel(coordinates, (4, 4, 4)).tolist() == [1, 3, 4]


def test_numbers_beyond_32_bits_do_not_mix_voxels_up():
    coordinates = torch.tensor([[2047, 2047, 2047], [0, 0, 0], [1024, 0, 0], [2047, 2047, 2047]], dtype=torch.int32)
    assert last_of_each_voxel(coordinates, (2048, 2048, 2048)).tolist() == [1, 2, 3]
