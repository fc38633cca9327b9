"""Speed and memory of Morphable Diffusion: ``python -m tests.benchmarks.bench_morphable [--full] [--threads N]``.

At the small size the sampler runs for real, against the algorithm as it is written (``tests/morphable/plain.py``), and
must give the same pictures. With ``--full`` the published size is measured part by part, and the time of 16 views in
50 steps is reckoned from that. Weights are random. Wall seconds mean something on an idle machine only.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import resource
import time
from collections.abc import Callable, Iterator

import torch

from backend.morphable.config import MorphableConfig
from backend.morphable.depth_attention import DepthAttention
from backend.morphable.guidance import guided_prediction
from backend.morphable.model import Condition, MorphableDiffusion
from backend.morphable.sampler import denoise
from backend.morphable.scene import Scene, make_scene
from backend.morphable.views import Views, face_views
from backend.morphable.weights import empty_model
from tests.morphable.plain import attend_plainly, denoise_plainly

STEPS = 50
_SAME = 1e-3
"""Standard deviations by which rounding may move a latent."""


def measure(name: str, run: Callable[[], object]) -> float:
    """CPU seconds of `run`, also printed."""
    run_start, cpu_start = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter() - run_start, time.process_time() - cpu_start
    print(f"{name:52} {wall:8.2f} s wall {cpu:8.2f} s CPU", flush=True)
    return cpu


def random_model(config: MorphableConfig) -> MorphableDiffusion:
    """Without autoencoder and a real image encoder, which run once per picture and not once per step."""
    config = dataclasses.replace(config, autoencoder=False, encoder_width=64, encoder_layers=1)
    model = empty_model(config).to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.fill_(1)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.02, generator=generator)
    return model


def head(count: int) -> torch.Tensor:
    """Vertices on an egg of the size of a head, in the networks' world."""
    directions = torch.randn(1, count, 3, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(directions, dim=-1) * torch.tensor([0.2, 0.32, 0.25])


def setting(model: MorphableDiffusion, count: int) -> tuple[Views, torch.Tensor, Scene, Condition]:
    config = model.config
    size = config.image_size
    views, vertices = face_views(count, focal=1545.24 * size / 256, image_size=size), head(5023)
    latent = torch.randn(1, config.map_channels, config.map_size, config.map_size)
    return views, vertices, make_scene(views, vertices, config), Condition(latent, torch.randn(1, 1, config.context))


def noises(model: MorphableDiffusion, count: int) -> Iterator[torch.Tensor]:
    config = model.config
    generator = torch.Generator().manual_seed(1)
    shape = (1, count, config.map_channels, config.map_size, config.map_size)
    return (torch.randn(shape, generator=generator) for _ in itertools.count())


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """Depth attention with keys and values at every depth."""
    quick = DepthAttention.forward
    DepthAttention.forward = attend_plainly
    yield
    DepthAttention.forward = quick


def compare_small(count: int, steps: int) -> None:
    # What is written predicts noise and knows of no portrait on the mesh.
    model = random_model(dataclasses.replace(MorphableConfig.small(), projected=False, prediction="epsilon"))
    views, vertices, scene, condition = setting(model, count)
    kept: list[torch.Tensor] = []
    options = {"steps": steps, "guidance": 2.0}
    ours = measure(
        f"small, {count} views, {steps} steps",
        lambda: kept.extend(denoise(model, scene, condition, noises(model, count), **options)),
    )
    with as_written():
        plain = measure(
            "the same, as it is written",
            lambda: kept.append(denoise_plainly(model, views, vertices, condition, noises(model, count), **options)),
        )
    difference = float((kept[-1] - kept[-2]).abs().max() / kept[-1].std())
    print(f"  as written / ours: {plain / ours:.2f} in CPU seconds; largest difference {difference:.1e} deviations")
    if difference > _SAME:
        raise SystemExit("These are not the same pictures.")


def measure_full() -> None:
    model = random_model(MorphableConfig())
    _, vertices, scene, condition = setting(model, 16)
    latents, step = next(noises(model, 16)), torch.tensor([500])
    volume: list[torch.Tensor] = []
    frusta: list[tuple[torch.Tensor, ...]] = []
    once = measure("full, scene, once", lambda: make_scene(face_views(), vertices, model.config))
    per_step = measure("full, volume of 16 views", lambda: volume.append(model.volume(latents, step, scene)))
    chosen = torch.tensor([[3]])
    per_view = measure("full, frustum of a view", lambda: frusta.append(model.frusta(volume[0], step, scene, chosen)))
    view = latents[:, 3]
    measure("full, U-Net, one view", lambda: model.predict(view, step, condition, frusta[0]))
    nothing = condition.dropped()
    void = [torch.zeros_like(each) for each in frusta[0]]
    with as_written():
        written = measure(
            "the same as it is written, one after the other",
            lambda: (model.predict(view, step, condition, frusta[0]), model.predict(view, step, nothing, void)),
        )
    guided = measure(
        "full, U-Net, one view with guidance", lambda: guided_prediction(model, view, step, condition, frusta[0], 2.0)
    )
    whole = once + STEPS * (per_step + 16 * (per_view + guided))
    plain = STEPS * (once + per_step + 16 * (per_view + written))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  16 views, {STEPS} steps: {whole / 60:.0f} min of CPU, without decoding; peak memory {peak:.1f} GiB")
    print(f"  as written: {plain / 60:.0f} min, as written / ours: {plain / whole:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="measure the published size, too")
    parser.add_argument("--views", type=int, default=16, help="of the small run")
    parser.add_argument("--steps", type=int, default=4, help="of the small run")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads")
    with torch.no_grad():
        compare_small(options.views, options.steps)
        if options.full:
            measure_full()


if __name__ == "__main__":
    main()
