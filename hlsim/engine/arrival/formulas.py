"""Formulas of neurons on arrival, compiled: those of ``neurons``, ``hamiltonian`` and ``wakeups``.

Every number is of one format, float32 or float64, and stays so: a literal is made one of it (``type(x)(1)``)
where numba would go on in float64. A value that settles then stands still in the format in which it is
stored, as it does in torch, and a threshold of 0 falls silent with it.
"""

import math
from typing import Any

from hlsim.engine.loops import inner

# The series of phi_2, highest power first, and where it is used.
_SERIES = tuple(1.0 / math.factorial(k + 2) for k in range(14, -1, -1))
_SERIES_RADIUS = 0.5


@inner
def rest(activation: int, a: Any) -> Any:
    """Return sigma(a); activations by number."""
    one = type(a)(1)
    if activation == 0:
        return math.tanh(a)
    if activation == 1:
        return one / (one + math.exp(-a))
    if activation == 2:
        return one / (one + math.exp(type(a)(2) - type(a)(4) * a))
    if activation == 3:
        return a if a > 0 or math.isnan(a) else type(a)(0)
    if activation == 4:
        return max(a, type(a)(0)) + math.log1p(math.exp(-abs(a)))
    return a


@inner
def slope(activation: int, a: Any, y: Any) -> Any:
    """Return sigma'(a), given y = sigma(a)."""
    one = type(a)(1)
    if activation == 0:
        return one - y * y
    if activation == 1:
        return y * (one - y)
    if activation == 2:
        return type(a)(4) * y * (one - y)
    if activation == 3:
        return one if a > 0 else type(a)(0)
    if activation == 4:
        return one / (one + math.exp(-a))
    return one


@inner
def phi1(x: Any) -> Any:
    """Return (exp(x) - 1) / x."""
    return type(x)(1) if x == 0 else math.expm1(x) / x


@inner
def phi2(x: Any) -> Any:
    """Return (exp(x) - 1 - x) / x**2."""
    if abs(x) >= _SERIES_RADIUS:
        return (phi1(x) - type(x)(1)) / x
    total = type(x)(0)
    for term in _SERIES:
        total = total * x + type(x)(term)
    return total


@inner
def integrals(eta: Any, duration: Any) -> Any:
    """Return p1 and p2, the integrals of what q drives while q stands still at 1."""
    x = -eta * duration
    return duration * phi1(x), duration * duration * phi2(x)


@inner
def second_integral(z: Any, g: Any, rate: Any, eta: Any, duration: Any) -> Any:
    """Return I2 of z, as ``costate_hold`` does."""
    lam = rate + eta
    goal = g / lam
    p1, p2 = integrals(eta, duration)
    return goal * p2 + (z - goal) * (p1 - duration * phi1(-lam * duration)) / rate


@inner
def costate_hold(z: Any, g: Any, rate: Any, eta: Any, duration: Any) -> Any:
    """Return z after an exact hold, and its integrals I1 and I2 (see ``Hamiltonian``)."""
    lam = rate + eta
    goal = g / lam
    away = z - goal
    p1, p2 = integrals(eta, duration)
    i1 = goal * p1 + away * math.exp(-eta * duration) * duration * phi1(-rate * duration)
    i2 = goal * p2 + away * (p1 - duration * phi1(-lam * duration)) / rate
    return goal + away * math.exp(-lam * duration), i1, i2


@inner
def learn(edges: Any, x: Any, i: int, i1: Any, i2: Any, memory: Any, fade: Any) -> None:
    """Move the in-synapses of neuron i, see ``Hamiltonian.synapse_hold``."""
    into, rates = _of(edges, i)
    w, omega, s, beta, plastic = x.w[into], x.omega[into], x.s[into], edges.beta[rates], edges.plastic[rates]
    for k in range(len(w)):
        met = s[k] * plastic[k]
        w[k] -= beta[k] * (omega[k] * memory + met * i2)
        omega[k] = fade * omega[k] + met * i1


@inner
def driven(edges: Any, x: Any, i: int) -> Any:
    """Return sum w s."""
    into, _ = _of(edges, i)
    w, s = x.w[into], x.s[into]
    drive = type(x.h[i])(0)
    for k in range(len(w)):
        drive += w[k] * s[k]
    return drive


@inner
def driven_and_drift(edges: Any, x: Any, i: int) -> Any:
    """Return sum w s, and on what the drift of the drive depends: A, B and size of ``Push.drift``."""
    into, rates = _of(edges, i)
    w, omega, s, beta = x.w[into], x.omega[into], x.s[into], edges.beta[rates]
    drive = a = b = size = type(x.h[i])(0)
    for k in range(len(w)):
        drive += w[k] * s[k]
        a += beta[k] * omega[k] * s[k]
        b += beta[k] * s[k] * s[k]
        size += beta[k] * abs(omega[k])
    return drive, a, b, size


@inner
def _of(edges: Any, i: int) -> tuple[slice, slice]:
    """Return where the in-edges of neuron i stand, and their rates."""
    first, last = edges.start[i].into, edges.start[i + 1].into
    at = edges.start[i].rates
    return slice(first, last), slice(at, at + last - first)
