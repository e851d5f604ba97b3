r"""What a run learned from, as its trace tells, and what exact gradients would have made of that.

Where a synapse of Hamiltonian Learning takes its local product q s, an *ideal* one takes the gradient that an
oracle gives, and fades the same way:

.. math:: \Omega(t) = (1 - \eta\, dt)\, \Omega(t - dt)
          + dt\, \phi\, (\partial L/\partial w + \mathrm{decay}\, w)

or, onto a neuron that updates on arrival, by the exact hold of the same equation over a tick. L is the loss
of tick t as it is sampled. What a run was told is known (phi, learning that is off, resets, weight decay) or
refused by name: no oracle knows clocks with a period, and those that go through the delays know no
thresholds, intervals, faults or noise.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hlsim.analysis import oracle
from hlsim.analysis.learned import Array, Learned, stimulus, weights_of
from hlsim.errors import TraceError, unknown
from hlsim.topology.network import Network
from hlsim.trace import Trace

# Oracles that have a gradient for every tick.
ORACLES: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {"backpropagation": oracle.backpropagation, "recurrent": oracle.recurrent, "implicit": oracle.implicit}
)
THROUGH_TIME = "through_time"  # has one for a sum of ticks
# Oracles of the network with its delays: of what the run itself did.
_LATE = ("recurrent", THROUGH_TIME)


@dataclass(frozen=True)
class Gradients:
    """Gradients by tick: that of tick t is ``table[which[t]]``, (edge,); many ticks share one.

    ``away``: how many steps of the weights lie between each tick and the weights of its gradient.
    """

    table: Array
    which: NDArray[np.int64]
    away: NDArray[np.int64]

    def __getitem__(self, tick: int) -> Array:
        found: Array = self.table[self.which[tick]]
        return found


def gradients(trace: Trace, network: Network, end: int, against: str, learned: Learned) -> Gradients:
    """Return the oracle's gradients of every tick before ``end``, of the loss with phi = 1.

    Raises
    ------
    TraceError
        The oracle is not known, or does not know what the run did; or the trace has no input or no target at
        some tick.
    """
    if against == THROUGH_TIME:
        raise TraceError("analysis: through_time has no gradient of a single tick: take recurrent")
    _check(trace, network, against)
    order, loss, dt = learned.rule.order, learned.loss, float(trace.attrs["dt"])
    x, y, held = stimulus(trace, learned, end, by_rows=against not in _LATE)
    known = weights_of(trace, network, learned.rule, end)
    w, now, before = known.table, known.now, known.before
    # In the sequential order instant neurons learn at the end of a tick.
    late = network.instant[network.target] & (order == "sequential")
    if against == "recurrent":
        weights = np.where(late, w[before], w[now])
        table = oracle.recurrent(network, weights, x[held], y[held], loss, dt=dt, resets=learned.resets[:end])
        table += learned.rule.weight_decay * network.plastic * weights
        return Gradients(table, np.arange(end), known.away)
    # The same row with the same weights has the same gradient.
    kinds, which = np.unique(np.stack([held, now, before]), axis=1, return_inverse=True)
    rows, now, before = kinds
    weights = np.where(late, w[before], w[now])
    if against == "implicit":
        each = zip(weights, x[rows], y[rows], strict=True)
        table = np.array([oracle.implicit(network, *row, loss) for row in each])
    else:
        table = oracle.backpropagation(network, weights, x[rows], y[rows], loss)
    table += learned.rule.weight_decay * network.plastic * weights
    return Gradients(table, which.ravel(), known.away)


def _check(trace: Trace, network: Network, against: str) -> None:
    """Refuse what an oracle does not know of a run."""
    if against not in (*ORACLES, THROUGH_TIME):
        raise TraceError(f"analysis: {unknown('oracle', against, [*ORACLES, THROUGH_TIME])}")
    _same_for_all(network, "period", network.clock & ~network.is_input, 1, "omega of its synapses")
    if against not in _LATE:
        return
    told = f"the oracle {against!r}"
    _same_for_all(network, "period", network.clock, 1, told)
    for name, needed in (("send_threshold", 0), ("send_interval", 1)):
        _same_for_all(network, name, np.isin(np.arange(network.n), network.source), needed, told)
    if len(trace["faults/tick"]):
        raise TraceError(f"analysis: {told} knows no faults, and links of this run had some")
    if (trace["controls/noise"] != 0).any():
        raise TraceError(f"analysis: {told} knows no noise, and the drives of this run had some")


def _same_for_all(network: Network, name: str, whose: NDArray[np.bool_], needed: int, told: str) -> None:
    values = getattr(network, name)
    for i in np.flatnonzero(whose & (values != needed))[:1]:
        raise TraceError(
            f"analysis: node {network.label[i]!r}: {name} must be {needed} for {told}, got {values[i]:g}"
        )


@dataclass(frozen=True)
class Fading:
    """What a tick makes of an omega, by edge: ``keep`` of it, and so much of the gradient of that tick.

    A weight moves by -beta times ``reach`` of the omega before the tick and ``moved`` of the gradient.
    """

    keep: Array
    gain: Array
    reach: Array
    moved: Array


def fading(network: Network, learned: Learned, dt: float) -> Fading:
    """Return how omega fades: by Euler steps onto clocked neurons, by the exact hold onto the others."""
    rule, clock = learned.rule, network.clock[network.target]
    late = rule.order == "explicit"
    gain, moved = rule.constant_hold(1.0, dt)
    return Fading(
        keep=np.where(clock, 1.0 - dt * rule.eta, np.exp(-dt * rule.eta)),
        gain=np.where(clock, dt, gain),
        reach=np.where(clock, dt if late else dt * (1.0 - dt * rule.eta), gain),
        moved=np.where(clock, 0.0 if late else dt * dt, moved),
    )


@dataclass(frozen=True)
class Ideal:
    """What exact gradients would have made of a run, at its samples.

    Attributes
    ----------
    omega : (sample, edge)
    steps : (sample, edge)
        How weights would have moved since the sample before, as if beta were 1.
    age, age_since : (sample,)
        Steps of the weights between a gradient and the sample of weights that it was taken with: mean
        over the gradients of which something is left in omega, by what is left; and over all since the sample
        before. 0 where every gradient is of the weights of its tick.
    """

    omega: Array
    steps: Array
    age: Array
    age_since: Array


def ideals(trace: Trace, network: Network, learned: Learned, against: str, at: NDArray[np.int64]) -> Ideal:
    """Return the ideal omega at some ticks, and how ideal weights moved.

    In the explicit order an ideal omega knows the gradients before its tick, and weights the omegas before.

    Raises
    ------
    TraceError
        As in ``gradients``.
    """
    end, dt = int(at[-1]) + 1, float(trace.attrs["dt"])
    if against == THROUGH_TIME:
        return _through_time(trace, network, learned, at)
    gradient, fades = gradients(trace, network, end, against, learned), fading(network, learned, dt)
    late = int(learned.rule.order == "explicit")
    ideal, moved = (np.zeros(network.m) for _ in range(2))
    samples, steps, wanted = [], [], set(at.tolist())
    for t in range(end):
        if t >= late and learned.learns[t - late]:
            entered = learned.phi[t - late] * gradient[t - late]
            moved = moved - fades.reach * ideal - fades.moved * entered
            ideal = fades.keep * ideal + fades.gain * entered
        if t in wanted:
            samples.append(ideal)
            steps.append(moved)
            moved = np.zeros(network.m)
    ages = [_age(worths, gradient.away) for worths in _worths(learned, fades, _any(network), at)]
    return Ideal(np.array(samples), np.array(steps), *np.array(ages).T)


def _any(network: Network) -> int:
    """Return a plastic edge, the first; 0 where there is none."""
    return int(network.plastic.argmax()) if network.m else 0


def _age(worths: tuple[Array, Array], away: NDArray[np.int64]) -> tuple[float, float]:
    """Return the mean of what lies between gradients and their weights, by what each of them is worth."""
    totals = [np.abs(worth) for worth in worths]
    return tuple(float(x @ away[: len(x)] / (x.sum() or 1.0)) for x in totals)  # type: ignore[return-value]


def _through_time(trace: Trace, network: Network, learned: Learned, at: NDArray[np.int64]) -> Ideal:
    """Return the same by backpropagation through time: each is the gradient of a sum of losses."""
    _check(trace, network, THROUGH_TIME)
    if learned.rule.weight_decay:
        raise TraceError(
            "analysis: through_time knows no weight decay, take recurrent; "
            f"got weight_decay = {learned.rule.weight_decay:g}"
        )
    end, dt = int(at[-1]) + 1, float(trace.attrs["dt"])
    x, y, held = stimulus(trace, learned, end)
    known, fades = weights_of(trace, network, learned.rule, end), fading(network, learned, dt)
    samples, steps = (np.zeros((len(at), network.m)) for _ in range(2))
    clock, ages = network.clock[network.target], np.zeros((len(at), 2))
    for kind in np.unique(clock[network.plastic]):
        mine = network.plastic & (clock == kind)
        for k, worths in enumerate(_worths(learned, fades, int(mine.argmax()), at)):
            rows, tick = held[: at[k] + 1], int(at[k])
            args = (network, known.table[known.now[tick]], x[rows], y[rows], learned.loss)
            for into, worth in zip((samples, steps), worths, strict=True):
                found = oracle.through_time(*args, dt=dt, worth=worth, resets=learned.resets[: tick + 1])
                into[k, mine] = found[mine]
            ages[k] = _age(worths, known.between(tick))
    return Ideal(samples, steps, *ages.T)


def _worths(
    learned: Learned, fades: Fading, edge: int, at: NDArray[np.int64]
) -> Iterator[tuple[Array, Array]]:
    """Yield what the loss of every tick before a sample is worth, in omega and in steps since the last."""
    keep, gain, reach, moved = (float(x[edge]) for x in (fades.keep, fades.gain, fades.reach, fades.moved))
    late = int(learned.rule.order == "explicit")
    worth, steps, wanted = np.zeros(int(at[-1]) + 1), np.zeros(int(at[-1]) + 1), set(at.tolist())
    for t in range(int(at[-1]) + 1):
        if t >= late and learned.learns[t - late]:
            steps -= reach * worth
            steps[t - late] -= moved * learned.phi[t - late]
            worth *= keep
            worth[t - late] += gain * learned.phi[t - late]
        if t in wanted:
            yield worth[: t + 1].copy(), steps[: t + 1].copy()
            steps[:] = 0.0
