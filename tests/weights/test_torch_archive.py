"""PyTorch's files are read as numbers; whatever else they name is neither imported nor called."""

import os
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.weights.torch_archive import RefusedArchiveError, read_tensors

TENSORS = {
    "float": torch.arange(12.0).reshape(3, 4),
    "transposed": torch.arange(12.0).reshape(3, 4).T,
    "part": torch.arange(12.0)[5:7],
    "repeated": torch.ones(1).expand(200, 300),
    "half": torch.tensor([1.5, 2.5], dtype=torch.float16),
    "brain": torch.tensor([1.5, 2.5], dtype=torch.bfloat16),
    "whole": torch.tensor(7),
    "empty": torch.zeros(0, 3),
    "parameter": torch.nn.Parameter(torch.tensor([3.0])),
}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": OrderedDict(TENSORS), "epoch": 3}, path)
    return path


def test_tensors_come_out_as_they_went_in(archive):
    read = read_tensors(archive)
    assert set(read) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert read[name].dtype == tensor.dtype
        torch.testing.assert_close(read[name], tensor.detach(), atol=0, rtol=0)


def test_a_file_of_tensors_alone_is_read_too(tmp_path):
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "linear.pt")
    assert {name: tuple(t.shape) for name, t in read_tensors(tmp_path / "linear.pt").items()} == {
        "weight": (3, 2),
        "bias": (3,),
    }


class Exploit:
    """Calls any function with any arguments when an ordinary reader loads it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Settings:
    """A class that the reader has never heard of, with a state."""

    def __init__(self):
        self.rate = 3


@pytest.mark.parametrize("function", [os.mkdir, os.system, eval, exec, getattr, __import__, torch.load])
def test_functions_are_not_called(tmp_path, monkeypatch, function):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.ckpt"
    torch.save({"callbacks": Exploit(function, "trap"), "state_dict": {"a": torch.ones(2)}}, path)
    assert read_tensors(path)["a"].tolist() == [1, 1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.ckpt"]


def test_what_else_a_trainer_saves_is_left_behind(tmp_path):
    weights = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(weights.parameters())
    weights(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    path = tmp_path / "model.ckpt"
    others = {
        "optimizer_states": [optimiser.state_dict()],
        "hyper": Settings(),
        "loops": {"a": {1, 2}},
        "kind": Settings,
    }
    torch.save({"state_dict": weights.state_dict() | {"note": "text"}, **others}, path)
    assert set(read_tensors(path)) == {"weight", "bias"}


def forge(path, write):
    """The archive with a list of tensors that `write` makes from the honest one."""
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, write(content) if name.endswith("data.pkl") else content)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"a": torch.zeros(77)}, path)
    forge(path, lambda content: content.replace(b"K\x00KM\x85", b"K\x01KM\x85"))
    with pytest.raises(RefusedArchiveError, match="beyond its storage"):
        read_tensors(path)


def test_a_storage_of_another_size_is_refused(tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"a": torch.zeros(77)}, path)
    forge(path, lambda content: content.replace(b"KMtq", b"KNtq"))
    with pytest.raises(RefusedArchiveError, match="size and data disagree"):
        read_tensors(path)


def test_a_pickle_that_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(pickle.dumps({"state_dict": Exploit(os.mkdir, str(tmp_path / "trap"))}))
    with pytest.raises(RefusedArchiveError):
        read_tensors(path)
    assert not (tmp_path / "trap").exists()


def test_a_missing_file_is_the_callers_to_explain(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "nothing.ckpt")


@given(cut=st.floats(0, 0.999))
@settings(max_examples=30, deadline=None)
def test_a_truncated_file_is_refused(cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("cut") / "model.ckpt"
    torch.save(TENSORS, path)
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    with pytest.raises(RefusedArchiveError):
        read_tensors(path)


@given(place=st.floats(0, 0.999), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_refused_or_harmless(place, value, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "model.ckpt"
    torch.save(TENSORS, path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = value
    path.write_bytes(content)
    try:
        tensors = read_tensors(path)
    except RefusedArchiveError as error:
        assert str(error)
    else:
        assert all(tensor.float().sum() is not None for tensor in tensors.values())
