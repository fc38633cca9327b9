"""CLIP as the latent space, as in Rodin: weights and word list from a folder that the user has, nothing downloaded.

The folder is a model of Hugging Face's format: ``config.json``, ``model.safetensors``, ``vocab.json``, ``merges.txt``.
Both networks are ordinary transformers, run here straight from the tensors of the file.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.rodin.latent import on_sphere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

_MEAN, _SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_START, _END, _WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")
_TEXT = {"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8, "max_position_embeddings": 77}
_PICTURE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224, "patch_size": 32}
"""What a ``config.json`` leaves out."""


class ClipLatent:
    """A `latent.LatentSpace`: CLIP's two encoders; `size` is the width of their common space, 512 in Rodin."""

    def __init__(
        self, config: dict[str, Any], tensors: dict[str, Tensor], vocabulary: dict[str, int], merges: list[str]
    ) -> None:
        self._text = _TEXT | config.get("text_config", {})
        self._picture = _PICTURE | config.get("vision_config", {})
        self._tensors, self._vocabulary = tensors, vocabulary
        self._ranks = {tuple(line.split()): rank for rank, line in enumerate(merges)}
        self.size: int = tensors["text_projection.weight"].shape[0]

    @classmethod
    def from_folder(cls, folder: Path, device: torch.device | str = "cpu") -> ClipLatent:
        """Read a model. Raises `MaquetteError` (MODEL_MISSING) when the folder does not hold one."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = {k: v.float() for k, v in load_file(folder / "model.safetensors", str(device)).items() if v.ndim}
            vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
            found = cls(config, tensors, vocabulary, [line for line in lines if not line.startswith("#version")])
            # A first picture and text tell whether all tensors are there.
            found.encode_pictures(torch.zeros((1, 4, 8, 8), device=device))
            found.encode_texts([""])
            return found
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as problem:
            raise MaquetteError(
                ErrorCode.MODEL_MISSING,
                f"{folder} does not hold a CLIP model: it needs config.json, model.safetensors, vocab.json and "
                "merges.txt, as Hugging Face publishes them.",
                stage="field",
                hint=str(problem),
            ) from problem

    @property
    def device(self) -> torch.device:
        return self._tensors["text_projection.weight"].device

    @torch.no_grad()
    def encode_pictures(self, pictures: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B Z"]:
        side = (self._picture["image_size"],) * 2
        rgb = F.interpolate(pictures[:, :3], side, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        rgb = (rgb - rgb.new_tensor(_MEAN)[:, None, None]) / rgb.new_tensor(_SPREAD)[:, None, None]
        named = lambda name: self._tensors[f"vision_model.{name}"]  # noqa: E731
        patches = F.conv2d(rgb, named("embeddings.patch_embedding.weight"), stride=self._picture["patch_size"])
        first = named("embeddings.class_embedding").expand(len(rgb), 1, -1)
        x = torch.cat([first, patches.flatten(2).transpose(1, 2)], 1) + named("embeddings.position_embedding.weight")
        x = self._norm(x, "vision_model.pre_layrnorm")  # spelt so in the files
        x = self._transformer(x, "vision_model", self._picture, causal=False)
        x = self._norm(x[:, 0], "vision_model.post_layernorm")
        return on_sphere(x @ self._tensors["visual_projection.weight"].T)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "B Z"]:
        longest = self._text["max_position_embeddings"]
        numbers = [self.tokens(text)[: longest - 1] for text in texts]
        end = self._vocabulary[_END]
        ends = torch.tensor([len(one) for one in numbers], device=self.device)
        width = int(ends.max()) + 1
        padded = torch.tensor([one + [end] * (width - len(one)) for one in numbers], device=self.device)
        named = lambda name: self._tensors[f"text_model.{name}"]  # noqa: E731
        x = named("embeddings.token_embedding.weight")[padded] + named("embeddings.position_embedding.weight")[:width]
        x = self._transformer(x, "text_model", self._text, causal=True)
        x = self._norm(x[torch.arange(len(x)), ends], "text_model.final_layer_norm")
        return on_sphere(x @ self._tensors["text_projection.weight"].T)

    def tokens(self, text: str) -> list[int]:
        """Numbers of the byte pairs of a text, after the start and before the end."""
        found = [self._vocabulary[_START]]
        for piece in _PIECES.findall(" ".join(text.lower().split())):
            letters = [_byte_letters()[byte] for byte in piece.encode()]
            found += [self._vocabulary[pair] for pair in self._merge(letters)]
        return found

    def _merge(self, letters: list[str]) -> list[str]:
        """Byte-pair encoding: the pair that was learned first is joined first."""
        parts = [*letters[:-1], letters[-1] + _WORD_END]
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, len(self._ranks)) for pair in itertools.pairwise(parts)]
            best = min(ranks)
            if best == len(self._ranks):
                break
            joined: list[str] = []
            for part in parts:
                if joined and self._ranks.get((joined[-1], part)) == best:
                    joined[-1] += part
                else:
                    joined.append(part)
            parts = joined
        return parts

    def _transformer(self, x: Tensor, part: str, config: dict[str, Any], *, causal: bool) -> Tensor:
        heads, sharp = config["num_attention_heads"], config.get("hidden_act", "quick_gelu") == "quick_gelu"
        for number in range(config["num_hidden_layers"]):
            layer = f"{part}.encoder.layers.{number}"
            inner = self._norm(x, f"{layer}.layer_norm1")
            q, k, v = (
                self._linear(inner, f"{layer}.self_attn.{name}_proj").unflatten(-1, (heads, -1)).transpose(1, 2)
                for name in "qkv"
            )
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)
            x = x + self._linear(mixed, f"{layer}.self_attn.out_proj")
            inner = self._linear(self._norm(x, f"{layer}.layer_norm2"), f"{layer}.mlp.fc1")
            inner = inner * torch.sigmoid(1.702 * inner) if sharp else F.gelu(inner)
            x = x + self._linear(inner, f"{layer}.mlp.fc2")
        return x

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, 1e-5)


@functools.cache
def _byte_letters() -> dict[int, str]:
    """A visible letter for each byte, as in GPT-2's and CLIP's word lists: its own where it has one."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in own]
    return {byte: chr(byte) for byte in own} | {byte: chr(256 + n) for n, byte in enumerate(others)}
