"""The authors' checkpoints of Morphable Diffusion as a folder of our own: the same numbers under other names.

A checkpoint has to hold exactly the tensors of the published model. The only ones that it may have besides are those
that nobody needs for sampling: the noise schedule, which is computed, CLIP's remains of a text tower, and the cameras.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.morphable.config import MorphableConfig
from backend.morphable.names import published_name, published_shape
from backend.morphable.weights import empty_model, save_morphable
from backend.weights.torch_archive import RefusedArchiveError, read_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from torch import Tensor

    from backend.morphable.config import Projection

_NOT_NEEDED = re.compile(
    r"betas|alphas|alphas_cumprod|sqrt_alphas_cumprod|sqrt_one_minus_alphas_cumprod|posterior_variance"
    r"|posterior_log_variance_clipped|poses|Ks|azimuth"
    r"|clip_image_encoder\.model\.(positional_embedding|text_projection|logit_scale|token_embedding\.weight|ln_final\..+)"
)
_DENSE = "spatial_volume.spatial_volume_feats."
_SPARSE = re.compile(r"spatial_volume\.xyzc_net\.\w+\.\d\.weight")
_FIRST_STRIDED = "spatial_volume.xyzc_net.down0.0.weight"
_OLD_LAYOUTS: dict[tuple[int, ...], tuple[int, ...]] = {
    (3, 3, 3, 16, 32): (4, 0, 1, 2, 3),
    (3, 3, 3, 32, 16): (3, 0, 1, 2, 4),
}
"""How older releases of spconv stored a convolution of 16 to 32 channels, and the way from there to ours."""
_MOST_NAMES = 12


def import_checkpoint(
    checkpoint: Path, out: Path, projection: Projection | None = None, sizes: MorphableConfig | None = None
) -> MorphableConfig:
    """Write `checkpoint` to the new folder `out` as `load_morphable` reads it, and return what was found.

    `projection` is needed only for checkpoints of bodies that do not say so by their cameras; `sizes` are the published
    ones unless given. Raises `MaquetteError` for a file that is no checkpoint, for tensors that are missing, too many
    or of another shape, with their names, and for a folder that is in use.
    """
    if (out.is_dir() and any(out.iterdir())) or out.is_file():
        raise _refused(f"{out} is in use: choose a new folder for the weights.")
    try:
        tensors = read_tensors(checkpoint)
    except OSError as problem:
        raise _refused(f"{checkpoint} cannot be read: {problem.strerror or problem}.") from None
    except RefusedArchiveError as problem:
        raise _refused(f"{checkpoint} is not a checkpoint that can be imported: it holds {problem}.") from None
    config = variant_of(tensors, sizes or MorphableConfig(), projection)
    tensors = _modern(tensors)
    theirs = match(checkpoint.name, tensors, config)
    wanted = empty_model(config).state_dict()
    ours = {
        name: tensors[theirs[name]].to(tensor.dtype).reshape(tensor.shape).contiguous()
        for name, tensor in wanted.items()
    }
    save_morphable(out, ours, config)
    return config


def variant_of(
    tensors: Mapping[str, Tensor], sizes: MorphableConfig, projection: Projection | None = None
) -> MorphableConfig:
    """`sizes` with what a checkpoint's tensors tell: whether it has the dense branch, and how its cameras project.

    A focal length of a few units instead of a thousand pixels is that of the orthographic cameras around a body.
    Checkpoints without cameras are taken for those of heads, as all published ones are.
    """
    if projection is None:
        lens = tensors.get("Ks")
        is_body = lens is not None and lens.ndim == 3 and bool(0 < lens[0, 0, 0].abs() < 10)
        projection = "orthographic" if is_body else "perspective"
    has_dense = any(name.startswith(_DENSE) for name in tensors)
    return dataclasses.replace(sizes, projection=projection, dense_branch=has_dense)


def match(source: str, tensors: Mapping[str, Tensor], config: MorphableConfig) -> dict[str, str]:
    """The published name of each of our tensors, all of which are in the checkpoint `source`, in the right shape.

    Raises `MaquetteError` with the names of those that are not, and of those that are there besides.
    """
    wanted = empty_model(config).state_dict()
    theirs = {name: published_name(name) for name in wanted}
    missing = [name for name in theirs.values() if name not in tensors]
    needed = set(theirs.values())
    extra = [name for name in tensors if name not in needed and not _NOT_NEEDED.fullmatch(name)]
    misshapen = [
        f"{theirs[name]} {tuple(found.shape)} instead of {shape}"
        for name, tensor in wanted.items()
        if (found := tensors.get(theirs[name])) is not None
        and tuple(found.shape) != (shape := published_shape(name, tuple(tensor.shape)))
    ]
    if missing or extra or misshapen:
        counts = [
            f"{len(names)} {'is' if len(names) == 1 else 'are'} {what}"
            for what, names in (("missing", missing), ("unknown", extra), ("of another shape", misshapen))
            if names
        ]
        raise _refused(
            f"{source} is not a checkpoint of Morphable Diffusion as published: of its tensors, {', '.join(counts)}."
            + _listed("missing", missing)
            + _listed("unknown", extra)
            + _listed("shape", misshapen)
        )
    return theirs


def _modern(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sparse convolutions as spconv stores them since 2.2: out, z, y, x, in.

    Square ones look alike in every layout; the first that is not square tells for all.
    """
    first = tensors.get(_FIRST_STRIDED)
    order = None if first is None else _OLD_LAYOUTS.get(tuple(first.shape))
    return {
        name: tensor.permute(order) if order and _SPARSE.fullmatch(name) and tensor.ndim == 5 else tensor
        for name, tensor in tensors.items()
    }


def _listed(what: str, names: Iterable[str]) -> str:
    lines = sorted(names)
    shown = "".join(f"\n  {what}: {line}" for line in lines[:_MOST_NAMES])
    return shown + (f"\n  {what}: {len(lines) - _MOST_NAMES} more" if len(lines) > _MOST_NAMES else "")


def _refused(sentence: str) -> MaquetteError:
    return MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="weights")
