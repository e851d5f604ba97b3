"""A checkpoint holds what was put into it, or says that it does not."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hlsim.errors import DamageError, TraceError
from hlsim.trace import checkpoint

NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
KINDS = st.sampled_from(["?", "i1", "u1", "i4", "i8", "f4", "f8", "c8", "c16"])
VALUES = KINDS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, min_side=0)))


@given(values=st.dictionaries(st.sampled_from(["a", "b/c", "b/d", "e/f.type", "e/f"]), VALUES))
def test_arrays_come_back_as_they_were(values: dict[str, np.ndarray], tmp_path_factory) -> None:
    path = tmp_path_factory.getbasetemp() / "some.checkpoint.h5"
    checkpoint.write(path, {"tick": 3, "origin": "ü" * 5000}, values)
    found = checkpoint.read(path)
    assert found.arrays.keys() == values.keys()
    for name, array in values.items():
        back = found.arrays[name]
        assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert found.about["tick"] == 3
    assert found.about["origin"] == "ü" * 5000
    assert found.within("b").keys() == {name[2:] for name in values if name.startswith("b/")}


def test_it_is_an_hdf5_file_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "t.checkpoint.h5"
    checkpoint.write(path, {"tick": 3}, {"state/w": np.arange(4.0)})
    with h5py.File(path, "r") as file:
        assert file["state/w"][()].tolist() == [0, 1, 2, 3]
        assert (file.attrs["format"], file.attrs["format_version"]) == ("hlsim-checkpoint", 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "t.checkpoint.h5"
    checkpoint.write(path, {"tick": 3}, {"state/w": np.arange(40.0), "rows/log/tick": np.array(3)})
    return path.read_bytes()


@given(data=st.data())
def test_a_bit_that_flips_is_told_and_so_is_an_end_that_is_missing(
    whole: bytes, data, tmp_path_factory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.checkpoint.h5"
    if data.draw(st.booleans()):
        at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
    else:
        damaged = bytearray(whole[: data.draw(st.integers(0, len(whole) - 1))])
    path.write_bytes(damaged)
    with pytest.raises(TraceError) as caught:
        checkpoint.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_refused_is_one_line(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with pytest.raises(TraceError, match=r"x\.h5: there is no such checkpoint$"):
        checkpoint.read(path)
    path.write_bytes(whole.replace(b"hlsim checkpoint 1", b"hlsim checkpoint 7"))
    with pytest.raises(TraceError, match=r"x\.h5: format_version must be 1, got 7$"):
        checkpoint.read(path)
    path.write_bytes(whole[:-1] + b"!")
    with pytest.raises(DamageError, match=r"x\.h5: is damaged, its checksum is not that of what it holds$"):
        checkpoint.read(path)
    path.write_text("mine")
    with pytest.raises(TraceError, match=r"x\.h5: is no hlsim checkpoint$"):
        checkpoint.read(path)
    for other in (path, tmp_path):
        with pytest.raises(TraceError, match=r": cannot write: it exists and is no hlsim checkpoint$"):
            checkpoint.write(other, {}, {})
    with pytest.raises(TraceError, match=r"there is no folder .*none$"):
        checkpoint.write(tmp_path / "none" / "x.h5", {}, {})
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("trace", "name"),
    [
        ("a.h5", "a.checkpoint.h5"),
        ("a.b.h5", "a.b.checkpoint.h5"),
        ("a", "a.checkpoint.h5"),
        ("a.nc", "a.checkpoint.nc"),
    ],
)
def test_it_lies_beside_its_trace(trace: str, name: str) -> None:
    assert checkpoint.beside(Path("x") / trace) == Path("x") / name
