"""Requests as plain data: what survives JSON, and what is refused in one sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend import engines
from backend.api import MOST_EDITS, AvatarRequest, ErrorCode, default_engine
from backend.errors import MaquetteError


@pytest.mark.parametrize(
    "request_",
    [
        AvatarRequest(portraits=("/a/face.jpg",)),
        AvatarRequest(prompt="a man", engine="rodin", seed=7, edits=("with red hair", "younger")),
        AvatarRequest(anyone=True, engine="rodin", edits=("bald",) * MOST_EDITS),
    ],
)
def test_a_request_survives_json(request_: AvatarRequest) -> None:
    assert AvatarRequest.from_json(json.loads(json.dumps(request_.to_json()))) == request_


def test_requests_from_before_there_were_edits_are_still_understood() -> None:
    old = AvatarRequest(prompt="a man").to_json()
    del old["edits"], old["anyone"]
    assert AvatarRequest.from_json(old) == AvatarRequest(prompt="a man")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": ""}, "Give a portrait, a prompt, or both."),
        ({"prompt": "", "edits": ["bald"]}, "Give a portrait, a prompt, or both."),
        ({"anyone": True}, "give no portrait and no prompt"),
        ({"prompt": "", "portraits": ["face.jpg"], "anyone": True}, "give no portrait and no prompt"),
        ({"edits": ["bald"] * (MOST_EDITS + 1)}, "at most 8 times, not 9"),
        ({"edits": ["bald", " "]}, "An edit is empty"),
        ({"edits": ["ba\0ld"]}, "The edit holds characters that are no text"),
        ({"edits": ["\ud800"]}, "The edit holds characters that are no text"),
        ({"edits": "bald"}, "'edits' holds something of the wrong kind"),
        ({"edits": [1]}, "'edits' holds something of the wrong kind"),
        ({"portraits": "face.jpg"}, "'portraits' holds something of the wrong kind"),
        ({"prompt": None}, "'prompt' holds something of the wrong kind"),
        ({"seed": "1"}, "'seed' holds something of the wrong kind"),
        ({"seed": True}, "'seed' holds something of the wrong kind"),
        ({"anyone": 1}, "'anyone' holds something of the wrong kind"),
        ({"colour": "red"}, "Unknown request fields: colour"),
    ],
)
def test_what_no_backend_understands_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AvatarRequest.from_json({"prompt": "a man"} | changes)


@pytest.mark.parametrize("engine", ["template", "morphable"])
def test_other_engines_do_not_pretend_to_edit(engine: str) -> None:
    with pytest.raises(MaquetteError, match="does not edit people by words") as caught:
        engines.require(AvatarRequest(portraits=("face.jpg",), engine=engine, edits=("bald",)))
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_the_template_needs_a_portrait_of_anyone() -> None:
    with pytest.raises(MaquetteError, match="needs a portrait"):
        engines.require(AvatarRequest(anyone=True, engine="template"))


def test_who_names_no_engine_gets_the_preferred_one_that_knows_the_body_model() -> None:
    assert AvatarRequest().engine == default_engine() == "rodin"
    assert default_engine("flame") == "template"
