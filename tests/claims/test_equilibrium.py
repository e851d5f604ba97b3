"""Equilibrium propagation against closed forms, a two-neuron net and published figures of a 6-4-4 net."""

import os
from typing import Any

import networkx as nx
import numpy as np
import pytest

import hlsim
from hlsim.models.rules import Equilibrium, HolomorphicEquilibrium, Rule
from hlsim.stimulus import Arrays
from tests.support import hep
from tests.support.hep import DATA, ENGINES, EXACT

VERIFY = os.environ.get("HLSIM_VERIFY") == "1"
WAYS = [("instant", "clock"), ("instant", "arrival"), ("leaky", "clock"), ("leaky", "arrival")]
ways = pytest.mark.parametrize(("model", "update"), WAYS, ids=["-".join(way) for way in WAYS])
engines = pytest.mark.parametrize("engine", ENGINES)


def holomorphic(nudge: float, points: int, **options: Any) -> HolomorphicEquilibrium:
    return HolomorphicEquilibrium(beta=0.0, nudge=nudge, points=points, **options)


# ---- one linear neuron: E = s^2/2 - w x s, L = (s - y)^2/2

B = 0.5
RATIOS: list[tuple[Rule, float]] = [
    (Equilibrium(beta=0.0, nudge=B), 1 / (1 + B)),
    (Equilibrium(beta=0.0, nudge=B, symmetric=True), 1 / (1 - B**2)),
    (holomorphic(B, 1), 1 / (1 + B)),
    (holomorphic(B, 2), 1 / (1 - B**2)),
    (holomorphic(B, 4), 1 / (1 - B**4)),
    (holomorphic(B, 8), 1 / (1 - B**8)),
]


@engines
@ways
@pytest.mark.parametrize(("rule", "ratio"), RATIOS, ids=[f"{ratio:.6f}" for _, ratio in RATIOS])
def test_of_one_linear_neuron_the_estimate_has_a_closed_form(
    rule: Rule, ratio: float, model: str, update: str, engine: str
) -> None:
    """It is 1/(1 + b), 1/(1 - b^2) and 1/(1 - (-b)^N) times the gradient."""
    w, x, y = 0.7, 0.9, -0.4
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("s", model=model, activation="identity", update=update, role="output", **EXACT)
    graph.add_edge("x", "s", weight=w)
    sim = hlsim.Simulation(
        graph, rule=rule, stimulus=Arrays([[x]], [[y]]), hold=400, dtype="float64", engine=engine
    )
    trace = sim.run(sampled=())
    assert trace["phases/quiet"].all()
    assert sim.read("gradient")[0, 0] == pytest.approx(ratio * (w * x - y) * x, rel=1e-11)


# ---- two neurons that feed each other

TRUE = np.array([-0.241658956951, -0.716732711708])
TABLE = {1: "6.31e-02", 2: "2.75e-02", 4: "5.47e-04", 8: "2.27e-05", 16: "4.0e-09"}


def assert_digits(value: float, expected: str) -> None:
    """Compare to the digits given."""
    assert f"{value:.{len(expected) - 6}e}" == expected


def two_neurons(model: str, update: str) -> nx.Graph:
    """Return h <- f(.8 x + .6 o), o <- f(.6 h + b (y - o)), f(v) = 1/(1 + exp(2 - 4v))."""
    graph = nx.Graph()
    graph.add_node("x", model="input")
    node = {"model": model, "update": update, "activation": "steep_sigmoid", **EXACT}
    graph.add_node("h", **node)
    graph.add_node("o", role="output", **node)
    graph.add_edge("x", "h", weight=0.8)
    graph.add_edge("h", "o", weight=0.6, delay=1)
    return graph


def of_two(
    rule: Rule, model: str = "instant", update: str = "clock", engine: str = "batched"
) -> hlsim.Simulation:
    sim = hlsim.Simulation(
        two_neurons(model, update),
        rule=rule,
        stimulus=Arrays([[0.5]], [[1.0]]),
        hold=400,
        dtype="float64",
        engine=engine,
    )
    sim.run(sampled=())
    return sim


def error_of_two(sim: hlsim.Simulation) -> float:
    found = {
        (sim.network.label[s], sim.network.label[t]): g
        for s, t, g in zip(sim.network.source, sim.network.target, sim.read("gradient")[0], strict=True)
    }
    assert found["h", "o"] == pytest.approx(found["o", "h"], rel=1e-10)
    return float(np.linalg.norm([found["x", "h"], found["h", "o"]] - TRUE) / np.linalg.norm(TRUE))


@engines
@ways
def test_two_neurons_settle_where_their_equations_say(model: str, update: str, engine: str) -> None:
    graph, stimulus = two_neurons(model, update), Arrays([[0.5]], [[1.0]])
    options: dict[str, Any] = {"stimulus": stimulus, "hold": 400, "dtype": "float64", "engine": engine}
    sim = hlsim.Simulation(graph, rule=Equilibrium(), stages=[hlsim.stimulus.Stage(learn=False)], **options)
    sim.run(sampled=())
    h = dict(zip(sim.network.label, sim.read("h")[0], strict=True))
    assert h["h"] == pytest.approx(0.623375260324, abs=2e-12)
    assert h["o"] == pytest.approx(0.376624739676, abs=2e-12)


@engines
@ways
@pytest.mark.parametrize("points", TABLE)
def test_the_error_of_two_neurons_falls_with_the_points(
    points: int, model: str, update: str, engine: str
) -> None:
    sim = of_two(holomorphic(0.1, points), model, update, engine)
    assert_digits(error_of_two(sim), TABLE[points])


def test_one_point_is_one_sided_and_two_are_symmetric() -> None:
    for points, rule in ((1, Equilibrium(nudge=0.1)), (2, Equilibrium(nudge=0.1, symmetric=True))):
        real, complex_ = (of_two(each).read("gradient") for each in (rule, holomorphic(0.1, points)))
        np.testing.assert_allclose(real, complex_, rtol=1e-10)


@pytest.mark.filterwarnings("ignore:.*did not settle")
def test_beyond_the_radius_of_convergence_points_do_not_help() -> None:
    """The nearest singularity is at .260733."""
    errors = [error_of_two(of_two(holomorphic(0.4, points))) for points in (2, 4, 8, 16)]
    assert min(errors) > 0.1


# ---- the 6-4-4 net

SMALL = [i for i, beta in enumerate(DATA["fig2d_stored"]["beta"]) if beta <= 0.5786]
SHOWN = SMALL if VERIFY else SMALL[::3]


@pytest.mark.parametrize("points", [1, 30])
@pytest.mark.parametrize("i", SHOWN, ids=lambda i: f"{DATA['fig2d_stored']['beta'][i]:.4f}")
def test_the_published_curves_are_met(i: int, points: int) -> None:
    """Cosine and distance of the estimate over |beta|, figure 2 of the paper."""
    stored = DATA["fig2d_stored"]
    sim = hep.simulate(hep.toy(send_threshold=1e-12), holomorphic(stored["beta"][i], points), hold=1500)
    assert sim.run(sampled=())["phases/quiet"].all()
    assert hep.cosine(sim) == pytest.approx(stored[f"cos_N{points}"][i], abs=1e-6)
    assert hep.distance(sim) == pytest.approx(stored[f"dist_N{points}"][i], abs=2e-5, rel=1e-2)


RELATIVE = {
    1: ("7.43e-02", "2.41e-01", "4.19e-01"),
    2: ("4.89e-03", "4.14e-02", "1.05e-01"),
    4: ("6.17e-05", "5.06e-03", "4.12e-02"),
    10: ("1.4e-10", "8.41e-06", "1.43e-03"),
}


@pytest.mark.parametrize("points", RELATIVE)
@pytest.mark.parametrize(("which", "nudge"), list(enumerate((0.1, 0.3, 0.5))))
def test_the_relative_errors_are_those_of_the_table(which: int, nudge: float, points: int) -> None:
    sim = hep.simulate(hep.toy(**EXACT), holomorphic(nudge, points))
    assert sim.run(sampled=())["phases/quiet"].all()
    assert_digits(hep.relative_error(sim), RELATIVE[points][which])


@pytest.mark.parametrize("radius", DATA["fig2c_fixed_points_stored"])
def test_the_stored_complex_fixed_points_are_met(radius: str) -> None:
    """24 of them, at beta = |beta| exp(2 pi i k/24)."""
    stored = DATA["fig2c_fixed_points_stored"][radius]
    sim = hep.simulate(hep.toy(**EXACT), holomorphic(float(radius), 24))
    with sim.run(sampled=("h",), every=1) as trace:
        ends = trace["phases/tick"]
        assert trace["phases/quiet"].all()
        assert trace["phases/nudge"][1:] == pytest.approx(
            float(radius) * np.exp(2j * np.pi * np.arange(24) / 24)
        )
        h = trace["sampled/h"][ends[1:]]
    for layer in ("h1", "h2"):
        columns = [sim.network.label.index(f"{layer}[{i}]") for i in range(4)]
        expected = np.array(stored[f"{layer}_re"]) + 1j * np.array(stored[f"{layer}_im"])
        assert np.abs(h[:, columns] - expected).max() < 2e-6
