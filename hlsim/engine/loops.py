"""How loops are compiled: those that Python calls, which are kept on disk, and those inside them."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_Loop = TypeVar("_Loop", bound=Callable[..., Any])
# Dividing by 0 gives infinity or NaN, as in torch.
_PLAIN: dict[str, Any] = {"error_model": "numpy", "nogil": True}
_BOTH: dict[str, Any] = {
    "error_model": "numpy",
    # Loops make no arrays and are given all of them. Counting references to them would take most of the time
    # (3.5 ms a tick instead of .5), for every look at one of many arrays in a tuple is a reference.
    "_nrt": False,
}
_CALLED: dict[str, Any] = {**_BOTH, "nogil": True}
# What Python would need to call a loop takes long to compile where many arrays are passed.
_INSIDE: dict[str, Any] = {
    **_BOTH,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
_TIGHT: dict[str, Any] = {**_INSIDE, "forceinline": True}


def plain(loop: _Loop) -> _Loop:
    """Compile a loop that Python or another loop calls, and which may make arrays."""
    return _kept(loop, _PLAIN)


def entry(loop: _Loop) -> _Loop:
    """Compile a loop that Python calls and that makes no arrays."""
    return _kept(loop, _CALLED)


def _kept(loop: _Loop, options: dict[str, Any]) -> _Loop:
    try:
        return cast(_Loop, njit(**options, cache=True)(loop))
    except RuntimeError:  # there is no folder in which numba may write
        return cast(_Loop, njit(**options)(loop))


def inner(loop: _Loop) -> _Loop:
    """Compile a loop that is called by others alone."""
    return cast(_Loop, njit(**_INSIDE)(loop))


def tight(loop: _Loop) -> _Loop:
    """Compile what stands in the innermost of loops: it becomes part of whatever calls it."""
    return cast(_Loop, njit(**_TIGHT)(loop))


def summing(loop: _Loop) -> _Loop:
    """Compile a sum whose terms may be taken in any order, so that vectors can be used: as tight."""
    return cast(_Loop, njit(**_TIGHT, fastmath={"reassoc"})(loop))


def once(loop: _Loop) -> _Loop:
    """Compile what one loop alone calls, as a part of its text: it is then not compiled twice."""
    return cast(_Loop, njit(**_INSIDE, inline="always")(loop))
