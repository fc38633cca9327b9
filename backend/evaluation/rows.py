"""The rows of the table: every way from one held-out portrait to a radiance field.

Two conditions. As the papers measure, camera and body are those of the data set (`ROWS`); or everything comes from the
picture alone, by the product's own path (`FITTED_ROWS`).
"""

from __future__ import annotations

import dataclasses
import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.body_model.controls import control_vertices
from backend.evaluation.baselines import portrait_features
from backend.evaluation.body_fit import rigid_transform
from backend.evaluation.held_out import write_picture
from backend.radiance.cameras import Camera
from backend.radiance.canonical import warp_grid
from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.renderer import render_view
from backend.radiance.triplane import TriPlane
from backend.rodin.engine import generate_field
from backend.training.measure import QUICK

if TYPE_CHECKING:
    from jaxtyping import Float

    from backend.body_model.base import BodyModel
    from backend.body_model.fitting import BodyFit
    from backend.evaluation.baselines import Baselines
    from backend.evaluation.held_out import HeldOutHead
    from backend.portrait.portrait import Portrait
    from backend.rodin.weights import Rodin

ROWS = (
    "rodin", "rodin_10", "rodin_50", "rodin_10_mean_of_8", "regression", "template", "mean", "nearest", "ridge", "fit",
)  # fmt: skip
"""`rodin` is the engine as shipped; `rodin_10` and `rodin_50` are single samples; `fit` is what planes can hold."""
BASELINE_ROWS = ("mean", "nearest", "ridge")
FITTED_ROWS = ("rodin", "regression", "template")
_STEPS = {"rodin_10": 10, "rodin_50": 50, "regression": 1}
_SAMPLES = 8
_FIT_VISITS = 400
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Studio:
    """What all rows share. `folder` is for files that they make; `data` the rendered set."""

    model: BodyModel
    rodin: Rodin
    baselines: Baselines | None
    folder: Path
    data: Path


class Sitting:
    """One head in the studio: what several rows need of it is made once."""

    def __init__(self, studio: Studio, head: HeldOutHead) -> None:
        self.studio, self.head = studio, head
        self._drawn: list[tuple[str, torch.Tensor, np.ndarray]] = []

    def draw(self, condition: str, row: str) -> Float[np.ndarray, "V S S 3"]:
        """All measured views of one row, over white.

        `condition` is "rows" or "rows_fitted". Raises `MaquetteError` when the row's path finds no face.
        """
        cameras = self.head.cameras
        if condition == "rows":
            field = self.field(row)
        else:
            portrait, fit = self._product
            field = self._engine_field(row, portrait, fit)
            to_truth = rigid_transform(fit.posed()[self._controls], self._true_fit.posed()[self._controls])
            cameras = tuple(dataclasses.replace(c, world_to_camera=c.world_to_camera @ to_truth) for c in cameras)
        # Drawing is what costs: an engine that takes one step as shipped is drawn once, not again as "regression".
        for before, planes, drawn in self._drawn:
            if before == condition and torch.equal(planes, field.planes):
                return drawn
        self._drawn.append((condition, field.planes, draw_views(field, cameras)))
        return self._drawn[-1][2]

    def field(self, row: str) -> TriPlane:
        """The field of one row, camera and body being known."""
        if row == "template":
            return self._engine_field(row, *self._cut_out)
        if row == "fit":
            return self._fitted_planes()
        if row not in BASELINE_ROWS:
            return self._engine_field(row, self.head.true_portrait(), self._true_fit)
        baselines = self.studio.baselines
        assert baselines is not None, "checked before the first head"
        if row == "mean":
            planes = baselines.mean
        else:
            planes = (baselines.nearest if row == "nearest" else baselines.ridge)(self._features)
        return TriPlane(planes, baselines.decoder, self.studio.rodin.half_size, self._warp)

    def _engine_field(self, row: str, portrait: Portrait, fit: BodyFit) -> TriPlane:
        rodin = self.studio.rodin
        if row == "template":
            return template_field(portrait, fit)
        if row == "rodin":
            return generate_field(rodin, portrait, fit, _SEED)
        if row == "rodin_10_mean_of_8":
            fields = [generate_field(rodin, portrait, fit, seed, steps=10) for seed in range(_SAMPLES)]
            return dataclasses.replace(fields[0], planes=torch.stack([field.planes for field in fields]).mean(0))
        return generate_field(rodin, portrait, fit, _SEED, steps=_STEPS[row])

    def _fitted_planes(self) -> TriPlane:
        """Planes fitted to all measured views with the engine's own, frozen decoder."""
        from backend.training.bank import load_bank
        from backend.training.plane_set import PlaneSet, PlaneSetConfig

        rodin, model = self.studio.rodin, self.studio.model
        pack, numbers = packed(self.studio)
        bank = load_bank(pack, model, first=numbers.index(self.head.index), count=1, fovea=rodin.fovea)
        size = rodin.mean.shape[-1]
        config = PlaneSetConfig(
            decoder=rodin.decoder.config,
            levels=(size // 4, size // 2, size),
            visits=_FIT_VISITS,
            heads_per_step=1,
            rescale_probability=0.0,
            plane_noise=0.0,
        )
        stage = PlaneSet(bank, config, decoder=rodin.decoder)
        stage.base.data.copy_(rodin.mean)
        stage.run()
        with torch.no_grad():
            planes = stage.planes(torch.tensor([0]))[0]
        return TriPlane(planes, rodin.decoder, bank.half_size, self._warp)

    @property
    def _controls(self) -> np.ndarray:
        return control_vertices(self.studio.model)

    @cached_property
    def _true_fit(self) -> BodyFit:
        return self.head.true_fit(self.studio.model)

    @cached_property
    def _warp(self) -> torch.Tensor:
        rodin, controls = self.studio.rodin, self._controls
        posed, rest = (
            torch.from_numpy(v[controls]).float() for v in (self._true_fit.posed(), self.studio.model.template)
        )
        return warp_grid(posed, rest, rodin.half_size, rodin.fovea)

    @cached_property
    def _features(self) -> torch.Tensor:
        camera = self.head.portrait_camera
        rows = (self.head.portrait.transpose(2, 0, 1), camera.world_to_camera, camera.intrinsics)
        return portrait_features(*(torch.from_numpy(np.asarray(row, np.float32))[None] for row in rows))[0]

    @cached_property
    def _cut_out(self) -> tuple[Portrait, BodyFit]:
        """The portrait as the product reads a picture with a transparent ground, the true body before its camera."""
        from backend.pipeline import QUALITY
        from backend.portrait.portrait import load_portraits

        path = self.studio.folder / "portraits" / f"{self.head.index:05d}-cut-out.png"
        write_picture(path, self.head.portrait)
        portrait = load_portraits([path], size=QUALITY["standard"].crop)[0]
        true = self.head.portrait_camera
        intrinsics = portrait.source_to_crop @ true.intrinsics
        camera = Camera(true.world_to_camera, intrinsics, portrait.size, portrait.size)
        return portrait, dataclasses.replace(self._true_fit, camera=camera)

    @cached_property
    def _product(self) -> tuple[Portrait, BodyFit]:
        """Portrait and body fit as `backend.pipeline.generate` has them from a picture with a grey ground."""
        from backend.body_model.of_portrait import fit_portrait
        from backend.pipeline import QUALITY
        from backend.portrait.portrait import load_portraits

        path = self.studio.folder / "portraits" / f"{self.head.index:05d}.png"
        write_picture(path, self.head.portrait_over(0.5))
        portrait = load_portraits([path], size=QUALITY["standard"].crop)[0]
        return portrait, fit_portrait(self.studio.model, portrait)


def template_field(portrait: Portrait, fit: BodyFit) -> TriPlane:
    """The template engine at the quality "standard"."""
    from backend.meshing.observation import observe
    from backend.pipeline import QUALITY
    from backend.template.engine import TemplateSettings, fit_field

    quality = QUALITY["standard"]
    settings = TemplateSettings(quality.field_points, quality.field_steps, quality.level_sizes)
    return fit_field(fit.model, observe(portrait, fit), settings, _SEED)


def draw_views(field: TriPlane, cameras: tuple[Camera, ...]) -> Float[np.ndarray, "V S S 3"]:
    """Views over white. With half the usual samples: that changes the PSNR by less than 0.01 dB."""
    grid = OccupancyGrid.build(field, 64)
    return np.stack([render_view(field, c, occupancy=grid, background=(1, 1, 1), config=QUICK).rgb for c in cameras])


def packed(studio: Studio) -> tuple[Path, list[int]]:
    """The set as the trainers read it, packed on first use, and the people in it in their order."""
    from synthetic_data.pack import write_pack
    from synthetic_data.reader import DataSet

    folder = studio.folder / "pack"
    if not folder.exists():
        partial = folder.with_name("pack.partial")
        shutil.rmtree(partial, ignore_errors=True)
        write_pack(studio.data, partial)
        partial.replace(folder)
    data = DataSet.open(studio.data)
    return folder, [entry.index for entry in data.entries() for _ in range(data.config.takes)]
