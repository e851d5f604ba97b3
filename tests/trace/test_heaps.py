"""A heap that HDF5 would read for ever is told before it reads it."""

import re
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from hlsim.errors import DamageError
from hlsim.trace import heaps


def texts(path: Path, count: int) -> Path:
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs["a"] = "x" * 1000
        file["b"] = np.array(["y" * (i % 97) for i in range(count)], dtype=object)
    return path


@pytest.mark.parametrize("count", [1, 500, 5000])
def test_heaps_that_hdf5_writes_come_to_their_end(count: int, tmp_path: Path) -> None:
    heaps.check(texts(tmp_path / "t.h5", count))


@pytest.mark.parametrize("data", [b"", b"x", heaps.SIGNATURE, heaps.SIGNATURE + b"\xff" * 40])
def test_what_is_no_heap_is_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.h5").write_bytes(data)
    heaps.check(tmp_path / "t.h5")


def test_room_of_no_size_has_no_end(tmp_path: Path) -> None:
    """Object 0, the free room, is at the end of a heap that is not full; HDF5 goes on by its size."""
    path = texts(tmp_path / "t.h5", 1)
    data = bytearray(path.read_bytes())
    start = next(re.finditer(re.escape(heaps.SIGNATURE), data)).start()
    at = start + 16
    while data[at : at + 2] != b"\0\0":
        at += 16 + -(-struct.unpack_from("<Q", data, at + 8)[0] // 8) * 8
    assert start < at < start + 4096
    data[at + 8 : at + 16] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(DamageError, match=rf"t\.h5: .* it is damaged: a heap at byte {start} has no end$"):
        heaps.check(path)
