"""Models and rules as users write them, of all that there is to write, and cases with them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hlsim.models import ops, register
from hlsim.models.catalogue import Catalogue
from hlsim.models.losses import LOSSES
from hlsim.models.neurons import ACTIVATIONS, MODELS, Activation, Neuron, Parameters
from hlsim.models.ops import Value
from hlsim.models.rules import RULES, Fields, Hamiltonian, Post, Pre, Rule
from tests.support.graphs import Case

CATALOGUES: tuple[Catalogue[Any], ...] = (MODELS, ACTIVATIONS, LOSSES, RULES)


class FitzHughNagumo(Neuron):
    """An oscillator of two fields; its partial derivatives are nobody's business."""

    name = "fhn"
    parameters = {"epsilon": 0.08, "b": 0.7, "c": 0.8}  # noqa: RUF012
    fields = {"v": "potential", "w": "recovery"}  # noqa: RUF012

    def velocity(self, x: Any, a: Value, sigma: Activation, p: Parameters) -> tuple[Value, Value]:
        v, recovery = x.v, x.w
        return v - v**3 / 3.0 - recovery + a, p.epsilon * (v + p.b - p.c * recovery)


class Driven(FitzHughNagumo):
    """The same with a drive that saturates and enters both, and partial derivatives of its own."""

    name = "driven"

    def velocity(self, x: Any, a: Value, sigma: Activation, p: Parameters) -> tuple[Value, Value]:
        y = sigma.value(a)
        return y - x.v - x.w, p.epsilon * (x.v + 0.5 * y - p.c * x.w)

    def partials(self, x: Any, a: Value, sigma: Activation, p: Parameters) -> tuple[Any, Any]:
        slope, e = sigma.slope(a, sigma.value(a)), p.epsilon
        return ((-1.0, -1.0), (e, -e * p.c)), (slope, 0.5 * e * slope)


class IntegrateAndFire(Neuron):
    """tau dv/dt = a - v; an impulse at theta, then v is what is left of it."""

    name = "lif"
    parameters = {"tau": 5.0, "theta": 0.4}  # noqa: RUF012
    fields = {"v": "potential"}  # noqa: RUF012

    def held(self, x: Value, a: Value, duration: Value, sigma: Activation, p: Parameters) -> Value:
        return a + (x - a) * ops.exp(-duration / p.tau)

    def fires(self, x: Value, p: Parameters) -> Value:
        return x >= p.theta

    def after(self, x: Value, p: Parameters) -> Value:
        return 0.0 * x

    def crossing(self, x: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        above = a > p.theta
        gap = ops.where(above, a - p.theta, 1.0)
        # Less one part in 1e9: who is there at a tick is not waited for until the next.
        time = p.tau * ops.log(ops.where(above, (a - x) / gap, 1.0)) * (1 - 1e-9)
        return ops.where(above, time, math.inf)


class Adaptive(Neuron):
    """An integrate-and-fire neuron whose threshold rises with every impulse; by steps of Euler."""

    name = "adaptive"
    parameters = {"tau": 5.0, "theta": 0.4, "up": 0.2}  # noqa: RUF012
    fields = {"v": "potential", "raised": "of the threshold"}  # noqa: RUF012

    def velocity(self, x: Any, a: Value, sigma: Activation, p: Parameters) -> tuple[Value, Value]:
        return (sigma.value(a) - x.v) / p.tau, -0.1 * x.raised

    def fires(self, x: Any, p: Parameters) -> Value:
        return x.v > p.theta + x.raised

    def after(self, x: Any, p: Parameters) -> tuple[Value, Value]:
        return x.v - p.theta, x.raised + p.up

    def impulse(self, x: Any, j: Value, p: Parameters) -> tuple[Value, Value]:
        return x.v + 0.5 * j, x.raised + 0.0 * j


@dataclass(frozen=True)
class Traced(Hamiltonian):
    """Hamiltonian Learning from a trace of what was heard."""

    name: ClassVar[str] = "traced"
    synapse_fields = {"trace": "low-pass of what was heard"}  # noqa: RUF012
    recorded: ClassVar[tuple[str, ...]] = ("trace",)
    memory_time: float = 5.0

    def synapse(
        self, w: Value, fields: Fields, pre: Pre, post: Post, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        trace = fields.trace + duration * (pre.s - fields.trace) / self.memory_time
        return w - duration * beta * post.q * trace, (trace,)


@dataclass(frozen=True)
class Hebb(Rule):
    """A local rule of impulses: up where both sides are active, down where one is alone."""

    name: ClassVar[str] = "hebb"
    synapse_fields = {"trace": "low-pass of what was heard"}  # noqa: RUF012
    recorded: ClassVar[tuple[str, ...]] = ("trace",)
    beta: float = 0.01
    time: float = 10.0

    def synapse(
        self, w: Value, fields: Fields, pre: Pre, post: Post, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        trace = fields.trace * ops.exp(-duration / self.time) + pre.s
        return w + beta * ((post.fired + 0.1 * post.h) * trace - 0.1 * pre.s - 0.1 * w), (trace,)


OWN = (FitzHughNagumo, Driven, IntegrateAndFire, Adaptive, Traced, Hebb)


@contextmanager
def registered(*things: Any) -> Iterator[None]:
    """Register things, and leave the tables as they were."""
    kept = [dict(catalogue._entries) for catalogue in CATALOGUES]
    try:
        for thing in things:
            register(thing)
        yield
    finally:
        for catalogue, entries in zip(CATALOGUES, kept, strict=True):
            catalogue._entries = entries


def with_own(case: Case, number: int, rule: Rule) -> Case:
    """Return a case in which half of the neurons are of users' models, one of each that the rule allows."""
    generator, graph = np.random.default_rng(number), case.graph.copy()
    neurons = [node for node, data in graph.nodes(data=True) if data["model"] != "input"]
    for k, node in enumerate(neurons):
        data = graph.nodes[node]
        clocked = data["update"] == "clock"
        several = ["fhn", "driven"] if clocked else []
        emitting = [] if rule.sends_costates else ["lif", *(["adaptive"] if clocked else [])]
        names = [*several, *emitting]
        if names and generator.random() < 0.6:
            data["model"] = names[(k + number) % len(names)]
            data.pop("tau", None)
            if data["model"] in ("lif", "adaptive"):
                for name in ("send_threshold", "send_interval"):
                    data.pop(name, None)
        elif data["model"] == "instant" and not rule.sends_costates:
            # Impulses move no instant neuron.
            data |= {"model": "leaky", "tau": 8.0}
    for *_, data in graph.edges(data=True):
        delay = data["delay"]
        if isinstance(delay, dict):
            low, high = delay["uniform"]
            data["delay"] = {"uniform": [max(1, low), max(1, high)]}
        else:
            data["delay"] = np.maximum(delay, 1) if isinstance(delay, np.ndarray) else max(1, delay)
        if not rule.sends_costates and isinstance(data["weight"], float):
            data["weight"] *= 3.0
    return Case(graph, {**case.options, "rule": rule}, case.script)
