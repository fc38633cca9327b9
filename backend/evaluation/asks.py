"""What the suite `words` asks of the engine, and what must then be true, in the words of `synthetic_data.captions`."""

from __future__ import annotations

import dataclasses

Values = dict[str, tuple[str, ...]]
"""For some attributes the values of which one must hold."""

LONG_HAIR = ("long", "layered", "wavy", "braids", "locs")
SHORT_HAIR = ("buzz", "crop", "short", "receding", "undercut", "quiff", "side part", "pixie", "bowl")
BEARD = ("goatee", "van dyke", "chinstrap", "short", "full", "long")
GLASSES = ("rectangle", "round", "wayfarer", "rimless", "aviator")
HAT = ("cap", "beanie", "brimmed hat", "turban")
RED = ("red", "auburn")


@dataclasses.dataclass(frozen=True)
class Ask:
    """Some `words`, what is `asked` by them, and `of` whom: others would not be asked."""

    words: str
    asked: Values
    of: Values = dataclasses.field(default_factory=dict)


PROMPTS = (
    Ask("a woman with long red hair", {"sex": ("female",), "hair": LONG_HAIR, "hair colour": RED}),
    Ask("a bald man with a beard", {"sex": ("male",), "hair": ("bald",), "beard": BEARD}),
    Ask("an old man with white hair", {"sex": ("male",), "age": ("old",), "hair colour": ("white",)}),
    Ask(
        "a young woman with blond hair wearing glasses",
        {"sex": ("female",), "age": ("young",), "hair colour": ("blond",), "glasses": GLASSES},
    ),
    Ask("a woman with curly black hair", {"sex": ("female",), "hair": ("curly", "afro"), "hair colour": ("black",)}),
    Ask("a man wearing a hat", {"sex": ("male",), "headwear": HAT}),
    Ask(
        "a man with short hair wearing sunglasses",
        {"sex": ("male",), "hair": SHORT_HAIR, "glasses": ("sunglasses",)},
    ),
    Ask(
        "a woman with dark skin wearing a white top",
        {"sex": ("female",), "skin": ("brown", "dark brown"), "garment colour": ("white",)},
    ),
)

PEOPLE = (
    "a young man with short brown hair and no beard",
    "a young woman with short black hair",
    "an old man with short grey hair and no beard",
    "a middle-aged woman with dark skin and curly hair",
)
"""Who is edited: of none of them is asked for what an edit asks for."""

EDITS = (
    Ask("bald", {"hair": ("bald",)}),
    Ask("with red hair", {"hair colour": RED}),
    Ask("with glasses", {"glasses": GLASSES}),
    Ask("with a beard", {"beard": BEARD}, of={"sex": ("male",)}),
    Ask("with long hair", {"hair": LONG_HAIR}),
    Ask("with a hat", {"headwear": HAT}),
)
