"""Generators of graphs to start from. Each returns a plain networkx graph, to be edited as one.

What is not given (model, activation, bias, delay) is not written on the graph either, so that the defaults of
an experiment apply. ``load`` and ``save`` read and write graphs as files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np

from hlsim.draws import Draws, Normal, UniformTicks, subsets
from hlsim.errors import TopologyError, is_real, shown
from hlsim.topology.attributes import edge_attributes, is_whole, node_attributes, parsed

Delay = int | Sequence[int] | None


def layered(
    sizes: Sequence[int],
    *,
    seed: int = 0,
    std: float | None = None,
    draw: bool = True,
    model: str | None = None,
    activation: str | None = None,
    output_activation: str | None = None,
    bias: float | None = None,
    delay: Delay = None,
    self_loops: bool = False,
    populations: bool = False,
    symmetric: bool = False,
    output_model: str | None = None,
) -> nx.DiGraph:
    """Return layers, each connected to all of the next: input, hidden (hidden1, hidden2, ...), output.

    Neurons are ``input[0]`` and so on, ``group`` is the name of the layer. The first layer has model "input",
    the last one role "output".

    Parameters
    ----------
    sizes : sequence of int
        Neurons of every layer, the input first; at least two.
    seed : int
        Of weights and delays drawn here.
    std : float, optional
        Standard deviation of the normal weights; 1/sqrt(synapses of a target) unless given.
    draw : bool
        False leaves weights and delays as distributions on the edges, which every simulation draws with its
        own seed (the weights anew for each member of an ensemble).
    model, activation, bias, output_model, output_activation : optional
        Of all neurons; the last two of the output layer alone. A "readout" has no activation.
    delay : int or (low, high), optional
        In ticks; of a pair, every edge draws its own, ends included.
    self_loops : bool
        Whether neurons have an edge to themselves as well.
    populations : bool
        One node with ``size`` a layer and one edge between layers, which simulate under the same labels;
        implies ``draw = False``.
    symmetric : bool
        Whether neurons of neighbouring layers are coupled both ways by one weight; inputs lead one way.

    Raises
    ------
    TopologyError
        Names the parameter and its rule.
    """
    layers = _layers(sizes)
    given = _given("layered", model=model, activation=activation, bias=bias)
    last = _last(given, _given("layered", activation=output_activation, model=output_model))
    synapses = _Synapses("layered", seed, std, delay, draw and not populations)
    graph = nx.DiGraph()
    ends = {"input": {"model": "input"}, "output": last}
    for layer, size in layers.items():
        _add_layer(graph, layer, size, ends.get(layer, given), populations)
    _connect_layers(graph, layers, synapses, self_loops, populations, symmetric)
    return graph


def ring(
    n: int,
    *,
    seed: int = 0,
    std: float | None = None,
    draw: bool = True,
    model: str | None = None,
    activation: str | None = None,
    bias: float | None = None,
    delay: Delay = None,
    self_loops: bool = False,
    inputs: int = 1,
    outputs: int = 1,
) -> nx.DiGraph:
    """Return n neurons, ``neuron[0]``, ..., each connected to the next and the last to the first.

    Parameters
    ----------
    n : int
        Neurons, at least two.
    seed, std, draw, model, activation, bias, delay, self_loops
        As in ``layered``. A ring of instant neurons needs a delay somewhere.
    inputs, outputs : int
        The first neurons get role "input" (the stimulus is added to their drive), the last ones "output".

    Raises
    ------
    TopologyError
        Names the parameter and its rule.
    """
    n = _at_least("ring", "n", n, 2)
    synapses = _Synapses("ring", seed, std, delay, draw)
    given = _given("ring", model=model, activation=activation, bias=bias)
    graph = _neurons("ring", n, given, inputs, outputs)
    members = list(graph)
    synapses.add(graph, list(zip(members, members[1:] + members[:1], strict=True)), 1 + self_loops, "next")
    if self_loops:
        synapses.add(graph, [(v, v) for v in members], 2, "self")
    return graph


def random(
    n: int,
    in_degree: int,
    *,
    seed: int = 0,
    std: float | None = None,
    draw: bool = True,
    model: str | None = None,
    activation: str | None = None,
    bias: float | None = None,
    delay: Delay = None,
    self_loops: bool = False,
    inputs: int = 1,
    outputs: int = 1,
) -> nx.DiGraph:
    """Return n neurons, ``neuron[0]``, ..., each fed by ``in_degree`` others, drawn without replacement.

    Parameters
    ----------
    n, in_degree : int
        Neurons, at least two; sources of each, at most n - 1.
    seed : int
        Of the connections, and of weights and delays as in ``layered``.
    std, draw, model, activation, bias, delay, self_loops
        As in ``layered``; self-loops come on top of the in-degree.
    inputs, outputs : int
        As in ``ring``.

    Raises
    ------
    TopologyError
        Names the parameter and its rule.
    """
    n, in_degree = _checked_degree(n, in_degree)
    synapses = _Synapses("random", seed, std, delay, draw)
    given = _given("random", model=model, activation=activation, bias=bias)
    graph = _neurons("random", n, given, inputs, outputs)
    members = list(graph)
    others = _others(seed, n, in_degree)
    pairs = [(members[j], members[i]) for i, row in enumerate(others.tolist()) for j in row]
    synapses.add(graph, pairs, in_degree + self_loops, "others")
    if self_loops:
        synapses.add(graph, [(v, v) for v in members], in_degree + 1, "self")
    return graph


@dataclass(frozen=True)
class _Synapses:
    """How a generator draws the weights and delays of its edges."""

    where: str
    seed: int
    std: float | None
    delay: Delay
    draw: bool

    def __post_init__(self) -> None:
        if self.std is not None and not (is_real(self.std) and self.std >= 0):
            raise TopologyError(f"{self.where}: std must be finite and >= 0, got {shown(self.std)}")
        self.ticks()

    def ticks(self) -> int | UniformTicks | None:
        """Return the delay as the attribute of that name has it."""
        if self.delay is None:
            return None
        written = {"uniform": self.delay} if isinstance(self.delay, tuple | list) else self.delay
        return parsed(edge_attributes()["delay"], self.where, "delay", written)

    def add(
        self, graph: nx.DiGraph, pairs: list[tuple[str, str]], fan_in: int, *label: str, **attributes: Any
    ) -> None:
        """Add an edge for every pair; ``label`` tells its draws from those of other calls."""
        weights, delays = self._weights(len(pairs), fan_in, label), self._delays(len(pairs), label)
        carried = [{"weight": weight, **attributes} for weight in weights]
        for one, ticks in zip(carried, delays, strict=False):
            one["delay"] = ticks
        graph.add_edges_from((*pair, one) for pair, one in zip(pairs, carried, strict=True))

    def _weights(self, count: int, fan_in: int, label: tuple[str, ...]) -> list[Any]:
        std = 1.0 / math.sqrt(max(fan_in, 1)) if self.std is None else float(self.std)
        if not self.draw:
            return [{"normal": std} for _ in range(count)]
        return Normal(std).sample(Draws(self.seed).generator(f"{self.where} weight", *label), count).tolist()

    def _delays(self, count: int, label: tuple[str, ...]) -> list[Any]:
        ticks = self.ticks()
        if not isinstance(ticks, UniformTicks):
            return [] if ticks is None else [ticks] * count
        if not self.draw:
            return [{"uniform": [ticks.low, ticks.high]} for _ in range(count)]
        return ticks.sample(Draws(self.seed).generator(f"{self.where} delay", *label), count).tolist()


def _given(where: str, **values: Any) -> dict[str, Any]:
    """Return the node attributes that are given, checked."""
    table = node_attributes()
    given = {name: value for name, value in values.items() if value is not None}
    return {name: parsed(table[name], where, name, value) for name, value in given.items()}


def _at_least(where: str, name: str, value: Any, least: int) -> int:
    if not is_whole(value, least):
        raise TopologyError(f"{where}: {name} must be a whole number >= {least}, got {shown(value)}")
    return int(value)


def _layers(sizes: Any) -> dict[str, int]:
    """Return the size of every layer by its name."""
    good = isinstance(sizes, Sequence | np.ndarray) and len(sizes) >= 2 and all(is_whole(k, 1) for k in sizes)
    if not good:
        raise TopologyError(f"layered: sizes must be two or more whole numbers >= 1, got {shown(sizes)}")
    hidden = ["hidden"] if len(sizes) == 3 else [f"hidden{i}" for i in range(1, len(sizes) - 1)]
    return dict(zip(["input", *hidden, "output"], map(int, sizes), strict=True))


def _last(given: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of outputs: their own go first, and a read-out has no activation."""
    last = given | own | {"role": "output"}
    if last.get("model") == "readout":
        last.pop("activation", None)
    return last


def _members(layer: str, size: int, populations: bool) -> list[str]:
    return [layer] if populations else [f"{layer}[{i}]" for i in range(size)]


def _add_layer(graph: nx.DiGraph, layer: str, size: int, own: dict[str, Any], populations: bool) -> None:
    extent = {"size": size} if populations else {}
    graph.add_nodes_from(_members(layer, size, populations), **own, **extent, group=layer)


def _connect_layers(
    graph: nx.DiGraph,
    layers: dict[str, int],
    synapses: "_Synapses",
    self_loops: bool,
    populations: bool,
    symmetric: bool,
) -> None:
    for (before, fan_in), (layer, size) in pairwise(layers.items()):
        sources, targets = _members(before, fan_in, populations), _members(layer, size, populations)
        coupled = {"symmetric": True} if symmetric and before != "input" else {}
        synapses.add(graph, [(u, v) for v in targets for u in sources], fan_in + self_loops, layer, **coupled)
        if self_loops:
            connect = {"connect": "one_to_one"} if populations else {}
            synapses.add(graph, [(v, v) for v in targets], fan_in + 1, layer, "self", **connect)


def _checked_degree(n: Any, in_degree: Any) -> tuple[int, int]:
    n, in_degree = _at_least("random", "n", n, 2), _at_least("random", "in_degree", in_degree, 0)
    if in_degree > n - 1:
        raise TopologyError(f"random: in_degree must be <= n - 1 = {n - 1}, got {in_degree}")
    return n, in_degree


def _others(seed: int, n: int, in_degree: int) -> np.ndarray:
    """Draw ``in_degree`` of the n - 1 others for each of n neurons: (n, in_degree)."""
    others = subsets(Draws(seed).generator("random sources"), n, n - 1, in_degree)
    return others + (others >= np.arange(n)[:, None])


def _neurons(where: str, n: int, given: dict[str, Any], inputs: int, outputs: int) -> nx.DiGraph:
    inputs, outputs = _at_least(where, "inputs", inputs, 0), _at_least(where, "outputs", outputs, 0)
    if inputs + outputs > n:
        raise TopologyError(f"{where}: inputs + outputs must be <= n = {n}, got {inputs} + {outputs}")
    graph = nx.DiGraph()
    for i in range(n):
        role = {"role": "input"} if i < inputs else {"role": "output"} if i >= n - outputs else {}
        graph.add_node(f"neuron[{i}]", **given, **role)
    return graph
