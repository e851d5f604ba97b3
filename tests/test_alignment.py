"""What omega became beside what exact gradients would have made of it."""

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation, alignment, experiment, topology
from hlsim.alignment import network_of
from hlsim.errors import TraceError
from hlsim.losses import Custom
from hlsim.network import flatten
from hlsim.reading import Trace
from hlsim.rules import Hamiltonian
from hlsim.stimulus import Arrays

DIGITS = Path(__file__).resolve().parents[1] / "topologies" / "digits"
CLOCK = {"update": "clock"}
GROUPS = ["hidden1", "hidden2", "output", "all"]


def layers(**attributes: Any) -> nx.DiGraph:
    return topology.layered([4, 6, 5, 3], seed=1, bias=0.1, **attributes)


def learned(graph: nx.DiGraph, rule: Hamiltonian, rows: int = 12, hold: int = 1, **options: Any) -> Trace:
    generator = np.random.default_rng(2)
    stream = Arrays(generator.normal(size=(rows, 4)), generator.normal(size=(rows, 3)) / 2)
    sim = Simulation(
        graph, rule=rule, stimulus=stream, hold=hold, dtype="float64", node_defaults=CLOCK, **options
    )
    return sim.run(every=1)


# ---- where omega is its ideal


@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("beta", [0.0, 0.05])
def test_a_network_without_delays_or_time_constants_is_its_ideal(order: str, beta: float) -> None:
    """Backpropagation is what instant neurons do; the weights of each tick are taken from the trace."""
    rule = Hamiltonian(beta=beta, eta=0.3, order=order)
    found = alignment.alignment(learned(layers(model="instant"), rule), rule=rule)
    assert found.group.values.tolist() == GROUPS
    after = found.isel(tick=slice(1, None))
    np.testing.assert_allclose(after.cosine, 1.0, rtol=1e-9)
    np.testing.assert_allclose(after.norm_ratio, 1.0, rtol=1e-9)


def test_on_a_held_input_a_layer_is_exact_after_two_nu_minus_l_plus_two_steps() -> None:
    """nu = 3 leaky layers with tau = dt, eta = 0, frozen: steps 7, 6, 5 of the hold; before it is not."""
    rule = Hamiltonian(beta=0.0, eta=0.0)
    found = alignment.alignment(learned(layers(), rule, rows=1, hold=12), change=True, rule=rule)
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
    found = alignment.alignment(trace, against="recurrent", change=True, rule=rule, loss=linear)
    assert found.cosine.sel(group="all").values[-1] == pytest.approx(
        np.cos(2 * np.arctan(frequency)), abs=0.02
    )


# ---- what a trace tells


def test_the_network_of_a_trace_is_the_one_that_ran() -> None:
    graph = topology.random(12, 4, seed=3, delay=(0, 3), inputs=2, outputs=2, bias=0.1)
    network = flatten(graph, node_defaults=CLOCK)
    found = network_of(Simulation(network).run(until=2))
    for name, value in vars(network).items():
        if name == "parameters":
            for parameter, values in value.items():
                np.testing.assert_array_equal(found.parameters[parameter], values)
        elif name != "node_link":
            np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
    assert found.graph == network.graph


def test_rule_and_loss_are_those_of_the_experiment() -> None:
    settings = ["stage.train.rows=6", "stage.train.passes=1", "stage.test.rows=1", "record.every=1"]
    trace = experiment.load(DIGITS, settings).run()
    plan = experiment.load(DIGITS, settings)
    rule = plan.rule()
    assert isinstance(rule, Hamiltonian)
    mine = alignment.alignment(trace)
    other = alignment.alignment(trace, rule=rule, loss=plan.settings.loss.kind)
    np.testing.assert_array_equal(mine.cosine, other.cosine)
    assert np.isfinite(mine.cosine.values[-1]).all()


def test_what_a_trace_does_not_tell_is_said() -> None:
    rule = Hamiltonian(beta=0.0)
    trace = learned(layers(), rule, rows=3)
    with pytest.raises(TraceError, match="does not name a rule 'hamiltonian'; say which with rule="):
        alignment.alignment(trace)
    with pytest.raises(TraceError, match="unknown oracle 'bptt'; known: backpropagation, recurrent"):
        alignment.alignment(trace, against="bptt", rule=rule)
    with pytest.raises(TraceError, match="unknown loss 'hinge'"):
        alignment.alignment(trace, rule=rule, loss="hinge")
    with pytest.raises(TraceError, match="needs one replica, got 2"):
        alignment.alignment(learned(layers(), rule, rows=4, batch=2), rule=rule)
    silent = Simulation(layers(), rule=rule, node_defaults=CLOCK).run(until=3, every=1)
    with pytest.raises(TraceError, match="needs an input and a target at every tick"):
        alignment.alignment(silent, rule=rule)
    without = Simulation(layers(), rule=rule, node_defaults=CLOCK).run(until=3, sampled=["h"])
    with pytest.raises(TraceError, match="no samples of omega"):
        alignment.alignment(without, rule=rule)
