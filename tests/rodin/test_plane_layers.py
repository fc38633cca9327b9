"""3D-aware convolution exactly as Rodin defines it, and planes that keep to themselves."""

import pytest
import torch
import torch.nn.functional as F

from backend.radiance.triplane import PLANE_AXES
from backend.rodin.plane_layers import AwareConv, PlaneAttention, PlaneBlock, PlaneConv, shared_strips
from backend.rodin.unet import PlaneUNet

SIZE = 12


def plane_of(function, plane):
    """Rows are the second axis of the plane, columns the first; the third axis is averaged out."""
    axis = torch.linspace(-1, 1, SIZE)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    u, v = PLANE_AXES[plane]
    image = function(x, y, z).mean(3 - u - v)  # axes left in rising order: u, v
    return image.T


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_depends_on_one_axis_alone_reaches_the_strips_of_that_axis(axis):
    function = lambda *places: torch.sin(3 * places[axis])  # noqa: E731
    planes = torch.stack([plane_of(function, p) for p in range(3)])[None, :, None]
    columns, rows = shared_strips(planes)
    expected = torch.sin(3 * torch.linspace(-1, 1, SIZE))
    flat = expected.mean().expand(SIZE)
    for plane, (u, v) in enumerate(PLANE_AXES):
        torch.testing.assert_close(columns[0, plane, 0], expected if u == axis else flat)
        torch.testing.assert_close(rows[0, plane, 0], expected if v == axis else flat)


def reference(layer: AwareConv, planes: torch.Tensor) -> torch.Tensor:
    """The definition: [own; a; b] with the strips repeated, one 3 x 3 convolution of 3 C channels per plane."""
    columns, rows = shared_strips(planes)
    size = planes.shape[-1]
    result = []
    for p in range(3):
        a = columns[:, p][:, :, None, :].expand(-1, -1, size, -1)
        b = rows[:, p][:, :, :, None].expand(-1, -1, -1, size)
        stacked = F.pad(torch.cat([planes[:, p], a, b], 1), (1, 1, 1, 1), mode="replicate")
        outputs = layer.own.conv.weight.shape[0] // 3
        part = slice(p * outputs, (p + 1) * outputs)
        own = layer.own.conv.weight[part]
        # A kernel that is the same on all three rows of a repeated strip counts three times.
        along_columns = layer.along_columns.weight[part][:, :, None, :].expand(-1, -1, 3, -1) / 3
        along_rows = layer.along_rows.weight[part][:, :, :, None].expand(-1, -1, -1, 3) / 3
        kernel = torch.cat([own, along_columns, along_rows], 1)
        result.append(F.conv2d(stacked, kernel, layer.own.conv.bias[part]))
    return torch.stack(result, 1)


def test_it_is_the_convolution_of_the_plane_and_the_two_repeated_strips():
    torch.manual_seed(0)
    layer = AwareConv(4, 5)
    for strips in (layer.along_columns, layer.along_rows):
        torch.nn.init.normal_(strips.weight)
    planes = torch.randn(2, 3, 4, SIZE, SIZE)
    torch.testing.assert_close(layer(planes), reference(layer, planes), atol=1e-4, rtol=1e-4)


def test_strips_begin_at_zero_and_then_tell_the_other_planes():
    layer = AwareConv(2, 2)
    planes = torch.randn(1, 3, 2, SIZE, SIZE)
    torch.testing.assert_close(layer(planes), layer.own(planes))
    changed = planes.clone()
    changed[:, 0] += 1
    assert torch.equal(layer(planes)[:, 1:], layer(changed)[:, 1:])
    torch.nn.init.ones_(layer.along_columns.weight)
    assert not torch.equal(layer(planes)[:, 1], layer(changed)[:, 1])


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_nothing_bleeds_across_the_borders_of_planes(plane):
    torch.manual_seed(1)
    layer = PlaneConv(3, 3)
    planes = torch.randn(1, 3, 3, SIZE, SIZE)
    changed = planes.clone()
    changed[:, plane] = 7
    before, after = layer(planes), layer(changed)
    for other in {0, 1, 2} - {plane}:
        assert torch.equal(before[:, other], after[:, other])


@pytest.mark.parametrize("kind", ["aware", "plain", "mixed"])
def test_blocks_keep_the_size_and_listen_to_their_embedding(kind):
    block = PlaneBlock(8, 12, 16, kind=kind)
    planes = torch.randn(2, 3, 8, SIZE, SIZE)
    out = block(planes, torch.zeros(2, 16))
    assert out.shape == (2, 3, 12, SIZE, SIZE)
    assert not torch.equal(out, block(planes, torch.ones(2, 16)))


def test_attention_starts_as_nothing_and_sees_the_tokens():
    layer = PlaneAttention(8, 6, heads=2)
    planes, tokens = torch.randn(2, 3, 8, 4, 4), torch.randn(2, 5, 6)
    torch.testing.assert_close(layer(planes, tokens), planes)
    torch.nn.init.normal_(layer.out.weight)
    assert not torch.equal(layer(planes, tokens), layer(planes, tokens + 1))


def test_checkpointed_training_has_the_same_gradients():
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        sizes = {"widths": (8, 16), "blocks": (1, 1), "attention_from": 1, "embedding": 8, "tokens": 6, "dropout": 0.3}
        unet = PlaneUNet(16, 4, 4, **sizes, checkpointed=checkpointed)
        torch.nn.init.normal_(unet.leave.conv.weight)
        unet(torch.randn(2, 3, 4, 16, 16), torch.randn(2, 8), torch.randn(2, 5, 6)).square().mean().backward()
        gradients.append([parameter.grad for parameter in unet.parameters() if parameter.grad is not None])
    torch.testing.assert_close(gradients[1], gradients[0])
    assert len(gradients[0]) > 20
