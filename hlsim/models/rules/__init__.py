"""The learning rules by name: a new one is a class in a file of its own, and a line here."""

from collections.abc import Mapping
from types import MappingProxyType

from hlsim.models.rules.continual import ContinualEquilibrium
from hlsim.models.rules.equilibrium import Equilibrium
from hlsim.models.rules.hamiltonian import Hamiltonian
from hlsim.models.rules.holomorphic import HolomorphicEquilibrium
from hlsim.models.rules.oscillating import OscillatingEquilibrium
from hlsim.models.rules.phi import Gate, Phi, Schedule
from hlsim.models.rules.rule import Fields, Phase, Rule

__all__ = [
    "FIELDS",
    "RULES",
    "ContinualEquilibrium",
    "Equilibrium",
    "Fields",
    "Gate",
    "Hamiltonian",
    "HolomorphicEquilibrium",
    "OscillatingEquilibrium",
    "Phase",
    "Phi",
    "Rule",
    "Schedule",
]
KNOWN: tuple[type[Rule], ...] = (
    Hamiltonian,
    Equilibrium,
    ContinualEquilibrium,
    HolomorphicEquilibrium,
    OscillatingEquilibrium,
)
RULES: Mapping[str, type[Rule]] = MappingProxyType({rule.name: rule for rule in KNOWN})
# Every synapse field of every rule, and what it is.
FIELDS: Mapping[str, str] = MappingProxyType(
    {name: about for rule in KNOWN for name, about in rule.synapse_fields.items()}
)
