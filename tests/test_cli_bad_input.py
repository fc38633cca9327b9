"""Whatever a person types or drops by mistake ends with one sentence, a non-zero status and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image, ImageDraw

from backend.api import MOST_EDITS, AvatarRequest, ErrorCode
from backend.cli import exit_status, main
from backend.weights import bundle

if TYPE_CHECKING:
    from collections.abc import Callable

BAD_REQUEST, BAD_IMAGE, NO_FACE = ErrorCode.BAD_REQUEST, ErrorCode.BAD_IMAGE, ErrorCode.NO_FACE
MISSING, BAD_MESH, NOT_WRITABLE = ErrorCode.MODEL_MISSING, ErrorCode.BAD_MESH, ErrorCode.OUTPUT_NOT_WRITABLE
ASTRONAUT = str(Path(skimage.data.__file__).parent / "astronaut.png")


@dataclass(frozen=True)
class Case:
    """A mistake: how to make its arguments in an empty folder, and the failures that are a right answer to it."""

    name: str
    arguments: Callable[[Path], list[str]]
    codes: tuple[ErrorCode, ...]

    def __str__(self) -> str:
        return self.name


CASES: list[Case] = []


def case(*codes: ErrorCode) -> Callable[[Callable[[Path], list[str]]], Callable[[Path], list[str]]]:
    """Register a function that returns the whole command line."""

    def register(function: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
        CASES.append(Case(function.__name__, function, codes))
        return function

    return register


def portrait(*codes: ErrorCode) -> Callable[[Callable[[Path], str | None]], Callable[[Path], str | None]]:
    """Register a function that writes a portrait to the path it is given, or returns the path to use instead."""

    def register(function: Callable[[Path], str | None]) -> Callable[[Path], str | None]:
        def arguments(folder: Path) -> list[str]:
            path = folder / "portrait.jpg"
            path = function(path) or path
            return ["generate", str(path), "--quality", "draft", "--out", str(folder / "avatar")]

        CASES.append(Case(function.__name__, arguments, codes))
        return function

    return register


def option(name: str, code: ErrorCode, *arguments: str) -> None:
    """Register extra arguments to an otherwise good command."""
    CASES.append(
        Case(name, lambda folder: ["generate", ASTRONAUT, "--out", str(folder / "avatar"), *arguments], (code,))
    )


# ---- the command line itself

option("unknown_engine", BAD_REQUEST, "--engine", "magic")
option("unknown_quality", BAD_REQUEST, "--quality", "ultra")
option("unknown_mesh", BAD_REQUEST, "--mesh", "voxels")
option("unknown_device", BAD_REQUEST, "--device", "tpu")
option("unknown_body_model", BAD_REQUEST, "--body-model", "mannequin")
option("unknown_option", BAD_REQUEST, "--colour", "red")
option("negative_seed", BAD_REQUEST, "--seed", "-1")
option("fractional_seed", BAD_REQUEST, "--seed", "1.5")
option("seed_beyond_32_bits", BAD_REQUEST, "--seed", "4294967296")
option("example_and_portrait", BAD_REQUEST, "--example")
option("six_portraits", BAD_REQUEST, *[ASTRONAUT] * 5)
option("engine_without_weights_morphable", MISSING, "--engine", "morphable")
option("expression_for_the_template", BAD_REQUEST, "--expression", "smile")
option("unknown_expression", BAD_REQUEST, "--engine", "morphable", "--expression", "smie")
option("flame_without_its_file", MISSING, "--body-model", "flame")


@case(BAD_REQUEST)
def no_command(folder: Path) -> list[str]:
    return []


@case(BAD_REQUEST)
def unknown_command(folder: Path) -> list[str]:
    return ["conjure", ASTRONAUT, "--out", str(folder / "avatar")]


@case(BAD_REQUEST)
def nothing_to_go_by(folder: Path) -> list[str]:
    return ["generate", "--out", str(folder / "avatar")]


@case(BAD_REQUEST)
def blank_prompt(folder: Path) -> list[str]:
    return ["generate", "--prompt", "  ", "--out", str(folder / "avatar")]


@case(BAD_REQUEST)
def no_out(folder: Path) -> list[str]:
    return ["generate", ASTRONAUT]


@case(BAD_REQUEST)
def empty_out(folder: Path) -> list[str]:
    return ["generate", ASTRONAUT, "--out", ""]


# ---- files that are no pictures


@portrait(BAD_IMAGE)
def missing_file(path: Path) -> None:
    pass


@portrait(BAD_IMAGE)
def folder_as_portrait(path: Path) -> None:
    path.mkdir()


@portrait(BAD_IMAGE)
def name_too_long(path: Path) -> str:
    return str(path.with_name("x" * 300 + ".jpg"))


if os.name == "posix":

    @portrait(BAD_IMAGE)
    def link_to_itself(path: Path) -> None:
        path.symlink_to(path)

    @portrait(BAD_IMAGE)
    def named_pipe(path: Path) -> None:
        os.mkfifo(path)


@portrait(BAD_IMAGE)
def empty_file(path: Path) -> None:
    path.touch()


@portrait(BAD_IMAGE)
def zero_bytes_only(path: Path) -> None:
    path.write_bytes(bytes(10_000))


@portrait(BAD_IMAGE)
def text_renamed(path: Path) -> None:
    path.write_text("This is not a photograph.\n" * 50)


@portrait(BAD_IMAGE)
def svg_drawing(path: Path) -> None:
    path.write_text('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><circle r="9"/></svg>')


@portrait(BAD_IMAGE)
def pdf_document(path: Path) -> None:
    path.write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n")


@portrait(BAD_IMAGE)
def heic_photograph(path: Path) -> None:
    path.write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(500))


# ---- damaged pictures


def _cut(path: Path, share: float, **options: int) -> None:
    Image.open(ASTRONAUT).save(path, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@portrait(BAD_IMAGE)
def jpeg_cut_in_half(path: Path) -> None:
    _cut(path, 0.5)


@portrait(BAD_IMAGE)
def jpeg_cut_at_90_percent(path: Path) -> None:
    _cut(path, 0.9)


@portrait(BAD_IMAGE)
def jpeg_header_alone(path: Path) -> None:
    _cut(path, 0.01)


@portrait(BAD_IMAGE)
def png_cut_in_half(path: Path) -> str:
    png = path.with_suffix(".png")
    _cut(png, 0.5)
    return str(png)


@portrait(BAD_IMAGE)
def webp_cut_in_half(path: Path) -> str:
    webp = path.with_suffix(".webp")
    _cut(webp, 0.5)
    return str(webp)


@portrait(BAD_IMAGE)
def png_with_a_wrong_checksum(path: Path) -> None:
    data = bytearray(Path(ASTRONAUT).read_bytes())
    data[data.index(b"IHDR") + 17] ^= 0xFF
    path.write_bytes(data)


@portrait(BAD_IMAGE)
def png_with_damaged_pixels(path: Path) -> None:
    data = bytearray(Path(ASTRONAUT).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)


@portrait(BAD_IMAGE)
def tiff_of_not_a_number(path: Path) -> None:
    pixels = skimage.data.astronaut().astype(np.float16) / 255
    pixels[200:300] = np.nan
    tifffile.imwrite(path, pixels, photometric="rgb")


@portrait(BAD_IMAGE)
def twenty_thousand_squared(path: Path) -> None:
    """Under 3 KB of file that would decode to 1.2 GB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(60_001 * 40), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


@portrait(BAD_IMAGE)
def one_pixel(path: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(path)


@portrait(BAD_IMAGE)
def thin_strip(path: Path) -> None:
    Image.open(ASTRONAUT).resize((4000, 8)).save(path)


@portrait(BAD_IMAGE)
def all_black(path: Path) -> None:
    Image.new("RGB", (512, 512)).save(path)


@portrait(BAD_IMAGE)
def fully_transparent(path: Path) -> str:
    picture = Image.open(ASTRONAUT).convert("RGBA")
    picture.putalpha(0)
    picture.save(path.with_suffix(".png"))
    return str(path.with_suffix(".png"))


@case(BAD_IMAGE)
def second_portrait_is_text(folder: Path) -> list[str]:
    text = folder / "notes.png"
    text.write_text("not a picture")
    return ["generate", ASTRONAUT, str(text), "--out", str(folder / "avatar")]


# ---- pictures without a usable face


@portrait(NO_FACE)
def colour_gradient(path: Path) -> None:
    ramp = np.linspace(0, 255, 512, dtype=np.uint8)
    Image.fromarray(np.dstack([*np.meshgrid(ramp, ramp), np.full((512, 512), 128, np.uint8)])).save(path)


@portrait(NO_FACE)
def gradient_with_corrupt_exif(path: Path) -> None:
    colour_gradient(path)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\xff\xff\xff\xff\xff\xff\xff\xff" * 9
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])


@portrait(NO_FACE)
def noise(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)).save(path)


@portrait(NO_FACE)
def cup_of_coffee(path: Path) -> None:
    Image.fromarray(skimage.data.coffee()).save(path)


@portrait(NO_FACE)
def rocket_at_night(path: Path) -> None:
    Image.fromarray(skimage.data.rocket()).save(path)


@portrait(NO_FACE)
def cat(path: Path) -> None:
    Image.fromarray(skimage.data.cat()).save(path)


@portrait(NO_FACE)
def cartoon(path: Path) -> None:
    picture = Image.new("RGB", (512, 512), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((90, 60, 420, 450), fill="gold", outline="black", width=8)
    for x in (190, 320):
        draw.ellipse((x - 35, 170, x + 35, 250), fill="white", outline="black", width=5)
        draw.ellipse((x - 12, 205, x + 12, 235), fill="black")
    draw.arc((170, 250, 340, 390), 20, 160, fill="black", width=10)
    picture.save(path)


@portrait(NO_FACE, ErrorCode.FACE_TOO_SMALL)
def face_of_a_few_pixels(path: Path) -> None:
    picture = Image.new("RGB", (1500, 1500), "grey")
    picture.paste(Image.open(ASTRONAUT).resize((90, 90)), (900, 300))
    picture.save(path)


@portrait(NO_FACE)
def half_of_the_face(path: Path) -> None:
    Image.open(ASTRONAUT).crop((0, 0, 512, 110)).save(path)


# ---- places where nothing can be written


@case(NOT_WRITABLE)
def out_is_a_file(folder: Path) -> list[str]:
    (folder / "avatar").write_text("my notes")
    return ["generate", ASTRONAUT, "--out", str(folder / "avatar")]


@case(NOT_WRITABLE)
def out_inside_a_file(folder: Path) -> list[str]:
    (folder / "notes.txt").write_text("my notes")
    return ["generate", ASTRONAUT, "--out", str(folder / "notes.txt" / "avatar")]


@case(NOT_WRITABLE, BAD_REQUEST)
def out_holds_other_things(folder: Path) -> list[str]:
    (folder / "documents").mkdir()
    (folder / "documents" / "thesis.txt").write_text("years of work")
    return ["generate", ASTRONAUT, "--out", str(folder / "documents")]


@case(NOT_WRITABLE)
def out_name_too_long(folder: Path) -> list[str]:
    return ["generate", ASTRONAUT, "--out", str(folder / ("x" * 300))]


if sys.platform == "linux":

    @case(NOT_WRITABLE)
    def read_only_place(folder: Path) -> list[str]:
        # Not even root can make a folder there.
        return ["generate", ASTRONAUT, "--out", "/proc/maquette/avatar"]


# ---- meshes to rig


def _rig(folder: Path, mesh: Path) -> list[str]:
    return ["rig", str(mesh), "--like", str(folder / "like"), "--out", str(folder / "rigged")]


@case(BAD_MESH, BAD_REQUEST)
def rig_like_a_missing_avatar(folder: Path) -> list[str]:
    (folder / "head.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    return _rig(folder, folder / "head.obj")


@case(BAD_MESH, BAD_REQUEST)
def rig_a_missing_mesh(folder: Path) -> list[str]:
    return _rig(folder, folder / "head.obj")


@case(BAD_MESH, BAD_REQUEST)
def rig_a_text(folder: Path) -> list[str]:
    (folder / "head.glb").write_text("This is not a mesh.")
    return _rig(folder, folder / "head.glb")


@case(BAD_MESH, BAD_REQUEST)
def rig_like_a_folder_of_nonsense(folder: Path) -> list[str]:
    rig_like_a_missing_avatar(folder)
    (folder / "like").mkdir()
    (folder / "like" / "avatar.npz").write_bytes(b"PK" + bytes(100))
    (folder / "like" / "report.json").write_text("{")
    return _rig(folder, folder / "head.obj")


# ---- avatars to edit


def _edit(folder: Path, report: object, words: str = "with red hair") -> list[str]:
    """The command that edits an avatar of which nothing but its report is there."""
    avatar = folder / "avatar"
    avatar.mkdir(exist_ok=True)
    if report is not None:
        (avatar / "report.json").write_text(report if isinstance(report, str) else json.dumps(report))
    return ["edit", str(avatar), words, "--out", str(folder / "edited")]


def _report(**request: object) -> dict[str, object]:
    return {"request": AvatarRequest(prompt="a man", engine="rodin").to_json() | request}


def bad_edit(name: str, report: object, words: str = "with red hair", *more: str) -> None:
    """Register an edit of an avatar with that report."""
    CASES.append(Case(name, lambda folder: [*_edit(folder, report, words), *more], (BAD_REQUEST,)))


bad_edit("edit_of_an_empty_folder", None)
bad_edit("edit_with_a_broken_report", '{"request": {')
bad_edit("edit_with_a_report_of_nonsense", "[" * 100_000)
bad_edit("edit_with_a_list_for_a_report", [])
bad_edit("edit_of_what_was_rigged", {"mesh": "head.obj", "like": "avatar"})
bad_edit("edit_of_a_request_from_the_future", _report(colour="red"))
bad_edit("edit_of_a_request_of_wrong_kinds", _report(seed="one"))
bad_edit("edit_of_nobody", _report(prompt=""))
bad_edit("edit_of_a_template_avatar", _report(prompt="", portraits=[ASTRONAUT], engine="template"))
bad_edit("edit_without_words", _report(), " ")
bad_edit("one_edit_too_many", _report(edits=["bald"] * MOST_EDITS))
bad_edit("edit_with_an_unknown_quality", _report(), "bald", "--quality", "")
bad_edit("edit_with_a_negative_seed", _report(), "bald", "--seed", "-1")


@case(BAD_REQUEST)
def edit_of_a_missing_folder(folder: Path) -> list[str]:
    return ["edit", str(folder / "nobody"), "bald", "--out", str(folder / "edited")]


@case(BAD_REQUEST)
def edit_of_a_picture(folder: Path) -> list[str]:
    return ["edit", ASTRONAUT, "bald", "--out", str(folder / "edited")]


# ---- people whom nobody described


def bad_sample(name: str, code: ErrorCode, *arguments: str) -> None:
    """Register a sample with those arguments."""
    CASES.append(Case(name, lambda folder: ["sample", "--out", str(folder / "people"), *arguments], (code,)))


bad_sample("sample_without_a_count", BAD_REQUEST)
bad_sample("sample_of_nobody", BAD_REQUEST, "--count", "0")
bad_sample("sample_of_a_country", BAD_REQUEST, "--count", "10001")
bad_sample("sample_beyond_the_last_seed", BAD_REQUEST, "--count", "2", "--seed", "4294967295")
bad_sample("sample_of_unknown_quality", BAD_REQUEST, "--count", "1", "--quality", "ultra")


# ---- novel views and expressions


def bad_views(name: str, code: ErrorCode, *arguments: str) -> None:
    """Register views with those arguments."""
    CASES.append(Case(name, lambda folder: ["views", "--out", str(folder / "views"), *arguments], (code,)))


bad_views("views_of_nobody", BAD_REQUEST)
bad_views("views_of_two", BAD_REQUEST, ASTRONAUT, ASTRONAUT)
bad_views("views_without_weights", MISSING, "--example")
bad_views("views_with_weights_of_nothing", MISSING, "--example", "--weights", str(Path(__file__).parent))
bad_views("views_in_no_expression", BAD_REQUEST, "--example", "--expression", "jawOpen=2")
bad_views("views_along_a_missing_curve", BAD_REQUEST, "--example", "--curve", str(Path(__file__).parent / "no.txt"))
bad_views("views_along_a_picture", BAD_REQUEST, "--example", "--curve", ASTRONAUT)
bad_views("views_along_a_program", BAD_REQUEST, "--example", "--curve", __file__)
bad_views("no_views", BAD_REQUEST, "--example", "--views", "0")
bad_views("too_many_views", BAD_REQUEST, "--example", "--views", "65")
bad_views("views_in_no_step", BAD_REQUEST, "--example", "--steps", "0")
bad_views("views_with_half_a_step", BAD_REQUEST, "--example", "--steps", "0.5")
bad_views("views_without_guidance", BAD_REQUEST, "--example", "--guidance", "nan")
bad_views("views_beyond_the_last_seed", BAD_REQUEST, "--example", "--seed", "4294967296")
bad_views("views_on_an_unknown_device", BAD_REQUEST, "--example", "--device", "tpu")


def _remains(folder: Path) -> dict[str, bytes | None]:
    """All that lies in `folder`, with contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def _assert_one_sentence(stderr: str) -> None:
    assert re.fullmatch(r"error: [^\n]+\.\n", stderr), stderr
    assert not re.search(r"[.!?] +[A-Z]", stderr), f"more than one sentence: {stderr}"
    assert "Traceback" not in stderr


@pytest.fixture
def temporary_files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that takes the place of the system's for temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("torch")))  # torch's own, made on import
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def test_there_are_at_least_forty_mistakes() -> None:
    assert len({mistake.name for mistake in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("mistake", CASES, ids=str)
def test_a_mistake_ends_with_one_sentence_and_nothing_left(
    mistake: Case, tmp_path: Path, temporary_files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = mistake.arguments(tmp_path)
    before = _remains(tmp_path)
    status = main(arguments)
    _assert_one_sentence(capfd.readouterr().err)
    assert status in [exit_status(code) for code in mistake.codes]
    assert _remains(tmp_path) == before
    assert _remains(temporary_files) == {}


@pytest.mark.parametrize(
    "name", ["unknown_engine", "missing_file", "jpeg_cut_at_90_percent", "colour_gradient", "out_is_a_file"]
)
def test_the_real_command_says_the_same(name: str, tmp_path: Path, temporary_files: Path) -> None:
    mistake = next(mistake for mistake in CASES if mistake.name == name)
    arguments = mistake.arguments(tmp_path)
    before = _remains(tmp_path)
    command = [sys.executable, "-m", "backend", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    _assert_one_sentence(result.stderr)
    assert result.returncode in [exit_status(code) for code in mistake.codes]
    assert _remains(tmp_path) == before
    assert _remains(temporary_files) == {}


@pytest.fixture
def weights(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is taken for weights of 'rodin', for mistakes that are noticed before it is read."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "rodin.safetensors").touch()
    monkeypatch.setenv(bundle.VARIABLE, str(folder))


def test_a_portrait_that_was_moved_is_missed_by_its_name(weights: None, tmp_path: Path, capfd) -> None:
    portrait = tmp_path / "me.jpg"
    arguments = _edit(tmp_path, _report(prompt="", portraits=[str(portrait)]))
    before = _remains(tmp_path)
    assert main(arguments) == exit_status(BAD_IMAGE)
    said = capfd.readouterr().err
    _assert_one_sentence(said)
    assert str(portrait) in said and "no longer there" in said
    assert _remains(tmp_path) == before


@pytest.mark.parametrize("number", ["0000", "0002"])
@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("report.json", json.dumps(_report()), BAD_REQUEST),
        ("report.json", "{", BAD_REQUEST),
        ("thesis.txt", "years of work", NOT_WRITABLE),
    ],
)
def test_a_sample_is_put_over_nothing_else(
    weights: None, tmp_path: Path, capfd, number: str, name: str, text: str, code: ErrorCode
) -> None:
    """However late its turn would come, it is noticed before the first person is made."""
    (tmp_path / "people" / number).mkdir(parents=True)
    (tmp_path / "people" / number / name).write_text(text)
    before = _remains(tmp_path)
    assert main(["sample", "--count", "3", "--out", str(tmp_path / "people")]) == exit_status(code)
    said = capfd.readouterr().err
    _assert_one_sentence(said)
    assert str(tmp_path / "people" / number) in said
    assert _remains(tmp_path) == before


@pytest.mark.parametrize("out", ["notes.txt", "x" * 300])
def test_a_sample_needs_a_place(weights: None, tmp_path: Path, capfd, out: str) -> None:
    (tmp_path / "notes.txt").write_text("my notes")
    before = _remains(tmp_path)
    assert main(["sample", "--count", "1", "--out", str(tmp_path / out)]) == exit_status(NOT_WRITABLE)
    _assert_one_sentence(capfd.readouterr().err)
    assert _remains(tmp_path) == before


@pytest.mark.slow
def test_a_full_disk_leaves_no_partial_avatar(tmp_path: Path, temporary_files: Path) -> None:
    """The folder lies on a disk of 64 KB, which this process alone sees."""
    mount = f"mount -t tmpfs -o size=64k maquette '{tmp_path}'"
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this system lets us make no small disk")
    arguments = ["generate", ASTRONAUT, "--quality", "draft", "--out", str(tmp_path / "avatar")]
    script = f'{mount}; "$@"; status=$?; ls -A "{tmp_path}"; exit $status'
    command = [unshare, "-rm", "sh", "-c", script, "sh", sys.executable, "-m", "backend", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    _assert_one_sentence(result.stderr)
    assert result.returncode == exit_status(ErrorCode.DISK_FULL)
    assert re.fullmatch(r"\S.* s", result.stdout.splitlines()[-1]), "the disk still holds something"
    assert _remains(temporary_files) == {}


@pytest.mark.parametrize("command", ["dataset", "train", "evaluate", "weights"])
def test_commands_with_parsers_of_their_own_complain_in_one_sentence(command, capfd):
    assert main([command]) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: The following arguments are required: ") and said.count("\n") == 1
    assert f"see 'maquette {command} --help'." in said
