"""Files that are whole at every moment: written aside, brought to the disk, and then given their names."""

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hlsim.errors import TraceError
from hlsim.trace import recovery, superblock

# What file systems say that have no second names for a file.
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK)
PATIENCE, PAUSE = 1.0, 0.01  # seconds for which one waits for who gives a name in the same folder


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Give a path in the same folder for what is to be at ``path``; clear up, also after those that are gone.

    A process that is killed leaves such a file behind. The next one that writes to the same place takes it
    away, once nobody holds it.
    """
    clear_up(path)
    mine = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield mine
    finally:
        with suppress(OSError):
            mine.unlink(missing_ok=True)


def clear_up(path: Path) -> None:
    """Take away what processes that were killed have left beside a path."""
    begin = f".{path.name}."
    with suppress(OSError):
        for left in path.parent.iterdir():
            number = left.name.removeprefix(begin)
            mine = left.name.startswith(begin) and number.isascii() and number.isdigit()
            if mine and not _is_alive(int(number)) and not recovery.is_written(left):
                left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def place(mine: Path, path: Path, overwrite: bool) -> None:
    """Give a file its name, for good: where there is one of that name, only to overwrite it.

    Raises
    ------
    OSError
        FileExistsError where somebody else was faster.
    TraceError
        The one that is there is being written.
    """
    with _alone(path.parent):
        if overwrite and path.exists():
            if superblock.is_marked(path) and recovery.is_written(path):
                raise TraceError(f"{path}: cannot write: another run is writing it")
            mine.replace(path)
        else:
            _give_name(mine, path)
    sync_folder(path)


def _give_name(mine: Path, path: Path) -> None:
    try:
        os.link(mine, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        mine.rename(path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one who gives names in a folder, where there are locks: who else does waits a moment."""
    ends = time.monotonic() + PATIENCE
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        while not recovery.try_to_hold(descriptor) and time.monotonic() < ends:
            time.sleep(PAUSE)
        yield
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes | bytearray | memoryview) -> None:
    """Write a file whole: whatever happens meanwhile, there is the one before, or this one."""
    with aside(path) as mine:
        with mine.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mine.replace(path)
    sync_folder(path)


def sync_folder(path: Path) -> None:
    """Bring the name of a file to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def reason(error: Exception) -> str:
    """Return in one line why HDF5 could not write; its own messages have many."""
    inner = re.search("error message = '([^']*)'", str(error))
    if inner:
        return inner[1]
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0]
