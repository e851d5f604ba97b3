"""The network that is simulated: flat arrays in canonical order, made from a networkx graph."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray

from hlsim.draws import Draws
from hlsim.errors import ExperimentError, TopologyError, check_memory, is_real, plain, shown
from hlsim.models import neurons
from hlsim.models.rules.rule import Rule
from hlsim.topology.checking import check
from hlsim.topology.expansion import (
    BIAS,
    NONE,
    RANDOM,
    SYMMETRIC,
    edge_columns,
    mirrored,
    node_columns,
    outward,
    place,
)
from hlsim.topology.files import NodeLink
from hlsim.topology.timing import feedback_hop, lags, longest_paths, named, padding

__all__ = ["BIAS", "NONE", "RANDOM", "SYMMETRIC", "Network", "check_stability", "describe", "flatten"]


@dataclass(frozen=True, eq=False)
class Network:
    """Nodes and edges as arrays. Nothing in it depends on the order in which the graph was built.

    Only the columns of stimulus and target do: they follow the order of their nodes in the graph.

    Attributes
    ----------
    label, group, model, activation : tuples of str
        Of every node, in natural order of the labels ("a[2]" before "a[10]"); a group may be "".
    parameters : dict of float64 (n,)
        Every parameter of the models in use; NaN where a node's model has no such parameter.
    clock : bool (n,)
        Whether ``update`` is "clock". Input nodes follow the stimulus whatever it says.
    period, phase, send_interval, refresh : int64 (n,)
        In ticks.
    send_threshold, costate_threshold : float64 (n,)
    lag : int64 (n,)
        How many ticks ago the slopes and the states heard were that costates meet, see
        ``hlsim.topology.timing``; 0: those of now.
    inputs, outputs : int64 (columns,)
        Node of every column of the stimulus and of the target.
    rank, back_rank : int64 (n,)
        Longest path of zero-delay edges between instant neurons that ends in an instant neuron; likewise of
        zero-feedback_delay edges that carry costates, walked backward. -1 for other models.
    source, target : int64 (m,)
        Nodes of every edge; edges are sorted by source and target, parallel ones as docs/topology.md
        has it. A bias is an edge with source -1.
    delay, feedback_delay : int64 (m,)
        In ticks; 0 for a bias.
    padding, waiting : int64 (m,)
        Ticks of ``delay`` that balancing has added to what the graph says, and of ``feedback_delay`` that
        costates wait for those from further away, where there are lags.
    plastic : bool (m,)
    beta : float64 (m,)
        Weight rate, NaN: the rule's.
    feedback : int8 (m,)
        0 no costate is sent, 1 through the weight, 2 through the fixed random ``feedback_weight``.
    twin : int64 (m,)
        The synapse that goes the other way on a symmetric edge, with the same weight at the start; -1: none.
    weight, feedback_weight : float64 (seeds, m)
        Initial weights; feedback weights are NaN where ``feedback`` is not 2.
    node_link : NodeLink
        The graph as given, whose text is ``graph``.
    seed : int
        The first of the seeds, with which connections and delays were drawn.
    """

    label: tuple[str, ...]
    group: tuple[str, ...]
    model: tuple[str, ...]
    activation: tuple[str, ...]
    parameters: dict[str, np.ndarray]
    clock: np.ndarray
    period: np.ndarray
    phase: np.ndarray
    send_threshold: np.ndarray
    costate_threshold: np.ndarray
    send_interval: np.ndarray
    refresh: np.ndarray
    lag: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    rank: np.ndarray
    back_rank: np.ndarray
    source: np.ndarray
    target: np.ndarray
    delay: np.ndarray
    feedback_delay: np.ndarray
    padding: np.ndarray
    waiting: np.ndarray
    plastic: np.ndarray
    beta: np.ndarray
    feedback: np.ndarray
    twin: np.ndarray
    weight: np.ndarray
    feedback_weight: np.ndarray
    node_link: NodeLink
    seed: int

    @property
    def n(self) -> int:
        """Number of nodes: neurons and inputs."""
        return len(self.label)

    @property
    def m(self) -> int:
        """Number of edges, biases included."""
        return len(self.source)

    @cached_property
    def is_input(self) -> NDArray[np.bool_]:
        """Which nodes (n,) emit the stimulus and nothing else; read-only, as all flags of models."""
        return neurons.flags(self.model, "is_input")

    @cached_property
    def instant(self) -> NDArray[np.bool_]:
        """Which nodes (n,) are a function of their drive at the same tick."""
        return neurons.flags(self.model, "instant")

    @cached_property
    def stateful(self) -> NDArray[np.bool_]:
        """Which nodes (n,) carry their state from one tick to the next: the others."""
        return neurons.flags(self.model, "stateful")

    @cached_property
    def reads_out(self) -> NDArray[np.bool_]:
        """Which nodes (n,) send the pull of the loss instead of their state."""
        return neurons.flags(self.model, "reads_out")

    @cached_property
    def emits(self) -> NDArray[np.bool_]:
        """Which nodes (n,) send impulses instead of their state."""
        return neurons.flags(self.model, "emits")

    @cached_property
    def rich(self) -> NDArray[np.bool_]:
        """Which nodes (n,) have several fields, or send impulses."""
        return neurons.flags(self.model, "rich")

    @cached_property
    def impulses(self) -> NDArray[np.bool_]:
        """Which edges (m,) carry impulses."""
        return np.asarray((self.source != BIAS) & self.emits[self.source])

    @cached_property
    def hears_impulses(self) -> NDArray[np.bool_]:
        """Which nodes (n,) impulses reach."""
        return np.asarray(np.bincount(self.target[self.impulses], minlength=self.n) > 0)

    @cached_property
    def width(self) -> int:
        """How many fields a neuron has at most."""
        return max(len(neurons.MODELS[name].fields) for name in set(self.model))

    @cached_property
    def node_fields(self) -> dict[str, str]:
        """Names of the fields of neurons that have several, but for the first of each, and what they are."""
        return neurons.fields_of(neurons.MODELS[name] for name in sorted(set(self.model)))

    @cached_property
    def has_feedback(self) -> NDArray[np.bool_]:
        """Which edges (m,) costates go back on, if the rule sends any; read-only."""
        found = self.feedback != NONE
        found.flags.writeable = False
        return found

    def carries_costates(
        self, rule: Rule, edges: NDArray[np.int64] | slice = slice(None)
    ) -> NDArray[np.bool_]:
        """Return on which of some edges, of all (m,) by default, costates go back under a rule."""
        return self.has_feedback[edges] & rule.sends_costates

    def learns_what_it_sends_back(
        self, rule: Rule, edges: NDArray[np.int64] | slice = slice(None)
    ) -> NDArray[np.bool_]:
        """Return on which of some edges, of all (m,) by default, r = w q goes back by a w that may move."""
        own = self.carries_costates(rule, edges) & (self.feedback[edges] != RANDOM)
        moves: NDArray[np.bool_] = self.plastic[edges] & (self.weight_rate(rule, edges) != 0)
        return own & moves

    def weight_rate(self, rule: Rule, edges: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Return the beta of some edges, of all (m,) by default: their own, else the rule's."""
        own = self.beta[edges]
        return np.where(np.isnan(own), rule.beta, own)

    @cached_property
    def loss_waits(self) -> NDArray[np.int64]:
        """How many ticks the loss of every node (n,) waits for costates from further away."""
        waits: NDArray[np.int64] = np.maximum(0, self.lag - feedback_hop(self.model))
        waits[~np.isin(np.arange(self.n), self.outputs)] = 0
        return waits

    @cached_property
    def kept(self) -> NDArray[np.int64]:
        """How many numbers every node (n,) keeps for lags: slopes, costates that wait, and what it has sent.

        States are kept once by their source, for the synapse that asks for the oldest.
        """
        late, sent = self.lag[self.target], np.zeros(self.n, np.int64)
        edges = np.flatnonzero((self.source != BIAS) & (late > 0))
        np.maximum.at(sent, self.source[edges], late[edges] + self.delay[edges])
        early = np.zeros(self.n, np.int64)
        edges = np.flatnonzero(self.waiting > 0)
        np.add.at(early, self.source[edges], self.waiting[edges])
        return self.lag + self.loss_waits + sent + early

    @property
    def graph(self) -> str:
        """The graph as given, as node-link JSON."""
        return self.node_link.text


# A generator of random numbers, at least.
_SEED_BYTES = 1000


def flatten(
    graph: nx.DiGraph,
    *,
    node_defaults: Mapping[str, Any] | None = None,
    edge_defaults: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0,),
    dt: float = 1.0,
    balance: bool = False,
) -> Network:
    """Check a graph, expand its populations and draw what is random.

    Parameters
    ----------
    graph : networkx.DiGraph or networkx.MultiDiGraph, or an undirected one
        With the attributes of ``hlsim.topology.attributes``. Undirected edges between neurons are symmetric.
    node_defaults, edge_defaults : mapping, optional
        For attributes that an element does not carry.
    seeds : sequence of int
        One row of weights each; connections and delays are drawn with the first.
    dt : float
        Length of a tick, in model time.
    balance : bool
        Whether delays of states are padded so that all paths to a neuron are equally long, see
        ``hlsim.topology.timing``. Delays of costates stay.

    Raises
    ------
    TopologyError
        Names the node or edge, the rule and the value; the cycle, where there is one to be balanced.
    ExperimentError
        For a seed or dt that is none.
    """
    if not len(seeds):
        raise ExperimentError("seeds must hold at least one seed, got none")
    checked = mirrored(check(outward(graph, node_defaults), node_defaults, edge_defaults))
    check_memory(f"graph: {len(seeds)} seeds", len(seeds) * (_SEED_BYTES + 16 * len(checked.source)))
    draws = [Draws(seed) for seed in seeds]
    places = place(checked)
    nodes = node_columns(checked, places)
    try:
        edges: dict[str, Any] = edge_columns(checked, places, draws)
    except MemoryError as error:
        raise TopologyError(f"graph: its synapses do not fit in memory: {error}") from None
    _check_impulses(nodes["label"], nodes["model"], edges)
    _settle_delays(nodes, edges, balance, dt)
    rank, back_rank = _both_ranks(nodes["label"], nodes["model"], edges)
    network = Network(
        **nodes,
        **edges,
        rank=rank,
        back_rank=back_rank,
        node_link=NodeLink(graph, checked.given),
        seed=draws[0].seed,
    )
    check_stability(network, dt, 0.0)
    return network


def check_stability(network: Network, dt: float, eta: float) -> None:
    r"""Refuse a clocked neuron whose Euler steps diverge or oscillate for ever.

    A relaxing state and its costate decay at the rates r = 1/tau (of a leaky neuron) and r + eta; a step of
    ``period`` ticks multiplies the costate by 1 - period dt (r + eta), which must stay above -1. The weight
    costates of any other clocked neuron decay at the rate eta alone.

    Parameters
    ----------
    dt : float
        Length of a tick, in model time.
    eta : float
        Dissipation of the rule, per unit of model time.

    Raises
    ------
    TopologyError
        Names the first such neuron.
    ExperimentError
        For a dt that is not finite and > 0.
    """
    dt = plain(dt)
    if not (is_real(dt) and dt > 0):
        raise ExperimentError(f"dt must be finite and > 0, got {shown(dt)}")
    models, clock = np.array(network.model), network.clock & ~network.is_input
    learns = np.bincount(network.target[network.plastic], minlength=network.n) > 0
    for name in sorted(set(network.model)):
        model = neurons.MODELS[name]
        relaxes = model.stateful and model.relaxes
        values = neurons.Parameters(**{key: torch.from_numpy(x) for key, x in network.parameters.items()})
        rate = np.asarray(model.rate(values)) * np.ones(network.n) if relaxes else np.zeros(network.n)
        step = network.period * dt * (rate + eta)
        for i in np.flatnonzero((models == name) & clock & (relaxes | learns) & ~(step < 2.0))[:1]:
            what = "(rate + eta) must be < 2 on a clock (leaky: rate = 1/tau)"
            what = what if relaxes else "eta must be < 2 on a clock, or omega of its synapses diverges"
            raise TopologyError(f"node {network.label[i]!r}: period * dt * {what}, got {step[i]:.6g}")


def _check_impulses(label: Sequence[str], model: Sequence[str], edges: Mapping[str, np.ndarray]) -> None:
    """Impulses take a tick at least, as they are sent when a tick's states are; they need a state to move."""
    source, target = edges["source"], edges["target"]
    carries = (source != BIAS) & neurons.flags(model, "emits")[source]
    for found, rule in (
        (carries & (edges["delay"] == 0), "delay must be >= 1 where model {!r} sends impulses, got 0"),
        (
            carries & ~neurons.flags(model, "stateful")[target],
            "model {!r} sends impulses, which move no instant neuron",
        ),
    ):
        for edge in np.flatnonzero(found)[:1]:
            i, j = source[edge], target[edge]
            raise TopologyError(f"edge {label[i]!r} -> {label[j]!r}: {rule.format(model[i])}")


def _settle_delays(nodes: dict[str, Any], edges: dict[str, Any], balance: bool, dt: float) -> None:
    """Pad the delays of states, if that is wanted, and those of costates that would come too early."""
    edges["padding"] = np.broadcast_to(np.int64(0), len(edges["source"]))
    if balance:
        edges["padding"] = padding(nodes, edges["source"], edges["target"], edges["delay"])
        edges["delay"] = edges["delay"] + edges["padding"]
    nodes["lag"], edges["waiting"] = lags(nodes, edges, dt)
    if nodes["lag"].any():
        edges["feedback_delay"] = edges["feedback_delay"] + edges["waiting"]


def _both_ranks(
    label: Sequence[str], model: Sequence[str], edges: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    instant = neurons.flags(model, "instant")
    source, target = edges["source"], edges["target"]
    inner = (source != BIAS) & instant[source] & instant[target]
    forward = inner & (edges["delay"] == 0)
    backward = inner & (edges["feedback_delay"] == 0) & (edges["feedback"] != NONE)
    rank, cycle = longest_paths(instant, source[forward], target[forward])
    if cycle:
        raise TopologyError(_cycle_error("delay", label, cycle))
    back_rank, cycle = longest_paths(instant, target[backward], source[backward])
    if cycle:
        raise TopologyError(_cycle_error("feedback_delay", label, cycle[::-1]))
    return rank, back_rank


def _cycle_error(what: str, label: Sequence[str], cycle: list[int]) -> str:
    names = named(label, cycle)
    return f"graph: zero-{what} cycle of instant neurons: {names}; one of its edges needs a {what} >= 1"


def describe(network: Network, dtype: str = "float32") -> dict[str, Any]:
    """Return what there is in a network, in the order in which it is shown.

    Ticks are (smallest, largest), or None where there are no such edges. ``padding``: how many edges
    balancing has made longer, and by how many ticks at most. ``kept``: numbers that neurons keep for lags.
    ``contraction`` see the function, ``memory_bytes`` an estimate of one replica's state with its arrays of
    edges.
    """
    synapse = network.source != BIAS
    return {
        "neurons": dict(sorted(Counter(network.model).items())),
        "inputs": len(network.inputs),
        "outputs": len(network.outputs),
        "synapses": int(synapse.sum()),
        "biases": int((~synapse).sum()),
        "plastic": int(network.plastic.sum()),
        "delay": _extent(network.delay[synapse]),
        "feedback_delay": _extent(network.feedback_delay[network.has_feedback]),
        "lag": _extent(network.lag[network.lag > 0]),
        "kept": int(network.kept.sum()),
        "padding": (int((network.padding > 0).sum()), int(network.padding.max(initial=0))),
        "groups": dict(sorted(Counter(filter(None, network.group)).items())),
        "contraction": contraction(network),
        "ranks": int(network.rank.max()) + 1,
        "back_ranks": int(network.back_rank.max()) + 1,
        "memory_bytes": memory_bytes(network, dtype),
    }


def contraction(network: Network) -> tuple[float, str] | None:
    r"""Return the largest :math:`\sup \sigma' \sum_j |w_{ij}|` over neurons i, and the label of that neuron.

    Below 1 the network settles whatever the delays and the order of updates are (Chazan & Miranker, Linear
    Algebra Appl. 2:199, 1969). Inputs and read-outs j are left out: they do not move with the states. None
    where no neuron hears another.
    """
    still = network.is_input | network.reads_out
    chosen = (network.source != BIAS) & ~still[network.source] & ~still[network.target]
    if not chosen.any():
        return None
    slope = np.array([neurons.ACTIVATIONS[name].steepest for name in network.activation])
    sums = np.zeros(network.n)
    np.add.at(sums, network.target[chosen], np.abs(network.weight[0, chosen]))
    i = int(np.argmax(slope * sums))
    return float((slope * sums)[i]), network.label[i]


def _extent(ticks: np.ndarray) -> tuple[int, int] | None:
    return (int(ticks.min()), int(ticks.max())) if ticks.size else None


def memory_bytes(network: Network, dtype: str = "float32") -> int:
    """Estimate the memory of one replica, delays and the program itself aside, within a factor of two.

    Sixteen numbers a neuron, its ticks and counts; six numbers a synapse, what the graph says of it, and
    where it begins, ends and is stored.
    """
    item = np.dtype(dtype).itemsize
    return network.n * (16 * item + 90) + network.m * (6 * item + 150)
