"""The experiments that ship: they load, can be run as their documents say, and learn what they claim to."""

import importlib.util
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from hlsim import cli, experiment, trace
from hlsim.topology.network import Network
from hlsim.trace import Trace
from tests.support.places import TOPOLOGIES

SHIPPED = [str(path.relative_to(TOPOLOGIES)) for path in sorted(TOPOLOGIES.glob("*/*.toml"))]
FOLDERS = sorted(path.parent for path in TOPOLOGIES.glob("*/experiment.toml"))


def told_right(share: float) -> Callable[[Trace], bool]:
    return lambda run: run.summary["accuracy"]["test"] >= share


def loss_falls_to(share: float) -> Callable[[Trace], bool]:
    """The mean loss of the last 100 rows against that of the first 100."""

    def judge(run: Trace) -> bool:
        loss = run["rows/loss"]
        return bool(loss[-100:].mean() <= share * loss[:100].mean())

    return judge


def phases_were_quiet(run: Trace) -> bool:
    return run["phases/quiet"].size == 11 and bool(run["phases/quiet"].all())


def has_omega(run: Trace) -> bool:
    return bool(np.abs(run["sampled/omega"][-1]).max() > 0)


IMAGES = ("stage.train.passes=1", "stage.train.rows=150", "stage.test.rows=100")
# What makes a run short, and what it has learned all the same.
SHORT = {
    "cortical_groups/experiment.toml": (("stage.test.rows=60",), told_right(0.85)),
    "delayed_ring/experiment.toml": (("stage.train.rows=500", "stage.frozen.rows=100"), loss_falls_to(0.5)),
    "digits/experiment.toml": (IMAGES, told_right(0.6)),
    "digits/fast.toml": (("stage.train.passes=1", "stage.test.rows=200"), told_right(0.8)),
    "digits/hold.toml": (IMAGES, told_right(0.6)),
    "ep_digits/experiment.toml": (("stage.train.passes=3",), told_right(0.85)),
    "hep_toy/experiment.toml": ((), phases_were_quiet),
    "iris/experiment.toml": (("stage.train.passes=4",), told_right(0.85)),
    "phase_lag/experiment.toml": (("stage.train.rows=60", "record.every=10"), has_omega),
    "iris/linear.toml": (("stage.train.passes=4",), told_right(0.85)),
}


def hlsim(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert not ended.value.code


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_valid_and_tells_what_it_would_take(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hlsim("validate", TOPOLOGIES / name)
    hlsim("info", TOPOLOGIES / name)
    hlsim("run", TOPOLOGIES / name, "--dry-run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_short_run_has_learned_something(name: str, tmp_path: Path) -> None:
    overrides, learned = SHORT[name]
    file = tmp_path / "run.h5"
    hlsim("run", TOPOLOGIES / name, "--quiet", "-o", file, *(f"--set={text}" for text in overrides))
    with trace.open(file) as run:
        assert run.status == "complete"
        assert learned(run)


def test_hamiltonian_learning_of_irises_is_gradient_descent(capsys: pytest.CaptureFixture[str]) -> None:
    """In full, as the folder's own script compares them: 1200 steps online, with momentum."""
    path = TOPOLOGIES / "iris" / "compare.py"
    spec = importlib.util.spec_from_file_location("compare", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for file in ("linear.toml", "experiment.toml"):
        script.compare(file)
        told = re.fullmatch(r"(\S+) +HL (\S+) +SGD (\S+) .* (\S+)\n", capsys.readouterr().out)
        assert told is not None
        assert told[1] == file
        assert told[2] == told[3]
        assert float(told[2]) >= 0.9
        assert 0.0 < float(told[4]) < 1e-12


def test_every_weight_of_the_linear_irises_moves() -> None:
    """So that the agreement above is one of weights that have moved."""
    plan = experiment.load(TOPOLOGIES / "iris" / "linear.toml", ["stage.train.passes=1"])
    simulation = plan.simulation()
    simulation.run(sampled=())
    assert np.abs(simulation.read("w") - plan.network.weight).min() > 1e-3


def messages_a_synapse(*overrides: str) -> float:
    """Messages both ways, for every synapse that carries them and tick of the delayed ring."""
    plan = experiment.load(TOPOLOGIES / "delayed_ring", list(overrides))
    simulation = plan.simulation()
    simulation.run(until=200, sampled=())
    network, told = plan.network, simulation.summary
    ways = (network.source >= 0).sum() + (network.feedback > 0).sum()
    return float((told["state_messages"] + told["costate_messages"]) / ways / told["ticks"])


def test_the_ring_sends_a_fraction_of_what_a_clock_would() -> None:
    clock = messages_a_synapse("network.node_defaults={ update = 'clock', tau = 2.0 }")
    assert clock > 0.95
    assert messages_a_synapse() < 0.2 * clock


def groups(*overrides: str) -> Network:
    return experiment.load(TOPOLOGIES / "cortical_groups", list(overrides)).network


def test_cortical_groups_are_fast_inside_and_slow_between() -> None:
    parameters = ("network.parameters.delay=7", "network.parameters.inside=2")
    network, apart = groups(*parameters), groups(*parameters, "network.parameters.back=5")
    edges = network.source >= 0
    source, target = np.array(network.group)[[network.source[edges], network.target[edges]]]
    np.testing.assert_array_equal(network.delay[edges], np.where(source == target, 2, 7))
    np.testing.assert_array_equal(network.feedback_delay, network.delay)
    np.testing.assert_array_equal(apart.delay, network.delay)
    np.testing.assert_array_equal(apart.feedback_delay[edges], np.where(source == target, 2, 5))
    crossing = {pair for pair in zip(source.tolist(), target.tolist(), strict=True) if pair[0] != pair[1]}
    assert crossing == {("left", "association"), ("right", "association"), ("association", "motor")}


def test_neither_pattern_alone_tells_the_answer() -> None:
    """Nor do both through a plane: least squares on what one group sees, or both, is at chance."""
    plan = experiment.load(TOPOLOGIES / "cortical_groups")
    assert plan.stream is not None
    rows = list(islice(plan.stream.rows("train"), 4000))
    seen = np.array([row.input for row in rows])
    sign = np.array([2.0 * row.label - 1.0 for row in rows])
    for part in (seen[:, :8], seen[:, 8:], seen):
        best, *_ = np.linalg.lstsq(part[:2000], sign[:2000], rcond=None)
        assert abs(np.mean(np.sign(part[2000:] @ best) == sign[2000:]) - 0.5) < 0.04


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_documents_speak_of_every_experiment(folder: Path) -> None:
    assert f"]({folder.name}/" in (TOPOLOGIES / "README.md").read_text(encoding="utf-8")
    text = (folder / "README.md").read_text(encoding="utf-8")
    for file in folder.glob("*.toml"):
        assert f"topologies/{folder.name}" in text
        assert file.name in text or file.name == "experiment.toml"
