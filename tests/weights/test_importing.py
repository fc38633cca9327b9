"""``maquette weights import``: the published checkpoint under our names, or a refusal that names what is wrong.

``tests/morphable/goldens/manifest.json`` lists the names and shapes of the published model's tensors.
"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from backend.cli import main
from backend.errors import MaquetteError
from backend.morphable.config import MorphableConfig
from backend.morphable.names import published_name, published_shape
from backend.morphable.weights import empty_model, load_morphable
from backend.weights.importing import import_checkpoint, match, variant_of
from backend.weights.torch_archive import read_tensors
from tests.morphable.invented import weight

MANIFEST = json.loads((Path(__file__).parents[1] / "morphable/goldens/manifest.json").read_text())
DENSE = MANIFEST["optional_dense_branch (present only when use_spatial_volume is true)"]
SMALL = MorphableConfig(
    autoencoder=False, volume_channels=(16, 16, 24, 32), unet_channels=(32, 32, 64, 64), context=16,
    encoder_width=64, encoder_layers=1, encoder_patch=56,
)  # fmt: skip


def published(dense=False):
    """The published model's tensors, all zero and without memory of their own."""
    entries = [entry for group in MANIFEST["groups"].values() for entry in group.items()]
    entries += DENSE.items() if dense else ()
    return {name: torch.zeros((), dtype=getattr(torch, kind)).expand(shape) for name, (shape, kind) in entries}


def small_checkpoint(config=SMALL):
    """A small model's weights as the authors would have saved them."""
    tensors = {}
    for name, tensor in empty_model(config).state_dict().items():
        theirs, shape = published_name(name), published_shape(name, tuple(tensor.shape))
        tensors[theirs] = torch.from_numpy(weight(theirs, shape))
    return tensors | {"betas": torch.zeros(1000), "clip_image_encoder.model.logit_scale": torch.tensor(1.0)}


def save(path, tensors):
    torch.save({"state_dict": tensors, "epoch": 7, "optimizer_states": [{}]}, path)
    return path


@pytest.mark.parametrize("dense", [False, True])
def test_the_published_names_and_shapes_are_ours(dense, tmp_path):
    tensors = read_tensors(save(tmp_path / "facescape_flame.ckpt", published(dense)))
    config = variant_of(tensors, MorphableConfig())
    assert config.dense_branch == dense and config.projection == "perspective"
    names = match("facescape_flame.ckpt", tensors, config)
    assert len(names) == (1656 if dense else 1576)
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("dense", [False, True])
def test_every_number_arrives(dense, tmp_path):
    config = dataclasses.replace(SMALL, dense_branch=dense)
    tensors = small_checkpoint(config)
    found = import_checkpoint(save(tmp_path / "a.ckpt", tensors), tmp_path / "a", sizes=SMALL)
    assert found == config
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.ckpt"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors"]
    model = load_morphable(tmp_path / "a")
    assert model.config == config
    for name, tensor in model.state_dict().items():
        theirs = tensors[published_name(name)]
        torch.testing.assert_close(tensor.reshape(theirs.shape), theirs, atol=0, rtol=0)


def test_cameras_tell_bodies_from_heads(tmp_path):
    tensors = small_checkpoint()
    for focal, projection in ((1545.0, "perspective"), (1.6667, "orthographic")):
        cameras = {
            "Ks": focal * torch.eye(3).expand(16, 3, 3),
            "poses": torch.zeros(16, 3, 4),
            "azimuth": torch.zeros(16),
        }
        path = save(tmp_path / f"{projection}.ckpt", tensors | cameras)
        assert import_checkpoint(path, tmp_path / projection, sizes=SMALL).projection == projection
    path = save(tmp_path / "silent.ckpt", tensors)
    assert import_checkpoint(path, tmp_path / "body", "orthographic", SMALL).projection == "orthographic"


@pytest.mark.parametrize("order", [(1, 2, 3, 4, 0), (1, 2, 3, 0, 4)], ids=["in-out", "out-in"])
def test_older_sparse_convolutions_are_turned(order, tmp_path):
    """Before spconv 2.2 the kernel's places came first."""
    sizes = dataclasses.replace(SMALL, volume_channels=(64, 16, 24, 32))
    tensors = small_checkpoint(sizes)
    old = {
        name: tensor.permute(order).contiguous() if ".xyzc_net." in name and tensor.ndim == 5 else tensor
        for name, tensor in tensors.items()
    }
    import_checkpoint(save(tmp_path / "old.ckpt", old), tmp_path / "old", sizes=sizes)
    state = load_morphable(tmp_path / "old").state_dict()
    for layer in ("conv0.0", "down0.0", "conv2.6"):
        theirs = tensors[f"spatial_volume.xyzc_net.{layer}.weight"]
        assert torch.equal(state[f"spatial_volume.sparse_net.{layer}.weight"], theirs)


def lose(tensors, name):
    del tensors[name]


def add(tensors, name):
    tensors[name] = torch.zeros(1)


def reshape(tensors, name):
    tensors[name] = torch.zeros(3, 3)


@pytest.mark.parametrize(
    ("spoil", "name", "words"),
    [
        (lose, "spatial_volume.xyzc_net.conv1.1.running_mean", "1 is missing"),
        (lose, "model.diffusion_model.output_conditions.8.proj_out.5.weight", "1 is missing"),
        (add, "cc_projection.weight", "1 is unknown"),
        (reshape, "time_embed.0.weight", "1 is of another shape"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_with_the_names(spoil, name, words, tmp_path, capfd):
    tensors = published()
    spoil(tensors, name)
    path = save(tmp_path / "other.ckpt", tensors)
    assert main(["weights", "import", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capfd.readouterr().err
    assert words in said and f": {name}" in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["other.ckpt"]


def test_shapes_are_told_and_long_lists_are_cut(tmp_path):
    tensors = {name: tensor for name, tensor in published().items() if not name.startswith("clip_image_encoder.")}
    tensors["time_embed.0.bias"] = torch.zeros(128)
    with pytest.raises(MaquetteError) as refusal:
        match("other.ckpt", tensors, MorphableConfig())
    first, *lines = refusal.value.message.splitlines()
    assert "296 are missing, 1 is of another shape" in first
    assert "  shape: time_embed.0.bias (128,) instead of (256,)" in lines
    assert "  missing: 284 more" in lines and len(lines) == 14


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "cannot be read: No such file"), (b"", "holds data that is cut short"), (b"PK\3\4 no zip", "cut short")],
)
def test_what_is_no_checkpoint_is_refused(content, sentence, tmp_path, capfd):
    path = tmp_path / "model.ckpt"
    if content is not None:
        path.write_bytes(content)
    assert main(["weights", "import", str(path), "--out", str(tmp_path / "out")]) == 2
    assert sentence in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "are required: COMMAND"),
        (["import", "a.ckpt"], "are required: --out"),
        (["fetch"], "invalid choice: 'fetch'"),
    ],
)
def test_what_is_not_understood_is_said(arguments, sentence, capfd):
    assert main(["weights", *arguments]) == 2
    assert sentence in capfd.readouterr().err


def test_a_folder_in_use_is_left_alone(tmp_path, capfd):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("kept")
    assert main(["weights", "import", str(tmp_path / "a.ckpt"), "--out", str(tmp_path / "mine")]) == 2
    assert "is in use" in capfd.readouterr().err
    assert (tmp_path / "mine" / "precious.txt").read_text() == "kept"


def test_a_folder_that_is_not_weights_is_refused(tmp_path):
    with pytest.raises(MaquetteError, match="maquette weights import"):
        load_morphable(tmp_path)
    (tmp_path / "config.json").write_text('{"sorcery": 1}')
    with pytest.raises(MaquetteError, match="does not hold weights"):
        load_morphable(tmp_path)
