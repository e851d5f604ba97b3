"""What is read out of traces, against numbers worked out by hand and arrays of the trace itself."""

from collections.abc import Iterator

import networkx as nx
import numpy as np
import pytest
import xarray as xr

from hlsim import Simulation, analysis, experiment
from hlsim.analysis import messages
from hlsim.stimulus import Arrays
from hlsim.topology.network import flatten
from hlsim.trace import Recorder, Trace
from tests.support import experiments

# The chain runs against the alphabet, so that groups by name and groups by position differ.
CHAIN = nx.DiGraph()
CHAIN.add_node("a", model="input", role="input", group="zone in")
CHAIN.add_node("b", group="middle")
CHAIN.add_node("c", group="middle")
CHAIN.add_node("d", group="arena", role="output")
CHAIN.add_edges_from([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "b")], weight=0.5, delay=1)


# Kind and tick of arrival of messages and updates.
ARRIVED = [(0, 0), (0, 1), (0, 1), (0, 2), (0, 15), (1, 3), (1, 3), (1, 14), (2, 3)]
TRAFFIC = np.arange(9).reshape(3, 3)


def recorder(replicas: int = 1, batch: int = 1) -> Recorder:
    """Replicas have weights of their own, but for those of a batch."""
    network, count = flatten(CHAIN, seeds=range(replicas)), replicas * batch
    return Recorder(None, header={}, network=network, replicas=count, events=("message", "update"))


@pytest.fixture
def by_hand() -> Iterator[Trace]:
    """Two stages of five and three rows; a row lasts two ticks. The first stage has a row without a label."""
    rec = recorder()
    label, told = [0, 1, 0, 1, -1, 0, 1, 0], [0, 1, 1, 1, -1, 0, 0, 0]
    for row, (truth, guess) in enumerate(zip(label, told, strict=True)):
        rec.row(2 * row + 1, "train" if row < 5 else "test", [truth], [guess], [float(row)])
    for kind, tick in ARRIVED:
        if kind == 2:
            rec.update(tick, [1])
        else:
            rec.message(kind, tick, [2], [1.0], tick)
    rec.traffic(TRAFFIC, 10 * TRAFFIC)
    rec.now(15)
    told_at_end = {"ticks": 16, "state_messages": 5, "costate_messages": 3, "loss": 0.5, "wall_s": 2.0}
    rec.finish("complete", told_at_end)
    with rec.trace() as trace:
        yield trace


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    folder = experiments.write(tmp_path_factory.mktemp("runs") / "tiny")
    with experiment.load(folder).run() as trace:
        yield trace


def empty() -> Trace:
    rec = recorder()
    rec.finish()
    return rec.trace()


# ---- learning curve and accuracy


def test_windows_of_the_learning_curve_stay_within_their_stage(by_hand: Trace) -> None:
    curve = analysis.learning_curve(by_hand, window=2)
    assert curve.stage.values.tolist() == ["train", "train", "train", "test", "test"]
    assert curve.rows.values.tolist() == [2, 2, 1, 2, 1]
    assert curve.tick.values.tolist() == [3, 7, 9, 13, 15]
    np.testing.assert_array_equal(curve.loss[:, 0], [0.5, 2.5, 4.0, 5.5, 7.0])
    np.testing.assert_array_equal(curve.accuracy[:, 0], [1.0, 0.5, np.nan, 0.5, 1.0])


def test_a_window_is_a_twentieth_of_the_longest_stage() -> None:
    rec = recorder()
    for row in range(60):
        rec.row(row, "train" if row < 45 else "test", [0], [0], [1.0])
    rec.finish()
    assert set(analysis.learning_curve(rec.trace()).rows.values) == {2, 1}


def test_a_stage_that_comes_back_is_a_part_of_its_own() -> None:
    rec = recorder()
    for row, stage in enumerate(["train", "test", "train"]):
        rec.row(row, stage, [0], [0], [float(row)])
    rec.finish()
    assert analysis.learning_curve(rec.trace(), window=10).loss.values.tolist() == [[0.0], [1.0], [2.0]]


def test_accuracy_counts_the_rows_with_a_label(by_hand: Trace) -> None:
    found = analysis.accuracy(by_hand)
    train, test = found.sel(stage="train", replica=0), found.sel(stage="test", replica=0)
    assert (train.accuracy.item(), train.rows.item()) == (3 / 4, 4)
    assert (test.accuracy.item(), test.rows.item()) == (2 / 3, 3)
    assert train.standard_error.item() == pytest.approx(np.sqrt(0.75 * 0.25 / 4))


def test_the_standard_error_is_the_spread_of_repeated_experiments() -> None:
    """Of 200 replicas that guess right with probability 0.7 on 50 rows, independently."""
    replicas, rows = 200, 50
    right = np.random.default_rng(0).random((rows, replicas)) < 0.7
    rec = recorder(replicas)
    for row in range(rows):
        rec.row(row, "test", np.ones(replicas, int), right[row].astype(int), np.zeros(replicas))
    rec.finish()
    found = analysis.accuracy(rec.trace()).sel(stage="test")
    np.testing.assert_allclose(found.accuracy, right.mean(0))
    assert found.accuracy.std().item() == pytest.approx(found.standard_error.mean().item(), rel=0.1)


def test_rows_of_a_minibatch_count_together_and_those_without_a_prediction_do_not_count() -> None:
    """A row whose outputs were never free has a label and no prediction."""
    rec = recorder(batch=4)
    rec.row(0, "train", [0, 1, 0, 1], [-1, -1, -1, -1], [np.nan] * 4)
    rec.row(1, "test", [0, 1, 0, 1], [0, 1, 1, 1], [0.0] * 4)
    rec.row(2, "test", [0, 1, -1, -1], [1, 1, -1, -1], [0.0] * 4)
    rec.finish()
    found = analysis.accuracy(rec.trace())
    assert found.accuracy.sel(stage="test").values.tolist() == [4 / 6]
    assert found.rows.values.tolist() == [[0], [6]]
    assert np.isnan(found.accuracy.sel(stage="train")).all()


def test_replicas_keep_a_curve_each() -> None:
    rec = recorder(replicas=3)
    for row in range(4):
        rec.row(row, "train", [0, 0, 1], [0, 1, 1], [0.0, 1.0, float(row)])
    rec.finish()
    curve = analysis.learning_curve(rec.trace(), window=4)
    assert curve.loss.values.tolist() == [[0.0, 1.0, 1.5]]
    assert curve.accuracy.values.tolist() == [[1.0, 0.0, 1.0]]


# ---- messages


def test_message_rates_count_arrivals_per_tick(by_hand: Trace) -> None:
    rate = analysis.message_rates(by_hand, bins=4)
    assert rate.kind.values.tolist() == ["state", "costate", "update"]
    assert rate.tick.values.tolist() == [0, 4, 8, 12]
    assert rate.sel(kind="state").values.tolist() == [4 / 4, 0, 0, 1 / 4]
    assert rate.sel(kind="costate").values.tolist() == [2 / 4, 0, 0, 1 / 4]
    assert rate.sel(kind="update").values.tolist() == [1 / 4, 0, 0, 0]


def test_the_last_bin_may_be_narrower(by_hand: Trace) -> None:
    """16 ticks in at most 3 bins: 6, 6 and 4; what the rates sum to are the messages."""
    rate = analysis.message_rates(by_hand, bins=3)
    assert rate.width.values.tolist() == [6, 6, 4]
    assert (rate * rate.width).sum("bin").values.tolist() == [5, 3, 1]


def test_events_are_counted_in_parts(by_hand: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = analysis.message_rates(by_hand)
    monkeypatch.setattr(messages, "PART", 2)
    xr.testing.assert_identical(analysis.message_rates(by_hand), whole)


def test_without_events_the_rates_are_means_of_the_run() -> None:
    rec = recorder()
    rec.finish("complete", {"ticks": 10, "state_messages": 50, "costate_messages": 20, "node_updates": 5})
    rate = analysis.message_rates(rec.trace())
    assert rate.sizes["bin"] == 1
    assert rate.squeeze("bin").to_series().to_dict() == {"state": 5.0, "costate": 2.0, "update": 0.5}


def test_groups_stand_in_order_of_their_distance_from_the_inputs(by_hand: Trace) -> None:
    assert analysis.groups(by_hand) == ["zone in", "middle", "arena"]


def test_traffic_is_looked_up_by_the_names_of_groups(by_hand: Trace) -> None:
    found = analysis.traffic(by_hand)
    names = by_hand["network/group_name"]
    for i, j in np.ndindex(3, 3):
        cell = found.sel(source=names[i], target=names[j])
        assert (cell.state.item(), cell.costate.item()) == (TRAFFIC[i, j], 10 * TRAFFIC[i, j])


def test_traffic_of_a_run_agrees_with_its_messages() -> None:
    """Counted by sending neurons in the engine, and by the events of the trace."""
    rows = np.random.default_rng(1).normal(size=(20, 2))
    sim = Simulation(
        CHAIN, stimulus=Arrays(rows[:, :1], rows[:, 1:]), hold=3, node_defaults={"update": "clock"}
    )
    with sim.run(events=["message"]) as trace:
        # with a delay of a tick, what is sent in the last one is on its way when the run ends
        arrived = analysis.traffic(trace)
        group, kind = trace["network/group"], trace["events/kind"]
        source, target = (trace[f"network/{end}"][trace["events/edge"]] for end in ("source", "target"))
        for name, number, ends in (("state", 0, (source, target)), ("costate", 1, (target, source))):
            sent, received = (group[end[kind == number]] for end in ends)
            for u, v in np.ndindex(3, 3):
                names = arrived.source.values[u], arrived.target.values[v]
                heard = ((sent == names[0]) & (received == names[1])).sum()
                assert 0 <= arrived[name].sel(source=names[0], target=names[1]).item() - heard <= 2
        assert arrived.state.sel(source="zone in", target="middle").item() > 30


# ---- the whole


def test_the_summary_has_units_and_counts(by_hand: Trace) -> None:
    found = analysis.summary(by_hand)
    assert {str(name): value.item() for name, value in found.items()} == {
        "ticks": 16,
        "nodes": 4,
        "synapses": 5,
        "replicas": 1,
        "state_messages": 5,
        "costate_messages": 3,
        "messages_per_tick": 0.5,
        "loss": 0.5,
        "wall_s": 2.0,
    }
    assert all("units" in value.attrs for value in found.values())
    assert found.attrs["status"] == "complete"


def test_analysis_of_a_run_agrees_with_its_arrays(run: Trace) -> None:
    told = run["rows/label"] == run["rows/prediction"]
    split = run["rows/split"]
    found = analysis.accuracy(run)
    for stage in ("train", "test"):
        assert found.accuracy.sel(stage=stage).item() == told[split == stage].mean()
        assert found.accuracy.sel(stage=stage).item() == run.summary["accuracy"][stage]
    rate = analysis.message_rates(run)
    counts = [(run["events/kind"] == kind).sum() for kind in (0, 1, 2)]
    np.testing.assert_allclose((rate * rate.width).sum("bin"), counts)
    traffic = analysis.traffic(run)
    assert traffic.state.sum().item() == run.summary["state_messages"]
    assert traffic.costate.sum().item() == run.summary["costate_messages"]
    assert analysis.ticks(run) == experiments.TICKS


def test_a_trace_that_was_cut_off_is_told_as_far_as_it_goes() -> None:
    rec = recorder()
    rec.row(7, "train", [1], [1], [0.5])
    rec.sample(20, {name: np.zeros(shape) for name, shape in SHAPES.items()})
    rec.finish("interrupted")
    trace = rec.trace()
    assert analysis.ticks(trace) == 21
    assert "state_messages" not in analysis.summary(trace)
    assert analysis.summary(trace).attrs["status"] == "interrupted"
    assert np.isnan(analysis.traffic(trace).state).all()
    assert analysis.message_rates(trace).size == 0


def test_a_trace_without_anything_has_empty_results() -> None:
    with empty() as trace:
        assert analysis.learning_curve(trace).sizes["window"] == 0
        assert analysis.accuracy(trace).sizes["stage"] == 0
        assert analysis.message_rates(trace).size == 0
        assert analysis.ticks(trace) == 0


SHAPES = {"h": (1, 4), "z": (1, 4), "a": (1, 4), "loss": (1,), "w": (1, 5), "omega": (1, 5)}


@pytest.mark.parametrize("function", [analysis.learning_curve, analysis.accuracy, analysis.traffic])
def test_every_number_has_units_and_a_named_dimension(run: Trace, function) -> None:
    found: xr.Dataset = function(run)
    for value in found.data_vars.values():
        assert value.attrs["units"]
        assert not any(str(dim).startswith("dim_") for dim in value.dims)
