"""Silence is honest: what a neuron has not told is below its threshold; it wakes before it is not."""

import math
import os
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import hlsim
from hlsim.models.rules import Hamiltonian
from hlsim.trace.reader import Trace
from tests.support.graphs import Case, build, cases, fixed, run

ENGINES = ("batched", "reference")
engines = pytest.mark.parametrize("engine", ENGINES)
EXAMPLES = 40 if os.environ.get("HLSIM_VERIFY") == "1" else 8

SLOPE: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "tanh": lambda a: 1 / np.cosh(a) ** 2,
    "sigmoid": lambda a: 1 / (2 + 2 * np.cosh(a)),
    "relu": lambda a: (a > 0).astype(float),
    "softplus": lambda a: 1 / (1 + np.exp(-a)),
    "identity": np.ones_like,
}


def backward(case: Case, trace: Trace) -> NDArray[np.float64]:
    """Return q (tick, node) from what was sampled of a and z."""
    network, a, q = case.network, trace["sampled/a"], trace["sampled/z"].copy()
    for node in range(network.n):
        tau = network.parameters["tau"][node] if network.model[node] == "leaky" else 1.0
        q[:, node] *= SLOPE[network.activation[node]](a[:, node]) / tau
    return q


def told(case: Case, trace: Trace, kind: int, until: int) -> NDArray[np.float64]:
    """Return what every node (tick, node) has last told by messages of a kind; NaN: it tells nobody."""
    network = case.network
    names = ("sent", "edge", "value", "kind")
    events = zip(*(trace[f"events/{name}"].tolist() for name in names), strict=True)
    messages = {(sent, edge): value for sent, edge, value, k in events if k == kind}
    weight = network.feedback_weight[0] if kind else np.ones(network.m)
    ends, goes = (network.target, network.feedback == 2) if kind else (network.source, network.source >= 0)
    values = np.full((until, network.n), np.nan)
    for node in range(network.n):
        edges = np.flatnonzero((ends == node) & goes)
        if len(edges):
            edge = int(edges[np.abs(weight[edges]).argmax()])
            last = 0.0
            for tick in range(until):
                last = messages[tick, edge] / weight[edge] if (tick, edge) in messages else last
                values[tick, node] = last
    return values


@engines
@pytest.mark.parametrize("kind", ["arrival", "mixed"])
def test_what_a_neuron_has_not_told_is_below_its_threshold_at_every_tick(kind: str, engine: str) -> None:
    """Both for h and for q, with send_interval 1; at threshold 0 everything is told.

    Fixed random feedback weights say from r what q was sent.
    """

    @settings(max_examples=EXAMPLES)
    @given(cases(kind, 60))
    def check(drawn: Case) -> None:
        # What is on its way at a reset never stands in the trace; what is sent in 60 ticks does after 65.
        edge = {"feedback": "random", "weight": {"normal": 0.3}}
        case = fixed(drawn, node={"send_interval": 1}, edge=edge, without=("reset",))
        trace = run(case, 65, engine=engine)[1]
        network = case.network
        for sent, values, threshold in (
            (told(case, trace, 0, 60), trace["sampled/h"], network.send_threshold),
            (told(case, trace, 1, 60), backward(case, trace), network.costate_threshold),
        ):
            speaks = case.arrival & ~np.isnan(sent[0])
            untold = np.abs(values[:60] - sent)[:, speaks]
            assert (untold <= np.maximum(threshold[speaks], 1e-12)).all()

    check()


def contracting(graph: nx.MultiDiGraph) -> dict[str, dict[str, list[float]]]:
    """Return weights with which no neuron hears more than .9 of what others say, forward or back."""
    size = {node: data.get("size") or 1 for node, data in graph.nodes(data=True)}
    heard = [sum(size[other] for other, _ in graph.in_edges(node)) for node in graph]
    heard += [sum(size[other] for _, other in graph.out_edges(node)) for node in graph]
    return {"weight": {"uniform": [-0.9 / max(heard), 0.9 / max(heard)]}}


@engines
def test_a_network_that_comes_to_rest_falls_silent_and_costs_nothing(engine: str) -> None:
    """With learning off and thresholds > 0 nothing is left to happen: SimPy's queue is empty.

    No slope of an activation is above 1, so weights below 1 in sum make every loop a contraction.
    """

    @settings(max_examples=EXAMPLES)
    @given(cases("arrival", 20))
    def check(drawn: Case) -> None:
        node = {"send_threshold": 0.01, "costate_threshold": 0.01}
        case = fixed(drawn, node=node, edge=contracting(drawn.graph), without=("learn",))
        case = Case(case.graph, case.options, ((0, "learn", (False,)), *case.script))
        sim = build(case, engine=engine)
        while sim.env.peek() < 2000:
            sim.env.step()
        assert sim.env.peek() == math.inf

    check()


# ---- the wake-ups of one neuron, at the ticks that its equations say


def woken(case: Case, until: int, engine: str, label: str) -> list[int]:
    """Return the ticks at which a neuron was updated."""
    sim, trace = run(case, until, engine=engine)
    mine = (trace["events/kind"] == 2) & (trace["events/node"] == sim.network.label.index(label))
    return trace["events/tick"][mine].tolist()


def neuron(**attributes: object) -> nx.DiGraph:
    """Return an input, and one neuron of slope 1 that it drives by a fixed weight of 1."""
    graph = nx.DiGraph()
    graph.add_node("in", model="input")
    graph.add_node("n", **{"activation": "identity", "role": "output", **attributes})
    graph.add_edge("in", "n", weight=1.0, plastic=False)
    return graph


HELD = ((0, "input", (np.array([1.0]),)), (0, "target", (np.array([0.3]),)))


@engines
@pytest.mark.parametrize("interval", [1, 1000])
def test_an_output_wakes_when_its_h_has_moved_by_its_threshold(engine: str, interval: int) -> None:
    """The loss listens to h itself, so the interval is none of its business: h(t) = 1 - exp(-t / 20)."""
    graph = neuron(tau=20.0, send_threshold=0.05, send_interval=interval)
    expected, last = [0], 0.0
    for tick in range(1, 200):
        h = 1 - math.exp(-tick / 20)
        if abs(h - last) >= 0.05:
            expected.append(tick)
            last = h
    assert len(expected) > 10
    assert woken(Case(graph, {}, HELD), 200, engine, "n") == expected


@engines
@pytest.mark.parametrize(("loss", "acts"), [("none", HELD), ("squared_error", HELD[:1])])
def test_an_output_sleeps_where_no_loss_listens(engine: str, loss: str, acts: tuple) -> None:
    """No loss, or no target: and nobody else hears of h."""
    graph = neuron(tau=20.0, send_threshold=0.05)
    assert woken(Case(graph, {"loss": loss}, acts), 200, engine, "n") == [0]


def learned(threshold: float, refresh: int, until: int, beta: float, eta: float) -> list[int]:
    """Return when a neuron of slope 1 with one weight, s = 1, must wake: the exact hold, step by step.

    Between updates q = w - 0.3 stands still, omega and w follow it, and the drive has moved by w - w0.
    """
    w, omega, last = 1.0, 0.0, 0
    woken = [0]
    for tick in range(1, until):
        elapsed, q = tick - last, w - 0.3
        p1 = (1 - math.exp(-eta * elapsed)) / eta
        p2 = (elapsed - p1) / eta
        moved = beta * (omega * p1 + q * p2)
        if abs(moved) >= threshold or elapsed == refresh:
            w, omega, last = w - moved, math.exp(-eta * elapsed) * omega + q * p1, tick
            woken.append(tick)
    return woken


@engines
@pytest.mark.parametrize(("threshold", "refresh"), [(0.02, 100), (0.005, 100), (10.0, 7), (0.02, 6)])
def test_a_neuron_wakes_when_its_weights_have_moved_its_drive_and_after_refresh_at_the_latest(
    engine: str, threshold: float, refresh: int
) -> None:
    graph = neuron(model="instant", send_threshold=threshold, refresh=refresh)
    graph.edges["in", "n"]["plastic"] = True
    rule = Hamiltonian(beta=0.01, eta=0.2)
    expected = learned(threshold, refresh, 150, beta=0.01, eta=0.2)
    assert len(expected) > 10
    assert woken(Case(graph, {"rule": rule}, HELD), 150, engine, "n") == expected


@engines
def test_a_neuron_with_omega_at_rest_is_not_refreshed(engine: str) -> None:
    """Without an error omega is 0 and stays there."""
    graph = neuron(model="instant", send_threshold=0.01, refresh=5)
    graph.edges["in", "n"]["plastic"] = True
    acts = (HELD[0], (0, "target", (np.array([1.0]),)))
    assert woken(Case(graph, {}, acts), 100, engine, "n") == [0]


def gradient_error(threshold: float, engine: str) -> float:
    """Return how wrong z is, relative to its largest value, where g is held between updates.

    With h = 1 - e^{-t/tau} and g = h - y exactly
    z = (1 - y) (1 - e^{-lam t}) / lam - (e^{-t/tau} - e^{-lam t}) / eta.
    """
    tau, eta, y, dt = 4.0, 0.5, 0.3, 0.02
    graph = neuron(tau=tau, send_threshold=threshold)
    case = Case(graph, {"dt": dt, "rule": Hamiltonian(eta=eta)}, HELD)
    z = run(case, 1000, engine=engine)[1]["sampled/z"][:, 1]
    t = dt * np.arange(1000)
    lam = 1 / tau + eta
    exact = (1 - y) * (1 - np.exp(-lam * t)) / lam - (np.exp(-t / tau) - np.exp(-lam * t)) / eta
    return float(np.abs(z - exact).max() / np.abs(exact).max())


@engines
def test_the_held_gradient_of_the_loss_is_as_good_as_the_threshold_is_small(engine: str) -> None:
    """With tau = 4 and no wake-up z is wrong by a factor; .01 leaves about 1.8e-2 and .001 about 1.6e-3."""
    coarse, fine = gradient_error(0.01, engine), gradient_error(0.001, engine)
    assert gradient_error(10.0, engine) > 1.0
    assert 0.9e-2 < coarse < 3.6e-2
    assert 0.8e-3 < fine < 3.2e-3


# ---- a refresh far ahead


SKIPS = {
    "batched": "hlsim.engine.general.wakeups._DENSE",
    "reference": "hlsim.engine.reference.wakeups.DENSE",
}


@engines
def test_ticks_that_are_passed_over_would_not_have_woken_anybody(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks are looked at one by one up to the refresh, or three and then as few as need be: the same run."""

    @settings(max_examples=3)
    @given(cases("arrival", 40), st.sampled_from((40, 300, 2000)))
    def check(drawn: Case, refresh: int) -> None:
        case = fixed(drawn, node={"refresh": refresh, "send_threshold": 0.02, "costate_threshold": 0.02})
        traces = []
        for dense in (3, 10**6):
            with monkeypatch.context() as patch:
                patch.setattr(SKIPS[engine], dense)
                traces.append(run(case, 80, engine=engine)[1])
        for name in ("tick", "node", "kind", "value"):
            one, other = (trace[f"events/{name}"] for trace in traces)
            np.testing.assert_array_equal(one, other)

    check()


@pytest.mark.parametrize("options", [{"compiled": "never"}, {"compiled": "always"}, {"engine": "reference"}])
def test_a_drive_that_moves_slowly_wakes_its_neuron_at_the_tick_that_its_equation_says(
    options: dict[str, Any],
) -> None:
    """An output held off its target: z = e, so that a = w x falls by beta x^2 e t^2 / 2 where eta is 0.

    Its refresh lies beyond; a million ticks are passed over on the way.
    """
    beta, error, threshold = 1e-13, 0.5, 0.02
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node(
        "y", model="instant", activation="identity", role="output", refresh=2**52, send_threshold=threshold
    )
    graph.add_edge("x", "y", weight=1.0, beta=beta)
    sim = hlsim.Simulation(graph, rule=Hamiltonian(eta=0.0), dtype="float64", **options)
    sim.controls.input(np.array([1.0]))
    sim.controls.target(np.array([1.0 - error]))
    expected = math.ceil(math.sqrt(2 * threshold / (beta * error)))
    assert expected > 800_000
    trace = sim.run(until=expected + 10, sampled=(), events=("update",))
    ticks = trace["events/tick"][trace["events/node"] == sim.network.label.index("y")]
    assert ticks.tolist() == [0, expected]
