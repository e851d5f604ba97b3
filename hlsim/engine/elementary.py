"""Elementary functions of ``hlsim.models.ops``, as compiled loops call them."""

import cmath
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

from numba import types
from numba.extending import overload, register_jitable

from hlsim.engine.loops import LINKED
from hlsim.models import ops


def made(text: str, **names: Any) -> Callable:
    """Return the function ``made`` of a text, in which names may stand for things."""
    space: dict[str, Any] = dict(names)
    exec(text, space)
    return space["made"]  # type: ignore[no-any-return]


def _is_complex(x: Any) -> bool:
    return isinstance(x, types.Complex)


def _elementary(function: Callable, of_real: Callable, of_complex: Callable | None = None) -> None:
    @overload(function, LINKED, strict=False)
    def overloaded(x: Any) -> Callable:
        return of_complex if of_complex is not None and _is_complex(x) else of_real


def _call(module: ModuleType, name: str) -> Callable:
    # Numba compiles functions of Python, not built-in ones.
    return made(f"def made(x):\n    return module.{name}(x)\n", module=module)


for _name in ("exp", "tanh", "log"):
    _elementary(getattr(ops, _name), _call(math, _name), _call(cmath, _name))
_elementary(ops.expm1, _call(math, "expm1"), lambda x: cmath.exp(x) - 1.0)
_elementary(
    ops.sigmoid,
    lambda x: 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x)),
    lambda x: 1.0 / (1.0 + cmath.exp(-x)),
)
_elementary(
    ops.softplus,
    lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    lambda x: cmath.log(1.0 + cmath.exp(x)),
)
_elementary(
    ops.relu,
    lambda x: x if x > 0 or math.isnan(x) else x * 0.0,
    lambda x: x if x.real > 0 else x * 0.0,
)
_elementary(ops.step, lambda x: 1.0 if x > 0 else 0.0, lambda x: 1.0 if x.real > 0 else 0.0)


@overload(ops.where, LINKED, strict=False)
def _where(condition: Any, x: Any, y: Any) -> Callable:  # noqa: ARG001 (numba counts)
    return lambda condition, x, y: x if condition else y


_elementary(ops.real, lambda x: x, lambda x: x.real)
_elementary(ops.imaginary, lambda x: x * 0.0, lambda x: x.imag)
_elementary(ops.phi1, lambda x: 1.0 if x == 0 else math.expm1(x) / x)


def _phi2(x: float) -> float:
    if abs(x) >= ops._SERIES_RADIUS:
        return ((math.expm1(x) / x) - 1.0) / x
    total = 0.0 * x + _TERMS[0]
    for term in _TERMS[1:]:
        total = total * x + term
    return total


_TERMS = tuple(1.0 / math.factorial(k + 2) for k in range(ops._SERIES_TERMS, -1, -1))
_elementary(ops.phi2, _phi2)


def power(x: Any, n: Any) -> Any:
    """Return x ** n: of a complex x by products where n is whole.

    The power of numba goes by the logarithm of x, on which a small imaginary part beside a negative number
    leaves no trace, and a derivative is found by just that.
    """
    return x**n


@overload(power, LINKED, strict=False, prefer_literal=True)
def _power(x: Any, n: Any) -> Callable:
    literal = n.literal_value if isinstance(n, types.IntegerLiteral) else None
    if not _is_complex(x):
        return made(f"def made(x, n):\n    return x ** {'n' if literal is None else f'({literal})'}\n")
    if isinstance(n, types.Integer):
        return _whole_power  # type: ignore[no-any-return]
    if isinstance(n, types.Float):
        return lambda x, n: _whole_power(x, int(n)) if n == int(n) else x**n
    return lambda x, n: x**n


@register_jitable  # type: ignore[untyped-decorator]
def _whole_power(x: Any, n: int) -> Any:
    result, factor, left = 1.0 + 0.0 * x, x, abs(n)
    while left > 0:
        if left % 2:
            result = result * factor
        factor, left = factor * factor, left // 2
    return 1.0 / result if n < 0 else result
