r"""Pure functions that take floats, complex numbers or tensors alike.

A formula of a neuron model or rule is written once with these and then serves both engines: plain Python
numbers in the reference engine, torch tensors in the batched one.
"""

import cmath
import math
from collections.abc import Callable
from typing import Any

import torch

# A number or a tensor of numbers: what a formula takes and gives.
Value = Any
# Below this the closed form of phi_2 loses digits to cancellation and its series is used.
_SERIES_RADIUS = 0.5
_SERIES_TERMS = 14


def _elementary(
    of_tensor: Callable[[torch.Tensor], torch.Tensor],
    of_float: Callable[[float], float],
    of_complex: Callable[[complex], complex],
) -> Callable[[Value], Value]:
    def apply(x: Value) -> Value:
        if isinstance(x, torch.Tensor):
            return of_tensor(x)
        return of_complex(x) if isinstance(x, complex) else of_float(x)

    return apply


def _exp(x: float) -> float:
    # math.exp raises where IEEE arithmetic (and torch) gives infinity.
    return math.exp(x) if x < 709.0 else math.inf


exp = _elementary(torch.exp, _exp, cmath.exp)
tanh = _elementary(torch.tanh, math.tanh, cmath.tanh)
log = _elementary(torch.log, math.log, cmath.log)
expm1 = _elementary(torch.expm1, math.expm1, lambda x: cmath.exp(x) - 1.0)
sigmoid = _elementary(
    torch.sigmoid,
    lambda x: 1.0 / (1.0 + _exp(-x)) if x >= 0 else _exp(x) / (1.0 + _exp(x)),
    lambda x: 1.0 / (1.0 + cmath.exp(-x)),
)
softplus = _elementary(
    lambda x: torch.log(1.0 + torch.exp(x)) if x.is_complex() else torch.logaddexp(x, torch.zeros_like(x)),
    lambda x: max(x, 0.0) + math.log1p(_exp(-abs(x))),
    lambda x: cmath.log(1.0 + cmath.exp(x)),
)
relu = _elementary(
    torch.relu, lambda x: x if x > 0 or math.isnan(x) else 0.0, lambda x: x if x.real > 0 else 0j
)


def real(x: Value) -> Value:
    """Return the real part, of a real number itself."""
    return x.real


def imaginary(x: Value) -> Value:
    """Return the imaginary part, 0 of a real number."""
    if isinstance(x, torch.Tensor):
        return x.imag if x.is_complex() else torch.zeros_like(x)
    return x.imag


def where(condition: Value, x: Value, y: Value) -> Value:
    """Return x where a condition holds, else y."""
    if isinstance(condition, torch.Tensor):
        return torch.where(condition, x, y)
    return x if condition else y


def step(x: Value) -> Value:
    """Return 1 where x > 0, else 0: the slope of relu (0 at the kink, as torch has it)."""
    if isinstance(x, torch.Tensor):
        return (x > 0).to(x.dtype)
    return 1.0 if x > 0 else 0.0


def phi1(x: Value) -> Value:
    """Return (exp(x) - 1) / x, with its limit 1 at x = 0."""
    if isinstance(x, torch.Tensor):
        safe = torch.where(x == 0, torch.ones_like(x), x)
        return torch.where(x == 0, torch.ones_like(x), torch.expm1(safe) / safe)
    return 1.0 if x == 0 else math.expm1(x) / x


def phi2(x: Value) -> Value:
    """Return (exp(x) - 1 - x) / x**2, with its limit 1/2 at x = 0."""
    if isinstance(x, torch.Tensor):
        small = x.abs() < _SERIES_RADIUS
        safe = torch.where(small, torch.ones_like(x), x)
        return torch.where(small, _phi2_series(x), (phi1(safe) - 1.0) / safe)
    return _phi2_series(x) if abs(x) < _SERIES_RADIUS else (phi1(x) - 1.0) / x


def _phi2_series(x: Value) -> Value:
    total = 0.0 * x + 1.0 / math.factorial(_SERIES_TERMS + 2)
    for k in range(_SERIES_TERMS - 1, -1, -1):
        total = total * x + 1.0 / math.factorial(k + 2)
    return total
