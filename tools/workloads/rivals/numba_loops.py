"""Sparse plastic synapses with delays as loops that one writes by hand for numba."""

from typing import Any

import numpy as np
from numba import njit

from workloads.rivals.wiring import BETA, ETA, Wiring

Array = np.ndarray
RATES = np.float32(BETA), np.float32(ETA)


def _zeros(count: int, *shape: int) -> list[Array]:
    return [np.zeros(shape, np.float32) for _ in range(count)]


# ---- what one writes first


@njit(fastmath=True, cache=True)
def _naive(
    ticks, t, w, omega, s, source, delay, back, history, coming, h, z, q, g, a, u, target, told, rates
):  # type: ignore[no-untyped-def]
    n, degree, depth, (beta, eta) = len(h), len(w) // len(h), len(history), rates
    for _ in range(ticks):
        if t > 0:
            for i in range(n):
                for e in range(i * degree, (i + 1) * degree):
                    old = omega[e]
                    w[e] -= beta * old
                    omega[e] = old + q[i] * s[e] - eta * old
                z[i] = g[i] - eta * z[i]
                h[i] = np.tanh(a[i])
        now = t % depth
        history[now] = h
        for i in range(n):
            drive = u[i]
            for e in range(i * degree, (i + 1) * degree):
                row = now - delay[e]
                s[e] = history[row + depth if row < 0 else row, source[e]]
                drive += w[e] * s[e]
            y = np.tanh(drive)
            a[i], q[i] = drive, z[i] * (np.float32(1) - y * y)
        for i in range(n):
            g[i] = told[i] * (h[i] - target[i]) + coming[now, i]
            coming[now, i] = 0
        for i in range(n):
            for e in range(i * degree, (i + 1) * degree):
                row = now + back[e]
                coming[row - depth if row >= depth else row, source[e]] += w[e] * q[i]
        t += 1


class Naive:
    """Synapses target by target, three passes a tick."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring, self.order, self.t = wiring, wiring.by_target, 0
        self.w = wiring.weight[self.order]
        self.omega, s = _zeros(2, wiring.m)
        ends = [x[self.order].astype(np.int32) for x in (wiring.source, wiring.delay, wiring.back)]
        self.h, self.z, self.q, self.g, self.a = _zeros(5, wiring.n)
        told = wiring.stimulus[:, 0].copy(), wiring.target[:, 0].copy(), wiring.told
        rings = _zeros(2, wiring.depth, wiring.n)
        neurons = (self.h, self.z, self.q, self.g, self.a)
        self._held = (self.w, self.omega, s, *ends, *rings, *neurons, *told, RATES)

    def run(self, ticks: int) -> None:
        """Run so many ticks."""
        _naive(ticks, self.t, *self._held)
        self.t += ticks

    def numbers(self) -> Any:
        """Return what it has come to."""
        return self.wiring.numbers(self.h, self.a, self.z, self.omega, self.w, self.order)


# ---- what one comes to: blocks of one delay, one pass


def blocks(delay: Array) -> Array:
    """Return (first, end, delay) of each run of equal delays."""
    first = np.flatnonzero(np.diff(delay, prepend=-1))
    return np.stack([first, np.append(first[1:], len(delay)), delay[first]], 1).astype(np.int64)


@njit(fastmath=True, cache=True)
def _by_blocks(
    ticks, t, w, omega, source, to, blocks, history, coming, h, z, q, g, a, u, target, told, rates
):  # type: ignore[no-untyped-def]
    n, depth, (beta, eta) = len(h), len(history), rates
    keep = np.float32(1) - eta
    for _ in range(ticks):
        if t > 0:
            for i in range(n):
                z[i] = g[i] - eta * z[i]
                h[i] = np.tanh(a[i])
        now = t % depth
        history[now] = h
        a[:] = u
        for b in range(len(blocks)):
            first, end, delay = blocks[b, 0], blocks[b, 1], blocks[b, 2]
            heard, before = history[(t - delay) % depth], history[(t - 1 - delay) % depth]
            back = coming[(t - 1 + delay) % depth]
            w_, omega_, source_, to_ = w[first:end], omega[first:end], source[first:end], to[first:end]
            for e in range(end - first):
                i, j = to_[e], source_[e]
                old, x = omega_[e], w_[e]
                back[j] += x * q[i]
                omega_[e] = keep * old + q[i] * before[j]
                x -= beta * old
                w_[e] = x
                a[i] += x * heard[j]
        for i in range(n):
            y = np.tanh(a[i])
            q[i] = z[i] * (np.float32(1) - y * y)
            g[i] = told[i] * (h[i] - target[i]) + coming[now, i]
            coming[now, i] = 0
        t += 1


@njit(fastmath=True, cache=True)
def _minibatch(
    ticks, t, w, omega, source, to, blocks, history, coming, h, z, q, g, a, u, target, told, rates
):  # type: ignore[no-untyped-def]
    (n, replicas), depth, (beta, eta) = h.shape, len(history), rates
    keep, share = np.float32(1) - eta, np.float32(1) / np.float32(replicas)
    for _ in range(ticks):
        if t > 0:
            z[:] = g - eta * z
            h[:] = np.tanh(a)
        now = t % depth
        history[now] = h
        a[:] = u
        for k in range(len(blocks)):
            first, end, delay = blocks[k, 0], blocks[k, 1], blocks[k, 2]
            rows = (t - delay) % depth, (t - 1 - delay) % depth, (t - 1 + delay) % depth
            for e in range(first, end):
                i, j = to[e], source[e]
                qi, heard, before, back, ai = (
                    q[i],
                    history[rows[0], j],
                    history[rows[1], j],
                    coming[rows[2], j],
                    a[i],
                )
                old, x, product = omega[e], w[e], np.float32(0)
                for b in range(replicas):
                    back[b] += x * qi[b]
                    product += qi[b] * before[b]
                omega[e] = keep * old + product * share
                x -= beta * old
                w[e] = x
                for b in range(replicas):
                    ai[b] += x * heard[b]
        y = np.tanh(a)
        q[:] = z * (np.float32(1) - y * y)
        g[:] = told.reshape(n, 1) * (h - target) + coming[now]
        coming[now] = 0
        t += 1


class Blocks:
    """Synapses delay by delay, and all that is done to one in a single pass; costates come back as late.

    What is sent back and learned is that of the tick before, of which rings keep one more.
    """

    def __init__(self, wiring: Wiring) -> None:
        if (wiring.delay != wiring.back).any():
            raise ValueError("costates must take as long as states do")
        self.wiring, self.order, self.t = wiring, wiring.by_delay, 0
        replicas = wiring.stimulus.shape[1]
        self._loop, shape = (_by_blocks, ()) if replicas == 1 else (_minibatch, (replicas,))
        self.w = wiring.weight[self.order]
        (self.omega,) = _zeros(1, wiring.m)
        ends = [x[self.order].astype(np.uint32) for x in (wiring.source, wiring.to)]
        self.h, self.z, q, g, self.a = _zeros(5, wiring.n, *shape)
        told = [x.reshape(wiring.n, *shape).copy() for x in (wiring.stimulus, wiring.target)]
        rings = _zeros(2, wiring.depth + 1, wiring.n, *shape)
        neurons = (self.h, self.z, q, g, self.a)
        table = blocks(wiring.delay[self.order])
        self._held = (self.w, self.omega, *ends, table, *rings, *neurons, *told, wiring.told, RATES)

    def run(self, ticks: int) -> None:
        """Run so many ticks."""
        self._loop(ticks, self.t, *self._held)
        self.t += ticks

    def numbers(self) -> Any:
        """Return what it has come to."""
        return self.wiring.numbers(self.h, self.a, self.z, self.omega, self.w, self.order)
