"""Sizes of the networks. The defaults are the published model's; a smaller model is other numbers, not other code."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Projection = Literal["perspective", "orthographic"]
Prediction = Literal["epsilon", "sample"]


@dataclasses.dataclass(frozen=True)
class MorphableConfig:
    """What a weights folder's `config.json` says.

    `projection`: "perspective" for heads, "orthographic" for bodies. `views`: how many are drawn if nobody asks for
    another number, which only the dense branch minds. `image_size` is the picture in pixels; `map_size` the side of
    what is diffused: latents of an autoencoder, or, with `autoencoder` false, blocks of pixels laid into the channels.
    `feature_channels` are those of the noisy-view encoder and of a vertex; `volume_channels` those of the frustum
    features, finest first, the first also those of the conditioning volume. `plain_levels` of the U-Net, the finest,
    attend to depth alone and neither to the picture nor to the portrait's vector. `context` is the length of that
    vector, `encoder_...` the sizes of the network that makes it.
    `prediction` is what the U-Net says of a noisy view, in diffusers' words: the noise, as published, or the clean
    view, which is simpler than noise, so that far fewer steps of training make a picture.
    `dense_branch`: whether the lifted views also go through a dense 3D network (F_G of the paper), which both published
    models do not. `projected`: whether the U-Net is also shown the portrait as it lies on the mesh (`projection`), and
    single pixels are chosen from that or drawn (`pixel_head`); only for networks that predict clean pixels.
    `guidance`: how far to go with it where nobody says; 1 is without.
    `meshless`: whether it was trained, as a baseline, with the same mean head for everybody.
    `body_model`: whose vertices the networks know; empty in weights that do not say, see `mesh_model`.
    """

    projection: Projection = "perspective"
    views: int = 16
    image_size: int = 256
    map_size: int = 32
    map_channels: int = 4
    autoencoder: bool = True
    latent_scale: float = 0.18215
    feature_channels: int = 16
    volume_size: int = 32
    volume_channels: tuple[int, ...] = (64, 128, 256, 512)
    depth_planes: int = 48
    unet_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    plain_levels: int = 0
    prediction: Prediction = "epsilon"
    norm_groups: int = 32
    context: int = 768
    encoder_width: int = 1024
    encoder_layers: int = 24
    encoder_patch: int = 14
    dense_branch: bool = False
    projected: bool = False
    guidance: float = 2.0
    meshless: bool = False
    body_model: str = ""

    def __post_init__(self) -> None:
        if self.projected and (self.autoencoder or self.prediction != "sample"):
            raise ValueError("only networks that predict clean pixels can be shown the portrait on the mesh")

    @property
    def block(self) -> int:
        """Pixels along the side of what is one place of the map."""
        return self.image_size // self.map_size

    @property
    def half_texel(self) -> float:
        """What `heads.into_world` takes off, in pixels of the picture."""
        return 0.5 * self.image_size / self.map_size

    @property
    def mesh_model(self) -> str:
        """The body model whose vertices the networks know: FLAME for published weights, which have an autoencoder, and
        Anny for those trained here, unless they say otherwise."""
        return self.body_model or ("flame" if self.autoencoder else "anny")

    @classmethod
    def small(cls) -> MorphableConfig:
        """For training on one machine: 128 x 128 pixels in blocks of 8 x 8 instead of latents, a fiftieth of the size,
        and shown the portrait on the mesh."""
        return cls(
            image_size=128,
            map_size=16,
            map_channels=192,
            autoencoder=False,
            latent_scale=1.0,
            feature_channels=8,
            volume_channels=(16, 32, 48, 64),
            depth_planes=16,
            unet_channels=(96, 128, 160, 160),
            plain_levels=1,
            prediction="sample",
            context=256,
            encoder_width=256,
            encoder_layers=4,
            encoder_patch=28,
            projected=True,
            guidance=1.0,
        )

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> MorphableConfig:
        """From plain values, lists for tuples. Raises `TypeError` for a name that is not known."""
        tidy: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in values.items()}
        return cls(**tidy)
