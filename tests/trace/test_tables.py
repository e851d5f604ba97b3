"""Tables that grow: how they are cut into chunks, and what grows last."""

import math
from pathlib import Path
from typing import Any

import h5py
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlsim.trace import tables
from tests.support.traces import record, recorder


@given(
    rows=st.integers(1, 100_000),
    shape=st.lists(st.sampled_from([0, 1, 2, 30, 1000, 70_000, 10**6]), max_size=2).map(tuple),
)
def test_chunks_are_as_large_as_agreed(rows: int, shape: tuple[int, ...]) -> None:
    rows = tables.chunk_rows([shape, ()], rows)
    sizes = tuple(max(1, size) for size in shape)
    chunk = tables.chunk_shape(rows, shape)
    assert all(1 <= part <= size for part, size in zip(chunk[1:], sizes, strict=True))
    assert math.prod(chunk) <= max(tables.CHUNK_VALUES, rows)
    # cut across only where a single row does not fit
    assert chunk[1:] == sizes or rows == 1 or 0 in shape


def test_the_axis_of_a_table_grows_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a row that the axis has is in every column, whenever the writer is killed."""
    grown: dict[str, list[str]] = {}
    resize = h5py.Dataset.resize

    def noted(dataset: h5py.Dataset, *size: Any, **axis: Any) -> None:
        grown.setdefault(dataset.parent.name, []).append(dataset.name.rpartition("/")[2])
        resize(dataset, *size, **axis)

    monkeypatch.setattr(h5py.Dataset, "resize", noted)
    with recorder(tmp_path / "t.h5", every=1, events=("message",)) as rec:
        record(rec, 0, 3)
    last = {group: names[-1] for group, names in grown.items()}
    assert last == {
        "/sampled": "tick",
        "/events": "event",
        "/stimulus": "tick",
        "/rows": "row",
        "/log": "tick",
    }
