"""Arrays behind one pointer: loops read and write what stands in a table, and nothing is copied."""

from typing import Any

import numpy as np
import pytest
from numba import njit

from hlsim.engine.tables import Table
from hlsim.models.neurons import ACTIVATIONS
from hlsim.models.rules import Hamiltonian


@njit(_nrt=False)
def _work(net: Any, k: int) -> Any:
    net.inner.records[1].ticks = 7
    net.inner.matrix[1, 2] += 5.0
    total = 0.0
    for i in range(len(net.inner.row)):
        total += net.inner.row[i]
    net.pair[k][0] = 9
    return total, net.inner.matrix.shape[1], net.rule.eta, net.rule.sequential, net.sigmas[1].value(0.0)


def tables() -> tuple[Table, Table]:
    records = np.zeros(3, [("ticks", np.int64), ("value", np.complex128)])
    inner = Table("inner", {"row": np.arange(5.0), "matrix": np.ones((2, 3)), "records": records})
    pair = np.zeros(2, np.int64), np.zeros(3, np.int64)
    sigmas = ACTIVATIONS["tanh"], ACTIVATIONS["sigmoid"]
    rule = Hamiltonian(eta=0.25, order="sequential")
    return inner, Table("net", {"inner": inner, "pair": pair, "rule": rule, "sigmas": sigmas})


def test_loops_work_on_the_arrays_themselves() -> None:
    inner, net = tables()
    assert _work(net, 1) == (10.0, 3, 0.25, True, 0.5)
    assert inner.records["ticks"].tolist() == [0, 7, 0]
    assert inner.matrix[1, 2] == 6.0
    assert [each.tolist() for each in net.pair] == [[0, 0], [9, 0, 0]]


def test_what_is_replaced_is_seen_from_other_tables_too() -> None:
    inner, net = tables()
    inner.replace(row=np.arange(100.0), matrix=np.ones((2, 4)))
    assert _work(net, 0)[:2] == (4950.0, 4)


def test_an_array_of_another_kind_is_not_put_in_its_place() -> None:
    inner, _ = tables()
    with pytest.raises(TypeError, match=r"row: must stay .*float64.* got .*int64"):
        inner.replace(row=np.arange(5))
    with pytest.raises(TypeError, match="contiguous"):
        Table("inner", {"row": np.arange(10.0)[::2]})
    with pytest.raises(AttributeError, match="nothing"):
        _ = inner.nothing


def test_the_type_of_a_table_is_what_it_holds() -> None:
    inner, net = tables()
    assert tables()[1].numba_type == net.numba_type
    other = Table(
        "inner", {**{name: getattr(inner, name) for name in ("matrix", "records")}, "row": np.arange(5)}
    )
    assert other.numba_type != inner.numba_type
