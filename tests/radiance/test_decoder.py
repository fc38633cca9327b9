"""The decoder: what its numbers mean, and its two sizes."""

import pytest
import torch

from backend.radiance.decoder import Decoder, DecoderConfig


def decoder(**options):
    return Decoder.initialised(DecoderConfig(**options), torch.Generator().manual_seed(0))


def test_density_depends_on_the_last_channels_alone():
    small = decoder()
    features = torch.randn(20, 16)
    changed = features.clone()
    changed[:, :12] += 1
    colour, logits = small(features)
    other_colour, other_logits = small(changed)
    assert torch.equal(logits, other_logits)
    assert not torch.allclose(colour, other_colour)
    assert torch.equal(logits, small.density_logits(features[:, 12:])[0])


@pytest.mark.parametrize("length", [0.02, 0.04, 0.1])
def test_softplus_makes_the_opacity_of_the_reference_length_a_sigmoid(length):
    small = decoder(occupancy_length=length)
    logits = torch.linspace(-8, 8, 33)
    opacity = 1 - torch.exp(-small.density(logits) * length)
    torch.testing.assert_close(opacity, torch.sigmoid(logits), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(torch.sigmoid(small.occupancy_logits(logits)), opacity, atol=1e-6, rtol=1e-5)


def test_exp_density_has_the_same_meaning_of_occupancy():
    paper = Decoder(DecoderConfig.paper())
    logits = torch.linspace(-5, 5, 21, requires_grad=True)
    opacity = 1 - torch.exp(-torch.exp(logits) * paper.config.occupancy_length)
    torch.testing.assert_close(torch.sigmoid(paper.occupancy_logits(logits)), opacity, atol=1e-5, rtol=1e-4)


def test_exp_density_survives_absurd_logits():
    logits = torch.tensor([-1e4, 0.0, 1e4], requires_grad=True)
    density = Decoder(DecoderConfig.paper()).density(logits)
    density.sum().backward()
    assert torch.isfinite(density).all()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_paper_size_is_rodinhds_without_the_view_direction():
    """(8 -> 40) -> 128 -> 1 + 128, then (24 -> 120) + 128 -> 128 -> 128 -> 3."""
    paper = Decoder(DecoderConfig.paper())
    shapes = [tuple(p.shape) for name, p in paper.named_parameters() if name.endswith("weight")]
    assert shapes == [(128, 40), (129, 128), (128, 248), (128, 128), (3, 128)]


def test_octaves_add_sines_and_cosines_of_the_feature():
    assert decoder(octaves=0).geometry_in.in_features == 4
    assert decoder(octaves=3).geometry_in.in_features == 4 * 7
    embedded = decoder(octaves=1, feature_scale=2.0)._embed(torch.tensor([[0.5]]))
    torch.testing.assert_close(embedded, torch.tensor([[1.0, 0.8414710, 0.5403023]]))


def test_the_generator_alone_decides_the_weights():
    first = decoder()
    torch.manual_seed(123)
    second = decoder()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'relu'"):
        decoder(activation="relu")
