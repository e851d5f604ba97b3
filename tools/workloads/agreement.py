"""What has to hold before two sides of a benchmark are compared: that they compute the same numbers."""

import sys

import numpy as np
from numpy.typing import ArrayLike


def require_same(what: str, mine: ArrayLike, other: ArrayLike, within: float = 1e-3) -> None:
    """End the benchmark where two arrays differ by more than ``within`` of the largest number of ``other``.

    It ends as well where all numbers of one of them are the same: a network that nothing reaches agrees with
    any other that does nothing, and its times are those of another task.
    """
    ours, theirs = (np.asarray(values, dtype=np.float64) for values in (mine, other))
    for name, values in (("hlsim", ours), ("the other side", theirs)):
        if np.ptp(values) == 0.0:
            sys.exit(
                f"{what}: nothing to compare: all {values.size} numbers of {name} are {values.flat[0]:g}"
            )
    off, size = np.abs(ours - theirs).max(), np.abs(theirs).max()
    if not off <= within * size:
        sys.exit(f"{what}: not the same numbers: they differ by {off:.1e} and are {size:.1e} at most")
