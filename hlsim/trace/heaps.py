"""Global heaps of an HDF5 file, which hold text of free length: damaged in one way, HDF5 reads them for ever.

A heap is a row of objects, of which object 0 is the room that is free, with its whole size; HDF5 goes on by
that size, and does not go on where it is 0.

Source: HDF5 File Format Specification 3.0, III.E "Disk Format: Level 1E - Global Heap".
"""

import mmap
import struct
from pathlib import Path

from hlsim.errors import DamageError

SIGNATURE = b"GCOL\x01\0\0\0"
HEADER = 16  # bytes: the signature, and the size of the heap with all; then of every object as many
MOST = 1 << 28  # bytes at the beginning of a file that are searched: a trace has its text before its numbers


def check(path: Path) -> None:
    """Refuse a file with a heap that HDF5 would not come to the end of: DamageError."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.find(SIGNATURE, 0, MOST)
            while at >= 0:
                if not _ends(data, at):
                    raise DamageError(
                        f"{path}: cannot be read, it is damaged: a heap at byte {at} has no end"
                    )
                at = data.find(SIGNATURE, at + HEADER, MOST)


def _ends(data: mmap.mmap, start: int) -> bool:
    """Tell whether one comes to the end of a heap, object by object."""
    at, end = start + HEADER, min(start + _whole(data, start + 8), len(data))
    while at + HEADER <= end:
        size = _whole(data, at + 8)
        free = data[at : at + 2] == b"\0\0"
        if free and not size:
            return False
        at += size if free else HEADER + -(-size // 8) * 8
    return True


def _whole(data: mmap.mmap, at: int) -> int:
    return int(struct.unpack("<Q", data[at : at + 8].ljust(8, b"\0"))[0])
