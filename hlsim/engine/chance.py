"""What chance decides while a network runs: numbers that are hashes of what they are about.

A number depends on a key, which stands for a seed and an element's name, and on a count, such as the tick. So
it depends neither on who else draws, nor on the engine, nor on the order in which anybody asks.
"""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

# Of splitmix64 (Steele, Lea & Flood, OOPSLA 2014), as signed numbers: torch has no others of 64 bits.
GOLDEN, _FIRST, _SECOND = (c - 2**64 for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def keys(names: Iterable[tuple[str, ...]]) -> Tensor:
    """Return 64 bits (k,) for every name, a tuple of words."""
    digests = (hashlib.blake2b(repr(words).encode(), digest_size=8).digest() for words in names)
    return torch.tensor([int.from_bytes(each, "little", signed=True) for each in digests], dtype=torch.int64)


def joined(key: Tensor, part: Tensor) -> Tensor:
    """Return the keys (k,) of a key and a part of a name together; their order counts."""
    return mixed(key * GOLDEN + part)


def mixed(x: Tensor) -> Tensor:
    """Return 64 bits each of which depends on all of x (int64): the finaliser of splitmix64, a bijection."""
    x = (x ^ shifted(x, 30)) * _FIRST
    x = (x ^ shifted(x, 27)) * _SECOND
    return x ^ shifted(x, 31)


def shifted(x: Tensor, bits: int) -> Tensor:
    """Shift to the right, with zeros coming in: torch's own shift keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def uniform(key: Tensor, count: int) -> Tensor:
    """Return a number in [0, 1) for every key (k,) at a count >= 0, as float64 with 53 random bits."""
    bits = mixed(key ^ mixed(torch.tensor(count + 1) * GOLDEN))
    return shifted(bits, 11).to(torch.float64) * 2.0**-53


def normal(key: Tensor, count: int) -> Tensor:
    """Return a standard normal number for every key (k,) at a count >= 0, by inversion, as float64."""
    return torch.special.ndtri(uniform(key, count) + 2.0**-54)
