"""What people of the set are like, as data: ``distributions.json`` holds every range, weight and colour.

A rule is a number, a word, or one of

=========================================== =========================================================
``{"uniform": [low, high]}``                evenly between
``{"normal": [mean, sd, low, high]}``       bell curve, cut off at the bounds
``{"integer": below}``                      0, 1, ... below - 1
``{"choice": {"a": 2, "b": 1}}``            one of the names, by weight (numbers where the names are numbers)
``{"chance": p, "then": rule, "else": 0}``  `then` with probability p
``{"by": fact, "value": rule, "else": ..}`` the rule for what is already known of the person
``{"palette": name}``                       a linear RGB colour near one of the palette's
``{"tone": rule}``                          the melanin that goes with the person's ancestry, times a factor
=========================================== =========================================================

Every field draws from a random stream of its own, so that a changed rule or a new field never changes another.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

Rule = Any
"""JSON, see above."""

_DEFAULT = Path(__file__).with_name("distributions.json")


class Distributions:
    """The rules of one version of the set. Raises ValueError where a rule cannot be read."""

    def __init__(self, rules: dict[str, Any]) -> None:
        self.rules = rules
        self.version = int(rules["version"])

    @classmethod
    def load(cls, path: Path = _DEFAULT) -> Distributions:
        """The rules in a JSON file; a set of one's own starts from a copy of the default."""
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError, KeyError, TypeError) as problem:
            raise ValueError(f"{path} holds no distributions: {problem}") from problem

    @property
    def digest(self) -> str:
        """SHA-256 of the rules: another digest means other people."""
        return hashlib.sha256(json.dumps(self.rules, sort_keys=True).encode()).hexdigest()

    def draw(self, rule: Rule, rng: np.random.Generator, facts: dict[str, Any]) -> Any:
        """One value of a rule for a person of whom `facts` are known."""
        if not isinstance(rule, dict):
            return rule
        match rule:
            case {"uniform": [low, high]}:
                return float(rng.uniform(low, high))
            case {"normal": [mean, sd, low, high]}:
                return float(np.clip(rng.normal(mean, sd), low, high))
            case {"integer": below}:
                return int(rng.integers(below))
            case {"choice": weights}:
                names = list(weights)
                share = np.array([weights[name] for name in names], float)
                return _number_or_name(names[int(rng.choice(len(names), p=share / share.sum()))])
            case {"chance": chance, "then": then}:
                return self.draw(then if rng.random() < chance else rule.get("else", 0.0), rng, facts)
            case {"by": fact}:
                chosen = rule.get(str(facts[fact]), rule.get("else"))
                if chosen is None:
                    raise ValueError(f"no rule for {fact} = {facts[fact]}")
                return self.draw(chosen, rng, facts)
            case {"palette": name}:
                entries = self.rules["palettes"][name]
                share = np.array([weight for weight, _ in entries], float)
                colour = np.array(entries[int(rng.choice(len(entries), p=share / share.sum()))][1])
                varied = colour * rng.uniform(0.75, 1.3) * rng.uniform(0.92, 1.08, 3)
                return tuple(float(v) for v in np.clip(varied, 0, 1))
            case {"tone": factor}:
                return float(np.clip(facts["melanin"] * self.draw(factor, rng, facts), 0.06, 2.1))
        raise ValueError(f"unreadable rule {rule}")


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@functools.cache
def default_distributions() -> Distributions:
    """The rules that come with the package."""
    return Distributions.load()
