"""The checksum of a superblock, against that of its author and of HDF5."""

import re
from pathlib import Path

import h5py

from hlsim.trace import superblock


def test_lookup3_gives_the_values_of_its_author_and_of_hdf5(tmp_path: Path) -> None:
    """The first two are from the driver in Bob Jenkins' lookup3.c."""
    assert superblock.checksum(b"") == 0xDEADBEEF
    assert superblock.checksum(b"Four score and seven years ago") == 0x17770551
    lengths = set()
    for size in range(300, 312):
        with h5py.File(tmp_path / "f.h5", "w", libver=("v110", "v110")) as file:
            # a fill value stands in the header of its dataset and makes it longer
            file.create_dataset("x", shape=(), dtype=f"S{size}", fillvalue=b"x" * size)
        data = (tmp_path / "f.h5").read_bytes()
        headers = [object_header(data, match.start()) for match in re.finditer(b"OHDR", data)]
        for block in (data[: superblock.SIZE], *headers):
            assert superblock.checksum(block[:-4]) == int.from_bytes(block[-4:], "little")
            lengths.add((len(block) - 4) % 12)
    assert lengths == set(range(12))


def object_header(data: bytes, start: int) -> bytes:
    """The first block of an object header, version 2 (HDF5 File Format Specification 3.0, IV.A.1.b)."""
    flags = data[start + 5]
    at = start + 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1)
    width = 1 << (flags & 3)
    size = int.from_bytes(data[at : at + width], "little")
    return data[start : at + width + size + 4]
