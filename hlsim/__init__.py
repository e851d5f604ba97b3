"""Event-driven simulation of local, on-line learning in networks whose signals take time.

What users write with stands here; docs/design.md says what each package is and where to go for what. Whatever
it is, it is loaded when it is first asked for: torch takes seconds, and ``hlsim --help`` does without.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from hlsim.errors import HlsimError

if TYPE_CHECKING:
    from hlsim import analysis, experiment, models, report, stimulus, sweep, topology, trace
    from hlsim.analysis import baseline, oracle
    from hlsim.models import losses, neurons, ops, rules
    from hlsim.models.rules import phi as phi
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
_DEEPER = MappingProxyType(
    {
        "hlsim.baseline": "hlsim.analysis.baseline",
        "hlsim.faults": "hlsim.simulation.faults",
        "hlsim.losses": "hlsim.models.losses",
        "hlsim.network": "hlsim.topology.network",
        "hlsim.neurons": "hlsim.models.neurons",
        "hlsim.noise": "hlsim.simulation.noise",
        "hlsim.ops": "hlsim.models.ops",
        "hlsim.oracle": "hlsim.analysis.oracle",
        "hlsim.phi": "hlsim.models.rules.phi",
        "hlsim.rules": "hlsim.models.rules",
    }
)


class _Shortcut(MetaPathFinder, Loader):
    """Finds the modules that lie deeper under their short names: the same ones, not others like them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in _DEEPER else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(_DEEPER[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # It has been; what it was imported by is put back.
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(_Shortcut())

if not TYPE_CHECKING:  # which would take any name for one of ours

    def __getattr__(name: str) -> Any:
        """Load what is asked for: a public name, or a package."""
        if name == "Simulation":
            return importlib.import_module("hlsim.simulation").Simulation
        full = f"{__name__}.{name}"
        if name.startswith("_") or importlib.util.find_spec(full) is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(full)


def __dir__() -> list[str]:
    return sorted(__all__)
