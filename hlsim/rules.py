"""The learning rules by name: a new one is a class in a file of its own, and a line here."""

from collections.abc import Mapping
from types import MappingProxyType

from hlsim.hamiltonian import Hamiltonian
from hlsim.phi import Gate, Phi, Schedule
from hlsim.rule import Fields, Phase, Rule

__all__ = ["RULES", "Fields", "Gate", "Hamiltonian", "Phase", "Phi", "Rule", "Schedule"]

RULES: Mapping[str, type[Rule]] = MappingProxyType({rule.name: rule for rule in (Hamiltonian,)})
