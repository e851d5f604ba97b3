"""Layers of leaky neurons, all to all, a layer a tick: as torch calls, naive and in place, and in numpy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

Array = np.ndarray


def _layers(h: Sequence[Any], w: Sequence[Any], first: Sequence[Any]) -> Mapping[str, Array]:
    moves = {
        f"changes of the weights of layer {k}": np.asarray(x) - np.asarray(x0)
        for k, (x, x0) in enumerate(zip(w, first, strict=True), 1)
    }
    return {"states of the outputs": np.asarray(h[-1]), **moves}


class Loop:
    """What one writes first, tau = dt, no delays, the explicit order.

    Parameters
    ----------
    weights : sequence of array (target, source)
    x, y : array (row, input), (row, output)
        ``batch`` rows are shown together, for ``hold`` ticks, then the next ones, round and round.
    entropy : bool
        Whether the loss is cross-entropy, else the squared error.
    """

    def __init__(
        self,
        weights: Sequence[Array],
        x: Array,
        y: Array,
        *,
        beta: float,
        eta: float,
        batch: int = 1,
        hold: int = 2**40,
        entropy: bool = False,
    ) -> None:
        self.w = [torch.tensor(w).float() for w in weights]
        self.first, self.omega = [w.clone() for w in self.w], [torch.zeros_like(w) for w in self.w]
        self.x, self.y = (torch.as_tensor(values).float().split(batch) for values in (x, y))
        self.h = [torch.zeros(batch, len(w)) for w in self.w]
        self.z, self.q, self.a, self.g = ([torch.zeros_like(h) for h in self.h] for _ in range(4))
        self.s = [torch.zeros(batch, w.shape[1]) for w in self.w]
        self.beta, self.eta, self.batch, self.hold, self.entropy = beta, eta, batch, hold, entropy
        self.t = 0

    def learn(self, k: int) -> None:
        """Move the synapses of layer k."""
        step = self.q[k].T @ self.s[k] / self.batch
        self.w[k].sub_(self.beta * self.omega[k])
        self.omega[k] += step - self.eta * self.omega[k]

    def run(self, ticks: int) -> None:
        """Run so many ticks."""
        for _ in range(ticks):
            shown = self.t // self.hold % len(self.x)
            if self.t:
                for k in range(len(self.w)):
                    self.learn(k)
                    self.z[k] = self.g[k] - self.eta * self.z[k]
                    self.h[k] = torch.tanh(self.a[k])
            self.s = [self.x[shown], *self.h[:-1]]
            for k, w in enumerate(self.w):
                self.a[k] = self.s[k] @ w.T
                y = torch.tanh(self.a[k])
                self.q[k] = self.z[k] * (1.0 - y * y)
            for k in range(len(self.w) - 1):
                self.g[k] = self.q[k + 1] @ self.w[k + 1]
            told = torch.softmax(self.h[-1], 1) if self.entropy else self.h[-1]
            self.g[-1] = told - self.y[shown]
            self.t += 1

    def numbers(self) -> Mapping[str, Array]:
        """Return what it has come to."""
        return _layers(self.h, self.w, self.first)


class InPlace(Loop):
    """The same, with synapses moved by one call each that changes them in place."""

    def learn(self, k: int) -> None:
        """Move the synapses of layer k."""
        self.w[k].add_(self.omega[k], alpha=-self.beta)
        if self.batch == 1:
            self.omega[k].addr_(self.q[k][0], self.s[k][0], beta=1.0 - self.eta)
        else:
            self.omega[k].addmm_(self.q[k].T, self.s[k], beta=1.0 - self.eta, alpha=1.0 / self.batch)


class Plain:
    """A row at a time in numpy: what one writes for a network of a few neurons."""

    def __init__(
        self,
        weights: Sequence[Array],
        x: Array,
        y: Array,
        *,
        beta: float,
        eta: float,
        hold: int,
        entropy: bool = False,
    ) -> None:
        self.w = [np.array(w, np.float32) for w in weights]
        self.first, self.omega = [w.copy() for w in self.w], [np.zeros_like(w) for w in self.w]
        self.x, self.y = np.float32(x), np.float32(y)
        self.h, self.z, self.q, self.a, self.g = (
            [np.zeros(len(w), np.float32) for w in self.w] for _ in range(5)
        )
        self.s = [np.zeros(w.shape[1], np.float32) for w in self.w]
        self.beta, self.eta, self.hold, self.entropy, self.t = beta, eta, hold, entropy, 0

    def run(self, ticks: int) -> None:
        """Run so many ticks."""
        for _ in range(ticks):
            shown = self.t // self.hold % len(self.x)
            if self.t:
                for k in range(len(self.w)):
                    self.w[k] -= self.beta * self.omega[k]
                    self.omega[k] += np.outer(self.q[k], self.s[k]) - self.eta * self.omega[k]
                    self.z[k] = self.g[k] - self.eta * self.z[k]
                    self.h[k] = np.tanh(self.a[k])
            self.s = [self.x[shown], *self.h[:-1]]
            for k, w in enumerate(self.w):
                self.a[k] = w @ self.s[k]
                self.q[k] = self.z[k] * (1.0 - np.tanh(self.a[k]) ** 2)
            for k in range(len(self.w) - 1):
                self.g[k] = self.q[k + 1] @ self.w[k + 1]
            self.g[-1] = self._told() - self.y[shown]
            self.t += 1

    def _told(self) -> Array:
        if not self.entropy:
            return self.h[-1]
        e = np.exp(self.h[-1] - self.h[-1].max())
        return e / e.sum()

    def numbers(self) -> Mapping[str, Array]:
        """Return what it has come to."""
        return _layers([h[None] for h in self.h], self.w, self.first)
