"""An engine so small that its random weights are made in a second."""

import pytest
import torch

from backend.body_model.anny import load_anny
from backend.radiance.decoder import CLASSES, Decoder, DecoderConfig
from backend.rodin.aligned import make_anchors
from backend.rodin.base import BaseConfig, BaseModel
from backend.rodin.latent import LatentConfig, TrainedLatent
from backend.rodin.prior import LatentPrior, PriorConfig
from backend.rodin.weights import Rodin

SIZES = {"size": 16, "channels": 8, "widths": (8, 8), "blocks": (1, 1), "embedding": 16, "latent_size": 8}
LATENT = LatentConfig(size=8, picture=32, widths=(8, 8), text_width=16, text_heads=2, longest=8, buckets=64)


@pytest.fixture(scope="session")
def rodin():
    model = load_anny()
    torch.manual_seed(0)
    config = BaseConfig(**SIZES, tokens=16, feature_channels=8)
    base = BaseModel(config, make_anchors(model, 16)).eval().requires_grad_(False)
    torch.nn.init.normal_(base.unet.leave.conv.weight, std=0.05)
    decoder = Decoder.initialised(
        DecoderConfig(channels=8, density_channels=4, width=16, classes=len(CLASSES)), torch.Generator().manual_seed(0)
    )
    mean, spread = 0.1 * torch.randn(3, 8, 16, 16), torch.full((3, 8, 1, 1), 0.2)
    latent = TrainedLatent(LATENT, ["man", "red", "hair"]).eval().requires_grad_(False)
    prior = LatentPrior(PriorConfig(8, len(model.identity_parameters), 16, 1, 16))
    for weight in prior.parameters():  # those that start at zero hear no text
        torch.nn.init.normal_(weight, std=0.3)
    prior.measure(torch.randn(50, 8), torch.tensor([p.mean for p in model.identity_parameters]).expand(50, -1))
    prior.eval().requires_grad_(False)
    return Rodin(base, decoder.requires_grad_(False), mean, spread, latent=latent, prior=prior)
