"""What collapses when samples change too soon for the delays: the layer that meets the target.

An output behind nu layers, each of which takes d + 1 ticks, says what was shown nu (d + 1) ticks ago, and is
told what is shown now. Where a sample is gone by then, it is taught the label of the next one.
"""

from typing import NamedTuple

import networkx as nx
import numpy as np

from hlsim import Simulation, topology
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays, Stage
from tests.support.theory import CLOCK

PIXELS, HIDDEN, CLASSES, COPIES = 8, 6, 4, 3
TAUGHT, TESTED, LOOK = 160, 40, 16  # rows, rows, ticks a row is tested
LEARNED, COLLAPSED = 0.75, 0.4  # chance is .25


class Net(NamedTuple):
    """Delays forward and back, layers, whether errors travel, and by how many rows the label comes late."""

    forward: int = 0
    back: int = 0
    layers: int = 2
    feedback: str = "symmetric"
    label: int = 0


def side_by_side(nets: list[Net]) -> nx.DiGraph:
    """Return three copies of each net, with weights of their own, in one graph."""
    graph = nx.DiGraph()
    for k, net in enumerate(nets * COPIES):
        sizes = [PIXELS, *[HIDDEN] * (net.layers - 1), CLASSES]
        one = topology.layered(sizes, seed=k, delay=net.forward, output_activation="identity")
        for *_, edge in one.edges(data=True):
            edge.update(feedback_delay=net.back, feedback=net.feedback)
        graph.update(nx.relabel_nodes(one, {node: f"{k:02} {node}" for node in one}))
    return graph


def accuracy(nets: list[Net], hold: int) -> np.ndarray:
    """Return the share of test rows that each net tells right, over its copies.

    Errors are squared, so that nets which stand side by side know nothing of one another.
    """
    rng = np.random.default_rng(0)
    label = rng.integers(CLASSES, size=TAUGHT + TESTED)
    rows = np.arange(len(label))
    pattern = np.sign(rng.normal(size=(CLASSES, PIXELS)))
    x = pattern[label] + 0.3 * rng.normal(size=(len(label), PIXELS))
    told = [np.eye(CLASSES)[label[np.maximum(rows - net.label, 0)]] for net in nets]
    splits = {"train": rows[:TAUGHT], "test": rows[TAUGHT:]}
    stream = Arrays(np.tile(x, len(nets) * COPIES), np.tile(np.hstack(told), COPIES), splits=splits)
    sim = Simulation(
        side_by_side(nets),
        rule=Hamiltonian(beta=0.01, eta=0.5),
        stimulus=stream,
        hold=hold,
        stages=[Stage("train"), Stage("test", split="test", learn=False, hold=LOOK)],
        node_defaults=CLOCK,
        compiled="always",
    )
    sim.run(until=TAUGHT * hold, sampled=())
    seen = sim.run(sampled=("h",), every=1)["sampled/h"][LOOK - 1 :: LOOK, sim.network.outputs]
    said = seen.reshape(TESTED, COPIES, len(nets), CLASSES).argmax(-1)
    return (said == label[TAUGHT:, None, None]).mean((0, 1))


LEARN = {
    "no delays": Net(),
    "errors as late as a row is long": Net(back=4),
    "errors later than that": Net(back=8),
    "errors alone, three layers": Net(back=6, layers=3),
    "no delays, no errors behind the outputs": Net(feedback="none"),
    "delays, labels as late as the network": Net(4, 4, label=1),
    "delays, labels as late as the network, no errors": Net(4, 4, feedback="none", label=1),
    "delays, labels as late as the network, three layers": Net(3, 3, layers=3, label=1),
    "delays, labels as late as the network, no layer behind the outputs": Net(9, 9, layers=1, label=1),
}
COLLAPSE = {
    "delays": Net(4, 4),
    "delays, errors at once": Net(4, 0),
    "delays, no errors behind the outputs": Net(4, 4, feedback="none"),
    "delays, three layers": Net(3, 3, layers=3),
    "delays, no layer behind the outputs": Net(9, 9, layers=1),
}


def test_targets_of_the_next_row_collapse_learning_and_late_errors_do_not() -> None:
    """A row is held 8 ticks, as far as targets are too young for the last synapses: nu (d + 1) - 2, or 10.

    Only where activity comes late to the outputs does anything collapse: also where errors come back at once,
    and where none do. Labels of the row that the outputs speak of mend it, with errors as late as before.
    """
    found = accuracy([*LEARN.values(), *COLLAPSE.values()], hold=8)
    for name, share in zip(LEARN, found[: len(LEARN)], strict=True):
        assert share >= LEARNED, name
    for name, share in zip(COLLAPSE, found[len(LEARN) :], strict=True):
        assert share <= COLLAPSED, name


def test_rows_held_long_beside_the_way_forward_are_learned_again() -> None:
    """30 ticks for a way of 10: two thirds of them have the right label."""
    found = accuracy([net for net in COLLAPSE.values() if net.layers == 2], hold=30)
    assert found.min() >= LEARNED
