"""How well hair, skin and garment are told apart in pictures of people whom nothing was learned from.

    python -m tests.benchmarks.bench_segmentation SET [--people N] [--out DIR]

SET is rendered with ``--passes rgba depth segmentation``, such as the split `held-out`. Each person stands before a
photograph that comes with scikit-image, every other one with somebody else at the side, and goes through the product's
own reading of portraits. Printed: intersection over union of each class, of all pixels together and, in brackets, of
the worst tenth of the people. With DIR, pictures to look at.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from backend.errors import MaquetteError
from backend.portrait.parser import CLASSES
from backend.portrait.portrait import Portrait, load_portraits
from backend.training.parser_stage import CLASS_OF_SEGMENT, UNASKED
from synthetic_data.reader import DataSet, Person

GROUNDS = (data.coffee, data.chelsea, data.rocket, data.brick, data.grass, data.gravel, data.cat)
HEIGHT, WIDTH, HEAD = 512, 720, 480
COLOURS = np.array([[60, 60, 60], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]], np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    people = [Person.read(entry) for entry in list(DataSet.open(options.set, partial=True).entries())[: options.people]]
    both = np.zeros((len(people), 4)), np.zeros((len(people), 4))
    lost, sheets = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(len(people)):
            picture, truth = scene(people, number)
            path = Path(folder) / f"{number}.png"
            cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            try:
                portrait = load_portraits([path], size=512)[0]
            except MaquetteError:
                lost += 1
                continue
            said, known = portrait.segmentation.labels, true_labels(portrait, truth)
            asked = (known != UNASKED) & portrait.inside
            for k in range(4):
                both[0][number, k] = ((said == k) & (known == k) & asked).sum()
                both[1][number, k] = (((said == k) | (known == k)) & asked).sum()
            shown = [(portrait.image * 255).astype(np.uint8), COLOURS[known], COLOURS[said]]
            sheets.append(cv2.resize(np.hstack(shown), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA))
    print(f"{len(people) - lost} people, {lost} without a face")
    for k, name in enumerate(CLASSES):
        each = both[0][:, k] / np.maximum(both[1][:, k], 1)
        each = np.sort(each[both[1][:, k] > 0.002 * 512 * 512])
        worst = each[: max(1, len(each) // 10)].mean()
        print(f"{name:10} {both[0][:, k].sum() / both[1][:, k].sum():.3f} ({worst:.3f})")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        rows = [np.hstack(sheets[k : k + 3]) for k in range(0, len(sheets) - 2, 3)]
        cv2.imwrite(str(options.out / "segmentation.png"), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def scene(people: list[Person], number: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (uint8 RGB) with one person in its middle, and the class of each pixel."""
    rng = np.random.default_rng(number)
    ground = GROUNDS[number % len(GROUNDS)]()
    ground = np.dstack([ground] * 3) if ground.ndim == 2 else ground[..., :3]
    picture = cv2.resize(ground, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    if number % 2:
        beside = (number + len(people) // 2) % len(people)
        side = rng.choice([-1, 1]) * rng.uniform(0.55, 0.75)
        paste(picture, truth, people[beside], WIDTH / 2 + side * HEAD, rng.uniform(0.8, 1.0))
        truth[:] = 0
    paste(picture, truth, people[number], WIDTH / 2, 1.0)
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8), truth


def paste(picture: np.ndarray, truth: np.ndarray, person: Person, column: float, zoom: float) -> None:
    """Put a person's first portrait into a picture and its classes, its bust at the lower border."""
    view = next(view for view in person.views if view.kind == "portrait")
    rgba, classes = person.picture(view, "rgba"), CLASS_OF_SEGMENT[person.picture(view, "segmentation")]
    scale = zoom * HEAD / len(rgba)
    bottom = np.flatnonzero((rgba[..., 3] > 0.5).any(1)).max() * scale
    place = np.array([[scale, 0, column - scale * len(rgba) / 2], [0, scale, HEIGHT - 0.96 * bottom]])
    size = (picture.shape[1], picture.shape[0])
    rgba = np.dstack([rgba[..., :3] * rgba[..., 3:], rgba[..., 3]])
    laid = cv2.warpAffine(rgba, place, size, flags=cv2.INTER_LINEAR)
    # Classes are those of single samples: hair is full of specks of what lies under it.
    layers = np.stack([cv2.blur((classes == k).astype(np.float32), (7, 7)) for k in range(1, 5)], -1)
    layers[..., 0] *= 2.5
    picture[:] = picture * (1 - laid[..., 3:]) + laid[..., :3]
    told = cv2.warpAffine(layers, place, size, flags=cv2.INTER_LINEAR).argmax(-1) + 1
    truth[laid[..., 3] > 0.5] = told[laid[..., 3] > 0.5]


def true_labels(portrait: Portrait, truth: np.ndarray) -> np.ndarray:
    """Classes of the crop's pixels."""
    place = portrait.source_to_crop.copy()
    place[:2, 2] += place[:2, :2] @ [0.5, 0.5] - 0.5
    size = (portrait.size, portrait.size)
    return cv2.warpAffine(truth, place[:2], size, flags=cv2.INTER_NEAREST)


if __name__ == "__main__":
    main()
