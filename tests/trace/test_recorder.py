"""A trace gives back what was recorded, whoever reads it, whenever it is read, however the run ended."""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import matplotlib.pyplot
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import hlsim
from hlsim import trace
from hlsim.errors import TraceError
from hlsim.stimulus import Digits
from hlsim.topology.network import Network
from hlsim.trace import Recorder, tables
from hlsim.trace import recorder as recording
from tests.support.places import ROOT
from tests.support.traces import (
    NETWORK,
    NEURONAL,
    SAMPLED,
    SYNAPTIC,
    check_recorded,
    network,
    record,
    recorder,
    shape,
    values,
)

# ---- round trips


@dataclass
class Run:
    """A random run: what to record, and how."""

    n: int
    m: int
    replicas: int
    shared: bool
    dtype: str
    every: dict[str, int]
    sampled: tuple[str, ...]
    chunk: int
    ticks: int
    seed: int
    wrote: dict[str, list[Any]] = field(default_factory=dict)

    def network(self) -> Network:
        return network(self.n, self.m, 1 if self.shared else self.replicas)

    def rate(self, name: str) -> int:
        return self.every.get(name, self.every["default"])

    def keep(self, name: str, value: Any) -> None:
        self.wrote.setdefault(name, []).append(value)

    def write(self, path: Path) -> None:
        """Record random numbers, and keep what they were."""
        rng = np.random.default_rng(self.seed)
        net, p = self.network(), self.replicas
        with Recorder(
            path,
            header={"dtype": self.dtype},
            network=net,
            replicas=p,
            every=self.every,
            sampled=self.sampled,
            chunk=self.chunk,
        ) as rec:
            for tick in range(self.ticks):
                row = {name: self.draw(rng, name, shape(name, net, p)) for name in rec.due(tick)}
                if row:
                    rec.sample(tick, row)
                for name, value in row.items():
                    self.keep(f"sampled/{name}", value)
                shown, target = (
                    rng.normal(size=(p, 1)),
                    rng.normal(size=(p, 1)) if rng.random() < 0.5 else None,
                )
                rec.stimulus(tick, shown, target)
                self.keep("stimulus/input", shown)
                self.keep("stimulus/target", np.full((p, 1), np.nan) if target is None else target)
                label, split = rng.integers(-1, 9, p), rng.choice(["train", "prüfen"])
                rec.row(tick, split, label, -label, row.get("loss", np.zeros(p)))
                self.keep("rows/label", label)
                self.keep("rows/split", split)

    def draw(self, rng: np.random.Generator, name: str, size: tuple[int, ...]) -> np.ndarray:
        value = rng.normal(size=size)
        if name in NEURONAL and self.dtype.startswith("complex"):
            return value + 1j * rng.normal(size=size)
        return value

    def expected(self, name: str) -> np.ndarray:
        """What was recorded, in the dtype of the file and without an axis for a single replica."""
        array = np.array(self.wrote[name])
        of = name.partition("/")[2]
        if of not in ("split", "label"):
            dtype = np.dtype(self.dtype)
            array = array.astype(dtype if of in NEURONAL else np.empty(0, dtype).real.dtype)
        if of != "split" and (self.replicas == 1 or (of in SYNAPTIC and self.shared)):
            array = array[:, 0]
        return array


RUNS = st.builds(
    Run,
    n=st.integers(2, 5),
    m=st.integers(0, 6),
    replicas=st.sampled_from([1, 3]),
    shared=st.booleans(),
    dtype=st.sampled_from(["float32", "float64", "complex64", "complex128"]),
    every=st.fixed_dictionaries({"default": st.integers(1, 3)}, optional={"w": st.integers(1, 4)}),
    sampled=st.sets(st.sampled_from(SAMPLED)).map(tuple),
    chunk=st.integers(1, 12),
    ticks=st.integers(1, 20),
    seed=st.integers(0, 99),
)


# xarray takes a third of a second to open a trace
FEW = settings(max_examples=settings().max_examples // 2)


@FEW
@given(run=RUNS)
def test_every_reader_gets_what_was_recorded(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("trace") / "t.h5"
    run.write(path)
    with h5py.File(path) as plain, trace.open(path) as ours, ours.tree() as tree:
        for name in run.wrote:
            expected = run.expected(name)
            stored = plain[name].asstr()[:] if name == "rows/split" else plain[name][:]
            assert name == "rows/split" or stored.dtype == expected.dtype
            for found in (stored, tree[name].to_numpy(), ours[name]):
                np.testing.assert_array_equal(found, expected)
        check_dimensions(run, tree)


def check_dimensions(run: Run, tree: xr.DataTree) -> None:
    """Check that xarray finds the dimensions and the coordinates."""
    net = run.network()
    many = ("replica",) if run.replicas > 1 else ()
    # the axis "tick" belongs to the first that is sampled; others of its rate share it
    rate = next((run.rate(name) for name in SAMPLED if name in run.sampled), 0)
    for name in run.sampled:
        axis = "tick" if run.rate(name) == rate else f"tick_{run.rate(name)}"
        over = ("node",) if name in NEURONAL else ("edge",) if name in SYNAPTIC else ()
        own = () if name in SYNAPTIC and run.shared else many
        found = tree[f"sampled/{name}"]
        assert found.dims == (axis, *own, *over)
        assert found[axis].to_numpy().tolist() == list(range(0, run.ticks, run.rate(name)))
        if "node" in over:
            assert found.node.to_numpy().tolist() == list(net.label)
        if "edge" in over:
            assert found.edge.to_numpy().tolist() == list(range(net.m))
    assert tree["stimulus/input"].dims == ("tick", *many, "input_node")
    assert tree["stimulus/target"].output_node.to_numpy().tolist() == [net.label[-1]]
    assert tree["rows/label"].dims == ("row", *many)
    assert tree["events/tick"].dims == ("event",)


def test_xarray_opens_a_trace_unaided(tmp_path: Path) -> None:
    with recorder(tmp_path / "t.h5", every=1) as rec:
        record(rec, 0, 5)
    with xr.open_datatree(tmp_path / "t.h5", engine="h5netcdf") as tree:
        assert tree["sampled/h"].sel(node="n[2]", tick=3).item() == 3 + 2 / 1024
        assert tree["rows/split"].to_numpy().tolist() == ["train"] * 5


@pytest.mark.parametrize("path", [None, "t.h5"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_the_network_is_in_the_trace(path, replicas: int, tmp_path: Path) -> None:
    net = network(5, 9, replicas)
    with recorder(path and tmp_path / path, net, replicas=replicas) as rec:
        pass
    with rec.trace() as read:
        assert read.network["node_label"].tolist() == list(net.label)
        for name in ("group", "model", "activation"):
            assert read.network[name].tolist() == list(getattr(net, name))
        for name in (
            "source",
            "target",
            "delay",
            "feedback_delay",
            "plastic",
            "feedback",
            "beta",
            "clock",
            "rank",
        ):
            np.testing.assert_array_equal(read.network[name], getattr(net, name))
        weight, feedback = (
            (net.weight, net.feedback_weight) if replicas > 1 else (net.weight[0], net.feedback_weight[0])
        )
        np.testing.assert_array_equal(read.network["weight0"], weight)
        np.testing.assert_array_equal(read.network["feedback_weight"], feedback)
        np.testing.assert_array_equal(read.network["inputs"], net.inputs)
        np.testing.assert_array_equal(read.network["parameters/tau"], net.parameters["tau"])
        assert json.loads(str(read.network["graph"])) == json.loads(net.graph)


def test_a_trace_in_memory_touches_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rec = recorder(None, events=("message", "update"), every={"default": 1, "w": 3, "omega": 3})
    with rec:
        record(rec, 0, 20)
    with rec.trace() as read:
        check_recorded(read, 20)
        np.testing.assert_array_equal(read.tree()["sampled/h"].to_numpy(), read["sampled/h"])
        assert read.path is None
    assert list(tmp_path.iterdir()) == []


def test_a_trace_in_memory_that_is_looked_at_late_is_that_of_its_own_run(tmp_path: Path) -> None:
    """Nothing is recorded in it, so that it is made only now."""

    def simulation() -> hlsim.Simulation:
        graph = hlsim.topology.layered([2, 3, 1], delay=2, bias=0.5)
        return hlsim.Simulation(graph, loss=None, experiment="a = 1")

    first = simulation()
    late = first.run(until=50, sampled=())
    first.run(until=100, every=1)
    at_once = simulation().run(until=50, sampled=(), record=tmp_path / "t.h5")
    assert late.names() == at_once.names()
    for name in late.names():
        np.testing.assert_array_equal(late[name], at_once[name], err_msg=name)
    own = ("start", "end", "summary")
    assert [late.attrs[k] for k in late.attrs if k not in own] == [
        at_once.attrs[k] for k in at_once.attrs if k not in own
    ]
    assert late.summary | {"wall_s": 0} == at_once.summary | {"wall_s": 0}
    assert late.attrs["start"] <= late.attrs["end"] <= at_once.attrs["start"]


def test_attributes_tell_where_a_run_comes_from(tmp_path: Path) -> None:
    header = {"experiment": "[simulation]\nseed = 3\n", "seed": 3, "dt": 0.5, "device": "cpu", "reset": True}
    summary = {"loss": np.float32(0.5), "accuracy": {"test": 0.25}, "ticks": np.arange(2), "nothing": None}
    with recorder(tmp_path / "t.h5", header=header | {"none": None, "list": [1, 2]}) as rec:
        rec.finish("complete", summary)
    with rec.trace() as read, h5py.File(tmp_path / "t.h5") as plain:
        for attrs in (read.attrs, plain.attrs, read.tree().attrs):
            assert {name: attrs[name] for name in header} == header
            assert (attrs["format"], attrs["format_version"]) == ("hlsim-trace", 1)
            assert attrs["list"] == "[1, 2]"
            assert "none" not in attrs
        assert plain.attrs["status"] == b"complete"
        for attrs in (read.attrs, read.tree().attrs):
            assert attrs["status"] == "complete"
            assert attrs["start"] <= attrs["end"]
            assert json.loads(attrs["summary"]) == read.summary
        assert read.summary == {"loss": 0.5, "accuracy": {"test": 0.25}, "ticks": [0, 1], "nothing": None}


def test_traffic_is_counted_from_group_to_group() -> None:
    with recorder(None) as rec:
        assert rec.group_name == ("a", "b", "in")
        rec.traffic(np.arange(9).reshape(3, 3), np.eye(3, dtype=int))
    with rec.trace() as read:
        found = read.tree()["network"]["traffic_state"].sel(group_name="in", to_group_name="b")
        assert found.item() == 7
        np.testing.assert_array_equal(read["network/traffic_costate"], np.eye(3))


def test_hdf5_1_10_can_read_a_trace(tmp_path: Path) -> None:
    """Newer HDF5 writes newer versions of datatypes if it is let; version 3 is the last that 1.10 knows."""
    with recorder(tmp_path / "t.h5", header={"dtype": "complex64"}):
        pass
    with h5py.File(tmp_path / "t.h5") as file:
        versions = set()
        # an encoded datatype: two bytes of encoding, then class and version in four bits each
        file.visititems(
            lambda _, item: (
                versions.add(item.id.get_type().encode()[2] >> 4) if hasattr(item, "dtype") else None
            )
        )
        assert max(versions) <= 3
    assert (tmp_path / "t.h5").read_bytes()[8] == 3  # the superblock


def test_h5web_is_told_what_to_plot() -> None:
    """NXdata as NeXus has it: the signal is there, with one axis a dimension, of its length."""
    with recorder(None, replicas=2) as rec:
        rec.sample(0, values(rec, 0, replicas=2))
    with rec.trace() as read:
        assert read.h5[read.attrs["default"]].attrs["NX_class"] == "NXdata"
        groups = [group for group in read.h5.values() if "signal" in group.attrs]
        assert len(groups) == 7
        for group in groups:
            signal, axes = group[group.attrs["signal"]], group.attrs["axes"]
            assert len(axes) == signal.ndim
            for axis, size in zip(axes, signal.shape, strict=True):
                assert axis == "." or group[axis].shape == (size,)


# ---- sampling


@given(
    every=st.dictionaries(st.sampled_from(["default", *SAMPLED]), st.integers(1, 12)),
    sampled=st.sets(st.sampled_from(SAMPLED)),
    tick=st.integers(0, 500),
)
def test_next_is_the_first_tick_at_which_something_is_due(every, sampled, tick: int) -> None:
    rec = recorder(None, every=every, sampled=sampled)
    rate = {name: every.get(name, every.get("default", 10)) for name in SAMPLED if name in sampled}
    assert rec.due(tick) == tuple(name for name in rate if tick % rate[name] == 0)
    later = [t for t in range(tick + 1, tick + 13) if any(t % r == 0 for r in rate.values())]
    assert rec.next(tick) == (later[0] if later else recording.NEVER)
    rec.finish()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampled": ["h", "v"]}, "record: unknown sampled value 'v'; known: a, h, loss, omega, w, z"),
        ({"every": {"v": 3}}, "record: unknown sampled value 'v'"),
        ({"every": 0}, "record: every default must be a whole number of ticks >= 1, got 0"),
        ({"every": {"w": 1.5}}, "record: every w must be a whole number of ticks >= 1, got 1.5"),
        (
            {"events": ["messages"]},
            "record: unknown event 'messages' (did you mean 'message'?); known: message, upd",
        ),
    ],
)
def test_what_cannot_be_recorded_is_one_line(options, message: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=re.escape(message)):
        recorder(tmp_path / "t.h5", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_sample_that_does_not_fit_is_refused() -> None:
    with recorder(None, every={"default": 1, "w": 2}) as rec:
        whole = values(rec, 0)
        for change, message in (
            ({"h": None}, "sample at tick 0: h must be there too"),
            ({"h": whole["h"][0]}, "h: must have replicas as its first axis, 1, got shape (4,)"),
            ({"h": whole["h"][:, :3]}, "h: must have shape (4,), got (3,)"),
            ({"h": 1j * whole["h"]}, "h: values must fit dtype float64, got complex128"),
            ({"w": whole["w"][:, :0]}, "w: must have shape (6,), got (0,)"),
        ):
            row = {name: value for name, value in (whole | change).items() if value is not None}
            with pytest.raises(TraceError, match=re.escape(message)):
                rec.sample(0, row)
        with pytest.raises(TraceError, match=r"name 'x{65}': must have at most 64 bytes, got 65"):
            rec.row(0, "x" * 65, [0], [0], [0])


@given(
    rows=st.integers(1, 100_000),
    shape=st.lists(st.sampled_from([0, 1, 2, 30, 1000, 70_000, 10**6]), max_size=2).map(tuple),
)
def test_chunks_are_as_large_as_agreed(rows: int, shape: tuple[int, ...]) -> None:
    rows = tables.chunk_rows([shape, ()], rows)
    sizes = tuple(max(1, size) for size in shape)
    chunk = tables.chunk_shape(rows, shape)
    assert all(1 <= part <= size for part, size in zip(chunk[1:], sizes, strict=True))
    assert math.prod(chunk) <= max(tables.CHUNK_VALUES, rows)
    # cut across only where a single row does not fit
    assert chunk[1:] == sizes or rows == 1 or 0 in shape


# ---- events

MESSAGES = st.tuples(
    st.just("message"), st.integers(0, 6), st.integers(0, 1), st.integers(0, 5), st.integers(0, 1)
)
UPDATES = st.tuples(st.just("update"), st.integers(0, 3), st.integers(0, 1))
DROPS = st.tuples(st.just("drop"))
TICKS = st.lists(st.lists(MESSAGES | UPDATES | DROPS, max_size=4), max_size=20)


@given(ticks=TICKS, chunk=st.integers(1, 8), seed=st.integers(0, 9))
def test_events_are_those_that_arrived_in_order_of_tick(ticks, chunk: int, seed: int) -> None:
    """Against a list that is filtered at every drop and sorted at the end."""
    kept: list[tuple[int, ...]] = []
    with recorder(None, replicas=2, sampled=(), events=("message", "update"), chunk=chunk) as rec:
        for now, calls in enumerate(ticks):
            for what, *numbers in calls:
                if what == "drop":
                    rec.dropped(now)
                    kept = [event for event in kept if event[0] < now]
                elif what == "update":
                    node, replica = numbers
                    rec.update(now, [node], [replica])
                    kept.append((now, 2, -1, node, replica, -1))
                else:
                    delay, kind, edge, replica = numbers
                    rec.message(kind, [now + delay], [edge], [0.5], now, replica)
                    node = (NETWORK.source if kind else NETWORK.target)[edge]
                    kept.append((now + delay, kind, edge, node, replica, now))
            rec.now(now)
    arrived = sorted(event for event in kept if event[0] < len(ticks))
    with rec.trace() as read:
        names = ("tick", "kind", "edge", "node", "replica", "sent")
        found = list(zip(*(read[f"events/{name}"].tolist() for name in names), strict=True))
        # two messages of one tick on one edge stand in the order in which they were sent, not sorted by it
        assert found == sorted(arrived, key=lambda event: event[:5]) or sorted(found) == arrived
        assert [event[:5] for event in found] == [event[:5] for event in arrived]
        value = read["events/value"]
        assert all(np.isnan(v) if event[1] == 2 else v == 0.5 for v, event in zip(value, found, strict=True))


def test_events_do_not_depend_on_the_order_in_which_a_tick_is_told() -> None:
    def told(order: list[int]) -> dict[str, list]:
        with recorder(None, sampled=(), events=("message",)) as rec:
            for edge in order:
                rec.message(0, 3, [edge], [edge / 8], 1)
            rec.now(3)
        with rec.trace() as read:
            return {name: read[f"events/{name}"].tolist() for name in ("tick", "edge", "value")}

    assert told([0, 1, 2, 3]) == told([2, 3, 1, 0])


def test_only_events_that_were_asked_for_are_kept() -> None:
    for events, kinds in (((), []), (("message",), [0]), (("update",), [2])):
        with recorder(None, sampled=(), events=events) as rec:
            rec.message(0, 0, [1], [1.0], 0)
            rec.update(0, [1])
            rec.now(0)
        with rec.trace() as read:
            assert read["events/kind"].tolist() == kinds


def test_values_are_copied_when_they_are_told() -> None:
    """An engine may go on to change the arrays that it passes."""
    with recorder(None, every=1, sampled=("h",), events=("message",)) as rec:
        h, value = np.ones((1, NETWORK.n)), np.ones(1)
        rec.sample(0, {"h": h})
        rec.message(0, 0, [1], value, 0)
        h[:], value[:] = 5, 5
        rec.now(0)
    with rec.trace() as read:
        assert read["sampled/h"].max() == 1
        assert read["events/value"].tolist() == [1]


def test_events_reach_the_file_where_only_samples_tell_the_tick(tmp_path: Path) -> None:
    with recorder(tmp_path / "t.h5", every=1, sampled=("loss",), events=("message",)) as rec:
        for tick in range(5):
            rec.message(0, tick + 1, [1], [0.5], tick)
            rec.sample(tick, values(rec, tick))
        rec.flush()
        with trace.open(tmp_path / "t.h5") as read:
            assert read["events/tick"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("what", ["message", "lost", "update"])
def test_whatever_an_engine_tells_of_a_tick_says_that_those_before_are_over(
    tmp_path: Path, what: str
) -> None:
    with recorder(tmp_path / "t.h5", sampled=(), events=("message", "update")) as rec:
        rec.message(0, np.arange(1, 9), np.zeros(8, int), np.zeros(8), 0)
        tell = {
            "message": lambda: rec.message(0, 9, [1], [0.5], 5),
            "lost": lambda: rec.lost(0, [1], [0.5], 5, 0),
            "update": lambda: rec.update(5, [1]),
        }
        tell[what]()
        rec.flush()
        with trace.open(tmp_path / "t.h5") as read:
            assert read["events/tick"].tolist() == [1, 2, 3, 4]


def test_events_in_flight_do_not_pile_up() -> None:
    """What is kept in memory grows with what is under way, not with the run."""
    with recorder(None, sampled=(), events=("message",), chunk=100) as rec:
        for tick in range(2000):
            rec.message(0, tick + np.arange(10), np.zeros(10, int), np.zeros(10), tick)
            rec.now(tick)
            assert len(rec._pending) <= 300


# ---- reading


def test_a_dataset_that_is_not_there_is_named_with_the_others() -> None:
    with recorder(None) as rec:
        pass
    with rec.trace() as read:
        assert "sampled/h" in read
        assert "sampled/v" not in read
        assert "sampled" not in read
        with pytest.raises(
            TraceError, match=r"trace in memory: unknown dataset 'sampled/hh' .*sampled/h'.*, sampled/z"
        ):
            read["sampled/hh"]
        with pytest.raises(TraceError, match="network/source has no ticks along its first dimension"):
            read.ticks("network/source")
        with pytest.raises(TraceError, match="rows/label has no ticks along its first dimension"):
            read.ticks("rows/label")


# ---- the page about traces

PAGE = (ROOT / "docs" / "trace.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sim = hlsim.Simulation(hlsim.topology.layered([64, 4, 10]), stimulus=Digits(), hold=4)
    sim.run(until=40, record="digits.h5").close()
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    for text in examples:
        exec(compile(text, "trace.md", "exec"), {})
    with trace.open("mine.h5") as read:
        assert read["sampled/h"].shape == (20, 6)
    matplotlib.pyplot.close("all")


def test_the_page_names_everything_that_is_in_a_trace(tmp_path: Path) -> None:
    with recorder(tmp_path / "t.h5", every={"default": 1, "w": 3}, replicas=2):
        pass
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", prose))))
    with trace.open(tmp_path / "t.h5") as read:
        last = {name.rpartition("/")[2] for name in read.names()} - {"tick_3"}
        assert last | read.attrs.keys() - {"NX_class", "default"} <= told
