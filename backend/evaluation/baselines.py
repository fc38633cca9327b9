"""What a learned engine has to beat: the mean of the training heads' planes, the nearest of them, and a ridge.

The planes are kept as principal components (of the heads and their mirror images), in whole numbers of 8 bits. A
portrait is described by 16 x 16 pixels of an upright plane through the face, seen through the portrait's known camera,
so that the same pixel is the same place of everybody's head, however the camera was held.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.radiance.canonical import mirror_planes
from backend.radiance.decoder import Decoder, DecoderConfig

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int8
    from torch import Tensor

    from backend.training.bank import HeadBank

_KEY = "maquette_baselines"
_GRID = 16
_CENTRE, _REACH = (0.0, -0.07, -0.03), 0.2
"""Middle and half size in metres of the plane through the face that is looked at."""
_PENALTIES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
"""Tried strengths of the ridge, as parts of the features' mean variance."""
_DECODER = "decoder."


@dataclasses.dataclass(frozen=True)
class BaselineConfig:
    """The recipe: how many principal components of the planes are kept."""

    components: int = 128


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Planes are ``mean + coefficients @ (components * scales)``.

    `coefficients` (N, K) of the training heads; `features` (M, F) of their portraits, that of head ``owners[i]`` in row
    i; `weights` (F + 1, K) of the ridge, the constant last.
    """

    mean: Float[Tensor, "3 C S S"]
    components: Int8[Tensor, "K 3 C S S"]
    scales: Float[Tensor, " K"]
    coefficients: Float[Tensor, "N K"]
    features: Float[Tensor, "M F"]
    owners: Tensor
    weights: Float[Tensor, "F1 K"]
    decoder: Decoder

    def planes(self, coefficients: Float[Tensor, " K"]) -> Float[Tensor, "3 C S S"]:
        """Planes in [-1, 1] of one head."""
        return (self.mean + torch.tensordot(coefficients * self.scales, self.components.float(), 1)).clamp(-1, 1)

    def nearest(self, features: Float[Tensor, " F"]) -> Float[Tensor, "3 C S S"]:
        """The planes of the training head whose portrait, as it is or mirrored, differs least."""
        mirrored = mirror_features(features)
        distances = torch.stack([(self.features - query).square().sum(1) for query in (features, mirrored)])
        turned, row = divmod(int(distances.argmin()), len(self.features))
        planes = self.planes(self.coefficients[self.owners[row]])
        return mirror_planes(planes) if turned else planes

    def ridge(self, features: Float[Tensor, " F"]) -> Float[Tensor, "3 C S S"]:
        """The planes that a linear function of the portrait predicts."""
        return self.planes(features @ self.weights[:-1] + self.weights[-1])


def portrait_features(
    pictures: Float[Tensor, "B 4 H W"], world_to_camera: Float[Tensor, "B 4 4"], intrinsics: Float[Tensor, "B 3 3"]
) -> Float[Tensor, "B F"]:
    """16 x 16 cells of colour over grey and alpha, of portraits (sRGB, straight alpha) whose cameras are known."""
    fine = 8 * _GRID
    axis = ((torch.arange(fine, device=pictures.device) + 0.5) / fine * 2 - 1) * _REACH
    down, across = torch.meshgrid(-axis, axis, indexing="ij")
    x, y, z = _CENTRE
    places = torch.stack([x + across, torch.full_like(across, y), z + down], -1).reshape(-1, 3)
    seen = places @ world_to_camera[:, :3, :3].transpose(1, 2) + world_to_camera[:, None, :3, 3]
    pixels = seen @ intrinsics.transpose(1, 2)
    size = torch.tensor([pictures.shape[-1], pictures.shape[-2]], device=pictures.device)
    grid = pixels[..., :2] / pixels[..., 2:] / size * 2 - 1
    alpha = pictures[:, 3:]
    ground = torch.cat([(pictures[:, :3] - 0.5) * alpha, alpha], 1)
    drawn = F.grid_sample(ground, grid.reshape(-1, fine, fine, 2), padding_mode="zeros", align_corners=False)
    return F.avg_pool2d(drawn, fine // _GRID).flatten(1)


def mirror_features(features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    """Features of the mirrored portrait through the mirrored camera."""
    return features.unflatten(-1, (4, _GRID, _GRID)).flip(-1).flatten(-3)


def make_baselines(
    bank: HeadBank, planes: Float[Tensor, "N 3 C S S"], decoder: Decoder, config: BaselineConfig
) -> tuple[Baselines, float]:
    """The baselines of fitted `planes` of all heads of a bank, and the part of the variance that is kept."""
    mean, components, coefficients, kept = principal_components(planes, config.components)
    scales = components.abs().amax((1, 2, 3, 4)).clamp(min=1e-12) / 127
    count = len(planes)
    portraits = bank.portraits.shape[1]
    owners = torch.arange(count, device=planes.device).repeat_interleave(portraits)
    features = torch.cat(
        [
            portrait_features(
                bank.portraits[part].flatten(0, 1).float() / 255,
                bank.portrait_world_to_camera[part].flatten(0, 1),
                bank.portrait_intrinsics[part].flatten(0, 1),
            )
            for part in torch.arange(count, device=planes.device).split(64)
        ]
    )
    given = torch.cat([features, mirror_features(features)])
    wanted = torch.cat([coefficients[owners], coefficients[owners + count]])
    weights = ridge_weights(given, wanted, held_back=owners.repeat(2) % 10 == 9)
    whole = (components / scales[:, None, None, None, None]).round().to(torch.int8)
    return Baselines(mean, whole, scales, coefficients[:count], features, owners, weights, decoder), kept


def principal_components(
    planes: Float[Tensor, "N 3 C S S"], count: int
) -> tuple[Float[Tensor, "3 C S S"], Float[Tensor, "K 3 C S S"], Float[Tensor, "2N K"], float]:
    """Mean, unit components and coefficients of planes and their mirror images (which come second), and the part of
    the variance kept. At most as many components as there are independent heads.

    Channel by channel, for the planes of thousands of heads are larger than memory in full precision.
    """
    channels = range(planes.shape[2])

    def both(channel: int) -> Tensor:
        one = planes[:, :, channel : channel + 1].float()
        rows = torch.cat([one, mirror_planes(one)])[:, :, 0]
        return rows - rows.mean(0)

    mean = torch.cat([planes[:, :, c : c + 1].float().mean(0) for c in channels], 1)
    mean = (mean + mirror_planes(mean)) / 2
    gram = sum(((rows := both(c).flatten(1)) @ rows.T).double() for c in channels)
    assert isinstance(gram, torch.Tensor)
    values, vectors = torch.linalg.eigh(gram)
    independent = int((values > values[-1] * 1e-6).sum())
    order = torch.arange(len(values) - 1, len(values) - 1 - min(count, independent), -1, device=planes.device)
    length = values[order].sqrt()
    directions = (vectors[:, order] / length).float()
    parts = [(directions.T @ both(c).flatten(1)).unflatten(1, (3, *planes.shape[3:])) for c in channels]
    components = torch.stack(parts, 2)
    kept = float(values[order].sum() / values.clamp(min=0).sum())
    return mean, components, (vectors[:, order] * length).float(), kept


def ridge_weights(
    features: Float[Tensor, "M F"], wanted: Float[Tensor, "M K"], held_back: Tensor
) -> Float[Tensor, "F1 K"]:
    """Least squares with the penalty that does best on rows held back, then solved anew with all rows."""

    def solve(rows: Tensor, penalty: float) -> Tensor:
        x, y = features[rows].double(), wanted[rows].double()
        x_mean, y_mean = x.mean(0), y.mean(0)
        x, y = x - x_mean, y - y_mean
        square = x.T @ x
        strength = penalty * square.diagonal().mean()
        slope = torch.linalg.solve(square + strength * torch.eye(len(square), device=x.device).double(), x.T @ y)
        return torch.cat([slope, (y_mean - x_mean @ slope)[None]]).float()

    def error(penalty: float) -> float:
        weights = solve(~held_back, penalty)
        guess = features[held_back] @ weights[:-1] + weights[-1]
        return float((guess - wanted[held_back]).square().sum())

    best = min(_PENALTIES, key=error) if held_back.any() and not held_back.all() else _PENALTIES[2]
    return solve(torch.ones_like(held_back), best)


def save_baselines(path: Path, baselines: Baselines) -> None:
    """Write `baselines`, whole or not at all."""
    from safetensors.torch import save_file

    held = {
        field.name: getattr(baselines, field.name) for field in dataclasses.fields(baselines) if field.name != "decoder"
    }
    held |= {f"{_DECODER}{name}": value for name, value in baselines.decoder.state_dict().items()}
    small = {name: (v.half() if v.dtype == torch.float32 and name != "scales" else v) for name, v in held.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    told = {_KEY: json.dumps({"decoder": dataclasses.asdict(baselines.decoder.config)})}
    save_file({name: value.detach().cpu().contiguous() for name, value in small.items()}, partial, told)
    partial.replace(path)


def load_baselines(path: Path) -> Baselines:
    """Read what `save_baselines` wrote. Raises `MaquetteError` (MODEL_MISSING) when that is not there."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            told = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        tensors = {name: v.float() if v.dtype == torch.float16 else v for name, v in tensors.items()}
        decoder = Decoder(DecoderConfig(**told["decoder"]))
        names = [name for name in tensors if name.startswith(_DECODER)]
        decoder.load_state_dict({name.removeprefix(_DECODER): tensors.pop(name) for name in names})
        return Baselines(**tensors, decoder=decoder.requires_grad_(False))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise MaquetteError(
            ErrorCode.MODEL_MISSING,
            f"{path} holds no baselines: make it with 'maquette train baselines'.",
            stage="evaluate",
            hint=str(problem),
        ) from problem
