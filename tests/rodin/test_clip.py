"""CLIP from a folder of Hugging Face's format, here a tiny one; what it should give was computed by `transformers`."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.rodin.clip import ClipLatent

MERGES = ["r e", "re d</w>", "h a", "i r</w>", "ha ir</w>", "o l"]
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
PICTURE = {**TEXT, "image_size": 32, "patch_size": 8}


def make_clip(folder):
    """A checkpoint whose weights are numbers from one stream."""
    letters = [chr(code) for code in range(33, 127)]
    names = [*letters, *(letter + "</w>" for letter in letters), *("".join(m.split()) for m in MERGES)]
    names += ["<|startoftext|>", "<|endoftext|>"]
    rng = np.random.default_rng(5)
    tensors = {}

    def tensor(name, *shape, mean=0.0):
        tensors[name] = torch.tensor(mean + 0.3 * rng.standard_normal(shape), dtype=torch.float32)

    for part, size in (("text_model", 16), ("vision_model", 16)):
        for number in range(2):
            layer = f"{part}.encoder.layers.{number}"
            for name, shape in (("mlp.fc1", (32, 16)), ("mlp.fc2", (16, 32))):
                tensor(f"{layer}.{name}.weight", *shape)
                tensor(f"{layer}.{name}.bias", shape[0])
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                tensor(f"{layer}.self_attn.{name}.weight", size, size)
                tensor(f"{layer}.self_attn.{name}.bias", size)
            for name in ("layer_norm1", "layer_norm2"):
                tensor(f"{layer}.{name}.weight", size, mean=1.0)
                tensor(f"{layer}.{name}.bias", size)
    for name in ("text_model.final_layer_norm", "vision_model.pre_layrnorm", "vision_model.post_layernorm"):
        tensor(f"{name}.weight", 16, mean=1.0)
        tensor(f"{name}.bias", 16)
    tensor("text_model.embeddings.token_embedding.weight", len(names), 16)
    tensor("text_model.embeddings.position_embedding.weight", 12, 16)
    tensor("vision_model.embeddings.class_embedding", 16)
    tensor("vision_model.embeddings.patch_embedding.weight", 16, 3, 8, 8)
    tensor("vision_model.embeddings.position_embedding.weight", 17, 16)
    for name in ("text_projection", "visual_projection"):
        tensor(f"{name}.weight", 8, 16)
    tensor("logit_scale")
    text = {**TEXT, "max_position_embeddings": 12, "vocab_size": len(names), "hidden_act": "quick_gelu"}
    text |= {"bos_token_id": len(names) - 2, "eos_token_id": len(names) - 1}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {"model_type": "clip", "projection_dim": 8, "text_config": text, "vision_config": PICTURE}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    return folder


def picture():
    """A portrait of 32 x 32 pixels: CLIP's own size, so that no way of resizing plays a part."""
    rows, columns = torch.meshgrid(torch.arange(32) / 31, torch.arange(32) / 31, indexing="ij")
    return torch.stack([rows, columns, (rows + columns) / 2, torch.ones(32, 32)])[None]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return ClipLatent.from_folder(make_clip(tmp_path_factory.mktemp("clip") / "tiny"))


def test_texts_are_cut_into_learned_pairs_of_bytes(clip):
    assert clip.tokens("Red  hair") == [194, 189, 192]
    assert clip.tokens("an old man's hair, red!")[:11] == [194, 64, 171, 193, 161, 76, 64, 171, 6, 176, 192]


def test_points_of_texts_are_those_of_transformers(clip):
    points = clip.encode_texts(["Red  hair", "a very long description of many many words that goes on"])
    expected = [
        [-0.2280, -2.1947, 0.2861, -0.7632, -0.0054, -1.3493, 0.2369, 0.7683],
        [0.3051, -1.9549, 0.5396, -0.5546, -0.0289, -1.7073, -0.4802, 0.5834],
    ]
    torch.testing.assert_close(points, torch.tensor(expected), atol=2e-4, rtol=0)


def test_points_of_pictures_are_those_of_transformers(clip):
    expected = [[0.8951, -0.6688, 0.1808, -2.1741, 0.3525, 0.5070, 0.2982, -1.2336]]
    torch.testing.assert_close(clip.encode_pictures(picture()), torch.tensor(expected), atol=2e-4, rtol=0)


def test_what_is_no_clip_model_is_said_in_one_sentence(clip, tmp_path):
    folder = make_clip(tmp_path / "broken")
    (folder / "merges.txt").unlink()
    for path in (folder, tmp_path / "missing"):
        with pytest.raises(MaquetteError, match="does not hold a CLIP model") as found:
            ClipLatent.from_folder(path)
        assert found.value.code is ErrorCode.MODEL_MISSING
