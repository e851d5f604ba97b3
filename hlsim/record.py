"""What a neuron of the reference engine owns: constants, state, edges; nothing of any other neuron."""

from dataclasses import dataclass, field

from hlsim.errors import LocalityError
from hlsim.neurons import Activation, Neuron
from hlsim.ops import Value
from hlsim.state import NEVER


class Guarded(dict[str, float]):
    """Synapse fields that a rule declared; asking for another is asking for what is not the neuron's own."""

    def __missing__(self, key: str) -> float:
        raise LocalityError(f"synapse field {key!r}: not declared; known: {', '.join(sorted(self))}")


@dataclass
class Synapse:
    """An incoming edge, as its target owns it."""

    edge: int
    w: float
    fields: dict[str, float]
    beta: float
    plastic: bool
    feedback: int
    feedback_weight: float
    feedback_delay: int
    # Its s is 1 for ever.
    bias: bool = False
    s: Value = 0.0


@dataclass
class Link:
    """An outgoing edge, as its source knows it."""

    edge: int
    delay: int
    hears: bool
    r: Value = 0.0


@dataclass
class Record:
    """Everything a neuron owns."""

    label: str
    model: Neuron
    activation: Activation
    p: dict[str, float]
    clock: bool
    period: int
    phase: int
    send_threshold: float
    costate_threshold: float
    send_interval: int
    refresh: int
    rank: int
    back_rank: int
    # Column among the outputs, None elsewhere.
    output: int | None
    synapses: list[Synapse] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    # Complex where the rule has complex states.
    h: Value = 0.0
    z: Value = 0.0
    a: Value = 0.0
    q: Value = 0.0
    f: Value = 0.0
    df_dh: Value = 0.0
    df_da: Value = 0.0
    g: Value = 0.0
    dl: Value = 0.0
    # The pull of the loss that the drive took in, or that a read-out sends.
    pull: Value = 0.0
    heard: Value = 0.0
    h_sent: Value = 0.0
    q_sent: Value = 0.0
    u: float = 0.0
    noise: float = 0.0
    target: float | None = None
    phi: float = 0.0
    nudge: complex = 0.0
    learning: bool = True
    h_sent_at: int = NEVER
    q_sent_at: int = NEVER
    moved: bool = False
    updated: int = 0

    @property
    def m(self) -> Value:
        """What is sent forward."""
        return self.pull if self.model.reads_out else self.h

    @property
    def own(self) -> Value:
        """What was sent last, or would be if it went anywhere."""
        return self.h_sent if self.links else self.m
