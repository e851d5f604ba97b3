"""What changes in the arrays of compiled loops, beside a circuit's own numbers: saved and loaded."""

from typing import Any

import numpy as np

from hlsim.engine.compiled import arrays
from hlsim.engine.compiled.layout import CHANGING, CHUNK, Array
from hlsim.engine.snapshot import Arrays, prefixed, put, taken
from hlsim.models.messages import MESSAGES

# Tables that are saved as they are; the agenda is in an order of its own.
_TABLES = tuple(name for name in CHANGING if name != "agenda")
# What stands in the calendar of a message beside its ticks.
_MAIL = ("address", "node", "value")
_FAR = ("tick", "sent", "kind", *_MAIL)


def save(net: Any) -> dict[str, Array]:
    """Return copies of what changes, by name."""
    held = {name: _changing(net, name) for name in _TABLES}
    return {**dict(taken(held)), **prefixed("calendar", _saved_agenda(net.agenda))}


def load(net: Any, given: Arrays) -> None:
    """Take what another net of the same circuit saved, into one that has not run."""
    for name in _TABLES:
        put(_changing(net, name), name, given)
    _load_agenda(net.agenda, given.within("calendar"))


def _changing(net: Any, table: str) -> dict[str, Any]:
    return {name: getattr(getattr(net, table), name) for name in CHANGING[table]}


# ---- the calendar


def _saved_agenda(agenda: Any) -> dict[str, Array]:
    """Return when each neuron wakes and each clock strikes, -1: it does not; and messages, by tick."""
    planned, first = np.where(agenda.place >= 0, agenda.tick, -1), _buckets_begin(agenda)
    strike = len(planned) - len(agenda.clocks)
    far = agenda.far[: agenda.tally[3]]
    # Stable: of messages that arrive together the later sent stands later.
    far = far[np.lexsort((far["address"], far["kind"], far["sent"], far["tick"]))]
    told = {"wake": planned[:first], "strike": planned[strike:]}
    for kind, name in enumerate(MESSAGES):
        told |= prefixed(name, _near(agenda, kind, planned[first:]))
    return told | {f"far/{name}": far[name].copy() for name in _FAR}


def _buckets_begin(agenda: Any) -> int:
    """Return how many items are neurons: those of buckets come next."""
    return len(agenda.heap) - len(agenda.buckets) - 1 - len(agenda.clocks)


def _near(agenda: Any, kind: int, planned: Array) -> dict[str, Array]:
    """Return the messages of a kind that stand in buckets, by tick and address.

    Of two that reach one address together the later sent stands later; else their order says nothing.
    """
    depth, count = len(agenda.buckets) // 2, agenda.buckets["count"]
    filled = kind * depth + np.flatnonzero(count[kind * depth : (kind + 1) * depth])
    filled = filled[np.argsort(planned[filled])]
    at = np.concatenate([np.zeros(0, np.int64), *(_places(agenda, bucket) for bucket in filled.tolist())])
    sent = agenda.sent[at] if agenda.keeps_sent[0] else np.zeros(len(at), np.int64)
    tick = np.repeat(planned[filled], count[filled])
    told = {"tick": tick, "sent": sent, **{name: agenda.mail[name][at] for name in _MAIL}}
    order = np.lexsort((told["address"], tick))
    return {name: column[order] for name, column in told.items()}


def _places(agenda: Any, bucket: int) -> Array:
    """Return where the messages of a bucket stand."""
    place, chunks = agenda.buckets[bucket], []
    chunk = int(place["first"])
    for _ in range(0, int(place["count"]), CHUNK):
        chunks.append(chunk)
        chunk = int(agenda.after[chunk])
    return np.add.outer(CHUNK * np.array(chunks), np.arange(CHUNK)).ravel()[: place["count"]]


def _load_agenda(agenda: Any, given: Arrays) -> None:
    planned, first = np.full(len(agenda.heap), -1), _buckets_begin(agenda)
    put(planned[:first], "wake", given)
    put(planned[len(planned) - len(agenda.clocks) :], "strike", given)
    for kind, name in enumerate(MESSAGES):
        _load_near(agenda, kind, given.within(name), planned[first:])
    far = given.within("far")
    arrays.make_room_for_far(agenda, len(far["tick"]))
    for name in _FAR:
        # By tick, which is a heap.
        agenda.far[name][: len(far["tick"])] = far[name]
    agenda.tally[2:] = agenda.tally[2] + len(far["tick"]), len(far["tick"])
    if len(far["tick"]):
        planned[first + len(agenda.buckets)] = far["tick"][0]
    _plan(agenda, planned)


def _load_near(agenda: Any, kind: int, given: Arrays, planned: Array) -> None:
    """Put messages of a kind into buckets, one after the other, and plan when those come."""
    depth = len(agenda.buckets) // 2
    ticks, starts, counts = np.unique(given["tick"], return_index=True, return_counts=True)
    for tick, start, count in zip(ticks.tolist(), starts.tolist(), counts.tolist(), strict=True):
        chunks = -(-count // CHUNK)
        while agenda.tally[1] < chunks:
            arrays.grow(agenda)
        own = agenda.free[agenda.tally[1] - chunks : agenda.tally[1]][::-1].copy()
        agenda.tally[1:3] += (-chunks, count)
        bucket = kind * depth + tick % depth
        agenda.after[own[:-1]] = own[1:]
        place = agenda.buckets[bucket]
        place["first"], place["last"], place["count"] = own[0], own[-1], count
        at = np.add.outer(CHUNK * own, np.arange(CHUNK)).ravel()[:count]
        for name in _MAIL:
            agenda.mail[name][at] = given[name][start : start + count]
        if agenda.keeps_sent[0]:
            agenda.sent[at] = given["sent"][start : start + count]
        planned[bucket] = tick


def _plan(agenda: Any, planned: Array) -> None:
    """Let items come at their ticks; sorted by these they are a heap."""
    items = np.flatnonzero(planned >= 0)
    items = items[np.argsort(planned[items], kind="stable")]
    agenda.place[:] = -1
    agenda.place[items] = np.arange(len(items))
    agenda.heap[: len(items)] = items
    agenda.tick[:] = planned
    agenda.tally[0] = len(items)
