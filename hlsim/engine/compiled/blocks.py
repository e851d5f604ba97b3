"""Synapses between neurons that update at every tick, in blocks that a loop goes over in one sweep.

A block has one delay, one feedback delay, and whatever else its synapses need to be alike in. It is a matrix
where every source of some targets reaches all of them; else its synapses stand by target. What is gathered
and summed one after the other then lies in a row of one number a neuron, which stays in a processor's cache.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from hlsim.engine.circuit import plan
from hlsim.engine.circuit.circuit import Circuit
from hlsim.engine.circuit.push import Push
from hlsim.engine.compiled.layout import FIRST, LATER, NO_PART, NOT, Array
from hlsim.models.rules.rule import Rule
from hlsim.topology.columns import is_spread, spread
from hlsim.topology.network import RANDOM, Network
from hlsim.topology.order import order

# A matrix has so many synapses at least, and so many in a row.
_LEAST, _NARROWEST = 32, 4
# With more weight rates than this every synapse has its own.
_RATES = 8
# Parts that threads can compute side by side at most, and synapses that a part must have.
_PARTS, _PART_LEAST = 8, 100_000
# Synapses a part must have for each number in its rows of sums, of which it has one for every delay.
_PER_SUM = 0.5
Ints = Array


class Arrangement(NamedTuple):
    """Where synapses stand.

    Attributes
    ----------
    edges : int64 (synapse,)
        Canonical edges in the order of storage.
    rows : structured (block,)
        See ``layout.Blocks``.
    source, target : uint32
        Ends of synapses, of matrices those of their rows and columns once.
    rate : float (k,)
        Weight rates.
    carried : int64 (k,)
        Edges whose costates are carried by random weights, in the order of storage.
    parts : int
        In how many parts the blocks stand whose targets no other part has.
    """

    edges: Ints
    rows: Array
    source: Array
    target: Array
    rate: Array
    carried: Ints
    parts: int


@dataclass(frozen=True)
class BlockPlan(plan.Plan):
    """All edges are in blocks or carry single messages; no projection of torch's has any."""

    arrangement: Arrangement


def deal(
    network: Network,
    rule: Rule,
    replicas: int,
    dtype: torch.dtype,
    number: torch.dtype,
    single: Array | None,
) -> BlockPlan:
    """Return where the edges of a network stand; ``single`` (m,): these carry messages whatever else."""
    chosen = plan.in_projections(network, rule, replicas)
    chosen = chosen if single is None else chosen & ~single
    made = arrange(network, rule, np.flatnonzero(chosen))
    rest = np.flatnonzero(~chosen)
    rest = rest[order(network.target[rest])]
    stored = np.concatenate((made.edges, rest)) if len(rest) else made.edges
    weight = torch.as_tensor(network.weight[:, stored], dtype=dtype).contiguous()
    push = Push(network, rest, len(made.edges), rule, weight, replicas, number)
    place = np.empty(len(stored), np.int64)
    place[stored] = np.arange(len(stored))
    return BlockPlan([], push, place, weight, made)


def arrangement(circuit: Circuit) -> Arrangement:
    """Return the blocks of a circuit."""
    return cast(BlockPlan, circuit.plan).arrangement


def arrange(network: Network, rule: Rule, edges: Ints) -> Arrangement:
    """Return the blocks of some edges (k,), in the order in which a tick goes over them."""
    facts, rate = _facts(network, rule, edges)
    matrices = _matrices(network, edges, facts)
    rest = np.ones(len(edges), bool)
    for block in matrices:
        rest[block.ravel()] = False
    part = np.zeros(len(edges), np.int8)
    part[rest] = _part(network, edges, facts, rest)
    blocks = [(NO_PART, int(block[0, 0]), block) for block in matrices]
    blocks += _runs(network, edges, facts, part, rest)
    # A tick goes over them level by level, matrices first, then part by part; as the network says.
    blocks.sort(key=lambda each: (facts["forward"][each[1]], each[0]))
    return _laid_out(network, edges, facts, rate, blocks, int(part.max(initial=0)) + 1)


def _facts(network: Network, rule: Rule, edges: Ints) -> tuple[dict[str, Array], Array]:
    """Return what the synapses of a block have in common, by edge (k,), and the weight rates (rate,)."""
    source, target = network.source[edges], network.target[edges]
    bias, to_instant = _slim(source < 0), _slim(network.instant[target])
    from_instant = network.instant[source] & ~bias
    delay = _slim(np.where(bias, 0, network.delay[edges]))
    back = network.carries_costates(rule, edges) & ~network.is_input[source] & ~bias
    at_once = from_instant & (delay == 0)
    later = _slim(np.where(to_instant, network.rank[target], LATER))
    own = network.weight_rate(rule, edges)
    # Most networks have one, which need not be searched for.
    alike = len(own) > 0 and own.min() == own.max()
    none = spread(np.int64(0), len(own))
    rate, kind = (own[:1].copy(), none) if alike else np.unique(own, return_inverse=True)
    facts = {
        "forward": _slim(np.where(at_once, later, FIRST)),
        "backward": _slim(np.where(to_instant, network.back_rank[target], FIRST)),
        "instant": to_instant,
        "delay": delay,
        "back": _slim(np.where(back, network.feedback_delay[edges], NOT)),
        "random": _slim(back & (network.feedback[edges] == RANDOM)),
        "plastic": _slim(network.plastic[edges].astype(bool)),
        "bias": bias,
        "rate": kind.reshape(-1) if len(rate) <= _RATES else spread(np.int64(NOT), len(edges)),
    }
    # When costates are sent matters where they are heard at once.
    facts["backward"] = _slim(np.where(facts["back"] == 0, facts["backward"], NOT))
    return facts, rate if len(rate) <= _RATES else own


def _slim(values: Array) -> Array:
    """Return values, all below 2**31, in little memory: that of one, where all are the same."""
    if len(values) and values.min() == values.max():
        return spread(values[0], len(values))
    return values.astype(np.int32) if values.itemsize > 4 else values


def _matrices(network: Network, edges: Ints, facts: dict[str, Array]) -> list[Ints]:
    """Return the positions (target, source) of the edges that make a matrix."""
    if not len(edges):
        return []
    number = plan.packed(*facts.values())
    # Edges come by source.
    by = order(network.target[edges], number)
    number, target = number[by], network.target[edges[by]]
    first = np.ones(len(edges), bool)
    first[1:] = (number[1:] != number[:-1]) | (target[1:] != target[:-1])
    del target  # of a million synapses there are few columns at a time
    source = network.source[edges[by]]
    blocks = plan.matrices(source, number, np.flatnonzero(first), _LEAST)
    wide = [block for block in blocks if block.shape[1] >= _NARROWEST]
    return [by[block] for block in sorted(wide, key=lambda block: int(edges[by[block[0, 0]]]))]


def _part(network: Network, edges: Ints, facts: dict[str, Array], rest: Array) -> Ints:
    """Return the part of each edge of the ``rest``: targets in contiguous ranges, as many as are worth it.

    The parts depend on the network alone: so do all sums, whatever the number of threads.
    """
    target, first = network.target[edges[rest]], facts["forward"][rest] == FIRST
    depth = 1 + facts["back"][rest].max(initial=0)
    worth = first.sum() / max(_PART_LEAST, _PER_SUM * depth * network.n)
    # A power of two, so that as many threads have as much to do.
    parts = 2 ** int(np.log2(np.clip(worth, 1, _PARTS)))
    count = np.cumsum(np.bincount(target[first], minlength=network.n))
    part = ((count[target] - 1) * parts) // max(1, int(first.sum()))
    return np.where(first, part, 0)


def _runs(
    network: Network, edges: Ints, facts: dict[str, Array], part: Ints, rest: Array
) -> list[tuple[int, int, Ints]]:
    """Return (part, first position, positions) of the blocks that are no matrices."""
    if not rest.any():
        return []
    at: Any = slice(None) if rest.all() else np.flatnonzero(rest)
    names = [name for name in facts if name not in ("delay", "back")] + ["delay", "back"]
    key = plan.packed(part[at], *(facts[name][at] for name in names if not is_spread(facts[name])))
    by = order(network.target[edges[at]], key)
    cuts = np.flatnonzero(np.diff(key[by])) + 1
    runs = np.split(by if rest.all() else at[by], cuts)
    return [(int(part[run[0]]), int(run[0]), run) for run in runs]


def _laid_out(
    network: Network,
    edges: Ints,
    facts: dict[str, Array],
    rate: Array,
    blocks: list[tuple[int, int, Ints]],
    parts: int,
) -> Arrangement:
    at = np.concatenate([each.ravel() for *_, each in blocks]) if blocks else np.zeros(0, np.int64)
    placed = edges[at]
    columns: dict[str, list[Any]] = {name: [] for name in (*ROW, "size", "random")}
    sources, targets = [], []
    for part, first, block in blocks:
        matrix = block.ndim == 2
        one, other = edges[block[0] if matrix else block], edges[block[:, 0] if matrix else block]
        sources.append(np.maximum(network.source[one], 0).astype(np.uint32))
        targets.append(network.target[other].astype(np.uint32))
        own = facts["rate"][first] == NOT
        values = {name: facts[name][first] for name in facts if name not in ("rate", "random")}
        values |= {"part": part, "width": block.shape[1] if matrix else 0, "size": block.size}
        values |= {"own": own, "random": block.size if facts["random"][first] else 0}
        values |= {"rate": 0 if own else facts["rate"][first], "carried": 0}
        for name, column in columns.items():
            column.append(values.get(name, 0))
    rows = np.zeros(len(blocks), np.dtype([(name, np.int64) for name in ROW]))
    for name in ROW:
        rows[name] = columns[name]
    rows["last"] = np.cumsum(columns["size"])
    rows["first"] = rows["last"] - np.array(columns["size"], np.int64)
    for name, ends in (("sources", sources), ("targets", targets)):
        rows[name] = np.cumsum([0, *map(len, ends)])[: len(rows)]
    random = np.array(columns["random"], np.int64)
    rows["carried"] = np.where(random > 0, np.cumsum(random) - random, NOT)
    own = rows["own"] != 0
    rows["rate"] = np.where(own, rows["first"], rows["rate"])
    return Arrangement(
        placed,
        rows,
        _joined(sources),
        _joined(targets),
        rate[at] if own.any() else rate,
        placed[np.repeat(random > 0, rows["last"] - rows["first"])],
        parts,
    )


def _joined(ends: list[Array]) -> Array:
    return np.concatenate([np.zeros(0, np.uint32), *ends])


# What stands in a row of the table of blocks, see ``layout.Blocks``.
ROW = (
    "first",
    "last",
    "sources",
    "targets",
    "width",
    "forward",
    "backward",
    "instant",
    "delay",
    "back",
    "carried",
    "plastic",
    "bias",
    "rate",
    "own",
    "part",
)
