"""A net of leaky and instant neurons, tick by tick, in plain loops: what its messages and equations mean.

It knows the arrays of a ``Network`` (what is connected to what, with which delay) and nothing of the engines.
Vectors over edges are in canonical order: (m,) with the biases first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from hlsim import Simulation
from hlsim.stimulus import Arrays
from hlsim.topology.network import Network
from tests.support.theory import FIELDS, Vector, skeleton, stacked

_SIGMA: dict[str, Callable[[Any], Any]] = {
    "tanh": np.tanh,
    "sigmoid": lambda a: 1.0 / (1.0 + np.exp(-a)),
    "identity": lambda a: a,
}
_SLOPE: dict[str, Callable[[Any], Any]] = {
    "tanh": lambda a: 1.0 / np.cosh(a) ** 2,
    "sigmoid": lambda a: 0.25 / np.cosh(a / 2.0) ** 2,
    "identity": np.ones_like,
}

Advance = Callable[["Plain"], None]


@dataclass
class Plain:
    """A net in which every neuron updates and sends at every tick: explicit order, plain loops.

    What arrives on an edge at tick t is what was sent at t - delay; r = w q is fixed when it is sent.

    Parameters
    ----------
    advance : callable
        Moves h, z, omega and w by one tick with what is held: ``euler`` or ``exact``.
    """

    network: Network
    beta: float
    eta: float
    dt: float
    advance: Advance
    w: Vector = field(default_factory=lambda: np.empty(0))
    omega: Vector = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        n, m, model = self.network.n, self.network.m, np.array(self.network.model)
        self.w = self.w if self.w.size else self.network.weight[0].copy()
        self.omega = self.omega if self.omega.size else np.zeros(m)
        self.leaky, self.instant, self.input = (model == name for name in ("leaky", "instant", "input"))
        self.tau = self.network.parameters["tau"] if self.leaky.any() else np.ones(n)
        own = self.network.beta
        self.rate = np.where(np.isnan(own), self.beta, own) * self.network.plastic
        self.forget()

    def forget(self) -> None:
        """Begin anew with the weights and their costates as they are."""
        n, m = self.network.n, self.network.m
        self.h, self.z, self.a, self.q, self.g = (np.zeros(n) for _ in range(5))
        self.s = np.zeros(m)
        self.states: list[Vector] = []
        self.costates: list[Vector] = []

    def run(self, inputs: Vector, targets: Vector, phi: Vector) -> dict[str, Vector]:
        """Run one tick for each row, and integrate to the tick after; return what a trace would hold."""
        rows: dict[str, list[Vector]] = {name: [] for name in FIELDS}
        for x, y, scale in zip(inputs, targets, phi, strict=True):
            self._tick(x, y, scale)
            for name in FIELDS:
                rows[name].append(getattr(self, name).copy())
            self.advance(self)
        return {name: np.array(values) for name, values in rows.items()}

    def slope(self) -> Vector:
        """Return dh/dt by da, (n,)."""
        value = np.array([_SLOPE[name](a) for name, a in zip(self.network.activation, self.a, strict=True)])
        return np.where(self.leaky, value / self.tau, value) * ~self.input

    def rest(self) -> Vector:
        """Return sigma(a), (n,)."""
        return np.array([_SIGMA[name](a) for name, a in zip(self.network.activation, self.a, strict=True)])

    def _tick(self, x: Vector, y: Vector, phi: float) -> None:
        u = np.zeros(self.network.n)
        u[self.network.inputs] = x
        self.h[self.input] = u[self.input]
        self.states.append(self.h.copy())
        leaky = np.flatnonzero(self.leaky).tolist()
        for i in [*self._instant(self.network.delay), *leaky]:
            self._drive(i, u[i])
        dl = np.zeros(self.network.n)
        dl[self.network.outputs] = self.h[self.network.outputs] - y
        self.costates.append(np.zeros(self.network.m))
        c = self.slope()
        for i in leaky:
            self._send(i, self.z[i] * c[i])
        for i in [*reversed(self._instant(self.network.feedback_delay)), *leaky]:
            self.g[i] = phi * dl[i] + self._heard(i)
            if self.instant[i]:
                self.z[i] = self.g[i]
                self._send(i, self.z[i] * c[i])

    def _instant(self, delay: NDArray[np.int64]) -> list[int]:
        """Return the instant neurons, each after those from which an edge without delay comes."""
        graph = skeleton(self.network, (delay == 0) & self.instant[self.network.target])
        return [i for i in nx.topological_sort(graph) if self.instant[i]]

    def _drive(self, i: int, u: float) -> None:
        self.a[i] = u
        for e in np.flatnonzero(self.network.target == i):
            self.s[e] = self._arrives(self.states, self.network.delay[e], self.network.source[e])
            self.a[i] += self.w[e] * self.s[e]
        if self.instant[i]:
            self.h[i] = self.states[-1][i] = _SIGMA[self.network.activation[i]](self.a[i])

    def _send(self, i: int, q: float) -> None:
        self.q[i] = q
        for e in np.flatnonzero((self.network.target == i) & (self.network.feedback > 0)):
            fixed = self.network.feedback[e] == 2
            self.costates[-1][e] = q * (self.network.feedback_weight[0, e] if fixed else self.w[e])

    def _heard(self, i: int) -> float:
        out = np.flatnonzero(self.network.source == i)
        return sum((self._arrives(self.costates, self.network.feedback_delay[e], e) for e in out), 0.0)

    @staticmethod
    def _arrives(history: list[Vector], delay: np.integer, index: np.integer) -> float:
        if index < 0:
            return 1.0
        return float(history[-1 - delay][index]) if len(history) > delay else 0.0


def euler(net: Plain) -> None:
    """Take one explicit Euler step of the four equations."""
    dt, lam = net.dt, 1.0 / net.tau + net.eta
    gradient = net.q[net.network.target] * net.s
    net.w = net.w - dt * net.rate * net.omega
    net.omega = net.omega + dt * (gradient - net.eta * net.omega)
    net.z = np.where(net.leaky, net.z + dt * (net.g - lam * net.z), net.z)
    net.h = np.where(net.leaky, net.h + dt * (net.rest() - net.h) / net.tau, net.h)


def exact(net: Plain) -> None:
    """Solve the four equations over one tick, everything that is heard held; needs eta > 0."""
    D, eta, tau = net.dt, net.eta, net.tau
    lam = 1.0 / tau + eta
    p1 = (1.0 - np.exp(-eta * D)) / eta
    p2 = (D - p1) / eta
    goal = net.g / lam
    away = net.z - goal
    i1 = goal * p1 + away * np.exp(-eta * D) * tau * (1.0 - np.exp(-D / tau))
    i2 = goal * p2 + away * tau * (p1 - (1.0 - np.exp(-lam * D)) / lam)
    c = net.slope()
    i1, i2 = np.where(net.leaky, c * i1, net.q * p1), np.where(net.leaky, c * i2, net.q * p2)
    target = net.network.target
    net.w = net.w - net.rate * (net.omega * p1 + net.s * i2[target])
    net.omega = np.exp(-eta * D) * net.omega + net.s * i1[target]
    net.z = np.where(net.leaky, goal + away * np.exp(-lam * D), net.z)
    net.h = np.where(net.leaky, net.rest() + (net.h - net.rest()) * np.exp(-D / tau), net.h)


def by_rows(
    simulation: Simulation, stimulus: Arrays, advance: Advance, hold: int, reset: bool = False
) -> dict[str, Vector]:
    """Return what plain loops make of a stream; with resets row by row, forgetting all but w and omega."""
    rule = simulation.rule
    assert isinstance(rule.phi, float)
    net = Plain(simulation.network, rule.beta, rule.eta, simulation.dt, advance)
    inputs, targets = stacked(stimulus, hold)
    length = hold if reset else len(inputs)
    parts = []
    for start in range(0, len(inputs), length):
        part = slice(start, start + length)
        parts.append(net.run(inputs[part], targets[part], np.full(length, rule.phi)))
        net.forget()
    return {name: np.concatenate([part[name] for part in parts]) for name in FIELDS}
