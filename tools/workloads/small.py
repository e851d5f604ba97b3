"""Networks of a few neurons: what a tick costs when there is next to nothing in it (N)."""

import numpy as np

import hlsim
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays, Stage
from workloads.agreement import require_moving
from workloads.dense import HOLD, layers
from workloads.recording import entertained
from workloads.rivals import dense_loops
from workloads.rows import Case, Figures, Pair, Running, beside, medians, states_and_moves

ETA, ROWS = 0.5, 256


def on_arrival(repeats: int) -> Figures:
    """Measure a tick of 2-3-1 on arrival, delays 1, stimuli drawn anew every 5 ticks."""
    graph = hlsim.topology.layered([2, 3, 1], delay=1)
    side = Running(entertained(graph, every=5, share=1.0, size=0.5), states_and_moves)
    side.run(200)
    for name, values in side.numbers().items():
        require_moving(name, "hlsim", np.asarray(values))
    ticks = 400
    (mine,) = medians(repeats, lambda: side.run(ticks))
    return Figures(mine / ticks * 1e3, 0.05, "ms a tick", mine / ticks * 1e3)


def layered(sizes: tuple[int, ...], entropy: bool) -> Pair:
    """Return layers on a clock that are shown rows, and a loop of numpy calls."""
    net, rng, beta = layers(sizes), np.random.default_rng(0), 0.002
    x = rng.uniform(-1.0, 1.0, (ROWS, sizes[0]))
    y = np.eye(sizes[-1])[rng.integers(0, sizes[-1], ROWS)]
    sim = hlsim.Simulation(
        net.network,
        rule=Hamiltonian(beta=beta, eta=ETA),
        loss="cross_entropy" if entropy else "squared_error",
        stimulus=Arrays(x, y),
        stages=[Stage(passes=10**6)],
        hold=HOLD,
    )
    loop = dense_loops.Plain(net.matrices(), x, y, beta=beta, eta=ETA, hold=HOLD, entropy=entropy)
    return Pair(Running(sim, net.look), loop, 40 * HOLD, unit="us a tick", scale=1e6, alike=10 * HOLD)


N = (
    Case("2-3-1 on arrival, ms a tick", on_arrival, 0.05),
    Case("4-8-3 with a stimulus, against a numpy loop", beside(layered, (4, 8, 3), False), 4.0),
    Case("64-32-10 with a stimulus, against a numpy loop", beside(layered, (64, 32, 10), True), 2.0),
)
