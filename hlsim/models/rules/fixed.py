"""No learning at all: weights stay as they are."""

from dataclasses import dataclass
from typing import ClassVar

from hlsim.models.rules.rule import Rule


@dataclass(frozen=True)
class Fixed(Rule):
    """Weights never move and nothing travels backward: the network alone, with any neuron model."""

    name: ClassVar[str] = "fixed"
