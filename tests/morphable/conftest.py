"""A model so small that a denoising step takes a moment, and a head-sized ball for it."""

import pytest
import torch

from backend.morphable.config import MorphableConfig
from backend.morphable.model import Condition, MorphableDiffusion
from backend.morphable.scene import make_scene
from backend.morphable.views import face_views
from tests.morphable.invented import fill_module

TINY = MorphableConfig(
    views=3, image_size=16, map_size=8, map_channels=12, autoencoder=False, latent_scale=0.5, feature_channels=8,
    volume_size=8, volume_channels=(8, 8, 16, 16), depth_planes=8, unet_channels=(32, 32, 32, 32), context=16,
    encoder_width=64, encoder_layers=1, encoder_patch=56,
)  # fmt: skip

VIEWS = face_views(3, focal=96.5, image_size=16)


def ball(count, seed):
    """Vertices within a ball of the size of a head; on its surface alone, few of them would meet a coarse volume."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    return 0.3 * torch.rand(count, 1, generator=generator) ** (1 / 3) * directions


@pytest.fixture(scope="session")
def tiny():
    """The model, in which no weight is zero and every part has a say."""
    with torch.device("meta"):
        model = MorphableDiffusion(TINY)
    fill_module(model, "")
    for module in model.spatial_volume.sparse_net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_var.mul_(0.01)  # few taps of a sparse kernel find anything, which makes for small numbers
    return model.requires_grad_(False)


@pytest.fixture(scope="session")
def scene():
    """Two subjects, three views each."""
    return make_scene(VIEWS, torch.stack([ball(600, 1), ball(600, 2)]), TINY)


@pytest.fixture(scope="session")
def condition():
    generator = torch.Generator().manual_seed(5)
    return Condition(torch.randn(2, 12, 8, 8, generator=generator), torch.randn(2, 1, 16, generator=generator))
