"""Estimates of gradients in a trace beside those of the fixed points."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlsim import Simulation, analysis, cli, experiment, topology
from hlsim.analysis.estimates import _true, _twins
from hlsim.errors import TraceError
from hlsim.models.losses import LOSSES
from hlsim.models.rules import ContinualEquilibrium, Equilibrium
from hlsim.stimulus import Arrays
from hlsim.topology.network import Network
from hlsim.trace import Trace
from hlsim.trace.network import network_of
from tests.claims.test_equilibrium import TRUE, two_neurons
from tests.support.places import TOPOLOGIES

HEP = TOPOLOGIES / "hep_toy"


def of_two(rows: int = 3, every: int = 1, **options: Any) -> Trace:
    stream = Arrays(np.linspace(0.5, 0.3, rows)[:, None], np.ones((rows, 1)))
    sim = Simulation(two_neurons("instant", "clock"), stimulus=stream, hold=200, dtype="float64", **options)
    return sim.run(every=every, sampled=["gradient", "w"])


def joined(network: Network) -> list[tuple[str, str]]:
    label = [*network.label, "bias"]
    return [(label[s], label[t]) for s, t in zip(network.source, network.target, strict=True)]


def test_the_true_gradient_of_two_neurons_is_the_known_one() -> None:
    """Digits of the theory; the coupling has the gradient of both its synapses on each of them."""
    trace = of_two(rule=Equilibrium(beta=0.0))
    network = network_of(trace)
    found = _true(trace, network, 0, network.weight[0], LOSSES["squared_error"])
    ends = {
        (network.label[s], network.label[t]): k
        for k, (s, t) in enumerate(zip(network.source, network.target, strict=True))
    }
    np.testing.assert_allclose([found[ends["x", "h"]], found[ends["h", "o"]]], TRUE, rtol=1e-9)
    assert found[ends["o", "h"]] == found[ends["h", "o"]]
    assert _twins(network)[ends["o", "h"]] == ends["h", "o"]
    assert _twins(network)[ends["x", "h"]] == -1


def test_the_true_gradient_with_read_outs_is_the_published_one() -> None:
    """The 6-4-4 net and its gradient, by the code of its authors."""
    published = json.loads((HEP / "weights.json").read_text())["gradient"]
    trace = experiment.load(HEP).run()
    network = network_of(trace)
    found = _true(trace, network, 0, network.weight[0], LOSSES["cross_entropy"])
    at = {
        (network.label[s], network.label[t]): g
        for s, t, g in zip(network.source, network.target, found, strict=True)
        if s >= 0
    }
    for name, ends in (("W1", ("x", "h1")), ("W2", ("h1", "h2")), ("W3", ("h2", "y"))):
        for (i, j), value in np.ndenumerate(np.array(published[name])):
            assert at[f"{ends[0]}[{i}]", f"{ends[1]}[{j}]"] == pytest.approx(value, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("symmetric", "order"), [(False, 1.0), (True, 2.0)])
def test_the_error_falls_with_the_strength_of_the_pull(symmetric: bool, order: float) -> None:
    """One-sided estimates are off by O(nudge), symmetric ones by O(nudge^2), in every row."""
    errors = []
    for nudge in (0.02, 0.01):
        found = analysis.estimates(
            of_two(rule=Equilibrium(beta=0.0, nudge=nudge, symmetric=symmetric)), loss="squared_error"
        )
        assert found.sizes["sample"] == 3
        errors.append(found.relative_error.sel(group="all").values)
        assert (found.cosine > 0.99).all()
    np.testing.assert_allclose(np.log2(errors[0] / errors[1]), order, atol=0.1)


def test_weights_that_move_are_those_of_the_row() -> None:
    """With a large rate the estimates stay close: each is held against the weights that it was made with."""
    found = analysis.estimates(
        of_two(rule=Equilibrium(beta=0.5, nudge=1e-3, symmetric=True)), loss="squared_error"
    )
    assert (found.relative_error < 1e-4).all()


@pytest.mark.parametrize(
    "rule", [Equilibrium(beta=0.0), ContinualEquilibrium(beta=0.0)], ids=["whole", "continual"]
)
def test_a_sample_in_the_middle_of_the_next_row_is_of_this_one_or_of_none(rule: Equilibrium) -> None:
    """Sampled at other ticks than rows end at: what is said is what every tick would have said."""
    every_tick = of_two(rule=rule)
    exact = analysis.estimates(every_tick, loss="squared_error")
    assert (exact.relative_error > 0).all()
    starts = every_tick["stimulus/tick"].tolist()
    # The tick behind each row, and up to which an estimate stands: not one that grows while the loss pulls.
    behind = [*starts[1:], len(every_tick["sampled/tick"]) - 1]
    until = [end + 1 for end in behind] if isinstance(rule, ContinualEquilibrium) else [*behind[1:], 10**6]
    for every in (7, 61, 101, behind[0]):
        trace = of_two(rule=rule, every=every)
        taken = trace["sampled/tick"]
        kept = [
            start
            for start, end, limit in zip(starts, behind, until, strict=True)
            if ((taken >= end) & (taken < limit)).any()
        ]
        if not kept:
            with pytest.raises(TraceError, match="no sample of gradient is of a row"):
                analysis.estimates(trace, loss="squared_error")
            continue
        found = analysis.estimates(trace, loss="squared_error")
        assert found.tick.values.tolist() == kept
        same = exact.relative_error.sel(sample=np.isin(exact.tick, kept))
        np.testing.assert_array_equal(found.relative_error, same)


def test_the_shipped_net_has_the_error_that_its_page_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten points on a circle of .3: 8.41e-6 over the weights from the inputs on, through the command line."""
    trace = str(tmp_path / "hep.h5")
    for arguments in (
        ["run", str(HEP), "-q", "-o", trace],
        ["analyze", trace, "--oracle", "implicit", "--json"],
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert not ended.value.code
    found = json.loads(capsys.readouterr().out)["estimates"]
    (error,) = np.array(found["data_vars"]["relative_error"]["data"])[:, -1]
    assert 4e-6 < error < 2e-5


def test_what_a_trace_must_hold_is_said() -> None:
    sim = Simulation(topology.layered([2, 2], seed=0), stimulus=Arrays([[0.5, 1.0]], [[1.0, 0.0]]))
    with pytest.raises(TraceError, match="no samples of gradient"):
        analysis.estimates(sim.run())
