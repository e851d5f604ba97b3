"""Phase 0 of a tick: due neurons integrate h, z and their synapses since their last update."""

from dataclasses import dataclass
from typing import Any

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
    if not circuit.rule.takes_steps:
        return
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
        selection.put(state.q, circuit.q(selection))
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
    for block, part, mask in _rich_blocks(circuit, chosen):
        step = duration[mask] if isinstance(duration, Tensor) else duration
        if block.model.exact:
            # f is 0, and h still what it was.
            p = circuit.p(part)
            x = block.model.held(circuit.x(block, part), part.take(state.a), step, block.activation, p)
            circuit.put_x(block, part, x)
            continue
        for x, f in zip(state.more, state.more_f, strict=True):
            part.put(x, part.take(x) + step * part.take(f))


def _rich_blocks(circuit: Circuit, chosen: Selection) -> list[tuple[Block, Some, Tensor]]:
    """Return those of a selection whose models have several fields or send impulses, by block."""
    if not (circuit.has_rich and isinstance(chosen, Some)):
        return []
    return [(block, chosen.where(mask), mask) for block, mask in circuit.by_block(chosen) if block.model.rich]


def _costate_step(circuit: Circuit, chosen: Selection, duration: float | Tensor) -> None:
    if not circuit.rule.sends_costates:
        return
    state, rule = circuit.state, circuit.rule
    z, g, df_dh = (chosen.take(x) for x in (state.z, state.g, state.df_dh))
    if len(state.pulled):
        g = g + chosen.take(state.pulled[0])
    moved = rule.costate_euler(z, g, df_dh, duration)
    for _, part, mask in _rich_blocks(circuit, chosen):
        step = duration[mask] if isinstance(duration, Tensor) else duration
        for r, z in enumerate(state.more_z):
            pulled, df_dh = part.take(state.pulled[1 + r]), part.take(state.more_df_dh[r])
            part.put(z, rule.costate_euler(part.take(z), pulled, df_dh, step))
    chosen.put(state.z, moved)


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
    if not circuit.rule.takes_steps:
        return
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
        circuit.put_x(block, part, h, into)
        if not circuit.rule.sends_costates:
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
) -> tuple[Any, Tensor, Tensor, Tensor]:
    """Return the state, z and the integrals I1, I2 of q after ``duration`` (k,) of an exact hold."""
    state, rule = circuit.state, circuit.rule
    x, z, q = circuit.x(block, chosen), chosen.take(state.z), chosen.take(state.q)
    if block.model.instant:
        # Without costates nothing integrates them.
        return (x, z, *rule.constant_hold(q, duration)) if rule.sends_costates else (x, z, q, q)
    p = circuit.p(chosen)
    h = block.model.held(x, chosen.take(state.a), duration, block.activation, p)
    if not rule.sends_costates:
        return h, z, q, q
    z, i1, i2 = rule.costate_hold(z, chosen.take(state.g), block.model.rate(p), duration)
    gain = chosen.take(state.df_da)
    return h, z, gain * i1, gain * i2
