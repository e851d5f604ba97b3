"""What delays do: when a change arrives, and from when on the update is the exact gradient.

The theory counts steps from a change, a trace has rows: the row of tick t holds the values after all phases
of t. A change at tick t0 reaches h after k steps if row t0 + k is the first in which h is different. Step k
of omega is the one that ends in row t0 + k: omega[t0 + k] - omega[t0 + k - 1]. In explicit order it is made
in phase 0 of that tick from the q and s of the row before. In sequential order instant neurons make it in
phase 6, from those of the same row; leaky ones in phase 0, from the z of that row and the s and slope of the
one before.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hlsim import Simulation, topology
from hlsim.models.losses import LOSSES, Custom, Loss
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays
from hlsim.topology.network import Network, flatten
from tests.support.theory import (
    CLOCK,
    ENGINES,
    Vector,
    gradient,
    layers,
    recorded,
    samples,
    simulate,
    skeleton,
    stacked,
)

DT = 0.5  # and tau = dt: fully local, a leaky neuron costs one tick


def frozen(order: str = "explicit") -> Hamiltonian:
    return Hamiltonian(beta=0.0, eta=0.0, order=order)


def stack(nu: int, model: str, delay: int, activation: str = "tanh", bias: float | None = None) -> nx.DiGraph:
    """Return nu layers of neurons after the inputs, with one delay on every edge, both ways."""
    # Of few edges (the fast engine takes them one by one) and of many (as a matrix).
    sizes = [3, *(6, 6, 7, 4)[: nu - 1], 2]
    graph = topology.layered(sizes, seed=nu, model=model, delay=delay, activation=activation, bias=bias)
    for _, data in graph.nodes(data=True):
        if data["model"] == "leaky":
            data["tau"] = DT
    return graph


# ---- impulses

CHANGE = 3


def impulses(
    graph: nx.DiGraph, order: str, busy: bool, engine: str
) -> dict[tuple[str, str], list[list[int]]]:
    """Return by (changed, looked at), layer and neuron after how many steps a change of one tick shows up.

    Three runs: as it is, with another input at one tick, with another target there. The fast engine makes
    them replicas of a batch, whose rows alternate; frozen as they are, shared weights couple nothing.
    """
    ticks, replicas = CHANGE + 25, 3
    network = flatten(graph, node_defaults=CLOCK, dt=DT)
    rng = np.random.default_rng(network.n)
    x, y = (np.zeros((ticks, replicas, len(nodes))) for nodes in (network.inputs, network.outputs))
    if busy:
        x += rng.normal(size=(ticks, 1, x.shape[2]))
        y += rng.normal(size=(ticks, 1, y.shape[2]))
    x[CHANGE, 1] += 1.0
    y[CHANGE, 2] += 1.0
    options = {"rule": frozen(order), "dt": DT, "engine": engine}
    if engine == "batched":
        streams = [Arrays(x.reshape(-1, x.shape[2]), y.reshape(-1, y.shape[2]))]
    else:
        streams = [Arrays(x[:, k], y[:, k]) for k in range(replicas)]
    batch = replicas // len(streams)
    traces = [recorded(simulate(graph, stream, batch=batch, **options)) for stream in streams]
    found = {}
    for name in ("h", "z"):
        rows = np.concatenate(
            [trace["sampled/" + name].reshape(ticks, batch, network.n) for trace in traces], 1
        )
        for k, changed in ((1, "input"), (2, "target")):
            # A product of matrices may round its rows otherwise, equal as they are.
            moved = np.abs(rows[:, k] - rows[:, 0]) > 1e-14
            first = np.where(moved.any(0), moved.argmax(0) - CHANGE, -1)
            found[changed, name] = [first[nodes].tolist() for nodes in layers(network)[1:]]
    return found


def table(graph: nx.DiGraph, steps: Iterable[int]) -> list[list[int]]:
    """Return an expected number of steps for every neuron of every layer."""
    parts = layers(flatten(graph, node_defaults=CLOCK, dt=DT))[1:]
    return [[k] * len(nodes) for k, nodes in zip(steps, parts, strict=True)]


@pytest.mark.parametrize("busy", [False, True], ids=["silent", "busy"])
@pytest.mark.parametrize("delay", [0, 1, 3])
@pytest.mark.parametrize("nu", [2, 3, 4, 5])
def test_an_impulse_needs_a_step_and_the_delay_for_every_leaky_layer(nu: int, delay: int, busy: bool) -> None:
    """An input impulse reaches h of layer l after l hops, a target impulse its z after nu - l and a step."""
    graph = stack(nu, "leaky", delay)
    found = impulses(graph, "explicit", busy, "batched")
    layer = range(1, nu + 1)
    assert found["input", "h"] == table(graph, [k * (delay + 1) for k in layer])
    assert found["target", "z"] == table(graph, [(nu - k) * (delay + 1) + 1 for k in layer])
    assert found["target", "h"] == table(graph, [-1] * nu)


@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("delay", [0, 1, 3])
@pytest.mark.parametrize("nu", [2, 3, 5])
def test_an_impulse_needs_only_the_delay_for_every_instant_layer(nu: int, delay: int, order: str) -> None:
    graph = stack(nu, "instant", delay)
    found = impulses(graph, order, True, "batched")
    layer = range(1, nu + 1)
    assert found["input", "h"] == table(graph, [k * delay for k in layer])
    assert found["target", "z"] == table(graph, [(nu - k) * delay for k in layer])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("model", "delay", "h", "z"),
    [
        ("leaky", 0, [1, 2, 3], [3, 2, 1]),
        ("leaky", 1, [2, 4, 6], [5, 3, 1]),
        ("instant", 1, [1, 2, 3], [2, 1, 0]),
    ],
)
def test_arrivals_in_three_layers(model: str, delay: int, h: list[int], z: list[int], engine: str) -> None:
    graph = stack(3, model, delay)
    found = impulses(graph, "explicit", False, engine)
    assert found["input", "h"] == table(graph, h)
    assert found["target", "z"] == table(graph, z)


@pytest.mark.parametrize("nu", [2, 3, 4, 5])
def test_a_leaky_layer_pairs_an_activation_with_the_error_of_another_input(nu: int) -> None:
    """Staleness 2(nu - l) + 2: so much later than in its s does an input show up in the z of layer l.

    In a linear net: elsewhere an input also changes the slopes that errors on their way back meet.
    """
    found = impulses(stack(nu, "leaky", 0, "identity"), "explicit", True, "batched")
    s = [0, *(steps[0] for steps in found["input", "h"])]
    z = [steps[0] for steps in found["input", "z"]]
    assert [z[k] - s[k] for k in range(nu)] == [2 * (nu - k) for k in range(nu)]


# ---- the exact gradient


def exact_from(simulation: Simulation, gradients: Sequence[Vector], hold: int) -> list[list[int]]:
    """Return for each row of the stream, by edge, the step from which omega moves by dt dL/dw to 1e-12."""
    omega = recorded(simulation)["sampled/omega"]
    increments = np.diff(omega, axis=0, prepend=np.zeros((1, omega.shape[1])))
    found = []
    for k, expected in enumerate(gradients):
        wrong = np.abs(increments[k * hold : (k + 1) * hold] - DT * expected) > 1e-12
        found.append(np.where(wrong.any(0), hold - wrong[::-1].argmax(0), 0).tolist())
    return found


def held(
    graph: nx.DiGraph, order: str, hold: int, engine: str = "batched", loss: str | Loss = "squared_error"
) -> list[list[int]]:
    """Return ``exact_from`` of two random rows, the second of which follows the first without a break."""
    network = flatten(graph, node_defaults=CLOCK, dt=DT)
    x, y = stacked(samples(2, len(network.inputs), len(network.outputs), seed=network.m))
    # Small, so that no tanh saturates: there a step would be wrong by less than round-off.
    stimulus = Arrays(0.4 * x, 0.4 * y)
    simulation = simulate(graph, stimulus, rule=frozen(order), dt=DT, hold=hold, engine=engine, loss=loss)
    value = (LOSSES[loss] if isinstance(loss, str) else loss).value
    gradients = [
        gradient(network, network.weight[0], x, partial(value, target=torch.as_tensor(y)))
        for x, y in zip(*stacked(stimulus), strict=True)
    ]
    return exact_from(simulation, gradients, hold)


def by_layer(graph: nx.DiGraph, steps: Sequence[int]) -> list[int]:
    """Return for every edge (biases too) the number of its target's layer."""
    network = flatten(graph, node_defaults=CLOCK, dt=DT)
    layer = np.zeros(network.n, dtype=int)
    for k, nodes in zip(steps, layers(network)[1:], strict=True):
        layer[nodes] = k
    return layer[network.target].tolist()


@pytest.mark.parametrize("delay", [0, 1, 3])
@pytest.mark.parametrize("nu", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("model", "order", "cost", "last"),
    [("leaky", "explicit", 1, 2), ("instant", "explicit", 0, 1), ("instant", "sequential", 0, 0)],
)
def test_a_held_sample_gives_the_exact_gradient_from_a_known_step_on(
    nu: int, delay: int, model: str, order: str, cost: int, last: int
) -> None:
    """(2 nu - l) hops from the input to the outputs and back to layer l; then z and omega follow."""
    graph = stack(nu, model, delay, bias=0.2)
    expected = by_layer(graph, [(2 * nu - k) * (delay + cost) + last for k in range(1, nu + 1)])
    assert held(graph, order, hold=2 * nu * (delay + 1) + 4) == [expected, expected]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("model", "delay", "order", "steps"),
    [
        ("leaky", 0, "explicit", [7, 6, 5]),
        ("leaky", 1, "explicit", [12, 10, 8]),
        ("instant", 1, "explicit", [6, 5, 4]),
        ("instant", 1, "sequential", [5, 4, 3]),
    ],
)
def test_three_layers_are_exact_from(
    model: str, delay: int, order: str, steps: list[int], engine: str
) -> None:
    graph = stack(3, model, delay, bias=0.2)
    assert held(graph, order, hold=15, engine=engine) == [by_layer(graph, steps)] * 2


# ---- delays, models and paths of all kinds


def thicket(seed: int) -> nx.MultiDiGraph:
    """Return a random net without cycles: both models, two activations, parallel edges, outputs on the way.

    Every edge has a delay and a feedback delay of its own, and every neuron a path to an output.
    """
    rng = np.random.default_rng(seed)
    graph = nx.MultiDiGraph()
    members = ["in[0]", "in[1]"]
    graph.add_nodes_from(members, model="input")
    size = 6
    for k in range(size):
        role = rng.choice(["input", "output", ""], p=[0.15, 0.2, 0.65]) if k < size - 1 else "output"
        given: dict[str, Any] = {"role": str(role)} if role else {}
        given |= {"bias": 0.3 * rng.normal()} if rng.random() < 0.5 else {}
        activation = str(rng.choice(["tanh", "identity"]))
        graph.add_node(
            f"n[{k}]", model=str(rng.choice(["leaky", "instant"])), tau=DT, activation=activation, **given
        )
        for source in rng.choice(members, size=rng.integers(1, 3)).tolist():
            _join(graph, rng, source, f"n[{k}]")
        members.append(f"n[{k}]")
    for k in range(size - 1):
        if graph.out_degree(f"n[{k}]") == 0:
            _join(graph, rng, f"n[{k}]", f"n[{rng.integers(k + 1, size)}]")
    for _, data in graph.nodes(data=True):
        if data["model"] == "instant":
            del data["tau"]
    return graph


def _join(graph: nx.MultiDiGraph, rng: np.random.Generator, source: str, target: str) -> None:
    weight = rng.uniform(0.5, 0.9) * rng.choice([-1.0, 1.0])
    delay, back = rng.integers(0, 5, size=2).tolist()
    graph.add_edge(source, target, weight=weight, delay=delay, feedback_delay=back)


def predicted(network: Network, order: str, linear_loss: bool) -> list[int]:
    """Return the step from which every edge is exact, by the longest paths.

    A state is right from row T_h on, a drive from T_a, a costate from T_z, what is sent back from T_q. A hop
    costs its delay, and a tick more where it ends in a leaky neuron. Where the slope or the gradient of the
    loss is a constant, it is right at once.
    """
    target, sequential = network.target, order == "sequential"
    leaky = (np.array(network.model) == "leaky").astype(int)
    bent = np.array([name != "identity" for name in network.activation])
    t_h, t_a, t_z, t_q = (np.zeros(network.n, dtype=int) for _ in range(4))
    t_s = np.zeros(network.m, dtype=int)
    nodes = [i for i in nx.topological_sort(skeleton(network)) if network.model[i] != "input"]
    for i in nodes:
        into = np.flatnonzero((target == i) & (network.source >= 0))
        t_s[into] = t_h[network.source[into]] + network.delay[into]
        t_a[i] = t_s[into].max(initial=0)
        t_h[i] = t_a[i] + leaky[i]
    for i in reversed(nodes):
        out = np.flatnonzero(network.source == i)
        t_z[i] = (t_q[target[out]] + network.feedback_delay[out]).max(initial=0) + leaky[i]
        if i in network.outputs:
            t_loss = 0 if linear_loss else t_h[i]
            # In sequential order a leaky output's new z holds the loss at its new h: a tick is saved.
            t_z[i] = max(t_z[i], leaky[i], t_loss if sequential else t_loss + leaky[i])
        t_q[i] = max(t_z[i], bent[i] * t_a[i])
    if not sequential:
        return (np.maximum(t_q[target], t_s) + 1).tolist()
    held = np.maximum((bent * t_a)[target], t_s)
    return np.maximum(t_z[target], held + leaky[target]).tolist()


@given(
    seed=st.integers(0, 10**6),
    order=st.sampled_from(["explicit", "sequential"]),
    linear_loss=st.booleans(),
    engine=st.sampled_from(ENGINES),
)
def test_with_any_delays_the_longest_paths_say_from_which_step_on_a_gradient_is_exact(
    seed: int, order: str, linear_loss: bool, engine: str
) -> None:
    graph = thicket(seed)
    network = flatten(graph, node_defaults=CLOCK, dt=DT)
    expected = predicted(network, order, linear_loss)
    loss = Custom(lambda y, target: (y * target).sum(-1)) if linear_loss else "squared_error"
    assert held(graph, order, max(expected) + 3, engine, loss) == [expected, expected]
