"""The learning rules by name: a new one is a class in a file of its own, and a line here."""

from collections.abc import Mapping
from types import MappingProxyType

from hlsim.continual import ContinualEquilibrium
from hlsim.equilibrium import Equilibrium
from hlsim.hamiltonian import Hamiltonian
from hlsim.holomorphic import HolomorphicEquilibrium
from hlsim.oscillating import OscillatingEquilibrium
from hlsim.phi import Gate, Phi, Schedule
from hlsim.rule import Fields, Phase, Rule

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
