"""Deals the edges of a network out to projections."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine.circuit.projections import Dense, Sparse, in_order
from hlsim.engine.circuit.push import Push
from hlsim.engine.circuit.synapses import LAST, Signature
from hlsim.errors import ExperimentError
from hlsim.models.rules.rule import Rule
from hlsim.topology.network import Network
from hlsim.topology.order import order

# Fewer edges than this are cheaper as part of a sparse projection than as a matrix of their own.
_DENSE_LEAST = 32
# What a ring over the ticks of a delay may take in all; edges with longer delays carry single messages. So
# many ticks are always worth it: a ring holds a number a neuron and tick, a message a number an edge.
_RING_BYTES, _RING_TICKS = 2**26, 2**10
# Every matrix costs a few calls a tick: with more than so many small ones a sparse projection takes less.
_SMALL, _FEW = 1024, 16
Ints = NDArray[np.int64]
Pull = Dense | Sparse
Group = tuple[Signature, Ints | None, Ints, Ints]


@dataclass(frozen=True)
class Plan:
    """Projections in a fixed order, and where the edges of the network lie in storage.

    Attributes
    ----------
    pulls, push : list of Pull, Push
        Every edge is in exactly one of them.
    place : array (edge,)
        ``stored[..., place]`` is in the network's canonical edge order.
    weight : Tensor
        Initial weights in storage order, ``(1 or replica, edge)``.
    """

    pulls: list[Pull]
    push: Push
    place: Ints
    weight: Tensor


def synchronous(network: Network) -> NDArray[np.bool_]:
    """Return which neurons (n,) update at every tick and send whatever changes."""
    return (
        ~network.is_input
        & network.clock
        & (network.period == 1)
        & (network.phase == 0)
        & (network.send_threshold == 0)
        & (network.costate_threshold == 0)
        & (network.send_interval == 1)
        & ~(network.rich | network.hears_impulses)
    )


def make(
    network: Network,
    rule: Rule,
    replicas: int,
    dtype: torch.dtype,
    number: torch.dtype,
    device: torch.device,
    single: NDArray[np.bool_] | None = None,
) -> Plan:
    """Return the projections of a network whose weights are private to a replica or shared by all.

    ``dtype`` is that of synapses, ``number`` that of what neurons send; ``single`` (edge,): these carry
    single messages, each of which may have a fate of its own.
    """
    readable = _readable(network) if single is None else _readable(network) & ~single
    readable = readable & (not rule.apart)
    near = _near(network, replicas)
    if replicas > 1 and network.weight.shape[0] == 1:
        _check_shared(network, readable, near)
    _check_lags(network, near, longest_ring(network, replicas))
    pulled = readable & near
    groups = [
        (signature, sources, targets, edges if sources is not None else in_order(network, rule, edges))
        for signature, sources, targets, edges in _groups(network, np.flatnonzero(pulled))
    ]
    rest = np.flatnonzero(~pulled)
    stored = np.concatenate([*(edges for *_, edges in groups), rest])
    push_edges = rest[order(network.target[rest])]
    stored[len(stored) - len(push_edges) :] = push_edges
    # Contiguous, whatever the order numpy keeps: the engine looks at synapses by flat index.
    weight = torch.as_tensor(network.weight[:, stored], dtype=dtype, device=device).contiguous()
    pulls, start = [], 0
    for signature, sources, targets, edges in groups:
        if sources is None:
            pull: Pull = Sparse(network, signature, edges, start, rule, weight, replicas, number)
        else:
            pull = Dense(network, signature, sources, targets, edges, start, rule, weight, replicas, number)
        pulls.append(pull)
        start += len(edges)
    push = Push(network, push_edges, start, rule, weight, replicas, number)
    place = np.empty(len(stored), np.int64)
    place[stored] = np.arange(len(stored))
    return Plan(pulls, push, place, weight)


def longest_ring(network: Network, replicas: int) -> int:
    """Return the ticks that a history of all neurons may go back."""
    return max(_RING_TICKS, _RING_BYTES // (8 * max(1, network.n * replicas)))


def in_projections(network: Network, rule: Rule, replicas: int) -> NDArray[np.bool_]:
    """Return on which edges (m,) targets read what their source was, so that no message is sent."""
    return _readable(network) & _near(network, replicas) & (not rule.apart)


def ring_numbers(network: Network, rule: Rule, replicas: int) -> tuple[int, int]:
    """Return how many numbers projections keep of what was sent, and how many edges are in sparse ones."""
    kept, sparse, back = 0, 0, network.carries_costates(rule)
    for signature, sources, _, edges in _groups(
        network, np.flatnonzero(in_projections(network, rule, replicas))
    ):
        if sources is not None:
            kept += len(sources) * (signature.delay + signature.feedback_delay + signature.lag)
            continue
        # Each row twice in torch, see ``Sparse``, and once in compiled loops.
        coming = network.feedback_delay[edges][back[edges]].max(initial=0) + 1
        heard = (network.delay[edges] + network.lag[network.target[edges]]).max() + 1
        kept += 1.4 * (heard * (network.n + 1) + coming * network.n)
        sparse += len(edges)
    kept += network.n * int(network.lag.max() + network.loss_waits.max())
    return int(kept) * replicas, sparse


def _near(network: Network, replicas: int) -> NDArray[np.bool_]:
    heard = network.delay + network.lag[network.target]
    return np.maximum(heard, network.feedback_delay) < longest_ring(network, replicas)


def _readable(network: Network) -> NDArray[np.bool_]:
    sync = synchronous(network)
    readable = sync | (network.is_input & (network.send_threshold == 0) & (network.send_interval == 1))
    return sync[network.target] & ((network.source < 0) | readable[np.maximum(network.source, 0)])


def _check_shared(network: Network, pulled: NDArray[np.bool_], near: NDArray[np.bool_]) -> None:
    sync = synchronous(network)
    late = np.flatnonzero(~(sync | network.is_input))[:1].tolist()
    late += [] if pulled.all() else [int(network.source[~pulled][0])]
    if late:
        raise ExperimentError(
            f"simulation.batch: replicas that share synapses need neurons with clock 1, thresholds 0 and "
            f"send_interval 1, got node {network.label[late[0]]!r}"
        )
    for edge in np.flatnonzero(~near)[:1]:
        longest = int(max(network.delay[edge], network.feedback_delay[edge]))
        raise ExperimentError(
            f"simulation.batch: replicas that share synapses keep what was sent at every tick of a delay, "
            f"which is too much for {longest} of them"
        )


def _check_lags(network: Network, near: NDArray[np.bool_], longest: int) -> None:
    """Refuse lags that need more than is kept of what was sent."""
    i = int(network.lag.argmax())
    if network.lag[i] and not near.all():
        raise ExperimentError(
            f"simulation: what is sent is kept for up to {longest:,} ticks, which is too little for node "
            f"{network.label[i]!r} with its lag of {network.lag[i]:,} and delays beside it"
        )


def _facts(network: Network, edges: Ints) -> tuple[NDArray, ...]:
    """Return the fields of every edge's signature."""
    instant = network.instant
    source, target = np.maximum(network.source[edges], 0), network.target[edges]
    from_instant = instant[source] & (network.source[edges] >= 0)
    to_instant = instant[target]
    delay, back = network.delay[edges], network.feedback_delay[edges]
    forward = np.where(to_instant, network.rank[target], LAST)
    forward = np.where((delay == 0) & from_instant, forward, 0)
    backward = np.where(from_instant, network.back_rank[source], LAST)
    backward = np.where((back == 0) & to_instant, backward, 0)
    feedback = network.feedback[edges].astype(np.int64)
    bias, lag = network.source[edges] < 0, network.lag[network.target[edges]]
    return to_instant, forward, backward, delay, back, feedback, bias, lag


def packed(*columns: NDArray) -> Ints:
    """Return a number for each row (one at least) of columns, in their order, the same for equal rows alone.

    Without sorting where the numbers are small enough.
    """
    number, room = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        least, span = int(column.min()), int(column.max()) - int(column.min()) + 1
        if span == 1:
            continue
        if room * span >= 2**62:
            _, number = np.unique(number, return_inverse=True)
            room = len(number)
        number *= span
        number += column
        number -= least
        room *= span
    return number


def numbered(*columns: NDArray) -> Ints:
    """Return the rank of each row (one at least) of columns, in their order; the same for equal rows."""
    by = order(*columns[::-1])
    new = np.zeros(len(by), bool)
    for column in columns:
        new[1:] |= np.diff(column[by]) != 0
    number = np.empty(len(by), np.int64)
    number[by] = np.cumsum(new)
    return number


def _groups(network: Network, edges: Ints) -> list[Group]:
    """Return (signature, sources, targets, edges by target and source); sources None: sparse, unsorted."""
    if not len(edges):
        return []
    facts = _facts(network, edges)
    number = numbered(*facts)
    # A fan: the edges of one signature that lead to one target.
    by = order(network.target[edges], number)
    edges, number = edges[by], number[by]
    facts = tuple(fact[by] for fact in facts)
    target = network.target[edges]
    first = np.ones(len(edges), bool)
    first[1:] = (number[1:] != number[:-1]) | (target[1:] != target[:-1])
    starts = np.flatnonzero(first)
    groups: list[tuple[Signature, Ints | None, Ints, Ints]] = []
    dealt = np.zeros(len(edges), bool)
    for block in _worth_it(network, edges, matrices(network.source[edges], number, starts, _DENSE_LEAST)):
        signature = Signature(*(fact[block[0, 0]].item() for fact in facts))
        groups.append((signature, network.source[edges[block[0]]], target[block[:, 0]], edges[block].ravel()))
        dealt[block] = True
    rest, kinds = edges[~dealt], tuple(fact[~dealt] for fact in facts[:3])
    kind = numbered(*kinds) if len(rest) else rest
    for each in range(kind.max(initial=-1) + 1):
        chosen = np.flatnonzero(kind == each)
        signature = Signature(*(fact[chosen[0]].item() for fact in kinds))
        flat = rest[chosen]
        groups.append((signature, None, network.target[flat], flat))
    return sorted(groups, key=lambda group: int(group[3].min()))


def _worth_it(network: Network, edges: Ints, blocks: list[Ints]) -> list[Ints]:
    """Leave out small matrices where there are many."""
    bias = [network.source[edges[block[0, 0]]] < 0 for block in blocks]
    small = sum(block.size < _SMALL and not alone for block, alone in zip(blocks, bias, strict=True))
    least = _SMALL if small > _FEW else 0
    return [block for block, alone in zip(blocks, bias, strict=True) if block.size >= least or alone]


def matrices(source: Ints, number: Ints, starts: Ints, least: int) -> list[Ints]:
    """Return the positions (target, source) of the edges of fans that together make a matrix.

    They share a number, for what edges of a matrix have in common, and all their sources. Fans are compared
    one by one only where as many edges as a matrix has at ``least`` agree in number, size, and sum of
    sources. Biases make one however few they are.
    """
    if not len(source):
        return []
    size = np.diff(starts, append=len(source))
    alike = numbered(number[starts], size, np.add.reduceat(source, starts))
    repeats = np.zeros(len(source), bool)
    repeats[1:] = source[1:] == source[:-1]
    repeats[starts] = False
    bias = source[starts] < 0
    many = np.bincount(alike, size)[alike] >= least
    fans: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for i in np.flatnonzero((many | bias) & ~np.logical_or.reduceat(repeats, starts)).tolist():
        start, stop = starts[i], starts[i] + size[i]
        fans[int(number[start]), source[start:stop].tobytes()].append(start)
    blocks = [
        np.add.outer(fan, np.arange(len(sources) // source.itemsize)) for (_, sources), fan in fans.items()
    ]
    return [block for block in blocks if block.size >= least or source[block[0, 0]] < 0]
