"""The tri-plane: which axes a plane has, where its texels are, and that files hold all of it."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import MaquetteError
from backend.radiance.decoder import Decoder, DecoderConfig
from backend.radiance.triplane import PLANE_AXES, TriPlane, resize_planes, sample_planes

CHANNELS = 16


def random_triplane(size=8, seed=0, half_size=0.25, config=None):
    generator = torch.Generator().manual_seed(seed)
    decoder = Decoder.initialised(config or DecoderConfig(), generator).requires_grad_(False)
    planes = torch.rand(3, decoder.config.channels, size, size, generator=generator) * 2 - 1
    return TriPlane(planes, decoder, half_size)


def texel_centres(size):
    return (torch.arange(size) + 0.5) * 2 / size - 1


@pytest.mark.parametrize("plane", range(3))
@pytest.mark.parametrize("along", ["columns", "rows"])
def test_each_plane_depends_on_its_own_pair_of_axes(plane, along):
    """Columns grow with the first named axis, rows with the second; no other axis matters, nothing is flipped."""
    size = 8
    ramp = texel_centres(size)
    planes = torch.zeros(1, 3, 1, size, size)
    planes[0, plane, 0] = ramp[None, :] if along == "columns" else ramp[:, None]
    axis = PLANE_AXES[plane][0 if along == "columns" else 1]
    inner = 1 - 1 / size
    points = (torch.rand(1, 200, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1) * inner
    np.testing.assert_allclose(sample_planes(planes, points)[0, :, 0], points[0, :, axis] / 3, atol=1e-6)


def test_the_three_planes_use_three_different_pairs_of_axes():
    assert PLANE_AXES == ((0, 1), (0, 2), (1, 2))


def test_texel_centres_give_texels():
    size = 5
    triplane = random_triplane(size)
    centres = texel_centres(size)
    x, y, z = torch.meshgrid(centres, centres, centres, indexing="ij")
    features = triplane.features(torch.stack([x, y, z], -1).reshape(-1, 3) * triplane.half_size)
    xy, xz, yz = triplane.planes
    i, j, k = (index.reshape(-1) for index in torch.meshgrid(*[torch.arange(size)] * 3, indexing="ij"))
    expected = (xy[:, j, i] + xz[:, k, i] + yz[:, k, j]).T / 3
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=0)


def test_points_are_metres():
    small, large = random_triplane(half_size=0.25), random_triplane(half_size=0.5)
    points = torch.rand(50, 3) * 0.4 - 0.2
    torch.testing.assert_close(small.features(points), large.features(points * 2))
    # The same matter stretched to twice the size is half as dense, and as opaque over twice the length.
    torch.testing.assert_close(small.density(points), large.density(points * 2) * 2)
    torch.testing.assert_close(small.occupancy(points), large.occupancy(points * 2))


def test_batched_sampling_is_sampling_one_by_one():
    planes = torch.randn(4, 3, 6, 7, 7)
    points = torch.rand(4, 30, 3) * 2 - 1
    together = sample_planes(planes, points)
    for i in range(4):
        torch.testing.assert_close(together[i], sample_planes(planes[i : i + 1], points[i : i + 1])[0])


def test_outside_of_the_cube_is_nothing():
    triplane = random_triplane()
    points = torch.eye(3).repeat(2, 1) * torch.tensor([0.2501] * 3 + [-1.0] * 3)[:, None]
    assert (triplane.density(points) == 0).all()
    assert (triplane.colour_and_density(points)[1] == 0).all()
    assert (triplane.density(points * 0.5) > 0).any()


def test_density_alone_equals_density_with_colour():
    triplane = random_triplane()
    points = torch.rand(70_000, 3) * 0.6 - 0.3  # more than one chunk
    colour, density = triplane.colour_and_density(points)
    torch.testing.assert_close(triplane.density(points), density, atol=1e-5, rtol=1e-5)
    assert colour.shape == (70_000, 3)
    assert colour.min() >= 0 and colour.max() <= 1


def test_no_points_are_no_problem():
    triplane = random_triplane()
    assert triplane.density(torch.zeros(0, 3)).shape == (0,)
    assert triplane.colour_and_density(torch.zeros(0, 3))[0].shape == (0, 3)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([(8, 16), (16, 8), (32, 8), (12, 24), (24, 10), (9, 24), (10, 15)]), st.data())
def test_resizing_keeps_linear_functions(sizes, data):
    """Texel centres stay where they are, so a ramp stays the same ramp away from the border."""
    old, new = sizes
    slopes = [data.draw(st.floats(-0.3, 0.3)) for _ in range(3)]

    def ramp(size):
        t = texel_centres(size).double()
        return (slopes[0] + slopes[1] * t[None, :] + slopes[2] * t[:, None]).expand(3, 2, size, size)

    resized = resize_planes(ramp(old), new)
    border = 0 if old % new == 0 else int(np.ceil(2 * max(1, new / old)))
    inner = slice(border, new - border)
    tolerance = 1e-6 if new > old or old % new == 0 else 1e-3  # a wide cubic is sampled at few texels
    torch.testing.assert_close(resized[..., inner, inner], ramp(new)[..., inner, inner], atol=tolerance, rtol=0)


def test_resizing_down_keeps_the_mean_and_the_range():
    planes = torch.rand(3, 4, 16, 16) * 2 - 1
    torch.testing.assert_close(resize_planes(planes, 8).mean(), planes.mean())
    assert resize_planes(planes.sign(), 40).abs().max() <= 1
    assert resize_planes(planes, 16) is planes
    assert random_triplane(8).resize(4).planes.shape == (3, CHANNELS, 4, 4)


@pytest.mark.parametrize("config", [DecoderConfig(), DecoderConfig.paper()])
def test_a_file_gives_back_exactly_what_was_saved(tmp_path, config):
    triplane = random_triplane(half_size=0.3, config=config)
    triplane.save(tmp_path / "triplane.safetensors")
    loaded = TriPlane.load(tmp_path / "triplane.safetensors")
    assert torch.equal(loaded.planes, triplane.planes)
    assert loaded.half_size == 0.3
    assert loaded.decoder.config == config
    for name, value in triplane.decoder.state_dict().items():
        assert torch.equal(loaded.decoder.state_dict()[name], value)
    points = torch.rand(100, 3) * 0.4 - 0.2
    assert torch.equal(loaded.density(points), triplane.density(points))
    assert [file.name for file in tmp_path.iterdir()] == ["triplane.safetensors"]


def test_the_same_field_gives_the_same_bytes(tmp_path):
    for name in "ab":
        random_triplane(seed=3).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_file_states_its_conventions(tmp_path):
    from safetensors import safe_open

    random_triplane().save(tmp_path / "a")
    with safe_open(str(tmp_path / "a"), framework="pt") as file:
        metadata = json.loads(file.metadata()["maquette_triplane"])
    assert metadata["plane_order"] == "xy,xz,yz"
    assert (metadata["half_size"], metadata["align_corners"], metadata["combine"]) == (0.25, False, "mean")


def test_what_is_not_a_triplane_is_refused_in_one_sentence(tmp_path):
    from safetensors.torch import save_file

    good = tmp_path / "good"
    random_triplane().save(good)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "short").write_bytes(good.read_bytes()[:-40])
    (tmp_path / "text").write_text("not a tensor file at all, but long enough to look at")
    save_file({"planes": torch.zeros(3, CHANNELS, 4, 4)}, tmp_path / "foreign")
    for name in ("empty", "short", "text", "foreign", "missing"):
        with pytest.raises(MaquetteError, match=r"is not a tri-plane.*\.$"):
            TriPlane.load(tmp_path / name)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(MaquetteError, match="nowhere"):
        random_triplane().save(tmp_path / "nowhere" / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_planes_must_suit_the_decoder():
    with pytest.raises(ValueError, match="3x16xHxW, not 3x8x4x4"):
        TriPlane(torch.zeros(3, 8, 4, 4), Decoder())
