"""How loops are compiled: those that Python calls, which are kept on disk, and those inside them."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

_Loop = TypeVar("_Loop", bound=Callable[..., Any])


def entry(loop: _Loop) -> _Loop:
    """Compile a loop that Python calls."""
    compiled: _Loop = njit(cache=True, nogil=True)(loop)
    return compiled


def inner(loop: _Loop) -> _Loop:
    """Compile a loop for others alone: what Python would need takes long to compile for many arrays."""
    compiled: _Loop = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(loop)
    return compiled
