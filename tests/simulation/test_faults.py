"""Links that lose messages, delay them, fail and come back: by hand, by statistics, in both engines."""

import re
import shutil
import tomllib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import simpy
import torch
from hypothesis import given, reject, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from typer.testing import CliRunner

import hlsim
from hlsim import Simulation, topology
from hlsim.cli import main
from hlsim.cli.app import app
from hlsim.engine.compiled.engine import Compiled
from hlsim.engine.links import LATE, LOST, Links, late, uniform
from hlsim.errors import ExperimentError, NumericalError, TopologyError
from hlsim.experiment import load
from hlsim.models.rules import ContinualEquilibrium, Equilibrium, Hamiltonian, HolomorphicEquilibrium, Rule
from hlsim.simulation.faults import Change, Faults
from hlsim.stimulus import Arrays
from hlsim.trace import recorder
from hlsim.trace.layout import FAULTS
from hlsim.trace.reader import Trace
from tests.claims.test_determinism import assert_same_bits, assert_same_state, shuffled
from tests.claims.test_equilibrium_engines import nudged
from tests.support import experiments
from tests.support.agreement import COMPILED, ENGINES, assert_agree
from tests.support.graphs import KINDS, Case, build, cases, run
from tests.support.places import ROOT

engines = pytest.mark.parametrize("engine", ENGINES)
NOBODY_LEARNS = Hamiltonian(beta=0.0)


def pair(delay: int = 2, update: str = "arrival", **edge: Any) -> nx.DiGraph:
    """Return u -> y, an input and an instant neuron that is what it hears, over a link of weight 1."""
    graph = nx.DiGraph()
    graph.add_node("u", model="input", group="chip 0")
    own = {"activation": "identity", "send_threshold": 0.0, "costate_threshold": 0.0, "group": "chip 1"}
    graph.add_node("y", model="instant", role="output", update=update, **own)
    graph.add_edge("u", "y", weight=1.0, delay=delay, **edge)
    return graph


def counting(
    faults: Faults | None,
    engine: str,
    until: int,
    graph: nx.DiGraph | None = None,
    last: int = 2**30,
    **options: Any,
) -> tuple[Simulation, Trace]:
    """Send the number of the tick, plus one, at every tick up to the last."""
    sim = Simulation(
        pair() if graph is None else graph,
        rule=NOBODY_LEARNS,
        faults=faults,
        engine=engine,
        dtype="float64",
        **options,
    )

    def feed(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        sim.controls.target(np.zeros(len(sim.network.outputs)))
        while env.now <= last:
            sim.controls.input(np.full(len(sim.network.inputs), env.now + 1.0))
            yield env.timeout(1)

    sim.env.process(feed(sim.env))
    return sim, sim.run(until=until, every=1, events=("message", "update"))


def heard(trace: Trace) -> list[int]:
    """Return what the last node is at every tick: what it heard last."""
    return trace["sampled/h"][:, -1].astype(int).tolist()


def happened(trace: Trace, *without: str) -> list[tuple[Any, ...]]:
    """Return (tick, what, kind, edge, value) of faults but for some; what is down or up has no value."""
    columns = (trace[f"faults/{name}"].tolist() for name in ("tick", "what", "kind", "edge", "value"))
    rows = [(tick, FAULTS[what], *rest) for tick, what, *rest in zip(*columns, strict=True)]
    return [row[:4] if row[1] in {"down", "up"} else row for row in rows if row[1] not in without]


# ---- one link, message by message


@engines
def test_a_link_that_is_down_loses_what_is_sent_on_it_and_delivers_what_is_on_its_way(engine: str) -> None:
    """Delay 2, down at ticks 3, 4 and 5: those sent at 1 and 2 arrive at 3 and 4, the next at 6 + 2."""
    faults = Faults(changes=(Change(3, down=True), Change(6, down=False)))
    sim, trace = counting(faults, engine, 10)
    assert heard(trace) == [0, 0, 1, 2, 3, 3, 3, 3, 7, 8]
    changes: list[tuple[Any, ...]] = [(3, "down", 0, 0), (6, "up", 0, 0)]
    lost = [(tick, "lost", 0, 0, tick + 1.0) for tick in (3, 4, 5)]
    assert happened(trace) == sorted(changes + lost)
    # Who sends does not know.
    assert (sim.counts()["state"][0, 0], sim.summary["lost"], sim.summary["state_messages"]) == (10, 3, 10)
    updates = trace["events/tick"][trace["events/kind"] == 2][
        trace["events/node"][trace["events/kind"] == 2] == 1
    ]
    assert updates.tolist() == [0, 2, 3, 4, 8, 9]


@engines
def test_of_two_messages_the_one_that_was_sent_later_counts_though_it_came_sooner(engine: str) -> None:
    """Delay 4 up to tick 2, then 1: that of tick 3, the last, comes at 4, with that of tick 0.

    Those of ticks 1 and 2 come after it, at 5 and 6.
    """
    faults = Faults(changes=(Change(3, delay=1),))
    sim, trace = counting(faults, engine, 8, pair(delay=4), last=3)
    assert heard(trace) == [0, 0, 0, 0, 4, 4, 4, 4]
    assert [int(sim.counts()[name][0]) for name in ("overtaken", "replaced")] == [3, 0]
    assert happened(trace) == [(3, "delay", 0, 0, 1.0)]
    state = trace["events/kind"] == 0
    arrived = sorted(
        zip(trace["events/sent"][state].tolist(), trace["events/tick"][state].tolist(), strict=True)
    )
    assert arrived == [(0, 4), (1, 5), (2, 6), (3, 4)]


@engines
def test_a_message_that_is_overtaken_makes_nobody_due(engine: str) -> None:
    """The input changes at ticks 0 and 1 only; the first message comes at 5, after the second one at 2."""
    sim = Simulation(
        pair(delay=5), rule=NOBODY_LEARNS, engine=engine, faults=Faults(changes=(Change(1, delay=1),))
    )

    def feed(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        sim.controls.input(np.array([1.0]))
        yield env.timeout(1)
        sim.controls.input(np.array([2.0]))

    sim.env.process(feed(sim.env))
    trace = sim.run(until=9, every=1, events=("update",))
    assert trace["events/tick"][trace["events/node"] == 1].tolist() == [0, 2]
    assert (int(sim.counts()["overtaken"][0]), trace["sampled/h"][-1, 1]) == (1, 2.0)


@engines
def test_a_delay_that_grows_leaves_a_gap(engine: str) -> None:
    """From tick 3 on messages take 5 ticks instead of 2: nothing comes at ticks 5, 6 and 7."""
    _, trace = counting(Faults(changes=(Change(3, delay=5),)), engine, 10)
    assert heard(trace) == [0, 0, 1, 2, 3, 3, 3, 3, 4, 5]


@engines
@pytest.mark.parametrize("tick", [5, 6])
def test_a_reset_takes_late_messages_too(engine: str, tick: int) -> None:
    """What was sent at ticks 0 and 1 would come at 6 and 7; a reset at 6 takes what arrives then as well."""
    sim = Simulation(pair(), rule=NOBODY_LEARNS, engine=engine, faults=Faults(changes=(Change(0, delay=6),)))

    def act(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        sim.controls.input(np.array([1.0]))
        yield env.timeout(1)
        sim.controls.input(np.array([0.0]))
        yield env.timeout(tick - 1)
        sim.controls.reset()

    sim.env.process(act(sim.env))
    assert not sim.run(until=12, every=1)["sampled/h"][:, 1].any()
    counts = sim.counts()
    assert (int(counts["overtaken"][0]), int(counts["lost"][0]), int(counts["in_flight"][0])) == (0, 0, 0)


@engines
@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_a_message_without_delay_that_is_late_arrives_at_a_later_tick(engine: str, update: str) -> None:
    """It is heard at its own tick, or, where chance made it late, at the one that chance says."""
    faults = Faults(jitter=2)
    sim, trace = counting(faults, engine, 60, pair(delay=0, update=update))
    touchable = faults.touchable(sim.network, sim.rule, [0])
    assert touchable is not None
    extra = [int(late(touchable.keys[:1], tick, 0, torch.tensor([2]))) for tick in range(60)]
    assert set(extra) == {0, 1, 2}
    come = [max((s for s in range(60) if s + extra[s] <= tick), default=-1) for tick in range(60)]
    assert heard(trace) == [sent + 1 for sent in come]


@engines
def test_costates_may_have_faults_of_their_own(engine: str) -> None:
    """u -> v -> y: of v -> y, states come through, and costates are lost from tick 5 on."""
    graph = pair(delay=1)
    graph.add_node("v", model="instant", activation="identity", update="clock")
    graph.remove_edge("u", "y")
    graph.add_edges_from([("u", "v"), ("v", "y")], weight=1.0, delay=1)
    change = Change(5, Links(["v"], messages=["costate"]), down=True)
    sim = Simulation(graph, rule=NOBODY_LEARNS, engine=engine, faults=Faults(changes=(change,)))

    def feed(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        sim.controls.target(np.array([0.0]))
        while True:
            sim.controls.input(np.array([env.now + 1.0]))
            yield env.timeout(1)

    sim.env.process(feed(sim.env))
    trace = sim.run(until=12, every=1)
    assert sim.network.label == ("u", "v", "y")
    assert trace["sampled/z"][:, 1].tolist() == [0, 0, 0, 1, 2] + [3] * 7
    assert trace["sampled/h"][:, 2].tolist() == [0, 0, *range(1, 11)]


# ---- chance


def test_draws_are_uniform_and_know_nothing_of_each_other() -> None:
    """Over links, over ticks, and between neighbours in every argument; 5 standard errors."""
    sim = Simulation(nx.gnm_random_graph(40, 400, seed=1, directed=True), rule=NOBODY_LEARNS, loss="none")
    touchable = Faults(loss=0.5).touchable(sim.network, sim.rule, [3])
    assert touchable is not None
    draws = np.array([[uniform(touchable.keys, t, k, LOST).numpy() for t in range(200)] for k in (0, 1)])
    other = np.array([uniform(touchable.keys, t, 0, LATE).numpy() for t in range(200)])
    error = 1 / np.sqrt(12 * draws[0].size)
    assert abs(draws[0].mean() - 0.5) < 5 * error
    counts, _ = np.histogram(draws[0], np.linspace(0, 1, 17))
    assert (np.abs(counts - draws[0].size / 16) < 5 * np.sqrt(draws[0].size / 16)).all()
    centred = draws[0] - 0.5
    for next_to in (draws[1], other, np.roll(draws[0], 1, 0), np.roll(draws[0], 1, 1)):
        assert abs((centred * (next_to - 0.5)).mean()) < 5 / 12 / np.sqrt(centred.size)


def star(links: int, **edge: Any) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_nodes_from([f"y[{i}]" for i in range(links)], model="instant", update="arrival")
    graph.add_edges_from([("u", f"y[{i}]") for i in range(links)], delay=1, **edge)
    return graph


@pytest.mark.parametrize("loss", [0.05, 0.5, 1.0])
def test_as_many_messages_are_lost_as_the_probability_says(loss: float) -> None:
    sim, trace = counting(Faults(loss=loss), "batched", 100, star(100), seed=5)
    lost, sent = sim.summary["lost"], 100 * 100
    assert abs(lost - loss * sent) <= 4 * np.sqrt(loss * (1 - loss) * sent)
    assert sim.summary["state_messages"] == sent
    rows = [row for row in happened(trace) if row[1] == "lost"]
    assert len(rows) == lost
    # No link is luckier than chance.
    by_edge = np.bincount([row[3] for row in rows], minlength=100)
    assert (np.abs(by_edge - loss * 100) <= 4.5 * np.sqrt(loss * (1 - loss) * 100)).all()


def test_all_lengths_of_jitter_are_equally_likely() -> None:
    _, trace = counting(Faults(jitter=4), "batched", 100, star(100), seed=6)
    state = (trace["events/kind"] == 0) & (trace["events/sent"] < 95)
    extra = (trace["events/tick"] - trace["events/sent"])[state] - 1
    counts = np.bincount(extra, minlength=5)
    assert counts.sum() == 9500
    assert len(counts) == 5
    assert (np.abs(counts - 1900) < 4 * np.sqrt(9500 * 0.2 * 0.8)).all()


def test_links_fail_and_come_back_as_often_as_they_should() -> None:
    """Turns are geometric: failing at .02 a tick, up for 50 ticks, down for 10; the first ones of 150."""
    links = 150
    _, trace = counting(Faults(failing=0.02, downtime=10.0), "batched", 450, star(links), seed=2)
    turns: dict[int, list[tuple[int, str]]] = {edge: [] for edge in range(links)}
    for tick, what, _, edge in happened(trace, "lost"):
        turns[edge].append((tick, what))
    for marks in turns.values():
        assert {what for _, what in marks[::2]} == {"down"}
        assert {what for _, what in marks[1::2]} == {"up"}
    first = np.array([[marks[0][0], marks[1][0] - marks[0][0]] for marks in turns.values()])
    assert first.min() == 1
    for lengths, mean in zip(first.T, (50.0, 10.0), strict=True):
        deviation = np.sqrt(mean * (mean - 1))
        assert abs(lengths.mean() - mean) < 4 * deviation / np.sqrt(links)
        # Half of them last no longer than the median of the distribution.
        median = np.ceil(np.log(0.5) / np.log1p(-1 / mean))
        assert abs((lengths <= median).mean() - 0.5) < 4 * 0.5 / np.sqrt(links) + 0.05
    # How long it works says nothing about how long it is down then.
    assert abs(np.corrcoef(first.T)[0, 1]) < 4 / np.sqrt(links)
    # A link is down when a message is lost on it, and only then.
    lost = {(row[0], row[3]) for row in happened(trace) if row[1] == "lost"}
    edge, (fails, *_) = next((edge, marks) for edge, marks in turns.items() if marks[1][0] < 450)
    down = {(tick, edge) for tick in range(fails[0], turns[edge][1][0])}
    assert down <= lost
    assert (fails[0] - 1, edge) not in lost
    assert (turns[edge][1][0], edge) not in lost


# ---- both engines, whatever happens


@st.composite
def faulty(draw: DrawFn, kind: str, until: int) -> Case:
    """Draw a case of a kind with faults, and a process that touches links as well."""
    case = draw(cases(kind, until))
    names = sorted({label.partition("[")[0] for label in case.network.label})
    chosen = st.lists(st.sampled_from(names), max_size=2, unique=True)
    kinds = st.sampled_from((("state", "costate"), ("state", "costate"), ("state",)))

    def some() -> Links | None:
        links = Links(draw(chosen), (), False, draw(kinds))
        try:
            links.among(case.network, case.options["rule"])
        except ExperimentError:
            return None
        return links

    changes = [
        Change(
            draw(st.integers(0, until)),
            some(),
            down=draw(st.sampled_from((None, None, True, False))),
            delay=draw(st.integers(1, 6)),
            jitter=draw(st.sampled_from((None, 0, 2))),
            loss=draw(st.sampled_from((None, 0.0, 0.5))),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    faults = Faults(
        loss=draw(st.sampled_from((0.0, 0.1, 0.4))),
        jitter=draw(st.integers(0, 5)),
        failing=draw(st.sampled_from((0.0, 0.02))),
        downtime=draw(st.sampled_from((1.0, 8.0))),
        links=some() or Links(),
        changes=changes,
        manual=True,
    )
    asked = st.sampled_from(({"down": True}, {"down": False, "loss": 0.2}, {"delay": 3}, {"jitter": 1}))
    acts = [(draw(st.integers(0, until - 1)), "links", draw(asked)) for _ in range(3)]
    script = sorted([*case.script, *acts], key=lambda act: act[0])
    return Case(case.graph, {**case.options, "faults": faults}, tuple(script))


@pytest.mark.parametrize("kind", KINDS)
def test_the_engines_agree_on_random_networks_with_random_faults(kind: str) -> None:
    """To 1e-12, message by message, as without faults; and the faults that were drawn did something."""
    until, compared, drawn, seen = 60, [], [], {"lost": 0, "overtaken": 0}

    @seed(7)
    @settings(max_examples=12)
    @given(faulty(kind, until))
    def agree(case: Case) -> None:
        try:
            compared.append(assert_agree(case, until))
        except NumericalError:
            reject()
        drawn.append(until)
        for name, count in run(case, until, engine="reference")[0].counts().items():
            seen[name] = seen.get(name, 0) + int(count.sum())

    agree()
    assert sum(compared) >= 0.75 * sum(drawn)
    assert min(seen["lost"], seen["overtaken"]) > 20


@pytest.mark.parametrize("kind", ["synchronous", "arrival"])
def test_compiled_loops_know_faults(kind: str) -> None:
    """Also where only states from inputs are lost, so that all other edges are read without messages."""
    until, seen = 40, []

    @seed(11)
    @settings(max_examples=3)
    @given(cases(kind, until))
    def agree(case: Case) -> None:
        some = Links([name for name in case.network.label if name.partition("[")[0] == "n0"])
        try:
            some.among(case.network, case.options["rule"])
        except ExperimentError:
            reject()
        faulty = Case(
            case.graph, {**case.options, "faults": Faults(loss=0.3, jitter=2, links=some)}, case.script
        )
        assert_agree(faulty, until, COMPILED)
        sim = run(faulty, until, **COMPILED)[0]
        assert type(sim._engine) is Compiled
        seen.append(sim.summary["lost"])

    agree()
    assert sum(seen) > 0


@pytest.mark.parametrize("rule", [ContinualEquilibrium(beta=0.01), HolomorphicEquilibrium(beta=0.05)])
@pytest.mark.parametrize("kind", ["synchronous", "arrival"])
def test_the_engines_agree_where_the_loss_nudges(kind: str, rule: Rule) -> None:
    """Complex messages, couplings whose halves lose what they lose on their own, read-outs, marks."""
    until, compared = 60, []
    faults = Faults(loss=0.2, jitter=2, failing=0.02, downtime=5.0)

    @seed(3)
    @settings(max_examples=5)
    @given(cases(kind, until))
    def agree(case: Case) -> None:
        try:
            other = nudged(case, rule, until)
            compared.append(
                assert_agree(Case(other.graph, {**other.options, "faults": faults}, other.script), until)
            )
        except (NumericalError, TopologyError):
            reject()

    agree()
    # Where a number stands still, the last bit decides who sends, and runs part: of a few examples, some.
    assert sum(compared) >= 0.7 * until * len(compared)


@pytest.mark.filterwarnings("ignore:.*did not settle")
@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_phases_end_by_quiescence_in_both_engines_at_the_same_ticks(update: str) -> None:
    """A message that is late is on its way, and one that is lost is not."""
    generator = np.random.default_rng(0)
    stream = Arrays(generator.normal(size=(6, 3)), generator.uniform(0, 1, size=(6, 2)))
    graph = topology.layered([3, 4, 2], model="leaky", bias=0.0, delay=1, symmetric=True, seed=1)
    phases = []
    for engine in ENGINES:
        sim = Simulation(
            graph,
            rule=Equilibrium(beta=0.1),
            stimulus=stream,
            hold=80,
            engine=engine,
            dtype="float64",
            node_defaults={"update": update, "send_threshold": 1e-3},
            faults=Faults(loss=0.1, jitter=6, failing=0.01, downtime=4.0),
        )
        trace = sim.run()
        phases.append([trace[f"phases/{name}"].tolist() for name in ("start", "tick", "quiet", "messages")])
    assert phases[0] == phases[1]
    assert any(phases[0][2])


# ---- faults that are none, and faults of some links only


@pytest.mark.parametrize("kind", KINDS)
def test_faults_without_effect_change_not_one_bit(kind: str) -> None:
    """Probabilities of 0, of links of all networks or of some: no edge is computed otherwise."""
    none = (Faults(), Faults(downtime=9.0), Faults(links=Links(messages=["state"])))

    @settings(max_examples=2)
    @given(cases(kind, 20))
    def check(case: Case) -> None:
        plain = {engine: run(case, 20, engine=engine)[1] for engine in ENGINES}
        for faults in none:
            for engine in ENGINES:
                assert_same_bits(run(case, 20, engine=engine, faults=faults)[1], plain[engine])

    check()


@engines
@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (Links(source=["in"]), {(0, "in", "a")}),
        (Links(target=["out"], messages=["costate"]), {(1, "b", "out")}),
        (Links(source=["in", "left"], messages=["state"]), {(0, "in", "a"), (0, "a", "b")}),
        (Links(across_groups=True), {(0, "a", "b"), (1, "a", "b")}),
    ],
)
def test_only_the_links_that_are_chosen_have_faults(
    engine: str, links: Links, expected: set[tuple[int, str, str]]
) -> None:
    """By source, target, group and kind of message; neurons are synchronous, so that there are pulls.

    Layers in (left), a (left), b (right), out (right). Other links change at tick 9, and lose nothing.
    """
    graph = nx.DiGraph()
    graph.add_node("in", model="input", size=3, group="left")
    for name, size, group in (("a", 4, "left"), ("b", 3, "right"), ("out", 2, "right")):
        graph.add_node(name, size=size, group=group, update="clock")
    graph.nodes["out"]["role"] = "output"
    graph.add_edges_from([("in", "a"), ("a", "b"), ("b", "out")], weight={"normal": 0.5}, delay=1)
    other = Links(["b"], ["out"], messages=["state"])
    sim, trace = counting(
        Faults(loss=0.4, links=links, changes=(Change(9, other, delay=2),)), engine, 30, graph
    )
    network, layer = sim.network, [label.partition("[")[0] for label in sim.network.label]

    def place(kind: int, edge: int) -> tuple[int, str, str]:
        return kind, layer[network.source[edge]], layer[network.target[edge]]

    lost = {row[2:4] for row in happened(trace) if row[1] == "lost"}
    every = {(kind, edge) for kind in (0, 1) for edge in np.flatnonzero(network.source >= 0).tolist()}
    assert lost == {each for each in every if place(*each) in expected}
    assert {(row[0], *place(*row[2:4])) for row in happened(trace) if row[1] == "delay"} == {
        (9, 0, "b", "out")
    }


def test_a_network_without_links_may_be_simulated_with_faults_that_are_none() -> None:
    graph = nx.DiGraph()
    graph.add_node("y", role="output")
    assert Simulation(graph, faults=Faults()).run(until=3).status == "complete"


def test_edges_without_faults_are_computed_as_they_were() -> None:
    """What lies before the only faulty layer is the same bit for bit; its projections are matrices still."""
    graph = topology.layered([8, 8, 8, 4], populations=True, delay=0, seed=3)
    plain = counting(None, "batched", 20, graph, node_defaults={"update": "clock", "model": "instant"})
    faulty = counting(
        Faults(loss=0.5, links=Links(target=[list(graph)[-1]])),
        "batched",
        20,
        graph,
        node_defaults={"update": "clock", "model": "instant"},
    )
    before = plain[0].network.label.index("output[0]") if "output[0]" in plain[0].network.label else 24
    one, two = (trace["sampled/h"][:, :before] for _, trace in (plain, faulty))
    assert one.tobytes() == two.tobytes()
    assert (plain[1]["sampled/h"][:, before:] != faulty[1]["sampled/h"][:, before:]).any()


# ---- determinism

SEVERAL = Faults(loss=0.1, jitter=3, failing=0.05, downtime=4.0, changes=(Change(20, delay=2),))


@pytest.mark.parametrize("kind", KINDS)
def test_neither_order_nor_watching_nor_cutting_changes_a_fault(kind: str) -> None:
    @settings(max_examples=2)
    @given(cases(kind, 40), st.integers(0, 1000))
    def check(case: Case, order: int) -> None:
        case = Case(case.graph, {**case.options, "faults": SEVERAL}, case.script)
        sim, trace = run(case, 40)
        other = Case(shuffled(case.graph, np.random.default_rng(order)), case.options, case.script)
        assert_same_bits(run(other, 40)[1], trace, "network/graph")
        unwatched = build(case)
        for until in (13, 40):
            unwatched.run(until=until, every=7, sampled=("w",))
        assert_same_state(unwatched, sim)

    check()


def test_the_number_of_threads_changes_no_fault() -> None:
    graph = topology.random(300, in_degree=100, delay=(0, 5), inputs=100, outputs=100, bias=0.0)

    def trace(threads: int) -> Trace:
        sim = Simulation(graph, threads=threads, faults=SEVERAL, node_defaults={"update": "arrival"})
        sim.controls.input(np.random.default_rng(1).normal(size=100))
        sim.controls.target(np.zeros(100))
        return sim.run(until=4, every=2, events=("message",))

    one, two = trace(1), trace(2)
    assert one.summary["lost"] > 100
    assert_same_bits(one, two)


@engines
def test_another_seed_has_other_faults_and_every_member_of_an_ensemble_those_of_its_own(engine: str) -> None:
    def lost(trace: Trace, replica: int | None = None) -> list[tuple[int, int]]:
        mine = trace["faults/what"] == FAULTS.index("lost")
        if replica is not None:
            mine &= trace["faults/replica"] == replica
        return list(
            zip(trace["faults/tick"][mine].tolist(), trace["faults/edge"][mine].tolist(), strict=True)
        )

    faults = Faults(loss=0.3, failing=0.1)
    together = counting(faults, engine, 20, star(3), ensemble=3, seed=8)[1]
    alone = [counting(faults, engine, 20, star(3), seed=8 + k)[1] for k in range(3)]
    assert lost(alone[0]) != lost(alone[1])
    for k in range(3):
        assert lost(together, k) == lost(alone[k])


def test_what_happens_to_a_link_does_not_depend_on_which_others_there_are() -> None:
    """The first ten links of forty lose what they lose when they are alone."""
    rows = []
    for links in (10, 40):
        trace = counting(Faults(loss=0.3, failing=0.05), "batched", 30, star(links), seed=4)[1]
        rows.append([row for row in happened(trace) if row[3] < 10])
    assert len(rows[0]) > 50
    assert rows[0] == rows[1]


# ---- the door for processes of users


@engines
def test_a_process_of_a_user_may_touch_links(engine: str) -> None:
    """It cuts the link at tick 3 and mends it, with another delay, at tick 6; of one member alone."""
    sim = Simulation(
        pair(), rule=NOBODY_LEARNS, engine=engine, ensemble=2, dtype="float64", faults=Faults(manual=True)
    )

    def act(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        while True:
            sim.controls.input(np.array([env.now + 1.0]))
            if env.now == 3:
                sim.controls.links(down=True, replica=1)
            if env.now == 6:
                sim.controls.links(Links(target=["y"]), down=False, delay=1, replica=1)
            yield env.timeout(1)

    sim.env.process(act(sim.env))
    trace = sim.run(until=10, every=1)
    assert trace["sampled/h"][:, 0, 1].tolist() == [0, 0, *range(1, 9)]
    assert trace["sampled/h"][:, 1, 1].tolist() == [0, 0, 1, 2, 3, 3, 3, 7, 8, 9]
    assert happened(trace) == [(3, "down", 0, 0), (6, "up", 0, 0), (6, "delay", 0, 0, 1.0)]
    assert trace["faults/replica"].tolist() == [1, 1, 1]


def test_the_example_on_the_page_works(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "experiment.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    [example] = [block for block in blocks if "faults" in block]
    exec(compile(example, "experiment.md", "exec"), {})
    assert int(capsys.readouterr().out) > 10


# ---- what a run leaves, and what is refused


def test_a_trace_on_disk_holds_the_faults_and_the_table(tmp_path: Path) -> None:
    folder = experiments.write(tmp_path / "faulty")
    path = tmp_path / "t.h5"
    overrides = ["faults.loss=0.2", "faults.change=[{ tick = 5, down = true, source = ['hidden'] }]"]
    wanted = load(folder, overrides)
    wanted.run(path).close()
    with hlsim.trace.open(path) as trace:
        rows, told = happened(trace), trace.summary
        again = tomllib.loads(trace.attrs["experiment"])["faults"]
        units = hlsim.analysis.summary(trace).lost
    assert again["loss"] == 0.2
    assert again["change"] == [{"tick": 5, "down": True, "source": ["hidden"]}]
    assert {row[:2] for row in rows if row[1] == "down"} == {(5, "down")}
    assert sum(row[1] == "lost" for row in rows) == told["lost"] == int(units)
    assert units.attrs["units"] == "messages"
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    memory = wanted.run()
    assert happened(memory) == rows


def test_a_table_of_zeros_is_the_run_without_it(tmp_path: Path) -> None:
    folder = experiments.write(tmp_path / "plain")
    traces = [
        load(folder, o).run() for o in ((), ["faults.loss=0.0", "faults.jitter=0", "faults.failing=0.0"])
    ]
    assert_same_bits(traces[0], traces[1])


def test_both_engines_write_the_same_rows_in_the_same_order() -> None:
    """Changes as they took effect, then lost messages by kind and edge."""
    graph = topology.random(8, 4, inputs=2, outputs=2, delay=(0, 2), seed=1)
    faults = Faults(loss=0.3, failing=0.1, changes=(Change(5, down=True), Change(5, down=False)))
    options = {"graph": graph, "node_defaults": {"update": "arrival", "send_threshold": 0.0}}
    one, two = (happened(counting(faults, engine, 20, **options)[1]) for engine in ENGINES)
    assert [row[:4] for row in one] == [row[:4] for row in two]
    lost = [(row[0], *row[2:4]) for row in one if row[1] == "lost"]
    assert len(lost) > 50
    assert {kind for _, kind, _ in lost} == {0, 1}
    assert lost == sorted(lost)
    assert [row[1] for row in one if row[0] == 5 and row[2:4] == one[-1][2:4]][:2] == ["down", "up"]


def test_what_happened_before_a_run_failed_is_kept(tmp_path: Path) -> None:
    """What was lost at its very last tick, too."""
    sim = Simulation(pair(), rule=NOBODY_LEARNS, loss="none", faults=Faults(changes=(Change(4, down=True),)))

    def fail(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        while env.now < 8:
            sim.controls.input(np.array([env.now + 1.0]))
            yield env.timeout(1)
        raise RuntimeError("out of order")

    sim.env.process(fail(sim.env))
    with pytest.raises(RuntimeError, match="out of order"):
        sim.run(until=20, record=tmp_path / "t.h5", sampled=(), events=("message",))
    with hlsim.trace.open(tmp_path / "t.h5") as trace:
        assert trace.status == "interrupted"
        lost = [(tick, "lost", 0, 0, tick + 1.0) for tick in range(4, 8)]
        assert happened(trace) == [(4, "down", 0, 0), *lost]


def test_a_run_that_is_killed_keeps_the_faults_that_had_reached_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the file of a run that goes on is what one that was killed would leave."""
    monkeypatch.setattr(recorder, "FLUSH_SECONDS", 0.0)
    sim = Simulation(pair(), rule=NOBODY_LEARNS, faults=Faults(loss=1.0))

    def copy(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        while True:
            sim.controls.input(np.array([env.now + 1.0]))
            if env.now == 30:
                shutil.copy(tmp_path / "t.h5", tmp_path / "killed.h5")
            yield env.timeout(1)

    sim.env.process(copy(sim.env))
    sim.run(until=40, record=tmp_path / "t.h5", every=1, events=("message",)).close()
    with hlsim.trace.open(tmp_path / "killed.h5") as trace:
        assert trace.status == "interrupted"
        kept = happened(trace)
    with hlsim.trace.open(tmp_path / "t.h5") as trace:
        whole = happened(trace)
    assert len(whole) == 1 + 40
    assert 20 < len(kept) < 35
    assert kept == whole[: len(kept)]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Faults(loss=1.5), "faults: loss must be a probability in [0, 1], got 1.5"),
        (lambda: Faults(loss=np.nan), "faults: loss must be a probability in [0, 1], got nan"),
        (lambda: Faults(jitter=-1), "faults: jitter: must be a whole number of ticks >= 0, got -1"),
        (lambda: Faults(jitter=2**41), f"faults: jitter: must be <= 2**40 ticks, got {2**41}"),
        (lambda: Faults(failing=-0.1), "faults: failing must be a probability in [0, 1], got -0.1"),
        (lambda: Faults(downtime=0.5), "faults: downtime: must be finite and >= 1, got 0.5"),
        (lambda: Change(3), "faults: the change at tick 3 needs one of down, delay, loss, jitter, got none"),
        (lambda: Change(3, delay=1.5), "faults: delay: must be a whole number of ticks >= 0, got 1.5"),  # type: ignore[arg-type]
        (lambda: Change(3, down=1), "faults: down must be true or false, got 1"),  # type: ignore[arg-type]
        (lambda: Links(source="u"), "faults: source must be a list of names, got 'u'"),
        (lambda: Links(messages=["stat"]), "faults: unknown message 'stat' (did you mean 'state'?); known: "),
        (lambda: simulated(Links(["x"])), "faults: unknown source 'x'; known: chip 0, chip 1, u, y"),
        (lambda: simulated(Links([], ["u"])), "faults: at least one link must be chosen, got none by target"),
        (
            lambda: Simulation(pair(), faults=Faults(changes=(Change(3, delay=0),))),
            "faults: state delay of 'u' -> 'y' must stay >= 1, as in the graph, got 0",
        ),
        (
            lambda: Simulation(pair(update="clock"), faults=Faults(loss=0.1), batch=4),
            "simulation.batch: must be 1 with faults, ",
        ),
        (
            lambda: Simulation(pair()).controls.links(down=True),
            "links: need a simulation with faults, such as faults=Faults(manual=True)",
        ),
        (
            lambda: two().controls.links(Links(["v"]), down=True),
            "faults: state messages of 'v' -> 'y' must be among those that the faults of the simulation are",
        ),
        (
            lambda: two().controls.links(down=True, replica=1),
            "faults: replica must be in 0 ... 0, got 1",
        ),
    ],
)
def test_what_has_no_meaning_is_told_in_one_line(make: Callable[[], object], line: str) -> None:
    with pytest.raises(ExperimentError, match=f"^{re.escape(line)}") as caught:
        make()
    assert "\n" not in str(caught.value)


def simulated(links: Links) -> Simulation:
    return Simulation(pair(), faults=Faults(loss=0.1, links=links))


def two() -> Simulation:
    """Return u -> y and v -> y, of which only the first is touched by faults."""
    graph = pair()
    graph.add_node("v", model="input")
    graph.add_edge("v", "y")
    return Simulation(graph, faults=Faults(loss=0.1, links=Links(["u"])))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("faults.loss=1.5", "[faults] loss must be a probability in [0, 1], got 1.5"),
        ("faults.jitter=0.5", "[faults] jitter must be a whole number, got 0.5"),
        ("faults.los=0.5", "[faults] unknown key 'los' (did you mean 'loss'?); known: "),
        (
            "faults.source=['hiden']",
            "faults: unknown source 'hiden' (did you mean 'hidden'?); known: hidden, ",
        ),
        (
            "faults.change=[{ tick = 3, dely = 1 }]",
            "[faults] change.0: unknown key 'dely' (did you mean 'delay'?)",
        ),
        ("faults.change=[{ tick = 3, loss = 2.0 }]", "[faults] change.0.loss must be a probability"),
    ],
)
def test_the_command_line_tells_a_bad_table_in_one_line(
    tmp_path: Path, override: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = experiments.write(tmp_path / "bad")
    with pytest.raises(SystemExit) as stopped:
        main(["validate", str(folder), "--set", override])
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert line in " ".join(told.split())


def test_a_run_tells_how_many_messages_were_lost(tmp_path: Path) -> None:
    folder = experiments.write(tmp_path / "good")
    result = CliRunner().invoke(
        app, ["run", str(folder), "-o", str(tmp_path / "t.h5"), "--set", "faults.loss=1.0"]
    )
    assert result.exit_code == 0, result.output
    assert re.search(r"^ +lost +[1-9]", result.output, re.MULTILINE)


def test_faults_that_are_none_ask_for_no_link_whatever_their_lists_are_made_of() -> None:
    """A network without synapses has none, and a table of an experiment holds lists."""
    graph = nx.DiGraph()
    graph.add_node("alone", role="input")
    nothing = Faults(changes=[], links=Links(source=[], target=[], messages=["state", "costate"]))
    assert nothing == Faults()
    sim = hlsim.Simulation(graph, loss=None, faults=nothing)
    assert sim.run(until=3).status == "complete"
