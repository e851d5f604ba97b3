"""Networks with delays and lags, of instant neurons and leaky ones with tau = dt; their exact gradients."""

from collections.abc import Generator
from typing import Any

import networkx as nx
import numpy as np
import simpy
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import Tensor

from hlsim import Simulation
from hlsim.models.losses import Loss
from hlsim.topology.network import Network

Array = np.ndarray
_SIGMA = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "identity": lambda a: a}


@st.composite
def acyclic(
    draw: DrawFn, models: tuple[str, ...] = ("instant", "leaky"), feedback: tuple[str, ...] = ("symmetric",)
) -> nx.DiGraph:
    """Draw inputs and neurons whose edges lead to later ones, with delays 0 ... 9 each way; a few outputs."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    graph, inputs, count = nx.DiGraph(), draw(st.integers(1, 3)), draw(st.integers(2, 8))
    for i in range(inputs):
        graph.add_node(f"n{i}", model="input")
    for i in range(inputs, inputs + count):
        role = {"role": "output"} if i >= inputs + count - 2 or generator.random() < 0.2 else {}
        bias = {"bias": float(generator.normal() * 0.3)} if generator.random() < 0.5 else {}
        activation = str(generator.choice(list(_SIGMA)))
        model = str(generator.choice(models))
        graph.add_node(
            f"n{i}", model=model, activation=activation, update="clock", lag="matched", **role, **bias
        )
    nodes = list(graph)
    for k in range(inputs, len(nodes)):
        for j in generator.choice(k, min(k, int(generator.integers(1, 4))), replace=False):
            there, back = (int(x) for x in generator.integers(0, 10, 2))
            graph.add_edge(
                nodes[j],
                nodes[k],
                weight=float(generator.normal()),
                delay=there,
                feedback_delay=back,
                feedback=str(generator.choice(feedback)),
            )
    return graph


def feed(sim: Simulation, inputs: Array, targets: Array) -> None:
    """Show a simulation a row at every tick, (tick, column) each, and nothing after them."""

    def play() -> Generator[simpy.Event, object, None]:
        for x, y in zip(inputs, targets, strict=True):
            sim.controls.input(x)
            sim.controls.target(y)
            sim.controls.phi(1.0)
            yield sim.env.timeout(1)
        sim.controls.target(None)
        sim.controls.phi(0.0)

    sim.env.process(play())


def stream(network: Network, ticks: int, seed: int) -> tuple[Array, Array]:
    """Return inputs and targets (tick, column), independent from tick to tick; targets are shares."""
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(ticks, len(network.inputs)))
    return inputs, generator.dirichlet(np.ones(len(network.outputs)), ticks)


def through_delays(network: Network, inputs: Array, targets: Array, loss: Loss) -> Array:
    """Return the gradient (edge,) of the loss of all ticks by autograd, for the first weights.

    A leaky neuron with tau = dt is what its drive was a tick ago.
    """
    w = torch.tensor(network.weight[0], requires_grad=True)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(network.n))
    synapses = np.flatnonzero(network.source >= 0)
    graph.add_edges_from(zip(network.source[synapses], network.target[synapses], strict=True))
    order, zero = [int(i) for i in nx.topological_sort(graph)], torch.zeros((), dtype=torch.float64)
    into = [np.flatnonzero(network.target == i).tolist() for i in range(network.n)]
    history: list[dict[int, Tensor]] = []
    drives: list[dict[int, Tensor]] = []
    total = zero
    for x, y in zip(inputs, targets, strict=True):
        now: dict[int, Tensor] = dict(zip(network.inputs.tolist(), torch.tensor(x), strict=True))
        history.append(now)
        a: dict[int, Tensor] = {}
        for i in (i for i in order if network.model[i] == "leaky"):
            sigma = _SIGMA[network.activation[i]]
            now[i] = sigma(drives[-1][i]) if drives else zero
        for i in (i for i in order if network.model[i] != "input"):
            a[i] = sum((w[e] * _heard(network, history, e) for e in into[i]), zero)
            if network.model[i] == "instant":
                now[i] = _SIGMA[network.activation[i]](a[i])
        drives.append(a)
        outputs = torch.stack([now[i] for i in network.outputs.tolist()])[None]
        total = total + loss.value(outputs, torch.tensor(y)[None]).sum()
    (found,) = torch.autograd.grad(total, w, allow_unused=True)
    return np.zeros(network.m) if found is None else found.numpy()


def _heard(network: Network, history: list[dict[int, Tensor]], e: int) -> Tensor:
    source, ago = int(network.source[e]), int(network.delay[e])
    if source < 0:
        return torch.ones((), dtype=torch.float64)
    return history[-1 - ago][source] if ago < len(history) else torch.zeros((), dtype=torch.float64)


def late_descent(
    network: Network, inputs: Array, targets: Array, beta: float, eta: float, order: str
) -> tuple[Array, Array]:
    """Return w and omega (edge,) after descent by a gradient that is late by the lags, in plain numpy.

    For instant neurons, squared error, dt = 1. Each neuron i works at tick t for the tick v = t - L_i: its
    costate is that of its own loss at v, and of what target k worked out for v + d_ki, at v + d_ki + L_k,
    with the weight of that tick. Nothing here waits or travels: it is looked up.
    """
    w, omega, lag = network.weight[0].copy(), np.zeros(network.m), network.lag
    order_of, backward = _forward(network), _learning(network)
    rate = np.where(np.isnan(network.beta), beta, network.beta) * network.plastic
    outputs = {int(i): k for k, i in enumerate(network.outputs)}
    s, a, h, q, weights = ([np.zeros(0)] * 0 for _ in range(5))  # by tick
    for t, x in enumerate(inputs):
        h.append(np.zeros(network.n))
        a.append(np.zeros(network.n))
        s.append(np.ones(network.m))
        q.append(np.zeros(network.n))
        weights.append(w.copy())
        h[t][network.inputs] = x
        for i in order_of:
            into = np.flatnonzero(network.target == i)
            for e in into[network.source[into] >= 0]:
                then = t - network.delay[e]
                s[t][e] = h[then][network.source[e]] if then >= 0 else 0.0
            a[t][i] = w[into] @ s[t][into]
            h[t][i] = _VALUE[network.activation[i]](a[t][i])
        for i in reversed(order_of):
            v = t - lag[i]
            if v < 0:
                continue
            z = h[v][i] - targets[v, outputs[i]] if i in outputs else 0.0
            for e in np.flatnonzero((network.source == i) & backward):
                k = int(network.target[e])
                when = v + network.delay[e] + lag[k]
                through = network.feedback_weight[0, e] if network.feedback[e] == 2 else weights[when][e]
                z += through * q[when][k]
            q[t][i] = z * _SLOPE[network.activation[i]](a[v][i])
        heard = np.array([s[max(0, t - lag[i])][e] for e, i in enumerate(network.target)])
        step = q[t][network.target] * heard
        used = omega
        omega = omega + step - eta * omega
        w = w - rate * (omega if order == "sequential" else used)
    return w, omega


def _learning(network: Network) -> np.ndarray:
    """Return the edges (edge,) on which costates go back that come from a loss."""
    back = np.flatnonzero(network.feedback > 0)
    graph = nx.DiGraph(zip(network.source[back].tolist(), network.target[back].tolist(), strict=True))
    graph.add_nodes_from(network.outputs.tolist())
    reached = {i for k in network.outputs.tolist() for i in (k, *nx.ancestors(graph, k))}
    return (network.feedback > 0) & np.isin(network.target, list(reached))


_VALUE: dict[str, Any] = {
    "tanh": np.tanh,
    "sigmoid": lambda a: 1.0 / (1.0 + np.exp(-a)),
    "identity": lambda a: a,
}
_SLOPE: dict[str, Any] = {
    "tanh": lambda a: 1.0 / np.cosh(a) ** 2,
    "sigmoid": lambda a: 0.25 / np.cosh(a / 2.0) ** 2,
    "identity": lambda a: 1.0,
}


def _forward(network: Network) -> list[int]:
    graph = nx.DiGraph()
    synapses = np.flatnonzero(network.source >= 0)
    graph.add_edges_from(zip(network.source[synapses], network.target[synapses], strict=True))
    return [int(i) for i in nx.topological_sort(graph) if not network.is_input[i]]
