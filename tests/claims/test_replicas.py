"""Replicas side by side are what separate runs are: private synapses in an ensemble, one set in a batch."""

from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

import hlsim
from hlsim.errors import StimulusError, StimulusWarning
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays, Stage
from tests.support.graphs import KINDS, SAMPLED, Case, build, cases, fixed, play

ROWS, HOLD = 12, 4


def numbers(n_input: int, n_output: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    return generator.normal(size=(rows, n_input)), generator.normal(size=(rows, n_output))


def layers() -> nx.DiGraph:
    return hlsim.topology.layered([8, 6, 5], draw=False, bias=0.1, output_activation="identity")


def loops() -> nx.DiGraph:
    """A sparse recurrent network whose delays are numbers: what is drawn of its structure is shared."""
    graph = hlsim.topology.random(10, 3, seed=3, draw=False, delay=2, inputs=2, outputs=2)
    for k, (_, _, edge) in enumerate(graph.edges(data=True)):
        edge["delay"], edge["feedback_delay"] = k % 4, (k + 1) % 3
    return graph


def simulate(graph: nx.DiGraph, **options: Any) -> hlsim.Simulation:
    nodes = hlsim.network.flatten(graph)
    given: dict[str, Any] = {
        "rule": Hamiltonian(beta=0.02, eta=0.4),
        "stimulus": Arrays(*numbers(len(nodes.inputs), len(nodes.outputs))),
        "stages": [Stage(shuffle=True)],
        "hold": HOLD,
        "dtype": "float64",
        "node_defaults": {"update": "clock"},
    }
    return hlsim.Simulation(graph, **{**given, **options})


@pytest.mark.parametrize("graph", [layers(), loops()], ids=["dense", "sparse"])
@pytest.mark.parametrize("defaults", [{"update": "clock"}, {"send_threshold": 0.01, "refresh": 5}])
@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_each_member_of_an_ensemble_is_the_run_with_its_seed(
    graph: nx.DiGraph, defaults: dict[str, Any], engine: str
) -> None:
    """Own weights and order of rows; matrix products of another shape may round otherwise."""
    together = simulate(graph, ensemble=3, seed=5, engine=engine, node_defaults=defaults)
    trace = together.run(every=1)
    for member in range(3):
        alone = simulate(graph, seed=5 + member, engine=engine, node_defaults=defaults)
        own = alone.run(every=1)
        for name in ("h", "z", "a", "w", "omega", "loss"):
            mine = trace[f"sampled/{name}"][:, member]
            np.testing.assert_allclose(
                mine, own[f"sampled/{name}"].reshape(mine.shape), rtol=1e-11, atol=1e-12
            )
        for name in ("state", "costate", "updates"):
            if defaults.get("send_threshold"):
                np.testing.assert_array_equal(together.counts()[name][member], alone.counts()[name][0])


def test_members_of_an_ensemble_differ() -> None:
    network = simulate(layers(), ensemble=3).network
    drawn = network.source >= 0
    assert network.weight.shape[0] == 3
    assert (network.weight[0, drawn] != network.weight[1, drawn]).all()


@pytest.mark.parametrize("graph", [layers(), loops()], ids=["dense", "sparse"])
def test_a_batch_moves_synapses_by_the_mean_of_the_gradients(graph: nx.DiGraph) -> None:
    """With the weights held (beta = 0) omega is linear in the gradient: the mean of separate runs."""
    rule = Hamiltonian(beta=0.0, eta=0.4)
    network = hlsim.network.flatten(graph)
    rows, targets = numbers(len(network.inputs), len(network.outputs), 8)
    given = {"rule": rule, "stages": [Stage()]}
    batch = simulate(graph, stimulus=Arrays(rows, targets), batch=4, **given)
    trace = batch.run(every=1, sampled=["h", "omega"])
    alone = []
    for k in range(4):
        part = Arrays(rows[k::4], targets[k::4])
        alone.append(simulate(graph, stimulus=part, **given).run(every=1, sampled=["h", "omega"]))
    for k, own in enumerate(alone):
        np.testing.assert_allclose(trace["sampled/h"][:, k], own["sampled/h"], rtol=1e-12, atol=1e-13)
    mean = np.mean([own["sampled/omega"] for own in alone], 0)
    assert np.abs(mean).max() > 0.1
    np.testing.assert_allclose(trace["sampled/omega"], mean, rtol=1e-12, atol=1e-13)


def test_a_batch_of_the_same_rows_is_one_run() -> None:
    rows, targets = numbers(8, 5)
    fourfold = Arrays(np.repeat(rows, 4, 0), np.repeat(targets, 4, 0))
    alone = simulate(layers(), stages=[Stage()])
    batch = simulate(layers(), stimulus=fourfold, stages=[Stage()], batch=4)
    alone.run()
    batch.run()
    np.testing.assert_allclose(batch.read("w"), alone.read("w"), rtol=1e-12, atol=1e-13)


def test_rows_that_fill_no_batch_are_left_out_where_it_learns_and_filled_where_not() -> None:
    labels = np.arange(ROWS) % 5
    labelled = Arrays(*numbers(8, 5), labels)
    stages = [Stage("learn"), Stage("look", learn=False)]
    with pytest.warns(StimulusWarning, match="stage 'learn': 2 of 12 rows fill no batch of 5"):
        sim = simulate(layers(), stimulus=labelled, stages=stages, batch=5)
    trace = sim.run()
    split, label = trace["rows/split"].astype(str), trace["rows/label"]
    np.testing.assert_array_equal(label[split == "learn"].ravel(), labels[:10])
    np.testing.assert_array_equal(label[split == "look"].ravel(), [*labels, -1, -1, -1])
    assert sim.tick == (2 + 3) * HOLD


def test_a_stage_without_rows_for_a_batch_is_refused_where_it_learns() -> None:
    with pytest.raises(StimulusError, match=r"stage 'train': must have rows for a batch of 13 .* got 12"):
        simulate(layers(), batch=13)
    assert simulate(layers(), batch=13, stages=[Stage(learn=False)]).run().summary["ticks"] == HOLD


# ---- on random networks


def member(case: Case, network: hlsim.network.Network, k: int) -> hlsim.Simulation:
    """Return a run of a case with the structure of an ensemble and the weights of its member k."""
    own = replace(
        network, weight=network.weight[k : k + 1], feedback_weight=network.feedback_weight[k : k + 1]
    )
    sim = hlsim.Simulation(own, dtype="float64", **case.options)
    sim.env.process(play(sim, case.script))
    return sim


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_is_the_run_with_its_weights_on_the_structure_that_all_share(kind: str) -> None:
    """Also where delays and connections are drawn, with the same traffic.

    The last bit of an activation in torch depends on where a number stands in its tensor.
    """

    @settings(max_examples=max(4, settings().max_examples // 10))
    @given(cases(kind, 40))
    def check(case: Case) -> None:
        together = build(case, ensemble=3)
        trace = together.run(until=40, every=1)
        for k in range(3):
            alone = member(case, together.network, k)
            own = alone.run(until=40, every=1)
            for name in SAMPLED:
                mine = trace[f"sampled/{name}"][:, k]
                its_own = own[f"sampled/{name}"].reshape(mine.shape)
                np.testing.assert_allclose(mine, its_own, rtol=1e-11, atol=1e-13, err_msg=name)
            for name in ("state", "costate", "updates"):
                assert (together.counts()[name][k] == alone.counts()[name][0]).all()

    check()


def test_a_batch_follows_the_mean_gradient_on_random_networks() -> None:
    """With weights held, every replica is a run of its own, and omega the mean of theirs."""

    @settings(max_examples=max(6, settings().max_examples // 10))
    @given(cases("synchronous", 40))
    def check(drawn: Case) -> None:
        rule = replace(drawn.options["rule"], beta=0.0)
        case = fixed(drawn, edge={"beta": 0.0}, rule=rule)
        for _, data in case.graph.nodes(data=True):
            data.update({"send_threshold": 0.0, "send_interval": 1} if data.get("model") == "input" else {})
        factors = np.array([[1.0], [-0.5], [0.3]])
        together = build(scaled(case, factors), batch=3).run(until=40, every=1)
        alone = [build(scaled(case, factor)).run(until=40, every=1) for factor in factors]
        for name in ("h", "z", "a", "loss"):
            own = np.stack([trace[f"sampled/{name}"] for trace in alone], 1)
            np.testing.assert_allclose(together[f"sampled/{name}"], own, rtol=1e-12, atol=1e-12)
        mean = np.mean([trace["sampled/omega"] for trace in alone], 0)
        np.testing.assert_allclose(together["sampled/omega"], mean, rtol=1e-12, atol=1e-12)

    check()


def scaled(case: Case, factors: np.ndarray) -> Case:
    """Return a case whose inputs are multiplied, one row of them for each factor."""
    acts = [
        (tick, name, (values[0] * factors,) if name == "input" else values)
        for tick, name, values in case.script
    ]
    return Case(case.graph, case.options, tuple(acts))


# ---- what is refused


@pytest.mark.parametrize(
    "attributes",
    [
        {"update": "arrival"},
        {"update": "clock", "period": 2, "tau": 4.0},
        {"update": "clock", "send_threshold": 0.1},
        {"update": "clock", "costate_threshold": 0.1},
        {"update": "clock", "send_interval": 2},
    ],
    ids=str,
)
def test_a_batch_needs_neurons_that_do_the_same_at_the_same_ticks(attributes: dict[str, Any]) -> None:
    graph = hlsim.topology.layered([2, 3, 1])
    graph.nodes["hidden[1]"].update(attributes)
    line = r"^simulation\.batch: replicas that share synapses need .*, got node 'hidden\[1\]'$"
    with pytest.raises(hlsim.HlsimError, match=line):
        hlsim.Simulation(graph, batch=2, node_defaults={"update": "clock"})


def test_a_batch_is_for_the_batched_engine() -> None:
    with pytest.raises(
        hlsim.HlsimError, match=r"^simulation\.batch: must be 1 with engine = 'reference', got 2$"
    ):
        hlsim.Simulation(layers(), batch=2, engine="reference", node_defaults={"update": "clock"})


def test_a_network_must_hold_the_weights_of_every_member() -> None:
    network = hlsim.network.flatten(layers(), seeds=(0, 1))
    with pytest.raises(hlsim.HlsimError, match=r"weights for each member, got 2 for 3$"):
        hlsim.Simulation(network, ensemble=3)
    assert hlsim.Simulation(network, ensemble=2).replicas == 2
