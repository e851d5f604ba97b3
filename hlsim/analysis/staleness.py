"""How old what met at every synapse was, measured from the times at which messages were sent.

A message carries more than its number: the ticks of the stimulus that this goes back to. No trace holds them,
but it holds when every message was sent and when it arrived; going through all of them in the order of time
gives them back. ``hlsim.analysis.ages`` says what the quantities are, and what they would be if
everybody sent at every tick.

What has not changed is not sent again and grows older: where a stimulus is held, or with thresholds, ages are
above those of the paths. An input that keeps its value in a new row counts as sent anew.
"""

from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hlsim.analysis.ages import PATHS, Ages, Kinds, ages, kinds, latest_at, reached
from hlsim.analysis.alignment import edge_names
from hlsim.analysis.learned import rule_of, settings_of
from hlsim.errors import TraceError
from hlsim.topology.network import BIAS, Network
from hlsim.trace import Trace
from hlsim.trace.network import network_of
from hlsim.trace.reader import ticks

Indices = NDArray[np.int64]
QUANTITIES = ("state", "target", "output", "staleness")
STATE, COSTATE, UPDATE = 0, 1, 2  # kinds of events
PART = 500_000  # ages that are kept before they are counted
# Origins are ticks of the stimulus. Their last axis is that of ``PATHS``: the newest one, and the oldest one
# with its sign turned, so that of several origins the largest counts in both.
NEVER = np.array([-np.inf, np.inf])  # from before the run
NOWHERE = np.array([-np.inf, -np.inf])  # from no stimulus at all
# Axis of the origins of a costate: of its target, of its output, and of all that it depends on.
TARGET, OUTPUT, ANY = 0, 1, 2


def staleness(trace: Trace, *, order: str | None = None) -> xr.Dataset:
    """Return how old what met at the synapses was, and how old it is by the delays of its paths.

    Parameters
    ----------
    trace : Trace
        That recorded the events "message", and "update" where neurons are updated on arrival. Of several
        replicas the first counts.
    order : str, optional
        "explicit" or "sequential"; by default what the experiment in the trace says.

    Returns
    -------
    Dataset
        Over (quantity, path, edge), in ticks: ``measured``, mean over the updates, and ``predicted`` by the
        delays, see ``hlsim.analysis.ages.ages``. Over (quantity, path, age): ``count`` of the updates in
        which it was of this age, and ``expected``, what that would be with the predicted ages. Over (edge):
        ``updates`` of a synapse in which all of it was known, and ``matched``, the share of them in which
        everything came from one and the same row of the stimulus. quantity: "state", "target", "output" and
        "staleness", output less state; path: "newest" and "oldest".

    Raises
    ------
    TraceError
        The trace has no messages, or no updates of neurons on arrival.
    """
    network = network_of(trace)
    for i in np.flatnonzero(network.lag)[:1]:
        raise TraceError(
            f"staleness: what neurons keep for a lag is in no trace, got node {network.label[i]!r} with lag "
            f"{network.lag[i]}; hlsim.analysis.ages tells it by the delays"
        )
    rule_order = order or rule_of(settings_of(trace)).order
    events = _Events.of(trace, network)
    walk = _Walk(network, kinds(network, rule_order), events)
    seen = _Seen(network, trace["stimulus/tick"])
    for tick in range(ticks(trace)):
        due = events.due(tick, network)
        walk.step(tick, due, seen.row_start(tick))
        seen.note(tick, due, walk)
    return seen.found(ages(network, rule_order))


# ---- what a trace tells


@dataclass(frozen=True)
class _Messages:
    """All messages of a kind that counted, by arrival: not those that a later sent one overtook."""

    edge: Indices
    sent: Indices
    tick: Indices
    by_sending: Indices

    @classmethod
    def of(cls, edge: Indices, sent: Indices, tick: Indices) -> "_Messages":
        order = np.lexsort((tick, sent, edge))
        edge, sent, tick = (x[order] for x in (edge, sent, tick))
        # Overtaken is what arrives when something that was sent later is there already, or with it.
        new = np.append(edge[1:] != edge[:-1], True)
        end = int(tick.max(initial=0)) + 1
        following = np.minimum.accumulate((edge * end + tick)[::-1])[::-1]
        counts = new | (tick < np.append(following[1:], 0) - edge * end)
        edge, sent, tick = (x[counts] for x in (edge, sent, tick))
        order = np.lexsort((sent, tick))
        edge, sent, tick = (x[order] for x in (edge, sent, tick))
        return cls(edge, sent, tick, np.argsort(sent, kind="stable"))

    def arriving(self, tick: int) -> Indices:
        return np.arange(*np.searchsorted(self.tick, [tick, tick + 1]))

    def leaving(self, tick: int) -> Indices:
        first, last = np.searchsorted(self.sent, [tick, tick + 1], sorter=self.by_sending)
        return self.by_sending[first:last]


@dataclass(frozen=True)
class _Events:
    """The messages of a run, and the updates of neurons in order of time."""

    states: _Messages
    costates: _Messages
    updated: Indices
    at: Indices

    @classmethod
    def of(cls, trace: Trace, network: Network) -> "_Events":
        events = {name: trace[f"events/{name}"] for name in ("tick", "kind", "node", "edge", "sent")}
        if "events/replica" in trace:
            first = trace["events/replica"] == 0
            events = {name: values[first] for name, values in events.items()}
        told = [events["kind"] == kind for kind in (STATE, COSTATE, UPDATE)]
        if not told[STATE].any():
            raise TraceError("staleness: the trace has no messages; record.events must hold 'message'")
        if not (told[UPDATE].any() or (network.clock | network.is_input).all()):
            raise TraceError("staleness: the trace has no updates; record.events must hold 'update'")
        columns = [[events[name][x] for name in ("edge", "sent", "tick")] for x in told[:UPDATE]]
        renewed = _renewed(trace, network)
        states = [np.concatenate(pair) for pair in zip(columns[STATE], renewed, strict=True)]
        updates = (events["node"][told[UPDATE]], events["tick"][told[UPDATE]])
        return cls(_Messages.of(*states), _Messages.of(*columns[COSTATE]), *updates)

    def due(self, tick: int, network: Network) -> NDArray[np.bool_]:
        """Return which neurons are updated at a tick (n,)."""
        since = tick - network.phase
        found: NDArray[np.bool_] = network.clock & (since >= 0) & (since % network.period == 0)
        found[self.updated[slice(*np.searchsorted(self.at, [tick, tick + 1]))]] = True
        return found


def _renewed(trace: Trace, network: Network) -> tuple[Indices, Indices, Indices]:
    """Return edge, sending and arrival of what inputs would have sent in rows that left them alone."""
    starts, x = trace["stimulus/tick"], trace["stimulus/input"]
    x = x[:, 0] if x.ndim == 3 else x
    kept = x == np.concatenate([np.zeros((1, x.shape[1])), x[:-1]])
    column = np.full(network.n, -1)
    column[network.inputs] = np.arange(len(network.inputs))
    # Other nodes may have columns too; they send what they make of them.
    edges = np.flatnonzero((network.source != BIAS) & network.is_input[network.source])
    rows, which = np.nonzero(kept[:, column[network.source[edges]]])
    return edges[which], starts[rows], starts[rows] + network.delay[edges[which]]


# ---- going through them


class _Walk:
    """Where what neurons have comes from, from tick to tick; its phases are those of docs/design.md.

    Attributes
    ----------
    met : (m, path)
        Origins of the states that costates meet at the synapses.
    q : (n, 3, path)
        Of the costates.
    """

    def __init__(self, network: Network, kind: Kinds, events: _Events) -> None:
        self._network, self._kind, self._events = network, kind, events
        self._to_target = latest_at(network.target, network.n)
        self._to_source = latest_at(network.source, network.n)
        # Only what a path leads to waits for something.
        source, target = network.source, network.target
        forward = reached(network.is_input, source, target, kind.synapse)
        backward = reached(kind.output, target, source, network.has_feedback)
        self._h = self._a = _waiting(forward)
        self._heard = self._inbox = self.met = _waiting(kind.synapse & forward[source])
        self._z = self._held = self.q = _thrice(_waiting(backward))
        self._r = self._box = _thrice(_waiting(network.has_feedback & backward[target]))
        self._carried = np.empty((len(events.states.edge), 2))
        self._carried_back = np.empty((len(events.costates.edge), 3, 2))
        self._row = 0.0

    def step(self, tick: int, due: NDArray[np.bool_], row: float) -> None:
        """Take the network through a tick: the neurons that are due, and since when its row is on."""
        network, kind = self._network, self._kind
        heard, a = self._heard, self._a
        self._advance(tick, network.stateful & due)
        self._row = row
        self._take_states(tick, due)
        self._take_costates(tick, due)
        # A late neuron's new costate meets what it has held since the tick before.
        self.met = np.where(kind.late[network.target][:, None], heard, self._heard)
        self.q = self._bent(self._z, np.where(kind.late[:, None], a, self._a))

    def _advance(self, tick: int, moves: NDArray[np.bool_]) -> None:
        """Let leaky neurons have the states and costates that they have been going to."""
        self._h = np.where(moves[:, None], self._a, self._h)
        self._h[self._network.is_input] = tick, -tick
        new = np.maximum(self._loss(), self._to_source(self._r))
        formed = np.where(self._kind.late[:, None, None], new, self._held)
        self._z = np.where(moves[:, None, None], formed, self._z)

    def _take_states(self, tick: int, due: NDArray[np.bool_]) -> None:
        network, states = self._network, self._events.states
        leaving, arriving = states.leaving(tick), states.arriving(tick)
        rank = network.rank[network.source]
        self._inbox = self._inbox.copy()
        for level in range(-1, int(network.rank.max()) + 1):
            if level >= 0:
                here = ((network.rank == level) & due)[:, None]
                self._a = np.where(here, self._to_target(self._heard), self._a)
                self._h = np.where(here, self._a, self._h)
            sent = leaving[rank[states.edge[leaving]] == level]
            self._carried[sent] = self._h[network.source[states.edge[sent]]]
            new = arriving[_comes(states, arriving, tick, rank, level)]
            self._inbox[states.edge[new]] = self._carried[new]
            self._heard = np.where(due[network.target][:, None], self._inbox, self._heard)
        moves = (network.stateful & due)[:, None]
        self._a = np.where(moves, self._to_target(self._heard), self._a)

    def _take_costates(self, tick: int, due: NDArray[np.bool_]) -> None:
        network, costates = self._network, self._events.costates
        leaving, arriving = costates.leaving(tick), costates.arriving(tick)
        rank, loss = network.back_rank[network.target], self._loss()
        self._box = self._box.copy()
        for level in range(-1, int(network.back_rank.max()) + 1):
            if level >= 0:
                here = ((network.back_rank == level) & due)[:, None, None]
                self._z = np.where(here, np.maximum(loss, self._to_source(self._r)), self._z)
            sent = leaving[rank[costates.edge[leaving]] == level]
            self._carried_back[sent] = self._bent(self._z, self._a)[network.target[costates.edge[sent]]]
            new = arriving[_comes(costates, arriving, tick, rank, level)]
            self._box[costates.edge[new]] = self._carried_back[new]
            own = (due & ~network.is_input)[network.source]
            self._r = np.where(own[:, None, None], self._box, self._r)
        moves = (network.stateful & due)[:, None, None]
        self._held = np.where(moves, np.maximum(loss, self._to_source(self._r)), self._held)

    def _loss(self) -> Ages:
        """Return the origins of the loss gradient at every output, of the row that is on."""
        found = np.full((len(self._h), 3, 2), -np.inf)
        out = self._kind.output
        found[out, TARGET] = self._row, -self._row
        found[out, OUTPUT] = self._h[out]
        found[out, ANY] = np.maximum(found[out, TARGET], found[out, OUTPUT])
        return found

    def _bent(self, z: Ages, slope: Ages) -> Ages:
        """Return the origins of q: it also depends on the drive at which the activation is taken."""
        q = z.copy()
        bent = self._kind.bent
        q[bent, ANY] = np.maximum(z[bent, ANY], slope[bent])
        return q


def _comes(messages: _Messages, arriving: Indices, tick: int, rank: Indices, level: int) -> NDArray[np.bool_]:
    """Return which of the messages that arrive come at this level: those of this tick at their sender's."""
    now = messages.sent[arriving] == tick
    return np.where(now, rank[messages.edge[arriving]] == level, level == -1)


def _waiting(path_leads: NDArray[np.bool_]) -> Ages:
    return np.where(path_leads[:, None], NEVER, NOWHERE)


def _thrice(origins: Ages) -> Ages:
    return origins[:, None].repeat(3, axis=1)


# ---- counting


@dataclass
class _Seen:
    """What met at synapses, counted."""

    network: Network
    starts: Indices
    edges: list[Indices] = field(default_factory=list)
    ages: list[Ages] = field(default_factory=list)
    kept: int = 0
    counts: list[dict[int, int]] = field(default_factory=lambda: [{} for _ in range(2 * len(QUANTITIES))])

    def __post_init__(self) -> None:
        self._counts_for = self.network.plastic & (self.network.source >= 0)
        self._sums = np.zeros((self.network.m, len(QUANTITIES), 2))
        self._updates, self._matched = (np.zeros(self.network.m, np.int64) for _ in range(2))

    def row_start(self, tick: int) -> float:
        """Return the tick since which the row of a tick is on; 0 before the first."""
        row = int(np.searchsorted(self.starts, tick, "right")) - 1
        return float(self.starts[max(row, 0)]) if len(self.starts) else 0.0

    def note(self, tick: int, due: NDArray[np.bool_], walk: _Walk) -> None:
        """Take down what met at the synapses of neurons that are due."""
        edges = np.flatnonzero(self._counts_for & due[self.network.target])
        state, q = walk.met[edges], walk.q[self.network.target[edges]]
        known = np.isfinite(state).all(1) & np.isfinite(q).all((1, 2))
        edges, state, q = edges[known], state[known], q[known]
        sign = np.array([-1.0, 1.0])
        three = np.stack([tick + sign * x for x in (state, q[:, TARGET], q[:, OUTPUT])], 1)
        self.ages.append(np.concatenate([three, three[:, 2:] - three[:, :1]], 1))
        self.edges.append(edges)
        rows = [np.searchsorted(self.starts, -sign * x, "right") for x in (state, q[:, ANY])]
        of_one = (np.concatenate(rows, 1) == rows[0][:, :1]).all(1)
        self._matched += np.bincount(edges[of_one], minlength=self.network.m)
        self.kept += len(edges)
        if self.kept > PART:
            self._count()

    def _count(self) -> None:
        if not self.edges:
            return
        edges, found = np.concatenate(self.edges), np.concatenate(self.ages)
        np.add.at(self._sums, edges, found)
        self._updates += np.bincount(edges, minlength=self.network.m)
        for counts, column in zip(self.counts, found.reshape(len(found), len(self.counts)).T, strict=True):
            values, times = np.unique(column.astype(np.int64), return_counts=True)
            for age, count in zip(values.tolist(), times.tolist(), strict=True):
                counts[age] = counts.get(age, 0) + count
        self.edges, self.ages, self.kept = [], [], 0

    def found(self, by_path: xr.Dataset) -> xr.Dataset:
        """Return all of it beside what the paths say."""
        self._count()
        predicted = np.stack([by_path[name].values for name in QUANTITIES])
        columns = predicted.reshape(len(self.counts), -1)
        expected = [_weighed(column, self._updates) for column in columns]
        present = [age for counts in [*self.counts, *expected] for age in counts]
        age = np.arange(min(present), max(present) + 1) if present else np.arange(0)
        shape = (len(QUANTITIES), len(PATHS), len(age))
        with np.errstate(invalid="ignore"):
            mean = (self._sums / self._updates[:, None, None]).transpose(1, 2, 0)
            matched = self._matched / self._updates
        over, ticks_ = ("quantity", "path", "edge"), {"units": "ticks"}
        binned, number = ("quantity", "path", "age"), {"units": "updates"}
        return xr.Dataset(
            {
                "measured": (over, mean, ticks_),
                "predicted": (over, predicted, ticks_),
                "count": (binned, _binned(self.counts, age).reshape(shape), number),
                "expected": (binned, _binned(expected, age).reshape(shape), number),
                "updates": ("edge", self._updates, number),
                "matched": ("edge", matched, {"units": "1", "long_name": "share that was of one row"}),
            },
            coords={
                "quantity": list(QUANTITIES),
                "path": list(PATHS),
                "age": ("age", age, ticks_),
                **edge_names(self.network),
            },
        )


def _weighed(ages_of_edges: Ages, updates: Indices) -> dict[int, int]:
    known = np.isfinite(ages_of_edges) & (updates > 0)
    values, which = np.unique(ages_of_edges[known].astype(np.int64), return_inverse=True)
    counts = np.bincount(which, updates[known], minlength=len(values)).astype(np.int64)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _binned(counts: list[dict[int, int]], age: Indices) -> Indices:
    return np.array([[of.get(int(x), 0) for x in age] for of in counts], np.int64)
