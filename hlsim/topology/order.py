"""Stable orders of whole numbers by counting: those of numpy, several times faster where there are many."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
# Numpy counts numbers of so many bits, and compares longer ones.
_BITS = 16


def order(*keys: NDArray) -> Ints:
    """Return what puts rows (k,) of whole numbers in order, by the last key first, as ``numpy.lexsort`` does.

    Digit by digit, the last one first, each of them stably.
    """
    found = None
    for key in keys:
        if found is None and bool((key[1:] >= key[:-1]).all()):
            continue
        least = int(key.min())
        for shift in range(0, (int(key.max()) - least).bit_length(), _BITS):
            digit = ((key - least) >> shift).astype(np.uint16)
            if found is None:
                found = np.argsort(digit, kind="stable")
            else:
                found = found[np.argsort(digit[found], kind="stable")]
    return np.arange(len(keys[0])) if found is None else found
