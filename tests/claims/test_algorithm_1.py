"""Algorithm 1 of the paper: every variable at once, from the values of the tick before; and its controls."""

from collections.abc import Callable, Mapping

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation, topology
from hlsim.models.rules import Gate, Hamiltonian, Phi, Schedule
from hlsim.stimulus import Arrays
from hlsim.topology.network import Network
from tests.support.plain import by_rows, euler
from tests.support.theory import (
    ENGINES,
    FIELDS,
    Vector,
    distance,
    edge_table,
    layers,
    recorded,
    samples,
    simulate,
    stacked,
    tangle,
)

TICKS = 200
EXACT = 1e-13
DT, TAU, BETA, ETA = 0.5, 0.5, 0.05, 0.6
INPUTS, HIDDEN, OUTPUTS = 3, 6, 2

Matrices = dict[str, Vector]


def recurrent(readout: str) -> nx.DiGraph:
    """Return a hidden layer of leaky neurons, each connected to all of it, and a linear read-out."""
    rng = np.random.default_rng(11)
    graph = nx.DiGraph()
    inputs, hidden, outputs = ([f"{part}[{k}]" for k in range(n)] for part, n in PARTS.items())
    graph.add_nodes_from(inputs, model="input")
    graph.add_nodes_from(hidden, model="leaky", tau=TAU, bias=0.1)
    graph.add_nodes_from(outputs, model=readout, activation="identity", role="output", bias=-0.1)
    nx.set_node_attributes(graph, {name: TAU for name in outputs if readout == "leaky"}, "tau")
    for source, target in [
        *((j, i) for i in hidden for j in (*inputs, *hidden)),
        *((j, i) for i in outputs for j in hidden),
    ]:
        graph.add_edge(source, target, weight=0.3 * rng.normal())
    return graph


PARTS = {"x": INPUTS, "h": HIDDEN, "y": OUTPUTS}


def edges(network: Network) -> dict[str, np.ndarray]:
    """Return where the matrices of Algorithm 1 lie among the edges: U from the input, W, b; read-out V, c."""
    x, h, y = ([network.label.index(f"{part}[{k}]") for k in range(n)] for part, n in PARTS.items())
    ends = {"U": (x, h), "W": (h, h), "b": ([-1], h), "V": (h, y), "c": ([-1], y)}
    return {name: edge_table(network, sources, targets) for name, (sources, targets) in ends.items()}


def algorithm_1(
    theta: Matrices, omega: Matrices, inputs: Vector, targets: Vector, phi: Vector, readout: str
) -> list[tuple[Vector, Vector, Vector, Vector, Matrices, Matrices]]:
    """Return h, z of the hidden layer and of the read-out, weights and omegas at every tick and one more."""
    h, z, y, zy = np.zeros(HIDDEN), np.zeros(HIDDEN), np.zeros(OUTPUTS), np.zeros(OUTPUTS)
    history = []
    for x, target, scale in zip(inputs, targets, phi, strict=True):
        a = theta["U"] @ x + theta["W"] @ h + theta["b"][:, 0]
        ay = theta["V"] @ h + theta["c"][:, 0]
        if readout == "instant":
            y, zy = ay, scale * (ay - target)
        q = z * (1.0 - np.tanh(a) ** 2) / TAU
        qy = zy if readout == "instant" else zy / TAU
        g = theta["V"].T @ qy + theta["W"].T @ q
        history.append((h, z, y, zy, theta, omega))
        s = {"U": x, "W": h, "b": np.ones(1), "V": h, "c": np.ones(1)}
        errors = {"U": q, "W": q, "b": q, "V": qy, "c": qy}
        theta = {name: theta[name] - DT * BETA * omega[name] for name in theta}
        omega = {
            name: omega[name] + DT * (np.outer(errors[name], s[name]) - ETA * omega[name]) for name in omega
        }
        h, z = h + DT * (np.tanh(a) - h) / TAU, z + DT * (g - z / TAU - ETA * z)
        if readout == "leaky":
            y, zy = y + DT * (ay - y) / TAU, zy + DT * (scale * (y - target) - zy / TAU - ETA * zy)
    return [*history, (h, z, y, zy, theta, omega)]


def as_trace(network: Network, history: list[tuple]) -> dict[str, Vector]:
    """Return what a trace of the history holds, (tick, node) or (tick, edge)."""
    table = edges(network)
    node = {part: [network.label.index(f"{part}[{k}]") for k in range(n)] for part, n in PARTS.items()}
    rows = {
        name: np.zeros((len(history), network.m if name in ("w", "omega") else network.n)) for name in FIELDS
    }
    for t, (h, z, y, zy, theta, omega) in enumerate(history):
        rows["h"][t, node["h"]], rows["h"][t, node["y"]] = h, y
        rows["z"][t, node["h"]], rows["z"][t, node["y"]] = z, zy
        for name, where in table.items():
            rows["w"][t, where], rows["omega"][t, where] = theta[name], omega[name]
    return rows


def run_by_hand(
    simulation: Simulation, stimulus: Arrays, phi: Vector, readout: str, hold: int = 1, reset: bool = False
) -> dict[str, Vector]:
    """Run Algorithm 1 on a stream; with resets each row is a run of its own that takes over w and omega."""
    network = simulation.network
    inputs, targets = stacked(stimulus, hold)
    theta = {name: network.weight[0][where] for name, where in edges(network).items()}
    omega = {name: np.zeros_like(values) for name, values in theta.items()}
    length = hold if reset else len(inputs)
    history: list[tuple] = []
    for start in range(0, len(inputs), length):
        part = slice(start, start + length)
        rows = algorithm_1(theta, omega, inputs[part], targets[part], phi[part], readout)
        history += rows[:-1]
        *_, theta, omega = rows[-1]
    expected = as_trace(network, history)
    expected["h"][:, network.inputs] = inputs
    return expected


def check_against(simulation: Simulation, expected: Mapping[str, Vector]) -> None:
    """Check every variable at every tick, and that all have moved."""
    trace = recorded(simulation)
    for name in FIELDS:
        assert distance(expected[name][-1], expected[name][0]) > 1e-3, name
        assert distance(trace["sampled/" + name], expected[name]) <= EXACT, name


def hamiltonian(phi: Phi = 1.0) -> Hamiltonian:
    return Hamiltonian(BETA, ETA, phi)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("readout", ["leaky", "instant"])
def test_explicit_order_is_algorithm_1_at_every_tick(readout: str, engine: str) -> None:
    stimulus = samples(TICKS, INPUTS, OUTPUTS)
    simulation = simulate(recurrent(readout), stimulus, rule=hamiltonian(), dt=DT, engine=engine)
    check_against(simulation, run_by_hand(simulation, stimulus, np.ones(TICKS), readout))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("phi", "value"),
    [
        (Gate(5, 0.7), lambda t: 0.7 * (t % 12 >= 5)),
        (Gate(30), lambda t: 0.0 * t),
        (
            Schedule(((3, 1.0), (40, -0.3), (57, 1.5))),
            lambda t: 1.0 * (t >= 3) - 1.3 * (t >= 40) + 1.8 * (t >= 57),
        ),
    ],
    ids=["gate", "shut gate", "schedule"],
)
def test_phi_has_its_value_of_the_tick(phi: Phi, value: Callable[[Vector], Vector], engine: str) -> None:
    """A gate is off for the first ticks of every row; a schedule counts the ticks of the run."""
    hold, rows = 12, 10
    stimulus = samples(rows, INPUTS, OUTPUTS)
    simulation = simulate(
        recurrent("leaky"), stimulus, rule=hamiltonian(phi), dt=DT, hold=hold, engine=engine
    )
    expected = run_by_hand(simulation, stimulus, value(np.arange(1.0 * hold * rows)), "leaky", hold)
    trace = recorded(simulation)
    for name in FIELDS:
        assert distance(trace["sampled/" + name], expected[name]) <= EXACT, name


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("readout", ["leaky", "instant"])
def test_with_resets_every_row_is_a_run_of_its_own_that_takes_over_weights(readout: str, engine: str) -> None:
    hold, rows = 9, 12
    stimulus = samples(rows, INPUTS, OUTPUTS)
    options = {"rule": hamiltonian(), "dt": DT, "hold": hold, "engine": engine}
    simulation = simulate(recurrent(readout), stimulus, reset=True, **options)
    expected = run_by_hand(simulation, stimulus, np.ones(hold * rows), readout, hold, reset=True)
    check_against(simulation, expected)
    unbroken = run_by_hand(simulation, stimulus, np.ones(hold * rows), readout, hold)
    assert distance(unbroken["w"], expected["w"]) > 1e-3


# ---- with delays, on any graph


def layered() -> nx.DiGraph:
    """Return large layers with one delay between each two, costates through random weights."""
    graph = topology.layered([6, 7, 6, 2], seed=6, bias=0.1, delay=2)
    for *_, data in graph.edges(data=True):
        data.update(feedback="random", feedback_delay=3)
    return graph


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("graph", [tangle(1, TAU), layered()], ids=["tangle", "layers"])
@pytest.mark.parametrize("reset", [False, True], ids=["unbroken", "reset"])
def test_on_every_edge_arrives_what_was_sent_a_delay_ago(reset: bool, graph: nx.DiGraph, engine: str) -> None:
    """And a reset drops what is on its way."""
    hold, rows = 9, 10
    stimulus = samples(rows, 6 if "input[0]" in graph else 2, 2)
    simulation = simulate(graph, stimulus, rule=hamiltonian(), dt=DT, hold=hold, reset=reset, engine=engine)
    check_against(simulation, by_rows(simulation, stimulus, euler, hold, reset))


# ---- what carries costates back


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("feedback", ["random", "none"])
def test_feedback_alignment_takes_costates_back_through_fixed_weights(feedback: str, engine: str) -> None:
    """Instant neurons in sequential order, against the loop that defines it: q_1 = (B^T q_2) sigma'(a_1)."""
    stimulus = samples(100, 3, 5)
    graph = topology.layered([3, 7, 5], seed=2, model="instant", bias=0.1, output_activation="identity")
    rule = Hamiltonian(beta=0.05, eta=0.3, order="sequential")
    simulation = simulate(graph, stimulus, rule=rule, engine=engine, edge_defaults={"feedback": feedback})
    network = simulation.network
    before, hidden, outputs = (nodes.tolist() for nodes in layers(network))
    tables = [edge_table(network, [-1, *before], hidden), edge_table(network, [-1, *hidden], outputs)]
    w = [network.weight[0][table] for table in tables]
    omega = [np.zeros_like(x) for x in w]
    back = network.feedback_weight[0][tables[1][:, 1:]] if feedback == "random" else np.zeros((5, 7))
    for x, target in zip(*stacked(stimulus), strict=True):
        s1 = np.array([1.0, *x])
        s2 = np.array([1.0, *np.tanh(w[0] @ s1)])
        q2 = w[1] @ s2 - target
        q1 = (back.T @ q2) * (1.0 - s2[1:] ** 2)
        for k, qs in enumerate((np.outer(q1, s1), np.outer(q2, s2))):
            omega[k] = omega[k] + qs - 0.3 * omega[k]
            w[k] = w[k] - 0.05 * omega[k]
    simulation.run(every=10**6)
    for table, values, costates in zip(tables, w, omega, strict=True):
        assert distance(simulation.read("w")[0][table], values) <= EXACT
        assert distance(simulation.read("omega")[0][table], costates) <= EXACT
    moved = distance(simulation.read("w")[0][tables[0]], network.weight[0][tables[0]])
    assert moved > 1e-2 if feedback == "random" else moved == 0.0
