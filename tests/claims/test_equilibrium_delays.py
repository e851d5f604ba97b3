"""Equilibrium propagation where signals take time: delays, rotating teachers, synapses that never wait."""

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest

import hlsim
from hlsim import experiment
from hlsim.experiment import forecast
from hlsim.models.rules import (
    ContinualEquilibrium,
    Equilibrium,
    HolomorphicEquilibrium,
    OscillatingEquilibrium,
)
from hlsim.simulation import watch
from hlsim.simulation.traffic import EventStormWarning
from hlsim.simulation.watch import Progress
from hlsim.stimulus import Arrays
from tests.support import hep
from tests.support.hep import ENGINES, EXACT
from tests.support.places import TOPOLOGIES

engines = pytest.mark.parametrize("engine", ENGINES)


def drawn(seed: int, low: int, high: int) -> Callable[[], int]:
    generator = np.random.default_rng(seed)
    return lambda: int(generator.integers(low, high + 1))


# ---- phases


@pytest.mark.parametrize(
    ("nudge", "points", "error", "tolerance", "seed"),
    [
        *((0.2, 1, 0.155433, 5e-7, seed) for seed in range(3)),
        (0.3, 12, 1.908e-6, 5e-10, 0),
        *(pytest.param(0.2, 1, 0.155433, 5e-7, k, marks=pytest.mark.verify) for k in range(3, 10)),
        *(pytest.param(0.3, 12, 1.908e-6, 5e-10, k, marks=pytest.mark.verify) for k in range(1, 10)),
    ],
)
def test_estimates_do_not_depend_on_delays(
    nudge: float, points: int, error: float, tolerance: float, seed: int
) -> None:
    """Every directed edge has a delay of its own, as if drawn from U(.1, 5) in steps of .1."""
    rule = HolomorphicEquilibrium(beta=0.0, nudge=nudge, points=points)
    graph = hep.toy(drawn(seed, 1, 50), update="arrival", send_threshold=1e-11, send_interval=25)
    sim = hep.simulate(graph, rule, hold=6000)
    assert sim.run(sampled=())["phases/quiet"].all()
    assert hep.relative_error(sim) == pytest.approx(error, abs=tolerance)


@engines
@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_both_engines_and_updates_settle_at_the_same_points_under_delays(update: str, engine: str) -> None:
    rule = HolomorphicEquilibrium(beta=0.0, nudge=0.2, points=2)
    graph = hep.toy(drawn(3, 1, 9), update=update, send_threshold=1e-12)
    sim = hep.simulate(graph, rule, hold=2000, engine=engine)
    assert sim.run(sampled=())["phases/quiet"].all()
    undelayed = hep.simulate(hep.toy(**EXACT), rule)
    undelayed.run(sampled=())
    np.testing.assert_allclose(hep.estimate(sim), hep.estimate(undelayed), atol=1e-9)


# ---- continual


@engines
@pytest.mark.parametrize("delays", [(1, 1), (1, 12)], ids=["delay 1", "delays to 12"])
@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_the_steps_of_continual_propagation_add_up_to_equilibrium_propagation(
    update: str, delays: tuple[int, int], engine: str
) -> None:
    """With weights at rest the sum telescopes, in both directed copies."""
    found = []
    for rule in (ContinualEquilibrium(beta=0.0, nudge=0.2), Equilibrium(beta=0.0, nudge=0.2)):
        graph = hep.toy(drawn(5, *delays), update=update, send_threshold=1e-14)
        sim = hep.simulate(graph, rule, hold=4000, engine=engine)
        sim.run(sampled=())
        found.append(sim.read("gradient")[0])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12, atol=1e-12)
    twin = sim.network.twin
    np.testing.assert_allclose(found[0][twin >= 0], found[0][twin[twin >= 0]], atol=1e-12)


@pytest.mark.parametrize("gain", [0.01, 0.1, 0.3, 0.7])
@engines
def test_moving_weights_amplify_the_steps_by_the_loop_gain(engine: str, gain: float) -> None:
    """One linear neuron, s = w x - b (s - y): g = x^2/(1 + b), in all EP/(1 - g rate/b)."""
    w, x, y, b = 0.7, 0.9, -0.4, 0.25
    rate = gain * b * (1 + b) / x**2
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("s", model="instant", activation="identity", update="clock", role="output", **EXACT)
    graph.add_edge("x", "s", weight=w)
    stimulus, rule = Arrays([[x]], [[y]]), ContinualEquilibrium(beta=rate, nudge=b)
    sim = hlsim.Simulation(graph, rule=rule, stimulus=stimulus, hold=900, dtype="float64", engine=engine)
    assert sim.run(sampled=())["phases/quiet"].all()
    one_sided = rate * (w * x - y) * x / (1 + b)
    assert w - sim.read("w")[0, 0] == pytest.approx(one_sided / (1 - gain), rel=1e-10)


@engines
def test_copies_of_a_coupling_stay_equal_while_they_learn(engine: str) -> None:
    """Under delays of their own, row after row, without a look at each other's weight."""
    graph = hep.toy(drawn(2, 1, 6), update="arrival", send_threshold=1e-10, send_interval=3)
    symmetric = nx.DiGraph()
    symmetric.add_nodes_from(graph.nodes(data=True))
    for u, v, data in graph.edges(data=True):
        if not symmetric.has_edge(v, u):
            symmetric.add_edge(u, v, **data, symmetric=u[0] != "x")
    rng = np.random.default_rng(1)
    stream = Arrays(rng.normal(size=(2, 6)), np.eye(4)[:2])
    for rule in (ContinualEquilibrium(beta=0.001, nudge=0.2), HolomorphicEquilibrium(beta=0.2, points=3)):
        sim = hlsim.Simulation(
            symmetric,
            rule=rule,
            stimulus=stream,
            hold=2000,
            dtype="float64",
            loss="cross_entropy",
            engine=engine,
        )
        start = sim.network.weight[0]
        assert sim.run(sampled=())["phases/quiet"].all()
        w, twin = sim.read("w")[0], sim.network.twin
        assert np.abs(w - start).max() > 1e-3
        np.testing.assert_allclose(w[twin >= 0], w[twin[twin >= 0]], atol=1e-9)


# ---- an oscillating teacher


def oscillating(steps: int, graph: nx.Graph, **options: Any) -> hlsim.Simulation:
    sim = hep.simulate(graph, OscillatingEquilibrium(beta=0.0, nudge=0.3, steps=steps, **options))
    sim.run(sampled=())
    return sim


def inner(sim: hlsim.Simulation, name: str) -> float:
    """Return an error relative to the gradient of W1, b1, W2 and b2."""
    network, true = sim.network, hep.true_gradient(sim.network)
    hidden = np.array([not network.label[i].startswith("y") for i in network.target])
    chosen = hidden & hep.forward(network)
    off = sim.read(name)[0] - (true if name == "gradient" else 0.0)
    return float(np.linalg.norm(off[chosen]) / np.linalg.norm(true[chosen]))


def test_smooth_rotation_has_the_errors_known_for_it() -> None:
    """Products of states of one tick, demodulated by the pull in them: tau = dt, no delay, a lag of 1."""
    graph = hep.toy(lambda: 0, "leaky")
    found = [inner(oscillating(steps, graph, lag=1), "gradient") for steps in (25, 50, 100, 200)]
    assert [f"{error:.2e}" for error in found] == ["1.84e-02", "4.75e-03", "1.20e-03", "3.00e-04"]


@pytest.mark.parametrize(
    ("delays", "model", "steps"),
    [
        ((0, 0), "leaky", (25, 50, 100, 200)),
        ((1, 1), "instant", (25, 50, 100, 200)),
        ((1, 8), "instant", (200, 400, 800)),
    ],
    ids=["no delay", "delay 1", "delays 1 to 8"],
)
def test_the_error_falls_with_the_square_of_the_steps_and_its_monitor_with_the_steps(
    delays: tuple[int, int], model: str, steps: tuple[int, ...]
) -> None:
    sims = [oscillating(each, hep.toy(drawn(1, *delays), model)) for each in steps]
    for name, order in (("gradient", 2.0), ("quadrature", 1.0)):
        slope = np.polyfit(np.log(steps), np.log([inner(sim, name) for sim in sims]), 1)[0]
        assert slope == pytest.approx(-order, abs=0.1)


def test_under_delays_the_error_stays_of_its_size() -> None:
    """About 1.2e3/P^2 for delays 1 to 8."""
    sims = [oscillating(400, hep.toy(drawn(seed, 1, 8))) for seed in range(5)]
    constants = [hep.relative_error(sim) * 400**2 for sim in sims]
    assert all(600 < constant < 2000 for constant in constants)


def both_ways(sim: hlsim.Simulation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the edges of all parameters, with couplings by the copy on the way out, and on the way back.

    The third is where the first two differ: the couplings.
    """
    network, out = sim.network, np.flatnonzero(hep.forward(sim.network))
    copies = {(network.source[e], network.target[e]): e for e in range(network.m)}
    back = np.array([copies.get((network.target[e], network.source[e]), e) for e in out])
    return out, back, out != back


# Steps a period: errors of the copies out and back, what parts them, imaginary part; both errors with lag.
OSCILLATING = {
    25: ("3.9e-02", "7.2e-02", "4.5e-02", "1.6e-01", "3.1e-02", "2.8e-02"),
    50: ("1.0e-02", "1.9e-02", "1.1e-02", "8.2e-02", "7.8e-03", "7.2e-03"),
    100: ("2.6e-03", "4.7e-03", "2.9e-03", "4.2e-02", "1.9e-03", "1.8e-03"),
}


@pytest.mark.parametrize("steps", OSCILLATING)
def test_the_copies_of_a_coupling_have_the_errors_of_the_table(steps: int) -> None:
    """Delays of a tick, a tick a step, relative to the gradient of all parameters, to the two digits told."""
    found = []
    for lag in (0, 1):
        sim = oscillating(steps, hep.toy(), lag=lag)
        out, back, coupled = both_ways(sim)
        true, gradient, turned = (
            hep.true_gradient(sim.network),
            sim.read("gradient")[0],
            sim.read("quadrature")[0],
        )
        found += [gradient[out] - true[out], gradient[back] - true[back]]
        found += [gradient[out] - gradient[back], turned[out]] if not lag else []
        assert coupled.any()
    size = np.linalg.norm(true[out])
    assert tuple(f"{np.linalg.norm(off) / size:.1e}" for off in found) == OSCILLATING[steps]


# ---- event storm and quiescence


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.verify) for k in (1, 2))])
def test_a_least_interval_between_sends_prevents_an_event_storm(seed: int) -> None:
    """Tolerance 1e-5; delays of a hundred different lengths, so that few messages come together."""
    counts = []
    for interval in (1, 500):
        graph = hep.toy(drawn(seed, 10, 500), update="arrival", send_threshold=1e-5, send_interval=interval)
        stages = [hlsim.stimulus.Stage(learn=False)]
        sim = hep.simulate(graph, Equilibrium(), hold=20_000, stages=stages)
        if interval == 1:
            with pytest.warns(EventStormWarning, match="event storm: .* send_interval above 1"):
                sim.run(sampled=())
        else:
            sim.run(sampled=())
        assert np.abs(sim.read("h")[0] - free_states(sim)).max() < 1e-3
        counts.append(sim.summary["state_messages"])
    assert counts[0] > 50 * counts[1]
    if seed == 0:
        assert counts == pytest.approx([75_952, 788], rel=0.01)


def test_an_interval_costs_time_and_saves_messages() -> None:
    """Delays of 1 to 50 ticks: by how much, to the digits told."""
    told = []
    for interval in (1, 50):
        graph = hep.toy(drawn(0, 1, 50), update="arrival", send_threshold=1e-5, send_interval=interval)
        sim = hep.simulate(graph, Equilibrium(), hold=2_000, stages=[hlsim.stimulus.Stage(learn=False)])
        sim.run(sampled=())
        told.append((sim.summary["state_messages"], sim.summary["ticks"]))
    (storm, soon), (calm, late) = told
    assert [storm, calm] == pytest.approx([11_960, 788], rel=0.01)
    assert late / soon == pytest.approx(1.8, abs=0.05)


def free_states(sim: hlsim.Simulation) -> np.ndarray:
    """Return h of the stored free fixed point; read-outs and inputs as they are."""
    h = sim.read("h")[0].copy()
    for i, label in enumerate(sim.network.label):
        if label.startswith("h"):
            h[i] = hep.DATA[f"free_{label[:2]}"][int(label[3:-1])]
    return h


@pytest.mark.filterwarnings("ignore:.*did not settle")
@engines
def test_a_phase_that_does_not_settle_ends_when_its_time_is_over(engine: str) -> None:
    rule = Equilibrium(beta=0.0, nudge=0.2, dwell=7)
    sim = hep.simulate(hep.toy(**EXACT), rule, hold=30, engine=engine)
    with sim.run(sampled=()) as trace:
        assert trace["phases/quiet"].tolist() == [0, 0]
        assert trace["phases/tick"].tolist() == [29, 36]
        assert trace["phases/nudge"].tolist() == [0.0, 0.2]


@engines
def test_a_dwell_is_kept_although_the_network_is_quiet(engine: str) -> None:
    rule = Equilibrium(beta=0.0, nudge=0.2, ends="dwell")
    sim = hep.simulate(hep.toy(**EXACT), rule, hold=100, engine=engine)
    with sim.run(sampled=()) as trace:
        assert trace["phases/tick"].tolist() == [99, 199]
    assert sim.tick == 201


@pytest.mark.parametrize("ends", ["dwell", "quiescence"])
def test_a_run_is_estimated_by_the_longest_its_phases_may_last(ends: str) -> None:
    plan = experiment.load(TOPOLOGIES / "hep_toy", [f"learning.ends={ends}", "stimulus.hold=60"])
    told = forecast.estimate(plan)
    sim = plan.simulation()
    sim.run(sampled=())
    assert told.ticks == 11 * 60 + 1
    assert told.may_be_shorter == (ends == "quiescence")
    assert (sim.tick == told.ticks) == (ends == "dwell")
    assert sim.summary["state_messages"] <= told.messages
    assert sim.summary["numbers"] == 2 * sim.summary["state_messages"]


def test_progress_expects_the_end_where_rows_so_far_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where the longest phases would."""
    monkeypatch.setattr(watch, "PULSE_S", 0.01)
    told: list[Progress] = []
    near = np.array(hep.DATA["x"]) + 0.05 * np.random.default_rng(0).normal(size=(20, 6))
    rows = Arrays(near, np.eye(4)[[hep.DATA["y"]] * 20])
    rule = Equilibrium(beta=0.0, nudge=0.02)
    graph = hep.toy(send_threshold=1e-8)
    options: dict[str, Any] = {"loss": "cross_entropy", "hold": 5000, "dtype": "float64", "compiled": "never"}
    sim = hlsim.Simulation(graph, rule=rule, stimulus=rows, **options)
    sim.run(sampled=(), progress=told.append)
    assert told[-1].tick == told[-1].until == sim.tick < 20 * 200
    late = [each for each in told[:-1] if each.tick > sim.tick / 2]
    assert late
    assert all(each.until < 2 * sim.tick for each in late)
