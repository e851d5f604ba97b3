"""Elementary functions in compiled loops: the same numbers as in Python, and their derivatives."""

import cmath
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from hlsim.engine.elementary import made, power
from hlsim.engine.formulas import STEP

reals = st.floats(-8, 8).filter(lambda x: abs(x) > 1e-2)
WHOLE = range(-3, 6)


def compiled(exponent: object) -> Callable:
    """Return the power as formulas write it, with the exponent as a number in the text."""
    return njit(made(f"def made(x):\n    return power(x, {exponent})\n", power=power))  # type: ignore[no-any-return]


POWERS = {n: compiled(n) for n in (*WHOLE, 2.0, -1.0, 0.5, 1.7)}


@njit  # type: ignore[untyped-decorator]
def at_run_time(x: Any, n: Any) -> Any:
    return power(x, n)


@pytest.mark.parametrize("n", POWERS)
@settings(max_examples=25)
@given(reals, reals)
def test_a_power_is_pythons(n: float, x: float, y: float) -> None:
    if n != int(n):
        x = abs(x)
    for base in (x, complex(x, y), complex(x, 0.0)):
        assert POWERS[n](base) == pytest.approx(base**n, rel=1e-12, abs=1e-300)
        assert at_run_time(base, n) == pytest.approx(base**n, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("n", POWERS)
@settings(max_examples=25)
@given(reals)
def test_a_step_into_the_complex_plane_gives_the_derivative_of_a_power(n: float, x: float) -> None:
    """On either side of 0: beside a negative number the step is lost by any logarithm."""
    if n != int(n):
        x = abs(x)
    for found in (POWERS[n](complex(x, STEP)), at_run_time(complex(x, STEP), n)):
        assert cmath.isfinite(found)
        assert found.imag / STEP == pytest.approx(n * x ** (n - 1), rel=1e-12, abs=1e-300)
