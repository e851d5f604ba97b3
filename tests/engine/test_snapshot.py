"""The state of an engine, put into a fresh one at any tick: both go on alike, bit for bit."""

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hlsim import Simulation, topology
from hlsim.engine.circuit.projections import Dense
from hlsim.engine.clock import READ, Clock, call_at
from hlsim.engine.compiled.engine import Compiled
from hlsim.engine.general.engine import Batched
from hlsim.engine.interface import Engine
from hlsim.engine.reference.engine import Reference
from hlsim.engine.snapshot import Arrays as Saved
from hlsim.errors import ExperimentError, NumericalError, TopologyError
from hlsim.models.rules import ContinualEquilibrium, Hamiltonian, HolomorphicEquilibrium, Rule
from hlsim.simulation.faults import Faults
from tests.claims.test_equilibrium_engines import nudged
from tests.engine.compiled.test_engine import arrange_in_many_ways
from tests.engine.compiled.test_steady import GRAPHS
from tests.support.agreement import BATCHED, COMPILED, REFERENCE
from tests.support.graphs import KINDS, Act, Case, cases, in_step, play

VERIFY = os.environ.get("HLSIM_VERIFY") == "1"
EXAMPLES = 60 if VERIFY else 5
TICKS = 40
Arrays = Mapping[str, np.ndarray]
ENGINES: Mapping[str, tuple[type, Mapping[str, Any]]] = {
    "reference": (Reference, REFERENCE),
    "torch": (Batched, BATCHED),
    "compiled": (Compiled, COMPILED),
}


class Reports:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def message(self, kind: int, arrival: Any, edge: Any, value: Any, sent: int, replica: Any) -> None:
        columns = (np.broadcast_to(x, np.shape(edge)).tolist() for x in (arrival, edge, replica))
        words = [np.asarray(x).tobytes() for x in value]
        self.told += [("message", sent, kind, *row) for row in zip(*columns, words, strict=True)]

    def lost(self, kind: int, edge: Any, value: Any, sent: int, replica: Any) -> None:
        self.message(kind, np.full(np.shape(edge), -1), edge, value, sent, replica)

    def update(self, tick: int, node: Any, replica: Any) -> None:
        pairs = zip(node.tolist(), replica.tolist(), strict=True)
        self.told += [("update", tick, *pair) for pair in pairs]

    def dropped(self, tick: int) -> None:
        self.told.append(("dropped", tick))

    def since(self, tick: int) -> list[tuple[Any, ...]]:
        """What was told from a tick on; what happened in one tick has no order."""
        return sorted(row for row in self.told if row[1] >= tick)


def begun(case: Case, script: tuple[Act, ...], **options: Any) -> tuple[Simulation, Reports]:
    """Return a simulation of a case that plays a script, and what its engine reports."""
    sim, reports = Simulation(case.graph, **{"dtype": "float64", **case.options, **options}), Reports()
    sim._engine.observer = reports
    sim.env.process(play(sim, script))
    return sim, reports


def copied_at(case: Case, cut: int, **options: Any) -> tuple[Simulation, Simulation, list[Reports]]:
    """Return two simulations after TICKS: one that was let run, and one that took its state at a cut."""
    states: list[dict[str, np.ndarray]] = []
    whole, reports = begun(case, case.script, **options)
    call_at(whole.env, cut - 1, READ + 1, lambda: states.append(whole._engine.state()))
    whole.env.run(until=TICKS)
    other, more = begun(case, (), **options)
    other.env.put_back(Saved(Clock(cut).collect()))
    other._engine.restore(states[0])
    other.env.process(play(other, tuple(act for act in case.script if act[0] >= cut)))
    other.env.run(until=TICKS)
    return whole, other, [reports, more]


def assert_same(one: Arrays, two: Arrays) -> None:
    assert one.keys() == two.keys()
    for name, array in one.items():
        other = two[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape), name
        assert array.tobytes() == other.tobytes(), name


def assert_goes_on_alike(case: Case, cut: int, **options: Any) -> bool:
    """Compare all that can be looked at; return whether anything moved after the cut."""
    whole, other, (reports, more) = copied_at(case, cut, **options)
    assert_same(whole._engine.state(), other._engine.state())
    assert layout_in_memory(whole) == layout_in_memory(other)
    assert reports.since(cut) == more.since(cut)
    for name, count in whole.counts().items():
        np.testing.assert_array_equal(count, other.counts()[name])
    for name in (*case.options["rule"].sampled, *case.options["rule"].synapse_fields):
        mine, its = (sim._engine.read((name,), TICKS - 1)[name] for sim in (whole, other))
        assert mine.tobytes() == its.tobytes(), name
    return len(more.since(cut)) > 0


def layout_in_memory(sim: Simulation) -> list[tuple[bool, tuple[int, ...]]]:
    """How what matrices heard lies in memory, on which last bits of a product may depend."""
    circuit = getattr(sim._engine, "circuit", None)
    if circuit is None:
        return []
    heard = [pull._s for pull in circuit.plan.pulls if isinstance(pull, Dense)]
    begin = circuit.state.m.untyped_storage().data_ptr()
    return [(s.untyped_storage().data_ptr() == begin, s.stride()) for s in heard]


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0], ids=["as drawn", "in step", "synchronous"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_goes_on_in_a_fresh_engine(
    engine: str, kind: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, options = ENGINES[engine]
    moved: list[bool] = []

    @settings(max_examples=EXAMPLES)
    @given(cases(kind, TICKS), st.integers(1, TICKS - 1), st.integers(0, 2**31))
    def check(case: Case, cut: int, number: int) -> None:
        case = in_step(case, share, number) if share else case
        arrange_in_many_ways(monkeypatch, number)
        assert type(Simulation(case.graph, **{**case.options, **options})._engine) is made
        try:
            moved.append(assert_goes_on_alike(case, cut, **options))
        except NumericalError:
            reject()

    check()
    assert any(moved)


@pytest.mark.parametrize("rule", [ContinualEquilibrium(beta=0.01), HolomorphicEquilibrium(beta=0.05)])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_goes_on_where_the_loss_nudges(
    engine: str, rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real and complex states, marks, noise; some of the neurons in step."""
    moved: list[bool] = []

    @settings(max_examples=2 * EXAMPLES)
    @given(cases("mixed", TICKS), st.integers(1, TICKS - 1), st.integers(0, 2**31))
    def check(case: Case, cut: int, number: int) -> None:
        case = in_step(case, 0.7, number) if number & 8 else case
        arrange_in_many_ways(monkeypatch, number)
        try:
            moved.append(assert_goes_on_alike(nudged(case, rule, TICKS), cut, **ENGINES[engine][1]))
        except (NumericalError, TopologyError):
            reject()

    check()
    assert any(moved)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_goes_on_where_links_fail_and_in_every_member_of_an_ensemble(engine: str) -> None:
    """Messages lost and late, delays that change, in two replicas with weights of their own, in float32."""

    @settings(max_examples=2 * EXAMPLES)
    @given(cases("mixed", TICKS), st.integers(1, TICKS - 1))
    def check(case: Case, cut: int) -> None:
        acts = [(0, "links", {"loss": 0.2, "jitter": 3}), (TICKS // 3, "links", {"replica": 1, "delay": 2})]
        acts += [(TICKS // 2, "links", {"down": True}), (TICKS // 2 + 3, "links", {"down": False})]
        script = tuple(sorted((*case.script, *acts), key=lambda act: act[0]))
        number = "float64" if engine == "reference" else "float32"
        many = {**case.options, "ensemble": 2, "faults": Faults(manual=True), "dtype": number}
        try:
            assert_goes_on_alike(Case(case.graph, many, script), cut, **ENGINES[engine][1])
        except NumericalError:
            reject()

    check()


@pytest.mark.parametrize("compiled", ["always", "never"])
@pytest.mark.parametrize("order", ["explicit", "sequential"])
def test_a_state_goes_on_in_a_minibatch(order: str, compiled: str) -> None:
    """In lockstep and in torch; matrices look at the states of their sources where they may."""
    for name, cut in (("leaky", 7), ("instant", 3), ("sparse", 12)):
        numbers = np.random.default_rng(cut)
        rule = Hamiltonian(beta=0.02, eta=0.3, order=order)
        options = {"rule": rule, "dtype": "float32", "node_defaults": {"update": "clock"}, "batch": 3}
        network = Simulation(GRAPHS[name], **options).network  # type: ignore[arg-type]
        columns = {"input": len(network.inputs), "target": len(network.outputs)}
        script = tuple(
            (tick, what, (numbers.normal(size=(3, count)),))
            for tick in range(0, TICKS, 5)
            for what, count in columns.items()
        )
        assert assert_goes_on_alike(Case(GRAPHS[name], options, script), cut, compiled=compiled)


# ---- what may be in it, and where it may go


def chain(**options: Any) -> Engine:
    """The engine of u -> v -> y after some ticks."""
    graph = topology.layered([1, 2, 1], delay=1)
    sim = Simulation(graph, **{"dtype": "float64", **options})
    sim.controls.input(np.ones(1))
    sim.env.run(until=7)
    return sim._engine


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_is_plain_arrays_of_numbers(engine: str) -> None:
    made = chain(**ENGINES[engine][1])
    for name, array in made.state().items():
        assert type(array) is np.ndarray, name
        assert array.dtype.kind in "biufc", name
    before = made.state()
    made.state()["neurons/h"][:] = 7.0
    assert_same(before, made.state())


def fresh(**options: Any) -> Engine:
    sim = Simulation(topology.layered([1, 2, 1], delay=1), **{"dtype": "float64", **options})
    sim.env.put_back(Saved(Clock(7).collect()))
    return sim._engine


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (REFERENCE, "must be of the same kind of engine, got 'Batched' for 'reference'"),
        ({**BATCHED, "rule": Hamiltonian(beta=0.3)}, "must be of the same rule, got another"),
        ({**BATCHED, "loss": None}, "must be of the same loss, got another"),
        ({**BATCHED, "dt": 0.5}, "must be of the same dt, got another"),
        ({**BATCHED, "seed": 5}, "must be of the same network, got another"),
        ({**BATCHED, "dtype": "float32"}, "must be of the same dtype, got another"),
        ({**BATCHED, "node_defaults": {"send_threshold": 0.5}}, "must be of the same network, got another"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_state_of_something_else_is_refused_by_what_differs(options: dict[str, Any], told: str) -> None:
    state = chain(**BATCHED).state()
    with pytest.raises(ExperimentError, match=f"^state: {re.escape(told)}$"):
        fresh(**options).restore(state)
    fresh(**BATCHED).restore(state)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_that_lacks_anything_or_has_other_shapes_or_formats_is_refused(engine: str) -> None:
    state, options = chain(**ENGINES[engine][1]).state(), ENGINES[engine][1]
    for name in state:
        with pytest.raises(ExperimentError, match="must have"):
            fresh(**options).restore({key: x for key, x in state.items() if key != name})
    with pytest.raises(ExperimentError, match="must have no 'neurons/x'"):
        fresh(**options).restore({**state, "neurons/x": np.zeros(3)})
    h = state["neurons/h"]
    for other in (h[:, 1:], h.astype(np.complex64)):
        with pytest.raises(ExperimentError, match="'neurons/h' must have"):
            fresh(**options).restore({**state, "neurons/h": other})
