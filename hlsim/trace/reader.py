"""Reads traces: finished ones, those still being written, and those whose run was killed."""

import io
import json
import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import h5py
import numpy as np

from hlsim.errors import TraceError, unknown
from hlsim.trace import recovery, superblock
from hlsim.trace.layout import FORMAT, FORMAT_VERSION

if TYPE_CHECKING:
    import xarray as xr


RUNNING, INTERRUPTED = "running", "interrupted"
ATTEMPTS, PAUSE = 40, 0.025  # a second in all
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
    found = attributes(path)
    if found["format_version"] != FORMAT_VERSION:
        version = found["format_version"]
        raise TraceError(f"{path}: format_version must be {FORMAT_VERSION}, got {version}")
    return _patiently(path, partial(_open_trace, path))


def _open_trace(path: Path, marked: bool) -> "Trace":
    unfinished = marked or attributes(path)["status"] == RUNNING
    return Trace(path, recovery.settle(path) if unfinished else "whole")


def attributes(path: Path) -> dict[str, Any]:
    """Return the root attributes of a trace, also while it is written.

    Raises
    ------
    TraceError
        The file cannot be read, or is no trace.
    """

    def read(marked: bool) -> dict[str, Any]:
        with _open(path, marked)[0] as file:
            return _plain(file.attrs)

    found = _patiently(path, read)
    if found.get("format") != FORMAT:
        raise TraceError(f"{path}: is no hlsim trace")
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


def _patiently(path: Path, read: Callable[[bool], Result]) -> Result:
    """Read a file, given whether it is marked as open for writing.

    Who mends a file keeps all others out for a moment: wait for that.
    """
    for _ in range(ATTEMPTS):
        try:
            marked = superblock.is_marked(path)
        except OSError as error:
            raise TraceError(f"{path}: cannot read: {error.strerror}") from None
        try:
            return read(marked)
        except OSError as error:
            if isinstance(error, TraceError):
                raise
            if not (marked or superblock.is_marked(path)):
                raise TraceError(f"{path}: is no hlsim trace") from None
        time.sleep(PAUSE)
    raise TraceError(f"{path}: is marked as open for writing only; if nobody does, h5clear -s clears it")


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers and text as Python has them."""
    found = {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def _open(source: Path | io.BytesIO, unfinished: bool) -> tuple[h5py.File, dict[str, Any]]:
    """Open a file for reading; return it, and the options with which HDF5 opens it again.

    Within one process, all who open a file must do it with HDF5's own locks, or all without: as its recorder.
    """
    options: dict[str, Any] = {"swmr": True} if unfinished else {}
    try:
        return h5py.File(source, "r", **options), options
    except OSError as error:
        if not unfinished or "locking flag" not in str(error):
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
        if isinstance(source, Path):
            self._attrs = _plain(self.h5.attrs)  # read at once: a writer that ends writes them anew
        # HDF5 may see some columns longer than others, as the writer is at work: all are cut to the shortest
        axes = [] if state == "whole" else recovery.growing_axes(self.h5)
        self._rows = {axis.name: recovery.whole_rows(axis) for axis in axes}

    @cached_property
    def h5(self) -> h5py.File:
        """The file."""
        file, self._options = _open(self._opened(), self._state != "whole")
        return file

    def _opened(self) -> Path | io.BytesIO:
        return self._source if isinstance(self._source, Path) else io.BytesIO(self._source())

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
        return json.loads(self.attrs["summary"])

    @cached_property
    def network(self) -> dict[str, np.ndarray]:
        """Return the arrays of /network by name; parameters of models as "parameters/tau"."""
        prefix = "network/"
        return {name.removeprefix(prefix): self[name] for name in self.names() if name.startswith(prefix)}

    def names(self) -> list[str]:
        """Return the paths of all datasets."""
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
        """Return part of a dataset, by a slice of its ``rows``; text as numpy's str."""
        return _values(self._dataset(name), rows)

    def _dataset(self, name: str) -> h5py.Dataset:
        if name not in self:
            raise TraceError(f"{self._label}: " + unknown("dataset", name, self.names()))
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
            self._tree = xr.open_datatree(self._opened(), engine="h5netcdf", driver_kwds=self._options)
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


def axis_of(dataset: h5py.Dataset) -> h5py.Dataset | None:
    """Return the dimension scale along which a dataset grows, itself if it is one; None: it does not grow."""
    if dataset.maxshape[:1] != (None,):
        return None
    return dataset if dataset.is_scale else dataset.dims[0][0]


def _values(dataset: h5py.Dataset, part: Any) -> np.ndarray:
    if h5py.check_string_dtype(dataset.dtype) is None:
        return dataset[part]
    return np.asarray(dataset.asstr()[part], dtype=str)


def ticks(trace: Trace) -> int:
    """Return how many ticks a run covered, as far as its trace tells."""
    if "ticks" in trace.summary:
        return int(trace.summary["ticks"])
    found = [trace.h5[name] for name in trace.names() if name.rpartition("/")[2].startswith("tick")]
    return max((int(column[-1]) + 1 for column in found if column.shape[0]), default=0)
