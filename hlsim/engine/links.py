"""Links: which of them are meant, what may be asked of them while a network runs, and what chance decides.

A link is an edge between two nodes, in one direction of messages: states go forward on it, costates backward.
A bias is none. What chance decides of a message is a function of the seed, the link, the tick at which it is
sent and its kind, and of nothing else, so that it does not depend on the engine, nor on who else sends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine import chance
from hlsim.errors import ExperimentError, check_count, is_real, plain, unknown
from hlsim.models.messages import MESSAGES
from hlsim.models.rules.rule import Rule
from hlsim.topology.network import BIAS, Network

# What can be asked of a link: whether it is down, ticks of delay, probability of loss, most ticks of jitter.
PROPERTIES = ("down", "delay", "loss", "jitter")
# What is drawn of a link.
LOST, LATE, SPELL = range(3)
MOST_TICKS = 2**40
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Links:
    """A choice of links.

    Parameters
    ----------
    source, target : sequence of str
        Where their edges begin and end: names of nodes, of populations, of neurons in them, or of groups.
        None given: anywhere. Costates travel on the edge the other way.
    across_groups : bool
        Only edges that lead from one group to another.
    messages : sequence of str
        Kinds of message that are concerned: "state", "costate".
    """

    source: Sequence[str] = ()
    target: Sequence[str] = ()
    across_groups: bool = False
    messages: Sequence[str] = MESSAGES

    def __post_init__(self) -> None:
        for what in ("source", "target", "messages"):
            if isinstance(getattr(self, what), str):
                raise ExperimentError(f"faults: {what} must be a list of names, got {getattr(self, what)!r}")
            object.__setattr__(self, what, tuple(getattr(self, what)))
        for name in self.messages:
            if name not in MESSAGES:
                raise ExperimentError(f"faults: {unknown('message', name, MESSAGES)}")

    def among(self, network: Network, rule: Rule) -> NDArray[np.bool_]:
        """Return which links of a network (kind, edge) are meant, at least one."""
        edges = np.asarray(network.source != BIAS)
        for what, names, ends in (
            ("source", self.source, network.source),
            ("target", self.target, network.target),
        ):
            if names:
                edges &= _named(network, what, names)[ends]
        if self.across_groups:
            _, group = np.unique(np.array(network.group), return_inverse=True)
            edges &= group[network.source] != group[network.target]
        sent = np.ones_like(edges), network.carries_costates(rule)
        chosen = np.array([edges & sent[k] & (MESSAGES[k] in self.messages) for k in range(len(MESSAGES))])
        if not chosen.any():
            given = ", ".join(f"{name} = {value!r}" for name, value in vars(self).items() if value)
            raise ExperimentError(f"faults: at least one link must be chosen, got none by {given}")
        return chosen


def _named(network: Network, what: str, names: Iterable[str]) -> NDArray[np.bool_]:
    """Return which nodes (n,) have one of the names, are part of such a population, or of such a group."""
    wanted, found = set(names), set()
    chosen, known = np.zeros(network.n, bool), set()
    for i, (label, group) in enumerate(zip(network.label, network.group, strict=True)):
        population = label.partition("[")[0] if label.endswith("]") else label
        mine = {label, population, group} & wanted
        known |= {population, group}
        found |= mine
        chosen[i] = bool(mine)
    for name in sorted(wanted - found):
        raise ExperimentError(f"faults: {unknown(what, name, known - {''})}")
    return chosen


@dataclass(frozen=True, eq=False)
class LinkChange:
    """One property of some links becomes something else.

    Attributes
    ----------
    what : str
        Among ``PROPERTIES``.
    kind : int
        Which messages it is about: 0 states, 1 costates.
    cells : int64 (k,)
        Links in replicas: replica * edges + edge.
    value : float
        1 or 0 for "down".
    """

    what: str
    kind: int
    cells: Ints
    value: float


class TouchableLinks:
    """The links that may be touched during a run, and their keys for what is drawn.

    Parameters
    ----------
    touched : bool (kind, edge)
    seeds : sequence of int
        One for every replica; each has its own faults.

    Attributes
    ----------
    keys : int64 Tensor (replica * edge,)
    """

    def __init__(
        self, network: Network, rule: Rule, touched: NDArray[np.bool_], seeds: Sequence[int]
    ) -> None:
        self.network, self._rule, self.touched, self.replicas = network, rule, touched, len(seeds)
        self.keys = torch.cat([_keys(network, seed) for seed in seeds])

    @property
    def edges(self) -> NDArray[np.bool_]:
        """Which edges (m,) have a link that may be touched."""
        return np.asarray(self.touched.any(0))

    def changes(
        self, values: Mapping[str, float | None], where: Links | None = None, replica: int | None = None
    ) -> list[LinkChange]:
        """Check what is asked of links, among ``PROPERTIES``; None: stays as it is.

        Raises
        ------
        ExperimentError
            A value has no meaning, or a link is not among those that may be touched.
        """
        chosen = self.touched if where is None else where.among(self.network, self._rule)
        for kind, edge in np.argwhere(chosen & ~self.touched)[:1].tolist():
            raise ExperimentError(
                f"faults: {MESSAGES[kind]} messages of {self._name(edge)} must be among those that the "
                f"faults of the simulation are about"
            )
        replica = plain(replica)
        if replica is not None and replica not in range(self.replicas):
            raise ExperimentError(f"faults: replica must be in 0 ... {self.replicas - 1}, got {replica!r}")
        replicas = np.arange(self.replicas) if replica is None else np.array([replica])
        made = []
        for what, value in values.items():
            if value is None:
                continue
            check_property("faults", what, value)
            for kind in np.flatnonzero(chosen.any(1)).tolist():
                edges = np.flatnonzero(chosen[kind])
                if what == "delay" and value == 0:
                    self._check_at_once(kind, edges)
                cells = np.add.outer(replicas * self.network.m, edges).ravel()
                made.append(LinkChange(what, kind, cells, float(value)))
        return made

    def _check_at_once(self, kind: int, edges: Ints) -> None:
        """No delay where the graph has one: the order of neurons within a tick is that of the graph."""
        delay = (self.network.delay, self.network.feedback_delay)[kind]
        for edge in edges[delay[edges] > 0][:1]:
            raise ExperimentError(
                f"faults: {MESSAGES[kind]} delay of {self._name(edge)} must stay >= 1, as in the graph, got 0"
            )

    def _name(self, edge: int) -> str:
        network = self.network
        return f"{network.label[network.source[edge]]!r} -> {network.label[network.target[edge]]!r}"


def check_property(where: str, what: str, value: object) -> None:
    """Refuse a value that a link cannot have: ExperimentError."""
    if what == "down":
        if not isinstance(plain(value), bool):
            raise ExperimentError(f"{where}: down must be true or false, got {plain(value)!r}")
    elif what == "loss":
        check_probability(f"{where}: loss", value)
    else:
        check_ticks(f"{where}: {what}", value)


def check_probability(where: str, value: object) -> None:
    """Refuse what is no probability: ExperimentError."""
    if not is_real(value) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ExperimentError(f"{where} must be a probability in [0, 1], got {plain(value)!r}")


def check_ticks(where: str, value: object) -> None:
    """Refuse what is no whole number of ticks, or more than anybody waits for: ExperimentError."""
    check_count(where, value, 0, " of ticks")
    if value > MOST_TICKS:  # type: ignore[operator]
        raise ExperimentError(f"{where}: must be <= 2**40 ticks, got {plain(value)!r}")


# ---- what chance decides


def uniform(key: Tensor, tick: int, kind: int, purpose: int) -> Tensor:
    """Return a number in [0, 1) for every key (k,), as float64 with 53 random bits.

    Each is a hash of key, tick, kind and purpose, hence independent of which others are asked for.
    """
    return chance.uniform(key, (tick * len(MESSAGES) + kind) * (SPELL + 1) + purpose)


def late(key: Tensor, tick: int, kind: int, jitter: Tensor) -> Tensor:
    """Return the ticks (k,) by which messages are late: each of 0, ..., jitter is equally likely."""
    return (uniform(key, tick, kind, LATE) * (jitter + 1)).to(torch.int64)


def _keys(network: Network, seed: int) -> Tensor:
    """Return 64 bits for every edge, of the seed, its ends, and its place among parallel edges."""
    label = chance.keys([("fault", "node", name) for name in network.label])
    pair = (network.source[1:] == network.source[:-1]) & (network.target[1:] == network.target[:-1])
    first = np.flatnonzero(np.concatenate(([True], ~pair))[: network.m])
    place = np.arange(network.m) - np.repeat(first, np.diff(first, append=network.m))
    key = torch.full((network.m,), int(chance.keys([("fault", "seed", str(seed))])))
    for part in (label[network.source], label[network.target], torch.as_tensor(place)):
        key = chance.joined(key, part)
    return key
