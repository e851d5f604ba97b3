"""Where in a trace a value stands, in words: tick, replica, neuron, edge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py

from hlsim.trace import Trace
from hlsim.trace.reader import axis_of


@dataclass(frozen=True)
class Place:
    """Where two traces differ first.

    Attributes
    ----------
    tick : int or None
        The earlier one, where the traces have different ones there; None: not at a tick.
    index : tuple of int
        Into the dataset; empty for an attribute.
    where : str
        In words: "tick 30, replica 1, edge 'x' -> 'y'"; the key, within an attribute that holds a table.
    values : tuple of str
        Both, with all digits; empty where one trace has no value there.
    """

    tick: int | None
    index: tuple[int, ...]
    where: str
    values: tuple[str, ...] = ()


def dimensions(dataset: h5py.Dataset) -> list[str]:
    """Return the paths of the dimension scales of a dataset; "" for a dimension that has none."""
    if dataset.is_scale:
        return [dataset.name.strip("/")]
    return [axis[0].name.strip("/") if len(axis) else "" for axis in dataset.dims]


def place_of(traces: Sequence[Trace], name: str, index: tuple[int, ...], values: tuple[str, ...]) -> Place:
    """Say where an entry of a dataset is, by what those of the traces tell that are long enough."""
    holders = [trace for trace in traces if trace.rows(name) > index[0]]
    dataset = holders[0].h5[name]
    words: list[str] = []
    ticks: list[int] = []
    if not dataset.shape:
        return Place(None, (), "", values)
    for axis, dim in enumerate(dimensions(dataset)[: len(index)]):
        if axis == 0 and axis_of(dataset) is not None:
            ticks, row_words = _row(holders, name, dim, index[0])
            words += row_words
        else:
            words.append(_along(holders[0], dim, axis, index[axis]))
    return Place(min(ticks, default=None), index, ", ".join(words), values)


def _row(holders: list[Trace], name: str, dim: str, row: int) -> tuple[list[int], list[str]]:
    """Return the ticks of a row of a table, and what it is about, in words."""
    group = name.rpartition("/")[0]
    timed = dim.rpartition("/")[2].startswith("tick")
    clock = dim if timed else f"{group}/tick"

    def column(trace: Trace, path: str) -> Any:
        return trace.part(path, slice(row, row + 1))[0]

    ticks = [int(column(trace, clock)) for trace in holders if clock in trace]
    words = ["tick " + " against ".join(dict.fromkeys(map(str, ticks)))] if ticks else []
    if timed:
        return ticks, words
    about = {x: int(column(holders[0], f"{group}/{x}")) for x in ("replica", "edge", "node")
             if f"{group}/{x}" in holders[0]}  # fmt: skip
    if about.get("edge", -1) >= 0:
        about.pop("node", None)
    elif "edge" in about:
        del about["edge"]
    return ticks, [*words, f"row {row}", *(_along(holders[0], x, 0, at) for x, at in about.items())]


def _along(trace: Trace, dim: str, axis: int, at: int) -> str:
    """Say which entry along a dimension is meant."""
    if dim == "edge":
        return f"edge {edge(trace, at)}"
    if dim in trace and h5py.check_string_dtype(trace.h5[dim].dtype) is not None:
        return f"{dim.rpartition('/')[2].replace('_', ' ')} {_label(trace, dim, at)}"
    return f"{dim.rpartition('/')[2] or f'index {axis}'} {at}"


def _label(trace: Trace, dim: str, at: int) -> str:
    return repr(str(trace.part(dim, slice(at, at + 1))[0]))


def edge(trace: Trace, at: int) -> str:
    """Return an edge by the labels of its ends: 'a' -> 'b'."""
    ends = (int(trace.part(f"network/{end}", slice(at, at + 1))[0]) for end in ("source", "target"))
    return " -> ".join("bias" if end < 0 else _label(trace, "node", end) for end in ends)
