"""Plain torch against spconv, the library that the published weights were trained with.

On a CPU spconv is right with one thread only: with two, its scatter-add loses sums now and then (errors of 0.8 to 1.7
standard deviations in three of three runs on a head-sized mesh), so it is run with one, whatever ours has. That, and
because a step of the U-Net takes many times longer than the whole sparse network, is why the product does without it.
"""

import pytest
import torch

from backend.morphable.sparse_conv import SparseNet, SparsePyramid
from backend.morphable.voxels import voxelize
from tests.morphable.conftest import ball
from tests.morphable.invented import fill_module
from tests.morphable.test_parity import CASES, GOLDENS, error_of, make_input

spconv = pytest.importorskip("spconv.pytorch", reason="spconv has no wheel for this computer")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Also lets the backward pass do without CUDA, whose stream it asks for before it looks at the device."""
    import spconv.pytorch.ops as ops

    original = ops.get_current_stream
    monkeypatch.setattr(ops, "get_current_stream", lambda: original() if torch.cuda.is_available() else 0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def with_spconv(net, features, coordinates, size):
    """Our network's weights in spconv's layers."""
    rows = torch.cat([torch.zeros(len(coordinates), 1, dtype=torch.int32), coordinates.int()], 1)
    x = spconv.SparseConvTensor(features, rows, list(size), 1)
    for name in ("conv0", "down0", "conv1", "down1", "conv2"):
        layers = getattr(net, name)
        for number in range(0, len(layers), 3):
            weight = layers[number].weight
            shape = weight.shape[-1], weight.shape[0], 3
            native = {"bias": False, "algo": spconv.ConvAlgo.Native}
            if name.startswith("down"):
                layer = spconv.SparseConv3d(*shape, stride=2, padding=1, **native)
            else:
                layer = spconv.SubMConv3d(*shape, indice_key=name, **native)
            del layer.weight
            layer.weight = weight
            x = layer(x)
            x = x.replace_feature(layers[number + 1](x.features).relu())
    return x.dense()[0]


def network():
    with torch.device("meta"):
        net = SparseNet(16, 64)
    return fill_module(net, "spatial_volume.sparse_net.")


def spread(tensor):
    return tensor[tensor != 0].std()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("training", [False, True])
def test_values_and_gradients_agree_also_where_vertices_share_a_voxel(training, threads):
    vertices = ball(3000, 0) / 2
    voxels = voxelize(torch.cat([vertices, vertices[:500]]))
    pyramid = SparsePyramid.of(voxels)
    assert len(pyramid.kept) <= 3000, "some vertices share a voxel"
    features = torch.randn(3500, 16, generator=torch.Generator().manual_seed(1), requires_grad=True)
    results = []
    for is_ours in (True, False):
        torch.set_num_threads(threads if is_ours else 1)
        net = network().train(training)
        kept = pyramid.kept
        volume = (
            net(features, pyramid)
            if is_ours
            else with_spconv(net, features[kept], voxels.coordinates[kept], voxels.size)
        )
        probe = torch.cos(torch.arange(volume.numel())).reshape(volume.shape)
        gradients = torch.autograd.grad((volume * probe).sum(), [features, *net.parameters()])
        results.append([volume, *gradients, *(b for b in net.buffers() if b.is_floating_point())])
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() < 1e-3 * max(spread(theirs), 1e-3)


def test_left_to_itself_a_cpu_counts_shared_voxels_more_than_once():
    """The published code's own result for such a mesh, and ours beside it."""
    import numpy as np

    case = "sparse_net_duplicates_cpu"
    told = CASES[case]
    with np.load(GOLDENS / f"{case}.npz") as golden:
        features = torch.from_numpy(make_input(told["inputs"]["features"], None))
        coordinates, size = torch.from_numpy(golden["in.coord"]), golden["in.out_sh"].tolist()
        volume = with_spconv(network(), features, coordinates, size).detach()
        assert error_of(volume[None].numpy(), told["outputs"]["volume"], "volume", golden) < 1e-4
