"""The 6-4-4 net of Laborieux & Zenke (2022) as a graph, and the published figures about it."""

import json
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

import hlsim
from hlsim.models.rules import Rule
from hlsim.stimulus import Arrays
from hlsim.topology.network import Network
from tests.support.places import FILES

Vector = NDArray[np.float64]
ENGINES = ("batched", "reference")
DATA = json.loads((FILES / "hep_toy_reference.json").read_text())
TRUE = {name: np.array(values) for name, values in DATA["true_grad_float64"].items()}
# Settled to rounding.
EXACT: dict[str, Any] = {"send_threshold": 1e-13}


def toy(
    delay: Callable[[], int] = lambda: 1, model: str = "instant", back: int | None = None, **node: Any
) -> nx.DiGraph:
    """Return the net with a hub of four read-outs; every directed edge draws its own delay.

    ``back`` is the delay from the read-outs to the net, where it is another.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from((f"x[{i}]" for i in range(6)), model="input")
    options = {"bias": 0.0, **({} if "update" in node else {"update": "clock"}), **node}
    for layer in ("h1", "h2"):
        graph.add_nodes_from(
            (f"{layer}[{i}]" for i in range(4)), model=model, activation="steep_sigmoid", **options
        )
    graph.add_nodes_from((f"y[{i}]" for i in range(4)), model="readout", role="output", **options)
    for source, target, name in (("x", "h1", "W1"), ("h1", "h2", "W2"), ("h2", "y", "W3")):
        for (i, j), weight in np.ndenumerate(np.array(DATA[name])):
            ends = f"{source}[{i}]", f"{target}[{j}]"
            graph.add_edge(*ends, weight=weight, delay=delay())
            if source != "x":
                returning = back if back is not None and target == "y" else delay()
                graph.add_edge(*ends[::-1], weight=weight, delay=returning)
    return graph


def simulate(graph: nx.Graph, rule: Rule, **options: Any) -> hlsim.Simulation:
    """Return a simulation of the net that is shown the one row of the published data."""
    target = np.eye(4)[[DATA["y"]]]
    options = {"hold": 600, "dtype": "float64", "loss": "cross_entropy", **options}
    return hlsim.Simulation(graph, rule=rule, stimulus=Arrays([DATA["x"]], target), **options)


def true_gradient(network: Network) -> Vector:
    """Return dL/dw of the free fixed point for every edge of the flattened net, both ways of a coupling."""
    return np.array([_true(network, e) for e in range(network.m)])


def _true(network: Network, edge: int) -> float:
    (layer, i), source = _place(network, network.target[edge]), network.source[edge]
    if source < 0:
        return float(TRUE[{"h1": "b1", "h2": "b2", "y": "b3"}[layer]][i])
    before, j = _place(network, source)
    names = {("x", "h1"): "W1", ("h1", "h2"): "W2", ("h2", "y"): "W3"}
    if (before, layer) in names:
        return float(TRUE[names[before, layer]][j, i])
    return float(TRUE[names[layer, before]][i, j])


def _place(network: Network, node: int) -> tuple[str, int]:
    layer, _, index = network.label[node].partition("[")
    return layer, int(index[:-1])


def forward(network: Network) -> NDArray[np.bool_]:
    """Return which edges lead away from the inputs: every parameter once."""
    order = ("x", "h1", "h2", "y")
    layer = np.array([order.index(_place(network, i)[0]) for i in range(network.n)])
    return (network.source < 0) | (layer[np.maximum(network.source, 0)] < layer[network.target])


def estimate(sim: hlsim.Simulation, name: str = "gradient") -> Vector:
    """Return what synapses estimate, every parameter once."""
    found: Vector = sim.read(name)[0][forward(sim.network)]
    return found


def distance(sim: hlsim.Simulation) -> float:
    """Return how far the estimate is from the gradient."""
    return float(np.linalg.norm(estimate(sim) - true_gradient(sim.network)[forward(sim.network)]))


def relative_error(sim: hlsim.Simulation) -> float:
    """Return the distance over the length of the gradient."""
    return distance(sim) / float(np.linalg.norm(true_gradient(sim.network)[forward(sim.network)]))


def cosine(sim: hlsim.Simulation) -> float:
    """Return the cosine between the estimate and the gradient."""
    mine, true = estimate(sim), true_gradient(sim.network)[forward(sim.network)]
    return float(mine @ true / np.linalg.norm(mine) / np.linalg.norm(true))
