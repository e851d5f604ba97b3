"""What has to hold before two sides of a benchmark are compared: that they compute the same numbers."""

import sys
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

# Weights move by little beside what they are, so that much of a move is round-off.
WITHIN = {"changes of the weights": 0.02}


def require_same(what: str, mine: ArrayLike, other: ArrayLike, within: float = 1e-3) -> None:
    """End the benchmark where two arrays differ by more than ``within`` of the largest number of ``other``.

    It ends as well where all numbers of one of them are the same: a network that nothing reaches agrees with
    any other that does nothing, and its times are those of another task.
    """
    ours, theirs = (np.asarray(values, dtype=np.float64) for values in (mine, other))
    for name, values in (("hlsim", ours), ("the other side", theirs)):
        require_moving(what, name, values)
    if ours.shape != theirs.shape:
        sys.exit(f"{what}: not the same numbers: their shapes are {ours.shape} and {theirs.shape}")
    off, size = np.abs(ours - theirs).max(), np.abs(theirs).max()
    if not off <= within * size:
        sys.exit(f"{what}: not the same numbers: they differ by {off:.1e} and are {size:.1e} at most")


def require_moving(what: str, whose: str, values: np.ndarray) -> None:
    """End the benchmark where all numbers of an array are the same."""
    if np.ptp(values) == 0.0:
        sys.exit(f"{what}: nothing to compare: all {values.size} numbers of {whose} are {values.flat[0]:g}")


def require_alike(
    mine: Mapping[str, ArrayLike], other: Mapping[str, ArrayLike], within: Mapping[str, float]
) -> None:
    """End the benchmark unless both sides have the same numbers under the same names."""
    if set(mine) != set(other):
        sys.exit(f"not the same numbers: {', '.join(mine)} of hlsim, {', '.join(other)} of the other side")
    for name, values in mine.items():
        require_same(name, values, other[name], within.get(name, WITHIN.get(name, 1e-3)))
