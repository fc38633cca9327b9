"""The refiner: pictures four times as large, alike whole and in patches, kept in a file, and a still of an avatar."""

import numpy as np
import pytest
import torch
from PIL import Image

from backend.api import ErrorCode
from backend.cli import main
from backend.errors import MaquetteError
from backend.radiance.decoder import Decoder, DecoderConfig
from backend.radiance.triplane import TriPlane
from backend.rodin import refiner as room
from backend.rodin.refiner import Refiner, RefinerConfig, enlarged, load_refiner, refine, save_refiner
from backend.weights import bundle

SMALL = RefinerConfig(width=8, blocks=2)


@pytest.fixture
def refiner():
    torch.manual_seed(0)
    return Refiner(SMALL).eval().requires_grad_(False)


@pytest.fixture
def avatar(tmp_path):
    """A folder with a field of random planes: an avatar as far as a still is concerned."""
    torch.manual_seed(1)
    decoder = Decoder.initialised(DecoderConfig(channels=8, density_channels=4, width=16), torch.Generator())
    (tmp_path / "avatar").mkdir()
    TriPlane(torch.rand(3, 8, 16, 16) - 0.5, decoder).save(tmp_path / "avatar" / "triplane.safetensors")
    return tmp_path / "avatar"


@pytest.fixture
def weights(refiner, tmp_path, monkeypatch):
    save_refiner(tmp_path / "weights" / "refiner.safetensors", refiner)
    monkeypatch.setenv(bundle.VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setattr(room, "DRAWN", 24)


def test_without_anything_to_add_it_enlarges(refiner):
    for parameter in refiner.leave[-1].parameters():
        parameter.zero_()
    small = torch.rand(2, 4, 10, 12)
    torch.testing.assert_close(refiner(small), enlarged(small))
    assert enlarged(small).shape == (2, 4, 40, 48)


def test_enlarging_leaves_everything_where_it_is():
    """A picture that grows along x still does, at the same pace, pixel centres at one half."""
    small = (torch.arange(16) + 0.5).expand(1, 1, 16, 16) / 16
    expected = (torch.arange(64) + 0.5).expand(64, 64) / 64
    torch.testing.assert_close(enlarged(small)[0, 0, :, 8:-8], expected[:, 8:-8], atol=4e-3, rtol=0)


def test_a_patch_is_refined_as_the_whole_picture_is(refiner):
    picture = torch.rand(1, 4, 48, 48)
    patch = refiner(picture[..., 8:40, 8:40])
    torch.testing.assert_close(patch[..., 48:80, 48:80], refiner(picture)[..., 80:112, 80:112], atol=1e-5, rtol=0)


def test_colours_never_exceed_their_alpha(refiner):
    rng = np.random.default_rng(0)
    made = refine(refiner, rng.random((9, 7, 4)))
    assert made.shape == (36, 28, 4) and made.min() >= 0 and made.max() <= 1
    assert (made[..., :3] <= made[..., 3:]).all()


def test_a_file_gives_back_the_same_refiner(refiner, tmp_path):
    save_refiner(tmp_path / "refiner.safetensors", refiner)
    again = load_refiner(tmp_path / "refiner.safetensors")
    assert again.config == SMALL and not again.training
    small = torch.rand(1, 4, 16, 16)
    torch.testing.assert_close(again(small), refiner(small), atol=5e-3, rtol=0)
    assert list(tmp_path.iterdir()) == [tmp_path / "refiner.safetensors"]


def test_the_shipped_one_makes_a_soft_outline_sharp_and_leaves_colours_alone():
    """A disc of skin that fades over ten pixels, as outlines of fields do."""
    y, x = np.mgrid[:64, :64] - 31.5
    alpha = (0.5 + (20 - np.hypot(x, y)) / 10).clip(0, 1)[..., None]
    made = refine(
        load_refiner(bundle.BOX / "refiner.safetensors"), np.concatenate([alpha * (0.8, 0.6, 0.5), alpha], -1)
    )
    fading = lambda picture: float(((picture > 0.1) & (picture < 0.9)).mean())  # noqa: E731
    assert fading(made[..., 3]) < 0.8 * fading(alpha)
    assert abs(made[..., 3].mean() - alpha.mean()) < 0.02, "it neither grows nor shrinks"
    np.testing.assert_allclose(made[112:144, 112:144, :3].mean((0, 1)), (0.8, 0.6, 0.5), atol=0.02)


@pytest.mark.parametrize("content", [None, b"", b"words"])
def test_a_file_that_holds_none_is_refused(tmp_path, content):
    path = tmp_path / "refiner.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MaquetteError, match="holds no refiner: make it with 'maquette train refiner'") as caught:
        load_refiner(path)
    assert caught.value.code is ErrorCode.MODEL_MISSING


def test_a_still_shows_the_side_that_is_asked_for(weights, avatar, tmp_path, capsys):
    pictures = []
    for azimuth in ("0", "0", "120"):
        out = tmp_path / "new" / f"{azimuth}.png"
        assert main(["still", str(avatar), "--azimuth", azimuth, "--elevation", "5", "--out", str(out)]) == 0
        assert str(out) in capsys.readouterr().out
        pictures.append(np.asarray(Image.open(out)))
    assert pictures[0].shape == (96, 96, 4)
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])
    assert {path.name for path in avatar.iterdir()} == {"triplane.safetensors"}, "the avatar stays as it is"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["NOBODY", "--out", "a.png"], "holds no radiance field: give a folder that 'maquette generate' made"),
        (["AVATAR", "--out", "a.jpg"], "is no file that ends in .png"),
        (["AVATAR", "--azimuth", "nan", "--out", "a.png"], "The azimuth must be a number from -360 to 360"),
        (["AVATAR", "--elevation", "85", "--out", "a.png"], "the elevation one from -80 to 80"),
        (["AVATAR", "--azimuth", "left", "--out", "a.png"], "'left' is not a number"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(weights, avatar, tmp_path, arguments, sentence, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [{"AVATAR": str(avatar), "NOBODY": str(tmp_path)}.get(word, word) for word in arguments]
    assert main(["still", *given]) == 2
    assert sentence in capfd.readouterr().err
    assert not list(tmp_path.glob("a.*"))


def test_a_still_needs_a_place_to_write_to(weights, avatar, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert main(["still", str(avatar), "--out", str(tmp_path / "file" / "a.png")]) > 2
    assert "cannot be written" in capfd.readouterr().err
