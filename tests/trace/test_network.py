"""A trace holds its network, whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from hlsim import Simulation, topology
from hlsim.topology.network import flatten
from hlsim.trace.network import network_of
from tests.support.theory import CLOCK
from tests.support.traces import network, recorder


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


@pytest.mark.parametrize("path", [None, "t.h5"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_the_network_is_in_the_trace(path, replicas: int, tmp_path: Path) -> None:
    net = network(5, 9, replicas)
    with recorder(path and tmp_path / path, net, replicas=replicas) as rec:
        pass
    with rec.trace() as read:
        assert read.network["node_label"].tolist() == list(net.label)
        for name in ("group", "model", "activation"):
            assert read.network[name].tolist() == list(getattr(net, name))
        for name in (
            "source",
            "target",
            "delay",
            "feedback_delay",
            "plastic",
            "feedback",
            "beta",
            "clock",
            "rank",
        ):
            np.testing.assert_array_equal(read.network[name], getattr(net, name))
        weight, feedback = (
            (net.weight, net.feedback_weight) if replicas > 1 else (net.weight[0], net.feedback_weight[0])
        )
        np.testing.assert_array_equal(read.network["weight0"], weight)
        np.testing.assert_array_equal(read.network["feedback_weight"], feedback)
        np.testing.assert_array_equal(read.network["inputs"], net.inputs)
        np.testing.assert_array_equal(read.network["parameters/tau"], net.parameters["tau"])
        assert json.loads(str(read.network["graph"])) == json.loads(net.graph)
