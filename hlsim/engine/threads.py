"""Threads of torch, and matrix products whose bits do not depend on their number.

On a CPU some shapes of matrices have their sums shared out among threads, so there is one thread here.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


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
    """Torch runs on so many threads, and afterwards on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
