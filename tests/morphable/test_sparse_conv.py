"""Sparse convolution: the same numbers and gradients as a dense one over zeros, wherever there is something."""

import copy

import pytest
import torch
import torch.nn.functional as F

from backend.morphable.sparse_conv import SparseNet, SparsePyramid
from backend.morphable.voxels import Voxels, voxelize
from tests.morphable.conftest import ball

SHARED = 3
"""Vertices of the crowded mesh that lie in voxels of others, each twice."""


def mesh(crowded):
    """Voxels of a small ball; in a crowded one some vertices share theirs."""
    voxels = voxelize(ball(150, 0) / 5)
    if not crowded:
        kept = SparsePyramid.of(voxels).kept
        return Voxels(voxels.coordinates[kept], voxels.size, voxels.bounds)
    again = voxels.coordinates[:SHARED]
    return Voxels(torch.cat([voxels.coordinates, again, again]), voxels.size, voxels.bounds)


def small_net(dtype=torch.float64):
    torch.manual_seed(0)
    net = SparseNet(4, 8).to(dtype)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
    return net.eval()


def dense_result(net, features, voxels):
    """The same layers on whole grids: after each, what lies outside the occupied voxels is set to zero."""
    place = tuple(voxels.coordinates.long().T)
    grid = torch.zeros(*voxels.size, features.shape[1], dtype=features.dtype)
    grid = grid.index_put(place, features).permute(3, 0, 1, 2)[None]
    mask = torch.zeros(1, 1, *voxels.size, dtype=features.dtype)
    mask[0, 0][place] = 1
    for name in ("conv0", "down0", "conv1", "down1", "conv2"):
        layers, stride = getattr(net, name), 2 if name.startswith("down") else 1
        for number in range(0, len(layers), 3):
            weight = layers[number].weight.permute(0, 4, 1, 2, 3)
            if stride == 2:
                mask = (F.conv3d(mask, mask.new_ones(1, 1, 3, 3, 3), stride=2, padding=1) > 0).to(mask.dtype)
            grid = layers[number + 1](F.conv3d(grid, weight, stride=stride, padding=1).flatten(2)).unflatten(
                2, mask.shape[2:]
            )
            grid = grid.relu() * mask
    return grid[0]


@pytest.mark.parametrize("crowded", [False, True])
def test_values_and_gradients_are_those_of_a_dense_convolution(crowded):
    voxels = mesh(crowded)
    pyramid = SparsePyramid.of(voxels)
    net = small_net()
    features = torch.randn(len(voxels.coordinates), 4, dtype=torch.float64, requires_grad=True)
    kept = Voxels(voxels.coordinates[pyramid.kept], voxels.size, voxels.bounds)
    results = []
    for make in (lambda: net(features, pyramid), lambda: dense_result(net, features[pyramid.kept], kept)):
        volume = make()
        probe = torch.cos(torch.arange(volume.numel(), dtype=torch.float64)).reshape(volume.shape)
        gradients = torch.autograd.grad((volume * probe).sum(), [features, *net.parameters()])
        results.append([volume, *gradients])
    for ours, dense in zip(*results, strict=True):
        torch.testing.assert_close(ours, dense, atol=1e-10, rtol=1e-8)
    if crowded:
        hidden = torch.ones(len(features), dtype=torch.bool)
        hidden[pyramid.kept] = False
        assert hidden.sum() >= 2 * SHARED
        assert (results[0][1][hidden] == 0).all(), "a vertex that another one covers says nothing"


def test_the_result_does_not_depend_on_the_number_of_threads():
    voxels = mesh(crowded=True)
    pyramid, net = SparsePyramid.of(voxels), small_net(torch.float32)
    features = torch.randn(len(voxels.coordinates), 4, requires_grad=True)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 2, 2):
            torch.set_num_threads(threads)
            volume = net(features, pyramid)
            results.append((volume, torch.autograd.grad(volume.square().sum(), features)[0]))
    finally:
        torch.set_num_threads(before)
    for volume, gradient in results[1:]:
        torch.testing.assert_close(volume, results[0][0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradient, results[0][1], atol=1e-4, rtol=1e-4)


def test_in_training_the_statistics_are_those_of_one_mesh_after_the_other():
    pyramid = SparsePyramid.of(mesh(crowded=False))
    net = small_net().train()
    first, second = torch.randn(2, len(pyramid.kept), 4, dtype=torch.float64)
    alone = copy.deepcopy(net)
    net(first, pyramid)
    net(second, pyramid)
    assert net.conv0[1].num_batches_tracked == 2
    assert torch.equal(alone(first, pyramid), copy.deepcopy(alone)(first, pyramid))
    assert not torch.equal(net.conv0[1].running_mean, alone.conv0[1].running_mean)


def test_a_volume_is_a_quarter_of_the_voxels_size():
    voxels = mesh(crowded=False)
    volume = small_net()(torch.randn(len(voxels.coordinates), 4, dtype=torch.float64), SparsePyramid.of(voxels))
    assert tuple(volume.shape) == (8, *(side // 4 for side in voxels.size))
