"""Checksums are those of HDF5, which says so when it reads."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hlsim.trace.checksums import fletcher32

RNG = np.random.default_rng(0)
CHUNKS = {
    **{f"random {n}": RNG.integers(0, 256, n, dtype=np.uint8) for n in (1, 2, 3, 719, 720, 721, 722, 70_001)},
    **{f"ones {n}": np.full(n, 255, np.uint8) for n in (2, 7, 1000, 2 * 65535, 2 * 65536)},
    "zeros": np.zeros(9, np.uint8),
    "a sum of 65535": np.r_[255, 255, np.zeros(99)].astype(np.uint8),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_a_checksum_is_the_one_that_hdf5_writes(name: str, tmp_path: Path) -> None:
    data = CHUNKS[name]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", data=data, chunks=data.shape, fletcher32=True)
        file.flush()
        _, stored = dataset.id.read_direct_chunk((0,))
    assert stored == data.tobytes() + fletcher32(data.tobytes())
