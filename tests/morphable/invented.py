"""Weights and inputs made from names: anybody who follows the same rule gets the same numbers.

A key is hashed (SHA-256); its first 8 bytes, little-endian, seed SplitMix64, whose i-th output decides element i.
"""

import hashlib
import math

import numpy as np
import torch

from backend.morphable.names import published_name, published_shape

SALT = "md-parity-v1"
GOLDEN_RATIO, FIRST, SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
CHUNK = 1 << 20


def uniform(key, count):
    """`count` numbers in [0, 1), float64."""
    seed = np.uint64(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little"))
    numbers = np.empty(count)
    for start in range(0, count, CHUNK):
        place = np.arange(start + 1, min(start + CHUNK, count) + 1, dtype=np.uint64)
        z = place * GOLDEN_RATIO + seed
        z = (z ^ (z >> np.uint64(30))) * FIRST
        z = (z ^ (z >> np.uint64(27))) * SECOND
        z ^= z >> np.uint64(31)
        numbers[start : start + CHUNK] = (z >> np.uint64(11)) * 2.0**-53
    return numbers


def unit(key, shape):
    """Numbers of mean 0 and variance 1."""
    return ((2 * uniform(key, math.prod(shape)) - 1) * math.sqrt(3)).reshape(shape)


def weight(name, shape):
    """The value of a checkpoint's entry. Nothing is zero, so that layers that start at zero are tested too."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    values = unit(f"{SALT}|{name}", tuple(shape))
    if name.endswith("running_var"):
        values = 1 + 0.2 * values
    elif name.endswith("running_mean"):
        values = 0.1 * values
    elif len(shape) >= 2:
        values = values / math.sqrt(math.prod(shape[1:]))
    elif len(shape) == 1 and name.endswith("weight"):
        values = 1 + 0.1 * values
    else:
        values = 0.1 * values
    return values.astype(np.float32)


def picture(key, shape):
    """A smooth picture, B x H x W x 3 in [-1, 1]."""
    batch, height, width, channels = shape
    p = uniform(key, batch * channels * 6).reshape(batch, 1, 1, channels, 6)
    y = ((np.arange(height) + 0.5) / height)[None, :, None, None]
    x = ((np.arange(width) + 0.5) / width)[None, None, :, None]
    first = np.sin(2 * np.pi * ((1 + 3 * p[..., 0]) * x + (1 + 2 * p[..., 1]) * y + p[..., 2]))
    second = np.cos(2 * np.pi * ((4 + 5 * p[..., 3]) * y - (2 + 4 * p[..., 4]) * x + p[..., 5]))
    return (0.55 * first + 0.35 * second).astype(np.float32)


def fill_module(module, prefix, fill=weight):
    """Give `module`, which our whole model calls `prefix`, the invented weights of its published names."""
    module.to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            full = prefix + name
            values = fill(published_name(full), published_shape(full, tuple(tensor.shape)))
            tensor.copy_(torch.from_numpy(np.asarray(values)).reshape(tensor.shape))
    return module.eval()
