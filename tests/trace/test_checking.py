"""What is damaged, and what a stranger made, is told in one line; nothing leads out of the file."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import hlsim
from hlsim import trace
from hlsim.errors import DamageError, TraceError
from hlsim.models.rules import RULES
from hlsim.simulation.faults import Faults
from hlsim.stimulus import Arrays
from hlsim.trace import superblock
from hlsim.trace.checking import Layout

HIDDEN = 40


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A trace with rows, messages, faults, random feedback and more than a thousand synapses."""
    path = tmp_path_factory.mktemp("good") / "t.h5"
    graph = hlsim.topology.layered([2, HIDDEN, HIDDEN, 1], seed=1)
    nodes = list(graph)
    graph.edges[nodes[1], nodes[2]]["feedback"] = "random"
    sim = hlsim.Simulation(
        graph,
        stimulus=Arrays(np.eye(2), np.ones((2, 1)), label=[0, 0]),
        hold=5,
        faults=Faults(loss=0.1),
        experiment='[learning]\nrule = "hamiltonian"\n',
    )
    sim.run(record=path, every=2, events=("message", "update")).close()
    return path.read_bytes()


@pytest.fixture
def path(good: bytes, tmp_path: Path) -> Path:
    file = tmp_path / "t.h5"
    file.write_bytes(good)
    return file


def read_all(file: Path) -> None:
    with trace.open(file) as found:
        for name in found.names():
            found[name]


@pytest.mark.filterwarnings("ignore::hlsim.errors.NumericalWarning")
def test_every_dataset_of_a_run_has_a_rule_that_it_keeps(tmp_path: Path) -> None:
    for rule in RULES:
        for batch, ensemble in ((1, 1), (1, 2), (2, 1)):
            file = tmp_path / "t.h5"
            graph = hlsim.topology.layered([2, 3, 1])
            stimulus = Arrays(np.eye(2), np.ones((2, 1)))
            clock = {"update": "clock", "activation": "softplus"}
            sim = hlsim.Simulation(
                graph,
                rule=RULES[rule](),
                stimulus=stimulus,
                hold=3,
                node_defaults=clock,
                batch=batch,
                ensemble=ensemble,
            )
            sim.run(until=12, record=file, overwrite=True, events=("message", "update")).close()
            read_all(file)
            with trace.open(file) as found:
                assert found.names()
                assert set(found.names()) <= Layout(found.h5, "t.h5", found.attrs).rules.keys()


def test_a_byte_that_changed_is_never_read(path: Path, good: bytes) -> None:
    """Of every dataset one byte, where h5py says that it is stored."""
    with h5py.File(path) as file:
        places = {}
        names: list[str] = []
        file.visit(names.append)
        for name in (name for name in names if isinstance(file[name], h5py.Dataset)):
            dataset = file[name]
            if dataset.chunks and dataset.id.get_num_chunks():
                chunk = dataset.id.get_chunk_info(0)
                places[name] = chunk.byte_offset + chunk.size // 2
            elif dataset.id.get_offset() is not None and dataset.dtype.kind != "O":
                places[name] = dataset.id.get_offset()
    assert {"network/weight0", "sampled/w", "events/value", "rows/loss", "before/phi"} <= places.keys()
    for name, at in places.items():
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with trace.open(path) as found, pytest.raises(DamageError, match=re.escape(name)):
            found[name]


@pytest.mark.parametrize("text", [b"input[0]", b'"hamiltonian"\n', b"float32", b'"multigraph"'])
def test_a_letter_that_changed_is_never_read(text: bytes, path: Path, good: bytes) -> None:
    """Labels, the experiment, an attribute, the graph: wherever they stand in the file."""
    for found in re.finditer(re.escape(text), good):
        at = found.start() + 2
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(TraceError, match=r"^[^\n]*damaged[^\n]*$"):
            read_all(path)


def test_a_trace_that_is_cut_is_told_at_once(path: Path, good: bytes) -> None:
    """In SWMR mode, as which it is marked, HDF5 would wait for a writer for ever."""
    head = bytearray(good[: superblock.SIZE - 4])
    head[superblock.FLAGS] = 5
    marked = bytes(head) + superblock.checksum(bytes(head)).to_bytes(4, "little") + good[superblock.SIZE :]
    path.write_bytes(marked)
    read_all(path)
    for share in (0.01, 0.2, 0.5, 0.8):
        for data in (marked, good):
            path.write_bytes(data[: int(share * len(good))])
            began = time.monotonic()
            with pytest.raises(TraceError, match=r"t\.h5: cannot be read, it is damaged: "):
                read_all(path)
            assert time.monotonic() - began < 5
            assert path.read_bytes() == data[: int(share * len(good))]  # nor is it mended


def soft(file: h5py.File) -> None:
    file["network/weight0"] = h5py.SoftLink("/network/beta")


def external(file: h5py.File) -> None:
    file["network/weight0"] = h5py.ExternalLink("other.h5", "/network/weight0")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "network/weight0", shape=(3,))
    file.create_virtual_dataset("network/weight0", layout)


def stored(file: h5py.File) -> None:
    file.create_dataset("network/weight0", (3,), "u1", external=[("/etc/passwd", 0, 3)])


def circle(file: h5py.File) -> None:
    file["network/weight0"] = file["network"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (soft, "network/weight0 must be in the file itself, got 'a soft link to /network/beta'"),
        (external, "network/weight0 must be in the file itself, got 'an external link to /network/weight0'"),
        (virtual, "network/weight0 must be in the file itself, got 'a virtual dataset'"),
        (stored, "network/weight0 must be in the file itself, got 'external storage'"),
        (circle, "must be a dataset or a group, got 'group'"),
    ],
)
def test_nothing_leads_out_of_a_trace(make: Callable[[h5py.File], None], message: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["network/weight0"]
        make(file)
    with pytest.raises(DamageError, match=re.escape(message)):
        trace.open(path)


def edges(file: h5py.File) -> int:
    return int(file["edge"].shape[0])


@pytest.mark.parametrize(
    ("name", "put", "message"),
    [
        ("network/source", None, "must have a dataset 'network/source', it has none"),
        ("rows", None, "must have a dataset 'rows/"),
        ("network/source", np.zeros(3, int), "network/source must have shape ("),
        ("network/target", np.zeros(3), "network/target must be whole numbers, got dtype('<f8')"),
        ("network/model", np.zeros(3), "network/model must be text, got dtype('<f8')"),
        ("before/phi", np.zeros(2), "before/phi must have shape (), got (2,)"),
        ("rows/loss", np.zeros(2), "rows/loss must grow along an axis of /rows, got None"),
        ("network/beta", np.zeros(3, "f8,i4"), "network/beta must be numbers or text, got dtype"),
    ],
)
def test_what_is_not_of_its_form_is_named(
    name: str, put: np.ndarray | None, message: str, path: Path
) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        if put is not None:
            file[name] = put
    with pytest.raises(DamageError, match=re.escape(f"{path}: {message}")):
        trace.open(path)


def test_what_a_file_cannot_hold_is_refused_before_memory_is_taken(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["network/graph"]
        file.create_dataset("network/graph", (2**40,), "f8", chunks=(2**20,), compression="gzip")
    with pytest.raises(
        DamageError, match=r"network/graph must have at most \d+ bytes in a file of this size"
    ):
        trace.open(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("network/source", 10**6, "network/source must be < 83, got 1000000"),
        ("network/source", -2, "network/source must be >= -1, got -2"),
        ("events/kind", 3, "events/kind must be < 3, got 3"),
        ("events/tick", 2**40, "events/tick must be < 10, got 1099511627776"),
        ("events/tick", 9, "events/tick must not go back, after 9, got 0"),
        ("network/delay", -1, "network/delay must be >= 0, got -1"),
        ("controls/learn", 2, "controls/learn must be < 2, got 2"),
    ],
)
def test_a_value_out_of_its_bounds_is_named(name: str, value: int, message: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file[name][0] = value
    with trace.open(path) as found, pytest.raises(DamageError, match=re.escape(f"{path}: {message}")):
        found[name]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("status", "done", "attribute 'status' must be one of running, complete, interrupted, got 'done'"),
        ("summary", "[1]", "attribute 'summary' must be a JSON object, got '[1]'"),
        ("summary", "[" * 10**4, "attribute 'summary' must be a JSON object, got '[[["),
        (
            "summary",
            json.dumps({"ticks": -1}),
            "attribute 'summary': ticks must be a whole number >= 0, got -1",
        ),
        ("until", 0, "attribute 'until' must be a whole number >= 1, got 0"),
        ("dt", np.nan, "attribute 'dt' must be > 0, got nan"),
        ("seed", 0.5, "attribute 'seed' must be a whole number >= 0, got 0.5"),
        (
            "dtype",
            "int8",
            "attribute 'dtype' must be one of float32, float64, complex64, complex128, got 'int8'",
        ),
        ("experiment", 3, "attribute 'experiment' must be text, got 3"),
        ("experiment", "x = 1", "its attributes are damaged: "),
    ],
)
def test_an_attribute_that_is_not_its_own_is_named(
    name: str, value: object, message: str, path: Path
) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
        if "damaged" not in message:
            del file.attrs["crc32"]
    with pytest.raises(DamageError, match=re.escape(f"{path}: {message}")), trace.open(path) as found:
        assert found.summary


def test_a_pipe_is_no_trace_and_is_not_waited_for(tmp_path: Path) -> None:
    os = pytest.importorskip("os")
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names on this system")
    os.mkfifo(tmp_path / "t.h5")
    with pytest.raises(TraceError, match=r"t\.h5: is no file$"):
        trace.open(tmp_path / "t.h5")
