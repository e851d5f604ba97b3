"""What a neuron on arrival asks of its own synapses, compiled."""

from typing import Any

from hlsim.engine.loops import inner


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
