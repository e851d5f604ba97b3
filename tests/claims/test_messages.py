"""A message acts when its delay is over, never before; what is sent and who is updated is counted exactly."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hlsim.engine.compiled import steady
from hlsim.models.losses import Custom
from hlsim.models.rules import Hamiltonian
from hlsim.trace.reader import Trace
from tests.support.graphs import KINDS, SAMPLED, Act, Case, build, cases, fixed, run

ENGINES = ("batched", "reference")
EXAMPLES = settings().max_examples
engines = pytest.mark.parametrize("engine", ENGINES)

# The ways a message is carried: read from the source's past, or one by one to a clock or on arrival.
PATHS: dict[str, dict[str, Any]] = {
    "pulled": {"update": "clock"},
    "pushed to a clock": {"update": "clock", "send_threshold": 1e-9, "costate_threshold": 1e-9},
    "pushed on arrival": {"update": "arrival", "send_threshold": 0.0, "costate_threshold": 0.0, "refresh": 3},
}
MODELS = ("leaky", "instant")
DELAYS = range(5)
# Both neurons of a chain and both delays on its way.
WAYS = [(a, b, d, e) for a, b in product(MODELS, MODELS) for d, e in product(DELAYS, DELAYS)]


def chain(
    graph: nx.DiGraph,
    name: str,
    models: Sequence[str],
    delays: Sequence[int],
    backs: Sequence[int],
    **node: Any,
) -> None:
    """Add neurons in a row behind the input "in", the last an output; weights are 0.5, 0.25, 0.125, ..."""
    source = "in"
    for i, (model, delay, back) in enumerate(zip(models, delays, backs, strict=True)):
        target = f"{name}.{i}"
        graph.add_node(target, model=model, activation="identity", **node)
        times = {"delay": delay, "feedback_delay": back}
        graph.add_edge(source, target, weight=0.5 ** (i + 1), plastic=False, **times)
        source = target
    graph.nodes[source]["role"] = "output"


def first(values: NDArray[np.float64]) -> int:
    """Return the first tick at which a series (tick,) is not 0."""
    return int(np.flatnonzero(values)[0])


# ---- delays


@engines
@pytest.mark.parametrize("path", PATHS)
def test_a_state_acts_when_its_delay_is_over_and_not_before(engine: str, path: str) -> None:
    """A delay of 0 ends at the tick at which it began; a leaky neuron itself takes one more."""
    graph = nx.DiGraph()
    graph.add_node("in", model="input")
    for k, (one, two, earlier, later) in enumerate(WAYS):
        chain(graph, f"n{k}", (one, two), (earlier, later), (0, 0), **PATHS[path])
    case = Case(graph, {"loss": None}, ((3, "input", (np.array([2.0]),)),))
    sim, trace = run(case, 16, engine=engine)
    drive = dict(zip(sim.network.label, trace["sampled/a"].T, strict=True))
    for k, (model, _, earlier, later) in enumerate(WAYS):
        reached = 3 + earlier
        assert first(drive[f"n{k}.0"]) == reached
        assert drive[f"n{k}.0"][reached] == 2.0 * 0.5
        assert first(drive[f"n{k}.1"]) == reached + later + (model == "leaky")


@engines
@pytest.mark.parametrize("path", PATHS)
def test_a_costate_acts_when_its_delay_is_over_and_not_before(engine: str, path: str) -> None:
    """What a leaky neuron hears moves its costate, and what it sends, from the next tick on."""
    graph = nx.DiGraph()
    graph.add_node("in", model="input")
    for k, (one, two, earlier, later) in enumerate(WAYS):
        chain(graph, f"n{k}", (one, two, "instant"), (0, 1, 2), (3, earlier, later), **PATHS[path])
    case = Case(graph, {}, ((3, "target", (np.full(len(WAYS), 2.0),)),))
    sim, trace = run(case, 16, engine=engine)
    z = dict(zip(sim.network.label, trace["sampled/z"].T, strict=True))
    for k, (one, two, earlier, later) in enumerate(WAYS):
        assert (first(z[f"n{k}.2"]), z[f"n{k}.2"][3]) == (3, -2.0)
        reached = 3 + later
        assert two == "leaky" or z[f"n{k}.1"][reached] == -2.0 * 0.125
        reached += two == "leaky"
        assert first(z[f"n{k}.1"]) == reached
        assert first(z[f"n{k}.0"]) == reached + earlier + (one == "leaky")


def frozen(case: Case) -> Case:
    """Return a case in which weights stand still, whatever omega does."""
    rule = replace(case.options["rule"], beta=0.0, weight_decay=0.0)
    return fixed(case, edge={"beta": 0.0}, rule=rule, loss="squared_error")


class Ledger:
    """What every neuron of a case must have heard, from the messages of a trace and nothing else."""

    def __init__(self, case: Case, trace: Trace) -> None:
        self.network, self.script = case.network, case.script
        names = ("tick", "sent", "kind", "edge", "node", "value")
        self.events = sorted(zip(*(trace[f"events/{name}"].tolist() for name in names), strict=True))
        self.h = trace["sampled/h"]
        bias = self.network.source < 0
        self.rest = bias.astype(float)
        self.s, self.r = self.rest.copy(), np.zeros(len(bias))
        self.a, self.z = np.zeros(self.network.n), np.zeros(self.network.n)
        self.u, self.target, self.phi = np.zeros(self.network.n), None, 1.0

    def go(self, tick: int) -> None:
        """Take what the controls were asked for at a tick, hear what arrived, update who was updated."""
        for _, name, arguments in (act for act in self.script if act[0] == tick):
            self._obey(name, *arguments)
        now = [event for event in self.events if event[0] == tick]
        for _, _, kind, edge, _, value in now:
            if kind < 2:
                (self.s, self.r)[kind][edge] = value
        for node in (event[4] for event in now if event[2] == 2):
            self._update(node, tick)

    def _obey(self, name: str, value: Any = None) -> None:
        if name == "reset":
            self.s, self.r = self.rest.copy(), np.zeros_like(self.r)
        elif name == "input":
            self.u[self.network.inputs] = value
        elif name == "target":
            self.target = value
        elif name == "phi":
            self.phi = value

    def _update(self, node: int, tick: int) -> None:
        network = self.network
        into, out = network.target == node, (network.source == node) & (network.feedback > 0)
        self.a[node] = self.u[node] + self.s[into] @ network.weight[0][into]
        gradient = 0.0
        if self.target is not None and node in network.outputs:
            gradient = self.h[tick, node] - self.target[network.outputs.tolist().index(node)]
        self.z[node] = self.phi * gradient + self.r[out].sum()


@engines
@pytest.mark.parametrize("kind", KINDS)
def test_drives_and_costates_are_made_of_messages_that_have_arrived(kind: str, engine: str) -> None:
    """Nothing else reaches a neuron; its z is the sum of what it heard where it has no memory."""

    @settings(max_examples=EXAMPLES // 5)
    @given(cases(kind, 60).map(frozen))
    def check(case: Case) -> None:
        trace = run(case, 60, engine=engine)[1]
        ledger = Ledger(case, trace)
        network = case.network
        driven, instant = (
            np.array([m in some for m in network.model]) for some in ({"leaky", "instant"}, {"instant"})
        )
        for tick in range(60):
            ledger.go(tick)
            a, z = (trace[f"sampled/{name}"][tick] for name in "az")
            np.testing.assert_allclose(a[driven], ledger.a[driven], rtol=0, atol=1e-12)
            np.testing.assert_allclose(z[instant], ledger.z[instant], rtol=0, atol=1e-12)

    check()


def earliest(case: Case, start: int, column: int) -> NDArray[np.float64]:
    """Return the first tick at which a change of the stimulus can matter to each node (n,)."""
    network = case.network
    ways = nx.MultiDiGraph()
    ways.add_nodes_from(range(network.n))
    for edge in np.flatnonzero(network.source >= 0).tolist():
        source, target = int(network.source[edge]), int(network.target[edge])
        ways.add_edge(source, target, time=int(network.delay[edge]) + (network.model[source] == "leaky"))
        if network.feedback[edge]:
            ways.add_edge(target, source, time=int(network.feedback_delay[edge]))
    if case.options["loss"] == "cross_entropy":
        ways.add_edges_from(((i, j) for i in network.outputs for j in network.outputs), time=0)
    times = nx.single_source_dijkstra_path_length(ways, int(network.inputs[column]), weight="time")
    return np.array([start + times.get(i, np.inf) for i in range(network.n)])


@engines
def test_nothing_travels_faster_than_its_delays(engine: str) -> None:
    """Two runs differ by one input from some tick on: before the news can be there, not one bit differs."""
    reached = []

    @settings(max_examples=EXAMPLES // 2)
    @given(cases(until=50), st.integers(1, 30))
    def check(case: Case, start: int) -> None:
        other = disturbed(case, start)
        traces = [run(each, 50, engine=engine)[1] for each in (case, other)]
        horizon = earliest(case, start, 0)
        owner = {"w": case.network.target, "omega": case.network.target}
        for name in set(SAMPLED) - {"loss"}:
            one, two = (trace[f"sampled/{name}"] for trace in traces)
            differ = (one != two).any(0)
            when = np.where(differ, (one != two).argmax(0), np.inf)
            assert (when >= horizon[owner.get(name, slice(None))]).all(), name
            reached.append(np.isfinite(when).mean())

    check()
    # The news does get around.
    assert np.mean(reached) > 0.1


def disturbed(case: Case, start: int) -> Case:
    """Return a case whose first input is another one from a tick on, until the script sets it again."""
    before = [arguments[0] for tick, name, arguments in case.script if name == "input" and tick <= start]
    values = before[-1].copy()
    values[0] += 0.7
    acts: list[Act] = sorted([*case.script, (start, "input", (values,))], key=lambda act: act[0])
    return Case(case.graph, case.options, tuple(acts))


# ---- exact counts, worked out by hand


def feed(*values: float) -> tuple[Act, ...]:
    """Return what sets the only input to a value at ticks 0, 1, ..."""
    return tuple((tick, "input", (np.array([value]),)) for tick, value in enumerate(values))


def one_input(**node: Any) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_node("in", model="input", **node)
    return graph


def totals(case: Case, until: int, engine: str) -> dict[str, int]:
    """Return the numbers of a run's summary that count something."""
    sim, trace = run(case, until, engine=engine)
    names = ("state_messages", "costate_messages", "node_updates", "overtaken")
    assert {name: trace.summary[name] for name in names} == {name: sim.summary[name] for name in names}
    kinds = np.bincount(trace["events/kind"], minlength=3)
    assert kinds[2] == sim.summary["node_updates"]
    return {name: sim.summary[name] for name in names}


@engines
def test_a_chain_on_arrival_is_updated_when_its_input_changes_and_only_then(engine: str) -> None:
    """Ticks 0, 1 and 3 bring something new, tick 2 says again what is known: 3 x (2 messages, 3 updates)."""
    graph = one_input()
    chain(graph, "n", ("instant", "instant"), (0, 0), (0, 0), send_threshold=0.0)
    case = Case(graph, {"loss": None}, feed(1.0, 2.0, 2.0, 3.0))
    counts = totals(case, 10, engine)
    assert counts == {"state_messages": 6, "costate_messages": 0, "node_updates": 9, "overtaken": 0}


@engines
def test_a_clocked_chain_is_updated_at_every_tick_and_sends_what_changed(engine: str) -> None:
    """The input is updated at its 2 changes and sends them, both neurons at 6 ticks; n.0 sends to n.1."""
    graph = one_input()
    chain(graph, "n", ("instant", "instant"), (1, 0), (0, 0), update="clock")
    case = Case(graph, {"loss": None}, feed(1.0, 1.0, 1.0, 2.0))
    counts = totals(case, 6, engine)
    assert counts == {"state_messages": 4, "costate_messages": 0, "node_updates": 2 + 12, "overtaken": 0}


@engines
def test_a_costate_goes_back_one_message_an_edge_and_never_to_an_input(engine: str) -> None:
    """At tick 0: two states, one costate; it arrives at tick 3 and makes n.0 due. At 5 the target changes."""
    graph = one_input()
    chain(graph, "n", ("instant", "instant"), (0, 0), (0, 3), send_threshold=0.0)
    acts = ((0, "target", (np.zeros(1),)), (5, "target", (np.ones(1),)))
    counts = totals(Case(graph, {}, (*feed(1.0), *acts)), 20, engine)
    updates = 3 + 1 + 1 + 1
    assert counts == {
        "state_messages": 2,
        "costate_messages": 2,
        "node_updates": updates,
        "overtaken": 0,
    }


@engines
@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_one_send_is_one_message_on_every_edge(engine: str, update: str) -> None:
    graph = nx.MultiDiGraph(one_input())
    for k in range(3):
        graph.add_node(f"n{k}", update=update)
        graph.add_edge("in", f"n{k}", delay=k, plastic=False)
    graph.add_edge("in", "n0", delay=2, plastic=False)
    sim, trace = run(Case(graph, {"loss": None}, feed(0.5)), 10, engine=engine)
    assert sim.counts()["state"].tolist() == [[1, 0, 0, 0]]
    assert trace["events/tick"][trace["events/kind"] == 0].tolist() == [0, 1, 2, 2]
    assert sim.summary["state_messages"] == 4


@engines
def test_an_interval_keeps_the_newest_value_until_it_ends(engine: str) -> None:
    """A change at every tick from 0 to 5, sent every 4 ticks: at 0, 4 and 8, with the value of that tick."""
    graph = one_input(send_interval=4)
    chain(graph, "n", ("instant",), (0,), (0,))
    _, trace = run(Case(graph, {"loss": None}, feed(1, 2, 3, 4, 5, 6)), 20, engine=engine)
    message = trace["events/kind"] == 0
    assert trace["events/sent"][message].tolist() == [0, 4, 8]
    assert trace["events/value"][message].tolist() == [1.0, 5.0, 6.0]


@engines
def test_a_clocked_neuron_hears_the_last_message_and_the_others_are_counted_as_overtaken(engine: str) -> None:
    """Period 4: the messages of ticks 1 to 3 wait until tick 4, where that of 3 counts; 5 and 6 until 8."""
    graph = one_input()
    chain(graph, "n", ("instant",), (0,), (0,), update="clock", period=4)
    _, trace = run(Case(graph, {"loss": None}, feed(1, 2, 3, 4, 4, 6, 7)), 12, engine=engine)
    assert trace.summary["overtaken"] == trace.summary["replaced"] == 2 + 1
    assert trace["sampled/a"][::4, 1].tolist() == [0.5, 2.0, 3.5]
    assert trace.summary["node_updates"] == 6 + 3


@engines
def test_of_two_messages_that_reach_a_clocked_neuron_at_its_tick_the_later_sent_counts(engine: str) -> None:
    """A message that waits is overtaken by one with delay 0 from the very tick of the clock."""
    graph = one_input()
    chain(graph, "n", ("instant",), (0,), (0,), update="clock", period=4)
    _, trace = run(Case(graph, {"loss": None}, feed(1, 1, 1, 4, 5)), 8, engine=engine)
    assert trace.summary["overtaken"] == trace.summary["replaced"] == 1
    assert trace["sampled/a"][4, 1] == 2.5


@engines
def test_a_change_of_exactly_the_threshold_is_sent(engine: str) -> None:
    """0.3 - 0.2 is 2.8e-17 short of 0.1; one part in 1e9 is forgiven, two are not."""
    graph = one_input(send_threshold=0.1)
    chain(graph, "n", ("instant",), (0,), (0,))
    values = (0.1, 0.2, 0.3, 0.3 + 0.1 * (1 - 2e-9), 0.4)
    assert values[2] - values[1] < 0.1
    _, trace = run(Case(graph, {"loss": None}, feed(*values)), 10, engine=engine)
    assert trace["events/sent"][trace["events/kind"] == 0].tolist() == [0, 1, 2, 4]


def steady_error() -> Custom:
    """Return a loss whose gradient is 1 whatever the output."""
    return Custom(lambda y, target: y.sum(-1) + 0.0 * target.sum(-1))


@engines
@pytest.mark.parametrize(("threshold", "sent"), [(0.0, 10), (1e-6, 1)])
@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_a_weight_that_moved_is_told_although_q_stands_still(
    engine: str, update: str, threshold: float, sent: int
) -> None:
    """q is 1 for ever, r = w q moves with w: told at every update with threshold 0, else once."""
    graph = one_input()
    common = {"update": update, "costate_threshold": threshold, "send_threshold": 0.0}
    chain(graph, "n", ("instant", "instant"), (0, 0), (0, 0), **common)
    graph.edges["n.0", "n.1"]["plastic"] = True
    rule = Hamiltonian(beta=0.1, eta=0.5)
    case = Case(graph, {"loss": steady_error(), "rule": rule}, (*feed(1.0), (0, "target", (np.zeros(1),))))
    sim, trace = run(case, 10, engine=engine)
    assert sim.counts()["costate"][0, 2] == sent
    told = trace["events/kind"] == 1
    edge = trace["events/edge"][told][0]
    np.testing.assert_allclose(
        trace["events/value"][told], trace["sampled/w"][trace["events/sent"][told], edge], rtol=1e-15
    )


@pytest.mark.parametrize("model", MODELS)
def test_in_step_a_weight_that_moved_is_told_although_q_stands_still(model: str) -> None:
    """At every tick, as in the other engines; with tau = dt and eta = 0, z of a leaky output is g at once."""
    graph = one_input()
    chain(graph, "n", ("instant", model), (0, 0), (0, 0), update="clock")
    graph.edges["n.0", "n.1"]["plastic"] = True
    graph.nodes["n.1"].update({"tau": 1.0} if model == "leaky" else {})
    rule = Hamiltonian(beta=1e-3, eta=0.0)
    case = Case(graph, {"loss": steady_error(), "rule": rule}, (*feed(1.0), (0, "target", (np.zeros(1),))))
    counts = []
    for options in ({"compiled": "always"}, {"compiled": "never"}, {"engine": "reference"}):
        sim = build(case, **options)
        sim.run(until=10)
        early = sim.counts()["costate"][0, 2]
        sim.run(until=30)
        counts.append((int(early), int(sim.counts()["costate"][0, 2] - early)))
    assert build(case, compiled="always")._engine._loops is steady  # type: ignore[attr-defined]
    assert counts[0] == counts[1] == counts[2]
    assert counts[0][1] == 20


STILL: dict[str, dict[str, Any]] = {
    "beta = 0": {"rule": Hamiltonian(beta=0.0, eta=0.5)},
    "beta of the synapse = 0": {"edge": {"beta": 0.0}},
    "not plastic": {"edge": {"plastic": False}},
    "learning off": {"script": ((0, "learn", (False,)),)},
    "fixed random feedback": {"edge": {"feedback": "random"}},
    "only the bias learns": {"edge": {"plastic": False}, "bias": 0.1},
}


@pytest.mark.parametrize(
    "engine", [{"engine": "reference"}, {"compiled": "never"}, {"compiled": "always"}], ids=str
)
@pytest.mark.parametrize("update", ["clock", "arrival"])
@pytest.mark.parametrize("why", STILL)
def test_a_weight_that_cannot_move_or_is_not_sent_is_told_once(
    engine: dict[str, Any], update: str, why: str
) -> None:
    """r = w q is sent again where w may have moved, and only there: one message, whatever else learns."""
    still, graph = STILL[why], one_input()
    common = {"update": update, "send_threshold": 0.0, "costate_threshold": 0.0}
    chain(graph, "n", ("instant", "instant"), (0, 0), (0, 0), **common)
    graph.edges["n.0", "n.1"].update({"plastic": True, **still.get("edge", {})})
    if "bias" in still:
        graph.nodes["n.1"]["bias"] = still["bias"]
    rule = still.get("rule", Hamiltonian(beta=0.1, eta=0.5))
    begin = (*feed(1.0), (0, "target", (np.zeros(1),)), *still.get("script", ()))
    # Where something learns, q stands still only under a steady loss, which compiled loops do not know.
    moves = why in ("fixed random feedback", "only the bias learns")
    loss = steady_error() if moves else "squared_error"
    sim = build(Case(graph, {"loss": loss, "rule": rule}, begin), **engine)
    sim.run(until=10)
    assert sim.counts()["costate"][0, 2] == 1


@engines
def test_who_was_kept_back_by_its_interval_wakes_even_if_nothing_is_left_to_say(engine: str) -> None:
    """h -> 1 passes .5 at tick 7 (1 - e^-.7 = .503) and is sent. On its way to 4 it would be sent again, but
    may not for 50 ticks; then it comes back to .5. At tick 57 it wakes, |h - sent| < .5, and says nothing.
    """
    graph = one_input()
    node = {"tau": 1.0, "send_threshold": 0.5, "send_interval": 50}
    chain(graph, "n", ("leaky", "leaky"), (0, 0), (0, 0), **node)
    graph.edges["in", "n.0"]["weight"] = 1.0
    acts = [(tick, "input", (np.array([x]),)) for tick, x in ((0, 1.0), (10, 4.0), (20, 0.5))]
    _, trace = run(Case(graph, {"loss": None, "dt": 0.1}, tuple(acts)), 80, engine=engine)
    at, kind, tick = (trace[f"events/{name}"] for name in ("node", "kind", "tick"))
    assert tick[(kind == 2) & (at == 1)].tolist() == [0, 7, 10, 20, 57]
    assert trace["events/sent"][(kind == 0) & (at == 2)].tolist() == [7]


@engines
def test_a_reset_keeps_the_tick_of_the_last_sending(engine: str) -> None:
    """Sent at 0; the reset at 5 forgets what was sent, not when: the interval of 10 ticks ends at 10."""
    graph = one_input()
    chain(graph, "n", ("instant", "instant"), (0, 0), (0, 0), send_interval=10)
    _, trace = run(Case(graph, {"loss": None}, (*feed(1.0), (5, "reset", ()))), 20, engine=engine)
    state = (trace["events/kind"] == 0) & (trace["events/node"] == 2)
    assert trace["events/sent"][state].tolist() == [0, 10]


@engines
def test_an_output_that_cross_entropy_makes_due_within_the_tick_keeps_its_drive(engine: str) -> None:
    """At tick 5 a message without delay makes one output due, and the loss the other, which has had its turn
    to hear: its drive is w s with the w of tick 0, though w has moved, and its q is that of the new softmax.
    """
    graph = one_input()
    graph.add_node("other", model="input")
    node = {"model": "instant", "activation": "identity", "role": "output", "send_threshold": 10.0}
    for source, name in (("in", "a"), ("other", "b")):
        graph.add_node(name, refresh=1000, costate_threshold=10.0, **node)
        graph.add_edge(source, name, weight=0.5)
    begin: list[Act] = [(0, "input", (np.ones(2),)), (0, "target", (np.array([1.0, 0.0]),))]
    case = Case(
        graph,
        {"loss": "cross_entropy", "rule": Hamiltonian(beta=0.01, eta=0.0)},
        (*begin, (5, "input", (np.array([3.0, 1.0]),))),
    )
    _, trace = run(case, 8, engine=engine)
    label = case.network.label
    a, b = label.index("a"), label.index("b")
    updates = trace["events/node"][(trace["events/kind"] == 2) & (trace["events/tick"] == 5)]
    assert {a, b} <= set(updates.tolist())
    # Between 0 and 5: omega = q t, w = .5 - beta q t^2 / 2 with q = softmax - target = .5.
    w = trace["sampled/w"][5]
    into = {case.network.target[e]: w[e] for e in range(2)}
    np.testing.assert_allclose(into[b], 0.5 - 0.01 * 0.5 * 25 / 2, rtol=1e-12)
    assert trace["sampled/h"][5, b] == trace["sampled/h"][0, b] == 0.5
    h = trace["sampled/h"][5, [a, b]]
    softmax = np.exp(h) / np.exp(h).sum()
    np.testing.assert_allclose(trace["sampled/z"][5, [a, b]], softmax - [1.0, 0.0], rtol=1e-12)
