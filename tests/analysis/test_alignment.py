"""What omega became beside what exact gradients would have made of it."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation, experiment, topology
from hlsim.analysis import oracle
from hlsim.analysis.alignment import alignment, best_lag, steps_to_exact
from hlsim.errors import TraceError
from hlsim.models.losses import LOSSES, Custom
from hlsim.models.rules import Equilibrium, Hamiltonian
from hlsim.models.rules.phi import Gate
from hlsim.stimulus import Arrays, Stage
from hlsim.trace.network import network_of
from tests.support import experiments
from tests.support.learned import layers, learned
from tests.support.theory import CLOCK

GROUPS = ["hidden1", "hidden2", "output", "all"]


# ---- where omega is its ideal


@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("beta", [0.0, 0.05])
def test_a_network_without_delays_or_time_constants_is_its_ideal(order: str, beta: float) -> None:
    """Backpropagation is what instant neurons do; the weights of each tick are taken from the trace."""
    rule = Hamiltonian(beta=beta, eta=0.3, order=order)
    found = alignment(learned(layers(model="instant"), rule), rule=rule)
    assert found.group.values.tolist() == GROUPS
    after = found.isel(tick=slice(1, None))
    np.testing.assert_allclose(after.cosine, 1.0, rtol=1e-9)
    np.testing.assert_allclose(after.norm_ratio, 1.0, rtol=1e-9)


def test_on_a_held_input_a_layer_is_exact_after_two_nu_minus_l_plus_two_steps() -> None:
    """nu = 3 leaky layers with tau = dt, eta = 0, frozen: steps 7, 6, 5 of the hold; before it is not."""
    rule = Hamiltonian(beta=0.0, eta=0.0)
    found = alignment(learned(layers(), rule, rows=1, hold=12), of="change", rule=rule)
    for name, exact in zip(GROUPS, (7, 6, 5), strict=False):
        cosine, ratio = (found[field].sel(group=name).values for field in ("cosine", "norm_ratio"))
        np.testing.assert_allclose(cosine[exact:], 1.0, rtol=1e-12)
        np.testing.assert_allclose(ratio[exact:], 1.0, rtol=1e-12)
        assert not abs(ratio[exact - 1] - 1.0) < 1e-3


@pytest.mark.parametrize("frequency", [0.3, 1.0, 5.0])
def test_a_slow_neuron_turns_the_gradient_by_twice_its_phase_lag(frequency: float) -> None:
    """cos(2 arctan wT): 16 neurons of time constant T = 1 whose errors have all phases, against RTRL.

    The error does not depend on h (a linear loss); nothing fades, no weight moves; the fourth period counts.
    """
    phases, dt = 16, {0.3: 0.1, 1.0: 0.02, 5.0: 0.004}[frequency]
    period = round(2 * np.pi / frequency / dt)
    time = np.arange(4 * period + 1)[:, None] * dt
    targets = np.sin(frequency * time + 2 * np.pi * np.arange(phases) / phases)
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_node("y", size=phases, role="output", tau=1.0, **CLOCK)
    graph.add_edge("u", "y", weight=0.01)
    rule, linear = Hamiltonian(beta=0.0, eta=0.0), Custom(lambda y, target: -(y * target).sum(-1))
    stream = Arrays(np.sin(frequency * time), targets)
    sim = Simulation(graph, rule=rule, loss=linear, stimulus=stream, dt=dt, dtype="float64")
    trace = sim.run(every=period, sampled=["omega"])
    found = alignment(trace, against="recurrent", of="change", rule=rule, loss=linear)
    assert found.cosine.sel(group="all").values[-1] == pytest.approx(
        np.cos(2 * np.arctan(frequency)), abs=0.02
    )


@pytest.mark.parametrize("order", ["explicit", "sequential"])
def test_the_steps_of_the_weights_are_ideal_where_omega_is(order: str) -> None:
    """Sums over the seven ticks between two samples, with a rate of its own on some synapses."""
    graph = layers(model="instant")
    nx.set_edge_attributes(graph, dict.fromkeys(list(graph.edges)[::2], 3e-9), "beta")
    rule = Hamiltonian(beta=1e-9, eta=0.3, order=order)
    trace = learned(graph, rule, rows=30, every=7)
    found = alignment(trace, of="step", rule=rule).isel(tick=slice(1, None))
    # The weights are all but still: their steps have few digits.
    np.testing.assert_allclose(found.cosine, 1.0, atol=1e-5)
    np.testing.assert_allclose(found.norm_ratio, 1.0, atol=1e-5)


def test_every_synapse_is_compared_over_time() -> None:
    rule = Hamiltonian(beta=0.0, eta=0.3)
    trace = learned(layers(), rule)
    found = alignment(trace, rule=rule)
    network = network_of(trace)
    x, y = trace["stimulus/input"], trace["stimulus/target"]
    gradient = oracle.backpropagation(network, network.weight[0], x, y, LOSSES["squared_error"])
    ideal = np.zeros_like(gradient)
    for t in range(1, len(gradient)):
        ideal[t] = 0.7 * ideal[t - 1] + gradient[t - 1]
    omega = trace["sampled/omega"]
    for edge in (0, network.m // 2, network.m - 1):
        lengths = np.linalg.norm(omega[:, edge]), np.linalg.norm(ideal[:, edge])
        assert found.edge_cosine[edge] == pytest.approx(omega[:, edge] @ ideal[:, edge] / np.prod(lengths))
        assert found.edge_norm_ratio[edge] == pytest.approx(lengths[0] / lengths[1])
    assert found.target.values[0] == network.label[network.target[0]]
    assert found.source.values[network.source < 0].tolist() == ["bias"] * int((network.source < 0).sum())


@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("of", ["omega", "step"])
def test_through_time_is_recurrent_where_weights_stand_still(order: str, of: str) -> None:
    """The same gradient forward and backward, through random delays, faded and summed between samples."""
    graph = topology.random(8, 3, seed=3, delay=(0, 3), inputs=4, outputs=3, bias=0.1)
    rule = Hamiltonian(beta=1e-12, eta=0.2, order=order)
    trace = learned(graph, rule, rows=12, every=5)
    found = [alignment(trace, against=x, of=of, rule=rule) for x in ("recurrent", "through_time")]
    for name in ("cosine", "norm_ratio"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-9)


def test_the_implicit_gradient_is_backpropagation_where_there_is_no_cycle() -> None:
    rule = Hamiltonian(beta=0.05, eta=0.3)
    trace = learned(layers(delay=1), rule)
    found = [alignment(trace, against=x, rule=rule) for x in ("implicit", "backpropagation")]
    np.testing.assert_allclose(found[0].cosine, found[1].cosine, atol=1e-9)


def test_a_stage_that_does_not_learn_leaves_the_ideal_as_it_is(tmp_path: Path) -> None:
    """Instant neurons have their ideal in the test as before: neither moves there."""
    folder = experiments.write(tmp_path / "tiny")
    text = 'import hlsim\n\n\ndef build():\n    return hlsim.topology.layered([2, 3, 2], model="instant")\n'
    (folder / "topology.py").write_text(text, encoding="utf-8")
    settings = [
        "network.parameters={}", "record.every=1", "record.sampled=['w', 'omega']", "learning.phi=1.0",
        "simulation.dtype='float64'",
    ]  # fmt: skip
    found = alignment(experiment.load(folder, settings).run())
    assert found.sizes["tick"] == experiments.TICKS
    np.testing.assert_allclose(found.cosine.sel(group="all").values[1:], 1.0, rtol=1e-9)
    np.testing.assert_allclose(found.norm_ratio.sel(group="all").values[1:], 1.0, rtol=1e-9)


# ---- how late


@pytest.mark.parametrize(
    ("model", "delay", "order", "steps"),
    [
        ("leaky", 0, "explicit", [7, 6, 5]),
        ("leaky", 1, "explicit", [12, 10, 8]),
        ("instant", 1, "explicit", [6, 5, 4]),
        ("instant", 1, "sequential", [5, 4, 3]),
    ],
)
def test_steps_to_exact(model: str, delay: int, order: str, steps: list[int]) -> None:
    """nu = 3, after rest and after another sample; the synapses one by one as the longest paths have it."""
    rule = Hamiltonian(beta=0.0, eta=0.0, order=order)
    trace = learned(layers(model=model, delay=delay), rule, rows=3, hold=15)
    found = steps_to_exact(trace, rule=rule)
    np.testing.assert_array_equal(found.measured, [[*steps, max(steps)]] * 3)
    np.testing.assert_array_equal(found.predicted, [*steps, max(steps)])
    edges = found.edge_predicted.groupby("target").max()
    assert edges.sel(target="hidden1[0]") == steps[0]


def test_a_hold_that_is_too_short_is_never_exact() -> None:
    rule = Hamiltonian(beta=0.0, eta=0.0)
    found = steps_to_exact(learned(layers(), rule, rows=4, hold=6), rule=rule)
    assert np.isnan(found.measured[1:].sel(group="hidden1")).all()
    assert (found.measured[1:].sel(group="output") == 5).all()


def test_the_best_lag_is_that_of_a_pure_delay() -> None:
    """An instant output of its input, whose gradient comes as late as its synapse's: both at d ticks."""
    graph = topology.layered([4, 3], seed=1, model="instant", delay=5)
    rule = Hamiltonian(beta=0.0, eta=0.4, order="sequential")
    stream = Arrays(np.random.default_rng(2).normal(size=(60, 4)), np.zeros((60, 3)))
    sim = Simulation(graph, rule=rule, stimulus=stream, dtype="float64", node_defaults=CLOCK)
    found = best_lag(sim.run(every=1), 9, rule=rule)
    assert (found.best == 5).all()
    np.testing.assert_allclose(found.cosine.sel(lag=5), 1.0)


# ---- weights that were sampled now and then


@pytest.mark.parametrize("order", ["explicit", "sequential"])
def test_how_old_the_weights_are_is_said_of_every_number(order: str) -> None:
    """Weights of the nearest sample count; their distance is the mean over what is left of each gradient."""
    rule, every = Hamiltonian(beta=0.05, eta=0.3, order=order), 7
    trace = learned(layers(model="instant"), rule, rows=29, every={"default": every})
    found, late = alignment(trace), int(order == "explicit")
    # A gradient of tick t has the weights at its end; those at the start are of before the first step.
    samples = [every * k for k in range(5)]
    expected = []
    for tick in samples:
        worth = {t: 0.7 ** (tick - late - t) for t in range(tick - late + 1)}
        away = {t: min([abs(t - s) for s in samples] + [t + 1 - late]) for t in worth}
        expected.append(sum(worth[t] * away[t] for t in worth) / (sum(worth.values()) or 1.0))
    np.testing.assert_allclose(found.age, expected, atol=1e-12)
    assert found.age.max() > 0.3


def test_weights_that_did_not_move_are_known_at_every_tick() -> None:
    """Of a stage that does not learn one sample is enough; with beta = 0 none is needed."""
    stages = [Stage("still", learn=False, rows=20), Stage("learns", rows=5)]
    rule = Hamiltonian(beta=0.05, eta=0.3)
    trace = learned(layers(), rule, rows=20, stages=stages, every={"default": 1, "w": 20})
    found = alignment(trace).age.values
    assert not found[:21].any()
    assert (found[22:] > 0).all()
    still = learned(layers(), Hamiltonian(beta=0.0), rows=20, every={"default": 1, "w": 1000})
    assert not alignment(still).age.any()


def test_what_old_weights_cost_falls_with_the_square_of_how_far_they_moved() -> None:
    """Instant neurons are their ideal; the angle to one of weights of other ticks is proportional to beta."""
    missing = []
    for beta in (2e-5, 1e-5):
        trace = learned(layers(model="instant"), Hamiltonian(beta=beta), rows=61, every={"default": 20})
        found = alignment(trace).sel(group="all", tick=[20, 40, 60])
        missing.append(1.0 - found.cosine.values)
    np.testing.assert_allclose(missing[0] / missing[1], 4.0, rtol=0.01)


def test_steps_and_lags_of_weights_that_move_between_samples() -> None:
    trace = learned(layers(), Hamiltonian(beta=0.05, eta=0.3), rows=20, every={"default": 1, "w": 1000})
    with pytest.raises(TraceError, match="steps to exact: weights must stand still"):
        steps_to_exact(trace)
    assert best_lag(trace, 4).age > 5


# ---- phi, and stages that do not learn


def test_steps_to_exact_of_another_phi_are_the_same_and_of_a_gate_there_are_none() -> None:
    rule = Hamiltonian(beta=0.0, eta=0.0, phi=2.5)
    stages = [Stage("one", rows=1), Stage("still", learn=False, rows=1), Stage("two", rows=1)]
    found = steps_to_exact(learned(layers(), rule, rows=1, hold=12, stages=stages))
    # All is the same row: when learning goes on, what meets has long been exact.
    np.testing.assert_array_equal(found.measured.sel(group="hidden1"), [7, np.nan, 1])
    gated = learned(layers(), Hamiltonian(beta=0.0, phi=Gate(3)), rows=2, hold=12)
    with pytest.raises(
        TraceError, match=r"steps to exact: phi must be one number that is not 0, got \[0.0, 1.0\]"
    ):
        steps_to_exact(gated)


# ---- what a trace tells


@pytest.mark.filterwarnings("ignore:.*did not settle")
def test_what_a_trace_does_not_tell_is_said() -> None:
    rule = Hamiltonian(beta=0.0)
    trace = learned(layers(), rule, rows=3)
    other = learned(nx.Graph(layers()), Equilibrium(beta=0.0), rows=3, hold=4)
    with pytest.raises(TraceError, match="did not learn by rule 'hamiltonian'; say by which with rule="):
        alignment(other)
    custom = learned(layers(), rule, rows=3, loss=Custom(lambda y, target: (y * target).sum(-1)))
    with pytest.raises(TraceError, match="the loss was a function of one's own: give it with loss="):
        alignment(custom)
    with pytest.raises(
        TraceError, match="unknown oracle 'bptt'; known: backpropagation, implicit, recurrent, through_time"
    ):
        alignment(trace, against="bptt", rule=rule)
    with pytest.raises(TraceError, match="through_time has no gradient of a single tick: take recurrent"):
        best_lag(trace, against="through_time")
    with pytest.raises(TraceError, match="unknown loss 'hinge'"):
        alignment(trace, rule=rule, loss="hinge")
    with pytest.raises(TraceError, match="needs one replica, got 2"):
        alignment(learned(layers(), rule, rows=4, batch=2), rule=rule)
    silent = Simulation(layers(), rule=rule, node_defaults=CLOCK).run(until=3, every=1)
    with pytest.raises(TraceError, match="needs an input and a target at every tick"):
        alignment(silent, rule=rule)
    without = Simulation(layers(), rule=rule, node_defaults=CLOCK).run(until=3, sampled=["h"])
    with pytest.raises(TraceError, match="no samples of omega"):
        alignment(without, rule=rule)
