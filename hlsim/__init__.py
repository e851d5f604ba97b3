"""Event-driven simulation of local, on-line learning in networks whose signals take time."""

from hlsim import analysis, faults, losses, network, neurons, noise, rules, stimulus, topology, trace
from hlsim.errors import HlsimError
from hlsim.simulation import Simulation

__version__ = "0.1.0"

__all__ = [
    "HlsimError",
    "Simulation",
    "__version__",
    "analysis",
    "faults",
    "losses",
    "network",
    "neurons",
    "noise",
    "rules",
    "stimulus",
    "topology",
    "trace",
]
