"""Reads traces: finished ones, those still being written, and those whose run was killed."""

import io
import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import h5py
import numpy as np

from hlsim.errors import TraceError, shown, unknown
from hlsim.trace import heaps, recovery, superblock
from hlsim.trace.checking import Layout, axis_of, check_attributes, readable, summary_of
from hlsim.trace.layout import FORMAT, FORMAT_VERSION

if TYPE_CHECKING:
    import xarray as xr


RUNNING, INTERRUPTED = "running", "interrupted"
PATIENCE, PAUSE = 1.0, 0.025  # seconds
Result = TypeVar("Result")


def open(path: str | os.PathLike[str]) -> "Trace":  # noqa: A001 - users write hlsim.trace.open
    """Open a trace.

    A trace whose run was killed is mended first: what had reached the file is whole, and ``status`` becomes
    "interrupted". A trace of a run that goes on is left alone, and read as far as it is: open it again to see
    more.

    Raises
    ------
    TraceError
        There is no such file, it is no trace, or it is one of another format version.
    """
    path = Path(path)
    check_attributes(str(path), attributes(path))
    return _patiently(path, partial(_open_trace, path))


def _open_trace(path: Path, state: recovery.State) -> "Trace":
    if state == "live" or (state == "whole" and attributes(path)["status"] != RUNNING):
        return Trace(path, state)
    Trace(path, state).close()  # what is damaged is not mended
    return Trace(path, recovery.settle(path))


def attributes(path: Path) -> dict[str, Any]:
    """Return the root attributes of a trace, also while it is written.

    Raises
    ------
    TraceError
        The file cannot be read, or is no trace.
    """

    def read(state: recovery.State) -> dict[str, Any]:
        heaps.check(path)
        with _open(path, state)[0] as file:
            return _plain(file.attrs)

    found = _patiently(path, read)
    if found.get("format") != FORMAT:
        raise TraceError(f"{path}: is no hlsim trace")
    if found.get("format_version") != FORMAT_VERSION:
        version = shown(found.get("format_version"))
        raise TraceError(f"{path}: format_version must be {FORMAT_VERSION}, got {version}")
    return found


def check_free(path: Path, overwrite: bool = False, how: str = "say overwrite") -> None:
    """Refuse to write where there is no folder, or over what is there already.

    To overwrite means a trace that nobody writes any more, and nothing else.
    """
    if not path.parent.is_dir():
        raise TraceError(f"{path}: cannot write: there is no folder {path.parent}")
    if not path.exists():
        return
    try:
        attributes(path)
    except TraceError:
        raise TraceError(f"{path}: cannot write: it exists and is no hlsim trace") from None
    if superblock.is_marked(path) and recovery.is_written(path):
        raise TraceError(f"{path}: cannot write: another run is writing it")
    if not overwrite:
        raise TraceError(f"{path}: cannot write: the trace exists; give another path, or {how}")


def _patiently(path: Path, read: Callable[[recovery.State], Result]) -> Result:
    """Read a file, given who writes it.

    Who mends a file keeps all others out for a moment, and changes what they see: wait for that.
    """
    ends = time.monotonic() + PATIENCE
    while True:
        state = _standing(path)
        try:
            with readable(str(path)):
                return read(state)
        except TraceError:
            if not h5py.is_hdf5(path):
                raise TraceError(f"{path}: is no hlsim trace") from None
            if time.monotonic() > ends or not (state != "whole" or superblock.is_marked(path)):
                raise
        time.sleep(PAUSE)


def _standing(path: Path) -> recovery.State:
    """Return "live" where a file is marked as open for writing and written, "killed" where nobody does."""
    try:
        if not (path.is_file() or path.is_dir() or not path.exists()):  # opening a pipe would wait for ever
            raise TraceError(f"{path}: is no file")
        if not superblock.is_marked(path):
            return "whole"
        return "live" if recovery.is_written(path) else "killed"
    except OSError as error:
        if isinstance(error, TraceError):
            raise
        raise TraceError(f"{path}: cannot read: {error.strerror}") from None


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers and text as Python has them."""
    found = {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


Source = Path | io.BytesIO | superblock.Cleared


def _open(source: Source, state: recovery.State) -> tuple[h5py.File, dict[str, Any]]:
    """Open a file for reading; return it, and the options with which HDF5 opens it again.

    Within one process, all who open a file must do it with HDF5's own locks, or all without: as its recorder.
    """
    if state == "killed" and isinstance(source, Path):
        if not superblock.is_swmr(source):  # by somebody who mends it, or it is no trace
            why = "is marked as open for writing only; if nobody does, h5clear -s clears it"
            raise TraceError(f"{source}: {why}")
        source = superblock.Cleared(source)
    options: dict[str, Any] = {"swmr": True} if state == "live" else {}
    try:
        return h5py.File(source, "r", **options), options
    except OSError as error:
        if state != "live" or "locking flag" not in str(error):
            raise
    options["locking"] = False
    return h5py.File(source, "r", **options), options


class Trace:
    """A trace that is open for reading; a context manager.

    Parameters
    ----------
    source : path, or callable
        A function that returns the bytes of a trace in memory is called when something is looked at.
    state : str
        "whole"; "live" while it is written; "killed" where it could not be mended for lack of permission.

    Attributes
    ----------
    h5 : h5py.File
        For reading parts: ``trace.h5["sampled/w"][-1]``.
    """

    def __init__(self, source: Path | Callable[[], bytes], state: recovery.State = "whole") -> None:
        self._source = source
        self._state = state
        self._options: dict[str, Any] = {}
        self._tree: xr.DataTree | None = None
        self._layout: Layout | None = None  # of a file, which may be anybody's
        self._rows: dict[str, int] = {}
        if isinstance(source, Path):
            try:
                self._look(state)
            except BaseException:
                self.close()
                raise

    def _look(self, state: recovery.State) -> None:
        """Check the file, and how many rows it has."""
        self._attrs = _plain(self.h5.attrs)  # read at once: a writer that ends writes them anew
        self._layout = Layout(self.h5, self._label, self._attrs)
        # HDF5 may see some columns longer than others, as the writer is at work: all are cut to the shortest
        axes = [] if state == "whole" else recovery.growing_axes(self.h5)
        self._rows = {axis.name: recovery.whole_rows(axis) for axis in axes}

    @cached_property
    def h5(self) -> h5py.File:
        """The file."""
        file, self._options = _open(self._opened(), self._state)
        return file

    def _opened(self) -> Source:
        if not isinstance(self._source, Path):
            return io.BytesIO(self._source())
        return superblock.Cleared(self._source) if self._state == "killed" else self._source

    @cached_property
    def _attrs(self) -> dict[str, Any]:
        return _plain(self.h5.attrs)

    @property
    def path(self) -> Path | None:
        """Return where the trace is; None: in memory."""
        return self._source if isinstance(self._source, Path) else None

    @property
    def attrs(self) -> dict[str, Any]:
        """Return the root attributes."""
        return self._attrs | ({"status": INTERRUPTED} if self._state == "killed" else {})

    @property
    def status(self) -> str:
        """Return "running", "complete" or "interrupted"."""
        return str(self.attrs["status"])

    @property
    def summary(self) -> dict[str, Any]:
        """Return what the run told at its end; empty where it had no end."""
        return summary_of(self._label, self.attrs["summary"])

    @cached_property
    def network(self) -> dict[str, np.ndarray]:
        """Return the arrays of /network by name; parameters of models as "parameters/tau"."""
        prefix = "network/"
        return {name.removeprefix(prefix): self[name] for name in self.names() if name.startswith(prefix)}

    def names(self) -> list[str]:
        """Return the paths of all datasets."""
        if self._layout is not None:
            return list(self._layout.names)
        found: list[str] = []

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                found.append(name)

        self.h5.visititems(visit)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and isinstance(self.h5.get(name), h5py.Dataset)

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a whole dataset; text as numpy's str.

        Raises
        ------
        TraceError
            There is no dataset of this name.
        """
        return self.part(name, slice(self.rows(name)) if axis_of(self._dataset(name)) else ())

    def rows(self, name: str) -> int:
        """Return how many rows along its first dimension a dataset has; 1 where it has no dimensions."""
        dataset = self._dataset(name)
        axis = axis_of(dataset)
        if axis is None:
            return len(dataset) if dataset.shape else 1
        return self._rows.get(axis.name, len(axis))

    def part(self, name: str, rows: Any) -> np.ndarray:
        """Return part of a dataset, by a slice of its ``rows``; text as numpy's str.

        Raises
        ------
        TraceError
            There is no such dataset.
        DamageError
            It cannot be read, or its values are not what the layout allows.
        """
        dataset = self._dataset(name)
        with readable(f"{self._label}: {name}"):
            values = _values(dataset, rows)
            if self._layout is not None:
                self._layout.check_values(name, values)
                if values.shape == dataset.shape:
                    self._layout.check_sum(name, dataset, values)
        return values

    def _dataset(self, name: str) -> h5py.Dataset:
        if name not in self:
            raise TraceError(f"{self._label}: " + unknown("dataset", name, self.names()))
        with readable(f"{self._label}: {name}"):
            return self.h5[name]

    def ticks(self, name: str) -> np.ndarray:
        """Return the ticks along the first dimension of a sampled quantity, of /stimulus or of /log."""
        axis = axis_of(self._dataset(name))
        if axis is None or not axis.name.rpartition("/")[2].startswith("tick"):
            raise TraceError(f"{self._label}: {name} has no ticks along its first dimension")
        return self[axis.name]

    def tree(self) -> "xr.DataTree":
        """Return the trace as an xarray.DataTree, read lazily; open for as long as the trace is."""
        import xarray as xr

        if self._tree is None:
            opened: Any = self._opened()
            self._tree = xr.open_datatree(opened, engine="h5netcdf", driver_kwds=self._options)
        if not self._rows:
            return self._tree
        cut = {node.path: node.to_dataset(inherit=False) for node in self._tree.subtree}
        for name, rows in self._rows.items():
            group, _, axis = name.rpartition("/")
            cut[group] = cut[group].isel({axis: slice(rows)})
        return xr.DataTree.from_dict(cut)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._tree is not None:
            self._tree.close()
            self._tree = None
        self.h5.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def _label(self) -> str:
        return str(self.path or "trace in memory")

    def __repr__(self) -> str:
        return f"<Trace {self._label}: {self.status if self.h5 else 'closed'}>"


def _values(dataset: h5py.Dataset, part: Any) -> np.ndarray:
    if h5py.check_string_dtype(dataset.dtype) is None:
        return dataset[part]
    return np.asarray(dataset.asstr()[part], dtype=str)


def ticks(trace: Trace) -> int:
    """Return how many ticks a run covered, as far as its trace tells."""
    if "ticks" in trace.summary:
        return int(trace.summary["ticks"])
    columns = [name for name in trace.names() if name.rpartition("/")[2].startswith("tick")]
    last = {name: trace.rows(name) - 1 for name in columns}
    return max((int(trace.part(name, row)) + 1 for name, row in last.items() if row >= 0), default=0)
