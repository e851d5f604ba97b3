"""What late gradients and slow neurons do: how large a rate may be, and which way an update points."""

import re
import sys
from collections.abc import Sequence

import networkx as nx
import numpy as np
import pytest

from hlsim.errors import ExperimentError
from hlsim.models.losses import Custom
from hlsim.models.rules import Hamiltonian
from hlsim.models.rules.hamiltonian import boundary
from hlsim.report.charts import Line, Points
from hlsim.report.figures import stability as stability_chart
from hlsim.stimulus import Arrays
from hlsim.sweep import stability
from tests.support.theory import simulate

DT = 0.5


def chains(delays: Sequence[int], beta: Sequence[float]) -> nx.DiGraph:
    """Return nets of one weight each, y = w u: its gradient, w itself, comes so many ticks late."""
    graph = nx.DiGraph()
    for k, (delay, rate) in enumerate(zip(delays, beta, strict=True)):
        graph.add_node(f"u[{k}]", model="input")
        graph.add_node(f"w[{k}]", model="instant", activation="identity")
        graph.add_node(f"y[{k}]", model="instant", activation="identity", role="output")
        graph.add_edge(f"u[{k}]", f"w[{k}]", weight=1.0, beta=rate)
        there = delay // 2
        graph.add_edge(f"w[{k}]", f"y[{k}]", plastic=False, delay=there, feedback_delay=delay - there)
    return graph


def grows(delays: Sequence[int], kappa: Sequence[float], mu: float, order: str, engine: str) -> list[bool]:
    """Return by chain whether w grows beyond where it began."""
    beta = [k / DT**2 for k in kappa]
    graph, n = chains(delays, beta), len(delays)
    stimulus = Arrays(np.ones((1, n)), np.zeros((1, n)))
    rule = Hamiltonian(eta=(1.0 - mu) / DT, order=order)
    simulation = simulate(graph, stimulus, rule=rule, dt=DT, hold=500, engine=engine)
    plastic = np.flatnonzero(simulation.network.plastic)
    w = np.abs(simulation.run(every=1, sampled=["w"])["sampled/w"][:, plastic])
    assert not np.isclose(w[-50:].max(0), w[50:100].max(0), rtol=0.3).any()
    return (w[-50:].max(0) > w[50:100].max(0)).tolist()


@pytest.mark.parametrize("order", ["sequential", "explicit"])
def test_a_gradient_that_is_late_allows_a_smaller_rate(order: str) -> None:
    """kappa < 2 sin(pi / (2 (2 d + 1))), d the delays there and back, and one in explicit order; mu = 0."""
    delays = [0, 1, 2, 3, 4, 5]
    late = np.array(delays) + (order == "explicit")
    largest = 2.0 * np.sin(np.pi / (2.0 * (2.0 * late + 1.0)))
    kappa = [*(0.97 * largest), *(1.03 * largest)]
    assert grows(delays * 2, kappa, 0.0, order, "reference") == [False] * 6 + [True] * 6


@pytest.mark.parametrize(
    ("order", "mu", "largest", "engine"),
    [
        ("sequential", 0.5, 3.0, "batched"),
        ("sequential", 0.0, 2.0, "reference"),
        ("explicit", 0.5, 0.5, "batched"),
        ("explicit", 0.9, 0.1, "reference"),
    ],
)
def test_explicit_order_needs_dissipation(order: str, mu: float, largest: float, engine: str) -> None:
    """Stable iff kappa < 2 (1 + mu) in sequential, kappa < 1 - mu = dt eta in explicit order."""
    assert grows([0, 0], [0.96 * largest, 1.04 * largest], mu, order, engine) == [False, True]


# ---- the map


@pytest.mark.parametrize("late", range(7))
@pytest.mark.parametrize("mu", [0.0, 0.3, 0.9])
def test_the_boundary_is_where_a_root_leaves_the_unit_circle(late: int, mu: float) -> None:
    """Roots of x^(d+1) - (1 + mu) x^d + mu x^(d-1) + kappa, eigenvalues of a companion matrix."""
    for factor, inside in ((0.999, True), (1.001, False)):
        kappa = factor * boundary(late, mu)
        polynomial = np.zeros(max(late, 1) + 2)
        polynomial[:3] = 1.0, -(1.0 + mu), mu
        polynomial[1 if late == 0 else -1] += kappa
        assert bool(np.abs(np.roots(polynomial)).max() < 1.0) is inside


def test_the_boundary_in_closed_form() -> None:
    known = [2.0 * np.sin(np.pi / (2.0 * (2.0 * d + 1.0))) for d in range(6)]
    np.testing.assert_allclose([boundary(d, 0.0) for d in range(6)], known, rtol=1e-12)
    np.testing.assert_allclose([boundary(0, 0.5), boundary(1, 0.5)], [3.0, 0.5], rtol=1e-12)


@pytest.mark.parametrize(
    ("way", "orders", "etas"),
    [
        ("state", ["sequential", "explicit"], [1.0]),
        ("feedback", ["explicit"], [0.4]),
        ("state", ["sequential"], [0.2]),
    ],
)
def test_measured_rates_are_those_of_the_closed_form(way: str, orders: list[str], etas: list[float]) -> None:
    """Delays 0 to 5 as those of states or of costates, both orders, several eta: to 1 %."""
    found = stability(range(6), etas, orders, way=way)
    np.testing.assert_allclose(found.measured, found.predicted, rtol=0.01)


def test_the_map_is_drawn_with_its_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line and discs for every eta in a panel for every order, as logarithms.

    What grows is known here, without runs: where a root of the polynomial is outside the unit circle.
    """

    def grow(kappa: np.ndarray, delays: np.ndarray, mu: float, order: str, *_: object) -> np.ndarray:
        def outside(rate: float, late: int) -> bool:
            polynomial = np.zeros(max(late, 1) + 2)
            polynomial[:3] = 1.0, -(1.0 + mu), mu
            polynomial[1 if late == 0 else -1] += rate
            return bool(np.abs(np.roots(polynomial)).max() > 1.0)

        late = np.array(delays) + (order == "explicit")
        return np.array([[outside(rate, d) for rate, d in zip(row, late, strict=True)] for row in kappa])

    monkeypatch.setattr(sys.modules["hlsim.sweep.stability"], "_grow", grow)
    found = stability(range(2), [1.0, 0.5], ["sequential", "explicit"])
    drawn = stability_chart.chart(found)
    assert [panel.title for panel in drawn.panels] == ["sequential order", "explicit order"]
    line, discs, *_ = drawn.panels[1].marks
    assert isinstance(line, Line)
    assert isinstance(discs, Points)
    np.testing.assert_allclose(10.0**line.y, [1.0, 0.6180339887])
    np.testing.assert_allclose(10.0**discs.y, 10.0**line.y, rtol=0.01)
    assert [key.label for key in drawn.legend] == ["eta dt = 1", "eta dt = 0.5"]


def test_what_the_map_does_not_take_is_said() -> None:
    for given, message in (
        ({"delays": [-1]}, "delay: must be a whole number of ticks >= 0"),
        ({"etas": [0.0]}, "eta must be from 0.1 to 1 a tick, got 0.0"),
        ({"orders": ["late"]}, "unknown order 'late'"),
        ({"way": "both"}, "unknown way 'both'"),
    ):
        with pytest.raises(ExperimentError, match=re.escape(message)):
            stability(**given)  # type: ignore[arg-type]


# ---- time constants


def test_a_slow_neuron_turns_the_gradient() -> None:
    """Its update has the cosine cos(2 arctan T) with the true gradient: beyond T = 1 it is against it.

    A sinusoid of angular frequency 1 goes to identity neurons of time constant T, one for each of 16 phases
    of an error that does not depend on h. Late by arctan T are the *error* for the neuron, the *input* for
    the gradient.
    """
    constants, phases = (0.1, 0.3, 1.0, 2.0, 5.0), 2.0 * np.pi * np.arange(16) / 16
    period, warm, rounds = 64, 5, 1
    dt = 2.0 * np.pi / period
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    for i, tau in enumerate(constants):
        for k in range(len(phases)):
            graph.add_node(f"y[{16 * i + k}]", tau=tau, activation="identity", role="output")
            graph.add_edge("u", f"y[{16 * i + k}]")
    t = dt * np.arange((warm + rounds) * period + 1)
    error = np.cos(t[:, None] + np.tile(phases, len(constants)))
    simulation = simulate(
        graph,
        Arrays(np.sin(t)[:, None], error),
        rule=Hamiltonian(beta=0.0, eta=0.0),
        loss=Custom(lambda y, target: (y * target).sum(-1)),
        dt=dt,
        node_defaults={"update": "arrival"},
    )
    simulation.run(warm * period + 1, every=10**6)
    before = simulation.read("omega")[0]
    simulation.run(every=10**6)
    moved = (simulation.read("omega")[0] - before).reshape(len(constants), len(phases))
    for tau, update in zip(constants, moved, strict=True):
        # The mean of cos(t + phase) times the response |F| sin(t - arctan tau), up to a factor.
        true = -np.sin(phases + np.arctan(tau))
        cosine = update @ true / np.linalg.norm(update) / np.linalg.norm(true)
        assert cosine == pytest.approx(np.cos(2.0 * np.arctan(tau)), abs=1e-3)
