"""The first bytes of an HDF5 file: is it open for writing, and how to mend a file whose writer was killed.

An HDF5 file says in its superblock that it is open for writing, and HDF5 refuses to open it again until that
mark is cleared. A writer that is killed never clears it. A trace is written in SWMR mode (single writer,
multiple readers), in which the file is whole at every moment; so clearing the mark is all it needs, together
with the end of the file, which the killed writer may not have brought up to date, and the checksum over both.

Source: HDF5 File Format Specification 3.0, II.A "Disk Format: Level 0A"; checksum: lookup3 by Bob Jenkins.
"""

import io
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

SIGNATURE = b"\x89HDF\r\n\x1a\n"
VERSION = 3  # the superblock that knows SWMR; the only one that a trace has
SIZE = 48  # bytes, with 8-byte offsets: 44 of content, 4 of checksum
FLAGS = 11  # offset of the file consistency flags: 1 open for writing, 4 SWMR
SWMR = 4
END = 28  # offset of the end-of-file address
MASK = 0xFFFFFFFF


def read(file: BinaryIO) -> bytes | None:
    """Return the superblock, or None where the file has none of the kind that a trace has."""
    file.seek(0)
    block = file.read(SIZE)
    ours = len(block) == SIZE and block[:10] == SIGNATURE + bytes([VERSION, 8])
    return block if ours else None


def is_marked(path: Path) -> bool:
    """Tell whether a file is marked as open for writing: it is being written, or its writer was killed."""
    with path.open("rb") as file:
        block = read(file)
    return block is not None and block[FLAGS] != 0 and block[-4:] == _sum(block[:-4])


def is_swmr(path: Path) -> bool:
    """Tell whether a marked file is, or was, written in SWMR mode, in which it is whole at every moment."""
    with path.open("rb") as file:
        block = read(file)
    return block is not None and bool(block[FLAGS] & SWMR)


def clear(path: Path) -> None:
    """Clear the mark of a file that nobody writes any more, and let its end be where the file ends.

    The stored end is often the one from the start of SWMR mode: HDF5 would put new data over old from there.
    """
    with path.open("r+b") as file:
        block = read(file)
        if block is None:
            return
        file.seek(0)
        file.write(cleared(block, os.fstat(file.fileno()).st_size))


def cleared(block: bytes, end: int) -> bytes:
    """Return a superblock without its mark, for a file that ends at ``end``, with the checksum to match."""
    fresh = bytearray(block[:-4])
    fresh[FLAGS] = 0
    struct.pack_into("<Q", fresh, END, end)
    return bytes(fresh) + _sum(bytes(fresh))


def _sum(data: bytes) -> bytes:
    return struct.pack("<I", checksum(data))


class Cleared(io.RawIOBase):
    """A file for reading, as if its mark were cleared.

    HDF5 takes it for a file like any other. In SWMR mode it waits for a writer to repair what is damaged,
    with pauses of which each is twice as long as the one before: for ever, where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor, self._at = os.open(path, os.O_RDONLY), 0
        self._size = os.fstat(self._descriptor).st_size
        with path.open("rb") as file:
            block = read(file)
        self._head = b"" if block is None else cleared(block, self._size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        os.lseek(self._descriptor, self._at, os.SEEK_SET)
        count = os.readv(self._descriptor, [view])
        head = self._head[self._at : self._at + count]
        view[: len(head)] = head
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def checksum(data: bytes) -> int:
    """Return Jenkins' lookup3 hash (``hashlittle``, initial value 0), which HDF5 uses for its metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & MASK
    if not data:
        return c
    last = (len(data) - 1) // 12 * 12  # the last block, of 1 to 12 bytes, is mixed in another way
    for start in range(0, last, 12):
        x, y, z = struct.unpack_from("<3I", data, start)
        a, b, c = _mix((a + x) & MASK, (b + y) & MASK, (c + z) & MASK)
    x, y, z = struct.unpack("<3I", data[last:].ljust(12, b"\0"))
    return _final((a + x) & MASK, (b + y) & MASK, (c + z) & MASK)


def _rotate(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (32 - bits))) & MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & MASK) ^ _rotate(c, bits)
        c = (c + b) & MASK
        a, b, c = b, c, a  # the six steps are one step with the letters moved on
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, bits)) & MASK
        a, b, c = b, c, a
    # seven steps move the letters on by one: what the last step made stands in b
    return b
