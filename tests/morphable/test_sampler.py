"""The sampler, step by step against the algorithm as it is written, and what must not change the pictures."""

import itertools

import pytest
import torch

from backend.morphable.guidance import guided_prediction
from backend.morphable.model import Condition
from backend.morphable.sampler import denoise, sample
from backend.morphable.schedule import STEPS, scheduler
from tests.morphable.conftest import TINY, VIEWS
from tests.morphable.plain import denoise_plainly

SHAPE = (2, 3, 12, 8, 8)


def noises(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(SHAPE, generator=generator) for _ in itertools.count())


def last(states):
    return list(states)[-1]


def test_it_is_the_algorithm(tiny, scene, condition):
    ours = last(denoise(tiny, scene, condition, noises(), steps=3, guidance=2.0))
    plain = denoise_plainly(tiny, VIEWS, scene.vertices, condition, noises(), steps=3, guidance=2.0)
    torch.testing.assert_close(ours, plain, atol=1e-3 * float(plain.std()), rtol=0)


@pytest.mark.parametrize("views_at_once", [1, 2, 3])
def test_how_many_views_fit_at_once_is_a_matter_of_memory_alone(views_at_once, tiny, scene, condition):
    whole = last(denoise(tiny, scene, condition, noises(), steps=2, views_at_once=8))
    parts = last(denoise(tiny, scene, condition, noises(), steps=2, views_at_once=views_at_once))
    torch.testing.assert_close(parts, whole, atol=1e-3 * float(whole.std()), rtol=0)


def test_without_guidance_the_portrait_is_believed_as_it_is(tiny, scene, condition):
    views, steps = next(noises())[:, 0], torch.tensor([500, 500])
    with torch.no_grad():
        volume = torch.randn(2, 8, 8, 8, 8, generator=torch.Generator().manual_seed(3))
        features = tiny.frusta(volume, steps, scene, torch.zeros(2, 1, dtype=torch.long))
        told = tiny.predict(views, steps, condition, features)
        untold = tiny.predict(views, steps, condition.dropped(), [torch.zeros_like(f) for f in features])
        for scale in (0.0, 1.0, 2.5):
            guided = guided_prediction(tiny, views, steps, condition, features, scale)
            expected = untold + scale * (told - untold)  # evaluated apart; guided_prediction has both in one batch
            torch.testing.assert_close(guided, expected, atol=1e-3 * float(expected.std()), rtol=0)


def test_same_seed_same_pictures_and_progress_is_told(tiny, scene, condition):
    told = []
    make = lambda seed, progress: sample(  # noqa: E731
        tiny, scene, condition, torch.Generator().manual_seed(seed), steps=2, progress=progress
    )
    first, again, other = make(0, told.append), make(0, told.append), make(1, told.append)
    assert first.shape == (2, 3, 3, 16, 16) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert told == [0.5, 1.0] * 3


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_a_network_that_knew_the_picture_would_be_led_to_it(prediction):
    """Its answers, noise or clean views, take pure noise to the picture; the published schedule stops at the signal
    of time 0, which is 0.04 short of it."""
    generator = torch.Generator().manual_seed(0)
    picture, x = torch.randn(2, 4, 3, 8, 8, generator=generator)
    plan = scheduler(10, prediction)
    for step in plan.timesteps.tolist():
        kept, lost = plan.alphas_cumprod[step].sqrt(), (1 - plan.alphas_cumprod[step]).sqrt()
        noise = (x - kept * picture) / lost
        answer = noise if prediction == "epsilon" else picture
        added = torch.randn(picture.shape, generator=generator)
        x = plan.step(answer, step, x, eta=1.0, variance_noise=added).prev_sample
    short = {"epsilon": 0.04, "sample": 1e-4}[prediction]
    assert (x - picture).std() < short
    assert scheduler(50, prediction).timesteps[0] == {"epsilon": 981, "sample": STEPS - 1}[prediction]


def test_views_learn_of_each_other_through_the_volume(tiny, scene):
    """Another first view changes its own subject's volume, and no other's."""
    x, time = next(noises()), torch.tensor([500, 500])
    changed = x.clone()
    changed[0, 0] += 1
    with torch.no_grad():
        one, two = tiny.volume(x, time, scene), tiny.volume(changed, time, scene)
    assert (one != 0).float().mean() > 0.02, "the mesh meets the volume"
    assert not torch.allclose(one[0], two[0]) and torch.equal(one[1], two[1])


def test_a_portrait_becomes_blocks_of_pixels_and_a_vector(tiny):
    portrait = torch.rand(2, 3, 16, 16) * 2 - 1
    made = tiny.condition(portrait, torch.zeros(2, 12, 8, 8))
    assert made.latent.shape == (2, 12, 8, 8) and made.vector.shape == (2, 1, TINY.context)
    assert torch.equal(tiny.decode(made.latent), portrait)
    rows = Condition(made.latent, made.vector).repeat(3)
    assert torch.equal(rows.latent[:3], made.latent[:1].expand(3, -1, -1, -1))
