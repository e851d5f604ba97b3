"""What a run would take, against what it took."""

from pathlib import Path

import pytest

from hlsim import experiment
from hlsim.errors import ExperimentError
from hlsim.experiment import forecast
from tests.support import experiments
from tests.support.experiments import NETWORK, toml


@pytest.mark.filterwarnings("ignore:.*fill no batch")
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["simulation.until=31"],
        ["simulation.batch=3"],
        ["simulation.ensemble=2", "stage.train.rows=3"],
        ["stage=[]", "stimulus.hold=1"],
    ],
)
def test_the_estimate_tells_the_ticks_and_rows_of_the_run(folder: Path, overrides: list[str]) -> None:
    wanted = experiment.load(folder, overrides)
    told = forecast.estimate(wanted)
    with wanted.run() as trace:
        assert told.ticks == trace.summary["ticks"]
        begun = trace["stimulus/tick"].size
        assert told.rows == begun * wanted.settings.simulation.batch


def test_the_estimates_are_bounds(folder: Path, tmp_path: Path) -> None:
    wanted = experiment.load(folder, ["record.every=1", "simulation.dtype=float64"])
    told = forecast.estimate(wanted)
    path = tmp_path / "trace.h5"
    with wanted.run(path) as trace:
        sent = trace.summary["state_messages"] + trace.summary["costate_messages"]
        # 6 + 6 synapses forward, an input once a row; 6 backward, none to the inputs
        assert told.messages == experiments.TICKS * (6 + 6) + experiments.TICKS // experiments.HOLD * 6
        assert 0.3 * told.messages < sent <= told.messages
        values = sum(trace[f"sampled/{name}"].nbytes for name in ("h", "z", "a", "w", "omega", "loss"))
        assert values < told.sampled_bytes < 2 * values + 2 * forecast.FILE_BYTES
        assert trace["events/kind"].size * (forecast.EVENT_BYTES + 8) <= told.event_bytes
    assert path.stat().st_size < told.sampled_bytes + told.event_bytes


def test_a_run_without_an_end_is_refused(folder: Path) -> None:
    wanted = experiment.load(toml(folder, NETWORK))
    with pytest.raises(ExperimentError, match=r"\[simulation\] until is needed"):
        forecast.estimate(wanted)
    with pytest.raises(ExperimentError, match="until: is needed"):
        wanted.run()
