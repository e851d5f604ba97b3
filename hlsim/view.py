"""What a running circuit looks like at a tick, read without touching it."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from hlsim.advance import hold
from hlsim.circuit import Circuit
from hlsim.state import Some

_NEURON = ("h", "z")


def read(circuit: Circuit, name: str, tick: int) -> NDArray[np.float64]:
    """Return h, z, a (replica, node), h of the outputs as y, w or a synapse field (1 or replica, edge), loss.

    Neurons that update on arrival are read at ``tick`` in closed form, clocked ones as last updated.
    """
    if name == "loss":
        return _loss(circuit, tick)
    if name == "a":
        return _array(circuit.state.a)
    if name == "y":
        return _array(_outputs(circuit, tick))
    if name in _NEURON:
        return _array(_neurons(circuit, name, tick))
    synapses = _synapses(circuit, tick)
    return _array(synapses[name])[:, circuit.plan.place]


def _neurons(circuit: Circuit, name: str, tick: int, among: torch.Tensor | None = None) -> torch.Tensor:
    """Return a field that is right for the nodes ``among`` (node,), for all by default."""
    state, late = circuit.state, _late(circuit, tick, among)
    if len(late):
        state = replace(state, h=state.h.clone(), z=state.z.clone(), learning=False)
        hold(circuit, state, tick, late)
    values: torch.Tensor = getattr(state, name)
    return values


def _synapses(circuit: Circuit, tick: int) -> dict[str, torch.Tensor]:
    state, late = circuit.state, _late(circuit, tick)
    if len(late) and state.learning:
        fields = {key: x.clone() for key, x in state.fields.items()}
        scratch = {key: getattr(state, key).clone() for key in ("h", "z", "moved", "w")}
        state = replace(state, **scratch, fields=fields)
        hold(circuit, state, tick, late)
    return {"w": state.w, **state.fields}


def _late(circuit: Circuit, tick: int, among: torch.Tensor | None = None) -> Some:
    if not circuit.has_arrival:
        return circuit.nobody
    waiting = circuit.arrival & ~circuit.is_input & (circuit.state.updated < tick)
    waiting = waiting if among is None else waiting & among
    return circuit.some(torch.nonzero(waiting.view(-1)).squeeze(1))


def _loss(circuit: Circuit, tick: int) -> NDArray[np.float64]:
    if circuit.loss is None or circuit.target is None:
        return np.full(circuit.replicas, np.nan)
    return _array(circuit.loss.value(_outputs(circuit, tick).real, circuit.target))


def _outputs(circuit: Circuit, tick: int) -> torch.Tensor:
    return circuit.output_set.take(_neurons(circuit, "h", tick, circuit.is_output))


def _array(x: torch.Tensor) -> NDArray[np.float64]:
    return x.detach().cpu().numpy().copy()
