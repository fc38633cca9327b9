"""The head parser: kept in a file, alike for a picture and its mirror image, and right about a photograph."""

import numpy as np
import pytest
import torch

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.portrait.parser import CLASSES, PICTURE, HeadParser, ParserConfig, load_parser, parse, save_parser
from backend.weights.bundle import require

SMALL = ParserConfig((8, 16, 16))


@pytest.fixture
def parser():
    torch.manual_seed(0)
    return HeadParser(SMALL).eval()


def test_every_size_in_blocks_is_answered_at_its_own_size(parser):
    for side in (32, PICTURE):
        assert parser(torch.rand(2, 4, side, side)).shape == (2, len(CLASSES), side, side)


def test_a_file_gives_back_the_same_parser(parser, tmp_path):
    save_parser(tmp_path / "parser.safetensors", parser)
    again = load_parser(tmp_path / "parser.safetensors")
    assert again.config == SMALL and not again.training
    crop = torch.rand(1, 4, 64, 64)
    torch.testing.assert_close(again(crop), parser(crop), atol=0.02, rtol=0.02)
    assert list(tmp_path.iterdir()) == [tmp_path / "parser.safetensors"]


@pytest.mark.parametrize("content", [None, b"", b"words"])
def test_a_file_that_holds_none_is_refused(tmp_path, content):
    path = tmp_path / "parser.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MaquetteError, match="holds no parser: make it with 'maquette train parser'") as caught:
        load_parser(path)
    assert caught.value.code is ErrorCode.MODEL_MISSING


def test_a_mirror_changes_sides_and_nothing_else(parser):
    rng = np.random.default_rng(1)
    image, inside = rng.random((200, 200, 3)), rng.random((200, 200)) > 0.5
    said = parse(parser, image, inside)
    assert said.shape == (PICTURE, PICTURE, len(CLASSES))
    np.testing.assert_allclose(said.sum(-1), 1, atol=1e-5)
    turned = parse(parser, np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(inside[:, ::-1]))
    np.testing.assert_allclose(turned, said[:, ::-1], atol=1e-4)


def test_the_shipped_one_knows_a_photograph(astronaut_portrait):
    """It was learned from renders alone."""
    portrait = astronaut_portrait
    said = parse(load_parser(require("parser")), portrait.image, portrait.inside)
    scale = PICTURE / portrait.size
    nose, brow = (portrait.landmarks[k] * scale for k in (4, 9))
    unit = float(np.linalg.norm(portrait.landmarks[468] - portrait.landmarks[473])) * scale
    at = lambda x, y: CLASSES[int(said[int(y), int(x)].argmax())]  # noqa: E731
    assert at(*nose) == "skin"
    assert at(brow[0], brow[1] - 1.1 * unit) == "hair"
    assert at(nose[0], nose[1] + 2.4 * unit) == "garment"
    assert at(5, 5) == "background"
