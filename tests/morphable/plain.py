"""The algorithm as it is written, without any of what makes it quick: the yardstick for the sampler and its speed.

One view at a time, portrait and no portrait one after the other, everything about cameras and mesh worked out anew in
every step, DDIM from its formulas, and keys and values for every depth.
"""

import torch

from backend.morphable.depth_attention import HEADS
from backend.morphable.scene import make_scene
from backend.morphable.schedule import scheduler


@torch.no_grad()
def denoise_plainly(model, views, vertices, condition, noise, *, steps, guidance):
    """The last latents of all views."""
    kept = scheduler().alphas_cumprod
    times = list(range(1, 1000, 1000 // steps))
    x = next(noise)
    nothing = condition.dropped()
    for index in reversed(range(steps)):
        time = torch.full((len(x),), times[index])
        scene = make_scene(views, vertices, model.config)
        volume = model.volume(x, time, scene)
        predicted = torch.empty_like(x)
        for view in range(x.shape[1]):
            features = model.frusta(volume, time, scene, torch.full((len(x), 1), view))
            told = model.predict(x[:, view], time, condition, features)
            untold = model.predict(x[:, view], time, nothing, [torch.zeros_like(each) for each in features])
            predicted[:, view] = untold + guidance * (told - untold)
        a, before = kept[times[index]], kept[times[index - 1] if index else 0]
        sigma = ((1 - before) / (1 - a) * (1 - a / before)).sqrt()
        clean = (x - (1 - a).sqrt() * predicted) / a.sqrt()
        x = before.sqrt() * clean + (1 - before - sigma**2).sqrt() * predicted
        if index:
            x = x + sigma * next(noise)
    return x


def attend_plainly(layer, x, context):
    """`DepthAttention.forward` with keys and values at every depth."""
    queries = layer.to_q(x).unflatten(1, (HEADS, -1))[:, :, :, None]
    keys, values = (to(context).unflatten(1, (HEADS, -1)) for to in (layer.to_k, layer.to_v))
    weights = ((queries * keys).sum(2, keepdim=True) * layer.scale).softmax(3)
    return layer.to_out((weights * values).sum(3).flatten(1, 2))
