"""Every mutable number of a running network, as flat tensors, and the ways to select from them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hlsim.network import Network
from hlsim.neurons import MODELS

_VALUES = ("h", "z", "a", "q", "f", "df_dh", "df_da", "u", "heard", "dl", "g", "pull", "h_sent", "q_sent")
# A tick before every other: nothing was ever sent.
NEVER = -(2**60)


class Whole:
    """A fixed set of neurons in every replica: a slice where it is contiguous (then taking is a view)."""

    def __init__(self, nodes: Tensor) -> None:
        self.nodes = nodes
        self._at: slice | Tensor = _as_slice(nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def take(self, x: Tensor) -> Tensor:
        """Return (replica, k) of a neuron field (replica, node)."""
        return x[:, self._at]

    def put(self, x: Tensor, values: Tensor | float | bool) -> None:
        """Write a neuron field (replica, node)."""
        x[:, self._at] = values

    def param(self, x: Tensor) -> Tensor:
        """Return (k,) of a neuron parameter (node,)."""
        return x[self._at]


class Some:
    """Neurons that happen to be due, each in a replica of its own: flat indices replica * nodes + node."""

    def __init__(self, flat: Tensor, nodes: Tensor) -> None:
        self.flat, self.nodes = flat, nodes

    def __len__(self) -> int:
        return len(self.flat)

    def take(self, x: Tensor) -> Tensor:
        """Return (k,) of a neuron field (replica, node)."""
        return x.view(-1)[self.flat]

    def put(self, x: Tensor, values: Tensor | float | bool) -> None:
        """Write a neuron field (replica, node)."""
        x.view(-1)[self.flat] = values

    def param(self, x: Tensor) -> Tensor:
        """Return (k,) of a neuron parameter (node,)."""
        return x[self.nodes]

    def where(self, mask: Tensor) -> "Some":
        """Return those where ``mask`` (k,) holds."""
        return Some(self.flat[mask], self.nodes[mask])


Selection = Whole | Some


def _as_slice(nodes: Tensor) -> slice | Tensor:
    if len(nodes) and bool((nodes[1:] - nodes[:-1] == 1).all()):
        return slice(int(nodes[0]), int(nodes[-1]) + 1)
    return nodes


@dataclass
class State:
    """Neuron fields ``(replica, node)``, synapse fields ``(1 or replica, edge)`` in storage order.

    Attributes
    ----------
    h, z, a, q : Tensor
        State, costate, drive, and what is sent backward.
    m : Tensor
        What is sent forward: h itself, unless there are neurons that read out.
    f, df_dh, df_da : Tensor
        dh/dt and its partial derivatives at the last update.
    u : Tensor
        Stimulus added to the drive (or emitted, by an input node).
    heard, dl, g : Tensor
        Sum of the costates heard, dL/dh, and g = phi dl + heard, held since the last update.
    pull : Tensor
        -nudge dl as it was at the last update, of outputs: part of the drive, or what a read-out sends.
    h_sent, q_sent, h_sent_at, q_sent_at : Tensor
        Values last sent and the ticks they were sent at.
    moved : Tensor
        Whether the neuron's weights have moved since its last costate message.
    updated : Tensor
        Tick of the last update.
    noise : Tensor
        Added to the drive; None: there is none.
    w : Tensor
        Weights; ``fields`` holds the rule's synapse fields. All real, whatever the numbers of neurons are.
    """

    h: Tensor
    m: Tensor
    z: Tensor
    a: Tensor
    q: Tensor
    f: Tensor
    df_dh: Tensor
    df_da: Tensor
    u: Tensor
    heard: Tensor
    dl: Tensor
    g: Tensor
    pull: Tensor
    h_sent: Tensor
    q_sent: Tensor
    h_sent_at: Tensor
    q_sent_at: Tensor
    moved: Tensor
    updated: Tensor
    w: Tensor
    fields: dict[str, Tensor]
    phi: float = 0.0
    learning: bool = True
    nudge: complex = 0.0
    noise: Tensor | None = None

    @classmethod
    def zeros(
        cls,
        network: Network,
        replicas: int,
        weight: Tensor,
        synapse_fields: Iterable[str],
        dtype: torch.dtype,
    ) -> "State":
        """Return the state before tick 0, with ``weight`` (1 or replica, edge) in storage order.

        ``dtype`` is that of the neurons' numbers.
        """
        shape, device = (replicas, network.n), weight.device
        made: dict[str, Any] = {name: torch.zeros(shape, dtype=dtype, device=device) for name in _VALUES}
        reads_out = any(MODELS[name].reads_out for name in network.model)
        made["m"] = made["h"].clone() if reads_out else made["h"]
        for name in ("h_sent_at", "q_sent_at"):
            made[name] = torch.full(shape, NEVER, dtype=torch.int64, device=device)
        return cls(
            **made,
            moved=torch.zeros(shape, dtype=torch.bool, device=device),
            updated=torch.zeros(shape, dtype=torch.int64, device=device),
            w=weight.clone(),
            fields={name: torch.zeros_like(weight) for name in synapse_fields},
        )

    def reset(self) -> None:
        """Forget h, z, everything heard and sent; w and the synapse fields stay."""
        for field in (self.h, self.m, self.z, self.heard, self.dl, self.h_sent, self.q_sent):
            field.zero_()
