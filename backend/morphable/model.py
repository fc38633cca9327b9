"""The whole network, part by part in the order in which a denoising step uses them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from backend.morphable.autoencoder import decode, encode, make_autoencoder
from backend.morphable.embeddings import TimeEmbedding
from backend.morphable.frustum import FrustumNet, frustum_volume
from backend.morphable.image_encoder import ImageEncoder
from backend.morphable.pixel_head import PixelHead
from backend.morphable.spatial_volume import SpatialVolume
from backend.morphable.unet import ViewUNet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from backend.morphable.config import MorphableConfig
    from backend.morphable.scene import Scene


@dataclasses.dataclass(frozen=True)
class Condition:
    """What the portrait says: `latent`, as `MorphableDiffusion.encode` makes it, and `vector`, the image encoder's; for
    networks that are shown it, the portrait on the mesh as K views of each subject show it, or one in single views."""

    latent: Float[Tensor, "B C H W"]
    vector: Float[Tensor, "B 1 K"]
    drawn: Float[Tensor, "B *K channels S S"] | None = None

    def repeat(self, count: int) -> Condition:
        """The same for each of the `count` views of every subject."""
        latent, vector = self.latent.repeat_interleave(count, 0), self.vector.repeat_interleave(count, 0)
        return Condition(latent, vector, None if self.drawn is None else self.drawn.flatten(0, 1))

    def of_views(self, indices: Int[Tensor, "K"]) -> Condition:
        """The same for some of the views."""
        return self if self.drawn is None else dataclasses.replace(self, drawn=self.drawn[:, indices])

    def dropped(self) -> Condition:
        """What the networks get when they shall not know the portrait."""
        drawn = None if self.drawn is None else torch.zeros_like(self.drawn)
        return Condition(torch.zeros_like(self.latent), torch.zeros_like(self.vector), drawn)

    def beside(self, other: Condition) -> Condition:
        """The rows of this one, then those of `other`."""
        drawn = None if self.drawn is None or other.drawn is None else torch.cat([self.drawn, other.drawn])
        return Condition(torch.cat([self.latent, other.latent]), torch.cat([self.vector, other.vector]), drawn)


class MorphableDiffusion(nn.Module):
    """Noisy views of a scene and a portrait to their noise, or to clean views (`MorphableConfig.prediction`).
    Latents are scaled to unit spread."""

    def __init__(self, config: MorphableConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embedding = TimeEmbedding()
        self.spatial_volume = SpatialVolume(config)
        self.frustum_net = FrustumNet(config.volume_channels)
        self.denoiser = ViewUNet(config)
        if config.projected:
            self.pixel_head = PixelHead()
        self.autoencoder: Any = make_autoencoder(config.latent_scale) if config.autoencoder else None
        self.image_encoder = ImageEncoder(
            width=config.encoder_width,
            layers=config.encoder_layers,
            heads=config.encoder_width // 64,
            outputs=config.context,
            patch=config.encoder_patch,
        )

    def condition(
        self,
        portrait: Float[Tensor, "B 3 H W"],
        noise: Float[Tensor, "B C h w"],
        drawn: Float[Tensor, "B K channels H W"] | None = None,
    ) -> Condition:
        """From a portrait on white, in [-1, 1]; `noise` draws the sample of its latent. `drawn`, the portrait on the
        mesh (`projection.lay`), is for networks that are shown it."""
        return Condition(self.encode(portrait, noise), self.image_encoder(portrait), drawn)

    def encode(self, pictures: Float[Tensor, "B 3 H W"], noise: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Pictures in [-1, 1] as what is diffused."""
        if self.autoencoder is not None:
            return encode(self.autoencoder, pictures, noise)
        return self._in_blocks(pictures)

    def _in_blocks(self, pictures: Float[Tensor, "B c H W"]) -> Float[Tensor, "B C h w"]:
        return F.pixel_unshuffle(pictures, self.config.block)

    def _in_pixels(self, blocks: Float[Tensor, "B C h w"]) -> Float[Tensor, "B c H W"]:
        return F.pixel_shuffle(blocks, self.config.block)

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """Pictures in about [-1, 1]; one at a time, because decoding takes more memory than denoising."""
        if self.autoencoder is not None:
            return torch.cat([decode(self.autoencoder, each[None]) for each in latents])
        return self._in_pixels(latents)

    def volume(
        self, noisy: Float[Tensor, "B N C H W"], steps: Int[Tensor, "B"], scene: Scene
    ) -> Float[Tensor, "B F Z Y X"]:
        """The conditioning volume of all views of each scene, at time-step `steps`."""
        return self.spatial_volume(noisy, self.time_embedding(steps), scene)

    def frusta(
        self, volume: Float[Tensor, "B F Z Y X"], steps: Int[Tensor, "B"], scene: Scene, indices: Int[Tensor, "B K"]
    ) -> tuple[Tensor, ...]:
        """Frustum features of K views of each scene, B K rows, finest first."""
        time = self.time_embedding(steps).repeat_interleave(indices.shape[1], 0)
        points, view = scene.frusta_of(indices), scene.embedding_of(indices).flatten(0, 1)
        return self.frustum_net(frustum_volume(volume, points), time, view)

    def predict(
        self,
        views: Float[Tensor, "M C H W"],
        steps: Int[Tensor, "M"],
        condition: Condition,
        frusta: Sequence[Float[Tensor, "M F D H W"]],
    ) -> Float[Tensor, "M C H W"]:
        """The noise in single views, or what they are without it, each with its row of `condition` and `frusta`."""
        # The weights began as Zero-1-to-3's, which saw the portrait's latent before scaling.
        beside = [views, condition.latent / self.config.latent_scale]
        if not self.config.projected:
            return self.denoiser(torch.cat(beside, 1), steps, condition.vector, frusta)
        assert condition.drawn is not None, "networks that are shown the portrait on the mesh need it"
        beside.append(self._in_blocks(condition.drawn))
        features = self.denoiser(torch.cat(beside, 1), steps, condition.vector, frusta)
        pixels = self.pixel_head(self._in_pixels(features), self._in_pixels(views), condition.drawn)
        return self._in_blocks(pixels)
