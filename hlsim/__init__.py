"""Event-driven simulation of local, on-line learning in networks whose signals take time."""

from hlsim import losses, network, neurons, rules, topology
from hlsim.errors import HlsimError
from hlsim.simulation import Simulation

__version__ = "0.1.0"

__all__ = [
    "HlsimError",
    "Simulation",
    "__version__",
    "losses",
    "network",
    "neurons",
    "rules",
    "topology",
]
