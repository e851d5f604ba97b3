"""A running circuit from outside: what it looks like at a tick, and what controls do to it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine.circuit.advance import hold
from hlsim.engine.circuit.circuit import Circuit
from hlsim.engine.circuit.state import Some, State
from hlsim.engine.controls import Changes

_OUTPUTS = frozenset({"y", "loss"})
# What a neuron's hold moves; the rest are drives, which stand still, and fields of synapses.
_NEURONS = _OUTPUTS | {"h", "z"}


def read(circuit: Circuit, names: Sequence[str], tick: int) -> dict[str, NDArray[np.float64]]:
    """Return h, z, a (replica, node), h of the outputs as y, w or a synapse field (1 or replica, edge), loss.

    Neurons that update on arrival are read at ``tick`` in closed form, clocked ones as last updated: all
    fields by one hold. Outputs are held alone for y and loss: torch's last bits depend on where a number
    stands in a tensor, and a loss must not depend on what else is read.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for outputs in (True, False):
        asked = [name for name in names if (name in _OUTPUTS) == outputs]
        state = _held(circuit, asked, tick)
        found |= {name: _field(circuit, state, name) for name in asked}
    return found


def _held(circuit: Circuit, names: Sequence[str], tick: int) -> State:
    """Return a state in which the fields of these names are right: of outputs alone, or of any neurons."""
    state = circuit.state
    moved = set(names) - {"a"}
    of_neurons = _NEURONS | set(circuit.network.node_fields)
    moved = moved if state.learning else moved & of_neurons
    if not moved:
        return state
    late = _late(circuit, tick, circuit.is_output if moved <= _OUTPUTS else None)
    if len(late) == 0:
        return state
    moving = state.learning and not moved <= of_neurons
    scratch = replace(state, h=state.h.clone(), z=state.z.clone(), more=state.more.clone(), learning=moving)
    if scratch.learning:
        scratch.moved, scratch.w = state.moved.clone(), state.w.clone()
        scratch.fields = {key: x.clone() for key, x in state.fields.items()}
    hold(circuit, scratch, tick, late)
    return scratch


def _late(circuit: Circuit, tick: int, among: torch.Tensor | None) -> Some:
    """Return who was last updated before a tick, of the nodes ``among`` (node,), of all by default."""
    if not circuit.has_arrival:
        return circuit.nobody
    waiting = circuit.arrival & ~circuit.is_input & (circuit.state.updated < tick)
    waiting = waiting if among is None else waiting & among
    return circuit.some(torch.nonzero(waiting.view(-1)).squeeze(1))


def _field(circuit: Circuit, state: State, name: str) -> NDArray[np.float64]:
    if name in ("h", "z", "a"):
        return _array(getattr(state, name))
    if name in circuit.network.node_fields:
        return _array(circuit.field(name, state))
    if name in _OUTPUTS:
        y = circuit.output_set.take(state.h)
        return _array(y) if name == "y" else _loss(circuit, y)
    return _array(state.w if name == "w" else state.fields[name])[:, circuit.plan.place]


def _loss(circuit: Circuit, y: torch.Tensor) -> NDArray[np.float64]:
    if circuit.loss is None or circuit.target is None:
        return np.full(circuit.replicas, np.nan)
    return _array(circuit.loss.value(y.real, circuit.target))


def _array(x: torch.Tensor) -> NDArray[np.float64]:
    return x.detach().cpu().numpy().copy()


def set_values(circuit: Circuit, changes: Changes) -> None:
    """Let stimulus, targets, switches, links and noise take effect."""
    c, state = circuit, circuit.state
    if changes.input is not None:
        c.fed.put(state.u, real(c, changes.input).to(c.number))
    if changes.target is not None:
        c.target = real(c, changes.target)
    if changes.no_target:
        c.target = None
    state.phi = state.phi if changes.phi is None else changes.phi
    state.learning = state.learning if changes.learn is None else changes.learn
    state.nudge = state.nudge if changes.nudge is None else changes.nudge
    if c.failing is not None:
        c.failing.change(changes.links)
    if changes.noise is not None:
        state.noise = real(c, changes.noise).to(c.number)


def real(circuit: Circuit, values: NDArray[np.float64]) -> Tensor:
    """Return values as numbers of the circuit."""
    return torch.as_tensor(values, dtype=circuit.dtype, device=circuit.device)
