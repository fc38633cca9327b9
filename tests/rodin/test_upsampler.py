"""The upsampler keeps what the small planes say and adds to it."""

import torch

from backend.body_model.anny import load_anny
from backend.radiance.cameras import Camera
from backend.rodin.aligned import make_anchors
from backend.rodin.base import Condition
from backend.rodin.upsampler import Upsampler, UpsamplerConfig, enlarged, upsample

CONFIG = UpsamplerConfig(size=32, low=16, channels=8, patch=4, widths=(16, 24), blocks=(1, 1), embedding=32)


def condition(anchors, count):
    camera = Camera.orbit(0, 0, distance=1.1, fov_degrees=22, size=64)
    rows = [torch.tensor(m).float()[None].repeat(count, 1, 1) for m in (camera.world_to_camera, camera.intrinsics)]
    picture = torch.rand((count, 4, 64, 64), generator=torch.Generator().manual_seed(0))
    body, ones = anchors.controls[None].repeat(count, 1, 1), torch.ones(count)
    return Condition(picture, torch.zeros(count, 1), body, *rows, ones, ones)


def test_an_untrained_one_adds_nothing():
    """The last layer starts at zero, so the guess is the enlarged planes."""
    anchors = make_anchors(load_anny(), 32)
    model = Upsampler(CONFIG, anchors).eval()
    low = torch.randn(2, 3, 8, 16, 16)
    for steps in (1, 3, 4):
        detail = upsample(model, low, condition(anchors, 2), torch.Generator().manual_seed(0), steps=steps)
        assert detail.shape == (2, 3, 8, 32, 32)
        assert detail.abs().max() < 1e-6


def test_the_portrait_can_be_left_out():
    anchors = make_anchors(load_anny(), 32)
    model = Upsampler(CONFIG, anchors)
    seen = condition(anchors, 2)
    object.__setattr__(seen, "keep", torch.tensor([1.0, 0.0]))
    aligned = model.see(seen)
    assert aligned[0].abs().max() > 0 and aligned[1].abs().max() == 0


def test_enlarging_keeps_constants_and_places():
    ramp = torch.arange(16.0).expand(1, 3, 1, 16, 16)
    large = enlarged(ramp, 32)
    torch.testing.assert_close(large[..., 1:-1:2], (ramp + 0.25)[..., :-1].repeat_interleave(2, -2), atol=1e-5, rtol=0)


def test_fine_anchors_move_like_coarse_ones():
    """Beyond 64 texels the moves are interpolated: a body that is moved as a whole moves every anchor alike."""
    fine = make_anchors(load_anny(), 128)
    shift = torch.tensor([0.01, -0.02, 0.03])
    moves = fine.moves((fine.controls + shift)[None])
    assert moves.shape == (1, 6 * 128 * 128, 3)
    torch.testing.assert_close(moves, shift.expand_as(moves), atol=1e-4, rtol=0)
