"""Sparse plastic synapses on arrival, where little travels (D)."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from functools import lru_cache

import networkx as nx
import numpy as np
import simpy

import hlsim
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import Network, flatten
from workloads.agreement import require_moving
from workloads.rivals import rival
from workloads.rivals.wiring import BETA, ETA, wiring
from workloads.rows import Case, Figures, Numbers, Pair, Running, beside, medians, states_and_moves
from workloads.sparse import held, synchronous

# Ticks that a stimulus is held, how many follow each other, and how far one moves the drive of a neuron.
FRAME, FRAMES, PULSE = 100, 50, 0.1
# Share of the neurons with a stimulus in a frame, and the share of synapses that then carry a message in a
# tick, about: a pulse makes its neuron cross its threshold a few times on the way there and back, each time
# with a message on each of its synapses, and whom they move far enough does the same.
PULSED = {1e-5: 1e-4, 1e-4: 1e-3, 1e-3: 9e-3, 1e-2: 6e-2}
# Where a clock becomes the better engine.
BUSY = {1e-3: 9e-3, 1e-2: 6e-2, 3e-2: 0.2, 1e-1: 0.9}
TAU, THRESHOLDS = 5.0, (0.02, 0.002)


def resting(n: int, degree: int, **node: object) -> nx.DiGraph:
    """Return n leaky neurons on arrival, a tenth of them outputs, connected as in ``halves``.

    Without a stimulus all are at rest at their targets, 0. With one, outputs are off theirs, costates run and
    every synapse learns. A learning neuron is looked at every ``refresh`` ticks although nothing reaches it:
    here so seldom that it is not what is measured.
    """
    graph = nx.DiGraph()
    populations = (("inner", "input", n - n // 10), ("output", "output", n // 10))
    seldom = {"send_threshold": THRESHOLDS[0], "costate_threshold": THRESHOLDS[1], "refresh": 10_000}
    for name, role, size in populations:
        graph.add_node(name, size=size, role=role, tau=TAU, **(node or seldom))
    for source, _, size in populations:
        for target, *_ in populations:
            graph.add_edge(
                source,
                target,
                connect="random",
                in_degree=degree * size // n,
                weight={"normal": 0.5 / math.sqrt(degree)},
                delay={"uniform": [1, 50]},
            )
    return graph


def pulses(columns: int, n: int, share: float) -> np.ndarray:
    """Return stimuli (frame, column) in each of which a share of the n neurons has one."""
    rng, count = np.random.default_rng(0), max(1, round(share * n))
    stimuli = np.zeros((FRAMES, columns))
    for stimulus in stimuli:
        chosen = rng.choice(columns, min(count, columns), replace=False)
        stimulus[chosen] = rng.choice((-PULSE, PULSE), len(chosen))
    return stimuli


def pulsed(network: Network, share: float, **options: str) -> hlsim.Simulation:
    """Return a simulation in which a process gives a share of the neurons a stimulus, anew each frame."""
    sim = hlsim.Simulation(network, rule=Hamiltonian(beta=BETA, eta=ETA), **options)

    def frames() -> Iterator[simpy.Event]:
        sim.controls.target(np.zeros(len(network.outputs)))
        for stimulus in itertools.cycle(pulses(len(network.inputs), network.n, share)):
            sim.controls.input(stimulus)
            yield sim.env.timeout(FRAME)

    sim.env.process(frames())
    return sim


def messages(network: Network, counts: dict[str, np.ndarray]) -> int:
    """Return how many messages sends make: one on every edge of the sender, states forward, costates back."""
    out, back = (np.bincount(ends, minlength=network.n) for ends in (network.source, network.target))
    return int((counts["state"] * out).sum() + (counts["costate"] * back).sum())


def begun(network: Network, share: float, **options: str) -> Running:
    """Return a simulation in which as many messages come as go, and which learns."""
    side = Running(pulsed(network, share, **options))
    side.run(5 * FRAME)
    for name, values in states_and_moves(side.sim).items():
        require_moving(name, "hlsim", np.asarray(values))
    return side


@lru_cache(maxsize=2)
def network_of(n: int) -> Network:
    """Return n neurons on arrival with 100 synapses each."""
    return flatten(resting(n, 100))


def traffic(
    n: int, repeats: int, about: float, share: float, other: Callable[[], None] = lambda: None
) -> tuple[float, float, float]:
    """Return the seconds of a tick, the share of synapses with a message in it, and those of another turn."""
    network, ticks = network_of(n), FRAME * (10 if about < 1e-3 else 2)
    side = begun(network, share)
    counts = [side.sim.counts()]

    def turn() -> None:
        side.run(ticks)
        counts.append(side.sim.counts())

    mine, others = medians(repeats, turn, other)
    carried = statistics.median(np.diff([messages(network, each) for each in counts])[1:])
    return mine / ticks, float(carried) / ticks / network.m, others


def against_all(n: int, about: float) -> Callable[[int], Figures]:
    """Return the measurement of ticks with few messages beside those of a loop that touches all synapses."""

    def measure(repeats: int) -> Figures:
        network, turn = synchronous(n, 100), 5
        loop = rival("torch_loops").Loop(wiring(network, *held(network)))
        mine, _, other = traffic(n, repeats, about, PULSED[about], lambda: loop.run(turn))
        return Figures(mine * 1e3, other / turn * 1e3, "ms a tick", other / turn / mine)

    return measure


def a_message(n: int, most: float) -> Callable[[int], Figures]:
    """Return the measurement of the time of a message where there is one on a thousandth of the synapses."""

    def measure(repeats: int) -> Figures:
        tick, x, _ = traffic(n, repeats, 1e-3, PULSED[1e-3])
        each = tick / x / network_of(n).m * 1e9
        return Figures(each, most, "ns a message", each)

    return measure


def spread(n: int) -> Callable[[int], Figures]:
    """Return the measurement of the longest time of a message beside the shortest, by traffic."""

    def measure(repeats: int) -> Figures:
        ticks = [traffic(n, repeats, about, share) for about, share in PULSED.items()]
        times = [tick / x / network_of(n).m * 1e9 for tick, x, _ in ticks]
        return Figures(max(times), min(times), "ns a message", max(times) / min(times))

    return measure


def break_even(n: int) -> Callable[[int], Figures]:
    """Return the measurement of the traffic at which the same network takes as long on a clock.

    In percent of the synapses that carry a message in a tick, along a line in logarithms between the two
    around it; where no traffic makes the clock the better engine, that of the most.
    """

    def measure(repeats: int) -> Figures:
        clock, turn = begun(flatten(resting(n, 100, update="clock")), PULSED[1e-3]), 20
        longer, at = [], []
        for about, share in BUSY.items():
            tick, x, other = traffic(n, repeats, about, share, lambda: clock.run(turn))
            longer.append(math.log(tick * turn / other))
            at.append(math.log(x))
            if longer[-1] > 0:
                break
        even = 100.0 * math.exp(np.interp(0.0, longer, at))
        return Figures(even, 2.0, "% of synapses", even)

    return measure


# ---- by hand


def look(sim: hlsim.Simulation) -> Numbers:
    """Return how many states and costates were sent, and what states and synapses have come to."""
    sent = [sim.counts()[kind].sum() for kind in ("state", "costate")]
    moved = sim.read("w")[0] - sim.network.weight[0]
    return {"messages": sent, "states": sim.read("h"), "changes of the weights": moved}


def by_hand(network: Network, share: float, **options: str) -> Pair:
    """Return both sides as they are after a few frames, timed by tick."""
    stimuli = np.zeros((FRAMES, network.n))
    stimuli[:, network.inputs] = pulses(len(network.inputs), network.n, share)
    silent = wiring(network, np.zeros(len(network.inputs)), np.zeros(len(network.outputs)))
    loop = rival("numba_events").Events(silent, stimuli, FRAME, tau=TAU, thresholds=THRESHOLDS)
    # A message on the edge of a threshold comes a tick sooner or later where numbers are rounded otherwise.
    within = {"messages": 1e-3, "states": 0.02}
    ours = Running(pulsed(network, share, **options), look)
    return Pair(ours, loop, 4 * FRAME, unit="ms a tick", alike=5 * FRAME, within=within)


def of_size(n: int, about: float) -> Pair:
    """Return n x 100 and a loop of events in numba."""
    return by_hand(network_of(n), PULSED[about])


def _cases(n: int) -> Iterator[Case]:
    what, quick = f"{n:,} x 100 on arrival", n < 10_000
    for about in PULSED:
        # Where much travels, an engine of events need only not be the slower one.
        name = f"{what}, messages on {about:.0e}, against the loop of A"
        yield Case(name, against_all(n, about), 20.0 if about <= 1e-3 else 1.0, True, quick)
    yield Case(f"{what}, a message at 1e-03", a_message(n, 250.0), 250.0, False, quick)
    yield Case(f"{what}, the longest time of a message against the shortest", spread(n), 2.0, False, quick)
    yield Case(f"{what}, messages at which a clock is as fast", break_even(n), 2.0, True, quick)
    for about in (1e-4, 1e-3):
        yield Case(
            f"{what}, messages on {about:.0e}, against numba by hand", beside(of_size, n, about), quick=quick
        )


D = tuple(case for n in (2_000, 10_000) for case in _cases(n))
