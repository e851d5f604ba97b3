"""phi_1 and phi_2, against their series with many digits."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
import torch

from hlsim.models import ops
from tests.support.holds import DIGITS

POINTS = [
    *(0.0, 1e-300, 1e-20, 1e-16, 1e-12, 1e-9, 1e-8, 3e-6, 1e-4, 0.01, 0.1, 0.3, 0.4999, 0.5, 0.5001),
    *(0.75, 1.0, 3.0, 10.0, 40.0, 300.0, 700.0),
]


def series(x: float, order: int) -> Decimal:
    """Return sum_k x^k / (k + order)!, which is phi_order, with many digits."""
    with localcontext() as context:
        # For negative x the terms cancel: as many digits more as the largest of them has.
        context.prec = DIGITS + int(abs(x))
        term, total, k = Decimal(1) / math.factorial(order), Decimal(0), 0
        while abs(term) > abs(total) * Decimal(10) ** -(DIGITS + int(abs(x))):
            total += term
            k += 1
            term *= Decimal(x) / (k + order)
        return total


@pytest.mark.parametrize(("order", "function"), [(1, ops.phi1), (2, ops.phi2)])
@pytest.mark.parametrize("sign", [1, -1])
def test_phi_functions_are_their_series(order: int, function: Callable[[Any], Any], sign: int) -> None:
    """Of numbers, and of tensors."""
    points = [sign * x for x in POINTS]
    expected = np.array([float(series(x, order)) for x in points])
    np.testing.assert_allclose([function(x) for x in points], expected, rtol=1e-15)
    np.testing.assert_allclose(function(torch.tensor(points, dtype=torch.float64)), expected, rtol=1e-15)
