"""Whether anything would still happen in a running circuit if nobody touched it."""

from torch import Tensor

from hlsim.engine.circuit.advance import own
from hlsim.engine.circuit.calendar import Calendar
from hlsim.engine.circuit.circuit import Block, Circuit
from hlsim.engine.general.sending import Sending
from hlsim.engine.general.wakeups import pending, unheard


def quiet(circuit: Circuit, calendar: Calendar, sending: Sending, tick: int, asked: int) -> bool:
    """Tell, at the end of a tick, whether nothing is on its way and no neuron has anything to send.

    Neurons on arrival have something to send if they are to wake up. Clocked ones have if what they send, its
    next step or the state they relax to differs from what was sent last by their threshold; and if the pull
    of the loss differs by that from the one in their drive; and before they have heard what the controls
    were asked for last, at tick ``asked``.
    """
    if calendar.in_flight or sending.carrying or calendar.waking(tick) or circuit.push.undelivered:
        return False
    if bool((circuit.state.updated < asked)[:, circuit.clock & ~circuit.sync].any()):
        return False
    sent = own(circuit)
    return not any(_restless(circuit, block, sent) for block in circuit.blocks)


def _restless(circuit: Circuit, block: Block, sent: Tensor) -> bool:
    state, whole = circuit.state, block.whole
    threshold, last = whole.param(circuit.send_threshold), whole.take(sent)
    restless = pending(whole.take(state.m), last, threshold) | unheard(circuit, whole)
    if block.model.stateful:
        h = whole.take(state.h)
        step = h + circuit.dt * whole.param(circuit.period).to(circuit.dtype) * whole.take(state.f)
        restless |= pending(step, last, threshold)
    if block.model.stateful and block.model.relaxes:
        rest = block.model.rest(whole.take(state.a), block.activation)
        restless |= (threshold > 0) & ((rest - last).abs() >= threshold)
    return bool((restless & whole.param(circuit.clock)).any())
