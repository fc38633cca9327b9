"""Edits go where the words point, as far as asked, and nowhere when nothing is asked."""

import functools

import torch

from backend.rodin.editing import edit_latent, edit_planes, where_it_matters
from backend.rodin.latent import on_sphere
from backend.rodin.prior import LatentPrior, PriorConfig
from backend.rodin.sampling import sample
from tests.rodin.test_base import condition, guess, model  # noqa: F401, a fixture


class Words:
    """A space in which the first number says "bald" and the second "old"."""

    size = 6
    device = torch.device("cpu")

    def encode_texts(self, texts):
        return torch.stack([torch.tensor([2.0 * ("bald" in t), 2.0 * ("old" in t), 1, 0, 0, 0]) for t in texts])

    def encode_pictures(self, pictures):
        raise NotImplementedError


class People(LatentPrior):
    """Draws for each text the one person who lies where the text says, turned into the portraits' part of the space."""

    def __init__(self):
        super().__init__(PriorConfig(latent=6, identity=2, width=8, blocks=1, embedding=8))

    def forward(self, vectors, time, text, keep_text):
        return torch.cat([text.roll(3, 1), vectors[:, 6:]], 1) * keep_text[:, None]


def test_a_point_moves_along_the_difference_of_the_people_of_two_texts():
    z = on_sphere(torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]))
    edit = functools.partial(edit_latent, Words(), People())
    torch.testing.assert_close(edit(z, "a bald man", strength=0.0), z)
    bald, person = (on_sphere(Words().encode_texts([text]).roll(3, 1)) for text in ("a bald man", "a person"))
    torch.testing.assert_close(edit(z, "a bald man", strength=1.5), on_sphere(z + 1.5 * (bald - person)))
    younger = edit(z, "a man", source="an old man")
    assert younger[0, 4] < z[0, 4] - 0.5


def test_strength_zero_changes_nothing(model):  # noqa: F811
    told = condition(model, [1.0], [1.0])
    other = -told.latent
    again = edit_planes(model, told, other, torch.Generator().manual_seed(3), strength=0.0, steps=4)
    plain = sample(model, told, torch.Generator().manual_seed(3), guidance=1.0, latent_guidance=1.0, steps=4)
    assert torch.equal(again, plain)
    planes = torch.randn(1, 3, 4, 16, 16)
    kept = edit_planes(model, told, other, torch.Generator().manual_seed(3), strength=0.0, planes=planes)
    assert torch.equal(kept, planes)


def test_the_same_point_changes_nothing_at_any_strength(model):  # noqa: F811
    told = condition(model, [1.0], [1.0])
    plain = sample(model, told, torch.Generator().manual_seed(3), guidance=1.0, latent_guidance=1.0, steps=3)
    same = edit_planes(model, told, told.latent, torch.Generator().manual_seed(3), strength=5.0, steps=3)
    torch.testing.assert_close(same, plain, atol=1e-4, rtol=1e-4)


def test_the_change_is_the_difference_that_the_point_makes_without_the_portrait(model):  # noqa: F811
    told = condition(model, [1.0], [1.0])
    edited = told.latent.flip(1)
    found = edit_planes(model, told, edited, torch.Generator().manual_seed(1), strength=2.0, steps=1)
    alone = told.without_portrait()
    change = guess(model, alone.at(edited)) - guess(model, alone)
    assert change.abs().max() > 1e-3
    torch.testing.assert_close(found, guess(model, told) + 2 * change, atol=1e-4, rtol=1e-4)


def test_depth_zero_leaves_the_person_s_planes_as_they_are(model):  # noqa: F811
    told, planes = condition(model, [1.0], [1.0]), torch.randn(1, 3, 4, 16, 16)
    options = {"planes": planes, "strength": 2.0, "steps": 5}
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(edit_planes(model, told, -told.latent, generator, depth=0.0, **options), planes)
    assert not torch.equal(edit_planes(model, told, -told.latent, generator, depth=0.5, **options), planes)


def test_what_an_edit_only_drags_along_stays():
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(2, 3, 4, 32, 32, generator=generator)
    change = 0.1 * torch.randn(before.shape, generator=generator)
    change[0, 1, :, 8:20, 8:20] = 2.0
    change[1] *= 0.01
    found = where_it_matters(before, before + change)
    torch.testing.assert_close(found[0, 1, :, 12:16, 12:16], (before + change)[0, 1, :, 12:16, 12:16])
    assert torch.equal(found[0, 0], before[0, 0]) and torch.equal(found[0, 1, :, 24:], before[0, 1, :, 24:])
    assert (found[1] - before[1]).abs().sum() > 0.5 * change[1].abs().sum(), "to each person what is most for them"
    assert torch.equal(where_it_matters(before, before), before)
