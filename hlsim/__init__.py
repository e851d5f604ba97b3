"""Event-driven simulation of local, on-line learning in networks whose signals take time.

What users write with stands here; docs/design.md says what each package is and where to go for what.
"""

import sys

from hlsim import analysis, experiment, models, report, stimulus, sweep, topology, trace
from hlsim.analysis import baseline, oracle
from hlsim.errors import HlsimError
from hlsim.models import losses, neurons, ops, rules
from hlsim.models.rules import phi
from hlsim.simulation import Simulation, faults, noise
from hlsim.topology import network

__version__ = "0.1.0"

__all__ = [
    "HlsimError",
    "Simulation",
    "__version__",
    "analysis",
    "baseline",
    "experiment",
    "faults",
    "losses",
    "models",
    "network",
    "neurons",
    "noise",
    "ops",
    "oracle",
    "report",
    "rules",
    "stimulus",
    "sweep",
    "topology",
    "trace",
]

# Public modules that lie deeper: `from hlsim.rules import Hamiltonian` works as `hlsim.rules` does.
for _module in (baseline, faults, losses, network, neurons, noise, ops, oracle, phi, rules):
    sys.modules[f"hlsim.{_module.__name__.rpartition('.')[2]}"] = _module

# It runs networks, so it lives with the sweeps; it is asked for among the analyses.
vars(analysis)["stability"] = sweep.stability


def __dir__() -> list[str]:
    return sorted(__all__)
