"""Chunks that another thread compressed are those that HDF5 would have written."""

from pathlib import Path
from unittest.mock import Mock

import h5py
import numpy as np
import pytest

from hlsim.trace import chunks, tables
from hlsim.trace import open as open_trace
from hlsim.trace.tables import Column, Table, dimension
from tests.support.traces import check_recorded, network, record, recorder

DTYPES = ("f4", "f8", "c8", "c16", "i1", "i4", "i8", "S64")


def random(dtype: str, *shape: int) -> np.ndarray:
    """Bytes of any value, those of text without zeros in the middle."""
    rng = np.random.default_rng(0)
    if dtype.startswith("S"):
        return np.array(rng.integers(10**6, size=shape), dtype)
    return rng.integers(100, size=shape).astype(dtype) * np.dtype(dtype).type(0.37 if dtype[0] in "fc" else 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(8,), (4, 6), (2, 3, 5), (3, 0)])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_compressed_chunk_has_the_bytes_that_hdf5_writes(
    dtype: str, shape: tuple[int, ...], cut: int
) -> None:
    """Values across several chunks too, and where the last ones are not full."""
    values = random(dtype, *shape)
    chunk = (shape[0], *(max(1, -(-n // cut)) for n in shape[1:]))
    with h5py.File("t.h5", "w", driver="core", backing_store=False) as file:
        options = {"maxshape": (None, *(n or None for n in shape[1:])), "chunks": chunk, **tables.COMPRESSION}
        theirs = file.create_dataset("theirs", data=values, **options)
        ours = file.create_dataset("ours", shape=shape, dtype=dtype, **options)
        chunks.write(ours, 0, chunks.compressed(values, chunk))
        file.flush()
        np.testing.assert_array_equal(ours[()], values)
        for corner, data in chunks.compressed(values, chunk):
            mask, stored = theirs.id.read_direct_chunk(corner)
            if mask == 0 and all(first + n <= m for first, n, m in zip(corner, chunk, shape, strict=True)):
                assert stored == data


@pytest.mark.parametrize("flushed_at", [(), (100,), (8192, 9000)])
def test_rows_are_in_order_whoever_compressed_them(
    flushed_at: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table is flushed here and there, in the middle of a chunk and at its end."""
    begun = Mock(wraps=chunks.compress)
    monkeypatch.setattr(chunks, "compress", begun)
    total = 30_000
    with h5py.File("t.h5", "w", driver="core", backing_store=False) as file:
        table = Table("/", "tick", [Column("tick", np.int64), Column("value", np.float32)], {}, 8192)
        table.lay_out(file)
        rows = {"tick": np.arange(total), "value": np.sqrt(np.arange(total, dtype=np.float32))}
        done = 0
        for stop in (*flushed_at, total):
            table.extend({name: x[done:stop] for name, x in rows.items()}, stop - done)
            assert len(table) == stop
            table.flush()
            done = stop
            for name, x in rows.items():
                np.testing.assert_array_equal(file[name][()], x[:stop])
    assert begun.call_count >= 2


def test_a_trace_of_large_chunks_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that grows, with every chunk compressed by another thread."""
    monkeypatch.setattr(chunks, "_LEAST", 0)
    every = {"default": 1, "w": 3, "omega": 3}
    rec = recorder(tmp_path / "t.h5", every=every, events=("message", "update"), chunk=8)
    record(rec, 0, 50)
    rec.finish()
    with open_trace(tmp_path / "t.h5") as read:
        check_recorded(read, 50)


def test_rows_wider_than_a_chunk_are_cut(tmp_path: Path) -> None:
    net = network(n=4, m=70_000)
    values = np.random.default_rng(0).normal(size=(3, 1, 70_000))
    with recorder(tmp_path / "t.h5", net, sampled=("w",), every=1) as rec:
        for tick, w in enumerate(values):
            rec.sample(tick, {"w": w})
    with open_trace(tmp_path / "t.h5") as read:
        np.testing.assert_array_equal(read["sampled/w"], values[:, 0])


def test_a_chunk_that_is_written_again_is_never_put_over_the_one_before(tmp_path: Path) -> None:
    """Whoever is killed while it is written leaves the one before; and what is read is right."""
    seen: set[int] = set()
    total, step = 240, 5
    with h5py.File(tmp_path / "t.h5", "w", libver=("v110", "v110")) as file:
        columns = [Column("tick", np.int64), Column("same", np.int8), Column("value", np.float32, "", ("k",))]
        table = Table("/", "tick", columns, {"k": 3}, 64)
        dimension(file, "k", np.arange(3))
        table.lay_out(file)
        file.swmr_mode = True
        rows: dict[str, np.ndarray] = {"tick": np.arange(total), "same": np.ones(total, np.int8)}
        rows["value"] = np.zeros((total, 3), np.float32)
        for done in range(0, total, step):
            table.extend({name: x[done : done + step] for name, x in rows.items()}, step)
            table.flush()
            for name, values in rows.items():
                corner = (done // 64 * 64, *([0] * (values.ndim - 1)))
                info = file[name].id.get_chunk_info_by_coord(corner)
                assert info.byte_offset not in seen
                seen.add(info.byte_offset)
            assert (file["tick"][: done + step] == rows["tick"][: done + step]).all()
    with h5py.File(tmp_path / "t.h5", "r") as file:
        for name, values in rows.items():
            np.testing.assert_array_equal(file[name][()], values)
