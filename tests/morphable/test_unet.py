"""The U-Net: where depth attention stands, and that it starts as the U-Net without it."""

import torch

from backend.morphable.config import MorphableConfig
from backend.morphable.unet import ViewUNet
from backend.morphable.weights import empty_model


def test_depth_attention_stands_where_the_paper_s_network_has_it():
    """Channels and contexts after the middle block and after the decoder's blocks 3 to 11."""
    unet = empty_model(MorphableConfig()).denoiser
    blocks = [unet.middle_conditions, *unet.output_conditions]
    assert [(b.proj_in[0].in_channels, b.proj_context[0].in_channels) for b in blocks] == [
        (1280, 512), (1280, 256), (1280, 256), (1280, 128), (640, 128), (640, 128), (640, 64), (320, 64), (320, 64),
        (320, 64),
    ]  # fmt: skip


def test_before_training_the_frustum_says_nothing():
    torch.manual_seed(0)
    config = MorphableConfig(volume_channels=(8, 8, 16, 16), unet_channels=(32, 32, 32, 32), context=16)
    net = ViewUNet(config).eval()
    views, steps, context = torch.randn(2, 8, 16, 16), torch.tensor([10, 900]), torch.randn(2, 1, 16)
    frusta = [torch.randn(2, c, 4, s, s) for c, s in zip(config.volume_channels, (16, 8, 4, 2), strict=True)]
    with torch.no_grad():
        plain = net.unet(views, steps, context).sample
        torch.testing.assert_close(net(views, steps, context, frusta), plain, atol=1e-5, rtol=1e-4)
        for block in net.output_conditions:
            torch.nn.init.normal_(block.proj_out[-1].weight)
        assert not torch.allclose(net(views, steps, context, frusta), plain)


def test_plain_levels_attend_to_depth_alone():
    widths = {"volume_channels": (8, 8, 16, 16), "unet_channels": (32, 64, 96, 128), "context": 16}
    for plain in (0, 1, 3):
        net = ViewUNet(MorphableConfig(plain_levels=plain, **widths))
        attending = [hasattr(block, "attentions") for block in net.unet.down_blocks]
        assert attending == [False] * plain + [True] * (3 - plain) + [False]
        assert [hasattr(block, "attentions") for block in reversed(net.unet.up_blocks)] == attending
        assert len(net.output_conditions) == 9


def test_the_small_configuration_is_a_fiftieth_of_the_published_one():
    small, whole = empty_model(MorphableConfig.small()), empty_model(MorphableConfig())
    count = lambda model: sum(parameter.numel() for parameter in model.parameters())  # noqa: E731
    assert count(whole) > 1.3e9 and 20e6 < count(small) < 30e6
