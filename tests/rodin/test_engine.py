"""From a real portrait to a field: the condition keeps the camera true, weights come back as they were."""

import numpy as np
import pytest
import torch

from backend.api import ErrorCode
from backend.body_model.anny import load_anny
from backend.errors import MaquetteError
from backend.radiance.decoder import CLASSES, Decoder, DecoderConfig
from backend.rodin.aligned import make_anchors
from backend.rodin.base import BaseConfig, BaseModel
from backend.rodin.condition import condition_of
from backend.rodin.engine import generate_field
from backend.rodin.weights import Rodin, load_rodin, save_rodin

SIZES = {"size": 16, "channels": 8, "widths": (8, 8), "blocks": (1, 1), "embedding": 16, "latent_size": 8}


@pytest.fixture(scope="module")
def model():
    return load_anny()


@pytest.fixture(scope="module")
def rodin(model):
    torch.manual_seed(0)
    config = BaseConfig(**SIZES, tokens=16, feature_channels=8)
    base = BaseModel(config, make_anchors(model, 16)).eval().requires_grad_(False)
    torch.nn.init.normal_(base.unet.leave.conv.weight, std=0.05)
    decoder = Decoder.initialised(
        DecoderConfig(channels=8, density_channels=4, width=16, classes=len(CLASSES)), torch.Generator().manual_seed(0)
    )
    return Rodin(base, decoder.requires_grad_(False), 0.1 * torch.randn(3, 8, 16, 16), torch.full((3, 8, 1, 1), 0.2))


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
    condition = condition_of(portrait, fit, 128)
    assert condition.picture.shape == (1, 4, 128, 128)
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
