"""Two traces bit for bit: every dataset and attribute in which they differ, and where that begins."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hlsim.analysis.comparison import flat
from hlsim.errors import TraceError, check_number, unknown
from hlsim.textdata import read_json, read_toml
from hlsim.trace import Trace
from hlsim.trace.checking import axis_of, readable
from hlsim.trace.checksums import CRC
from hlsim.trace.layout import TRAFFIC


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


Array = NDArray[Any]
BLOCK = 2**20  # values that are read at a time
# What tells when, where and how fast a run was, and by which version, and not what came of it.
CIRCUMSTANCES = ("start", "end", "hlsim_version", "device", "summary.wall_s", "log")
# Addresses within a file (dimensions are compared by name), and checksums of what is compared anyway.
LINKS = ("DIMENSION_LIST", "REFERENCE_LIST", CRC)
TABLES: Mapping[str, Callable[[str], Any]] = {
    "experiment": read_toml,
    "learning": read_json,
    "summary": read_json,
    "network/graph": read_json,
}  # text that is compared key by key
# What is told first of differences at one tick: what a run was given before what came of it.
ORDER = ("stimulus", "faults", "sampled", "events", "rows", "phases")
SHOWN = 60  # characters of a text
ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """How a dataset or an attribute differs.

    Attributes
    ----------
    name : str
        Path of a dataset; attributes are "status" at the root and "sampled/h@long_name" elsewhere.
    structure : tuple of str
        What is not of the same form, in words: who lacks it, dtype, shape, dimensions, rows.
    differing, compared : int
        How many values differ, of those that both have.
    absolute, relative : float
        The largest \\|a - b\\| and \\|a - b\\| / max(\\|a\\|, \\|b\\|); NaN where no numbers differ.
    first : Place or None
        The first difference, in the order of ticks; None: in form only.
    """

    name: str
    structure: tuple[str, ...] = ()
    differing: int = 0
    compared: int = 0
    absolute: float = math.nan
    relative: float = math.nan
    first: Place | None = None

    def __str__(self) -> str:
        place = self.first
        if place is None or not place.values:
            where = "" if place is None or place.tick is None else f" from tick {place.tick}"
            return f"{self.name}{where}: {'; '.join(self.structure)}"
        at = f"{' at ' if place.tick is not None else ', '}{place.where}" if place.where else ""
        return f"{self.name}{at}: {' against '.join(place.values)}"


@dataclass(frozen=True)
class Diff:
    """What is different in two traces.

    Attributes
    ----------
    datasets, values : int
        How many datasets both have, and how many of their values were compared.
    differences : tuple of Difference
    not_compared : tuple of str
        What was left out: names of datasets, groups, attributes, and keys within them.
    """

    datasets: int
    values: int
    differences: tuple[Difference, ...]
    not_compared: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Return whether nothing differs."""
        return not self.differences

    @property
    def first(self) -> Difference | None:
        """Return what differs first: in the network, else at the earliest tick, else in the rest."""
        return min(self.differences, key=_when, default=None)


def _when(difference: Difference) -> tuple[float, int]:
    group, _, name = difference.name.partition("/")
    order = ORDER.index(group) if group in ORDER else len(ORDER)
    if difference.first is not None and difference.first.tick is not None:
        return difference.first.tick, order
    before = group == "network" and name not in TRAFFIC and "@" not in name
    return -1 if before else math.inf, order


@dataclass(frozen=True)
class Tolerance:
    """When two numbers count as equal: floating ones, if \\|a - b\\| <= atol + rtol max(\\|a\\|, \\|b\\|)."""

    rtol: float = 0.0
    atol: float = 0.0

    def differ(self, a: Array, b: Array) -> Array:
        """Return where two arrays of one shape differ; without a tolerance bit for bit, NaN being NaN."""
        if not (a.dtype.kind in "fc" and b.dtype.kind in "fc"):
            return np.asarray(a != b)
        differ = _bits_differ(a.real, b.real) | _bits_differ(a.imag, b.imag)
        if not (self.rtol or self.atol):
            return differ
        gap, size = _gap(a, b)
        room = self.atol + self.rtol * np.where(np.isfinite(size), size, 0.0)
        return differ & ~(gap <= room)  # the gap to what is not finite is infinite, or NaN


def _bits_differ(a: Array, b: Array) -> Array:
    return ((a != b) | (np.signbit(a) != np.signbit(b))) & ~(np.isnan(a) & np.isnan(b))


def _gap(a: Array, b: Array) -> tuple[Array, Array]:
    """Return |a - b| and max(|a|, |b|), in double precision."""
    a, b = (x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for x in (a, b))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(a - b), np.maximum(np.abs(a), np.abs(b))


@dataclass
class _Tally:
    """Counts the differences of one dataset, block by block."""

    tolerance: Tolerance
    differing: int = 0
    compared: int = 0
    absolute: float = math.nan
    relative: float = math.nan
    index: tuple[int, ...] = ()
    values: tuple[str, ...] = ()

    def add(self, a: Array, b: Array, start: int = 0) -> None:
        """Compare two blocks, of one shape, that begin at a row."""
        self.compared += a.size
        at = np.flatnonzero(self.tolerance.differ(a, b))
        if not at.size:
            return
        if not self.differing:
            row, *rest = (int(i) for i in np.unravel_index(at[0], a.shape))
            self.index = (start + row, *rest)
            self.values = told(a.flat[at[0]], b.flat[at[0]])
        self.differing += at.size
        if a.dtype.kind in "biufc" and b.dtype.kind in "biufc":
            gap, size = _gap(a.reshape(-1)[at], b.reshape(-1)[at])
            with np.errstate(invalid="ignore", divide="ignore"):
                relative = gap / size
            self.absolute = float(np.fmax.reduce(gap, initial=self.absolute))
            self.relative = float(np.fmax.reduce(relative, initial=self.relative))

    def difference(self, name: str, structure: Iterable[str], first: Place | None) -> Difference:
        counts, sizes = (self.differing, self.compared), (self.absolute, self.relative)
        return Difference(name, tuple(structure), *counts, *sizes, first)


def told(a: Any, b: Any) -> tuple[str, str]:
    """Return two values with all their digits; of long texts the part in which they begin to differ."""
    if isinstance(a, str) and isinstance(b, str) and max(len(a), len(b)) > SHOWN:
        same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        start = max(0, same - SHOWN // 3)
        a, b = (text[start : start + SHOWN] for text in (a, b))
    return _repr(a), _repr(b)


def _repr(value: Any) -> str:
    return "-" if value is ABSENT else repr(value.item() if isinstance(value, np.generic) else value)


def diff(
    trace: Trace, other: Trace, rtol: float = 0.0, atol: float = 0.0, ignore: Iterable[str] = ()
) -> Diff:
    """Compare two traces, dataset by dataset and a part at a time: they may be larger than memory.

    Parameters
    ----------
    rtol, atol : float
        Floating-point numbers are equal if \\|a - b\\| <= atol + rtol max(\\|a\\|, \\|b\\|). Both 0: bit for
        bit, where 0.0 and -0.0 differ and every NaN is like every other. Whole numbers, text, settings and
        the form of the file are always compared exactly.
    ignore : iterable of str
        What is left out besides ``CIRCUMSTANCES``: datasets, groups, attributes, or keys within an attribute
        ("experiment.simulation.threads").

    Raises
    ------
    HlsimError
        A tolerance that is no finite number >= 0; something to ignore that neither trace has.
    """
    for name, value in (("rtol", rtol), ("atol", atol)):
        check_number(name, value, 0.0)
    pair = _Pair(trace, other, Tolerance(rtol, atol), (*CIRCUMSTANCES, *ignore))
    pair.check(ignore)
    differences = [*pair.root(), *pair.objects()]
    return Diff(pair.datasets, pair.values, tuple(differences), tuple(dict.fromkeys(pair.left_out)))


@dataclass
class _Pair:
    """Two traces, and how they are compared."""

    one: Trace
    two: Trace
    tolerance: Tolerance
    left_out: tuple[str, ...]
    datasets: int = 0
    values: int = 0
    _names: tuple[list[str], list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self._names = _contents(self.one), _contents(self.two)

    @property
    def traces(self) -> tuple[Trace, Trace]:
        return self.one, self.two

    def check(self, ignore: Iterable[str]) -> None:
        known = {*self._names[0], *self._names[1], *self.one.attrs, *self.two.attrs}
        for name in ignore:
            if re.split("[.@]", name)[0] not in known:
                raise TraceError("ignore: " + unknown("dataset, group or attribute", name, known))

    def ignores(self, name: str) -> bool:
        return any(name == x or name.startswith((f"{x}/", f"{x}@", f"{x}.")) for x in self.left_out)

    def root(self) -> Iterator[Difference]:
        """Yield the root attributes that differ."""
        return self._attributes("", self.one.attrs, self.two.attrs)

    def objects(self) -> Iterator[Difference]:
        """Yield the groups and datasets that differ, and their attributes."""
        one, two = (set(names) for names in self._names)
        for name in dict.fromkeys([*self._names[0], *self._names[1]]):
            if self.ignores(name):
                continue
            if name in one and name in two:
                yield from self._object(name)
            else:
                yield Difference(name, (f"only in the {'first' if name in one else 'second'}",))

    def _object(self, name: str) -> Iterator[Difference]:
        a, b = (trace.h5[name] for trace in self.traces)
        if isinstance(a, h5py.Dataset) != isinstance(b, h5py.Dataset):
            yield Difference(name, ("a dataset in one, a group in the other",))
            return
        if isinstance(a, h5py.Dataset):
            self.datasets += 1
            with readable(name):
                found = self._table(name) if name in TABLES and not a.shape + b.shape else self._dataset(name)
            if found is not None:
                yield found
        with readable(name):
            attributes = [_plain(item) for item in (a, b)]
        yield from self._attributes(f"{name}@", *attributes)

    # ---- attributes and tables in text

    def _attributes(self, prefix: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Difference]:
        for key in dict.fromkeys([*a, *b]):
            name = prefix + key
            if self.ignores(name) or key in LINKS:
                continue
            if key not in a or key not in b:
                yield Difference(name, (f"only in the {'first' if key in a else 'second'}",))
            elif (found := self._text(name, a[key], b[key])) is not None:
                yield found

    def _table(self, name: str) -> Difference | None:
        a, b = (str(trace[name]) for trace in self.traces)
        self.values += 1
        return self._text(name, a, b)

    def _text(self, name: str, a: Any, b: Any) -> Difference | None:
        """Compare values; where they are text that holds a table, key by key."""
        if self._same(a, b):
            return None
        if name in TABLES:
            try:
                tables = [dict(flat(TABLES[name](text))) for text in (a, b)]
            except ValueError:  # somebody wrote something else there
                tables = [{}, {}]
            kept = [{k: x for k, x in table.items() if not self.ignores(f"{name}.{k}")} for table in tables]
            found = self._keys(name, *kept)
            if found is not None or tables[0] != tables[1] or kept != tables:
                return found
        return Difference(name, (), 1, 1, *self._sizes(a, b), Place(None, (), "", told(a, b)))

    def _keys(self, name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Difference | None:
        keys = list(dict.fromkeys([*a, *b]))
        pairs = {key: (a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys}
        exactly = name != "summary"
        apart = [key for key, values in pairs.items() if not self._same(*values, exactly=exactly)]
        if not apart:
            return None
        sizes = [self._sizes(*pairs[key]) for key in apart]
        absolute, relative = (float(np.fmax.reduce(x)) for x in zip(*sizes, strict=True))
        first = Place(None, (), apart[0], told(*pairs[apart[0]]))
        return Difference(name, (), len(apart), len(keys), absolute, relative, first)

    def _same(self, a: Any, b: Any, exactly: bool = False) -> bool:
        if isinstance(a, float) and isinstance(b, float):
            tolerance = Tolerance() if exactly else self.tolerance
            return not tolerance.differ(np.array(a), np.array(b))
        return type(a) is type(b) and repr(a) == repr(b)

    def _sizes(self, a: Any, b: Any) -> tuple[float, float]:
        tally = _Tally(Tolerance())
        if all(isinstance(x, int | float) for x in (a, b)):
            tally.add(np.array([a]), np.array([b]))
        return tally.absolute, tally.relative

    # ---- datasets

    def _dataset(self, name: str) -> Difference | None:
        a, b = (trace.h5[name] for trace in self.traces)
        grows = int(axis_of(a) is not None and axis_of(b) is not None)  # dimensions that may differ
        structure = list(_form(a, b, grows))
        rows = [trace.rows(name) for trace in self.traces]
        tally = _Tally(self.tolerance)
        if a.shape[grows:] == b.shape[grows:] and _comparable(a.dtype, b.dtype):
            self._blocks(name, tally, min(rows))
        self.values += tally.compared
        place = place_of(self.traces, name, tally.index, tally.values) if tally.differing else None
        if grows and rows[0] != rows[1]:
            which = "first" if rows[0] > rows[1] else "second"
            alike = "differ" if tally.differing else "are equal"
            more = abs(rows[0] - rows[1])
            structure.append(f"{more:,} rows more in the {which}; the {min(rows):,} rows of both {alike}")
            place = place or place_of(self.traces, name, (min(rows),), ())
        return tally.difference(name, structure, place) if structure or tally.differing else None

    def _blocks(self, name: str, tally: _Tally, rows: int) -> None:
        shape = self.one.h5[name].shape
        if not shape:
            tally.add(np.atleast_1d(self.one[name]), np.atleast_1d(self.two[name]))
            return
        step = max(1, BLOCK // max(1, math.prod(shape[1:])))
        chunk = (self.one.h5[name].chunks or (1,))[0]
        step = step // chunk * chunk or step  # no chunk is decompressed twice, where one fits
        for start in range(0, rows, step):
            part = slice(start, min(rows, start + step))
            tally.add(self.one.part(name, part), self.two.part(name, part), start)


def _contents(trace: Trace) -> list[str]:
    """Return the paths of all groups and datasets, what is in a group after it."""
    found = [name.split("/") for name in trace.names()]
    groups = {tuple(name[:depth]) for name in found for depth in range(1, len(name))}
    return ["/".join(parts) for parts in sorted([*groups, *map(tuple, found)])]


def _plain(item: h5py.HLObject) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, np.ndarray | np.generic) else v for k, v in item.attrs.items()}


def _form(a: h5py.Dataset, b: h5py.Dataset, grows: int) -> Iterator[str]:
    """Yield what is not alike in the form of two datasets, but for the rows of those that grow."""
    if a.dtype != b.dtype or h5py.check_string_dtype(a.dtype) != h5py.check_string_dtype(b.dtype):
        yield f"dtype {a.dtype} against {b.dtype}"
    if a.shape[grows:] != b.shape[grows:]:
        yield f"shape {a.shape} against {b.shape}"
    dims = [[name or "-" for name in dimensions(dataset)] for dataset in (a, b)]
    if dims[0] != dims[1]:
        yield f"dimensions {', '.join(dims[0])} against {', '.join(dims[1])}"


def _comparable(a: np.dtype, b: np.dtype) -> bool:
    texts = [h5py.check_string_dtype(x) is not None for x in (a, b)]
    return a == b or all(texts) or (a.kind in "biufc" and b.kind in "biufc")
