"""The U-Net that draws one view: Stable Diffusion 1's, from diffusers, with depth attention after its blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from backend.morphable.depth_attention import DepthBlock
from backend.morphable.pixel_head import FEATURES
from backend.morphable.projection import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from backend.morphable.config import MorphableConfig

_HEADS = 8


def _inputs(config: MorphableConfig) -> int:
    """The noisy view, the portrait, and the portrait on the mesh."""
    return 2 * config.map_channels + (CHANNELS * config.block**2 if config.projected else 0)


def _outputs(config: MorphableConfig) -> int:
    """The noise or the clean view, or what the pixel head makes that of."""
    return FEATURES * config.block**2 if config.projected else config.map_channels


class ViewUNet(nn.Module):
    """Noisy view, the portrait's map beside it, its vector and the view's frustum features to the view's noise, or to
    the features of the pixel head.

    Depth attention stands after the middle block and after every decoder block but those of the coarsest level; it
    comes after a block's up-sampling and so reads the frustum features of the next finer level.
    """

    def __init__(self, config: MorphableConfig) -> None:
        super().__init__()
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        widths, contexts = config.unet_channels, config.volume_channels
        levels, plain = len(widths), config.plain_levels
        attending = levels - 1 - plain
        self.unet: Any = UNet2DConditionModel(
            sample_size=config.map_size,
            in_channels=_inputs(config),
            out_channels=_outputs(config),
            down_block_types=(*("DownBlock2D",) * plain, *("CrossAttnDownBlock2D",) * attending, "DownBlock2D"),
            up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * attending, *("UpBlock2D",) * plain),
            block_out_channels=widths,
            cross_attention_dim=config.context,
            attention_head_dim=_HEADS,  # in diffusers' Stable Diffusion 1 this is the number of heads
            norm_num_groups=config.norm_groups,
        )
        self.middle_conditions = DepthBlock(widths[-1], contexts[-1])
        self.output_conditions = nn.ModuleList(
            DepthBlock(widths[level], contexts[level - 1 if last and level else level])
            for level in reversed(range(levels - 1))
            for last in (False, False, True)
        )

    def forward(
        self,
        view: Float[Tensor, "B I H W"],
        steps: Int[Tensor, "B"],
        context: Float[Tensor, "B 1 K"],
        frusta: Sequence[Float[Tensor, "B k d h w"]],
    ) -> Float[Tensor, "B O H W"]:
        """`frusta` finest first, one for each level of the U-Net."""
        unet = self.unet
        embedding = unet.time_embedding(unet.time_proj(steps).to(view.dtype))
        x = unet.conv_in(view)
        kept = [x]
        for block in unet.down_blocks:
            told = {"encoder_hidden_states": context} if hasattr(block, "attentions") else {}
            x, outputs = block(x, embedding, **told)
            kept += outputs
        x = unet.mid_block(x, embedding, encoder_hidden_states=context)
        x = self.middle_conditions(x, frusta[-1])
        depth = iter(self.output_conditions)
        for number, block in enumerate(unet.up_blocks):
            finer = len(unet.up_blocks) - 1 - number
            for place, resnet in enumerate(block.resnets):
                x = resnet(torch.cat([x, kept.pop()], 1), embedding)
                level = finer
                if hasattr(block, "attentions"):
                    x = block.attentions[place](x, encoder_hidden_states=context, return_dict=False)[0]
                if place == len(block.resnets) - 1 and block.upsamplers is not None:
                    x = block.upsamplers[0](x)
                    level -= 1
                if number > 0:
                    x = next(depth)(x, frusta[level])
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(x)))
