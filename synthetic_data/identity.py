"""Who is in a picture, as plain data: everything a rendered head depends on, drawn from tagged random streams.

An `IdentitySpec` can be stored as JSON, hashed and rendered again bit for bit. Every group of properties draws from
its own stream (`stream(seed, index, "skin")`), so that a new group never shifts the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.body_model.base import BodyModel, Parameter

if TYPE_CHECKING:
    from jaxtyping import Float

SCHEMA_VERSION = 1
HAIR_FAMILIES = ("bald", "buzz", "short", "bob", "long", "afro")

# Facial actions that occur together, with the strength of each at a gain of one; both sides move alike unless noted.
_EXPRESSIONS: dict[str, dict[str, float]] = {
    "smile": {"mouthSmile*": 0.8, "cheekSquint*": 0.4, "eyeSquint*": 0.2},
    "open_smile": {"mouthSmile*": 0.7, "jawOpen": 0.25, "mouthUpperUp*": 0.25, "cheekSquint*": 0.3},
    "surprise": {"browInnerUp": 0.8, "browOuterUp*": 0.7, "eyeWide*": 0.6, "jawOpen": 0.3},
    "frown": {"browDown*": 0.7, "mouthFrown*": 0.5, "eyeSquint*": 0.3},
    "speak": {"jawOpen": 0.3, "mouthLowerDown*": 0.3, "mouthUpperUp*": 0.15},
    "pucker": {"mouthPucker": 0.7, "jawOpen": 0.05},
    "squint": {"eyeSquint*": 0.6, "eyeBlink*": 0.25, "noseSneer*": 0.2},
}


@dataclasses.dataclass(frozen=True)
class SkinSpec:
    """Pigments of the skin: `melanin` 0.05 (palest) to 2.3 (darkest), `haemoglobin` 0.15 to 0.6, the rest 0 to 1."""

    melanin: float
    haemoglobin: float
    blush: float
    freckles: float
    lip_redness: float
    roughness: float
    stubble: float
    noise_seed: int


@dataclasses.dataclass(frozen=True)
class EyeSpec:
    """Linear RGB of the iris, and the pupil's radius as a fraction of the iris."""

    iris: tuple[float, float, float]
    pupil: float
    noise_seed: int


@dataclasses.dataclass(frozen=True)
class HairSpec:
    """Hair on the head and the brows. `length` in metres (of the longest strands), `volume` and `fringe` 0 to 1.

    `parting` is the template x of the parting in metres. `melanin` 0 (white) to 1 (black) and `redness` 0 to 1 follow
    Cycles' Principled Hair. Brows: `brow_thickness` is a factor, `brow_arch` -1 to 1.
    """

    family: str
    length: float
    volume: float
    fringe: float
    parting: float
    melanin: float
    redness: float
    brow_thickness: float
    brow_arch: float
    seed: int


@dataclasses.dataclass(frozen=True)
class GarmentSpec:
    """A shirt made from the body model's hull: linear RGB and the height of its neckline (metres, head frame)."""

    colour: tuple[float, float, float]
    neckline: float


@dataclasses.dataclass(frozen=True)
class LightSpec:
    """A procedural studio or sky around the head; `strength` is its mean radiance."""

    seed: int
    strength: float


@dataclasses.dataclass(frozen=True)
class IdentitySpec:
    """One person in one expression under one light.

    `identity` and `expression` are the body model's parameters in its own order. `gaze` is (yaw towards +X, pitch up)
    in radians and turns both eyes.
    """

    seed: int
    index: int
    model: str
    identity: tuple[float, ...]
    expression: tuple[float, ...]
    gaze: tuple[float, float]
    skin: SkinSpec
    eyes: EyeSpec
    hair: HairSpec
    garment: GarmentSpec
    light: LightSpec
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """One line, keys sorted; floats keep all their digits."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> IdentitySpec:
        """Inverse of `to_json`. Raises ValueError for another schema version."""
        data: dict[str, Any] = json.loads(text)
        if data.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"identity written with schema {data.get('schema_version')}, this is {SCHEMA_VERSION}")
        parts = {"skin": SkinSpec, "eyes": EyeSpec, "hair": HairSpec, "garment": GarmentSpec, "light": LightSpec}
        for name, kind in parts.items():
            data[name] = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in data[name].items()})
        for name in ("identity", "expression", "gaze"):
            data[name] = tuple(data[name])
        return cls(**data)

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON: two equal specs render to the same picture."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def vertices(self, model: BodyModel) -> Float[np.ndarray, "V 3"]:
        """Vertices in this expression, metres, head frame; eyeballs not turned by the gaze."""
        identity = np.array(self.identity)
        offsets = model.expression_offsets(identity)
        return model.neutral(identity) + np.tensordot(np.array(self.expression), offsets, 1)


def stream(seed: int, index: int, tag: str) -> np.random.Generator:
    """The random numbers that belong to one group of properties of one identity."""
    return np.random.default_rng(np.random.SeedSequence([seed, index, *tag.encode()]))


def sample_identity(
    model: BodyModel,
    seed: int,
    index: int,
    *,
    expression_gain: float = 0.5,
    gaze_degrees: float = 5.0,
    hair_families: tuple[str, ...] = HAIR_FAMILIES,
) -> IdentitySpec:
    """A random person.

    Args:
        model: whose parameters and prior are drawn.
        seed: of the whole set.
        index: of the person within the set, from 0.
        expression_gain: mean strength of the expressions; 0 keeps the face neutral.
        gaze_degrees: standard deviation of yaw and pitch of the eyes.
        hair_families: what to choose the hair from, see `HAIR_FAMILIES`.
    """
    identity = _sample_shape(model.identity_parameters, stream(seed, index, "shape"))
    values = {p.name: v for p, v in zip(model.identity_parameters, identity, strict=True)}
    dark = values.get("african", 0.3) + 0.35 * values.get("asian", 0.3)
    male = values.get("gender", 0.5) > 0.5
    old = values.get("age", 0.68) > 0.85

    expression = _sample_expression(model.expression_parameters, stream(seed, index, "expression"), expression_gain)
    rng = stream(seed, index, "gaze")
    gaze = np.radians(np.clip(rng.normal(0, 1, 2), -2, 2) * [gaze_degrees, 0.6 * gaze_degrees])

    rng = stream(seed, index, "skin")
    skin = SkinSpec(
        melanin=float(np.clip(0.1 + 1.5 * dark * rng.uniform(0.5, 1.2), 0.08, 2.0)),
        haemoglobin=float(rng.uniform(0.22, 0.45)),
        blush=float(rng.uniform(0.1, 0.45)),
        freckles=float(rng.uniform(0.3, 1.0) * (rng.random() < 0.2)),
        lip_redness=float(rng.uniform(0.25, 0.6)),
        roughness=float(rng.uniform(0.36, 0.52)),
        stubble=float(rng.uniform(0.0, 0.7) * male),
        noise_seed=int(rng.integers(1 << 31)),
    )
    rng = stream(seed, index, "eyes")
    irises = ((0.10, 0.045, 0.02), (0.16, 0.09, 0.04), (0.10, 0.17, 0.26), (0.12, 0.19, 0.11), (0.17, 0.19, 0.20))
    weights = np.array([0.7, 0.3, 0, 0, 0]) if dark > 0.45 else np.array([0.3, 0.2, 0.25, 0.15, 0.1])
    iris = np.array(irises[rng.choice(5, p=weights)]) * rng.uniform(0.8, 1.25)
    eyes = EyeSpec(
        iris=(float(iris[0]), float(iris[1]), float(iris[2])),
        pupil=float(rng.uniform(0.28, 0.42)),
        noise_seed=int(rng.integers(1 << 31)),
    )

    rng = stream(seed, index, "hair")
    family = str(rng.choice(hair_families))
    melanin = float(rng.uniform(0.8, 0.98) if dark > 0.45 else rng.uniform(0.2, 0.95))
    lengths = {"bald": 0.0, "buzz": 0.006, "short": 0.05, "bob": 0.2, "long": 0.34, "afro": 0.06}
    hair = HairSpec(
        family=family,
        length=lengths.get(family, 0.1) * float(rng.uniform(0.8, 1.25)),
        volume=float(rng.uniform(0.1, 0.9)),
        fringe=float(rng.random()),
        parting=float(rng.choice([0.0, 0.02, -0.02])),
        melanin=melanin if not old or rng.random() < 0.3 else float(rng.uniform(0.05, 0.2)),
        redness=float(rng.uniform(0, 0.6)),
        brow_thickness=float(rng.uniform(0.9, 1.25) if male else rng.uniform(0.65, 0.95)),
        brow_arch=float(rng.uniform(-1, 1)),
        seed=int(rng.integers(1 << 31)),
    )
    rng = stream(seed, index, "garment")
    red, green, blue = (float(v) for v in rng.uniform(0.02, 0.4, 3) * rng.uniform(0.4, 1.2))
    garment = GarmentSpec((red, green, blue), float(rng.uniform(-0.155, -0.135)))
    rng = stream(seed, index, "light")
    light = LightSpec(int(rng.integers(1 << 31)), float(rng.uniform(0.5, 0.75)))
    gaze_pair = (float(gaze[0]), float(gaze[1]))
    return IdentitySpec(
        seed, index, model.name, tuple(identity), tuple(expression), gaze_pair, skin, eyes, hair, garment, light
    )


def _pair_key(name: str) -> str:
    """The name that both sides of a paired parameter share."""
    if name.startswith(("l-", "r-")):
        return name[2:]
    return name.removesuffix("Left").removesuffix("Right") + "*" if name.endswith(("Left", "Right")) else name


def _sample_shape(parameters: tuple[Parameter, ...], rng: np.random.Generator) -> list[float]:
    """Adults from the prior: pairs share most of their deviate, sexes are bimodal, ancestries sum to one."""
    shared: dict[str, float] = {}
    ancestry = rng.dirichlet([0.7, 0.7, 0.7])
    male = rng.random() < 0.5
    values = []
    for p in parameters:
        common, own = rng.normal(0, 1, 2)
        deviate = shared.setdefault(_pair_key(p.name), common)
        if _pair_key(p.name) != p.name:
            deviate = 0.97 * deviate + 0.15 * own
        value = p.mean + p.sd * np.clip(deviate, -2.6, 2.6)
        if p.name == "gender":
            value = np.clip(male + (0.5 - male) * abs(0.3 * common), 0, 1)
        elif p.name == "age":
            value = max(value, 0.5)
        elif p.name in ("african", "asian", "caucasian"):
            value = ancestry[("african", "asian", "caucasian").index(p.name)]
        values.append(float(np.clip(value, p.low, p.high)))
    return values


def _sample_expression(parameters: tuple[Parameter, ...], rng: np.random.Generator, gain: float) -> list[float]:
    """One or two groups of facial actions, nearly alike on both sides, and a little of everything about the mouth."""
    values = dict.fromkeys((p.name for p in parameters), 0.0)
    for group in rng.choice(sorted(_EXPRESSIONS), size=rng.integers(1, 3), replace=False):
        strength = gain * rng.uniform(0.3, 1.5)
        for name, amount in _EXPRESSIONS[group].items():
            sides = (name[:-1] + "Left", name[:-1] + "Right") if name.endswith("*") else (name,)
            for side in sides:
                if side in values:
                    values[side] += amount * strength * rng.uniform(0.85, 1.15)
    return [float(np.clip(values[p.name], p.low, p.high)) for p in parameters]
