"""Matrices in eight bits come back as they were, but for a hundredth of their rows' size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.weights.eight_bits import SCALE, from_eight_bits, halved, to_eight_bits


@given(seed=st.integers(0, 1000), spread=st.floats(-6, 6))
def test_no_number_moves_by_more_than_half_a_step_of_its_row(seed, spread):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.exp(spread * torch.rand((64, 1, 1, 1), generator=generator))
    matrix = torch.randn((64, 8, 3, 3), generator=generator) * sizes
    held = to_eight_bits({"w": matrix})
    assert held["w"].dtype == torch.int8 and held["w"].shape == matrix.shape
    step = matrix.flatten(1).abs().amax(1)[:, None, None, None] / 127
    assert ((from_eight_bits(held)["w"] - matrix).abs() <= 0.501 * step).all()


def test_a_row_of_zeros_stays_one():
    matrix = torch.zeros(64, 64)
    matrix[1:] = 1
    torch.testing.assert_close(from_eight_bits(to_eight_bits({"w": matrix}))["w"], matrix)


def test_what_is_small_or_no_matrix_is_left_alone():
    tensors = {"bias": torch.randn(9000), "small": torch.randn(8, 8)}
    held = to_eight_bits(tensors)
    assert held.keys() == tensors.keys() and all(held[name] is tensors[name] for name in tensors)
    assert halved("bias", tensors["bias"]).dtype == torch.float16


def test_scales_are_not_halved_for_they_span_more_than_half_precision():
    held = to_eight_bits({"w": torch.full((64, 64), 1e-7)})
    written = {name: halved(name, value) for name, value in held.items()}
    assert written["w" + SCALE].dtype == torch.float32
    torch.testing.assert_close(from_eight_bits(written)["w"], torch.full((64, 64), 1e-7))


def test_a_parameter_that_is_called_scale_is_none():
    one = torch.ones(3)
    assert torch.equal(from_eight_bits({"norm.scale": one})["norm.scale"], one)


def test_whole_numbers_without_a_scale_are_refused():
    with pytest.raises(ValueError, match="w has no scale"):
        from_eight_bits({"w": torch.zeros((64, 64), dtype=torch.int8)})
