"""Matched lags: what meets at a synapse belongs together, and is the exact gradient of the late network."""

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from hlsim import Simulation, analysis, cli, experiment, topology
from hlsim.analysis import oracle
from hlsim.analysis.ages import ages, exact_from
from hlsim.errors import ExperimentError, TopologyError, TraceError
from hlsim.models.losses import LOSSES
from hlsim.models.rules import Equilibrium, Hamiltonian
from hlsim.simulation.faults import Faults
from hlsim.stimulus import Arrays, Stage
from hlsim.topology.network import flatten
from hlsim.trace.network import network_of
from tests.claims.test_state import ENGINES, assert_goes_on
from tests.support.agreement import assert_agree
from tests.support.graphs import Case
from tests.support.late import acyclic, feed, late_descent, stream, through_delays

ROWS, TICKS = 12, 70


@given(
    acyclic(),
    st.sampled_from(("squared_error", "cross_entropy")),
    st.sampled_from(("batched", "reference")),
    st.integers(0, 1000),
)
@settings(max_examples=120, deadline=None)
def test_with_weights_that_stand_still_omega_is_the_gradient_through_the_delays(
    graph: nx.DiGraph, loss: str, engine: str, seed: int
) -> None:
    """A new row every tick; autograd through delay lines. All has come after the largest lag."""
    sim = Simulation(
        graph,
        rule=Hamiltonian(beta=0.0, eta=0.0),
        loss=loss,
        dtype="float64",
        engine=engine,
        compiled="never",
    )
    inputs, targets = stream(sim.network, ROWS, seed)
    feed(sim, inputs, targets)
    sim.run(until=ROWS + int(sim.network.lag.max()) + 2, every=1000)
    exact = through_delays(sim.network, inputs, targets, LOSSES[loss])
    np.testing.assert_allclose(
        sim.read("omega")[0], exact, rtol=1e-12, atol=1e-12 * np.abs(exact).max(initial=0)
    )


@given(
    acyclic(("instant",), ("symmetric", "symmetric", "random", "none")),
    st.sampled_from(("explicit", "sequential")),
    st.sampled_from(("batched", "reference")),
    st.sampled_from((0.0, 0.3)),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_with_weights_that_move_it_is_descent_by_a_gradient_that_is_late_by_the_lag(
    graph: nx.DiGraph, order: str, engine: str, eta: float, seed: int
) -> None:
    """Plain numpy, which looks up what belongs together and has nothing wait; 1e-12."""
    beta = 0.02 if eta else 0.001
    sim = Simulation(
        graph,
        rule=Hamiltonian(beta=beta, eta=eta, order=order),
        dtype="float64",
        engine=engine,
        compiled="never",
    )
    ticks = int(sim.network.lag.max()) + 20
    inputs, targets = stream(sim.network, ticks, seed)
    feed(sim, inputs, targets)
    # In the explicit order what meets at a tick is learned at the next one.
    sim.run(until=ticks + (order == "explicit"), every=1000)
    w, omega = late_descent(sim.network, inputs, targets, beta, eta, order)
    np.testing.assert_allclose(sim.read("w")[0], w, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sim.read("omega")[0], omega, rtol=1e-12, atol=1e-12)


# ---- engines


@st.composite
def cases(draw: DrawFn) -> Case:
    """Draw a network with rows at every tick or held, resets, and learning that is switched off and on."""
    leaky = draw(st.booleans())
    graph = draw(acyclic(("instant", "leaky") if leaky else ("instant",), ("symmetric", "random", "none")))
    if draw(st.booleans()):
        for node in graph:
            graph.nodes[node]["size"] = 6
        for *_, data in graph.edges(data=True):
            data["weight"] = {"normal": 0.3}
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    eta = 0.0 if leaky else 0.3
    rule = Hamiltonian(
        beta=0.0005 if leaky else 0.02,
        eta=eta,
        order="explicit" if leaky else draw(st.sampled_from(("explicit", "sequential"))),
        weight_decay=draw(st.sampled_from((0.0, 0.1))),
    )
    loss = draw(st.sampled_from(("squared_error", "cross_entropy")))
    case = Case(graph, {"rule": rule, "loss": loss, "seed": draw(st.integers(0, 100))})
    hold, network = draw(st.sampled_from((1, 7))), case.network
    script: list[tuple[int, str, Any]] = [(0, "phi", (1.0,))]
    for tick in range(0, TICKS, hold):
        script.append((tick, "input", (generator.normal(size=len(network.inputs)),)))
        script.append((tick, "target", (generator.dirichlet(np.ones(len(network.outputs))),)))
    for name, arguments in (("reset", ()), ("learn", (False,)), ("learn", (True,)), ("phi", (0.5,))):
        script += [(int(tick), name, arguments) for tick in generator.integers(1, TICKS, 2)]
    return Case(graph, case.options, tuple(sorted(script, key=lambda act: act[0])))


@given(cases())
@settings(max_examples=40, deadline=None)
def test_both_engines_keep_the_same(case: Case) -> None:
    """Message by message; with matrices and single synapses, resets, and learning switched off and on."""
    assert_agree(case, TICKS)


@pytest.mark.parametrize("engine", ["reference", "torch"])
@pytest.mark.parametrize("size", [1, 6])
def test_what_is_kept_is_part_of_the_state(engine: str, size: int) -> None:
    """Put into a fresh simulation between any two ticks, the run goes on as it would have, bit for bit."""
    rows = np.random.default_rng(0).normal(size=(60, 4))

    def make() -> Simulation:
        return Simulation(
            diamond(size),
            rule=Hamiltonian(beta=0.02),
            stimulus=Arrays(np.repeat(rows[:, :2], size, 1), np.repeat(rows[:, 2:3], size, 1)),
            stages=[Stage(rows=25), Stage("test", rows=6, learn=False), Stage("more", rows=15)],
            target_delay=4,
            dtype="float64",
            **ENGINES[engine],
        )

    assert make().network.lag.max() == 17
    for cut in (3, 20, 34):
        assert_goes_on(make, cut, 46)


def diamond(size: int = 1, **edge: Any) -> nx.DiGraph:
    """Two paths of 4 and 3 ticks from two inputs to an output, one through a node that feeds both."""
    graph = nx.DiGraph()
    for name in ("x[0]", "x[1]") if size == 1 else ("x", "u"):
        graph.add_node(name, model="input", **({} if size == 1 else {"size": size}))
    node = {"model": "instant", "update": "clock", "lag": "matched", **({} if size == 1 else {"size": size})}
    graph.add_nodes_from(["a", "b"], **node)
    graph.add_node("y", role="output", bias=0.1, **node)
    inputs = list(graph)[:2]
    ends = [(inputs[0], "a"), (inputs[1], "b"), ("a", "b"), ("b", "y"), ("a", "y")]
    for (source, target), there, back in zip(ends, (1, 0, 2, 1, 3), (0, 0, 4, 5, 6), strict=True):
        weight = {"normal": 0.5 / size**0.5}
        graph.add_edge(source, target, weight=weight, delay=there, feedback_delay=back, **edge)
    graph.edges["a", "b"]["feedback_delay"] = 9
    return graph


def test_lags_are_the_longest_ways_there_and_back() -> None:
    """y 0; b 1 + 5; a: by y 3 + 6, by b 6 + 2 + 9 = 17, so that costates from y wait 8 ticks."""
    network = flatten(diamond())
    found = dict(zip(network.label, network.lag.tolist(), strict=True))
    assert found == {"a": 17, "b": 6, "x[0]": 0, "x[1]": 0, "y": 0}
    ends = zip(network.source.tolist(), network.target.tolist(), strict=True)
    at = {(network.label[u], network.label[v]): e for e, (u, v) in enumerate(ends)}
    assert network.waiting[at["a", "y"]] == 8
    assert network.feedback_delay[at["a", "y"]] == 14
    # a: 17 slopes, 8 costates that wait, and what b hears: 2 + 6 ticks; b: 6 slopes; inputs: 17 + 1, 6.
    kept = dict(zip(network.label, network.kept.tolist(), strict=True))
    assert kept == {"a": 17 + 8 + 8, "b": 6, "x[0]": 18, "x[1]": 6, "y": 0}


@pytest.mark.parametrize("batch", [True, False])
def test_replicas_keep_their_own(batch: bool) -> None:
    """A minibatch is the mean of its rows' gradients; members of an ensemble are runs of their own."""
    rows = np.random.default_rng(0).normal(size=(3, 30, 3))

    def omega(inputs: Any, targets: Any, **options: Any) -> Any:
        beta = 0.0 if batch else 0.02
        sim = Simulation(diamond(), rule=Hamiltonian(beta=beta), dtype="float64", compiled="never", **options)
        feed(sim, inputs, targets)
        sim.run(until=50)
        return sim.read("omega")

    by_tick = rows.swapaxes(0, 1)
    together = omega(by_tick[..., :2], by_tick[..., 2:], **{"batch" if batch else "ensemble": 3})
    alone = [omega(x[:, :2], x[:, 2:], seed=0 if batch else k)[0] for k, x in enumerate(rows)]
    expected = np.mean(alone, 0, keepdims=True) if batch else alone
    np.testing.assert_allclose(together, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_what_a_stage_without_learning_showed_is_never_learned(engine: str) -> None:
    """Other rows in the test leave the same weights, though what neurons keep of them meets costates later.

    With delays that are balanced and matched targets: else rows of the test reach the outputs later still.
    """
    rows = np.random.default_rng(0).normal(size=(60, 3))

    def weights(test: float) -> Any:
        shown = rows.copy()
        shown[25:35] += test
        sim = Simulation(
            topology.balance(diamond()),
            rule=Hamiltonian(beta=0.05),
            stimulus=Arrays(shown[:, :2], shown[:, 2:], splits={"a": slice(25), "b": slice(25, 35)}),
            stages=[Stage("a", "a"), Stage("b", "b", learn=False), Stage("c", "a")],
            target_delay="matched",
            dtype="float64",
            **ENGINES[engine],
        )
        sim.run()
        return sim.read("w")

    np.testing.assert_array_equal(weights(0.0), weights(1.0))


# ---- what it looks like


@given(acyclic(("instant",)))
@settings(max_examples=40, deadline=None)
def test_what_meets_is_of_one_tick(graph: nx.DiGraph) -> None:
    """By the delays of all paths, where they are balanced: the output in an error is as old as the state."""
    network = flatten(topology.balance(graph))
    found = ages(network)
    known = found.staleness.notnull().values
    assert known.any()
    np.testing.assert_array_equal(found.staleness.values[known], 0.0)


@given(acyclic(("instant",)), st.sampled_from(("explicit", "sequential")))
@settings(max_examples=20, deadline=None)
def test_on_a_held_input_the_gradient_is_exact_when_the_longest_paths_say(
    graph: nx.DiGraph, order: str
) -> None:
    """What enters omega from that step on, beside backpropagation."""
    inputs, targets = stream(flatten(graph), 1, 0)
    sim = Simulation(
        graph,
        rule=Hamiltonian(beta=0.0, eta=0.0, order=order),
        stimulus=Arrays(inputs, targets),
        hold=250,
        dtype="float64",
        compiled="never",
    )
    trace = sim.run(every=1, sampled=["omega"])
    omega, steps = trace["sampled/omega"], exact_from(sim.network, order)
    exact = oracle.backpropagation(sim.network, sim.network.weight, inputs, targets, LOSSES["squared_error"])[
        0
    ]
    entered = np.diff(omega, axis=0, prepend=0.0 * omega[:1])
    for edge in np.flatnonzero(np.isfinite(steps)):
        after = entered[int(steps[edge]) :, edge]
        np.testing.assert_allclose(after, exact[edge], rtol=1e-9, atol=1e-12)


def test_locality_tells_what_is_kept() -> None:
    sim = Simulation(diamond(), stimulus=Arrays(np.ones((9, 2)), np.ones((9, 1))))
    trace = sim.run()
    found = analysis.locality(trace)
    assert dict(zip(found.node.values.tolist(), found.kept_for_lags.values.tolist(), strict=True)) == {
        "a": 33,
        "b": 6,
        "x[0]": 18,
        "x[1]": 6,
        "y": 0,
    }
    unaided = diamond()
    for node in "aby":
        del unaided.nodes[node]["lag"]
    plain = analysis.locality(Simulation(unaided, stimulus=Arrays(np.ones((9, 2)), np.ones((9, 1)))).run())
    assert plain.kept_by_backpropagation.equals(found.kept_by_backpropagation)
    assert not plain.kept_for_lags.any()


def test_staleness_of_messages_is_refused() -> None:
    sim = Simulation(diamond(), stimulus=Arrays(np.ones((9, 2)), np.ones((9, 1))))
    with pytest.raises(
        TraceError, match=r"^staleness: what neurons keep for a lag is in no trace, got node 'a'"
    ):
        analysis.staleness(sim.run(events=["message", "update"]))


# ---- where lags are written, and where they are refused


@pytest.mark.parametrize("form", ["json", "graphml"])
def test_lags_come_through_files(form: str, tmp_path: Path) -> None:
    """A number and a word in one graph."""
    graph = diamond()
    graph.nodes["b"]["lag"] = 4
    topology.save(graph, tmp_path / f"graph.{form}")
    again = topology.load(tmp_path / f"graph.{form}")
    assert {node: again.nodes[node].get("lag") for node in again} == {
        node: graph.nodes[node].get("lag") for node in graph
    }
    assert flatten(again).lag.tolist() == flatten(graph).lag.tolist()


def test_a_lag_of_its_own_ends_the_way_back() -> None:
    """b 4 instead of 6: the costates of a count from there, 4 + 2 + 9; those of b come 2 ticks too late."""
    graph = diamond()
    graph.nodes["b"]["lag"] = 4
    network = flatten(graph)
    assert dict(zip(network.label, network.lag.tolist(), strict=True))["a"] == 15
    graph.add_edge("y", "b", delay=3)
    graph.add_edge("b", "b", delay=1)
    assert (flatten(graph).lag >= 0).all()


EXPERIMENT = """\
[network]
topology = "graph.json"

[simulation]
until = 9
compiled = "auto"

[learning]
lag = "matched"
"""


def test_an_experiment_gives_all_neurons_a_lag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the graph's own come first; info shows lags and what they cost, and the trace has them."""
    graph = diamond()
    for node in "aby":
        del graph.nodes[node]["lag"]
    topology.save(graph, tmp_path / "graph.json")
    (tmp_path / "experiment.toml").write_text(EXPERIMENT, encoding="utf-8")
    trace = experiment.load(tmp_path).run()
    assert trace["network/lag"].max() == 17
    assert trace["network/waiting"].sum() == 8
    assert network_of(trace).lag.tolist() == flatten(diamond()).lag.tolist()
    assert not experiment.load(tmp_path, ["learning.lag=0"]).network.lag.any()
    with pytest.raises(SystemExit):
        cli.main(["info", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "numbers kept for lags" in shown
    assert "63" in shown
    with pytest.raises(SystemExit) as ended:
        cli.main(["validate", str(tmp_path), "--set", "learning.lag=soon"])
    assert ended.value.code == 2
    told = "experiment.toml: [learning] lag must be \"matched\" or a whole number of ticks >= 0, got 'soon'"
    assert told in capsys.readouterr().err


REFUSED = [
    ({}, {"a": {"update": "arrival"}}, "node 'a': lag needs update = 'clock', got 'matched'"),
    ({}, {"x[0]": {"lag": 3}}, "node 'x[0]': lag has no meaning for model 'input', got 3"),
    ({}, {"a": {"lag": -1}}, "node 'a': lag must be 'matched' or a whole number of ticks >= 0, got -1"),
    (
        {},
        {"b": {"update": "arrival", "lag": None}},
        "node 'b': update must be 'clock' where neurons have a lag",
    ),
    (
        {},
        {"b": {"period": 2}},
        "node 'b': period must be 1 where neurons have a lag, which counts ticks, got 2",
    ),
    ({}, {"b": {"send_threshold": 0.5}}, "node 'b': send_threshold must be 0 where neurons have a lag"),
    ({}, {"x[1]": {"send_interval": 2}}, "node 'x[1]': send_interval must be 1 where neurons have a lag"),
    (
        {},
        {"b": {"model": "leaky", "tau": 2.0}},
        "node 'b': model must be 'instant', or 'leaky' with tau = dt, where neurons have a lag",
    ),
    ({}, {"b": {"model": "leaky"}}, "learning.eta: must be 0 where leaky node 'b' has a lag"),
    (
        {"rule": Hamiltonian(eta=0.0, order="sequential")},
        {"b": {"model": "leaky"}},
        "learning.order: must be 'explicit' where leaky node 'b' has a lag",
    ),
    (
        {"rule": Equilibrium()},
        {},
        "node 'a': lag has no meaning for rule 'equilibrium', whose neurons send no",
    ),
    ({"faults": Faults(loss=0.1)}, {}, "faults: must be none where neurons have a lag"),
    (
        {"compiled": "always"},
        {},
        "simulation.compiled: must not be 'always' here: what neurons with a lag keep is kept in torch",
    ),
    ({}, {"a": {"lag": 2**24}}, "simulation: what is sent is kept for up to 1,677,721 ticks, which is"),
    ({"engine": "reference"}, {"a": {"lag": 2**50}}, "simulation: 1 replicas of 5 nodes"),
]


@pytest.mark.parametrize(("options", "nodes", "said"), REFUSED)
def test_where_a_costate_cannot_meet_what_it_belongs_to_lags_are_refused(
    options: dict[str, Any], nodes: dict[str, Any], said: str
) -> None:
    graph = diamond()
    for node, data in nodes.items():
        graph.nodes[node].update(data)
        for name in [name for name, value in data.items() if value is None]:
            del graph.nodes[node][name]
    with pytest.raises((ExperimentError, TopologyError)) as raised:
        Simulation(graph, **options)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_a_cycle_of_costates_is_named() -> None:
    graph = diamond()
    graph.add_edge("y", "b", delay=2)
    with pytest.raises(TopologyError) as raised:
        flatten(graph)
    assert str(raised.value).startswith(
        "graph: lags have no end in a cycle of costates: b -> y -> b; one of its"
    )
    graph.edges["y", "b"]["feedback"] = "none"
    assert flatten(graph).lag.max() == 17
