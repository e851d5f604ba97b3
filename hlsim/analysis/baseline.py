"""What the same network reaches by gradient descent: no delays, no neuron dynamics, torch's autograd and SGD.

A baseline stands beside a simulation on the same graph, initial weights and stream. It shares no code with
the engines beyond the activation functions.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from hlsim.errors import TopologyError
from hlsim.models.losses import Loss
from hlsim.models.neurons import ACTIVATIONS
from hlsim.stimulus import Stage, Stream
from hlsim.topology.network import Network
from hlsim.topology.timing import longest_paths


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
        Without cycles; delays, time constants and thresholds are left out, and what read-outs send back,
        which is nothing while the loss does not pull.

    Raises
    ------
    TopologyError
        The graph has a cycle: it is no function of its input alone; or a model that does not settle at
        sigma of its drive.
    """

    def __init__(self, network: Network) -> None:
        known = np.isin(network.model, ("input", "leaky", "instant", "readout"))
        for i in np.flatnonzero(~known)[:1]:
            rule = "model: a baseline knows leaky and instant neurons and read-outs"
            raise TopologyError(f"node {network.label[i]!r}: {rule}, got {network.model[i]!r}")
        self.network = network
        self.w = torch.tensor(network.weight[0], requires_grad=True)
        self._layers = _layers(network)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs (row, output) for inputs (row, n_input); ``w`` may be (edge,) or (row, edge)."""
        network = self.network
        u = torch.zeros(len(x), network.n, dtype=x.dtype)
        u[:, network.inputs] = x
        # One more column, for biases: their source is -1, the last.
        h = torch.cat([u, torch.ones(len(x), 1, dtype=x.dtype)], 1)
        for layer in self._layers:
            drive = u[:, layer.nodes].index_add(1, layer.place, self.w[..., layer.edges] * h[:, layer.source])
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
    batch: int = 1,
) -> dict[str, float]:
    """Train by ``torch.optim.SGD``, one step a minibatch, through the stages of a simulation.

    Parameters
    ----------
    lr, momentum : float
        Of ``torch.optim.SGD``.
    seed : int
        Of the order of rows, as a simulation's. A stage with ``learn = False`` is evaluated only.
    batch : int
        Rows a step, of whose gradients it takes the mean; those left over at a stage's end are left out.

    Returns
    -------
    dict of str to float
        Accuracy of every stage, each row judged before it is learned from.
    """
    net = FeedForward(network)
    plastic = torch.tensor(network.plastic)
    net.w.register_hook(lambda gradient: torch.where(plastic, gradient, 0.0))
    optimiser = torch.optim.SGD([net.w], lr=lr, momentum=momentum)
    score: dict[str, list[bool]] = defaultdict(list)
    for stage in stages:
        rows = stage.presentations(stream, seed)
        while group := tuple(islice(rows, batch)):
            if stage.learn and len(group) < batch:
                break
            y = net(torch.as_tensor(np.stack([row.input for row in group]), dtype=torch.float64))
            right = y.argmax(1).numpy() == [row.label for row in group]
            score[stage.name].extend(right.tolist())
            targets = [row.target for row in group if row.target is not None]
            if stage.learn and len(targets) == len(group):
                optimiser.zero_grad()
                target = torch.as_tensor(np.stack(targets), dtype=torch.float64)
                loss.value(y, target).mean().backward()
                optimiser.step()
    return {name: float(np.mean(right)) for name, right in score.items()}


def _layers(network: Network) -> list[_Layer]:
    edges = np.flatnonzero((network.source >= 0) & ~_from_readouts(network))
    everyone = np.ones(network.n, dtype=bool)
    rank, cycle = longest_paths(everyone, network.source[edges], network.target[edges])
    if cycle:
        path = " -> ".join(network.label[i] for i in cycle)
        raise TopologyError(f"a baseline needs a network without cycles, got {path}")
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for i in np.flatnonzero(~network.is_input):
        groups[int(rank[i]), network.activation[i]].append(int(i))
    return [_layer(network, np.array(nodes), name) for (_, name), nodes in sorted(groups.items())]


def _from_readouts(network: Network) -> np.ndarray:
    found: np.ndarray = (network.source >= 0) & network.reads_out[network.source]
    return found


def _layer(network: Network, nodes: np.ndarray, activation: str) -> _Layer:
    place = np.full(network.n, -1)
    place[nodes] = np.arange(len(nodes))
    edges = np.flatnonzero((place[network.target] >= 0) & ~_from_readouts(network))
    # A bias has source -1: the last column, which holds ones.
    source = network.source[edges] % (network.n + 1)
    arrays = (nodes, edges, source, place[network.target[edges]])
    node, edge, before, into = (torch.as_tensor(x) for x in arrays)
    return _Layer(node, edge, before, into, activation)
