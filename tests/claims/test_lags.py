"""Matched lags: what meets at a synapse belongs together, and is the exact gradient of the late network."""

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hlsim import Simulation
from hlsim.models.losses import LOSSES
from hlsim.models.rules import Hamiltonian
from tests.support.late import acyclic, feed, stream, through_delays

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
