"""What controls do to a circuit: which event neurons they make due, and what they set."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.circuit import Circuit
from hlsim.controls import Changes


def makes_all_due(changes: Changes, tick: int) -> bool:
    """Tell whether every event neuron is due: at the start, at a reset, at the end of a phase."""
    return tick == 0 or changes.reset or changes.mark is not None


def make_due(circuit: Circuit, changes: Changes, due: Tensor) -> None:
    """Add the neurons on arrival that changes concern to those that are ``due`` (replica, node)."""
    c = circuit
    if changes.learn is not None and changes.learn != c.state.learning:
        due |= c.arrival & ~c.is_input
    if changes.input is not None:
        new = (real(c, changes.input) != c.fed.take(c.state.u)) & c.fed.param(c.arrival)
        replica, column = torch.nonzero(new, as_tuple=True)
        due[replica, c.inputs[column]] = True
    if changes.noise is not None:
        due |= c.arrival & ~c.is_input
    if changes.no_target or any(x is not None for x in (changes.target, changes.phi, changes.nudge)):
        due[:, c.outputs] |= _outputs_changed(c, changes) & c.arrival[c.outputs]


def _outputs_changed(circuit: Circuit, changes: Changes) -> Tensor:
    c = circuit
    changed = torch.zeros(c.replicas, len(c.outputs), dtype=torch.bool, device=c.device)
    if changes.target is not None:
        changed |= True if c.target is None else real(c, changes.target) != c.target
    if changes.no_target and c.target is not None:
        changed |= True
    if changes.phi is not None and changes.phi != c.state.phi:
        changed |= True
    if changes.nudge is not None and changes.nudge != c.state.nudge:
        changed |= True
    return changed


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
    if c.wires is not None:
        c.wires.change(changes.links)
    if changes.noise is not None:
        state.noise = real(c, changes.noise).to(c.number)


def real(circuit: Circuit, values: NDArray[np.float64]) -> Tensor:
    """Return values as numbers of the circuit."""
    return torch.as_tensor(values, dtype=circuit.dtype, device=circuit.device)
