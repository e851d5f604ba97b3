"""Gradient descent on the stream of a run, at once and late, against torch.optim.SGD and the run itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hlsim import Simulation, analysis, experiment, topology
from hlsim.analysis.baseline import FeedForward
from hlsim.errors import TopologyError, TraceError
from hlsim.models.rules import Hamiltonian
from hlsim.models.rules.phi import Gate, Schedule
from hlsim.trace import Trace
from hlsim.trace.network import network_of
from tests.support import experiments
from tests.support.theory import CLOCK, samples


def run(rule: Hamiltonian, hold: int = 1, rows: int = 40, model: str = "instant", **options: Any) -> Trace:
    graph = topology.layered([3, 5, 2], seed=0, bias=0.1, model=model, **options)
    sim = Simulation(
        graph, rule=rule, stimulus=samples(rows, 3, 2), hold=hold, dtype="float64", node_defaults=CLOCK
    )
    return sim.run(every=10)


@pytest.mark.parametrize("hold", [1, 3])
def test_gradient_descent_is_that_of_torch(hold: int) -> None:
    """torch.optim.SGD with momentum on the network without delays, a step a tick."""
    trace = run(Hamiltonian(beta=0.05, eta=0.3), hold, model="leaky")
    found = analysis.controls(trace, rule=Hamiltonian(beta=0.05, eta=0.3)).loss.sel(learner="sgd").values
    net = FeedForward(network_of(trace))
    optimiser = torch.optim.SGD([net.w], lr=0.05, momentum=0.7)
    x, y = (torch.as_tensor(trace[f"stimulus/{name}"]) for name in ("input", "target"))
    for row in range(len(x)):
        for _ in range(hold):
            loss = 0.5 * ((net(x[row : row + 1]) - y[row : row + 1]) ** 2).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert found[row] == pytest.approx(float(loss.detach()), rel=1e-10)


@pytest.mark.parametrize(("order", "learner"), [("sequential", "sgd"), ("explicit", "late_sgd")])
def test_a_network_without_delays_is_gradient_descent_one_step_late_in_explicit_order(
    order: str, learner: str
) -> None:
    """The run itself, to round-off; and the other control is not it."""
    rule = Hamiltonian(beta=0.05, eta=0.3, order=order)
    found = analysis.controls(run(rule), rule=rule).loss
    np.testing.assert_allclose(found.sel(learner=learner), found.sel(learner="run"), rtol=1e-10)
    other = "late_sgd" if order == "sequential" else "sgd"
    assert np.allclose(found.sel(learner=other), found.sel(learner="run")) == (order == "sequential")


def test_the_late_control_is_as_late_as_the_longest_paths() -> None:
    """Two leaky layers: steps 5 and 4 of a hold; with a delay of 2 on every edge, 11 and 8."""
    rule = Hamiltonian(beta=0.05)
    for delay, steps in ((0, {5, 4}), (2, {11, 8})):
        late = analysis.controls(run(rule, model="leaky", delay=delay), rule=rule).late.values
        assert set(late.tolist()) == steps


def test_weight_decay_is_that_of_the_run() -> None:
    """Of instant neurons in the sequential order gradient descent is the run itself."""
    trace = run(Hamiltonian(beta=0.05, eta=0.3, order="sequential", weight_decay=0.2), hold=4)
    found = analysis.controls(trace).loss
    np.testing.assert_allclose(found.sel(learner="sgd"), found.sel(learner="run"), rtol=1e-10)


@pytest.mark.parametrize("phi", [0.5, Gate(2, 3.0), Schedule(((4, 1.0), (30, 0.2)))])
def test_phi_scales_what_is_learned_from(phi: Any) -> None:
    """In the sequential order the run itself, whatever phi does: the trace tells what it was."""
    rule = Hamiltonian(beta=0.02, eta=0.3, phi=phi, order="sequential")
    trace = run(rule, hold=4)
    found = analysis.controls(trace, rule=rule).loss
    np.testing.assert_allclose(found.sel(learner="sgd"), found.sel(learner="run"), rtol=1e-10)
    same = analysis.controls(trace, rule=Hamiltonian(beta=0.02, eta=0.3, order="sequential")).loss
    np.testing.assert_array_equal(same, found)


def test_an_experiment_tells_what_it_learned_by(tmp_path: Path) -> None:
    """Rate, phi and the stages that learn are those of the file: the run of instant neurons itself."""
    folder = experiments.write(tmp_path / "tiny")
    text = 'import hlsim\n\n\ndef build():\n    return hlsim.topology.layered([2, 3, 2], model="instant")\n'
    (folder / "topology.py").write_text(text, encoding="utf-8")
    settings = ["network.parameters={}", "learning.order='sequential'", "simulation.dtype='float64'"]
    done: list[float] = []
    found = analysis.controls(experiment.load(folder, settings).run(), progress=done.append)
    np.testing.assert_allclose(found.loss.sel(learner="sgd"), found.loss.sel(learner="run"), rtol=1e-10)
    assert found.stage.values.tolist() == ["train"] * 16 + ["test"] * 4
    assert done == sorted(done)
    assert done[0] == 0.0


def test_what_cannot_be_descended_is_said() -> None:
    rule = Hamiltonian()
    graph = topology.layered([3, 5, 2], seed=0, model="leaky")
    graph.add_edge("hidden[0]", "hidden[0]")
    sim = Simulation(graph, rule=rule, stimulus=samples(5, 3, 2), node_defaults=CLOCK)
    with pytest.raises(TopologyError, match="without cycles, got hidden"):
        analysis.controls(sim.run(), rule=rule)
    sim = Simulation(
        topology.layered([3, 2], seed=0), rule=rule, stimulus=samples(6, 3, 2), batch=2, node_defaults=CLOCK
    )
    with pytest.raises(TraceError, match="needs one replica"):
        analysis.controls(sim.run(), rule=rule)
