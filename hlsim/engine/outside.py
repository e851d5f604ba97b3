"""What compiled loops ask Python for within a tick: what cannot be compiled, and what takes threads."""

import ctypes
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_Function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)


class Outside:
    """A function of Python's (what, tick) that compiled loops call by its ``address``.

    A loop cannot raise: what went wrong stands in ``error`` until ``check``, and ``failed`` is called.
    """

    def __init__(self, function: Callable[[int, int], None], failed: Callable[[], None]) -> None:
        self._function, self._failed = function, failed
        self._error: BaseException | None = None
        self._kept = _Function(self._call)
        self.address = ctypes.cast(self._kept, ctypes.c_void_p).value

    def _call(self, what: int, tick: int) -> None:
        try:
            self._function(what, tick)
        except BaseException as error:  # noqa: BLE001 - it is raised as soon as the loop has ended
            self._error = self._error or error
            self._failed()

    def check(self) -> None:
        """Raise what went wrong."""
        error, self._error = self._error, None
        if error is not None:
            raise error


@intrinsic  # type: ignore[misc]
def ask(_: Any, address: Any, what: Any, tick: Any) -> Any:  # noqa: ARG001 (numba counts)
    """Call the function at an address, which takes back Python's lock as long as it runs."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        word = ir.IntType(64)
        function = builder.inttoptr(values[0], ir.FunctionType(ir.VoidType(), [word, word]).as_pointer())
        builder.call(function, [values[1], values[2]])
        return ir.Constant(word, 0)

    return types.int64(types.int64, types.int64, types.int64), generate
