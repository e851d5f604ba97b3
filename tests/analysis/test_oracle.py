"""Gradients by autograd: of the network that is simulated, and one like the other where they must be."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation, topology
from hlsim.analysis import oracle
from hlsim.errors import TopologyError
from hlsim.models.losses import LOSSES, SquaredError
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays
from hlsim.topology.network import Network, flatten
from tests.support.theory import tangle

TICKS = 25
CLOCK = {"update": "clock"}
EXACT = {"update": "arrival", "send_threshold": 0.0, "costate_threshold": 0.0}


def stream(network: Network, ticks: int = TICKS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return (
        generator.normal(size=(ticks, len(network.inputs))),
        generator.dirichlet(np.ones(len(network.outputs)), ticks),
    )


def layered(**attributes: Any) -> Network:
    graph = topology.layered([4, 6, 5, 3], seed=1, bias=0.1, **attributes)
    return flatten(graph, node_defaults=CLOCK)


def differences(total: Any, w: np.ndarray, edges: Sequence[int], step: float = 1e-5) -> list[float]:
    """Return the slope of a function of the weights (edge,) along some of them."""
    slopes = []
    for e in edges:
        up, down = w.copy(), w.copy()
        up[e] += step
        down[e] -= step
        slopes.append((total(up) - total(down)) / (2 * step))
    return slopes


# ---- the same network


@pytest.mark.parametrize("defaults", [CLOCK, EXACT], ids=["clock", "arrival"])
@pytest.mark.parametrize(("seed", "activation"), [(0, "tanh"), (1, "sigmoid"), (2, "softplus")])
def test_unrolled_is_what_is_simulated(seed: int, activation: str, defaults: dict[str, Any]) -> None:
    """With frozen weights: h of all neurons at all ticks, through all delays, from rest and from resets."""
    graph = tangle(seed, 1.5)
    for _, node in graph.nodes(data=True):
        if node.get("model") != "input":
            node["activation"] = activation
    network = flatten(graph, node_defaults=defaults, dt=0.5)
    x, y = stream(network)
    rule, hold = Hamiltonian(beta=0.0), 5
    sim = Simulation(
        network,
        rule=rule,
        stimulus=Arrays(x[::hold], y[::hold]),
        hold=hold,
        reset=True,
        dt=0.5,
        dtype="float64",
    )
    trace = sim.run(every=1)
    net = oracle.Unrolled(network, 0.5)
    state, w = net.rest(), oracle._real(network.weight[0])
    for t in range(TICKS):
        state = net.step(state if t % hold else net.rest(), w, oracle._real(x[t - t % hold]))
        np.testing.assert_allclose(trace["sampled/h"][t], state[: network.n], rtol=1e-12, atol=1e-13)


# ---- one oracle against the other


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_without_delays_through_time_is_backpropagation_at_every_tick(loss: Any) -> None:
    network = layered(model="instant")
    x, y = stream(network)
    w = network.weight[0]
    each = oracle.backpropagation(network, w, x, y, loss)
    assert each.shape == (TICKS, network.m)
    assert np.abs(each).max() > 0.1
    np.testing.assert_allclose(oracle.through_time(network, w, x, y, loss), each.sum(0), atol=1e-13)
    np.testing.assert_allclose(
        oracle.through_time(network, w, x, y, loss, window=7), each[-7:].sum(0), atol=1e-13
    )


@pytest.mark.parametrize("defaults", [CLOCK, EXACT], ids=["clock", "arrival"])
@pytest.mark.parametrize("seed", range(3))
def test_recurrent_learning_sums_up_to_backpropagation_through_time(
    seed: int, defaults: dict[str, Any]
) -> None:
    network = flatten(tangle(seed, 1.5), node_defaults=defaults, dt=0.5)
    x, y = stream(network)
    w = network.weight[0]
    each = oracle.recurrent(network, w, x, y, SquaredError(), dt=0.5)
    assert np.abs(each).max() > 0.01
    whole = oracle.through_time(network, w, x, y, SquaredError(), dt=0.5)
    np.testing.assert_allclose(each.sum(0), whole, rtol=1e-10, atol=1e-12)
    part = oracle.through_time(network, w, x, y, SquaredError(), dt=0.5, window=5)
    np.testing.assert_allclose(each[-5:].sum(0), part, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("model", ["leaky", "instant"])
def test_on_a_held_input_the_implicit_gradient_is_that_of_backpropagation(model: str) -> None:
    """Whatever the delays and time constants: a feed-forward network settles at its function."""
    network = layered(model=model, delay=(1, 4))
    x, y = stream(network, 1)
    w = network.weight[0]
    found = oracle.implicit(network, w, x[0], y[0], SquaredError())
    expected = oracle.backpropagation(network, w, x, y, SquaredError())[0]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


def test_the_implicit_gradient_is_what_a_recurrent_network_learns_when_it_has_settled() -> None:
    """At its fixed point omega moves by dt dL/dw a tick: eta = 0, weights frozen, loss at every tick."""
    graph = topology.random(8, 3, seed=2, std=0.4, bias=0.1, inputs=2, outputs=2, delay=(0, 3))
    network = flatten(graph, node_defaults=CLOCK | {"tau": 2.0}, dt=0.5)
    x, y = stream(network, 1)
    rule = Hamiltonian(beta=0.0, eta=0.0)
    sim = Simulation(network, rule=rule, stimulus=Arrays(x, y), hold=800, dt=0.5, dtype="float64")
    omega = sim.run(every=1, sampled=["omega"])["sampled/omega"]
    found = oracle.implicit(network, network.weight[0], x[0], y[0], SquaredError())
    assert np.abs(found).max() > 0.01
    np.testing.assert_allclose((omega[-1] - omega[-2]) / 0.5, found, rtol=1e-9, atol=1e-12)


# ---- against differences


@pytest.mark.parametrize("delay", [0, 1, 3])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus"])
@pytest.mark.parametrize("model", ["leaky", "instant"])
def test_gradients_are_the_slopes_of_the_loss_of_runs(model: str, activation: str, delay: int) -> None:
    """A leaky neuron is 0 at tick 0, whatever its activation makes of no drive; so it is after a reset."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("hidden", model=model, activation=activation, bias=0.3)
    graph.add_node("y", activation="identity", tau=2.0, role="output")
    graph.add_edge("x", "hidden", weight=0.7)
    graph.add_edge("hidden", "y", weight=-0.4, delay=delay)
    network = flatten(graph, node_defaults=CLOCK)
    x, y = stream(network, 8)

    def loss(w: np.ndarray) -> float:
        one = replace(network, weight=w[None])
        rule = Hamiltonian(beta=0.0)
        sim = Simulation(one, rule=rule, stimulus=Arrays(x, y), hold=2, reset=True, dtype="float64")
        return float(sim.run(every=1, sampled=["loss"])["sampled/loss"].sum())

    w, resets = network.weight[0], np.arange(16) % 2 == 0
    expected = differences(loss, w, range(network.m))
    args = (network, w, x.repeat(2, 0), y.repeat(2, 0), SquaredError())
    np.testing.assert_allclose(oracle.through_time(*args, resets=resets), expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(oracle.recurrent(*args, resets=resets).sum(0), expected, rtol=1e-6, atol=1e-8)


def test_gradients_are_the_slopes_of_the_loss() -> None:
    network = flatten(tangle(4, 1.5), node_defaults=CLOCK, dt=0.5)
    x, y = stream(network)
    w = network.weight[0]
    edges = list(range(0, network.m, 5))

    def total(weights: np.ndarray) -> float:
        net, state, sum_ = oracle.Unrolled(network, 0.5), oracle.Unrolled(network, 0.5).rest(), 0.0
        for t in range(TICKS):
            state = net.step(state, oracle._real(weights), oracle._real(x[t]))
            sum_ += 0.5 * float(((net.outputs(state).numpy() - y[t]) ** 2).sum())
        return sum_

    found = oracle.through_time(network, w, x, y, SquaredError(), dt=0.5)
    np.testing.assert_allclose(found[edges], differences(total, w, edges), rtol=1e-6, atol=1e-8)


def test_what_is_not_plastic_has_no_gradient() -> None:
    graph = topology.layered([3, 4, 2], seed=1)
    for k, (*_, data) in enumerate(graph.edges(data=True)):
        data["plastic"] = k % 3 > 0
    network = flatten(graph, node_defaults=CLOCK)
    x, y = stream(network, 3)
    w = network.weight[0]
    for found in (
        oracle.backpropagation(network, w, x, y, SquaredError())[0],
        oracle.through_time(network, w, x, y, SquaredError()),
        oracle.recurrent(network, w, x, y, SquaredError())[2],
        oracle.implicit(network, w, x[0], y[0], SquaredError()),
    ):
        assert (found[~network.plastic] == 0).all()
        assert (found[network.plastic] != 0).any()


# ---- what oracles do not know


def test_a_cycle_is_no_function_of_its_input_alone() -> None:
    network = flatten(tangle(0, 1.5), node_defaults=CLOCK)
    x, y = stream(network, 1)
    with pytest.raises(TopologyError, match="cycle"):
        oracle.backpropagation(network, network.weight[0], x, y, SquaredError())


def test_a_slow_clock_is_refused() -> None:
    network = flatten(topology.layered([2, 2, 1]), node_defaults=CLOCK | {"period": 2, "tau": 9.0})
    with pytest.raises(TopologyError, match=r"node 'hidden\[0\]': period: must be 1 for an oracle, got 2"):
        oracle.Unrolled(network)


def test_no_fixed_point_is_said() -> None:
    """h = softplus(2 h + 1) has none."""
    graph = nx.DiGraph()
    graph.add_node("a", role="output", activation="softplus")
    graph.add_node("u", model="input")
    graph.add_edges_from([("a", "a", {"weight": 2.0}), ("u", "a", {"weight": 1.0})])
    network = flatten(graph, node_defaults=CLOCK)
    with pytest.raises(TopologyError, match="no fixed point was found"):
        oracle.implicit(network, network.weight[0], [1.0], [0.0], SquaredError())
