"""Texts as the words that the text encoder knows: what means the same here becomes the same.

Lower case, no hyphens, singular, synonyms by a table, words that say nothing left out; what joins clauses becomes a
comma.
"""

from __future__ import annotations

import functools
import re
import zlib

SEPARATOR = ","
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[,;:.()]")
_LITTLE = """
    a an the of who whose which that this has have had is are be some his her their its person portrait picture photo
    image render somebody someone individual human people expression
"""
_JOINTS = "with and in wearing wear worn dressed having while plus but on looking saying say"

SYNONYMS: dict[str, tuple[str, ...]] = {
    "man": ("men", "male", "guy", "gentleman", "gentlemen", "bloke", "dude", "chap", "father", "husband", "masculine"),
    "woman": ("women", "female", "lady", "ladies", "mother", "wife", "feminine", "gal"),
    "young man": ("boy", "lad", "youth"),
    "young woman": ("girl", "lass"),
    "old man": ("grandfather", "grandpa"),
    "old woman": ("grandmother", "grandma", "granny"),
    "old": ("elderly", "aged", "senior", "older", "elder", "ancient"),
    "middle aged": ("mature", "midlife"),
    "young": ("younger", "youthful", "teenage"),
    "fair skin": ("light skin", "pale skin", "white skin", "fair skinned", "light skinned", "pale skinned"),
    "very fair skin": ("very pale skin", "very light skin", "porcelain skin"),
    "dark skin man": ("black man", "black male", "black guy"),
    "dark skin woman": ("black woman", "black female", "black lady"),
    "dark skin": ("dark skinned", "black skin", "dark complexion"),
    "dark brown skin": ("deep brown skin", "dark brown skinned", "ebony skin"),
    "brown skin": ("brown skinned",),
    "olive skin": ("olive skinned", "tanned skin", "tan skin", "tanned", "mediterranean"),
    "bald": ("hairless", "bald headed", "shaved head", "shaven head", "bald head", "no hair", "without hair"),
    "tonsure": ("bald crown with a ring of", "bald crown", "balding"),
    "buzz cut": ("buzz cut hair", "buzzcut", "crew cut", "crewcut", "shaved hair"),
    "afro": ("afro hair", "afro haircut"),
    "loc": ("dreadlock", "dread", "locks"),
    "braid": ("plait", "braided hair", "braided", "cornrow"),
    "pony tail": ("ponytail",),
    "bun": ("chignon", "topknot", "updo"),
    "fringe": ("bang",),
    "shoulder length": ("medium length",),
    "red hair": ("redhead", "redheaded", "red headed", "redhaired", "ginger hair", "ginger haired", "red haired"),
    "red": ("ginger", "copper", "crimson", "scarlet"),
    "blond hair": ("blond haired", "blonde haired", "golden hair", "fair hair"),
    "blond": ("blonde", "flaxen"),
    "brown hair": ("brunette", "brown haired", "brunet"),
    "black hair": ("black haired", "raven hair"),
    "white hair": ("white haired", "snowy hair"),
    "grey hair": ("grey haired", "gray haired", "silver hair", "greying hair", "graying hair"),
    "grey": ("gray", "silver"),
    "long hair": ("long haired",),
    "short hair": ("short haired",),
    "curly hair": ("curly haired", "curl", "ringlet"),
    "beard": ("bearded", "facial hair"),
    "full beard": ("bushy beard", "thick beard"),
    "moustache": ("mustache", "tash"),
    "stubble": ("stubbly", "five o'clock shadow", "unshaven", "scruff"),
    "clean shaven": ("cleanshaven", "no beard", "without beard", "beardless", "shaven", "shaved"),
    "freckle": ("freckled", "freckly"),
    "makeup": ("make up", "lipstick", "cosmetic"),
    "no makeup": ("without makeup", "without make up", "no make up"),
    "sunglass": ("sun glass", "shade", "dark glass"),
    "glass": ("spectacle", "eyeglass", "specs", "eyewear", "bespectacled"),
    "no glass": ("without glass", "without spectacle", "no spectacle"),
    "hat": ("headgear", "headwear"),
    "no hat": ("without hat", "bareheaded", "bare headed", "hatless"),
    "cap": ("baseball cap", "snapback"),
    "beanie": ("woolly hat", "knit cap", "knitted hat", "wool hat"),
    "brimmed hat": ("fedora", "sunhat", "sun hat", "wide brimmed hat"),
    "headscarf": ("head scarf", "hijab", "scarf"),
    "headband": ("head band", "hairband"),
    "earring": ("ear ring",),
    "stud": ("stud earring", "ear stud"),
    "hoop": ("hoop earring",),
    "drop": ("drop earring", "dangling earring"),
    "hoodie": ("hooded sweatshirt", "hoody", "hooded sweater", "hooded jumper"),
    "sweater": ("jumper", "pullover", "sweatshirt", "jersey"),
    "tee": ("t shirt", "tshirt", "tee shirt"),
    "turtleneck": ("turtle neck", "roll neck", "polo neck", "rollneck"),
    "polo": ("polo shirt",),
    "v neck": ("v neck shirt", "vneck"),
    "scoop": ("scoop neck", "scoop neck top"),
    "shirt": ("blouse", "button up shirt", "dress shirt"),
    "suit": ("suit jacket", "suit and tie", "tuxedo"),
    "tank top": ("vest top", "singlet", "sleeveless top"),
    "off shoulder": ("off the shoulder", "off shoulder top", "off the shoulder top"),
    "overall": ("dungaree",),
    "robe": ("bathrobe", "gown"),
    "jacket": ("coat",),
    "navy": ("navy blue", "dark blue"),
    "burgundy": ("maroon", "dark red", "wine red"),
    "purple": ("violet", "lilac"),
    "teal": ("turquoise", "cyan"),
    "beige": ("cream", "tan", "khaki"),
    "striped": ("stripy", "stripe"),
    "checked": ("check", "plaid", "chequered", "checkered", "tartan"),
    "dotted": ("dot", "polka dot", "spotted"),
    "printed": ("print", "patterned"),
    "smile": ("smiling", "smiley", "happy", "cheerful", "grinning", "grin"),
    "laugh": ("laughing",),
    "surprise": ("surprised", "astonished"),
    "anger": ("angry", "furious"),
    "sadness": ("sad", "unhappy"),
    "disgust": ("disgusted",),
    "fear": ("afraid", "scared", "frightened"),
    "frown": ("frowning",),
    "pout": ("pouting",),
    "wink": ("winking",),
    "squint": ("squinting",),
    "blink": ("blinking", "closed eye", "eye closed"),
    "no": ("without", "non", "not"),
}
"""What the encoder reads (left) for what people write; both sides in the form that `_plain` gives."""


def words(text: str) -> list[str]:
    """The words of `text` in the form that the encoder knows; commas stand between clauses.

    >>> words("A ginger-haired guy, wearing spectacles")
    ['red', 'hair', 'man', ',', 'glass']
    """
    plain = _plain(text)
    found: list[str] = []
    position = 0
    while position < len(plain):
        length, canonical = next(
            (
                (size, _TABLE[key])
                for size in range(min(_LONGEST, len(plain) - position), 0, -1)
                if (key := tuple(plain[position : position + size])) in _TABLE
            ),
            (1, (plain[position],)),
        )
        found += canonical
        position += length
    little, joints = _LITTLE.split(), _JOINTS.split()
    kept = [SEPARATOR if word in joints else word for word in found if word not in little]
    kept = [word for i, word in enumerate(kept) if word != SEPARATOR or (i and kept[i - 1] != SEPARATOR)]
    return kept[:-1] if kept and kept[-1] == SEPARATOR else kept


def buckets(word: str, count: int) -> list[int]:
    """Numbers below `count` of the 2 to 4 letters long pieces of a word: a misspelt word shares most of them."""
    marked = f"<{word}>"
    pieces = {marked[i : i + size] for size in (2, 3, 4) for i in range(len(marked) - size + 1)}
    return sorted({zlib.crc32(piece.encode()) % count for piece in pieces})


def _plain(text: str) -> list[str]:
    lower = text.lower().replace("’", "'").replace("-", " ").replace("_", " ")
    found = [_singular(word) if word[0].isalnum() else SEPARATOR for word in _WORD.findall(lower)]
    return [word for word in found if word not in ("a", "an", "the")]


def _singular(word: str) -> str:
    word = word.removesuffix("'s")
    if len(word) < 4 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
        return word
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    return word[:-3] + "y" if word.endswith("ies") else word[:-1]


@functools.cache
def _table() -> dict[tuple[str, ...], tuple[str, ...]]:
    table: dict[tuple[str, ...], tuple[str, ...]] = {}
    for canonical, others in SYNONYMS.items():
        table |= {tuple(_plain(other)): tuple(canonical.split()) for other in others}
        # A canonical phrase stands for itself, so that no shorter synonym takes it apart.
        table.setdefault(tuple(canonical.split()), tuple(canonical.split()))
    return table


_TABLE = _table()
_LONGEST = max(len(key) for key in _TABLE)
