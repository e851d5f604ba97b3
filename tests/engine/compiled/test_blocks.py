"""Blocks have every synapse once, with all that those of a block must have in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlsim import topology
from hlsim.engine.circuit import plan
from hlsim.engine.compiled import blocks
from hlsim.engine.compiled.layout import FIRST, LATER, NO_PART, NOT
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import RANDOM, Network, flatten
from tests.support.graphs import Case, cases, in_step

RULE = Hamiltonian(beta=0.01)


def ends(made: blocks.Arrangement, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes at which the synapses of the k-th block begin and end, one by one."""
    row = made.rows[k]
    size, width = int(row["last"] - row["first"]), int(row["width"])
    if not width:
        return (made.source[row["sources"] :][:size], made.target[row["targets"] :][:size])
    sources, targets = made.source[row["sources"] :][:width], made.target[row["targets"] :][: size // width]
    return np.tile(sources, size // width), np.repeat(targets, width)


def forward(network: Network, e: int) -> int:
    """Return when a drive is summed up by the meaning of delay 0 between instant neurons."""
    source, target = network.source[e], network.target[e]
    if source < 0 or network.delay[e] > 0 or not network.instant[source]:
        return int(FIRST)
    return int(network.rank[target] if network.instant[target] else LATER)


@pytest.mark.parametrize("least", [1, 32])
@settings(max_examples=40)
@given(case=cases("clock", 10), number=st.integers(0, 2**31))
def test_every_synapse_stands_in_one_block_of_its_like(case: Case, number: int, least: int) -> None:
    network = in_step(case, 0.8, number).network
    chosen = np.flatnonzero(plan.in_projections(network, RULE, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_LEAST", least)
        patch.setattr(blocks, "_NARROWEST", 1)
        made = blocks.arrange(network, RULE, chosen)
    np.testing.assert_array_equal(np.sort(made.edges), chosen)
    assert made.rows["first"].tolist() == [0, *made.rows["last"].tolist()][: len(made.rows)]
    back, rates = network.carries_costates(RULE), network.weight_rate(RULE)
    for k, row in enumerate(made.rows):
        source, target = ends(made, k)
        for place, e in enumerate(made.edges[row["first"] : row["last"]]):
            bias = network.source[e] < 0
            assert (source[place], target[place]) == (max(network.source[e], 0), network.target[e])
            assert row["bias"] == bias
            assert row["forward"] == forward(network, e)
            assert row["delay"] == (0 if bias else network.delay[e])
            assert row["plastic"] == network.plastic[e]
            assert row["instant"] == network.instant[target[place]]
            heard = back[e] and not bias and not network.is_input[source[place]]
            assert row["back"] == (network.feedback_delay[e] if heard else NOT)
            assert (row["carried"] >= 0) == (heard and network.feedback[e] == RANDOM)
            assert made.rate[row["rate"] + place * row["own"]] == rates[e]
    carried = made.rows["carried"] >= 0
    assert len(made.carried) == (made.rows["last"] - made.rows["first"])[carried].sum()


def test_what_all_sources_send_to_all_targets_is_a_matrix() -> None:
    network = flatten(topology.layered([30, 40, 20], delay=2), node_defaults={"update": "clock"})
    made = blocks.arrange(network, RULE, np.flatnonzero(plan.in_projections(network, RULE, 1)))
    matrices = made.rows["width"] > 0
    assert sorted(made.rows["width"][matrices].tolist()) == [30, 40]
    assert (made.rows["part"][matrices] == NO_PART).all()


def test_parts_share_no_target_and_depend_on_the_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_PART_LEAST", 50)
    monkeypatch.setattr(blocks, "_PER_SUM", 0)
    graph = topology.random(60, in_degree=20, delay=(1, 5), inputs=10, outputs=10)
    network = flatten(graph, node_defaults={"update": "clock"})
    made = blocks.arrange(network, RULE, np.flatnonzero(plan.in_projections(network, RULE, 1)))
    assert made.parts == 8
    assert made.rows["part"].min() >= 0
    owners: dict[int, set[int]] = {}
    for k, row in enumerate(made.rows):
        for target in ends(made, k)[1].tolist():
            owners.setdefault(target, set()).add(int(row["part"]))
    assert all(len(parts) == 1 for parts in owners.values())
    sizes = np.bincount(made.rows["part"], made.rows["last"] - made.rows["first"])
    assert sizes.max() < 2 * sizes.min()


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2), st.integers(0, 2**40)), min_size=1))
def test_packed_numbers_are_equal_for_equal_rows_alone(rows: list[tuple[int, int, int]]) -> None:
    columns = np.array(rows, np.int64).T
    number = plan.packed(*columns, columns[2])
    for i, mine in enumerate(rows):
        for j, other in enumerate(rows):
            assert (number[i] == number[j]) == (mine == other)
