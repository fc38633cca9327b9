"""The small network, shared by all avatars, that turns a tri-plane feature into colour and density (Rodin, RodinHD).

The last channels of a feature carry density, the first ones colour. The Fourier embedding is of the *feature*, not of
the point. There is no view direction: colours end in a texture, where a highlight must not be baked in.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


CLASSES = ("skin", "hair", "garment", "beard", "glasses", "headwear")
"""What matter can be, for decoders that tell; eyes, mouth and brows count as skin, earrings as glasses."""


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder; the defaults are the small one, `paper()` is RodinHD's.

    `channels` of a feature, of which the last `density_channels` carry density; `octaves` of the Fourier embedding
    (0 for none); `width` of all hidden layers; `geometry_channels` that the density part hands to the colour part;
    `colour_layers` hidden layers of the colour part.
    `classes` of matter (`CLASSES`) that the colour part tells apart, 0 for none.
    `occupancy_length` is the D0 of `TriPlane.occupancy`, in cube units. With the activation "softplus" the density is
    softplus(o) / D0, so the opacity of a length D0 is exactly sigmoid(o): points and rays train the same number.
    `feature_scale` and `density_bias` start the network where planes of small values mean mostly empty space.
    """

    channels: int = 16
    density_channels: int = 4
    octaves: int = 1
    width: int = 64
    geometry_channels: int = 16
    colour_layers: int = 1
    classes: int = 0
    activation: str = "softplus"
    occupancy_length: float = 0.04
    feature_scale: float = 4.0
    density_bias: float = -2.0

    @property
    def colour_channels(self) -> int:
        """Channels of a feature that carry colour; they come first."""
        return self.channels - self.density_channels

    @classmethod
    def paper(cls) -> DecoderConfig:
        """RodinHD's decoder for 32 channels: 24 for colour, 8 for density, two octaves, width 128, exp density."""
        return cls(32, 8, 2, 128, 128, 2, activation="exp", occupancy_length=0.02, feature_scale=1.0, density_bias=0.0)


class Decoder(nn.Module):
    """Feature to sRGB colour in [0, 1] and density logit; `density` and `occupancy_logits` give the logit a meaning."""

    def __init__(self, config: DecoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DecoderConfig()
        if config.activation not in ("softplus", "exp"):
            raise ValueError(f"unknown density activation {config.activation!r}")
        embedded = 1 + 2 * config.octaves
        self.geometry_in = nn.Linear(config.density_channels * embedded, config.width)
        self.geometry_out = nn.Linear(config.width, 1 + config.geometry_channels)
        colour_in = config.colour_channels * embedded + config.geometry_channels
        widths = [colour_in, *[config.width] * config.colour_layers, 3 + config.classes]
        self.colour_layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        with torch.no_grad():
            self.geometry_out.bias[0] = config.density_bias

    @classmethod
    def initialised(cls, config: DecoderConfig, generator: torch.Generator) -> Decoder:
        """A decoder whose random weights come from `generator` alone."""
        decoder = cls(config)
        with torch.no_grad():
            for layer in decoder.modules():
                if isinstance(layer, nn.Linear):
                    bound = layer.in_features**-0.5
                    layer.weight.uniform_(-1.5 * bound, 1.5 * bound, generator=generator)
                    layer.bias.zero_()
            decoder.geometry_out.bias[0] = config.density_bias
        return decoder

    def forward(self, features: Float[Tensor, "*n C"]) -> tuple[Float[Tensor, "*n 3"], Float[Tensor, "*n"]]:
        """Colour and density logit of whole features."""
        split = self.config.colour_channels
        logits, geometry = self.density_logits(features[..., split:])
        return self.colour(features[..., :split], geometry), logits

    def density_logits(self, features: Float[Tensor, "*n D"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n G"]]:
        """Density logit and geometry feature from the density channels alone."""
        hidden = self.geometry_in(self._embed(features))
        hidden = F.softplus(hidden) if self.config.activation == "exp" else torch.relu(hidden)
        out = self.geometry_out(hidden)
        return out[..., 0], out[..., 1:]

    def colour(self, features: Float[Tensor, "*n E"], geometry: Float[Tensor, "*n G"]) -> Float[Tensor, "*n 3"]:
        """Colour from the colour channels and the geometry feature."""
        return self.appearance(features, geometry)[0]

    def appearance(
        self, features: Float[Tensor, "*n E"], geometry: Float[Tensor, "*n G"]
    ) -> tuple[Float[Tensor, "*n 3"], Float[Tensor, "*n K"]]:
        """Colour, and logits of the classes."""
        hidden = torch.cat([self._embed(features), geometry], -1)
        for layer in self.colour_layers[:-1]:
            hidden = torch.relu(layer(hidden))
        out = self.colour_layers[-1](hidden)
        return torch.sigmoid(out[..., :3]), out[..., 3:]

    def density(self, logits: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Density per cube unit."""
        if self.config.activation == "exp":
            return _BoundedExp.apply(logits)
        return F.softplus(logits) / self.config.occupancy_length

    def occupancy_logits(self, logits: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Logit of the opacity of `occupancy_length`, for a cross-entropy with known occupancy."""
        if self.config.activation == "softplus":
            return logits
        thickness = (self.density(logits) * self.config.occupancy_length).clamp(1e-6, 60)
        return thickness + torch.log(-torch.expm1(-thickness))

    def _embed(self, features: Float[Tensor, "*n C"]) -> Float[Tensor, "*n E"]:
        scaled = features * self.config.feature_scale
        waves = [wave(scaled * 2**k) for k in range(self.config.octaves) for wave in (torch.sin, torch.cos)]
        return torch.cat([scaled, *waves], -1)


class _BoundedExp(torch.autograd.Function):
    """exp whose gradient is bounded, so that one bad step cannot blow the density up."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[override]
        ctx.save_for_backward(x)
        return torch.exp(x.clamp(max=15))

    @staticmethod
    def backward(ctx, *gradients):  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradients[0] * torch.exp(x.clamp(-15, 15))
