"""How well portraits and texts find each other, on people that were not learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from backend.training.questions import QUESTIONS, answers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from backend.rodin.latent import LatentSpace
    from backend.training.people import People
    from backend.training.prompts import Facts

REQUESTS = (
    "a woman with red hair and glasses", "a bald man with a beard", "an old man", "a young woman with long blond hair",
    "a man with dark brown skin", "someone in a hat", "sunglasses", "a grey-haired woman in a white shirt",
)  # fmt: skip
"""What contact sheets show."""


@torch.no_grad()
def retrieval(
    space: LatentSpace, points: Float[Tensor, "N Z"], captions: list[str], *, of: int = 64
) -> dict[str, float]:
    """How often a portrait's own caption is the first, or among the first five, of `of` captions (or of all, when
    there are fewer); equal captions count as own."""
    points, captions = points[:of], captions[:of]
    texts = space.encode_texts(captions)
    scores = F.normalize(points, dim=1) @ F.normalize(texts, dim=1).T
    order = scores.argsort(1, descending=True).tolist()
    rank = [next(i for i, n in enumerate(row) if captions[n] == captions[own]) for own, row in enumerate(order)]
    return {f"top {k} of {len(captions)}": sum(place < k for place in rank) / len(rank) for k in (1, 5)}


@torch.no_grad()
def zero_shot(space: LatentSpace, points: Float[Tensor, "N Z"], facts: list[Facts]) -> dict[str, dict[str, float]]:
    """For each attribute: the mean over its values of the share of portraits decided rightly (`accuracy`), what
    guessing gives (`chance`), and how many portraits were asked."""
    found: dict[str, dict[str, float]] = {}
    for attribute, true_answer in answers(facts).items():
        asked = true_answer >= 0
        if asked.any():
            truth = true_answer[asked]
            texts = space.encode_texts(list(QUESTIONS[attribute]))
            guess = (F.normalize(points, dim=1)[asked.to(points.device)] @ F.normalize(texts, dim=1).T).argmax(1).cpu()
            shares = [float((guess[truth == value] == value).float().mean()) for value in truth.unique()]
            found[attribute] = {
                "accuracy": sum(shares) / len(shares),
                "chance": 1 / len(texts),
                "portraits": len(truth),
            }
    return found


@torch.no_grad()
def heeded(
    draw: Callable[[str, int], Float[Tensor, "M Z"]],
    known: Float[Tensor, "N Z"],
    facts: list[Facts],
    count: int = 24,
) -> dict[str, float]:
    """For each attribute how often a prompt is true of the known person who is nearest to a point drawn for it, the
    mean over the attribute's prompts; prompts that are true of nobody do not count."""
    found: dict[str, float] = {}
    for attribute, true_answer in answers(facts).items():
        shares = []
        for number, text in enumerate(QUESTIONS[attribute]):
            if (true_answer == number).any():
                scores = F.normalize(draw(text, count), dim=1) @ F.normalize(known, dim=1).T
                nearest = true_answer[scores.argmax(1).cpu()]
                # Whom nobody would ask says nothing for or against it.
                shares.append(float((nearest == number).sum() / (nearest >= 0).sum().clamp(min=1)))
        if shares:
            found[attribute] = sum(shares) / len(shares)
    return found


def portrait_sheet(
    people: People,
    heads: list[int],
    points: Float[Tensor, "N Z"],
    wanted: Mapping[str, Float[Tensor, "M Z"]],
    path: Path,
    columns: int = 6,
) -> None:
    """One row per request: the portraits of the `heads` (whose points are `points`) that lie nearest to its points: to
    each of several the nearest, to a single one the nearest few."""
    from PIL import Image, ImageDraw

    rows = []
    for text, there in wanted.items():
        scores = F.normalize(there, dim=1) @ F.normalize(points, dim=1).T
        chosen = scores[0].topk(min(columns, len(heads))).indices if len(there) == 1 else scores.argmax(1)
        pictures = [people.pictures[heads[n], 0].permute(1, 2, 0).numpy() / 255 for n in chosen.tolist()]
        row = np.hstack([rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:] for rgba in pictures])
        drawn = Image.new("RGB", (row.shape[1], row.shape[0] + 16), "white")
        drawn.paste(Image.fromarray((row * 255 + 0.5).astype(np.uint8)), (0, 16))
        ImageDraw.Draw(drawn).text((4, 2), text, fill="black")
        rows.append(np.asarray(drawn))
    Image.fromarray(np.vstack(rows)).save(path)
