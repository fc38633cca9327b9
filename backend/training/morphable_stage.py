"""Training of Morphable Diffusion (section 4 of the paper): the noise in some views of a person, given the mesh in this
expression, and a portrait in any expression (shuffled) or in this one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from backend.morphable.config import MorphableConfig
from backend.morphable.heads import as_signed
from backend.morphable.model import MorphableDiffusion
from backend.morphable.objective import CONDITIONING_RATE, parameter_groups, training_loss
from backend.morphable.projection import mirrored as mirror_drawn
from backend.morphable.scene import make_scene
from backend.morphable.schedule import STEPS
from backend.training.stage import Stage

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from backend.morphable.views import Views
    from backend.training.subjects import Subjects


@dataclasses.dataclass(frozen=True)
class MorphableStageConfig:
    """The recipe. `steps` of `batch` people, of whom `views` views make the volume and `targets` are asked for.

    `shuffled`: the portrait may show another expression than the views, which teaches that the expression is the mesh's
    (section 4.2). `mirror`: half of the people are seen in a mirror.
    """

    model: MorphableConfig = dataclasses.field(default_factory=MorphableConfig.small)
    steps: int = 20_000
    batch: int = 8
    views: int = 8
    targets: int = 4
    rate: float = 5e-4
    warm_up: int = 200
    final_rate: float = 0.05
    weight_decay: float = 0.01
    average: float = 0.999
    shuffled: bool = True
    mirror: bool = True
    seed: int = 0


class MorphableStage(Stage[MorphableDiffusion, MorphableStageConfig]):
    """The networks under training. `start` are finished weights to go on from; with an autoencoder they are needed, and
    it and the image encoder stay as they are.

    Raises `ValueError` for networks or numbers of views that the subjects cannot train.
    """

    def __init__(
        self, subjects: Subjects, config: MorphableStageConfig, start: MorphableDiffusion | None = None
    ) -> None:
        def make() -> MorphableDiffusion:
            model = MorphableDiffusion(config.model)
            if start is not None:
                model.load_state_dict(start.state_dict())
            if model.autoencoder is not None:
                model.autoencoder.requires_grad_(False)
                model.image_encoder.requires_grad_(False)
            return model

        if config.model.dense_branch or config.model.projection != "perspective":
            raise ValueError("only networks of heads without the dense branch are trained")
        have = subjects.pictures.shape[1]
        if not 1 <= config.targets <= config.views <= have:
            raise ValueError(
                f"the recipe asks for {config.targets} of {config.views} views, the set has {have} views a person"
            )
        self._grown = start is not None
        told = {"subjects": [len(subjects), len(subjects.person.unique())], "weights to go on from": self._grown}
        super().__init__(config, subjects.pictures.device, make, told)
        self.subjects = subjects

    def groups(self) -> list[dict[str, Any]]:
        """From nothing all at one rate; weights to go on from as in the paper, the U-Net ten times slower."""
        groups = parameter_groups(self.model)
        paces = [group["lr"] / CONDITIONING_RATE if self._grown else 1.0 for group in groups]
        return [{"params": group["params"], "pace": pace} for group, pace in zip(groups, paces, strict=True)]

    def loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        config, generator, subjects = self.config, self.generator, self.subjects
        plan = config.model
        uniform = lambda *shape: torch.rand(shape, generator=generator, device=self.device)  # noqa: E731
        normal = lambda *shape: torch.randn(shape, generator=generator, device=self.device)  # noqa: E731
        items = (uniform(config.batch) * len(subjects)).long()
        told = subjects.others(items, generator) if config.shuffled else items
        chosen = uniform(subjects.pictures.shape[1]).argsort()[: config.views]
        number = (uniform(config.batch) * subjects.portraits.shape[1]).long()
        pictures, portrait = subjects.pictures[items][:, chosen], subjects.portraits[told, number]
        vertices, views = subjects.meshes(items, plan), subjects.views(items, chosen)
        mirrored = uniform(config.batch) < (0.5 if config.mirror else 0.0)
        flip = mirrored[:, None, None, None]
        pictures = torch.where(flip[:, None], pictures.flip(-1), pictures)
        portrait = torch.where(flip, portrait.flip(-1), portrait)
        vertices, views = mirror(vertices, views, mirrored, plan)
        target = torch.stack([uniform(len(chosen)).argsort()[: config.targets] for _ in range(config.batch)])
        drawn = subjects.drawn(items, told, number, chosen[target], plan)
        if drawn is not None:
            drawn = torch.where(flip[:, None], mirror_drawn(drawn), drawn)
        shape = (plan.map_channels, plan.map_size, plan.map_size)
        seen = as_signed(pictures.flatten(0, 1))
        latents = self.model.encode(seen, normal(len(seen), *shape)).unflatten(0, pictures.shape[:2])
        condition = self.model.condition(as_signed(portrait), normal(config.batch, *shape), drawn)
        steps = (uniform(config.batch) * STEPS).long()
        scene = make_scene(views, vertices, plan)
        noise = normal(*latents.shape)
        chance = uniform(config.batch)
        # Processors' gradients of 3D convolutions in bfloat16 are not the same every time, so a run could not go on.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = training_loss(self.model, latents, noise, steps, scene, condition, target, chance)
        return loss, {"error": loss}


def mirror(
    vertices: Float[Tensor, "B V 3"], views: Views, mirrored: Tensor, config: MorphableConfig
) -> tuple[Float[Tensor, "B V 3"], Views]:
    """Meshes and cameras of some subjects as a mirror shows them; the pictures have to be flipped beside."""
    side = torch.tensor([-1.0, 1.0, 1.0], device=vertices.device)
    lens, matrix = views.intrinsics.clone(), views.world_to_camera
    turned = torch.diag(side) @ matrix @ torch.diag(torch.cat([side, side.new_ones(1)]))
    # The last whole pixel of a map is where the first one was.
    width = config.image_size * (config.map_size - 1) / config.map_size
    lens[..., 0, 2] = torch.where(mirrored[:, None], width - lens[..., 0, 2], lens[..., 0, 2])
    matrix = torch.where(mirrored[:, None, None, None], turned, matrix)
    vertices = torch.where(mirrored[:, None, None], vertices * side, vertices)
    return vertices, dataclasses.replace(views, intrinsics=lens, world_to_camera=matrix)


@torch.no_grad()
def draw_views(
    model: MorphableDiffusion,
    subjects: Subjects,
    items: Int[Tensor, " B"],
    told: Int[Tensor, " B"],
    *,
    steps: int = 20,
    guidance: float | None = None,
    seed: int = 0,
) -> Float[Tensor, "B N 3 S S"]:
    """All views of some items in [0, 1], from the first portraits of the items `told`, with the weights' own guidance
    if not said."""
    from backend.morphable.sampler import sample

    config, generator = model.config, torch.Generator().manual_seed(seed)
    shape = (len(items), config.map_channels, config.map_size, config.map_size)
    portrait = as_signed(subjects.portraits[told, 0])
    noise = torch.randn(shape, generator=generator).to(portrait.device)
    every = torch.arange(subjects.pictures.shape[1], device=items.device)
    scene = make_scene(subjects.views(items, every), subjects.meshes(items, config), config)
    drawn = subjects.drawn(items, told, torch.zeros_like(told), every.expand(len(items), -1), config)
    condition = model.condition(portrait, noise, drawn)
    guidance = config.guidance if guidance is None else guidance
    return sample(model, scene, condition, generator, steps=steps, guidance=guidance)
