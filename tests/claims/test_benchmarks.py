"""What the benchmarks compare computes the same numbers, and numbers that move."""

import importlib
from types import ModuleType

import numpy as np
import pytest

from tests.support.places import ROOT


@pytest.fixture
def agreement(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("workloads.agreement")


@pytest.fixture
def sparse(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("workloads.sparse")


MOVED = np.linspace(-1.0, 1.0, 5)


@pytest.mark.parametrize(
    ("mine", "other"),
    [(0 * MOVED, 0 * MOVED), (0 * MOVED + 0.5, 0 * MOVED + 0.5), (MOVED, 0 * MOVED), (0 * MOVED, MOVED)],
    ids=["zeros", "constants", "other stands still", "hlsim stands still"],
)
def test_what_stands_still_is_no_comparison(
    agreement: ModuleType, mine: np.ndarray, other: np.ndarray
) -> None:
    with pytest.raises(SystemExit, match="W: nothing to compare: all 5 numbers"):
        agreement.require_same("W", mine, other)


def test_numbers_are_the_same_up_to_a_share_of_the_largest(agreement: ModuleType) -> None:
    agreement.require_same("W", MOVED + 0.9e-3, MOVED)
    agreement.require_same("W", 1e-6 * (MOVED + 0.9e-3), 1e-6 * MOVED)
    for other in (MOVED + 1.1e-3, np.where(MOVED > 0.9, np.nan, MOVED)):
        with pytest.raises(SystemExit, match="W: not"):
            agreement.require_same("W", other, MOVED)
    with pytest.raises(SystemExit, match="W: not"):
        agreement.require_same("W", 1e-6 * (MOVED + 1.1e-3), 1e-6 * MOVED)


@pytest.mark.parametrize("compiled", ["never", "always"])
def test_the_sparse_network_moves_as_its_loop_does(sparse: ModuleType, compiled: str) -> None:
    """Every state, and every weight that a message has crossed both ends of."""
    network = sparse.synchronous(60, 10)
    sim, loop = sparse.clocked(network, compiled=compiled), sparse.SparseLoop(network)
    sim.env.run(until=120)
    loop.run(120)
    sparse.require_same("states", sim.read("h")[0], loop.h)
    sparse.require_same("weight costates", sim.read("omega")[0], loop.omega, within=1e-4)
    assert np.abs(sim.read("h")[0]).min() > 0
    assert (sim.read("w")[0] != network.weight[0]).mean() > 0.9


def test_a_sparse_network_that_nothing_drives_is_refused(
    sparse: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = sparse.synchronous(20, 4)
    monkeypatch.setattr(
        sparse, "held", lambda net: tuple(np.zeros(len(x)) for x in (net.inputs, net.outputs))
    )
    sim, loop = sparse.clocked(network), sparse.SparseLoop(network)
    sim.env.run(until=20)
    loop.run(20)
    with pytest.raises(SystemExit, match="states: nothing to compare"):
        sparse.require_same("states", sim.read("h")[0], loop.h)
