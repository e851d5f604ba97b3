"""HDF5 as a trace uses it: named dimensions, and tables that grow while others read them.

Dimensions are dimension scales as netCDF-4 has them: a dataset names its dimensions by scales that stand in
its own group or in one above it. xarray reads them so.

A table is one dataset a column (struct of arrays), all with the same chunks of rows, shuffled and compressed.
Rows are buffered, and go to the file a whole chunk at a time: a compressed chunk that is written in part has
to be written again later, and in SWMR mode the room of the first writing is lost. Compressing is most of the
work, so a large chunk is compressed beside the simulation, by a thread that does nothing else.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike

from hlsim.errors import TraceError
from hlsim.trace import chunks
from hlsim.trace.checksums import CRC, crc_of

COMPRESSION: Mapping[str, Any] = {
    "compression": "gzip",
    "compression_opts": chunks.LEVEL,
    "shuffle": True,
    "fletcher32": True,
}
CHUNK_VALUES = 65536  # values a chunk: 256 KiB of float32, within every version's chunk cache (1 MiB)
TEXT = h5py.string_dtype()
NAME = h5py.string_dtype(
    length=64
)  # for text that grows: HDF5 cannot append strings of free length in SWMR mode
NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable.{:10d}"  # netCDF-4's own wording


@dataclass(frozen=True)
class Column:
    """One dataset of a table.

    Parameters
    ----------
    name : str
    dtype : dtype
    about : str
        What it holds, in words; ``long_name`` in the file.
    dims : tuple of str
        Names of the dimensions after the table's own axis.
    flags : tuple of str
        What its numbers stand for, from 0 on; none where they are numbers.
    """

    name: str
    dtype: Any
    about: str = ""
    dims: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def dimension(group: h5py.Group, name: str, values: ArrayLike, about: str = "") -> h5py.Dataset:
    """Add a dimension with coordinates; text stays text."""
    scale = variable(group, name, values, (), about)
    scale.make_scale(name)
    return scale


def variable(
    group: h5py.Group, name: str, values: ArrayLike, dims: Sequence[str], about: str = ""
) -> h5py.Dataset:
    """Add a dataset that does not grow, over dimensions that exist."""
    array = np.asarray(values)
    if array.dtype.kind in "UO":
        array = array.astype(object)
    elif array.dtype.kind == "b":
        array = array.astype(np.int8)  # HDF5 has no booleans, and netCDF no such enumeration
    is_text = array.dtype.kind == "O"
    dtype = TEXT if is_text else array.dtype
    dataset = group.create_dataset(name, data=array, dtype=dtype, **_options(array.shape, is_text))
    if is_text or not array.shape:  # no filter takes these
        dataset.attrs[CRC] = crc_of(np.atleast_1d(array).tolist()) if is_text else zlib.crc32(array.tobytes())
    describe(group, dataset, dims, about)
    return dataset


def room(group: h5py.Group, name: str, dtype: np.dtype, dims: Sequence[str], about: str) -> h5py.Dataset:
    """Add a dataset over dimensions that exist, whose numbers come later; until then they are nan."""
    shape = tuple(len(scale(group, dim)) for dim in dims)
    blank = np.full((), np.nan, dtype)[()]
    dataset = group.create_dataset(name, shape, dtype, fillvalue=blank, **_options(shape))
    describe(group, dataset, dims, about)
    return dataset


def _options(shape: tuple[int, ...], is_text: bool = False) -> Mapping[str, Any]:
    """Return how a dataset that does not grow is stored; what is small is not worth compressing."""
    if np.prod(shape) > 1024:
        return {**COMPRESSION, "fletcher32": not is_text}
    return {} if is_text or not np.prod(shape) or not shape else {"chunks": shape, "fletcher32": True}


def describe(group: h5py.Group, dataset: h5py.Dataset, dims: Iterable[str], about: str) -> None:
    """Name the dimensions of a dataset in a group, and say what it holds."""
    for axis, name in enumerate(dims):
        dataset.dims[axis].attach_scale(scale(group, name))
    if about:
        dataset.attrs["long_name"] = about


def scale(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return the nearest dimension of a name, in a group or above it."""
    # By path: opening every group above takes more time than all else that a trace is laid out with.
    for folder in (place := PurePosixPath(group.name), *place.parents):
        path = str(folder / name)
        if path in group and (found := group[path]).is_scale:
            return found
    raise KeyError(f"no dimension {name!r}")


def chunk_shape(rows: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the chunks of a column: ``rows`` rows, cut across only where one row is a chunk or more."""
    chunk: list[int] = []
    room = max(1, CHUNK_VALUES // rows)
    for size in reversed(shape):
        chunk.insert(0, max(1, min(size, room)))
        room = max(1, room // chunk[0])
    return (rows, *chunk)


def chunk_rows(shapes: Iterable[tuple[int, ...]], most: int) -> int:
    """Return the rows of a chunk for a table with columns of these shapes: the widest fills a chunk."""
    widest = max((int(np.prod(shape)) for shape in shapes), default=1)
    return max(1, min(most, CHUNK_VALUES // max(1, widest)))


class Table:
    """Columns of one group that grow together along an axis.

    Parameters
    ----------
    group : str
        Name of the group.
    axis : str
        Name of the dimension; where a column has this name, it holds the coordinates.
    columns : sequence of Column
    sizes : mapping of str to int
        Lengths of the dimensions that columns have beside it.
    rows : int
        Rows a chunk, at most.
    signal : str, optional
        The column to plot.

    Notes
    -----
    Rows go to the file that it is laid out in, from the first whole chunk on; up to there it needs none.
    """

    def __init__(
        self,
        group: str,
        axis: str,
        columns: Sequence[Column],
        sizes: Mapping[str, int],
        rows: int,
        signal: str | None = None,
    ) -> None:
        shapes = {c.name: tuple(sizes[dim] for dim in c.dims) for c in columns}
        self.rows = chunk_rows(shapes.values(), rows)
        self.names = tuple(shapes)
        self._group, self._axis, self._columns, self._signal = group, axis, columns, signal
        # Rows in the buffers, from the beginning of a chunk; how many of them are in the file as well.
        self._filled = self._kept = 0
        # A whole chunk, and how many of its rows are not yet in the file.
        self._compressing: Future[chunks.Columns] | None = None
        self._under_way = 0
        self._written = 0  # rows in the file
        self._buffers = {c.name: np.empty((self.rows, *shapes[c.name]), c.dtype) for c in columns}
        self._datasets: dict[str, h5py.Dataset] = {}

    def lay_out(self, file: h5py.File) -> None:
        """Create its datasets, empty."""
        group = file.require_group(self._group)
        self._datasets[self._axis] = self._scale(group)
        for column in self._columns:
            if column.name != self._axis:
                dataset = self._create(group, column)
                describe(group, dataset, (self._axis, *column.dims), column.about)
                self._datasets[column.name] = dataset
        if self._signal is not None:
            _make_plottable(group, self._signal)

    def cut(self, file: h5py.File, rows: int) -> None:
        """Cut what was laid out before to its first rows, in a file that nobody else reads.

        Raises
        ------
        TraceError
            It is not there in this form, or has fewer rows.
        """
        columns = {column.name: column.dtype for column in self._columns}
        found = {name: file.get(f"{self._group}/{name}") for name in dict.fromkeys((self._axis, *columns))}
        for name, dataset in found.items():
            path = f"/{self._group}/{name}"
            shape = self._buffers[name].shape[1:] if name in columns else ()
            formed = isinstance(dataset, h5py.Dataset) and dataset.shape[1:] == shape
            if not formed or dataset.dtype != np.dtype(columns.get(name, "f4")):
                raise TraceError(f"{path}: must be as this run lays it out, it is not")
            if len(dataset) < rows:
                raise TraceError(f"{path}: must have at least {rows} rows, got {len(dataset)}")
        for dataset in found.values():
            dataset.resize(rows, axis=0)

    def find(self, file: h5py.File) -> None:
        """Go on after the rows of a file in which it was laid out before."""
        names = dict.fromkeys((self._axis, *self.names))
        self._datasets = {name: file[self._group][name] for name in names}
        self._written = len(self._datasets[self._axis])
        self._filled = self._kept = self._written % self.rows
        for name, buffer in self._buffers.items():
            buffer[: self._kept] = self._datasets[name][self._written - self._kept : self._written]

    @property
    def path(self) -> str:
        """Return the path of its axis, by which it is known."""
        return f"{self._group}/{self._axis}"

    def holds(self, count: int) -> bool:
        """Tell whether so many more rows have room without a file to write to."""
        return self._filled + count < self.rows

    def __len__(self) -> int:
        return self._written + self._under_way + self._filled - self._kept

    def _scale(self, group: h5py.Group) -> h5py.Dataset:
        own = next((column for column in self._columns if column.name == self._axis), None)
        dataset = self._create(group, own or Column(self._axis, np.dtype("f4")))
        dataset.make_scale(self._axis if own else NO_VARIABLE.format(0))
        describe(group, dataset, (), own.about if own else "")
        return dataset

    def _create(self, group: h5py.Group, column: Column) -> h5py.Dataset:
        shape = self._buffers[column.name].shape[1:] if column.name in self._buffers else ()
        dataset = group.create_dataset(
            column.name,
            shape=(0, *shape),
            # HDF5 wants chunks of at least 1 within the limits, also where there is nothing
            maxshape=(None, *(size or None for size in shape)),
            chunks=chunk_shape(self.rows, shape),
            dtype=column.dtype,
            fillvalue=-1 if np.dtype(column.dtype).kind == "i" else None,
            **COMPRESSION,
        )
        if column.dtype == NAME:
            dataset.attrs["_Encoding"] = "utf-8"  # how xarray knows bytes that are text
        if column.flags:
            dataset.attrs["flag_values"] = np.arange(len(column.flags), dtype=np.int8)
            dataset.attrs["flag_meanings"] = " ".join(flag.replace(" ", "_") for flag in column.flags)
        return dataset

    def append(self, values: Mapping[str, ArrayLike]) -> None:
        """Add one row: a value for every column."""
        at = slice(self._filled, self._filled + 1)
        for name, buffer in self._buffers.items():
            value = np.asarray(values[name])
            if value.shape != buffer.shape[1:]:
                raise TraceError(f"{name}: must have shape {buffer.shape[1:]}, got {value.shape}")
            fill(buffer[at], value, name)
        self._grow(1)

    def extend(self, values: Mapping[str, np.ndarray], count: int) -> None:
        """Add ``count`` rows: for every column an array that begins with this axis."""
        done = 0
        while done < count:
            step = min(count - done, self.rows - self._filled)
            at = slice(self._filled, self._filled + step)
            for name, buffer in self._buffers.items():
                fill(buffer[at], values[name][done : done + step], name)
            self._grow(step)
            done += step

    def _grow(self, count: int) -> None:
        self._filled += count
        if self._filled == self.rows:
            self._whole_chunk()

    def _whole_chunk(self) -> None:
        """Have the buffers compressed and take others; write them at once where that is little."""
        if not chunks.worth_a_thread(self._buffers):
            self.flush()
            return
        self._finish_chunk()
        shapes = {name: self._datasets[name].chunks for name in self._buffers}
        self._compressing = chunks.compress(self._buffers, shapes)
        self._under_way = self.rows - self._kept
        self._buffers = {name: np.empty_like(buffer) for name, buffer in self._buffers.items()}
        self._filled = self._kept = 0

    def _finish_chunk(self) -> None:
        """Write what was compressed meanwhile; wait for it where it is not done."""
        if self._compressing is None:
            return
        columns, self._compressing = self._compressing.result(), None
        count, self._under_way = self._under_way, 0
        self._write(count, columns)

    def flush(self) -> None:
        """Bring all rows to the file."""
        self._finish_chunk()
        if self._filled > self._kept:
            shapes = {name: self._datasets[name].chunks for name in self._buffers}
            columns = {name: chunks.compressed(self._begun(name), shapes[name]) for name in shapes}
            self._write(self._filled - self._kept, columns)
            self._kept = self._filled
        if self._filled == self.rows:
            self._filled = self._kept = 0

    def _begun(self, name: str) -> np.ndarray:
        """Return a chunk of a column, whose rows that have not come are what HDF5 takes for them."""
        whole = self._buffers[name].copy()
        whole[self._filled :] = -1 if whole.dtype.kind == "i" else np.zeros((), whole.dtype)
        return whole

    def _write(self, count: int, columns: chunks.Columns) -> None:
        """Add so many rows to the file. The axis comes last: a row that it has is in every column."""
        first = self._written // self.rows * self.rows
        for name in reversed(self._datasets):
            dataset = self._datasets[name]
            dataset.resize(self._written + count, axis=0)
            if name in columns:
                chunks.write(dataset, first, columns[name])
            dataset.flush()
        self._written += count


def _make_plottable(group: h5py.Group, signal: str) -> None:
    """Tell h5web what to plot over what: it follows NeXus' NXdata, not dimension scales."""
    along = "tick" if "tick" in group else "."
    group.attrs["NX_class"] = "NXdata"
    group.attrs["signal"] = signal
    group.attrs["axes"] = [along] + ["."] * (group[signal].ndim - 1)


def fill(buffer: np.ndarray, values: ArrayLike, name: str) -> None:
    """Copy values into a buffer, without loss of more than digits.

    Raises
    ------
    TraceError
        The dtypes differ in kind, for example complex numbers for a real column.
    """
    try:
        np.copyto(buffer, values, casting="same_kind")
    except TypeError:
        got = np.asarray(values).dtype
        raise TraceError(f"{name}: values must fit dtype {buffer.dtype}, got {got}") from None


class Pending:
    """Rows that are known before their tick has come, in growing arrays.

    Parameters
    ----------
    columns : sequence of Column
        One must be "tick".
    key : callable
        Returns a number for every row (k,), by which the rows of one tick are ordered.
    """

    def __init__(
        self, columns: Sequence[Column], key: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    ) -> None:
        self._arrays = {column.name: np.empty(1024, column.dtype) for column in columns}
        self._key = key
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, count: int, values: Mapping[str, ArrayLike]) -> None:
        """Add rows: for every column ``count`` values, or one for all."""
        stop = self._size + count
        if stop > self._arrays["tick"].size:
            self._arrays = {name: np.resize(array, 2 * stop) for name, array in self._arrays.items()}
        for name, array in self._arrays.items():
            fill(array[self._size : stop], values[name], name)
        self._size = stop

    def rows(self) -> dict[str, np.ndarray]:
        """Return views of the columns."""
        return {name: array[: self._size] for name, array in self._arrays.items()}

    def take(self, tick: int) -> tuple[dict[str, np.ndarray], int]:
        """Remove the rows up to and including a tick; return them, sorted, and how many they are."""
        rows = self.rows()
        ripe = rows["tick"] <= tick
        taken = {name: array[ripe] for name, array in rows.items()}
        self._keep(~ripe)
        order = np.lexsort((self._key(taken), taken["tick"]))
        return {name: array[order] for name, array in taken.items()}, order.size

    def drop(self, tick: int) -> None:
        """Forget the rows after a tick."""
        self._keep(self.rows()["tick"] <= tick)

    def _keep(self, kept: np.ndarray) -> None:
        size = int(np.count_nonzero(kept))
        for array in self.rows().values():
            array[:size] = array[kept]
        self._size = size
