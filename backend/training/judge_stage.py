"""Training of the judges (`backend.evaluation.judges`) on a packed set; it stops and goes on at any step.

Pictures are drawn as soft, noisy, dim and badly cropped as any engine's, so that the verifier looks at the person and
not at the renderer: a person's views and portraits are pulled together, those of others pushed away (supervised
contrastive loss, Khosla et al. 2020).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from backend.evaluation.judges import Classifier, JudgeConfig, Verifier, visible, vocabulary_of
from backend.training.augment import recrop
from backend.training.stage import Stage

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from backend.training.bank import HeadBank

UNKNOWN = -1
"""Label of what the pictures cannot show."""


@dataclasses.dataclass(frozen=True)
class JudgeStageConfig:
    """The recipe. A step sees `pictures` of each of `heads` people."""

    model: JudgeConfig = dataclasses.field(default_factory=JudgeConfig)
    steps: int = 4000
    heads: int = 24
    pictures: int = 3
    rate: float = 1e-3
    warm_up: int = 100
    final_rate: float = 0.02
    weight_decay: float = 0.02
    average: float = 0.998
    temperature: float = 0.1
    seed: int = 0


class Judges(nn.Module):
    """The two that are trained beside each other and share nothing but the pictures."""

    def __init__(self, config: JudgeConfig, vocabulary: dict[str, list[str]]) -> None:
        super().__init__()
        self.verifier, self.classifier = Verifier(config), Classifier(config, vocabulary)


class JudgeStage(Stage[Judges, JudgeStageConfig]):
    """Both judges under training."""

    def __init__(self, bank: HeadBank, config: JudgeStageConfig) -> None:
        vocabulary = vocabulary_of(bank.attributes)
        told = {"set of people": bank.fingerprint()}
        super().__init__(config, bank.rgb.device, lambda: Judges(config.model, vocabulary), told)
        self.bank = bank
        self.labels = labels_of(bank, vocabulary).to(self.device)

    def clipped(self) -> list[nn.Module]:
        """Neither shall be held back by the other."""
        return [self.model.verifier, self.model.classifier]

    def loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        count = min(config.heads, len(self.bank))
        heads = torch.randperm(len(self.bank), generator=self.generator, device=self.device)[:count]
        pictures = draw_pictures(self.bank, heads, config.pictures, self.generator)
        people = torch.arange(count, device=self.device).repeat_interleave(config.pictures)
        same = contrastive_loss(self.model.verifier(pictures), people, config.temperature)
        said = self.model.classifier(pictures)
        labels = self.labels[heads].repeat_interleave(config.pictures, 0)
        named = torch.stack(
            [
                F.cross_entropy(logits, labels[:, k], ignore_index=UNKNOWN, reduction="sum")
                / (labels[:, k] != UNKNOWN).sum().clamp(min=1)
                for k, logits in enumerate(said.values())
            ]
        ).mean()
        return same + named, {"verifier": same, "classifier": named}


def labels_of(bank: HeadBank, vocabulary: dict[str, list[str]]) -> Int[Tensor, "N A"]:
    """Places of each person's attributes in the vocabulary, `UNKNOWN` where no picture can show them."""
    rows = [
        [words.index(str(person[name])) if visible(person, name) else UNKNOWN for name, words in vocabulary.items()]
        for person in bank.attributes
    ]
    return torch.tensor(rows, dtype=torch.long)


def contrastive_loss(
    embeddings: Float[Tensor, "B E"], people: Int[Tensor, " B"], temperature: float
) -> Float[Tensor, ""]:
    """Supervised contrastive loss of unit vectors: each picture has to find those of its person among all others."""
    itself = torch.eye(len(people), dtype=torch.bool, device=people.device)
    scores = (embeddings @ embeddings.T / temperature).masked_fill(itself, -torch.inf)
    chances = scores.log_softmax(1).masked_fill(itself, 0)
    partners = (people[:, None] == people) & ~itself
    return -(chances * partners).sum(1).div(partners.sum(1).clamp(min=1)).mean()


def draw_pictures(
    bank: HeadBank, heads: Int[Tensor, " B"], count: int, generator: torch.Generator
) -> Float[Tensor, "N 3 H W"]:
    """`count` different pictures of each head over white, views and portraits alike, the head's one after the other.

    The pictures of a head are mirrored together or not at all.
    """
    device, views = heads.device, bank.rgb.shape[1]
    total = views + bank.portraits.shape[1]
    batch = len(heads)
    order = torch.rand((batch, total), generator=generator, device=device).argsort(1)[:, :count]
    owners = heads[:, None].expand_as(order)
    number = order.clamp(max=views - 1)
    seen = torch.cat([bank.rgb[owners, number], bank.alpha[owners, number]], 2)
    portraits = bank.portraits[owners, (order - views).clamp(min=0)]
    rgba = torch.where((order < views)[..., None, None, None], seen, portraits)
    flip = torch.rand((batch, 1, 1, 1, 1), generator=generator, device=device) < 0.5
    rgba = torch.where(flip, rgba.flip(-1), rgba).flatten(0, 1).float() / 255
    return spoil(rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:], generator)


def spoil(pictures: Float[Tensor, "B 3 H W"], generator: torch.Generator) -> Float[Tensor, "B 3 H W"]:
    """The pictures as somebody else could have made them: cropped anew, in other light, soft, noisy."""
    device, batch, size = pictures.device, len(pictures), pictures.shape[-1]
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    zoom = torch.exp(-0.1 + 0.5 * uniform(batch))
    shift = (uniform(batch, 2) - 0.5) * (size / 8)
    k = torch.eye(3, device=device).expand(batch, 3, 3)
    # What a crop leaves empty is white, as the ground is.
    pictures = 1 - recrop(1 - pictures, k, zoom, shift)[0]
    gain = torch.exp((uniform(batch, 3, 1, 1) - 0.5) * 0.2 + (uniform(batch, 1, 1, 1) - 0.5) * 0.4)
    pictures = (pictures * gain).clamp(0, 1) ** torch.exp((uniform(batch, 1, 1, 1) - 0.5) * 0.4)
    # Half of the pictures are left sharp, the others blurred by up to 2.5 pixels.
    sigma = 2.5 * (2 * uniform(batch) - 1).clamp(min=0)
    pictures = blur(pictures, sigma * size / 128)
    noise = torch.randn(pictures.shape, generator=generator, device=device)
    return (pictures + noise * uniform(batch, 1, 1, 1) * 0.03).clamp(0, 1)


def blur(pictures: Float[Tensor, "B 3 H W"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B 3 H W"]:
    """Gaussian blur, each picture by its own deviation in pixels."""
    batch, channels, height, width = pictures.shape
    reach = torch.arange(-6, 7, device=pictures.device)
    kernel = torch.exp(-0.5 * (reach / sigma[:, None].clamp(min=0.1)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(pictures.reshape(1, -1, height, width), (6, 6, 6, 6), mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=batch * channels)
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=batch * channels)
    return flat.reshape(batch, channels, height, width)
