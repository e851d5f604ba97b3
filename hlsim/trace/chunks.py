"""Chunks of HDF5 datasets, compressed by another thread and written as they are.

HDF5 compresses while it writes, and a simulation would stand still meanwhile: the states of a thousand
neurons take it as long as a tick. The filters here are those that the datasets declare, shuffle, then
deflate, then a checksum, so that whoever reads the file sees no difference.
"""

import itertools
import zlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import h5py
import numpy as np
from numpy.typing import NDArray

from hlsim.trace.checksums import fletcher32

LEVEL = 1
SUM = 4  # bytes of the checksum behind a chunk
_LEAST = 65536  # bytes for which it pays to start a thread
Chunks = list[tuple[tuple[int, ...], bytes]]  # where each begins, and its bytes
Columns = dict[str, Chunks]


def worth_a_thread(columns: Mapping[str, NDArray]) -> bool:
    """Tell whether compressing takes longer than starting a thread."""
    return sum(column.nbytes for column in columns.values()) >= _LEAST


def compress(columns: Mapping[str, NDArray], chunks: Mapping[str, tuple[int, ...]]) -> Future[Columns]:
    """Begin to compress columns that nobody changes any more, each in chunks of its shape."""
    thread = ThreadPoolExecutor(1)
    try:
        return thread.submit(lambda: {name: compressed(x, chunks[name]) for name, x in columns.items()})
    finally:
        thread.shutdown(wait=False)


def compressed(values: NDArray, chunk: tuple[int, ...]) -> Chunks:
    """Return all chunks of an array, those at its edges filled up with zeros."""
    corners = itertools.product(*(range(0, n, step) for n, step in zip(values.shape, chunk, strict=True)))
    return [(corner, _compressed(values, corner, chunk)) for corner in corners]


def _compressed(values: NDArray, corner: tuple[int, ...], chunk: tuple[int, ...]) -> bytes:
    part = values[tuple(slice(first, first + n) for first, n in zip(corner, chunk, strict=True))]
    if part.shape != chunk:
        whole = np.zeros(chunk, values.dtype)
        whole[tuple(map(slice, part.shape))] = part
        part = whole
    # Shuffled: the first bytes of all values, then the second ones, and so on.
    planes = np.ascontiguousarray(part).reshape(-1).view(np.uint8).reshape(-1, values.itemsize).T
    data = zlib.compress(planes.tobytes(), LEVEL)
    return data + fletcher32(data)


def write(dataset: h5py.Dataset, row: int, chunks: Chunks) -> None:
    """Write compressed chunks from a row on, over none that is there.

    HDF5 puts a chunk over the one before where both have the same length, else elsewhere. A process that is
    killed halfway would leave neither; so a chunk of the same length gets a byte more, behind its end.
    """
    for (first, *rest), data in chunks:
        corner = (row + first, *rest)
        there = dataset.id.get_chunk_info_by_coord(corner)
        if there.byte_offset is not None and there.size == len(data):
            longer = data[:-SUM] + b"\0"
            data = longer + fletcher32(longer)  # noqa: PLW2901 - the same numbers
        dataset.id.write_direct_chunk(corner, data)
