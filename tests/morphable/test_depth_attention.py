"""Attention along a ray: the textbook's, whatever order it is computed in."""

import torch

from backend.morphable.depth_attention import HEADS, DepthAttention, DepthBlock
from tests.morphable.plain import attend_plainly


def test_it_is_the_attention_of_one_query_over_all_depths():
    torch.manual_seed(0)
    layer = DepthAttention(16, 8).double()
    x, context = torch.randn(2, 16, 3, 5, dtype=torch.float64), torch.randn(2, 8, 7, 3, 5, dtype=torch.float64)
    keys, values = layer.to_k(context), layer.to_v(context)
    found = layer(x, context)
    read = torch.empty_like(x)
    for row in range(3):
        for column in range(5):
            for head in torch.arange(16).split(16 // HEADS):
                query = layer.to_q(x)[:, head, row, column]
                logits = torch.einsum("bc,bcd->bd", query, keys[:, head, :, row, column]) / (16 // HEADS) ** 0.5
                read[:, head, row, column] = torch.einsum(
                    "bd,bcd->bc", logits.softmax(-1), values[:, head, :, row, column]
                )
    torch.testing.assert_close(found, layer.to_out(read))


def test_it_is_the_same_with_keys_and_values_at_every_depth():
    torch.manual_seed(0)
    layer = DepthAttention(32, 16)
    x, context = torch.randn(2, 32, 6, 5), torch.randn(2, 16, 9, 6, 5)
    torch.testing.assert_close(layer(x, context), attend_plainly(layer, x, context))


def test_the_order_of_depths_does_not_count_but_what_is_there_does():
    torch.manual_seed(0)
    layer = DepthAttention(16, 8)
    x, context = torch.randn(1, 16, 4, 4), torch.randn(1, 8, 6, 4, 4)
    torch.testing.assert_close(layer(x, context), layer(x, context.flip(2)))
    assert not torch.allclose(layer(x, context), layer(x, context + 1))


def test_a_pixel_sees_nothing_but_its_own_ray():
    torch.manual_seed(0)
    layer = DepthAttention(16, 8)
    x, context = torch.randn(1, 16, 4, 4), torch.randn(1, 8, 6, 4, 4)
    changed = context.clone()
    changed[..., 1, 2] += 1
    difference = (layer(x, context) - layer(x, changed)).abs().amax(1)[0]
    assert difference[1, 2] > 1e-3
    difference[1, 2] = 0
    assert difference.max() == 0


def test_an_untrained_block_changes_nothing():
    block = DepthBlock(16, 8)
    x = torch.randn(1, 16, 4, 4)
    assert torch.equal(block(x, torch.randn(1, 8, 6, 4, 4)), x)
