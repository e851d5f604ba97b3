"""Checksums of what a trace holds: without them a bit that flips on a disk is another weight, unnoticed.

HDF5 has some of its own for all that describes the file. Numbers get the filter fletcher32, which HDF5 checks
when it reads a chunk. Text of free length stands in a heap outside of chunks, and so its CRC stands beside
it; so does that of a single number.
"""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

CRC = "crc32"  # attribute with the checksum of text, of a dataset; of the root, with the names it is of

_WORDS = 1 << 22  # of which sums of sums stay within 64 bits


def crc_of(texts: Iterable[str]) -> int:
    """Return the checksum of texts, one after the other."""
    return zlib.crc32("\0".join(texts).encode("utf-8", "surrogatepass"))


def crc_of_attributes(attributes: Mapping[str, Any], names: Iterable[str]) -> int:
    """Return the checksum of the attributes of these names."""
    return crc_of(f"{name}={attributes[name]}" for name in names)


def fletcher32(data: bytes) -> bytes:
    """Return the checksum that HDF5's filter puts behind a chunk.

    Sums of words of 16 bits, and of these sums, both modulo 65535 with the residue 0 written as 65535 unless
    all words are 0. HDF5 takes words as big-endian, an odd last byte as the upper half of one.
    """
    words = np.frombuffer(data.ljust(len(data) + len(data) % 2, b"\0"), ">u2")
    first = second = 0
    for start in range(0, words.size, _WORDS):
        part = words[start : start + _WORDS].astype(np.uint64)
        second += part.size * first + int(part @ np.arange(part.size, 0, -1, dtype=np.uint64))
        first += int(part.sum())
    if not first:
        return bytes(4)
    first, second = _residue(first), _residue(second)
    return ((second << 16) | first).to_bytes(4, "little")


def _residue(total: int) -> int:
    return total % 65535 or 65535
