"""Our tensors' names and the published checkpoints' names for them.

The conditioning networks keep the published names but for a few parts that are called after what they do. U-Net and
autoencoder are diffusers', which names Stable Diffusion's layers differently and has linear layers where the published
autoencoder has convolutions of one pixel.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_PARTS = {
    "time_embedding.": "time_embed.",
    "spatial_volume.vertex_layer.": "spatial_volume.smpl_feature_extractor.",
    "spatial_volume.sparse_net.": "spatial_volume.xyzc_net.",
    "spatial_volume.dense_branch.": "spatial_volume.spatial_volume_feats.",
    "frustum_net.": "spatial_volume.frustum_volume_feats.",
    "denoiser.unet.": "model.diffusion_model.",
    "denoiser.": "model.diffusion_model.",
    "autoencoder.": "first_stage_model.",
    "image_encoder.": "clip_image_encoder.model.visual.",
}
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_BLOCKS = 3
"""Published blocks per level of the U-Net: two and a change of size on the way down, three on the way up."""
_UP_BLOCKS = re.compile(r"\.(up\d|conv[789])\.")


def published_name(name: str) -> str:
    """What the authors' checkpoints call our tensor `name`."""
    prefix = next((part for part in _PARTS if name.startswith(part)), "")
    rest, published = name.removeprefix(prefix), _PARTS.get(prefix, "")
    translate = {"denoiser.unet.": _unet, "autoencoder.": _autoencoder}.get(prefix)
    if translate is not None:
        rest = translate(rest)
    elif prefix in ("frustum_net.", "spatial_volume.dense_branch.") and not _UP_BLOCKS.search(f".{rest}"):
        rest = rest.replace(".norm.", ".bn.")
    return published + rest


def published_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of our tensor `name` of `shape` in the authors' checkpoints; the order of its numbers is the same."""
    is_projection = re.match(r"autoencoder\..*\.attentions\.0\.to_", name) and len(shape) == 2
    return (*shape, 1, 1) if is_projection else shape


def _unet(name: str) -> str:
    for ours, theirs in _UNET_ENDS.items():
        if name.startswith(ours + "."):
            return theirs + name.removeprefix(ours)
    matched = re.match(r"(down|mid|up)_blocks?\.(?:(\d)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d)\.", name)
    assert matched, name
    way, level, kind, place = matched[1], int(matched[2] or 0), matched[3], int(matched[4])
    rest = name[matched.end() :]
    if kind == "resnets":
        rest = _renamed(rest, _RESIDUAL)
    if way == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * place}.{rest}"
    if way == "down":
        if kind == "downsamplers":
            return f"input_blocks.{_BLOCKS * (level + 1)}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{_BLOCKS * level + place + 1}.{int(kind == 'attentions')}.{rest}"
    if kind == "upsamplers":
        # It follows the attention, which the coarsest level does not have.
        return f"output_blocks.{_BLOCKS * (level + 1) - 1}.{2 if level else 1}.{rest}"
    return f"output_blocks.{_BLOCKS * level + place}.{int(kind == 'attentions')}.{rest}"


def _autoencoder(name: str) -> str:
    steps: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
        (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
        (
            r"mid_block\.attentions\.0\.(group_norm|to_q|to_k|to_v|to_out\.0)",
            lambda m: f"mid.attn_1.{_ATTENTION[m[1]]}",
        ),
        (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
        (r"up_blocks\.(\d)\.resnets", lambda m: f"up.{3 - int(m[1])}.block"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"conv_norm_out", "norm_out"),
    ]
    for pattern, theirs in steps:
        name = re.sub(pattern, theirs, name)
    return name


def _renamed(name: str, table: dict[str, str]) -> str:
    first, _, rest = name.partition(".")
    return f"{table[first]}.{rest}"
