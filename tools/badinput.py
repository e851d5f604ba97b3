"""Bad input of every kind that comes from outside, drawn by hypothesis: files, and commands that read them.

Each is made from something that is right: a few values are replaced by others, of every type and size, and
now and then some bytes by others.
"""

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import networkx as nx
import numpy as np
import tomli_w
from hypothesis import strategies as st

from hlsim.experiment.settings import Settings, learning_table, source_table
from hlsim.models.losses import LOSSES
from hlsim.models.neurons import ACTIVATIONS, MODELS
from hlsim.models.rules import RULES
from hlsim.stimulus import SOURCES
from hlsim.topology.attributes import edge_attributes, node_attributes

Draw = Callable[[Any], Any]
LONG = ("--until", "20")  # ticks of every run: one that is right should be short


@dataclass(frozen=True)
class Case:
    """Files by name, and the arguments of the command that reads them."""

    kind: str
    files: Mapping[str, bytes]
    arguments: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write the files."""
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


# ---- values

WHOLE = [
    -(2**63) - 1,
    -1,
    0,
    1,
    2,
    3,
    7,
    2**31 - 1,
    2**31,
    2**53 - 1,
    2**53,
    2**63 - 1,
    2**63,
    10**30,
    10**400,
]
REAL = [-1.0, -0.0, 0.0, 5e-324, 1e-9, 0.5, 1.0, 3.0, 1e9, 1e39, 1e308, math.inf, -math.inf, math.nan]
TEXT = [
    "",
    "a",
    "train",
    "x" * 300,
    "../../etc/passwd",
    "/dev/zero",
    "a\x1b[2Jb",
    "\0",
    "\u202eb",
    "h",
    "1",
    "-",
]
WORDS = [
    *RULES,
    *SOURCES,
    *LOSSES,
    *MODELS,
    *ACTIVATIONS,
    "none",
    "clock",
    "arrival",
    "input",
    "output",
    "random",
]
WORDS += [
    "symmetric",
    "dense",
    "one_to_one",
    "explicit",
    "sequential",
    "float64",
    "reference",
    "message",
    "update",
]
WORDS += ["h", "w", "omega", "state", "costate", "quiescence", "dwell", "never", "auto", "batched", "default"]


def nested(depth: int, table: bool) -> Any:
    """Return lists, or tables, within one another."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if table else [value]
    return value


SCALARS = st.one_of(
    st.sampled_from(WHOLE),
    st.sampled_from(REAL),
    st.sampled_from(TEXT),
    st.sampled_from(WORDS),
    st.booleans(),
)
LISTS = st.one_of(
    st.lists(SCALARS, max_size=4),
    st.lists(st.lists(SCALARS, max_size=3), max_size=3),
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1, -1]), min_size=1, max_size=2), min_size=1, max_size=3),
)
TABLES = st.one_of(
    st.dictionaries(st.sampled_from([*TEXT, *WORDS]), SCALARS, max_size=3),
    st.fixed_dictionaries({"gate": SCALARS}, optional={"value": SCALARS}),
    st.fixed_dictionaries({"schedule": LISTS}),
    st.fixed_dictionaries({"uniform": LISTS}),
    st.fixed_dictionaries({"normal": SCALARS}),
    st.fixed_dictionaries({"train": LISTS}),
)
DEEP = st.builds(nested, st.sampled_from([3, 63, 64, 65, 300]), st.booleans())
VALUES = st.one_of(SCALARS, SCALARS, LISTS, TABLES, DEEP)


def mangled(draw: Draw, data: bytes) -> bytes:
    """Return data of which a few bytes are others, are gone, or stand twice; or only its beginning."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        size = draw(st.sampled_from([1, 1, 2, 8, 64, 512]))
        what = draw(st.sampled_from(["bit", "bytes", "gone", "twice", "cut", "zeros"]))
        if what == "bit" and found:
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "bytes":
            found[at : at + size] = draw(st.binary(min_size=1, max_size=8))
        elif what == "gone":
            del found[at : at + size]
        elif what == "twice":
            found[at:at] = found[at : at + size]
        elif what == "cut":
            del found[at:]
        else:
            found[at : at + size] = bytes(len(found[at : at + size]))
    return bytes(found)


def sometimes(draw: Draw, data: bytes) -> bytes:
    """Return data, one time in four mangled."""
    return mangled(draw, data) if draw(st.integers(0, 3)) == 0 else data


def changed(draw: Draw, tables: Any) -> None:
    """Replace a value somewhere in tables and lists, take one away, or add one."""
    place = tables
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 4)) == 0:
            break
        place = inner
    what = draw(st.integers(0, 7))
    if what == 0:
        del place[key]
    elif what == 1 and isinstance(place, dict):
        place[draw(st.sampled_from([*TEXT, *WORDS]))] = draw(VALUES)
    else:
        place[key] = draw(VALUES if what == 2 else alike(place[key]))


def tuned(draw: Draw, tables: Any) -> None:
    """Replace a few numbers by others: whatever they are, all is of the right form."""
    places = list(_numbers(tables))
    for place, key in draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)) if places else ():
        kind = REAL if isinstance(place[key], float) and draw(st.booleans()) else WHOLE
        place[key] = draw(st.sampled_from(kind))


def _numbers(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(part, dict | list):
            yield from _numbers(part)
        elif isinstance(part, int | float) and not isinstance(part, bool):
            yield value, key


def alike(value: object) -> Any:
    """Return values of the type of one, which come further than others."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int | float):
        return st.one_of(st.sampled_from(WHOLE), st.sampled_from(REAL))
    if isinstance(value, str):
        return st.one_of(st.sampled_from(WORDS), st.sampled_from(TEXT))
    return LISTS if isinstance(value, list) else TABLES


# ---- graphs

GRAPH: Mapping[str, Any] = {
    "directed": True,
    "multigraph": False,
    "graph": {},
    "nodes": [
        {"id": "x", "model": "input"},
        {"id": "h", "size": 2, "group": "a", "tau": 2.0, "refresh": 9, "send_interval": 1},
        {"id": "y", "role": "output", "bias": 0.5, "send_threshold": 0.0, "costate_threshold": 0.0},
    ],
    "edges": [
        {"source": "x", "target": "h", "weight": 0.5, "delay": 1},
        {"source": "h", "target": "y", "weight": {"normal": 0.5}, "feedback": "random"},
    ],
}


@st.composite
def topologies(draw: Draw) -> Case:
    """Draw a graph file, and who reads it."""
    data: Any = copy.deepcopy(GRAPH)
    for _ in range(draw(st.integers(0, 3))):
        if (
            isinstance(data.get("nodes"), list)
            and isinstance(data.get("edges"), list)
            and draw(st.booleans())
        ):
            table = draw(
                st.sampled_from([("nodes", list(node_attributes())), ("edges", list(edge_attributes()))])
            )
            holders = [x for x in data[table[0]] if isinstance(x, dict)]
            if holders:
                draw(st.sampled_from(holders))[draw(st.sampled_from(table[1]))] = draw(VALUES)
        else:
            changed(draw, data)
    if draw(st.booleans()):
        data = copy.deepcopy(GRAPH)
        tuned(draw, data)
    name, text = "g.json", json.dumps(data, default=str).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 2)) == 0:
        name, text = "g.graphml", _graphml(draw)
    files = {name: sometimes(draw, text), "e.toml": f'[network]\ntopology = "{name}"\n'.encode()}
    commands = [("validate", name), ("info", name), ("run", "e.toml", *LONG), ("validate", "e.toml")]
    return Case("topology", files, draw(st.sampled_from(commands)))


def _graphml(draw: Draw) -> bytes:
    graph = nx.DiGraph()
    flat = st.one_of(
        st.sampled_from(WHOLE[1:-2]), st.sampled_from(REAL), st.sampled_from(WORDS), st.booleans()
    )
    for name, model in (("x", "input"), ("h", "leaky"), ("y", "leaky")):
        graph.add_node(name, model=model)
    graph.add_edge("x", "h", weight=0.5)
    graph.add_edge("h", "y", delay='{"uniform": [1, 3]}')
    for _ in range(draw(st.integers(0, 2))):
        graph.nodes[draw(st.sampled_from("xhy"))][draw(st.sampled_from(list(node_attributes())))] = draw(flat)
        graph.edges["h", "y"][draw(st.sampled_from(list(edge_attributes())))] = draw(flat)
    written = BytesIO()
    nx.write_graphml(graph, written)
    text = written.getvalue()
    head = (
        b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;"><!ENTITY d SYSTEM "file:///etc/passwd">]>'
    )
    if draw(st.integers(0, 4)) == 0:
        at = text.index(b"<graphml")
        entity = draw(st.sampled_from([b"&c;", b"&d;", b"&b;"]))
        text = text[:at] + head + text[at:].replace(b"leaky", entity)
    return text


# ---- experiments

EXPERIMENT: Mapping[str, Any] = {
    "network": {"topology": "g.json", "node_defaults": {"update": "clock"}, "edge_defaults": {}},
    "simulation": {"until": 20, "dt": 1.0, "seed": 1, "batch": 1, "ensemble": 1, "threads": 1},
    "learning": {"rule": "hamiltonian", "beta": 0.01, "phi": {"gate": 2}},
    "stimulus": {"source": "arrays", "hold": 4, "input": [[1.0], [0.5]], "target": [[0.5], [0.1]]},
    "noise": {"std": 0.01, "every": 1},
    "faults": {
        "loss": 0.1,
        "jitter": 1,
        "failing": 0.1,
        "downtime": 2.0,
        "change": [{"tick": 3, "delay": 2}],
    },
    "stage": [{"name": "train", "passes": 2}, {"name": "test", "learn": False}],
    "loss": {"kind": "squared_error"},
    "record": {"every": {"default": 2, "w": 5}, "events": ["message"]},
    "sweep": {"grid": {"learning.beta": [0.1, 0.2]}, "seeds": 2},
}
_GRAPH_TEXT = json.dumps(GRAPH).encode()


def _set_known(draw: Draw, data: dict[str, Any]) -> None:
    """Set a key that an experiment knows."""
    name = draw(st.sampled_from(list(Settings.model_fields)))
    if name == "stage":
        data["stage"] = draw(st.one_of(VALUES, st.lists(TABLES, max_size=2)))
        return
    if not isinstance(data.setdefault(name, {}), dict):
        return
    keys = list(Settings.model_fields[name].annotation.model_fields)  # type: ignore[union-attr]
    keys += [key for rule in RULES for key in learning_table(rule).model_fields] * (name == "learning")
    keys += [key for source in SOURCES for key in source_table(source).model_fields] * (name == "stimulus")
    key = draw(st.sampled_from(keys))
    defaults = {**Settings.model_fields[name].annotation.model_fields}  # type: ignore[union-attr]
    value = defaults[key].default if key in defaults else 0.5
    data[name][key] = draw(alike(value) if draw(st.booleans()) else VALUES)


@st.composite
def experiments(draw: Draw) -> Case:
    """Draw an experiment, and who reads it."""
    data = copy.deepcopy(dict(EXPERIMENT))
    for name in draw(st.lists(st.sampled_from([x for x in EXPERIMENT if x != "network"]), max_size=6)):
        data.pop(name, None)
    if draw(st.booleans()) and "learning" in data:
        rule = draw(st.sampled_from(list(RULES)))
        fields = learning_table(rule).model_fields
        own = {key: x.default for key, x in fields.items() if isinstance(x.default, int | float)}
        data["learning"] = {"rule": rule, **own}
    if draw(st.booleans()) and "stimulus" in data:
        data["stimulus"] = {"source": draw(st.sampled_from(["digits", "iris"]))}
    if draw(st.booleans()):
        tuned(draw, data)
        text = tomli_w.dumps(data).encode()
    else:
        for _ in range(draw(st.integers(0, 3))):
            draw(st.sampled_from([changed, _set_known]))(draw, data)
        text = sometimes(draw, tomli_w.dumps(data).encode("utf-8", "surrogatepass"))
    commands = [("validate", "e.toml"), ("info", "e.toml"), ("run", "e.toml", "--dry-run")]
    commands += [("run", "e.toml", *LONG)] * 5
    arguments = list(draw(st.sampled_from(commands)))
    if draw(st.integers(0, 3)) == 0:
        arguments += ["--set", _override(draw)]
    return Case("experiment", {"e.toml": text, "g.json": _GRAPH_TEXT}, tuple(arguments))


def _override(draw: Draw) -> str:
    keys = [
        "learning.beta",
        "simulation.dt",
        "stage.0.rows",
        "stage.train.hold",
        "record.every.w",
        "a.b",
        "x",
        "stage",
    ]
    value = draw(VALUES)
    text = tomli_w.dumps({"v": value}).partition("=")[2].strip() if not isinstance(value, dict) else "{ a = 1"
    return f"{draw(st.sampled_from(keys))}={text}".replace("\0", "?").replace("\n", " ")


# ---- streams

_DTYPES = ["f4", "f8", "f2", "i8", "u8", "i1", "?", "c16", "U3", "S3", "M8[s]", "f8,i4", "f16"]


@st.composite
def streams(draw: Draw) -> Case:
    """Draw the rows of a stream, as an NPZ file or as what a function yields."""
    if draw(st.booleans()):
        return _function(draw)
    arrays = {"input": np.ones((4, 1)), "target": np.zeros((4, 1)), "label": np.zeros(4, int)}
    for _ in range(draw(st.integers(0, 2))):
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        values = np.full(shape, draw(st.sampled_from([0.0, 1.0, -2.0, 1e39, math.nan, math.inf, 2.0**63])))
        with np.errstate(all="ignore"):
            try:
                values = values.astype(draw(st.sampled_from(_DTYPES)))
            except (ValueError, TypeError):
                continue
        arrays[draw(st.sampled_from(["input", "target", "label", "split", "other", ""]))] = values
    written = BytesIO()
    np.savez(written, **arrays)  # type: ignore[arg-type]
    text = b'[network]\ntopology = "g.json"\n[stimulus]\nsource = "file"\npath = "s.npz"\n'
    files = {"s.npz": sometimes(draw, written.getvalue()), "g.json": _GRAPH_TEXT, "e.toml": text}
    return Case("stream", files, ("run", "e.toml", *LONG))


_ROWS = [
    "[0.5], [1.0]",
    "[1.0], None",
    "{'input': [1]}",
    "{'input': [1], 'label': -7}",
    "['x'], [1]",
    "None",
    "[1]",
]
_ROWS += [
    "[1, 2], [1]",
    "[[1]], [1]",
    "[1e400], [1]",
    "[float('nan')], [1]",
    "[1], [1], 10**30",
    "[1], [1], 1.5",
    "3",
]
_ROWS += [
    "[1j], [1]",
    "[[1], [1, 2]], [1]",
    "[], []",
    "(1.0, 1.0)",
    "{'input': [1], 'x': 1}",
    "[10**400], [1]",
    "'ab'",
]
_ENDS = [
    "pass",
    "raise ValueError('\\x1b[31m')",
    "raise SystemExit(7)",
    "raise StopIteration",
    "1 / 0",
    "return 5",
]
_LOSSES = ["((y - t) ** 2).sum(-1)", "None", "1.0", "y", "(y - t).sum()", "y.sum(-1) * float('nan')", "1 / 0"]
_LOSSES += ["y.sum(-1).int()", "y.sum(-1).detach()", "y.sum(-1).double()", "[1]", "y.sum(-1) + 1j"]


def _function(draw: Draw) -> Case:
    first, later = (
        draw(st.lists(st.sampled_from(_ROWS[:k]), min_size=1, max_size=3)) for k in (2, len(_ROWS))
    )
    body = "".join(f"    yield {row}\n" for row in [*first, *later])
    code = f"def stream():\n{body}    {draw(st.sampled_from(_ENDS))}\n"
    loss = f"def loss(y, t):\n    return {draw(st.sampled_from(_LOSSES))}\n"
    data: dict[str, Any] = {
        "network": {"topology": "g.json"},
        "stimulus": {"source": "python", "path": "s.py"},
    }
    data["stage"] = [{"rows": draw(st.sampled_from([1, 3, 9]))}]
    data["simulation"] = {"engine": draw(st.sampled_from(["batched", "reference"]))}
    if draw(st.booleans()):
        data["loss"] = {"kind": "python", "path": "l.py"}
    files = {"s.py": sometimes(draw, code.encode()), "l.py": loss.encode(), "g.json": _GRAPH_TEXT}
    return Case("stream", {**files, "e.toml": tomli_w.dumps(data).encode()}, ("run", "e.toml", *LONG))


# ---- traces

READERS = [
    ("info", "t.h5"),
    ("analyze", "t.h5"),
    ("analyze", "t.h5", "--json", "--controls", "--oracle", "recurrent"),
    ("analyze", "t.h5", "--oracle", "through_time", "--hardware", "loihi", "--window", "2"),
    ("analyze", "good.h5", "--against", "t.h5"),
    ("diff", "t.h5", "good.h5"),
    ("report", "t.h5", "-o", "p.html"),
    ("report", "t.h5", "good.h5", "-o", "p.html"),
]


@st.composite
def traces(draw: Draw, good: list[bytes], folder: Path) -> Case:
    """Draw a trace of which some bytes, or some datasets, are not as they were."""
    data = draw(st.sampled_from(good))
    altered = mangled(draw, data) if draw(st.booleans()) else _rebuilt(draw, data, folder)
    arguments = draw(st.sampled_from(READERS))
    return Case("trace", {"t.h5": altered, "good.h5": data}, arguments)


def _rebuilt(draw: Draw, data: bytes, folder: Path) -> bytes:
    path = folder / "rebuilt.h5"
    path.write_bytes(data)
    try:
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            for _ in range(draw(st.integers(1, 2))):
                _altered(draw, file, draw(st.sampled_from(names)))
    except OSError:  # that of a run that was killed
        return mangled(draw, data)
    return path.read_bytes()


_STRANGE = ["f8", "f4", "i8", "i1", "u8", "c16", "S5", "?", "f8,i4"]


def _altered(draw: Draw, file: h5py.File, name: str) -> None:
    """Put something else in the place of a dataset or group, or change what it says."""
    old = file.get(name)
    if old is None:
        return
    shape = tuple(old.shape) if isinstance(old, h5py.Dataset) else (3,)
    what = draw(st.integers(0, 9))
    if what <= 2 and isinstance(old, h5py.Dataset) and old.dtype.kind in "iuf" and shape and old.size:
        values = old[()]
        values.flat[draw(st.integers(0, values.size - 1))] = draw(
            st.sampled_from([-7, -1, 0, 2, 100, 2**31 - 1])
        )
        old[...] = values
        return
    if what == 3:
        attribute = draw(st.sampled_from([*file.attrs, "other"]))
        file.attrs[attribute] = draw(
            st.sampled_from([-1, 0, 2**40, 0.5, math.nan, "", "{", "\x1b[2J", "a = 1", "[1]"])
        )
        return
    del file[name]
    if what == 4:
        file[name] = h5py.SoftLink(draw(st.sampled_from(["/node", f"/{name}", "/nowhere"])))
    elif what == 5:
        file[name] = h5py.ExternalLink("good.h5", draw(st.sampled_from([f"/{name}", "/nowhere"])))
    elif what == 6:
        layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
        layout[:] = h5py.VirtualSource("good.h5", name, shape=(3,))
        file.create_virtual_dataset(name, layout)
    elif what == 7:
        file.create_dataset(name, (3,), "u1", external=[("/etc/passwd", 0, 3)])
    elif what == 8:
        other = draw(st.sampled_from([(), (0,), (1,), (2, 2), shape, shape[::-1], (2**40,), (*shape, 1)]))
        grows = (
            {"maxshape": (None, *other[1:]), "chunks": (1,) * len(other)}
            if other and draw(st.booleans())
            else {}
        )
        file.create_dataset(name, other, draw(st.sampled_from(_STRANGE)), **grows)


# ---- the rest: folders of sweeps, prices of hardware, options

_SWEEP: Mapping[str, Any] = {
    "format": "hlsim-sweep",
    "format_version": 1,
    "name": "e",
    "axis": [{"key": "learning.beta", "values": [0.1, 0.2]}, {"key": "seed", "values": [0]}],
    "run": [
        {"trace": "learning.beta=0.1,seed=0.h5", "digest": "0"},
        {"trace": "learning.beta=0.2,seed=0.h5", "digest": "1", "error": "why"},
    ],
}
_HARDWARE: Mapping[str, Any] = {
    "source": "us",
    "message_bits": 8,
    "energy": {"message": 1e-9},
    "time": {"byte": 1.0},
}


@st.composite
def others(draw: Draw, good: list[bytes]) -> Case:
    """Draw the ledger of a sweep, a price list, or options."""
    what = draw(st.sampled_from(["sweep", "hardware", "options"]))
    if what == "options":
        return Case("options", {"t.h5": good[0], "e.toml": _PLAIN, "g.json": _GRAPH_TEXT}, _options(draw))
    data = copy.deepcopy(dict(_SWEEP if what == "sweep" else _HARDWARE))
    for _ in range(draw(st.integers(1, 3))):
        changed(draw, data)
    text = sometimes(draw, tomli_w.dumps(data).encode("utf-8", "surrogatepass"))
    if what == "sweep":
        files = {"s/sweep.toml": text, "s/learning.beta=0.1,seed=0.h5": good[0]}
        return Case("sweep", files, ("report", "s", "-o", "p.html"))
    return Case("hardware", {"h.toml": text, "t.h5": good[0]}, ("analyze", "t.h5", "--hardware", "h.toml"))


_PLAIN = b'[network]\ntopology = "g.json"\n[simulation]\nuntil = 3\n'


def _options(draw: Draw) -> tuple[str, ...]:
    def word() -> str:
        return str(draw(SCALARS)).replace("\0", "?")[:300]

    return draw(
        st.sampled_from(
            [
                ("analyze", "t.h5", "--window", word()),
                ("analyze", "t.h5", "--oracle", word(), "--of", word()),
                ("analyze", "t.h5", "--hardware", word()),
                ("analyze", word()),
                ("info", word()),
                ("diff", "t.h5", "t.h5", "--rtol", word(), "--atol", word()),
                ("diff", "t.h5", "t.h5", "--ignore", word()),
                ("report", "t.h5", "-o", word()),
                ("stability", "--delays", word(), "--etas", word()),
                ("stability", "--delays", "1", "--etas", "1", "--way", word()),
                ("run", "e.toml", "-o", word()),
                ("run", "e.toml", "--seed", word(), "--dtype" if draw(st.booleans()) else "--engine", word()),
                (
                    "sweep",
                    "e.toml",
                    "--grid",
                    f"{word()}={word()}",
                    "--seeds",
                    draw(st.sampled_from(["1", "0", "x"])),
                ),
                (word(), word()),
            ]
        )
    )


def cases(good: list[bytes], folder: Path) -> Mapping[str, st.SearchStrategy[Case]]:
    """Return the strategies by name, given traces that are right and a folder to work in."""
    return {
        "experiments": experiments(),
        "topologies": topologies(),
        "streams": streams(),
        "traces": traces(good, folder),
        "others": others(good),
    }
