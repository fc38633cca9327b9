"""The tri-plane: three feature images that, with a small decoder, are a radiance field in a cube around the head.

Conventions, the same everywhere in Maquette: planes in the order xy, xz, yz; the first axis of a plane runs along the
columns and the second along the rows, both growing, without a flip; texel centres as with ``align_corners=False``;
the feature of a point is the mean over the three planes; values stay in [-1, 1].
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import errno
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.radiance.canonical import warp_points
from backend.radiance.decoder import Decoder, DecoderConfig
from backend.radiance.likeness import Likeness

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

PLANE_AXES = ((0, 1), (0, 2), (1, 2))
PLANE_ORDER = "xy,xz,yz"
DEFAULT_HALF_SIZE = 0.25
_METADATA_KEY = "maquette_triplane"
_CHUNK = 1 << 16


@dataclasses.dataclass
class TriPlane:
    """A radiance field: `planes` in [-1, 1], the `decoder` that reads them, and `half_size` of its cube in metres.

    Points are in metres in the head frame. Outside of the cube density is zero. With a `warp` (see `canonical`) the
    planes are in canonical space and points go through it first. A `likeness` adds what a portrait shows.
    """

    planes: Float[Tensor, "3 C H W"]
    decoder: Decoder
    half_size: float = DEFAULT_HALF_SIZE
    warp: Float[Tensor, "3 R R R"] | None = None
    likeness: Likeness | None = None

    def __post_init__(self) -> None:
        shape, channels = tuple(self.planes.shape), self.decoder.config.channels
        if len(shape) != 4 or shape[:2] != (3, channels):
            raise ValueError(f"planes must have the shape 3x{channels}xHxW, not {'x'.join(map(str, shape))}")

    def features(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N C"]:
        """Mean of the bilinear samples of the three planes; outside of the cube the border's texels continue."""
        return sample_planes(self.planes[None], self._on_planes(points / self.half_size)[None])[0]

    def _on_planes(self, places: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        return places if self.warp is None else warp_points(self.warp[None], places[None])[0]

    def density(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Volume density in 1/m. Reads only the density channels, so it is cheaper than `colour_and_density`."""
        planes = self.planes[None, :, self.decoder.config.colour_channels :]

        def decode(part: Tensor) -> Tensor:
            logits, _ = self.decoder.density_logits(sample_planes(planes, self._on_planes(part)[None])[0])
            return self.decoder.density(logits) * _inside(part)

        return torch.cat([decode(part) for part in (points / self.half_size).split(_CHUNK)]) / self.half_size

    def colour_and_density(self, points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N"]]:
        """sRGB colour in [0, 1] and density in 1/m."""
        colours, densities = [], []
        for part in (points / self.half_size).split(_CHUNK):
            colour, logits = self.decoder(sample_planes(self.planes[None], self._on_planes(part)[None])[0])
            colours.append(colour)
            densities.append(self.decoder.density(logits) * _inside(part))
        colour = torch.cat(colours)
        if self.likeness is not None:
            colour = (colour + self.likeness(points)).clamp(0, 1)
        return colour, torch.cat(densities) / self.half_size

    def classes(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N K"]:
        """Probabilities of `decoder.CLASSES`; K is 0 for a decoder that does not tell."""
        split, parts = self.decoder.config.colour_channels, []
        for part in (points / self.half_size).split(_CHUNK):
            features = sample_planes(self.planes[None], self._on_planes(part)[None])[0]
            geometry = self.decoder.density_logits(features[..., split:])[1]
            parts.append(self.decoder.appearance(features[..., :split], geometry)[1].softmax(-1))
        return torch.cat(parts)

    def occupancy(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Opacity in [0, 1] of the decoder's `occupancy_length` of matter: 0.5 is the surface."""
        length = self.decoder.config.occupancy_length * self.half_size
        return -torch.expm1(-self.density(points) * length)

    def resize(self, size: int) -> TriPlane:
        """The same field with planes of size x size texels; the decoder is shared, not copied."""
        return dataclasses.replace(self, planes=resize_planes(self.planes, size))

    def to(self, device: torch.device | str) -> TriPlane:
        """Copy on another device."""
        decoder = copy.deepcopy(self.decoder).to(device)
        warp = None if self.warp is None else self.warp.to(device)
        likeness = None if self.likeness is None else self.likeness.to(device)
        return dataclasses.replace(self, planes=self.planes.to(device), decoder=decoder, warp=warp, likeness=likeness)

    def save(self, path: str | Path) -> None:
        """Write planes, decoder and conventions into one `.safetensors` file, whole or not at all.

        Raises `MaquetteError` (OUTPUT_NOT_WRITABLE, DISK_FULL) when that is not possible.
        """
        from safetensors.torch import save

        tensors = {"planes": self.planes.detach().cpu().contiguous()}
        if self.warp is not None:
            tensors["warp"] = self.warp.cpu().contiguous()
        if self.likeness is not None:
            tensors |= {f"likeness.{name}": value.cpu() for name, value in vars(self.likeness).items()}
        tensors |= {f"decoder.{name}": value.cpu() for name, value in self.decoder.state_dict().items()}
        # One key only: the order of several would differ between runs, and so would the bytes.
        metadata = {
            "half_size": self.half_size,
            "plane_order": PLANE_ORDER,
            "align_corners": False,
            "combine": "mean",
            "decoder": dataclasses.asdict(self.decoder.config),
        }
        data = save(tensors, {_METADATA_KEY: json.dumps(metadata, sort_keys=True)})
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                sentence = f"There is no room left to write {path}: free some space or choose another place."
                raise MaquetteError(ErrorCode.DISK_FULL, sentence, stage="fit") from error
            sentence = f"{path} cannot be written: choose a folder that exists and where you may write."
            raise MaquetteError(ErrorCode.OUTPUT_NOT_WRITABLE, sentence, stage="fit", hint=str(error)) from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> TriPlane:
        """Read what `save` wrote. Raises `MaquetteError` when the file is missing, broken, or of another kind."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = json.loads((file.metadata() or {})[_METADATA_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
            if metadata["plane_order"] != PLANE_ORDER:
                raise ValueError(f"planes in the order {metadata['plane_order']}")
            decoder = Decoder(DecoderConfig(**metadata["decoder"])).requires_grad_(False)
            planes, warp = tensors.pop("planes"), tensors.pop("warp", None)
            part = lambda start: {n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)}  # noqa: E731
            decoder.load_state_dict(part("decoder."))
            likeness = Likeness(**part("likeness.")) if part("likeness.") else None
            return cls(planes, decoder, float(metadata["half_size"]), warp, likeness)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise MaquetteError(
                ErrorCode.MODEL_MISSING,
                f"{path} is not a tri-plane of Maquette: give a triplane.safetensors from an avatar folder.",
                stage="fit",
                hint=str(error),
            ) from error


def sample_planes(planes: Float[Tensor, "B 3 C H W"], points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N C"]:
    """Mean over the planes of their bilinear samples at `points` in cube coordinates [-1, 1], for B avatars at once."""
    batch, _, channels, height, width = planes.shape
    grid = torch.stack([points[..., axes] for axes in PLANE_AXES], 1)
    samples = F.grid_sample(
        planes.reshape(batch * 3, channels, height, width),
        grid.reshape(batch * 3, -1, 1, 2),
        padding_mode="border",
        align_corners=False,
    )
    return samples.reshape(batch, 3, channels, -1).mean(1).transpose(1, 2)


def resize_planes(planes: Float[Tensor, "*B C H W"], size: int) -> Float[Tensor, "*B C size size"]:
    """Planes with size x size texels: mean over whole texels where that divides evenly, else bicubic; in [-1, 1]."""
    old = planes.shape[-1]
    if size == old:
        return planes
    flat = planes.reshape(-1, *planes.shape[-3:])
    if old % size == 0:
        resized = F.interpolate(flat, (size, size), mode="area")
    else:
        # Enlarging needs no antialiasing, but with it torch takes the cubic that keeps linear functions (a = -0.5).
        resized = F.interpolate(flat, (size, size), mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(-1, 1).reshape(*planes.shape[:-2], size, size)


def _inside(points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    return (points.abs().amax(-1) <= 1).to(points.dtype)
