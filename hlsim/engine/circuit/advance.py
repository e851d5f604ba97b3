"""Phase 0 of a tick: due neurons integrate h, z and their synapses since their last update."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hlsim.engine.circuit.circuit import Block, Circuit
from hlsim.engine.circuit.state import Selection, Some, State


def advance(circuit: Circuit, tick: int, chosen: Some, synchronous: bool) -> None:
    """Bring event neurons ``chosen`` to ``tick``, and the synchronous ones where ``synchronous``."""
    if circuit.rule.correlates and circuit.state.learning and circuit.state.nudge != 0:
        _correlate(circuit, chosen, synchronous)
    if len(chosen) == 0:
        _euler(circuit, tick, chosen, synchronous)
        return
    neurons = chosen.where(~circuit.is_input[chosen.nodes])
    arrival = circuit.arrival[neurons.nodes]
    hold(circuit, circuit.state, tick, neurons.where(arrival))
    _euler(circuit, tick, neurons.where(~arrival), synchronous)
    chosen.put(circuit.state.updated, tick)


def learn_instant(circuit: Circuit, chosen: Some) -> None:
    """Phase 6, sequential order: instant neurons move their synapses by one period."""
    for pull in circuit.plan.pulls:
        if pull.signature.instant:
            pull.learn(circuit.state, circuit.dt)
    if circuit.mixed_in is not None:
        mixed = circuit.mixed_in.where(circuit.instant[circuit.mixed_in.nodes])
        circuit.push.euler(circuit.state, mixed, circuit.dt)
    if len(chosen) == 0:
        return
    period = circuit.period[chosen.nodes].to(circuit.dtype)
    circuit.push.euler(circuit.state, chosen, circuit.dt * period)
    chosen.put(circuit.state.moved, True)


def _euler(circuit: Circuit, tick: int, chosen: Some, synchronous: bool) -> None:
    duration = _elapsed(circuit, tick, chosen)
    stateful = circuit.stateful[chosen.nodes]
    movers = _Movers(chosen.where(stateful), duration[stateful], synchronous)
    if circuit.rule.order == "sequential":
        _sequential(circuit, movers)
        return
    if not circuit.nudges:
        _learn(circuit, chosen, duration, synchronous, stateful_only=False)
    for selection, step in movers.steps(circuit):
        _state_step(circuit, selection, step)
        _costate_step(circuit, selection, step)


@dataclass(frozen=True)
class _Movers:
    """Clocked neurons with a state of their own: event ones with durations, and the synchronous ones."""

    some: Some
    duration: Tensor
    synchronous: bool

    def steps(self, circuit: Circuit) -> list[tuple[Selection, float | Tensor]]:
        pairs: list[tuple[Selection, float | Tensor]] = []
        if len(self.some):
            pairs.append((self.some, self.duration))
        if self.synchronous and circuit.sync_stateful is not None:
            pairs.append((circuit.sync_stateful, circuit.dt))
        return pairs


def _sequential(circuit: Circuit, movers: _Movers) -> None:
    """Step h, then z with the loss at the new h, then the synapses with the new z."""
    state, moving = circuit.state, movers.steps(circuit)
    for selection, step in moving:
        _state_step(circuit, selection, step)
    circuit.loss_gradient(_outputs(circuit, [selection for selection, _ in moving]))
    for selection, step in moving:
        selection.put(state.g, state.phi * selection.take(state.dl) + selection.take(state.heard))
        _costate_step(circuit, selection, step)
        selection.put(state.q, selection.take(state.z) * selection.take(state.df_da))
    _learn(circuit, movers.some, movers.duration, movers.synchronous, stateful_only=True)


def _outputs(circuit: Circuit, selections: list[Selection]) -> Tensor:
    """Return which outputs (replica, output) are among the selections."""
    mask = torch.zeros(circuit.replicas, circuit.n, dtype=torch.bool, device=circuit.device)
    for selection in selections:
        selection.put(mask, True)
    return mask[:, circuit.outputs]


def _state_step(circuit: Circuit, chosen: Selection, duration: float | Tensor) -> None:
    state = circuit.state
    chosen.put(state.h, chosen.take(state.h) + duration * chosen.take(state.f))


def _costate_step(circuit: Circuit, chosen: Selection, duration: float | Tensor) -> None:
    if not circuit.rule.sends_costates:
        return
    z, g, df_dh = (chosen.take(x) for x in (circuit.state.z, circuit.state.g, circuit.state.df_dh))
    chosen.put(circuit.state.z, circuit.rule.costate_euler(z, g, df_dh, duration))


def own(circuit: Circuit) -> Tensor:
    """Return what every neuron sent last (replica, node); of one that sends to nobody, what it would send."""
    state = circuit.state
    # m is brought up to date at the next send only, where it is not h itself.
    told = torch.where(circuit.reads_out, state.m, state.h)
    return torch.where(circuit.sends_state, state.h_sent, told)


def _correlate(circuit: Circuit, chosen: Some, synchronous: bool) -> None:
    state, sent = circuit.state, own(circuit)
    if synchronous:
        for pull in circuit.plan.pulls:
            pull.correlate(state, sent)
        if circuit.mixed_in is not None:
            circuit.push.correlate(state, sent, circuit.mixed_in)
    if len(chosen):
        circuit.push.correlate(state, sent, chosen)


def _learn(circuit: Circuit, chosen: Some, duration: Tensor, synchronous: bool, stateful_only: bool) -> None:
    state, push = circuit.state, circuit.push
    if synchronous and state.learning:
        for pull in circuit.plan.pulls:
            if not (stateful_only and pull.signature.instant):
                pull.learn(state, circuit.dt)
        if circuit.mixed_in is not None:
            mixed = circuit.mixed_in
            if stateful_only:
                mixed = mixed.where(circuit.stateful[mixed.nodes])
            push.euler(state, mixed, circuit.dt)
    if len(chosen):
        learning = chosen.take(state.took_note)
        chosen = chosen.where(learning)
        push.euler(state, chosen, duration[learning])
        chosen.put(state.moved, True)


def hold(circuit: Circuit, into: State, tick: int, chosen: Some) -> None:
    """Integrate exactly, from the state of the circuit ``into`` another or the same one.

    The drive, the states heard and g stood still since the last update.
    """
    for block, mask in circuit.by_block(chosen):
        part = chosen.where(mask)
        duration = _elapsed(circuit, tick, part)
        h, z, i1, i2 = held(circuit, block, part, duration)
        part.put(into.h, h)
        if circuit.nudges:
            continue
        if not block.model.instant:
            part.put(into.z, z)
        if into.learning:
            circuit.push.hold(into, part, i1, i2, duration)
            part.put(into.moved, True)


def _elapsed(circuit: Circuit, tick: int, chosen: Some) -> Tensor:
    return circuit.dt * (tick - chosen.take(circuit.state.updated)).to(circuit.dtype)


def held(
    circuit: Circuit, block: Block, chosen: Some, duration: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return h, z and the integrals I1, I2 of q after ``duration`` (k,) of an exact hold."""
    state, rule = circuit.state, circuit.rule
    h, z, q = chosen.take(state.h), chosen.take(state.z), chosen.take(state.q)
    if block.model.instant:
        # Where the loss nudges there are no costates, and nothing integrates them.
        return (h, z, q, q) if circuit.nudges else (h, z, *rule.constant_hold(q, duration))
    p = circuit.p(chosen)
    h = block.model.held(h, chosen.take(state.a), duration, block.activation, p)
    if circuit.nudges:
        return h, z, q, q
    z, i1, i2 = rule.costate_hold(z, chosen.take(state.g), block.model.rate(p), duration)
    gain = chosen.take(state.df_da)
    return h, z, gain * i1, gain * i2
