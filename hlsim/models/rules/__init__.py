"""The learning rules by name: a new one is a class in a file of its own, and a line here."""

from hlsim.models.rules.continual import ContinualEquilibrium
from hlsim.models.rules.equilibrium import Equilibrium
from hlsim.models.rules.hamiltonian import Hamiltonian
from hlsim.models.rules.holomorphic import HolomorphicEquilibrium
from hlsim.models.rules.oscillating import OscillatingEquilibrium
from hlsim.models.rules.phi import Gate, Phi, Schedule
from hlsim.models.rules.rule import Fields, Phase, Rule
from hlsim.models.table import Table

__all__ = [
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
    "synapse_fields",
]

RULES: Table[type[Rule]] = Table(
    "rule",
    (
        Hamiltonian,
        Equilibrium,
        ContinualEquilibrium,
        HolomorphicEquilibrium,
        OscillatingEquilibrium,
    ),
)


def synapse_fields() -> dict[str, str]:
    """Return every synapse field of every rule, and what it is."""
    return {name: about for rule in RULES.values() for name, about in rule.synapse_fields.items()}
