"""Matched lags: what meets at a synapse belongs together, and is the exact gradient of the late network."""

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hlsim import Simulation
from hlsim.models.losses import LOSSES
from hlsim.models.rules import Hamiltonian
from tests.support.late import acyclic, feed, late_descent, stream, through_delays

ROWS = 12


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
