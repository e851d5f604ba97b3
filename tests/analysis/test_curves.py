"""Learning curves, accuracy and summaries, against numbers worked out by hand and arrays of the trace."""

import numpy as np
import pytest
import xarray as xr

from hlsim import analysis
from hlsim.trace import Trace
from tests.support import experiments
from tests.support.chain import recorder


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
