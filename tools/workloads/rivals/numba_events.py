"""The network of D as a loop of events that one writes by hand for numba: messages in a wheel of ticks.

Leaky neurons with thresholds, solved exactly between updates, under Hamiltonian Learning: what is due at a
tick is brought up to it, sends, hears, and foresees when it will have something to say. Weights move so
slowly that they wake nobody.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from workloads.rivals.wiring import BETA, ETA, Wiring

Array = np.ndarray
# Ticks after which wake-ups are looked at again, which may be further off.
_WHEEL, _NEVER = 1_024, 2**62
# A neuron wakes up when it crosses its threshold, and must not find itself a rounding error below it.
_SLACK = 1 - 1e-5


class Neurons(NamedTuple):
    """By neuron; ``heard`` is the sum of the costates that arrived, ``told`` and ``told_back`` were sent."""

    h: Array
    z: Array
    a: Array
    sigma: Array
    df_da: Array
    heard: Array
    g: Array
    told: Array
    told_back: Array
    u: Array
    target: Array
    output: Array
    updated: Array
    stamp: Array
    due: Array


class Synapses(NamedTuple):
    """Target by target: ``first`` of a target; ``leaving`` by source, from ``out`` of a source on."""

    w: Array
    omega: Array
    s: Array
    r: Array
    source: Array
    to: Array
    delay: Array
    first: Array
    out: Array
    leaving: Array


class Wheels(NamedTuple):
    """Messages under way (edge, value) by tick, states and costates apart; and neurons that will wake.

    ``free`` is the first place that is not taken, ``counts`` how many states and costates were sent.
    """

    head: Array
    after: Array
    edge: Array
    number: Array
    free: Array
    counts: Array
    wake: Array
    first: Array
    next: Array
    before: Array


class Constants(NamedTuple):
    """Rates, and thresholds forward and backward."""

    beta: float
    eta: float
    leak: float
    forward: float
    backward: float


@njit(cache=True)
def _post(wheels, kind, tick, edge, value):  # type: ignore[no-untyped-def]
    place = wheels.free[0]
    wheels.free[0] = wheels.after[place]
    if place < 0:
        raise MemoryError("more messages under way than there is room for")
    row = tick % wheels.head.shape[1]
    wheels.edge[place], wheels.number[place] = edge, value
    wheels.after[place] = wheels.head[kind, row]
    wheels.head[kind, row] = place


@njit(cache=True)
def _set_wake(wheels, i, tick):  # type: ignore[no-untyped-def]
    if wheels.wake[i] == tick:
        return
    if wheels.wake[i] != _NEVER:
        before, after = wheels.before[i], wheels.next[i]
        if before >= 0:
            wheels.next[before] = after
        else:
            wheels.first[wheels.wake[i] % _WHEEL] = after
        if after >= 0:
            wheels.before[after] = before
    wheels.wake[i] = tick
    if tick != _NEVER:
        row = tick % _WHEEL
        after = wheels.first[row]
        wheels.before[i], wheels.next[i], wheels.first[row] = -1, after, i
        if after >= 0:
            wheels.before[after] = i


@njit(cache=True)
def _crossing(x, goal, rate, origin, threshold):  # type: ignore[no-untyped-def]
    """In how many ticks x, on its way to ``goal``, is a threshold away from its origin."""
    if abs(goal - origin) <= threshold or x == goal:
        return _NEVER
    ratio = (goal - x) / (goal - (origin + math.copysign(threshold, goal - origin)))
    return max(1, math.ceil(math.log(ratio) / rate)) if ratio > 1 else 1


@njit(cache=True)
def _advance(x, e, c, i, now):  # type: ignore[no-untyped-def]
    d = now - x.updated[i]
    x.updated[i] = now
    if d == 0:
        return
    lam = c.leak + c.eta
    goal = x.g[i] / lam
    away = x.z[i] - goal
    keep, fade = math.exp(-c.eta * d), math.exp(-c.leak * d)
    p1 = (1 - keep) / c.eta
    p2 = (d - p1) / c.eta
    i1 = goal * p1 + away * keep * (1 - fade) / c.leak
    i2 = goal * p2 + away * (p1 - (1 - keep * fade) / lam) / c.leak
    x.z[i] = goal + away * keep * fade
    x.h[i] = x.sigma[i] + (x.h[i] - x.sigma[i]) * fade
    b1, b2 = np.float32(x.df_da[i] * i1), np.float32(x.df_da[i] * i2)
    keep, p1, beta = np.float32(keep), np.float32(p1), np.float32(c.beta)
    for k in range(e.first[i], e.first[i + 1]):
        omega, s = e.omega[k], e.s[k]
        e.w[k] -= beta * (omega * p1 + b2 * s)
        e.omega[k] = keep * omega + b1 * s


@njit(cache=True)
def _make_due(x, count, i, now):  # type: ignore[no-untyped-def]
    if x.stamp[i] != now:
        x.stamp[i] = now
        x.due[count] = i
        count += 1
    return count


@njit(cache=True)
def _who(x, e, wheels, now, row):  # type: ignore[no-untyped-def]
    """Gather who is due: whom a message reaches, and who wakes up."""
    count = 0
    for kind in range(2):
        ends = e.to if kind == 0 else e.source
        place = wheels.head[kind, row]
        while place >= 0:
            count = _make_due(x, count, ends[wheels.edge[place]], now)
            place = wheels.after[place]
    i = wheels.first[now % _WHEEL]
    while i >= 0:
        if wheels.wake[i] == now:
            count = _make_due(x, count, i, now)
        i = wheels.next[i]
    return count


@njit(cache=True)
def _hear(x, e, wheels, row):  # type: ignore[no-untyped-def]
    for kind in range(2):
        place = wheels.head[kind, row]
        while place >= 0:
            k, value, after = wheels.edge[place], wheels.number[place], wheels.after[place]
            if kind == 0:
                e.s[k] = value
            else:
                x.heard[e.source[k]] += value - e.r[k]
                e.r[k] = value
            wheels.after[place], wheels.free[0], place = wheels.free[0], place, after
        wheels.head[kind, row] = -1


@njit(cache=True)
def _answer(x, e, wheels, c, i, now):  # type: ignore[no-untyped-def]
    """Make the drive and the costate, send it, and foresee when there will be more to say."""
    drive = np.float32(0)
    for k in range(e.first[i], e.first[i + 1]):
        drive += e.w[k] * e.s[k]
    x.a[i] = drive + x.u[i]
    x.sigma[i] = math.tanh(x.a[i])
    x.df_da[i] = (1 - x.sigma[i] * x.sigma[i]) * c.leak
    x.g[i] = x.heard[i] + (x.h[i] - x.target[i] if x.output[i] else 0.0)
    q = x.z[i] * x.df_da[i]
    if abs(q - x.told_back[i]) >= c.backward * _SLACK:
        x.told_back[i] = q
        wheels.counts[1] += 1
        for k in range(e.first[i], e.first[i + 1]):
            _post(wheels, 1, now + e.delay[k], k, e.w[k] * np.float32(q))
    wait = _crossing(x.h[i], x.sigma[i], c.leak, x.told[i], c.forward)
    if x.output[i]:
        wait = min(wait, _crossing(x.h[i], x.sigma[i], c.leak, x.h[i], c.forward))
    if x.df_da[i] > 0:
        lam = c.leak + c.eta
        least = c.backward / x.df_da[i]
        wait = min(wait, _crossing(x.z[i], x.g[i] / lam, lam, x.told_back[i] / x.df_da[i], least))
    _set_wake(wheels, i, _NEVER if wait == _NEVER else now + wait)


@njit(cache=True)
def _send(x, e, wheels, c, i, now):  # type: ignore[no-untyped-def]
    if abs(x.h[i] - x.told[i]) < c.forward * _SLACK:
        return
    x.told[i] = x.h[i]
    wheels.counts[0] += 1
    for place in range(e.out[i], e.out[i + 1]):
        k = e.leaving[place]
        _post(wheels, 0, now + e.delay[k], k, np.float32(x.h[i]))


@njit(cache=True)
def _events(now, end, x, e, wheels, c, u):  # type: ignore[no-untyped-def]
    """Run the ticks from ``now`` on, at the first of which the stimulus becomes ``u``."""
    begin = now
    while now < end:
        row = now % wheels.head.shape[1]
        count = _who(x, e, wheels, now, row)
        if now == begin:
            for i in range(len(u)):
                if now == 0 or u[i] != x.u[i]:
                    count = _make_due(x, count, i, now)
        for k in range(count):
            _advance(x, e, c, x.due[k], now)
        if now == begin:
            x.u[:] = u
        for k in range(count):
            _send(x, e, wheels, c, x.due[k], now)
        _hear(x, e, wheels, row)
        for k in range(count):
            _answer(x, e, wheels, c, x.due[k], now)
        now += 1


class Events:
    """The loop, with stimuli (frame, neuron) that follow each other every so many ticks, round and round."""

    def __init__(
        self,
        wiring: Wiring,
        stimuli: Sequence[Array],
        frame: int,
        *,
        tau: float,
        thresholds: tuple[float, float],
    ) -> None:
        if (wiring.delay != wiring.back).any() or wiring.delay.min() < 1:
            raise ValueError("costates must take as long as states do, a tick at least")
        n, m, order = wiring.n, wiring.m, wiring.by_target
        self.wiring, self.order, self.stimuli, self.frame, self.t = wiring, order, stimuli, frame, 0
        numbers = [np.zeros(n) for _ in range(10)]
        output, due = wiring.told > 0, np.zeros(n, np.int64)
        target, never = wiring.target[:, 0].astype(np.float64), np.full(n, -1)
        self.x = Neurons(*numbers, target, output, np.zeros(n, np.int64), never, due)
        source, to = wiring.source[order], wiring.to[order]
        ends = [np.searchsorted(np.sort(each), np.arange(n + 1)) for each in (to, source)]
        fields = [wiring.weight[order], *(np.zeros(m, np.float32) for _ in range(3))]
        leaving = np.argsort(source, kind="stable")
        self.e = Synapses(
            *fields, source, to, wiring.delay[order], ends[0], ends[1], leaving.astype(np.int32)
        )
        room = np.append(np.arange(1, 2 * m), -1)
        self.wheels = Wheels(
            np.full((2, wiring.depth), -1),
            room,
            np.zeros(2 * m, np.int64),
            np.zeros(2 * m, np.float32),
            np.zeros(1, np.int64),
            np.zeros(2, np.int64),
            np.full(n, _NEVER),
            np.full(_WHEEL, -1),
            np.full(n, -1),
            np.full(n, -1),
        )
        self.constants = Constants(BETA, ETA, 1.0 / tau, *thresholds)

    def run(self, ticks: int) -> None:
        """Run so many ticks; frames begin at multiples of theirs."""
        end = self.t + ticks
        while self.t < end:
            if self.t % self.frame:
                raise ValueError("a run must begin with a frame")
            stop = min(end, self.t + self.frame)
            u = self.stimuli[self.t // self.frame % len(self.stimuli)]
            _events(self.t, stop, self.x, self.e, self.wheels, self.constants, u)
            self.t = stop

    def numbers(self) -> Mapping[str, Any]:
        """Return how many messages were sent, and what states and synapses have come to."""
        for i in range(self.wiring.n):
            _advance(self.x, self.e, self.constants, i, self.t - 1)  # two holds make one
        moved = self.wiring.edges(self.e.w, self.order) - self.wiring.weight
        return {
            "messages": self.wheels.counts.copy(),
            "states": self.x.h[None].copy(),
            "changes of the weights": moved,
        }
