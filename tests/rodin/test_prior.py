"""People out of nothing: shapes, seeds, and a network that knows the answer is sampled to it."""

import math

import pytest
import torch

from backend.rodin.prior import LatentPrior, PriorConfig, sample_prior


@pytest.fixture
def prior():
    torch.manual_seed(0)
    return LatentPrior(PriorConfig(latent=16, identity=5, width=32, blocks=2, embedding=16)).eval()


def test_points_have_their_length_and_bodies_their_size(prior):
    latent, identity = sample_prior(prior, torch.randn(1, 16), torch.Generator().manual_seed(0), 3, steps=4)
    assert latent.shape == (3, 16) and identity.shape == (3, 5)
    torch.testing.assert_close(latent.norm(dim=1), torch.full((3,), math.sqrt(16)))


def test_the_same_seed_gives_the_same_people(prior):
    one, again, other = (sample_prior(prior, None, torch.Generator().manual_seed(s), steps=3)[1] for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_untrained_it_gives_people_of_the_mean_and_spread_that_were_measured(prior):
    """Numbers that depend on nothing are what it starts from: independent bell curves."""
    latent, identity = torch.randn(400, 16) + 2, 0.3 * torch.randn(400, 5) - 1
    prior.measure(latent, identity)
    torch.testing.assert_close(prior.normalise(latent, identity).std(0), torch.ones(21))
    found = sample_prior(prior, None, torch.Generator().manual_seed(0), 400, steps=25)[1]
    torch.testing.assert_close(found.mean(0), identity.mean(0), atol=0.08, rtol=0)
    torch.testing.assert_close(found.std(0), identity.std(0), atol=0.06, rtol=0)


def test_who_is_told_nothing_is_not_told_the_text(prior):
    torch.nn.init.normal_(prior.leave.weight)
    torch.nn.init.normal_(prior.blocks[0].outer.weight, std=0.1)
    vectors, time = torch.randn(2, 21), torch.tensor([0.5, 0.5])
    one, other = (prior(vectors, time, text, torch.tensor([1.0, 0.0])) for text in torch.randn(2, 2, 16))
    assert not torch.allclose(one[0], other[0]) and torch.equal(one[1], other[1])
