"""What the tests of the theory share: how they run small nets, and the same nets in torch.

The oracles know the arrays of a ``Network`` and nothing of the engines. Vectors over edges are in canonical
order: (m,) with the biases first.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hlsim import Simulation, topology
from hlsim.stimulus import Arrays
from hlsim.topology.network import Network
from hlsim.trace import Trace

Vector = NDArray[np.float64]

ENGINES = ("batched", "reference")
CLOCK = {"update": "clock"}
FIELDS = ("h", "z", "w", "omega")

_TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
    "identity": lambda a: a,
}

# ---- runs


def simulate(graph: nx.DiGraph, stimulus: Arrays, **options: Any) -> Simulation:
    """Return a simulation in float64 whose neurons have a clock unless ``node_defaults`` says otherwise."""
    return Simulation(graph, stimulus=stimulus, **{"dtype": "float64", "node_defaults": CLOCK} | options)


def recorded(simulation: Simulation, until: int | None = None) -> Trace:
    """Run with every tick recorded."""
    return simulation.run(until, every=1, sampled=FIELDS)


def samples(rows: int, inputs: int, outputs: int, seed: int = 0) -> Arrays:
    """Return a stream of normal inputs and targets."""
    rng = np.random.default_rng(seed)
    return Arrays(rng.normal(size=(rows, inputs)), rng.normal(size=(rows, outputs)))


def stacked(stimulus: Arrays, hold: int = 1) -> tuple[Vector, Vector]:
    """Return input and target at every tick, (ticks, columns)."""
    rows = list(stimulus.rows("train"))
    inputs, targets = [row.input for row in rows], [row.target for row in rows if row.target is not None]
    return np.repeat(inputs, hold, axis=0), np.repeat(targets, hold, axis=0)


def distance(a: Vector, b: Vector) -> float:
    """Return the largest difference of two arrays of one shape."""
    assert a.shape == b.shape
    return float(np.abs(a - b).max())


def layers(network: Network) -> list[NDArray[np.int64]]:
    """Return the nodes of every layer of ``topology.layered``, the inputs first."""
    names = sorted(set(network.group), key=lambda name: {"input": "0", "output": "z"}.get(name, name))
    return [np.flatnonzero(np.array(network.group) == name) for name in names]


def tangle(seed: int, tau: float) -> nx.DiGraph:
    """Return a recurrent net in which half of the neurons are instant and every edge has delays of its own.

    The leaky ones have time constants from ``tau`` to seven times that. Costates go back in all three ways.
    """
    graph = topology.random(8, 3, seed=seed, std=0.4, bias=0.1, inputs=2, outputs=2, self_loops=True)
    rng = np.random.default_rng(seed)
    for k, node in enumerate(graph):
        graph.nodes[node].update({"model": "instant"} if k % 2 else {"tau": tau * (1 + k)})
    for *_, data in graph.edges(data=True):
        feedback = str(rng.choice(["symmetric", "random", "none"]))
        # No cycle of instant neurons may be without delay, in either direction.
        data.update(delay=int(rng.integers(1, 4)), feedback_delay=int(rng.integers(1, 4)), feedback=feedback)
    for source, target in graph.out_edges("neuron[0]"):
        graph.edges[source, target].update(delay=0, feedback_delay=0)
    return graph


# ---- the same net in torch


def edge_table(network: Network, sources: Sequence[int], targets: Sequence[int]) -> NDArray[np.int64]:
    """Return the edge from each source (-1: bias) to each target, (targets, sources)."""
    index = {pair: e for e, pair in enumerate(zip(network.source, network.target, strict=True))}
    return np.array([[index[source, target] for source in sources] for target in targets])


class Twin(nn.Module):
    """A net of ``topology.layered`` with biases, as layers of torch; tanh inside, identity at the outputs."""

    def __init__(self, network: Network, weight: Vector) -> None:
        super().__init__()
        parts = layers(network)
        self._tables = [
            (edge_table(network, before.tolist(), after.tolist()), edge_table(network, [-1], after.tolist()))
            for before, after in pairwise(parts)
        ]
        self._linear: list[nn.Linear] = []
        for table, bias in self._tables:
            layer = nn.Linear(table.shape[1], table.shape[0], dtype=torch.float64)
            layer.weight.data = torch.as_tensor(weight[table])
            layer.bias.data = torch.as_tensor(weight[bias[:, 0]])
            self._linear.append(layer)
        self.owned = nn.ModuleList(self._linear)

    def forward(self, x: Tensor) -> Tensor:
        for k, layer in enumerate(self._linear):
            x = layer(torch.tanh(x) if k else x)
        return x

    def edges(self) -> Vector:
        """Return all weights and biases, (m,)."""
        values = np.empty(sum(p.numel() for p in self.parameters()))
        for layer, (table, bias) in zip(self._linear, self._tables, strict=True):
            values[table], values[bias[:, 0]] = layer.weight.detach(), layer.bias.detach()
        return values


def gradient(network: Network, weight: Vector, x: Vector, loss: Callable[[Tensor], Tensor]) -> Vector:
    """Return dL/dw (m,) of the feed-forward net without delays and time constants, by autograd.

    ``loss`` takes the states of the outputs (columns,).
    """
    w = torch.tensor(weight, requires_grad=True)
    stimulus = dict(zip(network.inputs.tolist(), torch.as_tensor(x), strict=True))
    h: dict[int, Tensor] = {}
    for i in nx.topological_sort(skeleton(network)):
        a = torch.zeros((), dtype=torch.float64) + stimulus.get(i, 0.0)
        for e in np.flatnonzero(network.target == i).tolist():
            j = int(network.source[e])
            a = a + w[e] * (1.0 if j < 0 else h[j])
        h[i] = a if network.model[i] == "input" else _TORCH[network.activation[i]](a)
    loss(torch.stack([h[int(i)] for i in network.outputs])).backward()
    assert w.grad is not None
    return w.grad.numpy()


def squared(target: Vector) -> Callable[[Tensor], Tensor]:
    """Return L(y) = 1/2 sum (y - target)^2."""
    return lambda y: 0.5 * ((y - torch.as_tensor(target)) ** 2).sum()


def skeleton(network: Network, chosen: NDArray[np.bool_] | None = None) -> nx.DiGraph:
    """Return all nodes with those edges that are chosen and no biases."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(network.n))
    keep = network.source >= 0 if chosen is None else chosen & (network.source >= 0)
    graph.add_edges_from(zip(network.source[keep].tolist(), network.target[keep].tolist(), strict=True))
    return graph
