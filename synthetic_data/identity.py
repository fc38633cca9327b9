"""Who is in a picture, as plain data: everything a rendered head depends on, drawn from tagged random streams.

An `IdentitySpec` can be stored as JSON, hashed and rendered again bit for bit. What is drawn is said in
``distributions.json``; every field has its own stream (`stream(seed, index, "skin.melanin")`), so that a new field
never shifts the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.body_model.base import BodyModel, Parameter
from synthetic_data.distributions import Distributions, default_distributions
from synthetic_data.proportions import proportions

if TYPE_CHECKING:
    from jaxtyping import Float

SCHEMA_VERSION = 2
Colour = tuple[float, float, float]
"""Linear RGB."""

HAIR_FAMILIES = (
    "bald", "tonsure", "buzz", "crop", "short", "receding", "undercut", "quiff", "slick", "side part", "mohawk",
    "bowl", "pixie", "bob", "fringe bob", "lob", "long", "layered", "wavy", "curly", "afro", "locs", "braids",
    "ponytail", "bun",
)  # fmt: skip
BEARD_STYLES = ("none", "moustache", "goatee", "van dyke", "chinstrap", "short", "full", "long", "sideburns")
GARMENT_KINDS = (
    "tee", "v-neck", "scoop", "polo", "shirt", "suit", "blazer", "hoodie", "turtleneck", "sweater", "jacket",
    "tank top", "off shoulder", "overall", "robe",
)  # fmt: skip
PATTERNS = ("plain", "stripes", "checks", "dots", "heather", "print")
GLASSES = ("none", "rectangle", "round", "wayfarer", "rimless", "aviator", "sunglasses")
HEADWEAR = ("none", "cap", "beanie", "brimmed hat", "turban", "headscarf", "headband")
EARRINGS = ("none", "studs", "hoops", "drops")
LIGHTS = ("room", "studio", "sky", "sun", "window", "even")


@dataclasses.dataclass(frozen=True)
class SkinSpec:
    """Pigments of the skin: `melanin` 0.06 (palest) to 2.1 (darkest), `haemoglobin` 0.15 to 0.6, the rest 0 to 1.

    `wrinkles` is how deep age has drawn them, `pores` how coarse the skin is, `makeup` how much there is on lips and
    lids, in `makeup_colour`.
    """

    melanin: float
    haemoglobin: float
    blush: float
    freckles: float
    moles: float
    lip_redness: float
    roughness: float
    pores: float
    wrinkles: float
    stubble: float
    makeup: float
    makeup_colour: Colour
    noise_seed: int


@dataclasses.dataclass(frozen=True)
class EyeSpec:
    """Colour of the iris, and the pupil's radius as a fraction of the iris."""

    iris: Colour
    pupil: float
    noise_seed: int


@dataclasses.dataclass(frozen=True)
class HairSpec:
    """Hair on the head, brows and lashes. `length` in metres (of the longest strands), the rest 0 to 1 unless noted.

    `parting` is the template x of the parting in metres, `hairline` how far the hair has receded, `fade` how short the
    sides are, `curl` and `frizz` the shape of a strand. `melanin` 0 (white) to 1 (black) and `redness` follow Cycles'
    Principled Hair; `dye` mixes `dye_colour` in. Brows: `brow_thickness` and `lash_length` are factors, `brow_arch` is
    -1 to 1.
    """

    family: str
    length: float
    volume: float
    fringe: float
    parting: float
    curl: float
    frizz: float
    fade: float
    hairline: float
    melanin: float
    redness: float
    dye: float
    dye_colour: Colour
    brow_thickness: float
    brow_density: float
    brow_arch: float
    lash_length: float
    seed: int


@dataclasses.dataclass(frozen=True)
class BeardSpec:
    """Facial hair. `length` in metres, `density` 0 to 1; `greyer` lightens the hair's pigment."""

    style: str
    length: float
    density: float
    greyer: float
    seed: int


@dataclasses.dataclass(frozen=True)
class GarmentSpec:
    """What the person wears: `kind`, its `pattern` in two colours, `neckline` (0 high, 1 low) and `fit` (0 tight)."""

    kind: str
    colour: Colour
    second_colour: Colour
    pattern: str
    pattern_size: float
    neckline: float
    fit: float
    seed: int


@dataclasses.dataclass(frozen=True)
class AccessorySpec:
    """Glasses, headwear and earrings, each possibly ``"none"``; `metal` is ``"gold"`` or ``"silver"``."""

    glasses: str
    glasses_colour: Colour
    headwear: str
    headwear_colour: Colour
    earrings: str
    metal: str
    seed: int


@dataclasses.dataclass(frozen=True)
class PoseSpec:
    """How the head is turned on the neck, degrees: `yaw` towards +X, `pitch` up, `roll` towards +X.

    The head frame stays where it is; the shoulders turn the other way.
    """

    yaw_degrees: float
    pitch_degrees: float
    roll_degrees: float


@dataclasses.dataclass(frozen=True)
class LightSpec:
    """The surroundings that light the head; `strength` is their mean radiance, `warmth` -1 (blue) to 1 (orange).

    `kind` ``"even"`` is the same soft light for everybody.
    """

    kind: str
    strength: float
    warmth: float
    contrast: float
    seed: int


_PARTS = {
    "skin": SkinSpec,
    "eyes": EyeSpec,
    "hair": HairSpec,
    "beard": BeardSpec,
    "garment": GarmentSpec,
    "accessories": AccessorySpec,
    "pose": PoseSpec,
    "light": LightSpec,
}


@dataclasses.dataclass(frozen=True)
class IdentitySpec:
    """One person in one expression under one light.

    `identity` and `expression` are the body model's parameters in its own order; `expression_name` says in words what
    the expression is made of. `gaze` is (yaw towards +X, pitch up) in radians and turns both eyes.
    """

    seed: int
    index: int
    model: str
    sex: str
    age: str
    identity: tuple[float, ...]
    expression: tuple[float, ...]
    expression_name: str
    gaze: tuple[float, float]
    skin: SkinSpec
    eyes: EyeSpec
    hair: HairSpec
    beard: BeardSpec
    garment: GarmentSpec
    accessories: AccessorySpec
    pose: PoseSpec
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
        for name, kind in _PARTS.items():
            data[name] = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in data[name].items()})
        for name in ("identity", "expression", "gaze"):
            data[name] = tuple(data[name])
        return cls(**data)

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON: two equal specs render to the same picture."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def bare(self) -> IdentitySpec:
        """The same person with nothing before the face, looking straight from the shoulders."""
        return dataclasses.replace(
            self,
            beard=dataclasses.replace(self.beard, style="none", length=0.0),
            accessories=dataclasses.replace(self.accessories, glasses="none", headwear="none", earrings="none"),
            pose=PoseSpec(0.0, 0.0, 0.0),
        )

    def vertices(self, model: BodyModel) -> Float[np.ndarray, "V 3"]:
        """Vertices in this expression, metres, head frame; eyeballs not turned by the gaze, neck not bent."""
        identity = np.array(self.identity)
        offsets = model.expression_offsets(identity)
        return model.neutral(identity) + np.tensordot(np.array(self.expression), offsets, 1)


def stream(seed: int, index: int, tag: str) -> np.random.Generator:
    """The random numbers that belong to one property of one identity."""
    return np.random.default_rng(np.random.SeedSequence([seed, index, *tag.encode()]))


def sample_identity(
    model: BodyModel,
    seed: int,
    index: int,
    *,
    distributions: Distributions | None = None,
    take: int = 0,
    expression_gain: float = 1.0,
    gaze_gain: float = 1.0,
    hair_families: tuple[str, ...] | None = None,
) -> IdentitySpec:
    """A random person.

    Args:
        model: whose parameters and prior are drawn.
        seed: of the whole set.
        index: of the person within the set, from 0.
        distributions: the rules; those of the package by default.
        take: the same person again with another expression, gaze and pose; 0 is the first.
        expression_gain: factor on the strength of the expression; 0 keeps the face neutral.
        gaze_gain: factor on the turn of the eyes.
        hair_families: what to choose the hair from, evenly, instead of the rules.
    """
    distributions = distributions or default_distributions()
    rules = distributions.rules
    taken = f"/{take}" if take else ""
    shape = _sample_shape(model, distributions, seed, index)
    facts = _facts({p.name: v for p, v in zip(model.identity_parameters, shape, strict=True)})

    def fill(section: str, kind: type, tag: str = "") -> Any:
        values: dict[str, Any] = {}
        for field in dataclasses.fields(kind):
            rng = stream(seed, index, f"{section}.{field.name}{tag}")
            if section == "hair" and field.name == "family" and hair_families is not None:
                values[field.name] = str(rng.choice(hair_families))
            else:
                drawn = distributions.draw(rules[section][field.name], rng, facts | values)
                values[field.name] = float(drawn) if field.type == "float" else drawn
        return kind(**values)

    name, expression = _sample_expression(
        model.expression_parameters, rules["expression"], distributions, stream(seed, index, "expression" + taken)
    )
    rng = stream(seed, index, "gaze" + taken)
    gaze = [
        np.radians(distributions.draw(rules["gaze"][axis], rng, facts)) for axis in ("yaw_degrees", "pitch_degrees")
    ]
    return IdentitySpec(
        seed=seed,
        index=index,
        model=model.name,
        sex=facts["sex"],
        age=facts["age"],
        identity=tuple(shape),
        expression=tuple(float(np.clip(expression_gain * v, 0, 1)) for v in expression),
        expression_name=name if expression_gain > 0 else "neutral",
        gaze=(float(gaze_gain * gaze[0]), float(gaze_gain * gaze[1])),
        pose=fill("pose", PoseSpec, taken),
        **{part: fill(part, kind) for part, kind in _PARTS.items() if part != "pose"},
    )


def _facts(shape: dict[str, float]) -> dict[str, Any]:
    """What the rules may ask about: sex, age, and how dark the skin of the person's ancestors was."""
    african, asian = shape.get("african", 0.33), shape.get("asian", 0.33)
    melanin = 0.12 + 1.35 * african**1.15 + 0.38 * asian
    age = shape.get("age", 0.68)
    return {
        "sex": "male" if shape.get("gender", 0.5) > 0.5 else "female",
        "age": "young" if age < 0.66 else "middle" if age < 0.84 else "old",
        "melanin": melanin,
        "tone": "light" if melanin < 0.42 else "medium" if melanin < 0.85 else "dark",
    }


def _pair_key(name: str) -> str:
    """The name that both sides of a paired parameter share."""
    if name.startswith(("l-", "r-")):
        return name[2:]
    return name.removesuffix("Left").removesuffix("Right") + "*" if name.endswith(("Left", "Right")) else name


def _sample_shape(model: BodyModel, distributions: Distributions, seed: int, index: int) -> list[float]:
    """Adults whose proportions lie within human bounds; what falls outside is drawn again, at most 30 times."""
    rules = distributions.rules["shape"]
    values: list[float] = []
    for attempt in range(30):
        values = _draw_shape(model.identity_parameters, distributions, stream(seed, index, f"shape/{attempt}"))
        ratios = proportions(model, np.array(values))
        if all(low <= ratios.get(name, low) <= high for name, (low, high) in rules["bounds"].items()):
            break
    return values


def _draw_shape(
    parameters: tuple[Parameter, ...], distributions: Distributions, rng: np.random.Generator
) -> list[float]:
    """Pairs share most of their deviate, parts of the same feature some of it; sexes are bimodal, ancestries sum to 1.

    Local changes stack: drawn one by one, all faces are the average with noise. `group_share` of each deviate's
    variance is common to its feature (``nose-...``), with a sign of its own per parameter.
    """
    rules = distributions.rules["shape"]
    share, clip = rules["group_share"], rules["clip"]
    ancestry = rng.dirichlet(rules["ancestry"])
    male = rng.random() < rules["male"]
    age = distributions.draw(rules["age"], rng, {})
    groups: dict[str, float] = {}
    pairs: dict[str, float] = {}
    values = []
    for p in parameters:
        feature, own, side, lean = rng.normal(0, 1, 4)
        key = _pair_key(p.name)
        group = groups.setdefault(key.split("-")[0], feature)
        deviate = np.sqrt(share) * group * np.sign(lean) + np.sqrt(1 - share) * own
        deviate = pairs.setdefault(key, float(deviate))
        if key != p.name:
            deviate = deviate + rules["asymmetry"] * side
        value = p.mean + rules["spread"] * p.sd * np.clip(deviate, -clip, clip)
        if p.name == "gender":
            value = np.clip(male + (0.5 - male) * abs(0.3 * own), 0, 1)
        elif p.name == "age":
            value = age
        elif p.name in ("african", "asian", "caucasian"):
            value = ancestry[("african", "asian", "caucasian").index(p.name)]
        values.append(float(np.clip(value, p.low, p.high)))
    return values


def _sample_expression(
    parameters: tuple[Parameter, ...], rules: dict[str, Any], distributions: Distributions, rng: np.random.Generator
) -> tuple[str, list[float]]:
    """A name, and the strength of every parameter: nothing, a mood, a sound, or one of each."""
    values = dict.fromkeys((p.name for p in parameters), 0.0)
    kinds = []
    if rng.random() >= rules["neutral"]:
        sound = rng.random() < rules["viseme"]
        kinds = ["visemes" if sound else "groups"]
        if rng.random() < rules["second"]:
            kinds.append("groups")
    names = []
    for kind in kinds:
        candidates = [name for name in rules[kind] if name not in names]
        weights = np.array([rules[kind][name][0] for name in candidates], float)
        name = candidates[int(rng.choice(len(candidates), p=weights / weights.sum()))]
        names.append(name)
        strength = distributions.draw(rules["strength"], rng, {}) * (0.6 if len(names) == 2 else 1.0)
        mirrored = rng.random() < 0.5
        for action, amount in rules[kind][name][1].items():
            sides = (action[:-1] + "Left", action[:-1] + "Right") if action.endswith("*") else (action,)
            for side in sides:
                if mirrored:
                    side = side.replace("Left", "\0").replace("Right", "Left").replace("\0", "Right")
                if side in values:
                    values[side] += amount * strength * (1 + rules["asymmetry"] * float(rng.normal()))
    clipped = [float(np.clip(values[p.name], p.low, p.high)) for p in parameters]
    return " and ".join(names) or "neutral", clipped
