r"""What a run learned from, as its trace tells, and what exact gradients would have made of that.

Where a synapse of Hamiltonian Learning takes its local product q s, an *ideal* one takes the gradient that an
oracle gives, and fades the same way:

.. math:: \Omega(t) = (1 - \eta\, dt)\, \Omega(t - dt) + dt\, \phi\, \partial L/\partial w
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hlsim.analysis import oracle
from hlsim.analysis.learned import Array, Learned, sampled, stimulus
from hlsim.errors import TraceError, unknown
from hlsim.topology.network import Network
from hlsim.trace import Trace

# Oracles that have a gradient for every tick.
ORACLES: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {"backpropagation": oracle.backpropagation, "recurrent": oracle.recurrent, "implicit": oracle.implicit}
)
THROUGH_TIME = "through_time"  # has one for a sum of ticks


@dataclass(frozen=True)
class Gradients:
    """Gradients by tick: that of tick t is ``table[which[t]]``, (edge,); many ticks share one."""

    table: Array
    which: NDArray[np.int64]

    def __getitem__(self, tick: int) -> Array:
        found: Array = self.table[self.which[tick]]
        return found


def gradients(trace: Trace, network: Network, end: int, against: str, learned: Learned) -> Gradients:
    """Return the oracle's gradients of every tick before ``end``, of the loss with phi = 1.

    Raises
    ------
    TraceError
        The oracle is not known, or the trace has no input or no target at some tick.
    """
    if against == THROUGH_TIME:
        raise TraceError("analysis: through_time has no gradient of a single tick: take recurrent")
    if against not in ORACLES:
        raise TraceError(f"analysis: {unknown('oracle', against, [*ORACLES, THROUGH_TIME])}")
    order, loss, dt = learned.rule.order, learned.loss, float(trace.attrs["dt"])
    x, y, held = stimulus(trace, end)
    w, now, before = _weights(trace, network, end)
    # In the sequential order instant neurons learn at the end of a tick.
    late = network.instant[network.target] & (order == "sequential")
    if against == "recurrent":
        weights = np.where(late, w[before], w[now])
        table = oracle.recurrent(network, weights, x[held], y[held], loss, dt=dt)
        return Gradients(table, np.arange(end))
    # The same row with the same weights has the same gradient.
    kinds, which = np.unique(np.stack([held, now, before]), axis=1, return_inverse=True)
    rows, now, before = kinds
    weights = np.where(late, w[before], w[now])
    if against == "implicit":
        each = zip(weights, x[rows], y[rows], strict=True)
        table = np.array([oracle.implicit(network, *row, loss) for row in each])
    else:
        table = oracle.backpropagation(network, weights, x[rows], y[rows], loss)
    return Gradients(table, which.ravel())


def _weights(trace: Trace, network: Network, end: int) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Return the weights that are known (sample, edge), and which hold at the end of a tick and before."""
    if "sampled/w" not in trace or not len(trace["sampled/w"]):
        return network.weight, np.zeros(end, np.int64), np.zeros(end, np.int64)
    w = np.concatenate([network.weight, sampled(trace, "w")])
    changed = np.r_[True, (np.diff(w, axis=0) != 0).any(1)]
    number = np.cumsum(changed) - 1
    ticks = trace.ticks("sampled/w")
    now, before = (number[np.searchsorted(ticks, np.arange(end) - k, "right")] for k in (0, 1))
    return w[changed], now, before


def ideals(
    trace: Trace, network: Network, learned: Learned, against: str, at: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Return the ideal omega at some ticks (sample, edge), and the sums by which ideal weights came there.

    In the explicit order an ideal omega knows the gradients before its tick, and weights the omegas before.

    Raises
    ------
    TraceError
        As in ``gradients``.
    """
    end, dt = int(at[-1]) + 1, float(trace.attrs["dt"])
    if against == THROUGH_TIME:
        return _through_time(trace, network, learned, at)
    gradient = gradients(trace, network, end, against, learned)
    late, keep = int(learned.rule.order == "explicit"), 1.0 - dt * learned.rule.eta
    ideal, moved = (np.zeros(network.m) for _ in range(2))
    samples, steps, wanted = [], [], set(at.tolist())
    for t in range(end):
        if t >= late and learned.learns[t - late]:
            before, ideal = ideal, keep * ideal + dt * learned.phi[t - late] * gradient[t - late]
            moved = moved + (before if late else ideal)
        if t in wanted:
            samples.append(ideal)
            steps.append(moved)
            moved = np.zeros(network.m)
    return np.array(samples), np.array(steps)


def _through_time(
    trace: Trace, network: Network, learned: Learned, at: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Return the same by backpropagation through time: each is the gradient of a sum of losses."""
    dt, late = float(trace.attrs["dt"]), int(learned.rule.order == "explicit")
    x, y, held = stimulus(trace, int(at[-1]) + 1)
    w, now, _ = _weights(trace, network, int(at[-1]) + 1)
    samples, steps, last = [], [], -1
    for tick in at:
        # What the loss of a tick is worth: in omega, and in the sum of the omegas since the last sample.
        worth, total = (np.zeros(tick + 1) for _ in range(2))
        for t in range(tick + 1):
            if t >= late and learned.learns[t - late]:
                before = worth.copy()
                worth *= 1.0 - dt * learned.rule.eta
                worth[t - late] += dt * learned.phi[t - late]
                total += (t > last) * (before if late else worth)
        rows = held[: tick + 1]
        args = (network, w[now[tick]], x[rows], y[rows], learned.loss)
        samples.append(oracle.through_time(*args, dt=dt, worth=worth))
        steps.append(oracle.through_time(*args, dt=dt, worth=total))
        last = tick
    return np.array(samples), np.array(steps)
