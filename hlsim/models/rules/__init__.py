"""The learning rules by name: a new one is a class in a file of its own, and a line here."""

from hlsim.models.catalogue import Catalogue
from hlsim.models.rules.continual import ContinualEquilibrium
from hlsim.models.rules.equilibrium import Equilibrium
from hlsim.models.rules.fixed import Fixed
from hlsim.models.rules.hamiltonian import Hamiltonian
from hlsim.models.rules.holomorphic import HolomorphicEquilibrium
from hlsim.models.rules.oscillating import OscillatingEquilibrium
from hlsim.models.rules.phi import Gate, Phi, Schedule
from hlsim.models.rules.rule import CostateRule, Fields, Phase, PhaseRule, Post, Pre, Rule

__all__ = [
    "RULES",
    "ContinualEquilibrium",
    "CostateRule",
    "Equilibrium",
    "Fields",
    "Fixed",
    "Gate",
    "Hamiltonian",
    "HolomorphicEquilibrium",
    "OscillatingEquilibrium",
    "Phase",
    "PhaseRule",
    "Phi",
    "Post",
    "Pre",
    "Rule",
    "Schedule",
    "synapse_fields",
]

RULES: Catalogue[type[Rule]] = Catalogue(
    "rule",
    (
        Hamiltonian,
        Equilibrium,
        ContinualEquilibrium,
        HolomorphicEquilibrium,
        OscillatingEquilibrium,
        Fixed,
    ),
)


def synapse_fields() -> dict[str, str]:
    """Return every synapse field of every rule, and what it is."""
    return {name: about for rule in RULES.values() for name, about in rule.synapse_fields.items()}
