"""Figures of the suite `words`, from what the classifier and the verifier see in drawn people.

What a person looks like is a dictionary of the classifier's words (`judges.attributes`), here called *seen*.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from backend.evaluation.judges import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from backend.evaluation.asks import Ask, Values
    from backend.evaluation.judges import Verifier

Seen = dict[str, str]
_BOTH = ("changed", "kept")


def shown(seen: Seen, name: str) -> bool:
    """Whether somebody who looks like this shows the attribute at all: hats hide hair, and no hair has no colour."""
    return name in seen and visible(seen, name) and not (name == "hair colour" and seen.get("hair") == "bald")


def holds(seen: Seen, values: Values) -> bool:
    """Whether all attributes are shown and have one of the values."""
    return all(shown(seen, name) and seen[name] in words for name, words in values.items())


@torch.no_grad()
def embedding(verifier: Verifier, pictures: Float[Tensor, "V 3 H W"]) -> Float[Tensor, " E"]:
    """Who the one person in all the pictures is: the direction of the mean of their embeddings."""
    return F.normalize(verifier(pictures).mean(0), dim=0)


def diversity(embeddings: Float[Tensor, "N E"]) -> float:
    """Mean of one minus the cosine over all pairs of N people, N at least 2: 0 where all are the same."""
    count = len(embeddings)
    pairs = torch.ones(count, count, dtype=torch.bool).triu(1)
    return float(1 - (embeddings @ embeddings.T)[pairs].mean())


def distribution(people: Sequence[Seen]) -> dict[str, dict[str, float]]:
    """For every attribute the share of each word among the people, the commonest first."""
    names = people[0].keys() if people else ()
    counts = {name: Counter(seen[name] for seen in people) for name in names}
    return {name: {word: n / len(people) for word, n in found.most_common()} for name, found in counts.items()}


def prompt_figures(ask: Ask, people: Sequence[Seen], anybody: Sequence[Seen]) -> dict[str, Any]:
    """Of `people` made from the prompt: the share of whom all that was asked is true, and that of each attribute alone.

    `anybody` are people made without words, of whom it may be true by chance; None where there are none.
    """
    return {
        "prompt": ask.words,
        "asked": {name: list(values) for name, values in ask.asked.items()},
        "true": _share([holds(seen, ask.asked) for seen in people]),
        "true_by_chance": _share([holds(seen, ask.asked) for seen in anybody]),
        "attributes": {
            name: _share([holds(seen, {name: values}) for seen in people]) for name, values in ask.asked.items()
        },
        "seen": list(people),
    }


def edit_figures(ask: Ask, before: Sequence[Seen], after: Sequence[Seen]) -> dict[str, Any]:
    """Of the people whom the edit is asked of, and of whom it was not true before: how many it is true of after
    (`changed`), and the share of the attributes that it does not name, shown before and after, whose word stays
    (`kept`). Both as [how many, of how many], and as shares, None where nobody was asked.
    """
    asked = [holds(one, ask.of) and not holds(one, ask.asked) for one in before]
    pairs = [pair for counts, *pair in zip(asked, before, after, strict=True) if counts]
    changed = [holds(new, ask.asked) for _, new in pairs]
    kept = [
        old[name] == new[name]
        for old, new in pairs
        for name in old
        if name not in ask.asked and shown(old, name) and shown(new, name)
    ]
    return {
        "edit": ask.words,
        "asked": {name: list(values) for name, values in ask.asked.items()},
        "asked_of": asked,
        "changed": _share(changed),
        "changed_counts": [sum(changed), len(changed)],
        "kept": _share(kept),
        "kept_counts": [sum(kept), len(kept)],
        "seen": list(after),
    }


def all_edits(edits: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """`changed` and `kept` of all edits together, each person or attribute counting alike."""
    totals = {name: [sum(part) for part in zip(*(e[f"{name}_counts"] for e in edits), strict=True)] for name in _BOTH}
    return {name: good / count if count else None for name, (good, count) in totals.items()}


def summary(whole: dict[str, Any]) -> str:
    """The figures as text."""
    lines = []
    if samples := whole.get("samples"):
        learned = samples["diversity_learned"]
        beside = "" if learned is None else f", people learned from {learned:.3f}"
        lines.append(f"{samples['count']} samples: mean distance of two {samples['diversity']:.3f}{beside}")
    for prompt in whole.get("prompts", ()):
        by_chance = _percent(prompt["true_by_chance"])
        lines.append(f"{prompt['prompt']}: true {_percent(prompt['true'])}, by chance {by_chance}")
    if edits := whole.get("edits"):
        for edit in (*edits["edits"], {"edit": "all edits", **edits}):
            lines.append(f"{edit['edit']}: changed {_percent(edit['changed'])}, kept {_percent(edit['kept'])}")
        lines[-1] += f" (goal: {edits['goal']:.0%} each)"
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _share(answers: Sequence[bool]) -> float | None:
    return sum(answers) / len(answers) if answers else None
