"""Learning that diverges is told while it runs, with the condition under which it would not."""

import re
import warnings
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import hlsim
from hlsim.errors import NumericalError, NumericalWarning
from hlsim.models.rules import Hamiltonian
from hlsim.simulation.divergence import ROWS
from hlsim.stimulus import Arrays, Stage

INPUT, TARGET = 1.5, 0.5


def line(
    rule: Hamiltonian, rows: int = 120, dt: float = 1.0, node: dict[str, Any] | None = None, **options: Any
) -> hlsim.Simulation:
    """Return y = w x that is shown the same row again and again: L = (w x - t)^2 / 2, curvature x^2."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input", update="clock")
    clock = {"update": "clock"} if node is None else node
    graph.add_node("y", model="instant", activation="identity", role="output", **clock)
    graph.add_edge("x", "y", weight=1.0)
    stream = Arrays(np.full((rows, 1), INPUT), np.full((rows, 1), TARGET))
    return hlsim.Simulation(graph, rule=rule, stimulus=stream, dt=dt, dtype="float64", **options)


def told(sim: hlsim.Simulation) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sim.run()
    assert all(warning.category is NumericalWarning for warning in caught)
    return [str(warning.message) for warning in caught]


@settings(max_examples=16)
@given(
    order=st.sampled_from(["explicit", "sequential"]),
    damping=st.floats(0.3, 0.9),
    dt=st.sampled_from([0.1, 0.5, 1.0]),
    factor=st.sampled_from([0.5, 0.9, 1.5, 2.5]),
    period=st.sampled_from([1, 1, 3]),
)
def test_a_rate_is_warned_of_where_a_root_is_outside_the_unit_circle(
    order: str, damping: float, dt: float, factor: float, period: int
) -> None:
    """The roots of the recursion of w (docs/theory.md) say whether it grows, and the message says kappa."""
    mu = 1.0 - damping
    bound = 2.0 * (1.0 + mu) if order == "sequential" else damping
    kappa = factor * bound
    roots = np.roots([1, -(1 + mu - kappa), mu] if order == "sequential" else [1, -(1 + mu), mu + kappa])
    # From outputs that miss by 1 to ones that miss by twice the loss of outputs of 0, well within the rows.
    assume(factor < 1.0 or np.abs(roots).max() > 1.05)
    step = dt * period
    rule = Hamiltonian(beta=kappa / (INPUT * step) ** 2, eta=damping / step, order=order)
    messages = told(line(rule, dt=dt, hold=period, node={"update": "clock", "period": period}))
    assert len(messages) == (np.abs(roots).max() > 1.0)
    for message in messages:
        number = r"([\d.e+-]+)"
        found = re.search(rf"is below .* = {number}, less .* at 'y', phi 1, it is {number}$", message)
        assert found is not None, message
        assert [float(x) for x in found.groups()] == pytest.approx([bound, kappa], rel=0.01)
        assert f"learning.beta than {rule.beta:g} may help" in message


def test_an_ensemble_says_which_replica() -> None:
    (message,) = told(line(Hamiltonian(beta=0.5, eta=0.5), ensemble=2))
    assert "replica 0" in message


def test_no_condition_is_given_that_does_not_hold() -> None:
    """Between arrivals equations are solved exactly: that of Euler steps is none of theirs."""
    node = {"update": "arrival", "send_threshold": 1e-3}
    messages = told(line(Hamiltonian(beta=50.0, eta=0.1), node=node))
    assert [message.endswith("A smaller learning.beta than 50 may help") for message in messages] == [True]


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (Hamiltonian(beta=0.0, eta=0.5), {}),
        (Hamiltonian(beta=0.5, eta=0.5), {"stages": [Stage(learn=False)]}),
        (Hamiltonian(beta=0.5, eta=0.5), {"rows": ROWS - 1}),
    ],
    ids=["beta = 0", "learning off", "too few rows"],
)
def test_who_does_not_learn_or_shows_too_little_is_not_judged(
    rule: Hamiltonian, options: dict[str, Any]
) -> None:
    assert told(line(rule, **options)) == []


@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_an_overflow_while_weights_move_hints_at_beta(engine: str) -> None:
    sim = line(Hamiltonian(beta=1e3, eta=0.5), rows=400, engine=engine)
    with pytest.warns(NumericalWarning, match="diverges"), pytest.raises(NumericalError) as caught:
        sim.run()
    assert str(caught.value).endswith("weights move, and a smaller learning.beta than 1000 may help")
    assert caught.value.node in ("x", "y")


def test_an_overflow_of_states_alone_does_not() -> None:
    graph = nx.DiGraph()
    graph.add_node("x", model="input", update="clock")
    graph.add_node("y", tau=1.0, activation="identity", update="clock", role="output")
    graph.add_edge("x", "y", weight=1.0)
    graph.add_edge("y", "y", weight=1e10)
    sim = hlsim.Simulation(graph, rule=Hamiltonian(beta=0.0), stimulus=Arrays([[1.0]], [[0.0]]), hold=400)
    with pytest.raises(NumericalError) as caught:
        sim.run()
    assert "beta" not in str(caught.value)


def test_the_digits_with_a_rate_of_1_are_warned_of() -> None:
    folder = Path(__file__).parents[2] / "topologies" / "digits"
    changes = ["learning.beta=1", "stage.0.rows=24", "stage.0.passes=1", "stage.1.rows=1"]
    sim = hlsim.experiment.load(folder, changes).simulation()
    (message,) = told(sim)
    assert "stage 'train') a row cost" in message
