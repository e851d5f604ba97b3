"""Every mutable number of a running network, as flat tensors, and the ways to select from them."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from hlsim.engine.snapshot import Array, Arrays, Stateful, put, taken
from hlsim.engine.threads import add_product, product
from hlsim.topology.network import Network

_VALUES = (
    *("h", "z", "a", "q", "f", "df_dh", "df_da", "u", "heard", "dl", "g", "pull", "h_sent", "q_sent"),
    "fired",
)
_MORE = ("more", "more_f", "more_z", "more_df_da", "more_df_dh", "pulled")
# Up to so many contiguous runs of neurons are copied one by one.
_FEW_RUNS = 4
# A tick before every other: nothing was ever sent.
NEVER = -(2**60)


class Whole:
    """A fixed set of neurons in every replica; taking one contiguous run of them is a view.

    A few runs are copied run by run, which is faster than element by element.
    """

    def __init__(self, nodes: Tensor) -> None:
        self.nodes = nodes
        runs = _runs(nodes)
        self._at: slice | Tensor = runs[0] if len(runs) == 1 else nodes
        self._runs = runs if 1 < len(runs) <= _FEW_RUNS else []

    def __len__(self) -> int:
        return len(self.nodes)

    def take(self, x: Tensor) -> Tensor:
        """Return (replica, k) of a neuron field (replica, node)."""
        if self._runs:
            return torch.cat([x[:, run] for run in self._runs], 1)
        return x[:, self._at]

    def put(self, x: Tensor, values: Tensor | float | bool) -> None:
        """Write a neuron field (replica, node)."""
        if not self._runs:
            x[:, self._at] = values
            return
        start = 0
        for run in self._runs:
            stop = start + run.stop - run.start
            x[:, run] = values[..., start:stop] if isinstance(values, Tensor) and values.ndim else values
            start = stop

    def add(self, x: Tensor, values: Tensor) -> None:
        """Add to a neuron field (replica, node)."""
        if isinstance(self._at, slice):
            x[:, self._at] += values
        else:
            self.put(x, self.take(x) + values)

    def add_product(self, x: Tensor, y: Tensor, z: Tensor) -> None:
        """Add y @ z to a neuron field (replica, node)."""
        if isinstance(self._at, slice):
            add_product(x[:, self._at], y, z)
        else:
            self.put(x, self.take(x) + product(y, z))

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


def _runs(nodes: Tensor) -> list[slice]:
    """Return the contiguous runs that nodes consist of, in their order."""
    if not len(nodes):
        return []
    cuts = (torch.nonzero(nodes[1:] - nodes[:-1] != 1).squeeze(1) + 1).tolist()
    starts, stops = [0, *cuts], [*cuts, len(nodes)]
    return [slice(int(nodes[i]), int(nodes[j - 1]) + 1) for i, j in zip(starts, stops, strict=True)]


@dataclass
class State(Stateful):
    """Neuron fields ``(replica, node)``, synapse fields ``(1 or replica, edge)`` in storage order.

    Attributes
    ----------
    h, z, a, q : Tensor
        State, costate, drive, and what is sent backward.
    m : Tensor
        What is sent forward: h itself, unless there are neurons that read out.
    f, df_dh, df_da : Tensor
        dh/dt and its partial derivatives at the last update.
    fired : Tensor
        1 where an impulse was emitted at the last update.
    more, more_f, more_z, more_df_da, more_df_dh : Tensor (field, replica, node)
        Of the fields of models after the first: the same as h, f, z, df_da, df_dh.
    pulled : Tensor (1 + field, replica, node)
        What pulls at the costate of each field on behalf of the others, sum z_j df_j/dx_i.
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
    took_note : Tensor
        The learning switch as it was at the last update: the step of a clocked neuron is learned by that.
    noise : Tensor
        Added to the drive; None: there is none.
    learned : int
        For how many ticks in a row the network has been learning; counted where neurons have a lag.
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
    fired: Tensor
    more: Tensor
    more_f: Tensor
    more_z: Tensor
    more_df_da: Tensor
    more_df_dh: Tensor
    pulled: Tensor
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
    took_note: Tensor
    w: Tensor
    fields: dict[str, Tensor]
    phi: float = 0.0
    learning: bool = True
    learned: int = 0
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
        """Return the state before tick 0, whose w is ``weight`` (1 or replica, edge) in storage order.

        ``dtype`` is that of the neurons' numbers.
        """
        shape, device = (replicas, network.n), weight.device
        made: dict[str, Any] = {name: torch.zeros(shape, dtype=dtype, device=device) for name in _VALUES}
        made["m"] = made["h"].clone() if network.reads_out.any() else made["h"]
        for name in ("h_sent_at", "q_sent_at"):
            made[name] = torch.full(shape, NEVER, dtype=torch.int64, device=device)
        for name in _MORE:
            extra = network.width - 1
            size = extra + (name == "pulled" and extra > 0), *shape
            made[name] = torch.zeros(size, dtype=dtype, device=device)
        return cls(
            **made,
            moved=torch.zeros(shape, dtype=torch.bool, device=device),
            updated=torch.zeros(shape, dtype=torch.int64, device=device),
            took_note=torch.ones(shape, dtype=torch.bool, device=device),
            w=weight,
            fields={name: torch.zeros_like(weight) for name in synapse_fields},
        )

    def collect(self) -> dict[str, Array]:
        """Return every field: neurons/h and so on, synapses/w, synapses/omega."""
        return dict(taken(self._by_name()))

    def put_back(self, arrays: Arrays) -> None:
        """Take every field."""
        for name in self._own():
            place = "synapses" if name == "fields" else self._name(name)
            setattr(self, name, put(getattr(self, name), place, arrays))
        if self.noise is not None:
            self.noise = torch.as_tensor(self.noise, device=self.h.device)

    def _by_name(self) -> dict[str, Any]:
        own = {self._name(name): getattr(self, name) for name in self._own() if name != "fields"}
        return own | {f"synapses/{name}": x for name, x in self.fields.items()}

    def _own(self) -> list[str]:
        """Return the fields that are numbers of their own."""
        return [each.name for each in fields(self) if each.name != "m" or self.m is not self.h]

    def _name(self, field: str) -> str:
        return f"{'synapses' if field == 'w' else 'neurons'}/{field}"

    def reset(self) -> None:
        """Forget h, z, everything heard and sent; w and the synapse fields stay."""
        for field in (
            self.h,
            self.m,
            self.more,
            self.z,
            self.more_z,
            self.heard,
            self.dl,
            self.h_sent,
            self.q_sent,
        ):
            field.zero_()
