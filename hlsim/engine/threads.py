"""Threads of torch, and matrix products whose bits do not depend on their number.

On a CPU some shapes of matrices have their sums shared out among threads, so there is one thread here.

Threads do not survive a fork, and whoever waits for one of them then waits for ever. So a process that was
forked computes on the thread that it has, however many it is told to take: results do not depend on it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

_may_start = True


def _stay_alone() -> None:
    """Start no threads any more."""
    global _may_start  # noqa: PLW0603 - a process is forked as a whole
    _may_start = False
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stay_alone)


@contextmanager
def one_thread(x: Tensor) -> Iterator[None]:
    """Torch computes on one thread, where ``x`` is on a CPU."""
    if torch.get_num_threads() == 1 or x.is_cuda:
        yield
        return
    with threads(1):
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch runs on so many threads, and afterwards on as many as before; in a forked process on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(count if _may_start else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def without_subnormals() -> Iterator[None]:
    """This thread takes numbers too small for the full precision of their format for 0, as long as it lasts.

    What fades away exponentially ends thereabouts, and a processor computes with such numbers some hundred
    times as slowly. Of float32 they are those below 1.2e-38, of float64 those below 2.2e-308.
    """
    if not _subnormal():
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _subnormal() -> bool:
    """Tell whether this thread knows subnormal numbers."""
    return bool(_TINY * _ONE != 0)


_TINY, _ONE = np.float32(1e-39), np.float32(1.0)


def product(x: Tensor, y: Tensor) -> Tensor:
    """Return x @ y; one may be complex, the other real."""
    if x.is_complex() != y.is_complex():
        imaginary = product(x.imag, y) if x.is_complex() else product(x, y.imag)
        return torch.complex(product(x.real, y.real), imaginary)
    with one_thread(x):
        return x @ y


def add_product(into: Tensor, x: Tensor, y: Tensor) -> None:
    """Add x @ y to ``into``, a view with steps of 1 along its last axis, without a temporary."""
    if x.is_complex() or y.is_complex():
        into += product(x, y)
        return
    with one_thread(x):
        into.addmm_(x, y)
