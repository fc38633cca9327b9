"""What a data set is: everything that decides one of its pixels, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import Any

from synthetic_data.appearance import LOOKS_VERSION
from synthetic_data.distributions import default_distributions
from synthetic_data.identity import SCHEMA_VERSION

PRESETS = ("fit", "portrait", "show")
PASSES = ("rgba", "depth", "normal", "segmentation", "uv")
"""Pictures a view can have. `rgba`, `depth` and `segmentation` are always there: the quality check reads them."""
REQUIRED_PASSES = PASSES[:2] + ("segmentation",)


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """The description of a set, from which any machine renders the same bytes.

    Args:
        name: a word for people; part of the digest, so that two sets never share a folder by mistake.
        seed: of the identities.
        first, count: the identities are ``first ... first + count - 1``.
        preset: how the views are lit and rendered, one of `PRESETS`.
        size: pixels per side.
        views: pictures from the rig around the head.
        portraits: further pictures as people hold a camera, rendered with the preset ``portrait``.
        takes: expressions per identity; each has all views and portraits.
        passes: pictures of each view, a part of `PASSES`.
        samples, portrait_samples: of the renderer per pixel, in views and in portraits.
        identities_per_shard: a shard is a fixed range of indices.
        distributions_digest: `Distributions.digest` of the rules that people are drawn from.
        schema_version: of `IdentitySpec`.
        looks_version: of the code that turns an identity into pictures, see `appearance.LOOKS_VERSION`.

    Raises:
        ValueError: a value is out of range; the sentence says which.
    """

    name: str = "heads"
    seed: int = 1
    first: int = 0
    count: int = 1000
    preset: str = "fit"
    size: int = 128
    views: int = 8
    portraits: int = 2
    takes: int = 1
    passes: tuple[str, ...] = ("rgba", "depth", "segmentation")
    samples: int = 8
    portrait_samples: int = 12
    identities_per_shard: int = 64
    distributions_digest: str = dataclasses.field(default_factory=lambda: default_distributions().digest)
    schema_version: int = SCHEMA_VERSION
    looks_version: int = LOOKS_VERSION

    def __post_init__(self) -> None:
        object.__setattr__(self, "passes", tuple(p for p in PASSES if p in self.passes or p in REQUIRED_PASSES))
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", self.name):
            raise ValueError(f"the name {self.name!r} is not a plain word of letters, digits, dots and dashes")
        if self.preset not in PRESETS:
            raise ValueError(f"there is no preset {self.preset!r}, only {', '.join(PRESETS)}")
        for field, low, high in (
            ("seed", 0, 2**32 - 1),
            ("first", 0, 2**31),
            ("count", 1, 10**7),
            ("size", 16, 4096),
            ("views", 0, 1000),
            ("portraits", 0, 1000),
            ("takes", 1, 1000),
            ("samples", 1, 4096),
            ("portrait_samples", 1, 4096),
            ("identities_per_shard", 1, 10_000),
        ):
            value = getattr(self, field)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(
                    f"{field.replace('_', ' ')} is {value}, it must be a whole number from {low} to {high}"
                )
        if self.views + self.portraits == 0:
            raise ValueError("a set needs at least one view or portrait per identity")

    @property
    def views_per_identity(self) -> int:
        """Pictures of one person, over all takes."""
        return self.takes * (self.views + self.portraits)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.count // self.identities_per_shard)

    def indices(self, shard: int) -> range:
        """Identities of one shard."""
        if not 0 <= shard < self.shards:
            raise ValueError(f"there is no shard {shard}, only 0 to {self.shards - 1}")
        start = self.first + shard * self.identities_per_shard
        return range(start, min(start + self.identities_per_shard, self.first + self.count))

    def to_json(self) -> str:
        """Keys sorted, one per line."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DatasetConfig:
        """Inverse of `to_json`. Raises ValueError for anything else."""
        try:
            data: dict[str, Any] = json.loads(text)
            # What is absent must not silently become what this package would write.
            if missing := {field.name for field in dataclasses.fields(cls)} - data.keys():
                raise ValueError(f"{min(missing)} is missing")
            return cls(**{**data, "passes": tuple(data["passes"])})
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            raise ValueError(f"this is no description of a data set: {problem}") from None

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON: same digest, same bytes."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def check_renderable(self) -> None:
        """Raise ValueError when this package would make other people or other pictures of them than the set holds.

        A set of another version can still be read, browsed and exported.
        """
        for what, theirs, ours in (
            ("identities of schema", self.schema_version, SCHEMA_VERSION),
            ("looks of version", self.looks_version, LOOKS_VERSION),
        ):
            if theirs != ours:
                raise ValueError(
                    f"the set was begun with {what} {theirs}, and this package makes {ours}: go on with the package "
                    "that began it, or render a new set"
                )
        if self.distributions_digest != default_distributions().digest:
            raise ValueError("the set was begun with other distributions than those of this package")
