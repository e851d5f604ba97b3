"""What neurons of the reference engine own, as arrays by name, and taken from them.

Every number keeps its type, since to Python a complex number that is real is no real number.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from hlsim.engine.reference.neuron import Process
from hlsim.engine.reference.record import FailingLink, Link, Record, Synapse
from hlsim.engine.snapshot import Array, Arrays, as_numbers, numbers
from hlsim.errors import ExperimentError
from hlsim.models.messages import MESSAGES

Replicas = Sequence[Sequence[Process]]
_MAIL = tuple(f"{kind}{name}" for name in Process.APART for kind in MESSAGES)


def save(replicas: Replicas, m: int) -> dict[str, Array]:
    """Return the state of neurons (replica, node) and of their m edges (replica, edge), between two ticks."""
    if not all(one.waits for one in chain.from_iterable(replicas)):
        raise ExperimentError("state: the tick must be over, and some of its phases have not run")
    shape, owners = (len(replicas), len(replicas[0])), list(chain.from_iterable(replicas))
    told = _table("neurons", [_of_neuron(one) for one in owners], shape)
    edges: list[dict[str, Any]] = [dict.fromkeys(_MAIL) for _ in range(len(replicas) * m)]
    for replica, processes in enumerate(replicas):
        for one in processes:
            for edge, values in _of_edges(one):
                edges[replica * m + edge] |= values
    return told | _table("synapses", edges, (len(replicas), m))


def load(replicas: Replicas, m: int, given: Arrays) -> None:
    """Take such a state."""
    shape, owners = (len(replicas), len(replicas[0])), list(chain.from_iterable(replicas))
    for one, values in zip(owners, _rows(given.within("neurons"), shape), strict=True):
        for thing in (one, one.record):
            for name in thing.STATE:
                setattr(thing, name, _rebuilt(name, getattr(thing, name), values))
    edges = list(_rows(given.within("synapses"), (len(replicas), m)))
    for replica, processes in enumerate(replicas):
        for one in processes:
            _load_edges(one, edges[replica * m : (replica + 1) * m])


# ---- one neuron


def _of_neuron(one: Process) -> dict[str, Any]:
    """Return every number of a neuron by name."""
    things: tuple[Process | Record, ...] = (one, one.record)
    return dict(chain.from_iterable(_leaves(name, getattr(x, name)) for x in things for name in x.STATE))


def _of_edges(one: Process) -> Iterator[tuple[int, dict[str, Any]]]:
    """Return what a neuron knows of its edges: synapses, links, and what lies in its mailbox."""
    for thing in _ends(one):
        values = (_leaves(name, getattr(thing, name)) for name in thing.STATE)
        yield thing.edge, dict(chain.from_iterable(values))
    for name in one.APART:
        for kind, by_edge in zip(MESSAGES, getattr(one, name), strict=True):
            for edge, value in by_edge.items():
                yield edge, {f"{kind}{name}": value}


def _ends(one: Process) -> list[Synapse | Link]:
    return [*one.record.synapses, *one.record.links]


def _load_edges(one: Process, edges: Sequence[Mapping[str, Any]]) -> None:
    for thing in _ends(one):
        for name in thing.STATE:
            setattr(thing, name, _rebuilt(name, getattr(thing, name), edges[thing.edge]))
    ends = [synapse.edge for synapse in one.record.synapses], [link.edge for link in one.record.links]
    for name in one.APART:
        for kind, by_edge, mine in zip(MESSAGES, getattr(one, name), ends, strict=True):
            found = {edge: edges[edge].get(f"{kind}{name}") for edge in mine}
            by_edge |= {edge: value for edge, value in found.items() if value is not None}


# ---- numbers in whatever holds them


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    for key, part in _parts(value):
        yield from _leaves(f"{name}/{key}", part)
    if not isinstance(value, Mapping | list | tuple):
        yield name, value


def _parts(value: Any) -> list[tuple[str, Any]]:
    if hasattr(value, "_asdict"):
        return list(value._asdict().items())
    if isinstance(value, Mapping):
        return list(value.items())
    return [(str(k), part) for k, part in enumerate(value)] if isinstance(value, list | tuple) else []


def _rebuilt(name: str, old: Any, values: Mapping[str, Any]) -> Any:
    if not isinstance(old, Mapping | list | tuple):
        return values[name]
    parts = [(key, _rebuilt(f"{name}/{key}", part, values)) for key, part in _parts(old)]
    if isinstance(old, Mapping):
        return dict(parts)
    return type(old)(*(x for _, x in parts)) if hasattr(old, "_asdict") else type(old)(x for _, x in parts)


def _table(where: str, rows: Sequence[Mapping[str, Any]], shape: tuple[int, ...]) -> dict[str, Array]:
    """Return a column for every name, with None where a row has no number of that name."""
    told: dict[str, Array] = {}
    for name in dict.fromkeys(chain.from_iterable(rows)):
        told |= numbers(f"{where}/{name}", [row.get(name) for row in rows], shape)
    return told


def _rows(given: Arrays, shape: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    names = [name for name in given if not name.endswith(".type")]
    columns = [as_numbers(name, given, shape) for name in names]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


# ---- links that may fail


def save_links(links: Mapping[tuple[int, int], FailingLink]) -> dict[str, Array]:
    """Return what was asked of links, by kind and cell."""
    order, told = sorted(links), dict[str, Array]()
    for k, name in enumerate(("kind", "cell")):
        told |= numbers(f"links/{name}", [key[k] for key in order], (len(order),))
    for name in FailingLink.STATE:
        told |= numbers(f"links/{name}", [getattr(links[key], name) for key in order], (len(order),))
    return told


def load_links(given: Arrays) -> dict[tuple[int, int], FailingLink]:
    """Return such links."""
    rows = _rows(given.within("links"), given["links/kind"].shape)
    return {(row.pop("kind"), row.pop("cell")): FailingLink(**row) for row in rows}
