"""Checks a trace that is opened against the layout: it may be damaged, or come from a stranger.

What is looked at when it is opened is the form: links, filters, dtypes, shapes. Numbers are looked at as they
are read, whole chunks against their checksums by HDF5, text against its own. So whoever reads a trace finds
what ``hlsim.trace.layout`` says, or a ``DamageError``.
"""

import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from hlsim.errors import LARGEST, DamageError, TraceError, is_count, is_real, shown, unknown
from hlsim.textdata import read_json
from hlsim.trace.checksums import CRC, crc_of, crc_of_attributes
from hlsim.trace.layout import FAULTS, KINDS, SAMPLED, STATES

DEPTH = 3  # groups within groups, at most: /network/parameters, and one of somebody's own
# A file cannot hold more than deflate can make of it; what was never written is given room besides.
INFLATION, UNWRITTEN_ROOM = 1032, 1 << 26
FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
WHOLE, REAL, NUMBER, TEXT = "iu", "f", "fc", "S"  # kinds of dtype
_KINDS = {WHOLE: "whole numbers", REAL: "real numbers", NUMBER: "numbers", TEXT: "text"}
# Dimensions of what has a row for each replica where there are several: neurons always, synapses perhaps.
REPLICA, MEMBER = "replica?", "member?"


@dataclass(frozen=True)
class Rule:
    """What a dataset must be.

    Attributes
    ----------
    kind : str
        Kinds of its dtype.
    dims : tuple of str
        Its dimensions, after that along which its table grows.
    least, below : int or str, optional
        Bounds of its values; a name is the length of that dimension, or a root attribute.
    rising : bool
        Whether no value is below the one before.
    """

    kind: str
    dims: tuple[str, ...] = ()
    least: int | str | None = None
    below: int | str | None = None
    rising: bool = False


_COUNT = Rule(WHOLE, (), -1, LARGEST)
_FLAG = Rule(WHOLE, (), 0, 2)
_TICK = Rule(WHOLE, (), "first_tick", "until", rising=True)
_SENT = Rule(WHOLE, (), -1, LARGEST)
_EDGE = Rule(WHOLE, (), -1, "edge")


def _over(rule: Rule, *dims: str) -> Rule:
    return Rule(rule.kind, dims, rule.least, rule.below, rule.rising)


def _node(kind: str, least: int | None = None, below: int | str | None = LARGEST) -> Rule:
    return Rule(kind, ("node",), least, below)


def _edge(kind: str, least: int | None = None, below: int | str | None = LARGEST) -> Rule:
    return Rule(kind, ("edge",), least, below)


FIXED: Mapping[str, Rule] = {
    "node": _node(TEXT),
    "edge": _edge(WHOLE, 0, "edge"),
    "input_node": Rule(TEXT, ("input_node",)),
    "output_node": Rule(TEXT, ("output_node",)),
    **{f"network/{name}": _node(TEXT) for name in ("node_label", "group", "model", "activation")},
    "network/clock": _node(WHOLE, 0, 2),
    **{f"network/{name}": _node(WHOLE, 1) for name in ("period", "send_interval", "refresh")},
    "network/phase": _node(WHOLE, 0),
    **{f"network/{name}": _node(REAL) for name in ("send_threshold", "costate_threshold")},
    **{f"network/{name}": _node(WHOLE, -1, "node") for name in ("rank", "back_rank")},
    "network/source": _edge(WHOLE, -1, "node"),
    "network/target": _edge(WHOLE, 0, "node"),
    **{f"network/{name}": _edge(WHOLE, 0) for name in ("delay", "feedback_delay")},
    "network/feedback": _edge(WHOLE, 0, 3),
    "network/plastic": _edge(WHOLE, 0, 2),
    "network/beta": _edge(REAL),
    "network/weight0": Rule(REAL, (MEMBER, "edge")),
    "network/inputs": Rule(WHOLE, ("input_node",), 0, "node"),
    "network/outputs": Rule(WHOLE, ("output_node",), 0, "node"),
    "network/graph": Rule(TEXT),
    "network/group_name": Rule(TEXT, ("network/group_name",)),
    "network/group_pair": Rule(WHOLE, ("network/group_pair",), 0, "network/group_pair"),
    **{
        f"network/traffic_{end}": Rule(WHOLE, ("network/group_pair",), 0, "network/group_name")
        for end in ("from", "to")
    },
    **{f"network/traffic_{kind}": _over(_COUNT, "network/group_pair") for kind in ("state", "costate")},
    "before/input": Rule(REAL, (REPLICA, "input_node")),
    "before/target": Rule(REAL, (REPLICA, "output_node")),
    "before/phi": Rule(REAL),
    "before/learn": _FLAG,
    "before/noise": _FLAG,
}
# Columns of what grows, by group and axis. An axis that is no column has no coordinates.
GROWING: Mapping[tuple[str, str], Mapping[str, Rule]] = {
    ("events", "event"): {
        "tick": _TICK,
        "kind": Rule(WHOLE, (), 0, len(KINDS)),
        "node": Rule(WHOLE, (), 0, "node"),
        "edge": _EDGE,
        "value": Rule(NUMBER),
        "sent": _SENT,
    },
    ("faults", "fault"): {
        "tick": _TICK,
        "what": Rule(WHOLE, (), 0, len(FAULTS)),
        "kind": Rule(WHOLE, (), 0, 2),
        "edge": Rule(WHOLE, (), 0, "edge"),
        "value": Rule(NUMBER),
    },
    ("phases", "phase"): {
        "tick": _TICK,
        "start": Rule(WHOLE, (), 0, "until", rising=True),
        "nudge": Rule("c"),
        "quiet": _FLAG,
        "messages": Rule(WHOLE, (), 0, LARGEST),
    },
    ("stimulus", "tick"): {
        "tick": _TICK,
        "input": Rule(REAL, (REPLICA, "input_node")),
        "target": Rule(REAL, (REPLICA, "output_node")),
    },
    ("controls", "tick"): {
        "tick": _TICK,
        "phi": Rule(REAL),
        "learn": _FLAG,
        "noise": _FLAG,
        "reset": _FLAG,
    },
    ("rows", "row"): {
        "tick": _TICK,
        "split": Rule(TEXT),
        **{name: _over(_COUNT, REPLICA) for name in ("label", "prediction", "told")},
        "loss": Rule(REAL, (REPLICA,)),
    },
    ("log", "tick"): {
        "tick": Rule(WHOLE, (), 0, LARGEST, rising=True),
        "wall": Rule(REAL),
        "in_flight": Rule(WHOLE, (), 0, LARGEST),
        "memory_bytes": Rule(WHOLE, (), 0, LARGEST),
    },
}
# What is there only in some traces.
OPTIONAL: Mapping[str, Rule] = {
    "replica": Rule(WHOLE, ("replica",), 0, "replica"),
    "network/feedback_weight": Rule(REAL, (MEMBER, "edge")),
    "network/lag": _node(WHOLE, 0),
    **{f"network/{name}": _edge(WHOLE, 0) for name in ("padding", "waiting")},
}
_SYNAPTIC = Rule(REAL, (MEMBER, "edge"))
GROWING_COLUMNS: Mapping[str, Rule] = {
    f"{group}/{name}": rule
    for (group, axis), own in GROWING.items()
    for name, rule in ({axis: Rule(REAL)} | dict(own)).items()
}
_GROW: Mapping[str, str] = {"sampled": "tick", **dict(tuple(GROWING))}
GROUPS = ("sampled", "final", "network", "network/parameters", "before", *(group for group, _ in GROWING))
SHARED = ("node", "edge", "input_node", "output_node")  # dimensions at the root


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Turn whatever HDF5 raises over bytes that it cannot make sense of into a DamageError."""
    try:
        yield
    except (TraceError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file gives OSError, RuntimeError, KeyError, TypeError, ...
        raise DamageError(f"{where}: cannot be read, it is damaged: {' '.join(str(error).split())}") from None


@dataclass
class Layout:
    """The form of one trace, found good.

    Parameters
    ----------
    file : h5py.File
    where : str
        What errors call it.
    attributes : mapping
        Those of its root, as ``check_attributes`` has left them.

    Raises
    ------
    DamageError
        It is damaged; it leads to other files; something is missing, or not of its dtype or shape.
    """

    file: h5py.File
    where: str
    attributes: Mapping[str, Any]
    sizes: dict[str, int] = field(default_factory=dict, init=False)
    rules: dict[str, Rule] = field(default_factory=dict, init=False)
    names: tuple[str, ...] = field(default=(), init=False)
    _groups: list[str] = field(default_factory=list, init=False)
    _most: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        with readable(self.where):
            self._most = INFLATION * self.file.id.get_filesize() + UNWRITTEN_ROOM
            datasets = dict(self._walk(self.file, "", DEPTH))
            self.names = tuple(datasets)
            dtypes = {name: self._check_storage(name, dataset) for name, dataset in datasets.items()}
            self._find_rules(datasets)
            for name in self.rules:
                self._check_form(name, datasets[name], dtypes[name])

    def _refuse(self, name: str, rule: str, value: object) -> DamageError:
        return DamageError(f"{self.where}: {name} {rule}, got {shown(value)}")

    def _walk(self, group: h5py.Group, prefix: str, depth: int) -> Iterator[tuple[str, h5py.Dataset]]:
        """Yield all datasets; refuse links that could lead out of the file, or round in a circle."""
        for key in group:
            name = f"{prefix}{key}"
            if group.id.links.get_info(key.encode()).type != h5py.h5l.TYPE_HARD:
                link = group.get(key, getlink=True)
                kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
                raise self._refuse(name, "must be in the file itself", f"{kind} to {link.path}")
            item = group[key]
            if isinstance(item, h5py.Dataset):
                yield name, item
            elif not isinstance(item, h5py.Group) or not depth:
                raise self._refuse(name, "must be a dataset or a group", type(item).__name__.lower())
            else:
                self._groups.append(name)
                yield from self._walk(item, f"{name}/", depth - 1)

    def _check_storage(self, name: str, dataset: h5py.Dataset) -> np.dtype:
        """Refuse what is not in the file, or not in a way that is understood here; return the dtype."""
        made = dataset.id.get_create_plist()
        if made.get_layout() == h5py.h5d.VIRTUAL or made.get_external_count():
            kind = "a virtual dataset" if made.get_layout() == h5py.h5d.VIRTUAL else "external storage"
            raise self._refuse(name, "must be in the file itself", kind)
        filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
        if not set(filters) <= set(FILTERS):
            raise self._refuse(name, "must be compressed by deflate, if at all", f"filters {filters}")
        dtype, chunk = dataset.dtype, made.get_chunk() if made.get_layout() == h5py.h5d.CHUNKED else ()
        told = max(dataset.size or 0, math.prod(chunk)) * dtype.itemsize
        if told > self._most:
            raise self._refuse(name, f"must have at most {self._most} bytes in a file of this size", told)
        if dtype.kind not in "biufcSO" or (dtype.kind == "O" and not _is_text(dtype)):
            raise self._refuse(name, "must be numbers or text", dtype)
        return dtype

    def _find_rules(self, datasets: Mapping[str, h5py.Dataset]) -> None:
        """Take the lengths of dimensions, and the rule of every dataset that the layout knows."""
        needed = {**FIXED, **GROWING_COLUMNS}
        for name in needed:
            if name not in datasets:
                raise DamageError(f"{self.where}: must have a dataset {name!r}, it has none")
        for name in GROUPS:
            if name not in self._groups:
                raise DamageError(f"{self.where}: must have a group {name!r}, it has none")
        scales = [
            name
            for name in (*SHARED, "replica", "network/group_name", "network/group_pair")
            if name in datasets
        ]
        self.sizes = {name: _length(datasets[name]) for name in scales}
        own = {
            name: needed.get(name) or OPTIONAL.get(name) or _by_place(name, x) for name, x in datasets.items()
        }
        self.rules = {name: rule for name, rule in own.items() if rule is not None}

    def _check_form(self, name: str, dataset: h5py.Dataset, dtype: np.dtype) -> None:
        rule, shape = self.rules[name], dataset.shape
        is_text = _is_text(dtype)
        if is_text != (rule.kind == TEXT) or not (is_text or dtype.kind in rule.kind):
            raise self._refuse(name, f"must be {_KINDS.get(rule.kind, 'complex numbers')}", dtype)
        grows = name.rpartition("/")[0] in _GROW
        if shape is None or (shape[1:] if grows else shape) not in self._shapes(rule):
            wanted = " or ".join(str(shape) for shape in self._shapes(rule))
            raise self._refuse(name, f"must have shape {'(rows, ...) with ' * grows}{wanted}", shape)
        if grows:
            self._check_axis(name, dataset)

    def _shapes(self, rule: Rule) -> list[tuple[int, ...]]:
        """Return the shapes that a rule allows."""
        replicas = self.sizes.get("replica", 1)
        fixed = tuple(self.sizes[dim] for dim in rule.dims if dim not in (REPLICA, MEMBER))
        if MEMBER in rule.dims and replicas > 1:
            return [fixed, (replicas, *fixed)]
        return [(replicas, *fixed)] if REPLICA in rule.dims and replicas > 1 else [fixed]

    def _check_axis(self, name: str, dataset: h5py.Dataset) -> None:
        """A column is as long as the axis of its table, or longer while it is written."""
        group = name.rpartition("/")[0]
        axis = axis_of(dataset)
        found = None if axis is None else axis.name
        if axis is None or found not in self._axes(group):
            raise self._refuse(name, f"must grow along an axis of /{group}", found)
        # who reads along may see an axis that is ahead of its columns
        if self.attributes["status"] != "running" and dataset.shape[0] < axis.shape[0]:
            raise self._refuse(name, f"must have the {axis.shape[0]} rows of {axis.name}", dataset.shape[0])

    def _axes(self, group: str) -> list[str]:
        if group == "sampled":
            return [f"/{name}" for name in self.names if name.startswith("sampled/tick")]
        return [f"/{group}/{_GROW[group]}"]

    def check_values(self, name: str, values: np.ndarray) -> None:
        """Refuse values that are not within the bounds of a dataset, or go back where they must not."""
        rule = self.rules.get(name)
        if rule is None or not values.size or values.dtype.kind not in "iu":
            return
        least, below = self._bound(rule.least), self._bound(rule.below)
        if least is not None and (low := values.min()) < least:
            raise self._refuse(name, f"must be >= {least}", low)
        if below is not None and (high := values.max()) >= below:
            raise self._refuse(name, f"must be < {below}", high)
        if rule.rising and values.ndim and (back := np.flatnonzero(values[1:] < values[:-1])).size:
            at = int(back[0])
            raise self._refuse(name, f"must not go back, after {values[at]}", values[at + 1])

    def _bound(self, bound: int | str | None) -> int | None:
        if bound == "first_tick":
            return int(self.attributes.get("first_tick", 0))
        if bound == "until":
            return int(self.attributes.get("until", LARGEST))
        return self.sizes.get(bound, 1) if isinstance(bound, str) else bound

    def check_sum(self, name: str, dataset: h5py.Dataset, values: np.ndarray) -> None:
        """Refuse values, of a whole dataset, that are not what was written."""
        wanted = dataset.attrs.get(CRC)
        if wanted is None:
            return
        found = (
            crc_of(np.atleast_1d(values).tolist())
            if _is_text(dataset.dtype)
            else zlib.crc32(values.tobytes())
        )
        if found != wanted:
            raise self._refuse(name, f"is damaged, it must have the checksum {wanted}", found)


def _by_place(path: str, dataset: h5py.Dataset) -> Rule | None:
    """Return the rule of a dataset whose name is not the same in every trace; None: there is none."""
    group, _, name = path.rpartition("/")
    if name == "replica" and any(group == growing for growing, _ in GROWING):
        return Rule(WHOLE, (), 0, "replica")
    if group == "network/parameters":
        return _node(REAL)
    if group not in ("sampled", "final"):
        return None
    if name.startswith("tick"):
        return _TICK
    return _sampled(name, dataset)


def _sampled(name: str, dataset: h5py.Dataset) -> Rule:
    if name in STATES:
        return Rule(NUMBER, (REPLICA, "node"))
    if name in SAMPLED and name != "w":
        return Rule(REAL, (REPLICA,))
    # Fields of neurons and of synapses have names of their own.
    last = dataset.dims[dataset.ndim - 1] if dataset.ndim else {}
    of_neurons = name != "w" and any(scale.name == "/node" for scale in last.values())
    return Rule(REAL, (REPLICA, "node")) if of_neurons else _SYNAPTIC


def _length(dataset: h5py.Dataset) -> int:
    return int(dataset.shape[0]) if dataset.shape else 0


def _is_text(dtype: np.dtype) -> bool:
    return h5py.check_string_dtype(dtype) is not None


def axis_of(dataset: h5py.Dataset) -> h5py.Dataset | None:
    """Return the dimension scale along which a dataset grows, itself if it is one; None: it does not grow."""
    if dataset.maxshape is None or dataset.maxshape[:1] != (None,):
        return None
    return dataset if dataset.is_scale else dataset.dims[0][0]


# Root attributes: what they must be, where they are there.
_WORDS = ("hlsim_version", "experiment", "start", "end", "engine", "device", "learning", "time_unit")
_DTYPES = ("float32", "float64", "complex64", "complex128")
_STATUS = ("running", "complete", "interrupted")


def check_attributes(where: str, attributes: Mapping[str, Any]) -> None:
    """Refuse root attributes that are not what a trace says of itself.

    Raises
    ------
    DamageError
        Names the attribute, its rule and its value.
    """
    _check_crc(where, attributes)
    for name in ("format_version", "status", "summary", "experiment", "dtype"):
        if name not in attributes:
            raise DamageError(f"{where}: must have an attribute {name!r}, it has none")
    rules = {
        **{name: ("must be text", isinstance(attributes.get(name), str)) for name in _WORDS},
        "dtype": (f"must be one of {', '.join(_DTYPES)}", attributes["dtype"] in _DTYPES),
        "status": (f"must be one of {', '.join(_STATUS)}", attributes["status"] in _STATUS),
        "seed": ("must be a whole number >= 0", is_count(attributes.get("seed"), 0, 2**63)),
        "first_tick": ("must be a whole number >= 0", is_count(attributes.get("first_tick"), 0)),
        "target_delay": ("must be a whole number >= 0", is_count(attributes.get("target_delay"), 0)),
        "until": ("must be a whole number >= 1", is_count(attributes.get("until"), 1)),
        "dt": ("must be > 0", is_real(attributes.get("dt")) and attributes["dt"] > 0),
        "summary": ("must be text", isinstance(attributes["summary"], str)),
    }
    for name, (rule, holds) in rules.items():
        if name in attributes and not holds:
            raise DamageError(f"{where}: attribute {name!r} {rule}, got {shown(attributes[name])}")


_COUNTS = (
    "ticks", "state_messages", "costate_messages", "numbers", "overtaken", "replaced", "lost", "node_updates",
    "phases", "settled",
)  # fmt: skip
_SHARES = ("accuracy", "accuracy_taught")


def summary_of(where: str, text: str) -> dict[str, Any]:
    """Return what a run told at its end.

    Raises
    ------
    DamageError
        It is no JSON object, or says something that no run tells.
    """
    try:
        told = read_json(text)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise DamageError(f"{where}: attribute 'summary' must be a JSON object, got {shown(text)}")
    rules = {
        **{name: ("a whole number >= 0", is_count(told.get(name), 0, 2**63)) for name in _COUNTS},
        **{name: ("an object of shares", _are_shares(told.get(name))) for name in _SHARES},
        "padding": ("an object of edges and longest", _is_padding(told.get("padding"))),
        "ticks": ("a whole number >= 0", is_count(told.get("ticks"), 0)),
        "loss": ("a number, or null", told.get("loss") is None or is_real(told["loss"])),
        "wall_s": ("a number >= 0", is_real(told.get("wall_s")) and told["wall_s"] >= 0),
    }
    for name, (rule, holds) in rules.items():
        if name in told and not holds:
            raise DamageError(f"{where}: attribute 'summary': {name} must be {rule}, got {shown(told[name])}")
    return told


def _is_padding(value: object) -> bool:
    known = isinstance(value, dict) and list(value) == ["edges", "longest"]
    return known and all(is_count(ticks, 0) for ticks in value.values())  # type: ignore[attr-defined]


def _are_shares(value: object) -> bool:
    return isinstance(value, dict) and all(is_real(share) for share in value.values())


def _check_crc(where: str, attributes: Mapping[str, Any]) -> None:
    wanted = attributes.get(CRC)
    if wanted is None:
        return
    wanted, *names = str(wanted).split()
    for name in names:
        if name not in attributes:
            raise DamageError(f"{where}: {unknown('attribute', name, attributes)}")
    if wanted != str(crc_of_attributes(attributes, names)):
        raise DamageError(f"{where}: its attributes are damaged: {', '.join(names)}")
