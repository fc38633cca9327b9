"""Pictures to latents and back: Stable Diffusion 1's autoencoder, from diffusers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def make_autoencoder(scale: float = 0.18215) -> Any:
    """An `AutoencoderKL` of pictures of 256 x 256 to latents of 32 x 32 x 4; `scale` brings those to unit spread."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    sizes: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 256,
    }
    return AutoencoderKL(**sizes, scaling_factor=scale)


@torch.no_grad()
def encode(
    autoencoder: Any, pictures: Float[Tensor, "B 3 H W"], noise: Float[Tensor, "B 4 h w"]
) -> Float[Tensor, "B 4 h w"]:
    """A sample of the scaled latents of pictures in [-1, 1]. The weights know samples, never the mean alone."""
    posterior = autoencoder.encode(pictures).latent_dist
    return (posterior.mean + posterior.std * noise) * autoencoder.config.scaling_factor


@torch.no_grad()
def decode(autoencoder: Any, latents: Float[Tensor, "B 4 h w"]) -> Float[Tensor, "B 3 H W"]:
    """Pictures in about [-1, 1] from scaled latents."""
    return autoencoder.decode(latents / autoencoder.config.scaling_factor).sample
