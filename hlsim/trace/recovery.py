"""Who writes a file, and what to do with one whose writer was killed.

A writer holds a shared lock of the operating system (``flock``) on its file for as long as it lives; the lock
goes with the process, however that ends. So a file that is marked as open for writing is being written if it
is locked, and was left behind if it is not.
"""

import errno
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from hlsim.errors import TraceError
from hlsim.trace import superblock

try:
    import fcntl
except ImportError:  # no flock on this system: whoever asks gets "live", which is always safe to read
    fcntl = None  # type: ignore[assignment]
State = Literal["whole", "live", "killed"]
UNWRITTEN = -1  # fill value of a tick: no tick is negative
NO_WRITING = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROOM = 1 << 22  # bytes that must be free for mending: more than the last chunks of a trace


class WriterLock:
    """The sign of life of a writer; ends with ``release`` or with the process."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        # where a file system has no locks, readers take the file for one that is being written
        with suppress(OSError):
            _lock(self._descriptor, exclusive=False)

    def release(self) -> None:
        """Give the lock back; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _lock(descriptor: int, *, exclusive: bool) -> None:
    if fcntl is None:
        raise OSError("no locks on this system")
    fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)


def try_to_hold(descriptor: int) -> bool:
    """Lock what is open until it is closed; tell whether that could be done, or there are no locks."""
    try:
        _lock(descriptor, exclusive=True)
    except OSError as error:
        return fcntl is None or error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def abandon(file: h5py.File) -> None:
    """Close a file that takes no more data, and leave it as its writer's death would: whole, but marked.

    HDF5 still holds changes. If it cannot write them when the file is closed, it brings the process down at
    its end; so what it writes from now on goes to memory, and with that nowhere.
    """
    with suppress(AttributeError, OSError):  # a system without memory files
        nowhere = os.memfd_create("hlsim")
        os.dup2(nowhere, file.id.get_vfd_handle())
        os.close(nowhere)
    with suppress(OSError, RuntimeError):
        file.close()


def is_written(path: Path) -> bool:
    """Tell whether a writer holds a file, as far as one can tell: yes, where there are no locks."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            _lock(descriptor, exclusive=True)
            return False
        if fcntl is None:
            return True
        with suppress(OSError):
            _lock(descriptor, exclusive=False)
            return True
        return False  # somebody who mends it: a writer would have let us share
    finally:
        os.close(descriptor)


def settle(path: Path) -> State:
    """Mend an unfinished trace unless it is still being written.

    Returns
    -------
    str
        "whole": open it as any file. "live": it is being written, or nobody can tell. "killed": its writer
        is gone, and the file may not be changed. The last two open in SWMR mode only.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock(descriptor, exclusive=True)
    except OSError:
        os.close(descriptor)
        return "live"
    try:
        mend(path)
    except OSError as error:
        if error.errno not in NO_WRITING:
            raise
        return "killed"
    finally:
        os.close(descriptor)
    return "whole"


def mend(path: Path) -> None:
    """Make a file whose writer was killed whole: clear its mark, cut its tables even, tell its end."""
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    _check_room(path)
    if superblock.is_marked(path):
        superblock.clear(path)
    # HDF5 would ask for the lock that is already ours, as if we were somebody else
    with h5py.File(path, "r", locking=False) as file:
        if get_text(file, "status") != "running":
            return  # its writer came to the end after all
    with h5py.File(path, "r+", locking=False) as file:
        for axis in growing_axes(file):
            cut_even(axis)
        set_text(file, "status", "interrupted")
        set_text(file, "end", modified.isoformat(timespec="seconds"))


def get_text(file: h5py.File, name: str) -> str:
    """Return a root attribute that is text of fixed length."""
    return bytes(file.attrs[name]).decode()


def set_text(file: h5py.File, name: str, text: str) -> None:
    """Write another value into a root attribute that is text of fixed length.

    Text of free length stands in a heap that other texts share. If a writer is killed while it changes that,
    all of them are lost; a value of fixed length is changed in its place.

    Raises
    ------
    TraceError
        The text is longer than the attribute.
    """
    dtype = file.attrs.get_id(name).dtype
    data = text.encode()
    if len(data) > dtype.itemsize:
        raise TraceError(f"{name}: must have at most {dtype.itemsize} bytes, got {len(data)}")
    file.attrs.modify(name, np.array(data, dtype=dtype))


def _check_room(path: Path) -> None:
    """Raise an OSError where the file cannot grow: HDF5 must not run out of room halfway."""
    descriptor = os.open(path, os.O_RDWR)
    size = os.fstat(descriptor).st_size
    try:
        if os.pwrite(descriptor, bytes(ROOM), size) < ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.ftruncate(descriptor, size)
        os.close(descriptor)


def growing_axes(file: h5py.File) -> list[h5py.Dataset]:
    """Return the dimension scales along which a file's tables grow, each of which is a group at the root."""
    groups = [item for item in file.values() if isinstance(item, h5py.Group)]
    datasets = [item for group in groups for item in group.values() if isinstance(item, h5py.Dataset)]
    return [item for item in datasets if item.is_scale and item.maxshape[:1] == (None,)]


def columns(axis: h5py.Dataset) -> list[h5py.Dataset]:
    """Return the datasets of the table that grows along an axis, the axis among them."""
    others = (item for item in axis.parent.values() if isinstance(item, h5py.Dataset) and len(item.dims) > 0)
    return [axis, *(item for item in others if axis in item.dims[0].values())]


def whole_rows(axis: h5py.Dataset) -> int:
    """Return how many rows of a table are in all its columns.

    A writer extends the axis last, so a row that the axis has is in every column. Its own last ticks may be
    missing, where its new length reached the disk before they did.
    """
    rows = min(column.shape[0] for column in columns(axis))
    if axis.dtype.kind != "i":
        return rows
    unwritten = np.flatnonzero(axis[:rows] == UNWRITTEN)
    return int(unwritten[0]) if unwritten.size else rows


def cut_even(axis: h5py.Dataset) -> None:
    """Cut the columns of a table to the rows that all of them hold."""
    rows = whole_rows(axis)
    for column in columns(axis):
        if column.shape[0] > rows:
            column.resize(rows, axis=0)
