"""From a portrait, a text or nothing to a field: cameras stay true, weights come back as they were."""

import dataclasses

import numpy as np
import pytest
import torch

from backend.api import ErrorCode
from backend.body_model.anny import load_anny
from backend.errors import MaquetteError
from backend.rodin.condition import condition_of
from backend.rodin.engine import (
    edit_field,
    edit_in_turn,
    generate_field,
    generate_from_prompt,
    generate_unconditional,
    point_condition,
    portrait_condition,
)
from backend.rodin.weights import load_latent, load_prior, load_rodin, save_latent, save_prior, save_rodin


@pytest.fixture(scope="module")
def model():
    return load_anny()


@pytest.fixture(scope="module")
def astronaut(model, tmp_path_factory):
    import skimage.data
    from PIL import Image

    from backend.body_model.fitting import fit_landmarks
    from backend.body_model.registry import landmark_map
    from backend.portrait.portrait import load_portraits

    path = tmp_path_factory.mktemp("portrait") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    portrait = load_portraits([path], size=512)[0]
    return portrait, fit_landmarks(model, landmark_map(model), portrait.landmarks, (512, 512))


@pytest.mark.slow
def test_the_small_picture_and_its_camera_agree_with_the_large_one(astronaut):
    portrait, fit = astronaut
    condition = condition_of(portrait, fit, 128, lambda picture: picture.mean((2, 3)))
    assert condition.picture.shape == (1, 4, 128, 128)
    torch.testing.assert_close(condition.latent, condition.picture.mean((2, 3)))
    places = fit.posed()[::37]
    there = fit.camera.project(places)
    camera = condition.body.new_tensor(places) @ condition.world_to_camera[0, :3, :3].T
    pixels = (camera + condition.world_to_camera[0, :3, 3]) @ condition.intrinsics[0].T
    here = (pixels[:, :2] / pixels[:, 2:]).double().numpy()
    scale = condition.intrinsics[0, 0, 0].item() / fit.camera.intrinsics[0, 0]
    np.testing.assert_allclose(here - here[0], scale * (there - there[0]), atol=0.01)
    # The same spot of the face has the same colour in both.
    nose = int(np.argmin(places[:, 1]))
    x, y = (here[nose] - 0.5).round().astype(int)
    u, v = there[nose].astype(int)
    large = portrait.foreground[v - 2 : v + 3, u - 2 : u + 3].mean((0, 1))
    np.testing.assert_allclose(condition.picture[0, :3, y, x].numpy(), large, atol=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3])
def test_a_field_follows_from_portrait_and_seed(astronaut, rodin, steps):
    portrait, fit = astronaut
    fractions = []
    one, again, other = (
        generate_field(rodin, portrait, fit, seed, steps=steps, progress=fractions.append) for seed in (1, 1, 2)
    )
    assert torch.equal(one.planes, again.planes) and not torch.equal(one.planes, other.planes)
    assert one.warp is not None and fractions[-1] == 1.0
    places = torch.tensor(fit.posed()[:10]).float()
    assert torch.isfinite(one.density(places)).all()


@pytest.mark.slow
def test_an_edit_of_a_portrait_s_field_keeps_its_body(astronaut, rodin):
    portrait, fit = astronaut
    field = generate_field(rodin, portrait, fit, 1)
    condition = portrait_condition(rodin, portrait, fit)
    same = edit_field(rodin, field, condition, "a bald man", 1, strength=0.0)
    torch.testing.assert_close(same.planes, field.planes, atol=1e-5, rtol=0)
    edited = edit_field(rodin, field, condition, "red hair", 1, steps=4)
    assert torch.equal(edited.warp, field.warp) and not torch.allclose(edited.planes, field.planes, atol=1e-2)


def test_people_are_made_of_words_and_of_nothing(rodin, model):
    one, again = (generate_from_prompt(rodin, model, "a man with red hair", 3, steps=3) for _ in range(2))
    assert torch.equal(one.field.planes, again.field.planes) and np.array_equal(one.identity, again.identity)
    other = generate_from_prompt(rodin, model, "a woman", 3, steps=3)
    anybody = generate_unconditional(rodin, model, 3, steps=3)
    for person in (one, other, anybody):
        assert all(p.low <= v <= p.high for p, v in zip(model.identity_parameters, person.identity, strict=True))
        assert person.latent.shape == (1, 8) and person.field.warp is not None
        places = torch.tensor(model.neutral(person.identity)[:10]).float()
        assert torch.isfinite(person.field.density(places)).all()
    condition = point_condition(rodin, model, one.latent, one.identity)
    assert condition.keep == 0 and condition.keep_latent == 1
    edited = edit_field(rodin, one.field, condition, "a bald man", 3, steps=4)
    assert torch.isfinite(edited.planes).all() and edited.planes.shape == one.field.planes.shape


def test_an_edit_after_another_goes_on_from_its_point(rodin, model):
    person = generate_unconditional(rodin, model, 3, steps=1)
    condition = point_condition(rodin, model, person.latent, person.identity)
    first = edit_field(rodin, person.field, condition, "red hair", 3, steps=2)
    alone = edit_field(rodin, first, condition, "a man", 3, steps=2)
    after = edit_field(rodin, first, condition, "a man", 3, after=("red hair",), steps=2)
    assert torch.equal(after.warp, person.field.warp) and not torch.allclose(after.planes, alone.planes, atol=1e-3)
    fractions = []
    both = edit_in_turn(rodin, person.field, condition, ("red hair", "a man"), 3, fractions.append)
    first = edit_field(rodin, person.field, condition, "red hair", 3)
    assert torch.equal(both.planes, edit_field(rodin, first, condition, "a man", 3, after=("red hair",)).planes)
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_parts_that_are_missing_are_asked_for_in_one_sentence(rodin, model, tmp_path):
    bare = dataclasses.replace(rodin, latent=None, prior=None)
    save_rodin(tmp_path / "bare.safetensors", bare)
    found = load_rodin(tmp_path / "bare.safetensors", model)
    assert found.latent is None and found.prior is None
    with pytest.raises(MaquetteError, match="hold no latent space"):
        generate_from_prompt(found, model, "a man", 1)
    with pytest.raises(MaquetteError, match="hold no prior over people"):
        generate_unconditional(found, model, 1)
    own = load_rodin(tmp_path / "bare.safetensors", model, rodin.latent)
    assert own.latent is rodin.latent, "a space that the user has goes with weights without one"


def test_latent_space_and_prior_come_back_alone_and_in_the_engine_s_weights(rodin, model, tmp_path):
    paths = [tmp_path / name for name in ("latent.safetensors", "prior.safetensors", "rodin.safetensors")]
    save_latent(paths[0], rodin.latent)
    save_prior(paths[1], rodin.prior)
    save_rodin(paths[2], rodin)
    whole = load_rodin(paths[2], model)
    said = ["a man with red hair", "grenish"]
    for latent in (load_latent(paths[0]), load_latent(paths[2]), whole.latent):
        assert latent.texts.vocabulary == ("man", "red", "hair") and latent.config == rodin.latent.config
        torch.testing.assert_close(latent.encode_texts(said), rodin.latent.encode_texts(said), atol=2e-2, rtol=0)
    for prior in (load_prior(paths[1]), load_prior(paths[2]), whole.prior):
        assert prior.config == rodin.prior.config
        torch.testing.assert_close(prior.mean, rodin.prior.mean, atol=1e-3, rtol=1e-3)
    with pytest.raises(MaquetteError, match="does not hold the weights"):
        load_prior(paths[0])


def test_weights_come_back_in_half_precision(rodin, model, tmp_path):
    save_rodin(tmp_path / "rodin.safetensors", rodin)
    found = load_rodin(tmp_path / "rodin.safetensors", model)
    assert found.base.config == rodin.base.config and found.decoder.config == rodin.decoder.config
    for name, value in rodin.base.state_dict().items():
        torch.testing.assert_close(found.base.state_dict()[name], value, atol=1e-3, rtol=1e-3)


def test_what_is_no_weights_is_said_in_one_sentence(model, tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    for name in ("broken.safetensors", "missing.safetensors"):
        with pytest.raises(MaquetteError) as found:
            load_rodin(tmp_path / name, model)
        assert found.value.code is ErrorCode.MODEL_MISSING
