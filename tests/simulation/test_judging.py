"""Targets that come later than inputs: each row is judged, and learned from, by its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hlsim import Simulation, experiment, topology
from hlsim.analysis.alignment import alignment
from hlsim.analysis.descent import controls
from hlsim.errors import ExperimentError, TopologyError
from hlsim.experiment.forecast import run_ticks
from hlsim.models.rules import Equilibrium, Hamiltonian
from hlsim.models.rules.phi import Gate
from hlsim.stimulus import Arrays, Stage
from hlsim.topology.network import flatten
from hlsim.topology.timing import path_ticks
from tests.claims.test_state import assert_goes_on
from tests.support.experiments import write

SIZES = (3, 4, 2)


def chain(first: int, second: int, model: str = "instant", sizes: tuple[int, ...] = SIZES) -> nx.DiGraph:
    """Layers whose synapses have one delay each; leaky ones with tau = dt take a tick more."""
    graph = topology.layered(list(sizes), model=model, output_activation="identity", seed=2)
    for _, target, data in graph.edges(data=True):
        data["delay"] = first if target.startswith("hidden") else second
    nx.set_node_attributes(graph, {node: "clock" for node in graph if node[0] != "i"}, "update")
    return graph


@dataclass
class Rows:
    """Numbers of rows, and the stream that shows them."""

    input: np.ndarray
    target: np.ndarray
    label: np.ndarray

    def stream(self, **options: Any) -> Arrays:
        return Arrays(self.input, self.target, self.label, **options)


def rows(count: int) -> Rows:
    rng = np.random.default_rng(0)
    return Rows(rng.normal(size=(count, 3)), rng.normal(size=(count, 2)), rng.integers(0, 2, count))


@given(
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from(("instant", "leaky")),
    st.integers(1, 3),
    st.sampled_from(("batched", "reference")),
)
@settings(max_examples=25, deadline=None)
def test_a_row_has_the_loss_of_its_own_target(
    first: int, second: int, model: str, hold: int, engine: str
) -> None:
    """Of frozen layers, worked out in numpy; the longer it is held the better, for what was on its way."""
    graph, shown = chain(first, second, model), rows(6)
    sim = Simulation(
        graph,
        rule=Hamiltonian(beta=0.0),
        stimulus=shown.stream(),
        hold=hold,
        target_delay="matched",
        dtype="float64",
        engine=engine,
        compiled="never",
    )
    trace = sim.run()
    assert sim.tick == 6 * hold + first + second + 2 * (model == "leaky")
    w = nx.to_numpy_array(graph, weight="weight")
    y = np.tanh(shown.input @ w[:3, 3:7]) @ w[3:7, 7:]
    loss = 0.5 * ((y - shown.target) ** 2).sum(1)
    np.testing.assert_allclose(trace["rows/loss"], loss, rtol=1e-12)
    assert trace["rows/prediction"].tolist() == y.argmax(1).tolist()
    assert trace["rows/told"].tolist() == y.argmax(1).tolist()
    assert trace["rows/label"].tolist() == shown.label.tolist()


@pytest.mark.parametrize("engine", ["batched", "reference"])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_late_layer_learns_as_gradient_descent(engine: str, batch: int) -> None:
    """Its error meets what it heard: torch.optim.SGD row by row, however long states travel; 1e-12."""
    if batch > 1 and engine == "reference":
        pytest.skip("minibatches are for the batched engine")
    graph, shown = topology.layered([3, 2], model="instant", seed=1, delay=5), rows(21)
    options: dict[str, Any] = {"node_defaults": {"update": "clock"}, "dtype": "float64", "engine": engine}
    rule = Hamiltonian(beta=0.1, eta=1.0, order="sequential")
    stages = [Stage("train", passes=2), Stage("test", learn=False)]
    sim = Simulation(
        graph,
        rule=rule,
        stimulus=shown.stream(),
        stages=stages,
        target_delay=5,
        batch=batch,
        compiled="never",
        **options,
    )
    sim.run()
    w = torch.tensor(nx.to_numpy_array(graph)[:3, 3:], requires_grad=True)
    descent = torch.optim.SGD([w], lr=0.1)
    for start in [*range(0, 21, batch)] * 2:
        descent.zero_grad()
        part = slice(start, start + batch)
        y = torch.tanh(torch.as_tensor(shown.input[part]) @ w)
        (0.5 * (y - torch.as_tensor(shown.target[part])) ** 2).sum(1).mean().backward()
        descent.step()
    found = np.zeros((5, 5))
    found[sim.network.source, sim.network.target] = sim.read("w")[0]
    np.testing.assert_allclose(found[:3, 3:], w.detach(), rtol=1e-12)


@pytest.mark.parametrize("hold", [1, 3])
def test_what_is_told_of_a_row_does_not_know_its_target(hold: int) -> None:
    """Another target of a row changes nothing that was told of it, and something of rows after it."""

    def told(changed: bool) -> Any:
        shown = rows(40)
        if changed:
            shown.target[20] += 100.0
        sim = Simulation(
            chain(2, 1),
            rule=Hamiltonian(beta=0.01),
            stimulus=shown.stream(),
            hold=hold,
            target_delay=3,
            dtype="float64",
        )
        return sim.run()["rows/told"]

    before, after = told(False), told(True)
    assert (before[:21] == after[:21]).all()
    assert (before[21:] != after[21:]).any()


def test_phi_and_the_learning_switch_follow_the_target() -> None:
    stages = [Stage("train", rows=3), Stage("test", rows=2, learn=False), Stage("more", rows=2, phi=0.5)]
    sim = Simulation(
        chain(2, 1),
        rule=Hamiltonian(phi=Gate(2)),
        stimulus=rows(3).stream(),
        stages=stages,
        hold=4,
        target_delay=3,
    )
    trace = sim.run(every=1)
    at = np.searchsorted(trace["controls/tick"], np.arange(31), "right") - 1
    learn, phi = (trace[f"controls/{name}"][at].astype(float).tolist() for name in ("learn", "phi"))
    assert sim.tick == 7 * 4 + 3
    assert learn == [0.0] * 3 + [1.0] * 12 + [0.0] * 8 + [1.0] * 8
    assert phi[3:] == [0.0, 0.0, 1.0, 1.0] * 5 + [0.5] * 8


@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_rows_on_their_way_are_part_of_the_state(engine: str) -> None:
    """Cut while several rows wait for their target, one without any among them."""
    shown = rows(9)

    def make() -> Simulation:
        return Simulation(
            chain(3, 4),
            rule=Hamiltonian(beta=0.05, phi=Gate(1)),
            stimulus=shown.stream(splits={"a": slice(5), "b": slice(5, 9)}),
            stages=[Stage("a", "a", shuffle=True), Stage("b", "b", learn=False), Stage("c", "a")],
            hold=2,
            target_delay="matched",
            dtype="float64",
            engine=engine,
            compiled="never",
        )

    for cut in (1, 8, 13, 30):
        assert_goes_on(make, cut, 36)


def test_a_path_of_one_length_is_matched() -> None:
    assert path_ticks(vars(flatten(chain(3, 4)))) == 7
    assert path_ticks(vars(flatten(chain(3, 4, "leaky")))) == 9


def test_unequal_paths_are_to_be_balanced() -> None:
    graph = chain(2, 1)
    graph.add_edge("input[0]", "output[1]", delay=0)
    with pytest.raises(TopologyError) as raised:
        Simulation(graph, stimulus=rows(3).stream(), target_delay="matched")
    assert str(raised.value) == (
        "graph: paths from inputs to outputs must be equally long, got 0 ticks to 'output[1]' and 3 to "
        "'output[0]'; balance it first (topology.balance, [network] balance = true)"
    )
    sim = Simulation(topology.balance(graph), stimulus=rows(3).stream(), target_delay="matched")
    sim.run()
    assert sim.tick == 3 + 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target_delay": -1}, "must be 'matched' or a whole number of ticks >= 0, got -1"),
        ({"target_delay": "late"}, "must be 'matched' or a whole number of ticks >= 0, got 'late'"),
        (
            {"target_delay": 2, "reset": True},
            "must be 0 with resets, which forget rows that are on their way",
        ),
        ({"target_delay": 2, "rule": Equilibrium(), "hold": 4}, "must be 0 for rule 'equilibrium'"),
    ],
)
def test_what_cannot_be_late_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ExperimentError) as raised:
        Simulation(chain(0, 0), stimulus=rows(3).stream(), **given)
    assert str(raised.value).startswith(f"stimulus.target_delay: {said}")


def test_a_cycle_has_no_path_of_one_length() -> None:
    graph = chain(1, 1)
    graph.add_edge("output[0]", "hidden[0]", delay=1)
    with pytest.raises(
        TopologyError, match=r"^graph: paths in a cycle have no end: hidden\[0\] -> output\[0\] -> "
    ):
        path_ticks(vars(flatten(graph)))


def test_an_experiment_and_its_forecast_know_of_it(tmp_path: Path) -> None:
    wanted = experiment.load(write(tmp_path / "tiny"), ["stimulus.target_delay=matched"])
    assert run_ticks(wanted) == wanted.simulation().run().summary["ticks"] == 20 * 5 + 2
    assert wanted.run().attrs["target_delay"] == 2
    again = experiment.load(write(tmp_path / "again"))
    assert "target_delay" not in again.run().attrs
    with pytest.raises(ExperimentError) as raised:
        experiment.load(again.path, ["stimulus.target_delay=soon"])
    assert str(raised.value) == (
        'experiment.toml: [stimulus] target_delay must be "matched" or a whole number of ticks >= 0, '
        "got 'soon' (from --set stimulus.target_delay=soon)"
    )


def test_backpropagation_takes_a_target_with_the_input_of_its_row() -> None:
    """One layer of instant neurons is its ideal, however late what it hears and is told comes."""
    graph = topology.layered([3, 2], model="instant", seed=1, delay=4)
    rule = Hamiltonian(beta=0.05, eta=0.4)
    sim = Simulation(
        graph,
        rule=rule,
        stimulus=rows(30).stream(),
        target_delay="matched",
        dtype="float64",
        node_defaults={"update": "clock"},
    )
    trace = sim.run(every=1)
    found = alignment(trace, rule=rule)
    np.testing.assert_allclose(found.cosine.sel(group="all")[6:], 1.0, rtol=1e-9)
    np.testing.assert_allclose(found.norm_ratio.sel(group="all")[6:], 1.0, rtol=1e-9)
    descent = controls(trace, rule=rule)
    np.testing.assert_allclose(
        descent.loss.sel(learner="run"), descent.loss.sel(learner="late_sgd"), rtol=1e-9
    )
