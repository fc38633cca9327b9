"""Model files are read as numbers; what else they ask for is refused and never happens."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from backend.body_model.safe_pickle import RefusedPickleError, load_arrays, load_pickle

NUMBERS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int32, np.uint32, np.int64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@given(array=NUMBERS, protocol=st.integers(0, 5), column_major=st.booleans())
@settings(max_examples=80, deadline=None)
def test_arrays_of_every_protocol_come_out_as_they_went_in(array, protocol, column_major):
    array = np.asfortranarray(array) if column_major else array
    read = load_pickle(pickle.dumps({"a": array}, protocol))["a"]
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("kind", [sparse.csc_matrix, sparse.csr_matrix])
def test_sparse_matrices_come_out_dense(kind):
    dense = np.diag([1.0, 2.0, 0.0, 4.0])[:, :3]
    np.testing.assert_array_equal(load_pickle(pickle.dumps({"j": kind(dense)}))["j"], dense)


def test_what_python_2_wrote_is_understood(files):
    arrays = files.flame_arrays()
    read = load_pickle(files.official_flame_pickle(arrays))
    assert read["bs_style"] == "lbs"
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, err_msg=name)


class Exploit:
    """Calls any function with any arguments when an ordinary reader loads it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.system, os.mkdir, eval, exec, getattr, __import__, np.load, np.fromfile])
def test_functions_are_refused_by_name_and_not_called(tmp_path, monkeypatch, function, protocol):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"v_template": Exploit(function, "trap")}, protocol)
    with pytest.raises(RefusedPickleError, match=function.__name__):
        load_pickle(content)
    assert not any(tmp_path.iterdir())


def test_an_attack_behind_a_chumpy_object_is_refused(files, tmp_path):
    trap = tmp_path / "trap"
    writer = files.Python2Pickle()
    writer.parts.append(b"}(")
    writer.text("v_template")
    writer.name("posix", "mkdir")
    writer.parts.append(b"(")
    writer.text(str(trap))
    writer.parts.append(b"tRu.")
    with pytest.raises(RefusedPickleError, match=r"posix\.mkdir"):
        load_pickle(b"".join(writer.parts))
    assert not trap.exists()


def test_attributes_of_allowed_names_cannot_be_reached_or_changed():
    reach_through = b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93."
    with pytest.raises(RefusedPickleError, match=r"dtype\.__init__"):
        load_pickle(reach_through)
    change_class = b"\x80\x02c__builtin__\nobject\nN}U\x08__init__c_codecs\nencode\ns\x86b."
    with pytest.raises(RefusedPickleError, match="not data"):
        load_pickle(change_class)


def test_a_forged_size_is_refused():
    content = pickle.dumps(np.zeros(4), 2)
    assert content.count(b"K\x04") == 1
    with pytest.raises(RefusedPickleError, match="size"):
        load_pickle(content.replace(b"K\x04", b"K\x7f"))


def test_arrays_of_objects_are_no_way_in():
    with pytest.raises(RefusedPickleError, match="mkdir"):
        load_pickle(pickle.dumps(np.array([Exploit(os.mkdir, "trap")], dtype=object)))


@given(cut=st.floats(0, 0.999))
@settings(max_examples=30, deadline=None)
def test_a_truncated_file_is_refused(cut, files):
    content = files.official_flame_pickle(files.flame_arrays())
    with pytest.raises(RefusedPickleError):
        load_pickle(content[: int(cut * len(content))])


@given(content=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused_or_harmless(content):
    try:
        load_pickle(content)
    except RefusedPickleError as error:
        assert str(error)


def test_objects_in_an_npz_go_through_the_same_reader(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, plain=np.arange(3), wrapped=np.array(sparse.csc_matrix(np.eye(2)), dtype=object))
    read = load_arrays(path, ("plain", "wrapped", "absent"))
    assert set(read) == {"plain", "wrapped"}
    np.testing.assert_array_equal(read["wrapped"], np.eye(2))

    trap = tmp_path / "trap"
    np.savez(path, v_template=np.array([Exploit(os.mkdir, str(trap))], dtype=object))
    with pytest.raises(RefusedPickleError, match="mkdir"):
        load_arrays(path, ("v_template",))
    assert not trap.exists()


def test_an_npz_that_lies_about_its_shape_is_refused(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.zeros(8))
    with zipfile.ZipFile(tmp_path / "model.npz", "w") as archive:
        archive.writestr("a.npy", stream.getvalue()[:-8])
    with pytest.raises(RefusedPickleError, match="size"):
        load_arrays(tmp_path / "model.npz", ("a",))
