"""The base model (Rodin, section 3.2): planes from noise, steered by a latent point, the portrait's tokens and what it
shows.

It predicts the clean planes (x0), so at the last time-step, where its input is nothing but noise, it is a one-step
regressor. Planes are normalised: the mean of the training planes taken off, divided by one spread per channel.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from backend.radiance.canonical import mirror_body
from backend.residual import ResidualBlock
from backend.rodin.aligned import ANCHOR_CHANNELS, Anchors
from backend.rodin.unet import PlaneUNet, wave_embedding

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class BaseConfig:
    """Sizes of the base model. Rodin's, planes of 64 x 64 x 32 and an ADM-sized U-Net, are the recipe ``base-paper``;
    tokens and features of the portrait are ours.

    `aligned`: features of the portrait at the anchors; `kind`: see `plane_layers.PlaneBlock`; `latent`: whether the
    point of the latent space, `latent_size` numbers (512 in CLIP's), steers the normalisation; `checkpointed`: see
    `PlaneUNet`.
    """

    size: int = 64
    channels: int = 16
    patch: int = 2
    widths: tuple[int, ...] = (80, 112, 144)
    blocks: tuple[int, ...] = (2, 2, 2)
    attention_from: int = 1
    embedding: int = 256
    latent_size: int = 128
    tokens: int = 128
    picture: int = 128
    feature_channels: int = 24
    dropout: float = 0.0
    kind: str = "aware"
    aligned: bool = True
    latent: bool = True
    checkpointed: bool = False


class PortraitEncoder(nn.Module):
    """A portrait (sRGB and alpha) to features for the anchors and tokens of an 8 x 8 grid."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        c, wide = config.feature_channels, config.tokens
        levels = (config.picture // 8).bit_length() - 1
        widths = [c, *[min(wide, c * 2 ** (i + 1)) for i in range(levels)]]
        self.enter = nn.Sequential(nn.Conv2d(4, c, 3, padding=1), ResidualBlock(c))
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), ResidualBlock(b))
            for a, b in itertools.pairwise(widths)
        )
        self.mix = nn.ModuleList(nn.Conv2d(w, c, 1) for w in widths[1:4])
        self.to_tokens = nn.Conv2d(widths[-1], wide, 1)
        self.place = nn.Parameter(0.02 * torch.randn(64, wide))

    def forward(self, picture: Float[Tensor, "B 4 H W"]) -> tuple[Tensor, Tensor]:
        """Features B x C x h x w at half the picture's size, tokens B x 64 x K."""
        x = self.enter(picture)
        features: Tensor | None = None
        for number, level in enumerate(self.levels):
            x = level(x)
            if number < len(self.mix):
                part = self.mix[number](x)
                if features is None:
                    features = part
                else:
                    features = features + F.interpolate(part, features.shape[-2:], mode="bilinear", align_corners=False)
        assert features is not None
        return features, self.to_tokens(x).flatten(2).transpose(1, 2) + self.place


@dataclasses.dataclass(frozen=True)
class Condition:
    """Who it shall be: a portrait, a point of the latent space (`backend.rodin.latent`), and how the body stands.

    `picture` sRGB and alpha, grey where there is nobody; `latent` the point; `body` the posed controls, metres;
    `world_to_camera` and `intrinsics` (pixels of `picture`) of its camera; `keep` is 0 for samples that shall not see
    the portrait, `keep_latent` 0 for those that shall not know the point. The body is always known.
    """

    picture: Float[Tensor, "B 4 H W"]
    latent: Float[Tensor, "B Z"]
    body: Float[Tensor, "B K 3"]
    world_to_camera: Float[Tensor, "B 4 4"]
    intrinsics: Float[Tensor, "B 3 3"]
    keep: Float[Tensor, "B"]
    keep_latent: Float[Tensor, "B"]

    def without_portrait(self) -> Condition:
        """The same people, known by their points alone."""
        return dataclasses.replace(self, keep=torch.zeros_like(self.keep))

    def without_all(self) -> Condition:
        """Bodies alone."""
        nothing = torch.zeros_like(self.keep)
        return dataclasses.replace(self, keep=nothing, keep_latent=nothing)

    def mirrored(self) -> Condition:
        """What the mirrored people show; their points are the same, for the encoder learned from both."""
        seen = mirror_seen(self.picture, self.body, self.world_to_camera, self.intrinsics)
        picture, body, world_to_camera, intrinsics = seen
        return dataclasses.replace(
            self, picture=picture, body=body, world_to_camera=world_to_camera, intrinsics=intrinsics
        )

    def at(self, latent: Float[Tensor, "B Z"]) -> Condition:
        """The same portraits and bodies with other points."""
        return dataclasses.replace(self, latent=latent)


def mirror_seen(
    picture: Float[Tensor, "B C H W"],
    body: Float[Tensor, "B K 3"],
    world_to_camera: Float[Tensor, "B 4 4"],
    intrinsics: Float[Tensor, "B 3 3"],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Picture, body and camera of the mirrored people."""
    reflect = torch.diag(world_to_camera.new_tensor([-1.0, 1.0, 1.0, 1.0]))
    intrinsics = intrinsics.clone()
    intrinsics[:, 0, 2] = picture.shape[-1] - intrinsics[:, 0, 2]
    return picture.flip(-1), mirror_body(body), reflect @ world_to_camera @ reflect, intrinsics


class BaseModel(nn.Module):
    """Noisy planes, time-step and condition to clean planes, all normalised."""

    def __init__(self, config: BaseConfig, anchors: Anchors) -> None:
        super().__init__()
        self.config, self.anchors = config, anchors
        self.encoder = PortraitEncoder(config)
        aligned = 2 * (ANCHOR_CHANNELS + config.feature_channels)
        self.unet = PlaneUNet(
            config.size,
            config.channels + aligned,
            config.channels,
            widths=config.widths,
            blocks=config.blocks,
            attention_from=config.attention_from,
            embedding=config.embedding,
            tokens=config.tokens,
            dropout=config.dropout,
            kind=config.kind,
            patch=config.patch,
            checkpointed=config.checkpointed,
        )
        self.time = nn.Sequential(
            nn.Linear(128, config.embedding), nn.SiLU(), nn.Linear(config.embedding, config.embedding)
        )
        self.from_latent = nn.Sequential(
            nn.Linear(config.latent_size, config.embedding), nn.SiLU(), nn.Linear(config.embedding, config.embedding)
        )
        self.no_tokens = nn.Parameter(0.02 * torch.randn(64, config.tokens))

    def encode(self, condition: Condition) -> tuple[Tensor, Tensor, Tensor]:
        """Aligned features B x 3 x D x S x S, tokens and latent: all that the condition says, once per sampling."""
        picture = condition.picture
        features, tokens = self.encoder(picture)
        size = (picture.shape[-2], picture.shape[-1])
        moves = self.anchors.moves(condition.body)
        camera = condition.world_to_camera, condition.intrinsics, size
        plain = torch.cat([picture[:, :3] * picture[:, 3:], picture[:, 3:]], 1)
        seen = self.anchors.see(moves, plain, *camera)
        deep = self.anchors.see(moves, features, *camera)
        s = self.config.size
        facing = self.anchors.facing(moves, condition.world_to_camera)
        moved = (moves / 0.01).unflatten(1, (3, 2, s, s)).permute(0, 1, 2, 5, 3, 4)
        keep = condition.keep[:, None, None, None, None, None]
        aligned = torch.cat([seen * keep, deep * keep, facing * keep, moved], 3).flatten(2, 3)
        if not self.config.aligned:
            aligned = torch.zeros_like(aligned)
        tokens = torch.where(condition.keep[:, None, None] > 0, tokens, self.no_tokens)
        # Rodin's own sign for an unknown point: zeros (section 3.2).
        return aligned, tokens, condition.latent * condition.keep_latent[:, None]

    def forward(
        self, planes: Float[Tensor, "B 3 C S S"], time: Float[Tensor, "B"], encoded: tuple[Tensor, Tensor, Tensor]
    ) -> Float[Tensor, "B 3 C S S"]:
        """`time` in [0, 1]: 0 clean, 1 nothing but noise."""
        aligned, tokens, latent = encoded
        embedding = self.time(wave_embedding(time, 128))
        if self.config.latent:
            embedding = embedding + self.from_latent(latent)
        return self.unet(torch.cat([planes, aligned.to(planes.dtype)], 2), embedding, tokens)
