"""The state of a run, put into a fresh simulation at any tick: what follows is the same, bit for bit."""

import dataclasses
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from hlsim import Simulation, topology
from hlsim.engine.circuit.state import State
from hlsim.engine.clock import READ, call_at
from hlsim.engine.compiled import layout
from hlsim.engine.snapshot import declared
from hlsim.engine.tables import Table
from hlsim.errors import ExperimentError, NumericalError, TopologyError
from hlsim.models.rules import Equilibrium, Hamiltonian, HolomorphicEquilibrium
from hlsim.models.rules.phi import Gate, Schedule
from hlsim.simulation.faults import Change, Faults
from hlsim.simulation.noise import Noise
from hlsim.stimulus import Arrays, PythonStream, Row, Stage, Stream
from tests.claims.test_determinism import assert_same_bits, contents
from tests.claims.test_equilibrium_engines import nudged
from tests.support.agreement import BATCHED, COMPILED, REFERENCE
from tests.support.graphs import Case, cases

VERIFY = os.environ.get("HLSIM_VERIFY") == "1"
EXAMPLES = 60 if VERIFY else 3
TICKS = 40
ENGINES: Mapping[str, Mapping[str, Any]] = {"reference": REFERENCE, "torch": BATCHED, "compiled": COMPILED}
engines = pytest.mark.parametrize("engine", ENGINES)
EVERYTHING: Mapping[str, Any] = {"every": 1, "events": ("message", "update")}
# Seconds that a run has taken.
WALL = {"wall"}


def assert_same_state(one: Simulation, two: Simulation) -> None:
    mine, other = one.state(), two.state()
    assert mine.keys() == other.keys()
    changed = [name for name, x in mine.items() if x.tobytes() != other[name].tobytes()]
    assert set(changed) <= WALL


def assert_goes_on(make: Callable[[], Simulation], cut: int, until: int, **more: Any) -> None:
    """Compare what a simulation does after a cut with what a fresh one does that took its state there."""
    whole = make()
    whole.run(until=cut, **EVERYTHING, **more)
    state = whole.state()
    assert all(x.dtype.kind in "biufc" for x in state.values())
    other = make()
    other.restore(state)
    assert_same_state(whole, other)
    mine, its = (sim.run(until=until, **EVERYTHING) for sim in (whole, other))
    assert_same_bits(mine, its)
    assert_same_state(whole, other)
    uncut = make().run(until=until, **EVERYTHING)
    for name in [name for name in uncut.names() if name.startswith("sampled/")]:
        assert uncut[name][cut:].tobytes() == its[name].tobytes(), name


# ---- drawn at random


@st.composite
def options(draw: DrawFn, case: Case, nudges: bool) -> dict[str, Any]:
    """Draw what may be beside a network: rows, stages, resets, noise, faults, replicas."""
    network = case.network
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    count, outputs = draw(st.integers(3, 7)), len(network.outputs)
    numbers = generator.normal(size=(count, len(network.inputs) + outputs))
    label = generator.integers(0, max(1, outputs), count)
    target = np.eye(outputs)[label] if draw(st.booleans()) else None
    stream = Arrays(numbers[:, : len(network.inputs)], target, label)
    phi = None if nudges else draw(st.sampled_from((None, Gate(1, 0.5), Schedule(((3, 1.0), (17, 0.3))))))
    learn = case.options["loss"] != "none"
    stages = [
        Stage("one", "train", 2, draw(st.booleans()), learn, draw(st.sampled_from((None, 4))), phi),
        Stage("test", learn=False, noise=False, hold=draw(st.integers(2, 5))),
        Stage("two", shuffle=True, learn=learn),
    ]
    return {
        "stimulus": stream,
        "stages": stages,
        "hold": draw(st.integers(2, 6)),
        "reset": draw(st.booleans()),
        "noise": draw(st.sampled_from((None, Noise(0.1), Noise(0.05, shared=True, every=3)))),
        "faults": draw(st.sampled_from((None, FAULTS))),
        "ensemble": draw(st.sampled_from((1, 1, 2))),
    }


FAULTS = Faults(
    loss=0.1, jitter=2, failing=0.1, downtime=3.0, changes=(Change(5, delay=3), Change(11, loss=0.5))
)


@engines
@pytest.mark.filterwarnings("ignore::hlsim.errors.HlsimWarning")
def test_a_run_goes_on_in_a_fresh_simulation(engine: str) -> None:
    @settings(max_examples=2 * EXAMPLES)
    @given(cases(None if engine == "reference" else "mixed", TICKS), st.data(), st.integers(1, TICKS - 1))
    def check(case: Case, data: Any, cut: int) -> None:
        given = {"dtype": "float64", **case.options, **data.draw(options(case, False)), **ENGINES[engine]}
        try:
            assert_goes_on(lambda: Simulation(case.graph, **given), cut, TICKS)
        except NumericalError:
            reject()

    check()


@pytest.mark.parametrize("rule", [Equilibrium(beta=0.05), HolomorphicEquilibrium(beta=0.05)])
@pytest.mark.parametrize("engine", ["reference", "torch"])
@pytest.mark.filterwarnings("ignore::hlsim.errors.HlsimWarning")
def test_a_run_goes_on_where_phases_end_by_quiescence(engine: str, rule: Any) -> None:
    """In whatever phase it is cut."""

    @settings(max_examples=EXAMPLES)
    @given(cases("mixed", TICKS), st.data(), st.integers(1, TICKS - 1))
    def check(case: Case, data: Any, cut: int) -> None:
        try:
            case = nudged(case, rule, TICKS)
            drawn = data.draw(options(case, True))
            given = {"dtype": "float64", **case.options, **drawn, **ENGINES[engine]}
            assert_goes_on(lambda: Simulation(case.graph, **given), cut, TICKS)
        except (NumericalError, TopologyError):
            reject()

    check()


# ---- wherever it is cut


SMALL = topology.random(12, 4, draw=False, delay=(0, 4), inputs=2, outputs=2, bias=0.1)
MIXED = SMALL.copy()
# Some are updated at every tick, some now and then, and some when something arrives.
UPDATES: tuple[dict[str, Any], ...] = (
    {"update": "clock"},
    {"update": "clock", "period": 3, "phase": 1},
    {"update": "arrival"},
)
for _k, _data in enumerate(MIXED.nodes.values()):
    if _data.get("model") != "input":
        _data |= {"tau": 4.0, **UPDATES[_k % 3]}


def small(graph: Any = MIXED, **given: Any) -> Simulation:
    """A recurrent network with delays that learns from five rows, in stages, with noise and faults."""
    numbers = np.random.default_rng(0).normal(size=(5, 4))
    stages = [Stage("one", shuffle=True, phi=Gate(1)), Stage("test", learn=False, hold=2, noise=False)]
    made = {
        "rule": Hamiltonian(beta=0.05, eta=0.3),
        "stimulus": Arrays(numbers[:, :2], numbers[:, 2:], np.arange(5) % 2),
        "stages": [*stages, Stage("two", passes=2)],
        "hold": 3,
        "noise": Noise(0.05, every=2),
        "faults": FAULTS,
        "dtype": "float64",
    }
    return Simulation(graph, **{**made, **given})


@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_it_goes_on_from_every_tick(engine: str) -> None:
    """Before the first one too, through stages of all kinds, and after the last row."""
    stages = [
        Stage("one", rows=2, shuffle=True, phi=Gate(1)),
        Stage("test", learn=False, rows=1, noise=False),
    ]
    given = {**ENGINES[engine], "stages": [*stages, Stage("two", rows=2, hold=2)]}
    whole, uncut, states = small(**given), small(**given), []
    for tick in range(18):
        states.append(whole.state())
        whole.env.run(until=tick + 1)
    for sim in (whole, uncut):
        sim.env.run(until=22)
    for state in states:
        other = small(**given)
        other.restore(state)
        other.env.run(until=22)
        assert_same_state(other, uncut)
    assert_same_state(whole, uncut)


@engines
def test_a_state_taken_while_a_run_goes_on_is_that_between_two_runs(engine: str) -> None:
    states: list[dict[str, np.ndarray]] = []
    sim = small(**ENGINES[engine])
    call_at(sim.env, 16, READ + 1, lambda: states.append(sim.state()))
    whole = sim.run(until=40, **EVERYTHING)
    between, others = small(**ENGINES[engine]), [small(**ENGINES[engine]) for _ in range(2)]
    between.run(until=17, **EVERYTHING)
    traces = []
    for other, state in zip(others, (states[0], between.state()), strict=True):
        other.restore(state)
        traces.append(other.run(until=40, **EVERYTHING))
    assert_same_bits(*traces)  # type: ignore[arg-type]
    assert contents(whole)["final/w"] == contents(traces[0])["final/w"]


@pytest.mark.filterwarnings("ignore::hlsim.errors.HlsimWarning")
def test_stages_that_followed_on_others_are_gone_on_with() -> None:
    """Also where a run ended with its stages, in the middle of the events of a tick."""
    numbers = np.random.default_rng(1).normal(size=(4, 2))
    graph = topology.layered([1, 3, 1], model="leaky")
    graph = graph.to_undirected() if graph.is_directed() else graph
    options: dict[str, Any] = {"rule": Equilibrium(beta=0.1), "hold": 12, "dtype": "float64"}

    def make() -> Simulation:
        stream = Arrays(numbers[:, :1], numbers[:, 1:])
        return Simulation(graph, stimulus=stream, stages=[Stage("one")], **options)

    whole = make()
    whole.run()
    ended = make()
    ended.restore(whole.state())
    more = [Stage("two", shuffle=True), Stage("three", learn=False)]
    assert_same_bits(*(sim.run(stages=more, until=sim.tick + 17, **EVERYTHING) for sim in (whole, ended)))  # type: ignore[arg-type]
    followed = make()
    followed.restore(whole.state())
    assert_same_bits(*(sim.run(**EVERYTHING) for sim in (whole, followed)))  # type: ignore[arg-type]
    assert_same_state(whole, followed)
    assert list(followed.summary["accuracy"]) == list(whole.summary["accuracy"])


@engines
def test_what_was_asked_for_and_has_not_happened_is_not_forgotten(engine: str) -> None:
    """A phase that ends, links that change, a reset, a stimulus: asked for between two runs."""
    graph = topology.layered([1, 2, 1], model="leaky").to_undirected()
    rule, given = Equilibrium(beta=0.1), {"dtype": "float64", **ENGINES[engine]}

    def make() -> Simulation:
        return Simulation(graph, rule=rule, faults=Faults(manual=True), **given)

    whole = make()
    whole.controls.input(np.ones(1))
    whole.run(until=5, **EVERYTHING)
    whole.controls.input(np.full(1, 0.3))
    whole.controls.target(np.ones(1))
    whole.controls.mark(rule.phases()[-1])
    whole.controls.nudge(0.2)
    whole.controls.links(delay=3, loss=0.5)
    other = make()
    other.restore(whole.state())
    assert_same_bits(*(sim.run(until=15, **EVERYTHING) for sim in (whole, other)))  # type: ignore[arg-type]
    assert_same_state(whole, other)


# ---- streams


class Counting(Stream):
    """Rows without an end, from any of them on."""

    n_input = n_output = 1
    splits = ("train",)

    def length(self, split: str) -> None:
        self.check_split(split)

    def rows(self, split: str, order: Any = None, start: int = 0) -> Iterator[Row]:
        while True:
            yield Row(np.array([np.sin(start)]), np.array([np.cos(start)]))
            start += 1


class Endless(Counting):
    """The same, from the first on alone."""

    def rows(self, split: str, order: Any = None) -> Iterator[Row]:  # type: ignore[override]
        return super().rows(split, order)


def shown(stream: Stream, **given: Any) -> Simulation:
    return Simulation(topology.layered([1, 2, 1]), stimulus=stream, hold=3, dtype="float64", **given)


def test_rows_without_an_end_go_on_where_they_can_begin_with_any() -> None:
    for batch in (1, 2):
        clocked = {"batch": batch, "node_defaults": {"update": "clock"}}
        assert_goes_on(lambda: shown(Counting(), **clocked), 16, 31)  # noqa: B023 - called at once
    sim = shown(Endless())
    sim.run(until=5)
    with pytest.raises(ExperimentError, match=r"^state: rows without an end .* 'start' .* got Endless$"):
        sim.state()


def test_rows_of_a_function_go_on_where_it_takes_a_start(tmp_path: Any) -> None:
    file = tmp_path / "rows.py"
    text = "def stream({}):\n    k = {}\n    while True:\n        yield [k % 5], [k % 3]\n        k += 1\n"
    file.write_text(text.format("start=0", "start"))
    assert_goes_on(lambda: shown(PythonStream(file)), 16, 31)
    file.write_text(text.format("", "0"))
    sim = shown(PythonStream(file))
    sim.run(until=5)
    with pytest.raises(ExperimentError, match=r"got .*rows\.py: stream$"):
        sim.state()


# ---- what is refused


def test_processes_of_ones_own_are_named() -> None:
    sim = small()

    def meddle() -> Any:
        while True:
            yield sim.env.timeout(4)

    sim.env.process(meddle())
    sim.run(until=9)
    with pytest.raises(ExperimentError, match=r"^state: processes and events of your own .* got 'meddle'$"):
        sim.state()
    other = small()
    call_at(other.env, 20, READ, lambda: None)
    with pytest.raises(ExperimentError, match=r"got 'test_processes.*<lambda>'$"):
        other.state()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"hold": 4}, "hold, got '3' for '4'"),
        ({"noise": None}, "noise, got "),
        ({"seed": 3}, "network, got another"),
        ({"stages": [Stage("one")]}, "stages, got others"),
        ({"rule": Hamiltonian(beta=0.1, eta=0.3)}, "rule, got another"),
        ({"engine": "reference"}, "kind of engine, got 'Batched' for 'reference'"),
    ],
)
def test_a_state_goes_into_a_simulation_made_with_the_same_arguments_alone(
    given: dict[str, Any], told: str
) -> None:
    sim = small()
    sim.run(until=4)
    with pytest.raises(ExperimentError, match=f"^state: must be of the same {told}"):
        small(**given).restore(sim.state())
    with pytest.raises(ExperimentError, match=r"^restore: must come before the first tick, got tick 4$"):
        sim.restore(sim.state())


def test_a_run_that_broke_off_has_no_state() -> None:
    """Of the tick in which a number was not finite some phases have run."""
    graph = topology.layered([1, 1], activation="identity", model="instant")
    for *_, data in graph.edges(data=True):
        data["weight"] = 1e308
    sim = Simulation(graph, loss=None, rule=Hamiltonian(beta=0.0), dtype="float64", **BATCHED)
    sim.controls.input(np.full(1, 1e308))
    with pytest.raises(NumericalError):
        sim.run(until=9)
    with pytest.raises(ExperimentError, match=r"^state: the run broke off in the middle of tick "):
        sim.state()


# ---- whoever has numbers that change says so

# SimPy's own: what is planned is saved by whoever has planned it.
PLANS = {"_eid", "_queue", "_users", "_active_proc"}
# Other names of the circuit's own numbers.
SHARED: Mapping[str, set[str]] = {
    "values": {*(each.name for each in dataclasses.fields(State)), "s"},
    "work": {"inbox"},
    "fates": {"down", "delay", "loss", "jitter"},
    "Lockstep": {"_x", "_counted"},
    "Plan": {"weight"},
    "BlockPlan": {"weight"},
}
Numbers = dict[tuple[int, Any, str], list[Any]]


def numbers_of(root: Any) -> tuple[Numbers, Any]:
    """Return all numbers that objects of hlsim hold, by object, kind and attribute; and those objects."""
    found: Numbers = {}
    seen: dict[int, Any] = {}
    todo = [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        for name, value in attributes(thing).items():
            plain, inner = looked_at(value)
            todo += inner
            if plain:
                found[id(thing), kind_of(thing), name] = plain
    return found, seen


def kind_of(thing: Any) -> Any:
    """Return the class of an object, the name of a table of compiled loops."""
    return thing.numba_type.name.rpartition("_")[0] if isinstance(thing, Table) else type(thing)


def attributes(thing: Any) -> Mapping[str, Any]:
    if isinstance(thing, Table):
        return thing._members
    if isinstance(thing, partial):
        return {"args": thing.args, "func": thing.func}
    if isinstance(thing, MethodType):
        return {"self": thing.__self__}
    ours = type(thing).__module__.startswith("hlsim.")
    return vars(thing) if ours and hasattr(thing, "__dict__") else {}


def looked_at(value: Any) -> tuple[list[Any], list[Any]]:
    """Return the numbers of a value, and the objects in it."""
    if value is None or isinstance(value, bool | int | float | complex | str):
        return [repr(value)], []
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return [(str(value.dtype), value.shape, value.tobytes())], []
    if not isinstance(value, Mapping | list | tuple | set | deque):
        return [], [value]
    parts = list(value.items()) if isinstance(value, Mapping) else [("", each) for each in value]
    plain, inner = [len(parts)], []
    for key, each in parts:
        own, more = looked_at(each)
        plain += [repr(key), *own]  # type: ignore[list-item]
        inner += more
    return plain, inner


def says(kind: Any) -> set[str]:
    """Return what a class, or a table of compiled loops, says that changes."""
    if isinstance(kind, str):
        return {*layout.CHANGING.get(kind, ()), *layout.SCRATCH.get(kind, ()), *SHARED.get(kind, ())}
    if kind is State:
        return {each.name for each in dataclasses.fields(State)}
    own = {name for what in ("STATE", "APART", "SCRATCH") for name in declared(kind, what)}
    return own | PLANS | SHARED.get(kind.__name__, set())


@pytest.mark.filterwarnings("ignore::hlsim.errors.HlsimWarning")
@pytest.mark.parametrize(
    ("engine", "nudges"),
    [*((engine, nudges) for engine in ENGINES for nudges in (False, True)), ("lockstep", False)],
)
def test_whoever_has_numbers_that_change_says_so(engine: str, nudges: bool) -> None:
    """The objects of a simulation are gone through, all that can be reached, before and after a tick."""
    given: dict[str, Any] = dict(ENGINES.get(engine, COMPILED))
    if engine == "lockstep":
        given |= {"graph": SMALL, "batch": 2, "faults": None, "node_defaults": {"update": "clock"}}
    if nudges:
        given["rule"] = HolomorphicEquilibrium(beta=0.1)
        given["stages"] = [Stage("one"), Stage("test", learn=False)]
    sim = small(**given)
    changed: set[tuple[Any, str]] = set()
    for _ in range(25):
        before, kept = numbers_of(sim)
        sim.run(until=sim.tick + 1, every=1, events=("message", "update"))
        after, _ = numbers_of(sim)
        # Until now, so that no new object stands where another one stood.
        kept.clear()
        both = before.keys() & after.keys()
        changed |= {key[1:] for key in both if before[key] != after[key]}
    assert {(kind, name) for kind, name in changed if name not in says(kind)} == set()
    names = {(kind if isinstance(kind, str) else kind.__name__, name) for kind, name in changed}
    assert {("Protocol", "_start"), ("Clock", "_now"), ("NoiseProcess", "_at")} <= names
    state = {"reference": ("Record", "h"), "compiled": ("work", "sends")}.get(engine, ("Sending", "counts"))
    assert state in names
    assert len(names) > 30
