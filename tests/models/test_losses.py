"""A loss of a user's own: what it must return."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import hlsim
from hlsim.errors import ExperimentError
from hlsim.models.losses import Custom
from hlsim.stimulus import Arrays

OWN: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "nothing": (lambda y, t: None, "NoneType"),
    "a number": (lambda y, t: 1.0, "float"),
    "one for all": (lambda y, t: (y - t).sum(), r"shape \(\), dtype torch.float"),
    "one an output": (lambda y, t: y - t, r"shape \(1, 2\), dtype torch.float"),
    "whole numbers": (lambda y, t: y.sum(-1).int(), r"shape \(1,\), dtype torch.int32"),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_what_is_not_one_number_a_replica_is_refused(name: str, engine: str) -> None:
    function, got = OWN[name]
    sim = hlsim.Simulation(
        hlsim.topology.layered([1, 2]),
        stimulus=Arrays([[1.0]], [[0.5, 0.5]]),
        loss=Custom(function),
        hold=3,
        engine=engine,
    )
    rule = r"^loss: must return a tensor of one number a replica, shape \(1,\), got "
    with pytest.raises(ExperimentError, match=rule + got):
        sim.run()


def test_a_gradient_is_that_of_its_formula() -> None:
    own = Custom(lambda y, t: (y - t).pow(4).sum(-1))
    y, t = torch.tensor([[0.5, -1.0], [2.0, 0.25]]), torch.zeros(2, 2)
    torch.testing.assert_close(own.gradient(y, t), 4 * y**3)
