"""A set as PyTorch data sets, without bpy: `Heads` for access by number, `HeadStream` for training from tars in order.

An item is one take of one identity as a dict of tensors: ``rgb`` (N, 3, H, W) and ``alpha`` (N, 1, H, W) in [0, 1],
sRGB, straight alpha; ``depth`` (N, 1, H, W) planar, metres, 0 where there is nothing; ``segmentation`` (N, 1, H, W)
int64; ``normal`` (N, 3, H, W); ``uv`` (N, 2, H, W); ``world_to_camera`` (N, 4, 4) and ``intrinsics`` (N, 3, 3), OpenCV
axes, metres and pixels, centres at +0.5, as in `backend.radiance.cameras`; ``points`` (L, 3), ``pixels`` (N, L, 2) and
``visible`` (N, L) of the landmarks; ``identity`` and ``expression``, the body model's parameters; ``index`` and
``take``; and the ``caption``.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from synthetic_data.reader import DataSet, Entry, Person


@dataclasses.dataclass(frozen=True)
class Selection:
    """What an item holds: pictures of `passes`, of views of the `kinds`, at most `views` of them (all by default).

    `check` compares every file with its hash, at some cost.
    """

    passes: Sequence[str] = ("rgba", "depth")
    kinds: Sequence[str] = ("view",)
    views: int | None = None
    check: bool = False


class Heads(Dataset[dict[str, Any]]):
    """All takes of all identities by number.

    Raises:
        MaquetteError: there is no set, it is not finished, or a shard is damaged.
    """

    def __init__(self, folder: Path, selection: Selection | None = None) -> None:
        self._set = DataSet.open(folder)
        self._entries = list(self._set.entries())
        self._selection = selection or Selection()

    def __len__(self) -> int:
        return len(self._entries) * self._set.config.takes

    def __getitem__(self, number: int) -> dict[str, Any]:
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} items, no number {number}")
        entry, take = divmod(number, self._set.config.takes)
        return load_item(self._entries[entry], take, self._selection)


class HeadStream(IterableDataset[dict[str, Any]]):
    """All takes once per epoch, read tar by tar.

    Shards are shared out among the processes of a training run (`rank` of `world`) and the workers of a loader; nothing
    is read twice. With a `seed` the order of the shards is drawn anew for each epoch (`set_epoch`), and items come out
    of a buffer of `buffer` identities in random order.

    Raises:
        MaquetteError: as for `Heads`.
    """

    def __init__(
        self,
        folder: Path,
        selection: Selection | None = None,
        *,
        seed: int | None = None,
        buffer: int = 64,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._set = DataSet.open(folder)
        self._selection = selection or Selection()
        self._seed, self._buffer, self._rank, self._world = seed, max(1, buffer), rank, world
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw another order. A loader with persistent workers does not see this."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        shards = list(self._set.shards)
        if self._seed is not None:
            random.Random(f"{self._seed}/{self._epoch}").shuffle(shards)
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        mine = shards[self._rank * workers + number :: self._world * workers]
        entries = (entry for shard in mine for entry in shard)
        if self._seed is not None:
            entries = _mixed(entries, self._buffer, random.Random(f"{self._seed}/{self._epoch}/{self._rank}/{number}"))
        for entry in entries:
            for take in range(self._set.config.takes):
                yield load_item(entry, take, self._selection)


def _mixed(entries: Iterator[Entry], size: int, rng: random.Random) -> Iterator[Entry]:
    """The same entries in an order that is random within a window."""
    buffer: list[Entry] = []
    for entry in entries:
        buffer.append(entry)
        if len(buffer) == size:
            yield buffer.pop(rng.randrange(size))
    rng.shuffle(buffer)
    yield from buffer


def load_item(entry: Entry, take: int, selection: Selection) -> dict[str, Any]:
    """One take of one identity as tensors, see the head of this file."""
    person = Person.read(entry, check=selection.check)
    chosen = [number for number, view in enumerate(person.views) if view.take == take and view.kind in selection.kinds][
        : selection.views
    ]
    views = [person.views[number] for number in chosen]
    labels = entry.decode("labels.npz", check=selection.check)
    said = person.data["takes"][take]
    item: dict[str, Any] = {
        "index": entry.index,
        "take": take,
        "caption": said["caption"],
        "world_to_camera": _stack([view.camera.world_to_camera for view in views], (0, 4, 4)),
        "intrinsics": _stack([view.camera.intrinsics for view in views], (0, 3, 3)),
        "points": torch.from_numpy(labels["points"][take]),
        "pixels": torch.from_numpy(labels["pixels"][chosen]),
        "visible": torch.from_numpy(labels["visible"][chosen]),
    }
    for name in ("identity", "expression"):
        item[name] = torch.tensor(said["spec"].get(name, ()), dtype=torch.float32)
    for kind in selection.passes:
        pictures = [person.picture(view, kind, check=selection.check) for view in views]
        if not pictures:
            continue
        stacked = torch.from_numpy(np.stack([p if p.ndim == 3 else p[..., None] for p in pictures]))
        stacked = stacked.permute(0, 3, 1, 2).contiguous()
        if kind == "rgba":
            item["rgb"], item["alpha"] = stacked[:, :3], stacked[:, 3:]
        else:
            item[kind] = stacked.long() if kind == "segmentation" else stacked
    return item


def _stack(matrices: Sequence[np.ndarray], empty: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(np.stack(matrices) if matrices else np.zeros(empty)).float()
