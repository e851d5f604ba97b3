"""What a trace holds and where: groups, dimensions, columns. The format is described in traces/README.md."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from hlsim.errors import TraceError, is_count, plain, unknown
from hlsim.topology.network import Network
from hlsim.trace import recovery
from hlsim.trace.checksums import CRC, crc_of_attributes
from hlsim.trace.tables import NAME, Column, Table, dimension, room, variable

FORMAT = "hlsim-trace"
FORMAT_VERSION = 2
CHANGING: Mapping[str, int] = {"status": 16, "end": 32, "summary": 16384}  # attributes and their bytes
UNFINISHED: Mapping[str, str] = {"status": "running", "end": "", "summary": "{}"}
# What can be sampled beside the rule's own synapse fields: dimensions after tick and replica, and what it is.
Quantities = Mapping[str, tuple[tuple[str, ...], str]]
SAMPLED: Quantities = {
    "h": (("node",), "state"),
    "z": (("node",), "costate"),
    "a": (("node",), "drive"),
    "loss": ((), "loss at the outputs"),
    "w": (("edge",), "weight"),
}
STATES = ("h", "z", "a")
OMEGA: Mapping[str, str] = {"omega": "weight costate"}
EVENTS = ("message", "update")
KINDS = ("state message", "costate message", "update")  # meaning of /events/kind 0, 1, 2
STATE, COSTATE, UPDATE = range(3)
# Meaning of /faults/what: what a link is from now on, and what became of a message.
FAULTS = ("down", "up", "delay", "loss", "jitter", "lost")
TRAFFIC = ("traffic_state", "traffic_costate")
UNKNOWN_COUNT = -1  # traffic of a run that did not come to its end


def quantities(fields: Mapping[str, str], nodes: Mapping[str, str] = MappingProxyType({})) -> Quantities:
    """Return what can be sampled, in the order in which it is: the first one sampled owns the axis "tick".

    ``fields`` are the rule's, of synapses; ``nodes`` those of neurons that have several.
    """
    own = {name: (("edge",), about) for name, about in fields.items()}
    return {**SAMPLED, **own, **{name: (("node",), about) for name, about in nodes.items()}}


def rates(
    every: int | Mapping[str, int],
    sampled: Iterable[str],
    fields: Mapping[str, str] = OMEGA,
    nodes: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, int]:
    """Return how many ticks lie between two samples of each quantity, in the order of ``quantities``.

    ``every`` is one number for all, or one a name with "default" for the others (10 where there is none).

    Raises
    ------
    TraceError
        An unknown name, or a rate that is no whole number of ticks >= 1.
    """
    wanted, known = set(sampled), quantities(fields, nodes)
    given = dict(every) if isinstance(every, Mapping) else {"default": every}
    for name in sorted(wanted | given.keys() - {"default"}):
        if name not in known:
            raise TraceError("record: " + unknown("sampled value", name, known))
    for name, ticks in given.items():
        if not is_count(ticks):
            got = repr(plain(ticks))
            raise TraceError(f"record: every {name} must be a whole number of ticks >= 1, got {got}")
    default = given.get("default", 10)
    return {name: int(given.get(name, default)) for name in known if name in wanted}


def known_events(names: Iterable[str]) -> frozenset[str]:
    """Return kinds of event as a set, all of them known."""
    events = frozenset(names)
    for name in sorted(events - set(EVENTS)):
        raise TraceError("record: " + unknown("event", name, EVENTS))
    return events


def real(dtype: np.dtype) -> np.dtype:
    """Return the real dtype of the same precision: synapses and losses are real in a complex network."""
    return np.empty(0, dtype).real.dtype


def group_names(network: Network) -> tuple[str, ...]:
    """Return the names of the locality groups, sorted."""
    return tuple(sorted(set(network.group)))


def group_of(network: Network) -> np.ndarray:
    """Return the locality group (n,) of every node, as its place among the names."""
    place = {name: i for i, name in enumerate(group_names(network))}
    return np.array([place[name] for name in network.group], np.int64)


def group_pairs(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Return the groups (from, to) between which messages can travel, (pair,) each, in order.

    There is an edge between them, in either direction: states go forward on it, costates backward. So they
    are twice as many as edges at most, where a matrix would grow with the square of the groups.
    """
    group, synapse = group_of(network), network.source >= 0
    ends = group[network.source[synapse]], group[network.target[synapse]]
    count = len(group_names(network))
    both = [origin * count + goal for origin, goal in (ends, ends[::-1])]
    origin, goal = np.divmod(np.unique(np.concatenate([np.unique(each) for each in both])), count)
    return origin, goal


def first_attributes() -> dict[str, Any]:
    """Return the root attributes that every trace has from the start."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "hlsim_version": _version(),
        "experiment": "",
        "time_unit": "tick",
        "start": now(),
        "NX_class": "NXroot",
        "default": "sampled",
    }


@cache
def _version() -> str:
    try:
        return metadata.version("hlsim")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return "unknown"


def now() -> str:
    """Return the time as a trace holds it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_attributes(file: h5py.File, values: Mapping[str, Any]) -> None:
    """Write root attributes: text and numbers as they are, the rest as JSON; None is left out."""
    texts: dict[str, str] = {}
    for name, value in values.items():
        if value is not None:
            simple = isinstance(value, str | int | float | np.number)
            file.attrs[name] = stored = value if simple else to_json(value)
            if isinstance(stored, str) and name != "start":  # two runs of one experiment have one checksum
                texts[name] = stored
    file.attrs[CRC] = np.bytes_(" ".join(map(str, (crc_of_attributes(texts, texts), *texts))))


def change_attributes(file: h5py.File, values: Mapping[str, Any]) -> None:
    """Give root attributes other values, and the checksum that is theirs then."""
    names = bytes(file.attrs[CRC]).decode().split()[1:]
    write_attributes(file, {**{name: file.attrs[name] for name in names}, **values})


def to_json(value: Any) -> str:
    """Return JSON in which numpy's arrays and numbers are lists and numbers, and other objects their text."""
    return json.dumps(value, default=lambda x: x.tolist() if hasattr(x, "tolist") else str(x))


def encoded(text: str) -> bytes:
    """Return text as a column of dtype ``NAME`` holds it.

    Raises
    ------
    TraceError
        It is longer than the column is wide.
    """
    data = text.encode()
    if len(data) > NAME.itemsize:
        raise TraceError(f"name {text!r}: must have at most {NAME.itemsize} bytes, got {len(data)}")
    return data


def write_changing(file: h5py.File) -> None:
    """Write the root attributes that get another value at the end; they have the room that they will need."""
    for name, size in CHANGING.items():
        file.attrs.create(name, np.zeros((), f"S{size}"), dtype=h5py.string_dtype(length=size))
    for name, text in UNFINISHED.items():
        recovery.set_text(file, name, text)


def write_traffic(group: h5py.Group, network: Network) -> None:
    """Make room for the counts of messages between groups, which are known at the end."""
    names, pairs = group_names(network), group_pairs(network)
    dimension(group, "group_name", np.array(names, dtype=object), "name of a group")
    dimension(group, "group_pair", np.arange(len(pairs[0])), "two groups between which there is an edge")
    for name, groups, does in zip(("from", "to"), pairs, ("sends", "receives"), strict=True):
        about = f"the group that {does}: index into group_name"
        variable(group, f"traffic_{name}", groups, ("group_pair",), about)
    for name, kind in zip(TRAFFIC, ("state", "costate"), strict=True):
        about = f"{kind} messages sent; {UNKNOWN_COUNT}: not known, the run was cut off"
        variable(group, name, np.full(len(pairs[0]), UNKNOWN_COUNT, np.int64), ("group_pair",), about)


def replica_dims(replicas: int) -> tuple[str, ...]:
    """Return the replica dimension where there is more than one."""
    return ("replica",) if replicas > 1 else ()


def sampled_tables(
    every: Mapping[str, int],
    of: Quantities,
    dtype: np.dtype,
    replicas: tuple[int, int],
    sizes: Mapping[str, int],
    rows: int,
) -> dict[int, Table]:
    """Return the tables of /sampled, one a rate, see ``quantities``; ``replicas`` of neurons and of synapses.

    The axis of the first quantity is "tick"; another rate of N ticks has the axis "tick_N".
    """
    tables: dict[int, Table] = {}
    for rate in dict.fromkeys(every.values()):
        axis = f"tick_{rate}" if tables else "tick"
        columns = [Column(axis, np.int64, "tick after whose phases the values were read")]
        for name in (name for name in every if every[name] == rate):
            dims, about = of[name]
            over = replica_dims(replicas[dims == ("edge",)]) + dims
            columns.append(Column(name, dtype if dims == ("node",) else real(dtype), about, over))
        signal = None if tables else columns[1].name
        tables[rate] = Table("sampled", axis, columns, sizes, rows, signal)
    return tables


def event_columns(dtype: np.dtype, replicas: int) -> list[Column]:
    """Return the columns of /events."""
    columns = [
        Column("tick", np.int64, "tick of arrival, or of the update"),
        Column(
            "kind", np.int8, "; ".join(f"{number} {kind}" for number, kind in enumerate(KINDS)), (), KINDS
        ),
        Column("node", np.int32, "index of the neuron that receives or is updated"),
        Column("edge", np.int32, "index of the edge; -1: an update"),
        Column("value", dtype, "number that the message carries; nan: an update"),
        Column("sent", np.int64, "tick at which the message was sent; -1: an update"),
    ]
    return columns + [Column("replica", np.int32, "index of the replica")] * (replicas > 1)


def event_key(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what orders the events of one tick: kind, then edge (of an update: node), then replica."""
    element = np.where(rows["edge"] < 0, rows["node"], rows["edge"]).astype(np.int64)
    key = (rows["kind"].astype(np.int64) << 31) + element
    return (key << 28) + rows["replica"] if "replica" in rows else key


def event_table(columns: Sequence[Column], rows: int) -> Table:
    """Return /events: what reached a neuron and when it was updated, ordered by tick."""
    return Table("events", "event", columns, {}, rows, "value")


def fault_columns(dtype: np.dtype, replicas: int) -> list[Column]:
    """Return the columns of /faults."""
    value = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
    columns = [
        Column("tick", np.int64, "tick at which it happened; of a message, at which it was sent"),
        Column(
            "what", np.int8, "; ".join(f"{number} {what}" for number, what in enumerate(FAULTS)), (), FAULTS
        ),
        Column("kind", np.int8, "messages concerned: 0 state, 1 costate"),
        Column("edge", np.int32, "index of the edge"),
        Column("value", value, "delay, probability of loss, most jitter, or what the message carried"),
    ]
    return columns + [Column("replica", np.int32, "index of the replica")] * (replicas > 1)


def fault_key(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what orders the faults of one tick: changes as they took effect, then messages as in /events."""
    lost = rows["what"] == FAULTS.index("lost")
    return np.where(lost, 1 + event_key({**rows, "node": rows["edge"]}), 0)


def fault_table(columns: Sequence[Column], rows: int) -> Table:
    """Return /faults: what went wrong on links."""
    return Table("faults", "fault", columns, {}, rows, "what")


def stimulus_table(dtype: np.dtype, replicas: int, sizes: Mapping[str, int], rows: int) -> Table:
    """Return /stimulus: input and target as used, each in force from its tick on."""
    columns = [
        Column("tick", np.int64, "tick from which on the values are in force"),
        Column("input", real(dtype), "input", (*replica_dims(replicas), "input_node")),
        Column("target", real(dtype), "target; nan: none", (*replica_dims(replicas), "output_node")),
    ]
    return Table("stimulus", "tick", columns, sizes, rows, "input")


def control_table(rows: int) -> Table:
    """Return /controls: what else the controls were asked for, each in force from its tick on."""
    columns = [
        Column("tick", np.int64, "tick from which on the values are in force"),
        Column("phi", np.float64, "scale of the loss gradient"),
        Column("learn", np.int8, "1: synapses move; 0: they are held"),
        Column("noise", np.int8, "1: something is added to the drives; 0: nothing"),
        Column("reset", np.int8, "1: h, z and messages were forgotten at this tick"),
    ]
    return Table("controls", "tick", columns, {}, rows, "phi")


def write_before(
    file: h5py.File,
    dtype: np.dtype,
    replicas: int,
    before: Mapping[str, Any],
) -> None:
    """Write /before: what was fed, phi and the switch of learning before the trace's first tick."""
    group, over = file.create_group("before"), replica_dims(replicas)
    variable(group, "input", before["input"].astype(real(dtype)), (*over, "input_node"), "input")
    variable(
        group, "target", before["target"].astype(real(dtype)), (*over, "output_node"), "target; nan: none"
    )
    variable(group, "phi", np.float64(before["phi"]), (), "scale of the loss gradient")
    variable(group, "learn", np.int8(before["learn"]), (), "1: synapses move; 0: they are held")
    variable(group, "noise", np.int8(before["noise"]), (), "1: something is added to the drives; 0: nothing")


def final_fields(
    file: h5py.File,
    names: Iterable[str],
    of: Quantities,
    dtype: np.dtype,
    replicas: tuple[int, int],
) -> dict[str, h5py.Dataset]:
    """Write /final, to be filled at the end: states and synapse fields after the run's last tick."""
    group, made = file.create_group("final"), {}
    for name in names:
        dims, what = of[name]
        over = replica_dims(replicas[dims == ("edge",)]) + dims
        about = f"{what} after the last tick; nan: not known, the run was cut off"
        made[name] = room(group, name, dtype if dims == ("node",) else real(dtype), over, about)
    return made


def row_table(dtype: np.dtype, replicas: int, sizes: Mapping[str, int], rows: int) -> Table:
    """Return /rows: what came of each row of the stream."""
    over = replica_dims(replicas)
    columns = [
        Column("tick", np.int64, "last tick of the row"),
        Column("split", NAME, "stage, or split of the stream, that the row belongs to"),
        Column("label", np.int64, "class of the row; -1: none", over),
        Column("prediction", np.int64, "class told at the last tick of the row; -1: none", over),
        Column("told", np.int64, "class told before the target of the row counted; -1: none", over),
        Column("loss", real(dtype), "loss at the last tick of the row", over),
    ]
    return Table("rows", "row", columns, sizes, rows, "loss")


def phase_table(rows: int) -> Table:
    """Return /phases: how each phase of a row went, under rules that have some."""
    columns = [
        Column("tick", np.int64, "last tick of the phase"),
        Column("start", np.int64, "first tick of the phase"),
        Column("nudge", np.complex128, "strength with which the loss pulls at the outputs"),
        Column("quiet", np.int8, "1: the phase ended because nothing went on; 0: its time was over"),
        Column("messages", np.int64, "messages sent during the phase"),
    ]
    return Table("phases", "phase", columns, {}, rows, "messages")


def log_table(rows: int) -> Table:
    """Return /log: how the run went."""
    columns = [
        Column("tick", np.int64, "tick that was reached"),
        Column("wall", np.float64, "seconds of wall time since the start"),
        Column("in_flight", np.int64, "messages on their way"),
        Column("memory_bytes", np.int64, "most memory of the process so far; 0: the system does not tell"),
    ]
    return Table("log", "tick", columns, {}, rows, "memory_bytes")
