"""A run that fails says where, and loses nothing that was recorded."""

from collections.abc import Generator, Iterator
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import simpy

import hlsim
from hlsim.engine.controls import Controls
from hlsim.errors import NumericalError
from hlsim.models.rules import Hamiltonian
from hlsim.trace import recorder

ENGINES = ("batched", "reference")


def runaway() -> nx.DiGraph:
    """One linear neuron that doubles itself: h(t + 1) = 2 h(t) + u."""
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_node("steady", update="clock", role="output")
    graph.add_node("v", activation="identity", update="clock")
    graph.add_edge("u", "v", weight=1.0, plastic=False)
    graph.add_edge("v", "v", weight=2.0, plastic=False, feedback="none")
    return graph


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_that_overflows_stops_the_run_with_its_tick_and_node(engine: str, tmp_path: Path) -> None:
    """From u = 1 at tick 0 on, a(t) = 2^(t+1) - 1: the first that float64 cannot hold is a(1023)."""
    sim = hlsim.Simulation(runaway(), engine=engine, dtype="float64", loss=None, rule=Hamiltonian(beta=0.0))
    sim.controls.input(np.ones(1))
    path = tmp_path / "t.h5"
    with pytest.raises(NumericalError, match=r"^tick 1023: node 'v': a must stay finite, got inf$") as caught:
        sim.run(until=2000, record=path, every=1)
    assert (caught.value.tick, caught.value.node) == (1023, "v")
    with hlsim.trace.open(path) as trace:
        assert trace.attrs["status"] == "interrupted"
        ticks, drive = trace["sampled/tick"], trace["sampled/a"][:, 2]
    assert ticks.tolist() == list(range(1023))
    np.testing.assert_array_equal(drive, 2.0 ** (ticks + 1.0) - 1.0)


def broken(env: simpy.Environment, error: BaseException) -> Generator[simpy.Event]:
    yield env.timeout(20)
    raise error


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_whatever_ends_a_run_keeps_its_trace(error: BaseException, tmp_path: Path) -> None:
    """An exception in a user's process and Ctrl-C leave what was recorded before."""
    sim = hlsim.Simulation(hlsim.topology.ring(4, seed=0), dtype="float64", loss=None)
    sim.env.process(broken(sim.env, error))
    with pytest.raises(type(error)):
        sim.run(until=100, record=tmp_path / "t.h5", every=1)
    with hlsim.trace.open(tmp_path / "t.h5") as trace:
        assert trace.attrs["status"] == "interrupted"
        assert trace["sampled/tick"].tolist() == list(range(20))


@pytest.mark.parametrize("engine", ENGINES)
def test_events_reach_the_file_while_a_run_goes_on_that_samples_nothing(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(recorder, "FLUSH_SHARE", 0.0)
    graph = hlsim.topology.ring(4, seed=0)
    sim = hlsim.Simulation(
        graph, engine=engine, loss=None, node_defaults={"update": "clock", "send_threshold": 0.0}
    )
    seen = []

    def look() -> Generator[simpy.Event]:
        yield sim.env.timeout(30)
        with hlsim.trace.open(tmp_path / "t.h5") as trace:
            seen.append(trace["events/tick"].max())

    sim.env.process(look())
    with sim.run(until=40, record=tmp_path / "t.h5", sampled=(), events=("message", "update")) as trace:
        assert trace["events/tick"].max() == 39
    assert seen[0] in (28, 29)


def test_what_a_process_asks_of_controls_is_checked() -> None:
    controls = Controls(1, 2, 1)
    with pytest.raises(hlsim.HlsimError, match=r"^input: must have shape \(2,\) or \(1, 2\), got \(3,\)$"):
        controls.input(np.zeros(3))
    with pytest.raises(hlsim.HlsimError, match=r"^target: must be finite, got nan$"):
        controls.target(np.array([np.nan]))


def wrong() -> Iterator[tuple[dict[str, object], str]]:
    """Options of a simulation, and the line that refuses them."""
    yield {"engine": "fast"}, "unknown engine 'fast'; known: batched, reference"
    yield {"dtype": "float16"}, "known: float32, float64"
    yield {"device": "tpu"}, "known: auto, cpu, cuda"
    yield {"loss": "hinge"}, "unknown loss 'hinge'; known: cross_entropy, none, squared_error"
    yield {"batch": 0}, "simulation.batch: must be a whole number >= 1, got 0"
    yield {"threads": True}, "simulation.threads: must be a whole number >= 1, got True"
    yield {"compiled": "yes"}, "simulation: unknown compiled 'yes'"
    yield {"batch": 2, "ensemble": 2}, "batch and ensemble exclude each other, got 2 and 2"
    yield {"batch": 2}, "simulation.batch: replicas that share synapses need neurons with clock 1"
    yield (
        {"rule": Hamiltonian(order="sequential")},
        "sequential needs update = 'clock', got node 'neuron\\[0\\]'",
    )
    yield {"rule": Hamiltonian(weight_decay=0.1)}, "learning.weight_decay: must be 0"
    yield {"stages": [hlsim.stimulus.Stage()]}, "1 stages need a stimulus"


@pytest.mark.parametrize(("options", "line"), list(wrong()), ids=lambda value: str(value)[:40])
def test_options_without_meaning_are_refused_in_one_line(options: dict[str, object], line: str) -> None:
    with pytest.raises(hlsim.HlsimError, match=line) as caught:
        hlsim.Simulation(hlsim.topology.ring(4, seed=0), **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("until", "line"),
    [(None, "is needed where no stage says how long"), (0, "ticks >= 1, got 0"), (2.5, "got 2.5")],
)
def test_the_length_of_a_run_is_checked(until: object, line: str) -> None:
    sim = hlsim.Simulation(hlsim.topology.ring(4, seed=0), loss=None)
    with pytest.raises(hlsim.HlsimError, match=line):
        sim.run(until=until)  # type: ignore[arg-type]
