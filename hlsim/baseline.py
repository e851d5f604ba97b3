"""What the same network reaches by gradient descent: no delays, no neuron dynamics, torch's autograd and SGD.

A baseline stands beside a simulation on the same graph, initial weights and stream. It shares no code with
the engines beyond the activation functions.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hlsim.errors import TopologyError
from hlsim.losses import Loss
from hlsim.network import Network, longest_paths
from hlsim.neurons import ACTIVATIONS
from hlsim.stimulus import Stage, Stream


@dataclass(frozen=True)
class _Layer:
    """Neurons that are evaluated together: their in-edges all come from earlier layers or the input."""

    nodes: Tensor
    edges: Tensor
    source: Tensor
    place: Tensor
    activation: str


class FeedForward:
    r"""The network as a function of its input, :math:`h_i = \sigma(b_i + u_i + \sum_j w_{ij} h_j)`.

    Parameters
    ----------
    network : Network
        Without cycles; delays, time constants and thresholds are left out.

    Raises
    ------
    TopologyError
        The graph has a cycle: it is no function of its input alone.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.w = torch.tensor(network.weight[0], requires_grad=True)
        self._layers = _layers(network)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs (row, output) for inputs (row, n_input)."""
        network = self.network
        u = torch.zeros(len(x), network.n, dtype=x.dtype)
        u[:, network.inputs] = x
        # One more column, for biases: their source is -1, the last.
        h = torch.cat([u, torch.ones(len(x), 1, dtype=x.dtype)], 1)
        for layer in self._layers:
            drive = u[:, layer.nodes].index_add(1, layer.place, self.w[layer.edges] * h[:, layer.source])
            h = h.index_copy(1, layer.nodes, ACTIVATIONS[layer.activation].value(drive))
        return h[:, network.outputs]


def sgd(
    network: Network,
    stream: Stream,
    stages: Sequence[Stage],
    loss: Loss,
    *,
    lr: float,
    momentum: float = 0.0,
    seed: int = 0,
) -> dict[str, float]:
    """Train by ``torch.optim.SGD``, one step a row, through the stages of a simulation.

    Parameters
    ----------
    lr, momentum : float
        Of ``torch.optim.SGD``.
    seed : int
        Of the order of rows, as a simulation's. A stage with ``learn = False`` is evaluated only.

    Returns
    -------
    dict of str to float
        Accuracy of every stage, each row judged before it is learned from.
    """
    net = FeedForward(network)
    plastic = torch.as_tensor(network.plastic)
    net.w.register_hook(lambda gradient: torch.where(plastic, gradient, 0.0))
    optimiser = torch.optim.SGD([net.w], lr=lr, momentum=momentum)
    score: dict[str, list[bool]] = defaultdict(list)
    for stage in stages:
        for row in stage.presentations(stream, seed):
            y = net(torch.as_tensor(row.input, dtype=torch.float64)[None])
            score[stage.name].append(int(y.argmax()) == row.label)
            if stage.learn and row.target is not None:
                target = torch.as_tensor(row.target, dtype=torch.float64)[None]
                optimiser.zero_grad()
                loss.value(y, target).sum().backward()
                optimiser.step()
    return {name: float(np.mean(right)) for name, right in score.items()}


def _layers(network: Network) -> list[_Layer]:
    edges = np.flatnonzero(network.source >= 0)
    everyone = np.ones(network.n, dtype=bool)
    rank, cycle = longest_paths(everyone, network.source[edges], network.target[edges])
    if cycle:
        path = " -> ".join(network.label[i] for i in cycle)
        raise TopologyError(f"a baseline needs a network without cycles, got {path}")
    inputs = np.array([model == "input" for model in network.model])
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for i in np.flatnonzero(~inputs):
        groups[int(rank[i]), network.activation[i]].append(int(i))
    return [_layer(network, np.array(nodes), name) for (_, name), nodes in sorted(groups.items())]


def _layer(network: Network, nodes: np.ndarray, activation: str) -> _Layer:
    place = np.full(network.n, -1)
    place[nodes] = np.arange(len(nodes))
    edges = np.flatnonzero(place[network.target] >= 0)
    # A bias has source -1: the last column, which holds ones.
    source = network.source[edges] % (network.n + 1)
    arrays = (nodes, edges, source, place[network.target[edges]])
    node, edge, before, into = (torch.as_tensor(x) for x in arrays)
    return _Layer(node, edge, before, into, activation)
