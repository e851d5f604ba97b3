"""What is recorded, when, and in which order; what it is of, in memory or in a file."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlsim
from hlsim import trace
from hlsim.errors import TraceError
from hlsim.trace import layout
from hlsim.trace import recorder as recording
from tests.support.traces import NETWORK, SAMPLED, check_recorded, record, recorder, values

# ---- in memory


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


@pytest.mark.parametrize("chunk", [7, 58, 59, 32768])
def test_a_trace_in_memory_is_laid_out_when_a_chunk_is_full_or_somebody_looks(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest table has 58 rows: an update a tick, and two messages that arrive at the next."""
    made: list[str] = []
    begin = h5py.File.__init__

    def noted(file: h5py.File, *arguments: Any, **options: Any) -> None:
        made.extend([options["driver"]] if options.get("driver") else [])
        begin(file, *arguments, **options)

    monkeypatch.setattr(h5py.File, "__init__", noted)
    with recorder(
        None, events=("message", "update"), every={"default": 1, "w": 3, "omega": 3}, chunk=chunk
    ) as rec:
        record(rec, 0, 20)
    assert made == (["core"] if chunk <= 58 else [])
    with rec.trace() as read:
        check_recorded(read, 20)
        assert len(read["events/tick"]) == 58
    assert made == ["core"]


@pytest.mark.parametrize("sampled", [(), ("h", "w")])
def test_a_trace_in_memory_that_is_looked_at_late_is_that_of_its_own_run(
    sampled: tuple[str, ...], tmp_path: Path
) -> None:
    """It is made only now, when the simulation has gone on, and messages that were under way have arrived."""

    def simulation() -> hlsim.Simulation:
        graph = hlsim.topology.layered([2, 3, 1], delay=2, bias=0.5)
        return hlsim.Simulation(graph, loss=None, experiment="a = 1")

    first = simulation()
    late = first.run(until=50, sampled=sampled, events=("message",))
    first.run(until=100, every=1)
    at_once = simulation().run(until=50, sampled=sampled, events=("message",), record=tmp_path / "t.h5")
    assert late.names() == at_once.names()
    for name in late.names():
        np.testing.assert_array_equal(late[name], at_once[name], err_msg=name)
    own = ("start", "end", "summary")
    assert [late.attrs[k] for k in late.attrs if k not in own] == [
        at_once.attrs[k] for k in at_once.attrs if k not in own
    ]
    assert late.summary | {"wall_s": 0} == at_once.summary | {"wall_s": 0}
    assert late.attrs["start"] <= late.attrs["end"] <= at_once.attrs["start"]


def test_traffic_is_counted_from_group_to_group() -> None:
    with recorder(None) as rec:
        pairs = layout.group_pairs(NETWORK)[0].size
        rec.traffic(10 + np.arange(pairs), 20 + np.arange(pairs))
    with rec.trace() as read:
        tree, joined = read.tree()["network"], set()
        assert tree.group_name.values.tolist() == ["a", "b", "in"]
        for source, target in zip(NETWORK.source, NETWORK.target, strict=True):
            if source >= 0:
                ends = NETWORK.group[source], NETWORK.group[target]
                joined |= {ends, ends[::-1]}
        names = (tree.group_name.values[tree[f"traffic_{end}"].values].tolist() for end in ("from", "to"))
        assert [*zip(*names, strict=True)] == sorted(joined)
        assert tree.traffic_state.values.tolist() == [10 + i for i in range(len(joined))]
        assert tree.traffic_costate.values.tolist() == [20 + i for i in range(len(joined))]


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
