"""Checkpoints: the state of a run as plain arrays in one HDF5 file, from which it goes on.

The file begins with a line of its own, before HDF5's part: a checksum of all the rest, so that what is
damaged is told before anybody reads it. Nothing in it is code; there is no pickle.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hlsim.errors import DamageError, TraceError, shown
from hlsim.trace import files

FORMAT, FORMAT_VERSION = "hlsim-checkpoint", 1
# Bytes before HDF5's part (a "user block"), and what stands there.
HEAD = 512
_LINE = re.compile(rb"hlsim checkpoint (\d+) blake2b ([0-9a-f]{64})\n\0*")
Array = NDArray[Any]


@dataclass(frozen=True)
class Checkpoint:
    """What stands in a file: texts and numbers by name, and arrays by name."""

    path: Path
    about: Mapping[str, Any]
    arrays: Mapping[str, Array]

    def within(self, name: str) -> dict[str, Array]:
        """Return the arrays whose names begin with ``name/``, by the rest of theirs."""
        begin = f"{name}/"
        return {key.removeprefix(begin): x for key, x in self.arrays.items() if key.startswith(begin)}


def beside(trace: Path) -> Path:
    """Return where the checkpoint of a trace is: of ``name.h5`` in ``name.checkpoint.h5``."""
    return trace.with_name(f"{trace.stem}.checkpoint{trace.suffix or '.h5'}")


def write(path: Path, about: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a checkpoint; until it is whole and on the disk, the one before stays.

    Raises
    ------
    TraceError
        It cannot be written, or there is something else at its place.
    """
    check_free(path, overwrite=True)
    try:
        files.write(path, image(about, arrays))
    except OSError as error:
        raise TraceError(f"{path}: cannot write: {error.strerror or error}") from None


def image(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> memoryview:
    """Return the bytes of a checkpoint. HDF5 writes to memory: it does not bear a disk that is full."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=HEAD) as file:
        for name, value in {"format": FORMAT, "format_version": FORMAT_VERSION, **about}.items():
            file.attrs[name] = value
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    data = buffer.getbuffer()
    data[:HEAD] = _line(data).ljust(HEAD, b"\0")
    return data


def _line(data: memoryview) -> bytes:
    digest = blake2b(data[HEAD:], digest_size=32).hexdigest()
    return f"hlsim checkpoint {FORMAT_VERSION} blake2b {digest}\n".encode()


def read(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    TraceError
        There is none, or it is one of another format version.
    DamageError
        It is not as it was written.
    """
    data = memoryview(_bytes(path))
    given = _LINE.fullmatch(data[:HEAD])
    if given is None:
        raise TraceError(f"{path}: is no hlsim checkpoint")
    if int(given[1]) != FORMAT_VERSION:
        raise TraceError(f"{path}: format_version must be {FORMAT_VERSION}, got {int(given[1])}")
    if data[:HEAD] != _line(data).ljust(HEAD, b"\0"):
        raise DamageError(f"{path}: is damaged, its checksum is not that of what it holds")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            about = {name: _plain(value) for name, value in file.attrs.items()}
            return Checkpoint(path, about, _arrays(file))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise DamageError(f"{path}: is damaged: {shown(str(error))}") from None


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise TraceError(f"{path}: there is no such checkpoint")
        return path.read_bytes()
    except TraceError:
        raise
    except OSError as error:
        raise TraceError(f"{path}: cannot read: {error.strerror}") from None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _arrays(file: h5py.File) -> dict[str, Array]:
    found: dict[str, Array] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item[()])

    file.visititems(visit)
    return found


def check_free(path: Path, overwrite: bool = False) -> None:
    """Refuse to write where there is no folder, over what is no checkpoint, and over one unless that is said.

    Raises
    ------
    TraceError
        Why, in one line.
    """
    if not path.parent.is_dir():
        raise TraceError(f"{path}: cannot write: there is no folder {path.parent}")
    if not (path.exists() or path.is_symlink()):
        return
    if not is_one(path):
        raise TraceError(f"{path}: cannot write: it exists and is no hlsim checkpoint")
    if not overwrite:
        raise TraceError(f"{path}: cannot write: there is a checkpoint of another run; move it, or overwrite")


def is_one(path: Path) -> bool:
    """Tell whether there is a checkpoint at a path, by its first line."""
    try:
        with path.open("rb") as file:
            return path.is_file() and _LINE.fullmatch(file.read(HEAD)) is not None
    except OSError:
        return False
