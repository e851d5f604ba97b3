"""A circuit whose neurons all update on arrival, as the plain arrays on which compiled loops work.

Neurons and edges are flat: neuron ``replica * nodes + node``, edge ``replica * edges + edge`` in storage
order. What the circuit's tensors hold is shared with them, never copied.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine.circuit.circuit import Circuit
from hlsim.models import ops
from hlsim.models.neurons import MODELS, Input, Instant, Leaky

Array = NDArray[Any]
# What kind a neuron is, and the activations by number.
MODEL_TYPES = (Input, Instant, Leaky)
INPUT, INSTANT, LEAKY = range(3)
ACTIVATION_NAMES = ("tanh", "sigmoid", "steep_sigmoid", "relu", "softplus", "identity")
# Losses by number; silent where there is none, or no target.
SILENT, SQUARED_ERROR, CROSS_ENTROPY = range(3)
# Messages that stand together in the calendar.
CHUNK = 32
# Room at the start, in ticks at which everybody sends.
CHUNKS_AHEAD = 2
# Ticks ahead of now for which there is a bucket: what arrives later waits elsewhere until it does.
NEAR = 2**12
# Later than any tick.
NEVER = 2**60


class Edges(NamedTuple):
    """Edges, and where those of a neuron begin and end.

    Attributes
    ----------
    start : structured (neuron + 1,)
        First position of a neuron's in-edges (``into``, flat edges themselves), of what it sends (``out``,
        ``back``), of the costates it hears (``hear``), and of its row of ``rates``.
    out : structured (k,)
        State messages by sender: ``edge``, ``node`` it reaches, ``delay``.
    back : structured (k,)
        Costate messages by sender: ``edge``, ``node``, ``delay``, ``place`` among the costates heard, and
        ``fixed``: whether ``weight`` carries it and not w.
    far : int64 (k,)
        Delays of NEAR ticks or more; an edge has -1 - its place among them as its ``delay``.
    beta, plastic : (rate,)
        Of the in-edges of a neuron. Where all of them have the same, it reads a row that many share: it stays
        in the cache, and what else a synapse has is all that comes from memory.
    """

    start: Array
    out: Array
    back: Array
    far: Array
    beta: Array
    plastic: Array


class Values(NamedTuple):
    """What changes: the circuit's own neuron fields (neuron,) and synapse fields (edge,), see ``State``.

    ``s`` is the state that a synapse holds; a message may write it at once, since its neuron has integrated
    to the tick before. ``r`` holds the costates last heard, those of one neuron side by side.
    """

    h: Array
    z: Array
    a: Array
    q: Array
    df_da: Array
    dl: Array
    g: Array
    heard: Array
    h_sent: Array
    q_sent: Array
    h_sent_at: Array
    q_sent_at: Array
    moved: Array
    updated: Array
    u: Array
    w: Array
    omega: Array
    s: Array
    r: Array


class Agenda(NamedTuple):
    """Calendar of wake-ups and of messages in flight, in memory that grows with neither time nor delays.

    Items are neurons that wake, then buckets of messages by kind and tick modulo their number, then the first
    of the messages that come too late for a bucket.

    Attributes
    ----------
    heap, place, tick : int64 (item,)
        A binary heap of items, where each stands in it (-1: it does not), and the tick of each.
    buckets : structured (2 * depth,)
        ``first`` and ``last`` chunk of messages, and their ``count``.
    after, free : int64 (chunk,)
        The chunk after a chunk; a stack of those that are free.
    mail : structured (chunk * CHUNK,)
        ``address`` where a value goes, ``node`` it reaches, ``value``.
    far : structured (room,)
        Messages that come later, a binary heap by ``tick``: their ``kind``, and what stands in ``mail``.
    tally : int64 (4,)
        Items in the heap, free chunks, messages in flight, and those of them in ``far``.
    """

    heap: Array
    place: Array
    tick: Array
    buckets: Array
    after: Array
    free: Array
    mail: Array
    far: Array
    tally: Array


class Work(NamedTuple):
    """What a tick keeps between its phases.

    Attributes
    ----------
    due : int64 (neuron,)
        The neurons due, in the order in which it turned out; ``tally[0]`` of them.
    notes : structured (neuron,)
        Ticks at which a neuron was last ``due``, ``heard`` a costate and took its ``drive``; sums A, B and
        size of its drift then; ``rest``, the state to which it relaxes.
    outputs : int64 (replica, output)
    target : (neuron,)
    coupled : int64 (replica,)
        Tick at which the outputs of a replica were last made due together.
    sends, updates : int64 (2, neuron), (neuron,)
        Counts.
    log_edge, log_value : (2, k)
        Messages of the running tick by kind, ``tally[1:]`` of them; k = 0: nobody listens.
    """

    due: Array
    notes: Array
    outputs: Array
    target: Array
    coupled: Array
    sends: Array
    updates: Array
    log_edge: Array
    log_value: Array
    tally: Array


class Terms(NamedTuple):
    """What holds for all at a tick; its numbers are of the state's format, lest arithmetic go on in another.

    ``couples``: one output that is due makes all due. ``levels``: ranks of instant neurons, each way.
    """

    dt: Any
    eta: Any
    phi: Any
    learning: bool
    loss: int
    couples: bool
    levels: int
    back_levels: int


class Net(NamedTuple):
    """All arrays of a circuit; ``traits`` are the constants of neurons, ``stimulus`` is added to drives."""

    traits: Array
    edges: Edges
    values: Values
    agenda: Agenda
    work: Work
    stimulus: Array


def make(circuit: Circuit) -> Net:
    """Return the arrays of a circuit before tick 0."""
    edges, places = _edges(circuit)
    return Net(
        _traits(circuit),
        edges,
        _values(circuit, places),
        _agenda(circuit, edges),
        _work(circuit),
        flat(circuit.state.u),
    )


def flat(x: Tensor) -> Array:
    """Return a tensor's own memory as one row."""
    return x.view(-1).numpy()


def _traits(circuit: Circuit) -> Array:
    network, number = circuit.network, _number(circuit)
    kinds = [MODEL_TYPES.index(type(MODELS[name])) for name in network.model]
    names = [ACTIVATION_NAMES.index(name) for name in network.activation]
    leaky = np.array(kinds) == LEAKY
    tau = circuit.parameters.get("tau", torch.ones(circuit.n, dtype=circuit.dtype)).clone()
    tau[torch.as_tensor(~leaky)] = 1.0
    eta, span = circuit.rule.eta, circuit.dt * (circuit.refresh - 1).to(torch.float64)
    memory = span * ops.phi1(-eta * span)
    columns: dict[str, tuple[Any, Any]] = {
        "model": (np.int8, kinds),
        "activation": (np.int8, names),
        "sends_state": (np.bool_, circuit.sends_state),
        "sends_costate": (np.bool_, circuit.sends_costate),
        "learns": (np.bool_, circuit.learns),
        "is_output": (np.bool_, circuit.is_output),
        "rank": (np.int32, np.where(network.rank < 0, -1, network.rank)),
        "back_rank": (np.int32, np.where(network.back_rank < 0, -1, network.back_rank)),
        "send_interval": (np.int64, circuit.send_interval),
        "refresh": (np.int64, circuit.refresh),
        "tau": (number, tau),
        "rate": (number, 1.0 / tau),
        "send_threshold": (number, circuit.send_threshold),
        "costate_threshold": (number, circuit.costate_threshold),
        # The integrals p1, p2 and what fades of I2 over the ticks before the refresh: none is larger sooner.
        "memory": (number, memory),
        "memory2": (number, span * span * ops.phi2(-eta * span)),
        "fading": (number, (memory - span * ops.phi1(-(1.0 / tau + eta) * span)) * tau),
    }
    return _table(circuit.replicas, columns)


def _table(copies: int, columns: dict[str, tuple[Any, Any]]) -> Array:
    """Return a structured array of columns (type, values), so many times over."""
    values = {name: np.asarray(x) for name, (_, x) in columns.items()}
    kind = np.dtype([(name, dtype) for name, (dtype, _) in columns.items()], align=True)
    table = np.zeros(len(next(iter(values.values()))), kind)
    for name, column in values.items():
        table[name] = column
    return np.tile(table, copies)


def _edges(circuit: Circuit) -> tuple[Edges, int]:
    """Return the edges, and how many costates are heard."""
    push = circuit.push
    size, number = circuit.replicas * circuit.n, _number(circuit)
    everyone = circuit.some(torch.arange(size))
    fans = (push.incoming, push.outgoing, push.backward, push.hearing)
    (_, into), (out, out_of), (back, back_of), (hear, hear_of) = (push.edges_of(f, everyone) for f in fans)
    names = ("into", "out", "back", "hear")
    start = np.zeros(size + 1, np.dtype([(name, np.int64) for name in (*names, "rates")]))
    for name, owner in zip(names, (into, out_of, back_of, hear_of), strict=True):
        start[name][1:] = np.cumsum(np.bincount(owner.numpy(), minlength=size))
    start["rates"][:-1], rates = _rates(start["into"], push.beta.numpy(), push.plastic.numpy())
    place = torch.zeros(len(push.target), dtype=torch.int64)
    place[hear] = torch.arange(len(hear))
    delay, back_delay, far = _near(push.delay[out].numpy(), push.feedback_delay[back].numpy())
    outward = {
        "edge": (np.int32, out),
        "node": (np.int32, push.target[out]),
        "delay": (np.int32, delay),
    }
    backward = {
        "edge": (np.int32, back),
        "node": (np.int32, push.source[back]),
        "delay": (np.int32, back_delay),
        "place": (np.int32, place[back]),
        "weight": (number, push.feedback[back]),
        "fixed": (np.bool_, push.random[back]),
    }
    tables = _table(1, outward), _table(1, backward)
    return Edges(start, *tables, far, *rates), len(hear)


def _near(*delays: Array) -> list[Array]:
    """Return delays as edges hold them, and in the end those that are far."""
    far = [np.unique(each[each >= NEAR]) for each in delays]
    every = np.unique(np.concatenate(far)).astype(np.int64)
    return [*(np.where(x < NEAR, x, -1 - np.searchsorted(every, x)) for x in delays), every]


def _rates(start: Array, beta: Array, plastic: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return where each neuron's rates stand, and the rates: a row of each kind, then those that differ."""
    count = np.diff(start)
    if not len(beta):
        return np.zeros_like(count), (beta, plastic)
    edges = np.stack((beta, plastic))
    first = edges[:, np.minimum(start[:-1], len(beta) - 1)]
    same = (edges == np.repeat(first, count, axis=1)).all(0)
    alike = np.bincount(np.repeat(np.arange(len(count)), count)[same], minlength=len(count)) == count
    kinds, kind = np.unique(first[:, alike], axis=1, return_inverse=True)
    length = count.max(initial=0, where=alike)
    single = ~np.repeat(alike, count)
    place = kinds.shape[1] * length + np.cumsum(count * ~alike) - count
    place[alike] = kind.reshape(-1) * length
    rows = np.concatenate((np.repeat(kinds, length, axis=1), edges[:, single]), axis=1)
    return place, (rows[0].copy(), rows[1].copy())


def _values(circuit: Circuit, heard: int) -> Values:
    state = circuit.state
    shared = {name: flat(getattr(state, name)) for name in Values._fields if hasattr(state, name)}
    return Values(
        **shared,
        omega=flat(state.fields["omega"]),
        s=circuit.push.s.numpy(),
        r=np.zeros(heard, _number(circuit)),
    )


def _agenda(circuit: Circuit, edges: Edges) -> Agenda:
    delays = edges.out["delay"].max(initial=0), edges.back["delay"].max(initial=0)
    buckets = 2 * (int(max(delays)) + 1)
    items = circuit.replicas * circuit.n + buckets + 1
    kind = [("address", np.int32), ("node", np.int32), ("value", _number(circuit))]
    later = [("tick", np.int64), ("kind", np.int64), *kind]
    empty = Agenda(
        np.zeros(items, np.int64),
        np.full(items, -1, np.int64),
        np.zeros(items, np.int64),
        np.zeros(buckets, np.dtype([(name, np.int64) for name in ("first", "last", "count", _sources())])),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.zeros(0, np.dtype(kind, align=True)),
        np.zeros(0, np.dtype(later, align=True)),
        np.zeros(4, np.int64),
    )
    return grown(empty, CHUNKS_AHEAD * reserve(edges, empty))


def _sources() -> str:
    """Return a name that changes with the text of the compiled loops.

    As a field it is part of the arrays' type, and numba takes from disk only what was compiled for the same
    types. Left alone it would look for changes in one file, that of the function which Python calls.
    """
    here = Path(__file__).parent
    files = [here.parent / "loops.py", *sorted(here.glob("*.py"))]
    return "sources_" + sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def reserve(edges: Edges, agenda: Agenda) -> int:
    """Return how many chunks must be free before a tick: at most every edge carries a message each way.

    On an edge with a far delay one may come out of the heap besides.
    """
    messages = len(edges.out) + len(edges.back) + far_edges(edges)
    return min(messages, messages // CHUNK + len(agenda.buckets))


def far_edges(edges: Edges) -> int:
    """Return how many messages one tick may send that come too late for a bucket."""
    return int((edges.out["delay"] < 0).sum() + (edges.back["delay"] < 0).sum()) if len(edges.far) else 0


def grown(agenda: Agenda, more: int = 0) -> Agenda:
    """Return the agenda with so many more chunks, or twice as many. Unused memory is not touched."""
    old = len(agenda.after)
    more = more or old
    mail = np.empty((old + more) * CHUNK, agenda.mail.dtype)
    mail[: old * CHUNK] = agenda.mail
    after = np.concatenate((agenda.after, np.zeros(more, np.int64)))
    free = np.concatenate((agenda.free, np.zeros(more, np.int64)))
    count = int(agenda.tally[1])
    free[count : count + more] = np.arange(old + more - 1, old - 1, -1)
    agenda.tally[1] += more
    return agenda._replace(after=after, free=free, mail=mail)


def with_room_for_far(agenda: Agenda, more: int) -> Agenda:
    """Return the agenda with room for so many more far messages."""
    count = int(agenda.tally[3])
    if len(agenda.far) >= count + more:
        return agenda
    far = np.zeros(2 * (count + more), agenda.far.dtype)
    far[:count] = agenda.far[:count]
    return agenda._replace(far=far)


def _work(circuit: Circuit) -> Work:
    size, number = circuit.replicas * circuit.n, _number(circuit)
    ticks = [(name, np.int64) for name in ("due", "heard", "drive")]
    sums = [(name, number) for name in ("a", "b", "size", "rest")]
    notes = np.zeros(size, np.dtype([*ticks, *sums], align=True))
    for name, _ in ticks:
        notes[name] = -1
    first = circuit.n * np.arange(circuit.replicas)[:, None]
    return Work(
        due=np.zeros(size, np.int64),
        notes=notes,
        outputs=first + circuit.outputs.numpy(),
        target=np.zeros(size, number),
        coupled=np.full(circuit.replicas, -1, np.int64),
        sends=np.zeros((2, size), np.int64),
        updates=np.zeros(size, np.int64),
        log_edge=np.zeros((2, 0), np.int64),
        log_value=np.zeros((2, 0), number),
        tally=np.zeros(3, np.int64),
    )


def listening(net: Net, on: bool) -> Net:
    """Return the arrays with room for what an observer is told of a tick, or with none."""
    room = max(len(net.edges.out), len(net.edges.back)) if on else 0
    work = net.work
    log = {
        "log_edge": np.empty((2, room), work.log_edge.dtype),
        "log_value": np.empty((2, room), work.log_value.dtype),
    }
    return net._replace(work=work._replace(**log))


def _number(circuit: Circuit) -> Any:
    return np.float32 if circuit.dtype == torch.float32 else np.float64
