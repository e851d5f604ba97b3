"""Stages, rows and controls: what is asked for happens, at the tick asked for, and nothing else does."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import simpy

import hlsim
from hlsim.engine.clock import READ, call_at
from hlsim.engine.controls import Controls
from hlsim.errors import ExperimentError, StimulusError, TraceError
from hlsim.models.rules import Equilibrium, Gate, Hamiltonian, Schedule
from hlsim.stimulus import Arrays, Stage

ENGINES = ("batched", "reference")
HOLD = 5


def chain() -> nx.DiGraph:
    """u -> y, one linear leaky neuron with tau = dt: y(t + 1) = w u(t)."""
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_node("y", activation="identity", update="clock", role="output")
    graph.add_edge("u", "y", weight=0.5)
    return graph


def rows(count: int = 6) -> Arrays:
    generator = np.random.default_rng(3)
    return Arrays(generator.normal(size=(count, 1)), generator.normal(size=(count, 1)))


def simulate(**options: Any) -> hlsim.Simulation:
    given: dict[str, Any] = {"rule": Hamiltonian(beta=0.05, eta=0.5), "dtype": "float64", "hold": HOLD}
    return hlsim.Simulation(chain(), **{**given, **options})


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_is_held_and_the_next_takes_its_place(engine: str) -> None:
    data = rows()
    trace = simulate(stimulus=data, engine=engine).run(every=1)
    shown = np.array([row.input[0] for row in data.rows("train", None)])
    np.testing.assert_array_equal(trace["sampled/h"][:, 0], np.repeat(shown, HOLD))
    assert trace["stimulus/tick"].tolist() == [HOLD * k for k in range(6)]
    np.testing.assert_array_equal(trace["stimulus/input"][:, 0], shown)
    assert trace["rows/tick"].tolist() == [HOLD * k + HOLD - 1 for k in range(6)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stage_that_does_not_learn_holds_w_and_omega_bit_for_bit(engine: str) -> None:
    stages = [Stage("one"), Stage("test", learn=False), Stage("two")]
    trace = simulate(stimulus=rows(), stages=stages, engine=engine).run(every=1)
    w, omega = trace["sampled/w"][:, 0], trace["sampled/omega"][:, 0]
    start, end = 6 * HOLD, 12 * HOLD
    # The tick at which the switch takes effect still integrates the time before it.
    assert (w[start : end + 1] == w[start]).all()
    assert (omega[start : end + 1] == omega[start]).all()
    assert len(set(w[:start])) > start // 2
    assert len(set(w[end + 1 :])) > start // 2


def errors(trace: Any) -> np.ndarray:
    """dL/dh at every tick: h - target."""
    return trace["sampled/h"][:, 1] - np.repeat(trace["stimulus/target"][:, 0], HOLD)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("off", [0, 2, 4, 5, 9])
def test_a_gate_silences_the_loss_for_the_first_ticks_of_every_row(engine: str, off: int) -> None:
    """z(t + 1) = phi (h - target) - eta z: with tau = dt the costate shows phi of the tick before."""
    rule = Hamiltonian(beta=0.0, eta=0.5, phi=Gate(off, 0.7))
    trace = simulate(stimulus=rows(), rule=rule, engine=engine).run(every=1)
    phi = np.where(np.arange(6 * HOLD) % HOLD >= off, 0.7, 0.0)
    assert_costate_follows(trace, phi)


@pytest.mark.parametrize("engine", ENGINES)
def test_phi_follows_its_schedule(engine: str) -> None:
    rule = Hamiltonian(beta=0.0, eta=0.5, phi=Schedule(((2, 1.0), (7, 0.25), (20, 0.0))))
    trace = simulate(stimulus=rows(), rule=rule, engine=engine).run(every=1)
    ticks = np.arange(6 * HOLD)
    assert_costate_follows(trace, np.select([ticks >= 20, ticks >= 7, ticks >= 2], [0.0, 0.25, 1.0], 0.0))


def test_a_stage_may_have_a_phi_of_its_own() -> None:
    stages = [Stage("a"), Stage("b", phi=0.25)]
    rule = Hamiltonian(beta=0.0, eta=0.5, phi=1.0)
    trace = simulate(stimulus=rows(3), stages=stages, rule=rule).run(every=1)
    assert_costate_follows(trace, np.repeat([1.0, 0.25], 3 * HOLD))


def assert_costate_follows(trace: Any, phi: np.ndarray) -> None:
    z, error = trace["sampled/z"][:, 1], errors(trace)
    np.testing.assert_allclose(z[1:], phi[:-1] * error[:-1] - 0.5 * z[:-1], rtol=1e-13, atol=1e-15)
    assert z[0] == 0.0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reset_between_rows_makes_each_row_a_run_of_its_own(engine: str) -> None:
    """State and costate start anew; w and omega carry over: rows one by one, with weights handed on."""
    trace = simulate(stimulus=rows(), reset=True, engine=engine).run(every=1)
    h, z = trace["sampled/h"][:, 1], trace["sampled/z"][:, 1]
    starts = np.arange(0, 6 * HOLD, HOLD)
    assert (h[starts] == 0).all()
    assert (z[starts] == 0).all()
    assert (h[starts + 1] != 0).all()
    w, u = trace["sampled/w"][:, 0], trace["sampled/h"][:, 0]
    np.testing.assert_allclose(h[starts + 1], w[starts] * u[starts], rtol=1e-14)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_process_asks_for_takes_effect_at_its_tick(engine: str) -> None:
    """Asked for before the phases of a tick: at this tick. Asked for after them: at the next."""
    sim = simulate(engine=engine, loss=None)

    def play(env: simpy.Environment, controls: Controls) -> Generator[simpy.Event]:
        yield env.timeout(3)
        controls.input(np.array([2.0]))
        yield env.timeout(4)
        controls.input(np.array([-1.0]))
        controls.input(np.array([4.0]))  # the last word counts

    sim.env.process(play(sim.env, sim.controls))
    call_at(sim.env, 5, READ, lambda: sim.controls.input(np.array([3.0])))
    trace = sim.run(until=12, every=1)
    expected = np.array([0.0] * 3 + [2.0] * 3 + [3.0] + [4.0] * 5)
    np.testing.assert_array_equal(trace["sampled/h"][:, 0], expected)
    np.testing.assert_allclose(trace["sampled/h"][1:, 1], (trace["sampled/w"][:, 0] * expected)[:-1])


def test_rows_know_what_was_predicted() -> None:
    """Prediction: the largest output at a row's last tick, recomputed from the samples."""
    generator = np.random.default_rng(0)
    label = generator.integers(0, 3, 20)
    data = Arrays(generator.normal(size=(20, 4)), np.eye(3)[label], label)
    graph = hlsim.topology.layered([4, 6, 3], seed=2)
    sim = hlsim.Simulation(graph, stimulus=data, hold=4, dtype="float64", node_defaults={"update": "clock"})
    trace = sim.run(every=1)
    last = trace["rows/tick"]
    outputs = trace["sampled/h"][last][:, sim.network.outputs]
    np.testing.assert_array_equal(trace["rows/prediction"], outputs.argmax(1))
    np.testing.assert_array_equal(trace["rows/label"], label)
    np.testing.assert_allclose(
        trace["rows/loss"], 0.5 * ((outputs - np.eye(3)[label]) ** 2).sum(1), rtol=1e-13
    )
    right = (outputs.argmax(1) == label).mean()
    assert trace.summary["accuracy"] == {"train": pytest.approx(right, abs=1e-15)}
    assert trace.summary["loss"] == pytest.approx(trace["rows/loss"].mean(), rel=1e-13)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_goes_on_where_the_last_one_ended(engine: str) -> None:
    whole, parts = simulate(stimulus=rows(), engine=engine), simulate(stimulus=rows(), engine=engine)
    trace = whole.run(every=1)
    pieces = [parts.run(until, every=1) for until in (7, 8, 21, None)]
    for name in ("h", "z", "w", "omega"):
        np.testing.assert_array_equal(
            np.concatenate([piece[f"sampled/{name}"] for piece in pieces]), trace[f"sampled/{name}"]
        )
    assert pieces[-1].summary["node_updates"] == trace.summary["node_updates"]
    assert pieces[2]["stimulus/tick"].tolist() == [10, 15, 20]


def test_a_stage_may_hold_its_rows_for_a_time_of_its_own() -> None:
    stages = [Stage("brief", hold=2), Stage("long", hold=7), Stage("as told")]
    sim = simulate(stimulus=rows(3), stages=stages)
    trace = sim.run(every=1)
    starts = [0, 2, 4, 6, 13, 20, 27, 32, 37]
    assert trace["stimulus/tick"].tolist() == starts
    assert trace["rows/tick"].tolist() == [start - 1 for start in [*starts[1:], 42]]
    assert sim.tick == 42


# ---- after the last row


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_after_the_last_row_nothing_is_shown_and_nothing_learned(engine: str, update: str) -> None:
    """The time from the last tick of the last row to the next is that row's still, as for every row."""
    options = {"stimulus": rows(), "engine": engine, "node_defaults": {"update": update}}
    sim = simulate(**options)
    sim.run()
    later = sim.run(until=100, every=1)
    longer = simulate(**options, stages=[Stage("one"), Stage("two")]).run(every=1)
    for name in ("w", "omega"):
        values = later[f"sampled/{name}"][:, 0]
        assert set(values.tolist()) == {longer[f"sampled/{name}"][6 * HOLD, 0]}
    assert (later["sampled/h"][:, 0] == 0).all()
    assert later["stimulus/tick"].tolist() == [6 * HOLD]
    assert np.isnan(later["sampled/loss"]).all()
    assert [later[f"controls/{name}"].tolist() for name in ("tick", "learn")] == [[6 * HOLD], [0]]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_asked_for_at_the_end_is_done_after_it(engine: str) -> None:
    """Whether before the run goes on, or by a process at the first tick behind the last row."""
    sim = simulate(stimulus=rows(), engine=engine)
    sim.run()
    sim.controls.input(np.array([2.0]))
    sim.controls.learn(True)
    sim.controls.target(np.array([1.0]))
    later = sim.run(until=6 * HOLD + 3, every=1)
    assert (later["sampled/h"][:, 0] == 2.0).all()
    assert len(set(later["sampled/w"][:, 0].tolist())) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_more_stages_are_what_they_would_have_been_from_the_start(engine: str) -> None:
    """With a reset before every row but the first of all, and an order of their own."""
    stages = [Stage("one"), Stage("two", shuffle=True, passes=2), Stage("three", learn=False, hold=2)]
    options = {"stimulus": rows(), "reset": True, "engine": engine}
    whole = simulate(stages=stages, **options).run(every=1)
    sim = simulate(stages=stages[:1], **options)
    pieces = [sim.run(every=1), sim.run(every=1, stages=stages[1:2]), sim.run(every=1, stages=stages[2:])]
    for name in ("sampled/h", "sampled/w", "sampled/omega", "rows/loss", "rows/split", "stimulus/tick"):
        np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), whole[name])
    assert list(sim.summary["accuracy"]) == []
    assert sim.tick == whole.summary["ticks"]


def test_more_stages_follow_when_those_before_are_over(tmp_path: Path) -> None:
    sim = simulate(stimulus=rows())
    sim.run(until=12)
    with pytest.raises(
        ExperimentError, match=r"stage: more stages follow .* last to tick 30; this is tick 12"
    ):
        sim.run(stages=[Stage("more")])
    sim.run()
    with pytest.raises(ExperimentError, match="needed at tick 30, where the stages are over"):
        sim.run()
    with pytest.raises(ExperimentError, match="stage 'train': is there twice"):
        sim.run(stages=[Stage()])
    with pytest.raises(ExperimentError, match="1 stages need a stimulus"):
        simulate().run(stages=[Stage()])
    with pytest.raises(TraceError, match="there is no folder"):
        sim.run(stages=[Stage("more")], record=tmp_path / "none" / "t.h5")
    assert sim.tick == 30
    assert sim.run(stages=[Stage("more")], record=tmp_path / "t.h5").summary["ticks"] == 60


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_up_to_a_tick_comes_to_it_though_phases_ended_sooner(engine: str) -> None:
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("y", model="instant", activation="identity", role="output")
    graph.add_edge("x", "y", weight=0.5)
    for until in (150, 201, 250):
        sim = hlsim.Simulation(
            graph, stimulus=Arrays([[0.8]], [[1.0]]), hold=100, rule=Equilibrium(), engine=engine
        )
        sim.run()
        assert sim.tick < 150
        assert sim.run(until=until).status == "complete"
        assert sim.tick == until
        once = hlsim.Simulation(
            graph, stimulus=Arrays([[0.8]], [[1.0]]), hold=100, rule=Equilibrium(), engine=engine
        )
        once.run(until=until)
        assert once.tick == until
        np.testing.assert_array_equal(once.read("w"), sim.read("w"))


# ---- labels, and rows without targets


def classes(**options: Any) -> hlsim.Simulation:
    graph = hlsim.topology.layered([2, 5, 3], output_activation="identity", seed=0)
    given = {"node_defaults": {"update": "clock"}, "hold": 4, "dtype": "float64"}
    return hlsim.Simulation(graph, **{**given, **options})


LABELS = np.array([0, 2, 1, 1, -1, 0])
INPUTS = np.random.default_rng(5).normal(size=(6, 2))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("more", [{}, {"ensemble": 2}])
def test_labels_without_targets_ask_for_their_class(loss: str, engine: str, more: dict[str, int]) -> None:
    """As rows that a generator gives with targets of 1 and 0; a row without a label asks for nothing."""
    options = {"loss": loss, "engine": engine, **more}
    sim = classes(stimulus=Arrays(INPUTS, label=LABELS), **options)
    start = sim.read("w")
    trace = sim.run(every=1)
    other = classes(**options)

    def show(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        for shown, label in zip(INPUTS, LABELS, strict=True):
            other.controls.input(shown)
            other.controls.target(np.eye(3)[label] if label >= 0 else None)
            yield env.timeout(4)

    other.env.process(show(other.env))
    np.testing.assert_array_equal(other.run(until=24, every=1)["sampled/w"], trace["sampled/w"])
    assert np.abs(sim.read("w") - start).max() > 1e-3


def test_a_label_needs_an_output_of_its_own() -> None:
    line = "label 3 needs a node of role 'output' of its own where there are no targets; there are 3"
    with pytest.raises(StimulusError, match=line):
        classes(stimulus=Arrays(INPUTS, label=LABELS + (LABELS == 2)))
    with pytest.raises(StimulusError, match="row 4: label must be >= 0, or -1 for none, got -2"):
        Arrays(INPUTS, label=np.where(LABELS < 0, -2, LABELS))


@pytest.mark.parametrize("label", [None, np.full(6, -1)])
def test_a_stage_cannot_learn_from_rows_that_ask_for_nothing(label: np.ndarray | None) -> None:
    stream = Arrays(INPUTS, label=label)
    line = "stage 'second': learns, but no row of the stimulus has a target or a label"
    with pytest.raises(StimulusError, match=line):
        classes(stimulus=stream, stages=[Stage("first", learn=False), Stage("second")])
    for harmless in ({"stages": [Stage("first", learn=False)]}, {"loss": None}):
        assert classes(stimulus=stream, **harmless).run().status == "complete"
