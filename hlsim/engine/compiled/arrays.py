"""A circuit as the plain arrays on which compiled loops work.

Neurons and edges are flat: neuron ``replica * nodes + node``, edge ``replica * edges + edge`` in storage
order. What the circuit's tensors hold is shared with them, never copied.
"""

from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hlsim.engine.circuit.circuit import Circuit
from hlsim.engine.compiled.blocks import arrangement
from hlsim.engine.compiled.known import known
from hlsim.engine.compiled.layout import (
    CHUNK,
    CHUNKS_AHEAD,
    FIRST,
    LATER,
    NEAR,
    SILENT,
    Agenda,
    Array,
    Blocks,
    Edges,
    Fates,
    Net,
    Sync,
    Values,
    Work,
)
from hlsim.models.neurons import MODELS, Parameters, flags


def make(circuit: Circuit) -> Any:
    """Return the arrays of a circuit before tick 0: a ``Net`` as a table."""
    # Imported here: the compiler takes half a second, and few commands run a network.
    from hlsim.engine.tables import Table

    edges, places = _edges(circuit)
    models, sigmas = known(circuit.network)
    sync = _sync(circuit)
    kit = {"models": models, "sigmas": sigmas, "rule": circuit.rule, "narrow": circuit.rule}
    net = _table_of(
        "net",
        Net(
            _terms(circuit),
            Table("kit", kit, narrow={"narrow": _real(circuit)}),
            _traits(circuit, sync),
            _parameters(circuit),
            edges,
            _blocks(circuit),
            sync,
            _values(circuit, places),
            _agenda(circuit, edges),
            _work(circuit, places),
            _fates(circuit, places),
            flat(circuit.state.u),
        ),
    )
    grow(net.agenda, CHUNKS_AHEAD * reserve(net.edges, net.agenda))
    return net


def _table_of(label: str, members: Any) -> Any:
    """Return what stands in a named tuple as a table, and the named tuples in it likewise."""
    from hlsim.engine.tables import Table

    named = members._asdict()
    return Table(
        label, {name: _table_of(name, x) if hasattr(x, "_asdict") else x for name, x in named.items()}
    )


def _terms(circuit: Circuit) -> Array:
    network, coupled = circuit.network, circuit.loss is not None and circuit.loss.coupled
    columns: dict[str, tuple[Any, Any]] = {
        "dt": (_real(circuit), circuit.dt),
        "phi": (_real(circuit), 0.0),
        "nudge": (_number(circuit), 0.0),
        "learning": (np.bool_, True),
        "loss": (np.int64, SILENT),
        "couples": (np.bool_, coupled),
        "outside": (np.int64, 0),
        "failed": (np.bool_, False),
        "parts": (np.bool_, False),
        "levels": (np.int64, network.rank.max(initial=-1) + 1),
        "back_levels": (np.int64, network.back_rank.max(initial=-1) + 1),
    }
    return _table(1, {name: (kind, [value]) for name, (kind, value) in columns.items()})


def flat(x: Tensor) -> Array:
    """Return a tensor's own memory as one row."""
    return x.view(-1).numpy()


def _traits(circuit: Circuit, sync: Sync) -> Array:
    network, real = circuit.network, _real(circuit)
    models, sigmas = ([each.name for each in things] for things in known(network))
    rate = _rates_of_models(circuit)
    columns: dict[str, tuple[Any, Any]] = {
        "model": (np.int8, [models.index(name) for name in network.model]),
        "sigma": (np.int8, [sigmas.index(name) for name in network.activation]),
        "is_input": (np.bool_, network.is_input),
        "instant": (np.bool_, network.instant),
        "stateful": (np.bool_, network.stateful),
        "reads_out": (np.bool_, network.reads_out),
        "relaxes": (np.bool_, rate > 0),
        "emits": (np.bool_, network.emits),
        "rich": (np.bool_, network.rich),
        "exact": (np.bool_, flags(network.model, "exact")),
        "hears_impulses": (np.bool_, network.hears_impulses),
        "clock": (np.bool_, circuit.clock),
        "sends_state": (np.bool_, circuit.sends_state),
        "sends_costate": (np.bool_, circuit.sends_costate),
        "learns": (np.bool_, circuit.learns),
        "is_output": (np.bool_, circuit.is_output),
        "listened": (np.bool_, circuit.listened),
        "rank": (np.int32, network.rank),
        "back_rank": (np.int32, network.back_rank),
        "period": (np.int64, circuit.period),
        "phase": (np.int64, circuit.phase),
        "sync": (np.bool_, circuit.sync),
        "is_read": (np.bool_, sync.reach >= 0),
        "send_interval": (np.int64, circuit.send_interval),
        "refresh": (np.int64, circuit.refresh),
        "rate": (real, rate),
        "send_threshold": (real, circuit.send_threshold),
        "costate_threshold": (real, circuit.costate_threshold),
        **_bounds(circuit, rate),
    }
    return _table(circuit.replicas, columns)


def _sync(circuit: Circuit) -> Sync:
    network, blocks, size = circuit.network, arrangement(circuit), circuit.n * circuit.replicas
    sync = circuit.sync.numpy()
    models, sigmas = ([each.name for each in things] for things in known(network))
    columns = {
        "model": [models.index(name) for name in network.model],
        "sigma": [sigmas.index(name) for name in network.activation],
        "level": np.where(network.instant, network.rank, LATER),
        "back_level": np.where(network.instant, network.back_rank, FIRST),
        "instant": network.instant,
        "stateful": network.stateful,
        "reads_out": network.reads_out,
    }
    nodes = np.flatnonzero(sync)
    facts = np.array([np.asarray(x, np.int64)[nodes] for x in columns.values()])
    starts = np.ones(len(nodes), bool)
    starts[1:] = (np.diff(nodes) != 1) | (np.diff(facts, axis=1) != 0).any(0)
    first = np.flatnonzero(starts)
    runs = np.zeros(len(first), [(name, np.int64) for name in ("first", "last", *columns)])
    runs["first"] = nodes[first]
    runs["last"] = nodes[np.flatnonzero(np.roll(starts, -1))] + 1
    for name, values in zip(columns, facts, strict=True):
        runs[name] = values[first]
    reach, edges = np.full(circuit.n, -1), blocks.edges[network.source[blocks.edges] >= 0]
    np.maximum.at(reach, network.source[edges], network.delay[edges])
    some = (circuit.mixed_in, circuit.mixed_out, circuit.mixed_back, circuit.mixed_hearing)
    mixed = [np.zeros(0, np.int64) if each is None else np.sort(each.flat.numpy()) for each in some]
    outputs = (circuit.n * np.arange(circuit.replicas)[:, None] + network.outputs).ravel()
    return Sync(
        runs,
        circuit.sends_state.numpy(),
        circuit.sends_costate.numpy(),
        circuit.learns.numpy(),
        reach,
        mixed_in=mixed[0],
        mixed_out=mixed[1],
        mixed_back=mixed[2],
        mixed_hearing=mixed[3],
        outputs=outputs[sync[outputs % circuit.n]],
        sends=np.zeros((2, size), np.bool_),
    )


def _blocks(circuit: Circuit) -> Blocks:
    network, made, size = circuit.network, arrangement(circuit), circuit.n * circuit.replicas
    rows, real, number = made.rows, _real(circuit), _number(circuit)
    levels = [FIRST, *range(network.rank.max(initial=-1) + 1), LATER, LATER + 1]
    back_levels = [FIRST, *range(network.back_rank.max(initial=-1) + 2)]
    at_once = np.flatnonzero(rows["back"] == 0)
    at_once = at_once[np.argsort(rows["backward"][at_once], kind="stable")]
    then = [("learns", np.bool_), ("correlates", np.bool_), ("sends", np.bool_)]
    then += [("decay", real), ("nudge", number)]
    return Blocks(
        rows,
        np.searchsorted(rows["forward"], levels),
        at_once,
        np.searchsorted(rows["backward"][at_once], back_levels),
        made.source,
        made.target,
        made.rate.astype(real),
        network.feedback_weight[:, made.carried].astype(real).ravel(),
        # The sources of two ticks as they are heard, and those of a bias.
        np.zeros((deepest(rows["delay"]) + 1, size), number),
        np.zeros((made.parts * deepest(rows["back"]), size), number),
        np.ones((1, size), number),
        np.zeros((made.parts, 3 * max(1, rows["width"].max(initial=0))), number),
        learned=np.zeros(size, number),
        own=np.zeros(size, number),
        sent=np.zeros(size, number),
        then=np.zeros(1, np.dtype(then, align=True)),
        carrying=np.zeros(2, np.int64),
    )


def deepest(delay: Array) -> int:
    """Return how many ticks a ring must keep."""
    return max(int(delay.max(initial=0)), 0) + 1


def _rates_of_models(circuit: Circuit) -> Array:
    """Return the rate at which each neuron relaxes (node,), 0 where it does not."""
    rate = np.zeros(circuit.n)
    names, p = np.array(circuit.network.model), Parameters(**circuit.network.parameters)
    for name in set(circuit.network.model):
        model = MODELS[name]
        if model.stateful and model.relaxes:
            rate = np.where(names == name, model.rate(p), rate)
    return rate


def _bounds(circuit: Circuit, rate: Array) -> dict[str, tuple[Any, Any]]:
    """Return how far what moves a drive can come before the refresh, by part, each of size 1.

    A weight costate, the q of an instant neuron; of a leaky one the z to which it tends, and that which
    fades. None is larger sooner.
    """
    rule, real = circuit.rule, _real(circuit)
    columns = {name: np.zeros(circuit.n) for name in ("memory", "constant", "steady", "fading")}
    if rule.sends_costates:
        kinds = defaultdict(list)
        for i, kind in enumerate(zip(circuit.refresh.tolist(), rate.tolist(), strict=True)):
            kinds[kind].append(i)
        for (refresh, r), alike in kinds.items():
            span = circuit.dt * (refresh - 1)
            columns["memory"][alike] = rule.memory(span)
            columns["constant"][alike] = rule.constant_hold(1.0, span)[1]
            if r > 0:
                columns["steady"][alike] = rule.costate_hold(1.0, r + rule.eta, r, span)[2]
                columns["fading"][alike] = rule.costate_hold(1.0, 0.0, r, span)[2]
    return {name: (real, column) for name, column in columns.items()}


def _parameters(circuit: Circuit) -> Array:
    network, values = circuit.network, circuit.network.parameters
    rows = max(len(model.parameters) for model in known(network)[0])
    table = np.zeros((max(rows, 1), circuit.n), _real(circuit))
    names = np.array(network.model)
    for name in set(network.model):
        own = names == name
        for row, parameter in enumerate(MODELS[name].parameters):
            table[row, own] = values[parameter][own]
    return np.tile(table, circuit.replicas)


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
    size = circuit.replicas * circuit.n
    everyone = circuit.some(torch.arange(size))
    fans = (push.incoming, push.outgoing, push.backward, push.hearing)
    (_, into), (out, out_of), (back, back_of), (hear, hear_of) = (push.edges_of(f, everyone) for f in fans)
    names = ("held", "out", "back", "hear")
    start = np.zeros(size + 1, np.dtype([(name, np.int64) for name in (*names, "into", "rates")]))
    for name, owner in zip(names, (into, out_of, back_of, hear_of), strict=True):
        start[name][1:] = np.cumsum(np.bincount(owner.numpy(), minlength=size))
    if len(push.target):
        start["into"] = push.stored(torch.as_tensor(np.minimum(start["held"], len(push.target) - 1)))
    start["rates"][:-1], rates = _rates(start["held"], push.beta.numpy(), push.plastic.numpy())
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
        "at": (np.int32, push.stored(back)),
        "node": (np.int32, push.source[back]),
        "delay": (np.int32, back_delay),
        "place": (np.int32, place[back]),
        "weight": (_real(circuit), push.feedback[back]),
        "fixed": (np.bool_, push.random[back]),
    }
    tables = _table(1, outward), _table(1, backward)
    impulse = push.impulse.numpy() if circuit.has_impulses else np.zeros(0, np.bool_)
    return Edges(start, *tables, far, impulse, *rates), len(hear)


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
    # Numpy can do so with pairs, in a hundred times the time.
    values, at = np.unique(first[0, alike], return_inverse=True)
    pairs, kind = np.unique(2 * at.reshape(-1) + (first[1, alike] > 0), return_inverse=True)
    kinds = np.stack((values[pairs // 2], (pairs % 2).astype(plastic.dtype)))
    length = count.max(initial=0, where=alike)
    single = ~np.repeat(alike, count)
    place = kinds.shape[1] * length + np.cumsum(count * ~alike) - count
    place[alike] = kind.reshape(-1) * length
    rows = np.concatenate((np.repeat(kinds, length, axis=1), edges[:, single]), axis=1)
    return place, (rows[0].copy(), rows[1].copy())


def _values(circuit: Circuit, heard: int) -> Values:
    state = circuit.state
    own = {"fields", "s", "r"}
    size = circuit.replicas * circuit.n
    shared = {
        # Those of several fields (field, neuron), all others one number a neuron or synapse.
        name: x.view(len(x), size).numpy() if x.ndim == 3 else flat(x)
        for name, x in ((name, getattr(state, name)) for name in Values._fields if name not in own)
    }
    fields = tuple(flat(field) for field in state.fields.values())
    return Values(**shared, fields=fields, s=circuit.push.s.numpy(), r=np.zeros(heard, _number(circuit)))


def _agenda(circuit: Circuit, edges: Edges) -> Agenda:
    delays = edges.out["delay"].max(initial=0), edges.back["delay"].max(initial=0)
    depth = NEAR if circuit.failing is not None else int(max(delays)) + 1
    clocks, ticking = _clocks(circuit)
    items = circuit.replicas * circuit.n + 2 * depth + 1 + len(clocks)
    kind = [("address", np.int32), ("node", np.int32), ("value", _number(circuit))]
    later = [("tick", np.int64), ("kind", np.int64), ("sent", np.int64), *kind]
    return Agenda(
        np.zeros(items, np.int64),
        np.full(items, -1, np.int64),
        np.zeros(items, np.int64),
        np.zeros(2 * depth, np.dtype([(name, np.int64) for name in ("first", "last", "count", _sources())])),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.zeros(0, np.dtype(kind, align=True)),
        np.zeros(0, np.int64),
        np.zeros(0, np.dtype(later, align=True)),
        np.zeros(4, np.int64),
        clocks,
        ticking,
        np.array([circuit.failing is not None]),
    )


def _clocks(circuit: Circuit) -> tuple[Array, Array]:
    """Return the clocks, by period and phase, and their neurons in every replica."""
    period, phase = circuit.period.numpy(), circuit.phase.numpy()
    nodes, sync = np.flatnonzero(circuit.clock.numpy()), circuit.sync.numpy()
    pairs = sorted(set(zip(period[nodes].tolist(), phase[nodes].tolist(), strict=True)))
    clocks = np.zeros(len(pairs), [(name, np.int64) for name in ("period", "phase", "first", "last")])
    neurons: list[Array] = []
    for clock, (every, begins) in zip(clocks, pairs, strict=True):
        # That of the synchronous ones strikes at every tick; they are known without being told.
        own = nodes[(period[nodes] == every) & (phase[nodes] == begins) & ~sync[nodes]]
        own = np.add.outer(circuit.n * np.arange(circuit.replicas), own).ravel()
        first = sum(map(len, neurons))
        clock["period"], clock["phase"], clock["first"], clock["last"] = (
            every,
            begins,
            first,
            first + len(own),
        )
        neurons.append(own)
    return clocks, np.concatenate([np.zeros(0, np.int64), *neurons])


def _sources() -> str:
    """Return a name that changes with the text of the compiled loops.

    As a field it is part of the arrays' type, and numba takes from disk only what was compiled for the same
    types. Left alone it would look for changes in one file, that of the function which Python calls.
    """
    here = Path(__file__).parent
    around = ("loops", "elementary", "formulas", "tables", "chance")
    texts = [(here.parent / f"{name}.py").read_bytes() for name in around]
    texts += [text for file in sorted(here.glob("*.py")) if b"engine.loops" in (text := file.read_bytes())]
    return "sources_" + sha256(b"".join(texts)).hexdigest()[:16]


def reserve(edges: Edges, agenda: Agenda) -> int:
    """Return how many chunks must be free before a tick: at most every edge carries a message each way.

    On an edge with a far delay one may come out of the heap besides.
    """
    messages = len(edges.out) + len(edges.back) + far_edges(edges, len(agenda.buckets) == 2 * NEAR)
    return min(messages, messages // CHUNK + len(agenda.buckets))


def far_edges(edges: Edges, failing: bool) -> int:
    """Return how many messages one tick may send too late for a bucket: all, where links may fail."""
    if failing:
        return len(edges.out) + len(edges.back)
    return int((edges.out["delay"] < 0).sum() + (edges.back["delay"] < 0).sum()) if len(edges.far) else 0


def grow(agenda: Any, more: int = 0) -> None:
    """Give the agenda so many more chunks, or twice as many. Unused memory is not touched."""
    old = len(agenda.after)
    more = more or old
    mail = np.empty((old + more) * CHUNK, agenda.mail.dtype)
    mail[: old * CHUNK] = agenda.mail
    after = np.concatenate((agenda.after, np.zeros(more, np.int64)))
    free = np.concatenate((agenda.free, np.zeros(more, np.int64)))
    count = int(agenda.tally[1])
    if agenda.keeps_sent[0]:
        sent = np.zeros((old + more) * CHUNK, np.int64)
        sent[: old * CHUNK] = agenda.sent
        agenda.replace(sent=sent)
    free[count : count + more] = np.arange(old + more - 1, old - 1, -1)
    agenda.tally[1] += more
    agenda.replace(after=after, free=free, mail=mail)


def make_room_for_far(agenda: Any, more: int) -> None:
    """Give the agenda room for so many more far messages."""
    count = int(agenda.tally[3])
    if len(agenda.far) >= count + more:
        return
    far = np.zeros(2 * (count + more), agenda.far.dtype)
    far[:count] = agenda.far[:count]
    agenda.replace(far=far)


def _work(circuit: Circuit, places: int) -> Work:
    size, number = circuit.replicas * circuit.n, _number(circuit)
    kinds = [
        ("due", np.int64),
        ("rest", number),
        ("duration", _real(circuit)),
        ("heard", np.bool_),
        ("clock", np.bool_),
    ]
    notes = np.zeros(size, np.dtype(kinds, align=True))
    notes["due"] = -1
    notes["clock"] = np.tile(circuit.clock.numpy(), circuit.replicas)
    first = circuit.n * np.arange(circuit.replicas)[:, None]
    slow = circuit.clock.numpy() & ((circuit.period.numpy() > 1) | (circuit.phase.numpy() > 0))
    boxes = bool(slow.any()) or circuit.failing is not None or circuit.has_impulses
    return Work(
        due=np.zeros(size, np.int64),
        notes=notes,
        outputs=first + circuit.outputs.numpy(),
        target=np.zeros(size, _real(circuit)),
        gradient=np.zeros(size, number),
        coupled=np.full(circuit.replicas, -1, np.int64),
        sends=np.zeros((2, size), np.int64),
        updates=np.zeros(size, np.int64),
        lost=np.zeros(3, np.int64),
        boxes=np.array([boxes]),
        inbox=circuit.push.inbox.numpy(),
        state_arrived=np.full(len(circuit.push.target) if boxes else 0, -1, np.int64),
        costate_arrived=np.full(places if boxes else 0, -1, np.int64),
        waiting=np.zeros(1, np.int64),
        log_edge=np.zeros((2, 0), np.int64),
        log_value=np.zeros((2, 0), number),
        log_ticks=np.zeros((2, 0), np.int64),
        tally=np.zeros(3, np.int64),
    )


def listen(net: Any, on: bool) -> None:
    """Make room for what an observer is told of a tick, or none."""
    rows, replicas = net.blocks.rows, len(net.traits) // len(net.sync.reach)
    read = replicas * int(rows["last"].max(initial=0))
    room = max(len(net.edges.out), len(net.edges.back)) + read if on else 0
    work = net.work
    log = {
        "log_edge": np.empty((2, room), work.log_edge.dtype),
        "log_value": np.empty((2, room), work.log_value.dtype),
        "log_ticks": np.empty((2, room), np.int64),
    }
    work.replace(**log)


def _fates(circuit: Circuit, places: int) -> Fates:
    none, failing, edges = np.zeros(0), circuit.failing, len(circuit.push.target)
    if failing is None:
        whole = none.astype(np.int64)
        down, ticks = (none.astype(bool),) * 2, (whole,) * 2
        return Fates(np.array([False]), whole, down, ticks, (none,) * 2, ticks, ticks)
    columns = {
        name: tuple(getattr(kind, name).numpy() for kind in failing.kinds)
        for name in ("down", "delay", "loss", "jitter")
    }
    newest = np.full(edges, -1, np.int64), np.full(places, -1, np.int64)
    return Fates(np.array([True]), failing.keys.numpy(), newest=newest, **columns)  # type: ignore[arg-type]


def _real(circuit: Circuit) -> Any:
    return np.float32 if circuit.dtype == torch.float32 else np.float64


def _number(circuit: Circuit) -> Any:
    """Return the format of neurons' numbers, which may be complex."""
    if not circuit.number.is_complex:
        return _real(circuit)
    return np.complex64 if circuit.dtype == torch.float32 else np.complex128
