"""What tests of networks share: comparison bit by bit."""

import numpy as np

from hlsim.topology.network import Network


def assert_same(first: Network, second: Network) -> None:
    """Check that two networks have the same bits in everything but the graph they came from."""
    for name, value in vars(first).items():
        other = getattr(second, name)
        if name == "parameters":
            assert value.keys() == other.keys()
            for parameter in value:
                _assert_same_array(parameter, value[parameter], other[parameter])
        elif isinstance(value, np.ndarray):
            _assert_same_array(name, value, other)
        elif name != "node_link":
            assert value == other, name


def _assert_same_array(name: str, value: np.ndarray, other: np.ndarray) -> None:
    assert (value.dtype, value.shape) == (other.dtype, other.shape), name
    assert value.tobytes() == other.tobytes(), name
