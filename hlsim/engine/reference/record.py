"""What a neuron of the reference engine owns: constants, state, edges; nothing of any other neuron.

And, as nobody owns it, what an edge that may fail does to messages.
"""

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hlsim.engine.circuit.state import NEVER
from hlsim.engine.links import LOST, late, uniform
from hlsim.models.neurons import ACTIVATIONS, MODELS, Activation, Neuron, Parameters
from hlsim.models.ops import Value
from hlsim.models.rules.rule import Fields, Rule
from hlsim.topology.network import Network


@dataclass
class Synapse:
    """An incoming edge, as its target owns it."""

    STATE: ClassVar = ("w", "fields", "s", "past")

    edge: int
    w: float
    fields: Fields
    beta: float
    plastic: bool
    feedback: int
    feedback_weight: float
    feedback_delay: int
    # Its s is 1 for ever.
    bias: bool = False
    # Hears impulses: s is those that its neuron took in at its last update.
    impulse: bool = False
    s: Value = 0.0
    # What was heard at every tick of the neuron's lag, the oldest first; empty where there is no lag.
    past: list[Value] = field(default_factory=list)

    @property
    def met(self) -> Value:
        """What costates meet: what is heard now, or was as long ago as the neuron's lag."""
        return self.past[0] if self.past else self.s


@dataclass
class Link:
    """An outgoing edge, as its source knows it."""

    STATE: ClassVar = ("r",)

    edge: int
    delay: int
    hears: bool
    r: Value = 0.0


@dataclass
class FailingLink:
    """What the world does to messages of one kind on one edge; no neuron knows of it."""

    STATE: ClassVar = ("down", "loss", "jitter", "delay")

    down: float = 0.0
    loss: float = 0.0
    jitter: float = 0.0
    # None: as the neuron at its start has it.
    delay: float | None = None

    def fate(self, key: Tensor, kind: int, tick: int, delay: int) -> tuple[bool, int]:
        """Return whether a message sent at ``tick`` arrives, and after how many ticks."""
        if self.down or uniform(key, tick, kind, LOST).item() < self.loss:
            return False, 0
        own = delay if self.delay is None else int(self.delay)
        return True, own + int(late(key, tick, kind, torch.tensor([int(self.jitter)])))


@dataclass
class Record:
    """Everything a neuron owns; what it owns without being told at the start is what changes."""

    STATE: ClassVar[tuple[str, ...]]

    label: str
    model: Neuron
    activation: Activation
    p: Parameters
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
    lag: int
    synapses: list[Synapse] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    # Complex where the rule has complex states.
    h: Value = 0.0
    # The fields of the model after the first, which is h, and their costates.
    more: list[Value] = field(default_factory=list)
    more_z: list[Value] = field(default_factory=list)
    z: Value = 0.0
    a: Value = 0.0
    q: Value = 0.0
    # Of several fields tuples, of partial derivatives by h a matrix (f_i, x_j).
    f: Any = 0.0
    df_dh: Any = 0.0
    df_da: Any = 0.0
    fired: float = 0.0
    g: Value = 0.0
    dl: Value = 0.0
    # The pull of the loss that the drive took in, or that a read-out sends.
    pull: Value = 0.0
    heard: Value = 0.0
    # Slopes df/da of every tick of the lag, and what the loss said, as long as that waits; the oldest first.
    slopes: list[Any] = field(default_factory=list)
    losses: list[Value] = field(default_factory=list)
    h_sent: Value = 0.0
    q_sent: Value = 0.0
    u: float = 0.0
    noise: float = 0.0
    target: float | None = None
    phi: float = 0.0
    nudge: complex = 0.0
    learning: bool = True
    # When learning was switched on last.
    learns_since: int = 0
    # The learning switch as it was at the last update: a clocked neuron's step is learned by that.
    took_note: bool = True
    h_sent_at: int = NEVER
    q_sent_at: int = NEVER
    moved: bool = False
    updated: int = 0

    @property
    def m(self) -> Value:
        """What is sent forward."""
        return self.pull if self.model.reads_out else self.h

    @property
    def x(self) -> Any:
        """The state as formulas of the model take it."""
        return self.model.state((self.h, *self.more))

    @x.setter
    def x(self, x: Any) -> None:
        self.h, *self.more = self.model.values(x)

    @property
    def slope(self) -> Any:
        """The slope df/da that costates meet: that of now, or as long ago as the lag."""
        return self.slopes[0] if self.slopes else self.df_da

    @property
    def told(self) -> Value:
        """What the own loss says, phi dL/dh: now, or when costates from further away come as well."""
        return self.losses[0] if self.losses else self.phi * self.dl

    def keep(self) -> None:
        """Keep what costates of later ticks will meet; what is as old as the lag stands first."""
        _shift(self.slopes, self.df_da)
        _shift(self.losses, self.phi * self.dl)
        for synapse in self.synapses:
            _shift(synapse.past, synapse.s)

    def learns(self, now: int) -> bool:
        """Tell whether synapses move: learning is on, and was when what they met was heard."""
        return self.learning and now - self.lag >= self.learns_since

    def forget(self) -> None:
        """Forget what was kept."""
        for past in (self.slopes, self.losses, *(s.past for s in self.synapses)):
            past[:] = [0.0] * len(past)

    @property
    def own(self) -> Value:
        """What was sent last, or would be if it went anywhere."""
        return self.h_sent if self.links else self.m


def _shift(past: list[Any], value: Any) -> None:
    if past:
        past.append(value)
        del past[0]


Record.STATE = tuple(
    each.name
    for each in fields(Record)
    if (each.default, each.default_factory) != (MISSING, MISSING) and each.name not in ("synapses", "links")
)


def record(network: Network, rule: Rule, i: int, replica: int) -> Record:
    """Return what node i of a network owns before tick 0, in one replica."""
    outputs = np.flatnonzero(network.outputs == i)
    model = MODELS[network.model[i]]
    row = min(replica, network.weight.shape[0] - 1)
    incoming = np.flatnonzero(network.target == i)
    synapses = [
        Synapse(
            edge=int(e),
            w=float(network.weight[row, e]),
            fields=rule.fields(0.0 for _ in rule.synapse_fields),
            beta=float(beta),
            plastic=bool(network.plastic[e]),
            feedback=int(network.feedback[e]),
            feedback_weight=float(network.feedback_weight[row, e]),
            feedback_delay=int(network.feedback_delay[e]),
            bias=bool(network.source[e] < 0),
            impulse=bool(network.impulses[e]),
            s=1.0 if network.source[e] < 0 else 0.0,
            past=_nothing(0 if network.source[e] < 0 else network.lag[i]),
        )
        for e, beta in zip(incoming, network.weight_rate(rule, incoming), strict=True)
    ]
    links = [
        Link(int(e), int(network.delay[e]), bool(network.has_feedback[e]))
        for e in np.flatnonzero(network.source == i)
    ]
    size = len(model.fields)
    rest, one = size - 1, size == 1
    return Record(
        f=0.0 if one else (0.0,) * size,
        df_dh=0.0 if one else ((0.0,) * size,) * size,
        df_da=0.0 if one else (0.0,) * size,
        more=[0.0] * rest,
        more_z=[0.0] * rest,
        label=network.label[i],
        model=model,
        activation=ACTIVATIONS[network.activation[i]],
        p=Parameters(**{name: float(x[i]) for name, x in network.parameters.items()}),
        clock=bool(network.clock[i]) and not model.is_input,
        period=int(network.period[i]),
        phase=int(network.phase[i]),
        send_threshold=float(network.send_threshold[i]),
        costate_threshold=float(network.costate_threshold[i]),
        send_interval=int(network.send_interval[i]),
        refresh=int(network.refresh[i]),
        rank=int(network.rank[i]),
        back_rank=int(network.back_rank[i]),
        output=int(outputs[0]) if len(outputs) else None,
        lag=int(network.lag[i]),
        slopes=_nothing(network.lag[i]),
        losses=_nothing(network.loss_waits[i]),
        synapses=synapses,
        links=links,
    )


def _nothing(ticks: int) -> list[Any]:
    """Return what was kept of so many ticks and the present one before the first; of 0 nothing is."""
    return [0.0] * (int(ticks) + 1) if ticks else []
