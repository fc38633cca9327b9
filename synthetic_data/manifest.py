"""``manifest.json``, the summary of a set, derived from the sidecars and never needed to render or read it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from synthetic_data.archive import write_whole
from synthetic_data.shards import read_config, read_sidecar, shard_path


def make_manifest(folder: Path) -> dict[str, Any]:
    """Counts, bytes, failures, cost, and the hash of the set: SHA-256 over the shards' hashes in their order.

    Raises:
        MaquetteError: the folder holds no set.
    """
    config = read_config(folder)
    whole = hashlib.sha256(f"{config.digest}\n".encode())
    shards: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    missing: list[int] = []
    core_seconds = 0.0
    for shard in range(config.shards):
        try:
            sidecar = read_sidecar(shard_path(folder, shard))
        except (FileNotFoundError, ValueError):
            missing.append(shard)
            continue
        whole.update(f"{shard} {sidecar['sha256']}\n".encode())
        shards.append({key: sidecar[key] for key in ("shard", "identities", "bytes", "sha256")})
        failed += sidecar["failed"]
        core_seconds += sum(entry["cpu"] for entry in sidecar["seconds"].values())
    identities = sum(entry["identities"] for entry in shards)
    return {
        "name": config.name,
        "config": config.digest,
        "complete": not missing,
        "sha256": None if missing else whole.hexdigest(),
        "identities": identities,
        "views": identities * config.views_per_identity,
        "bytes": sum(entry["bytes"] for entry in shards),
        "core_hours": round(core_seconds / 3600, 3),
        "failed": failed,
        "missing_shards": missing,
        "shards": shards,
    }


def write_manifest(folder: Path) -> dict[str, Any]:
    """Write `make_manifest` into the folder and return it."""
    manifest = make_manifest(folder)
    write_whole(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
    return manifest
