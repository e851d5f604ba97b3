"""The tick of a network all of whose neurons are synchronous, compiled: there is no message to carry.

It means what ``hlsim.engine.compiled.tick`` does, without what such a network has no use for.
"""

from typing import Any

from hlsim.engine import formulas
from hlsim.engine.compiled import sweep, synchronous
from hlsim.engine.compiled.layout import ALL, ALL_PARTS, FIRST, LATER, NEVER, STATE, STATEFUL
from hlsim.engine.compiled.losses import gradient
from hlsim.engine.compiled.sending import tell_costates, tell_states
from hlsim.engine.compiled.wakeups import quiet
from hlsim.engine.loops import entry, once


@entry
def begin(agenda: Any) -> None:
    """Nobody has to be woken."""


@entry
def clear_messages(agenda: Any) -> None:
    """There are none."""


@entry
def open_tick(net: Any, now: int, others: Any) -> None:
    """Integrate all to now; ``others`` are inputs whose stimulus changes."""
    _open(net, now)
    for i in others:
        net.work.due[net.work.tally[0]] = i
        net.work.tally[0] += 1


@once
def _open(net: Any, now: int) -> None:
    terms, rule = net.terms[0], net.kit.narrow
    net.work.tally[:] = 0
    if net.work.log_edge.shape[1]:
        net.sync.sends[:, :] = False
    sweep.keep(net.blocks, now)
    if now == 0:
        return
    synchronous.note(net, terms)
    synchronous.step_states(net, terms)
    if rule.sequential:
        gradient(net, terms, now, net.sync.outputs, STATEFUL)
    if rule.sends_costates:
        synchronous.step_costates(net, terms)


@entry
def mark_all(net: Any, now: int, weight: complex, first: bool, last: bool) -> None:
    """Let every synapse take the end of a phase into account, see ``Phase``."""
    sweep.settle(net, now)
    synchronous.note_own(net)
    sweep.mark(net, now, formulas.Mark(weight, first, last))


@entry
def reset(net: Any, now: int) -> None:
    """Forget what was heard; synapses take into account what they learn from first."""
    sweep.settle(net, now)
    sweep.forget(net.blocks)


@once
def _stimulate(net: Any, now: int) -> None:
    """Inputs that are due send what they are given."""
    x, work, blocks = net.values, net.work, net.blocks
    for k in range(work.tally[0]):
        i = work.due[k]
        x.h[i] = x.u[i]
        work.updates[i] += 1
        blocks.history[now % len(blocks.history), i] = x.h[i]
        if net.traits[i].sends_state and x.h[i] != x.h_sent[i]:
            x.h_sent[i] = x.h[i]
            work.sends[STATE, i] += 1
            net.sync.sends[STATE, i] = True
            reach = net.sync.reach[i % len(net.sync.reach)]
            blocks.carrying[0] = max(blocks.carrying[0], now + reach)


@once
def _close(net: Any, now: int) -> bool:
    """Run the phases from sending on; return whether all numbers are finite."""
    terms, rule, listening = net.terms[0], net.kit.narrow, net.work.log_edge.shape[1] > 0
    synchronous.send_states(net, now, LATER)
    _stimulate(net, now)
    synchronous.begin_drives(net)
    sweep.first(net, now)
    for level in range(terms.levels):
        sweep.drive(net, now, level, ALL_PARTS)
        synchronous.evaluate(net, terms, level)
        synchronous.send_states(net, now, level)
    sweep.drive(net, now, LATER, ALL_PARTS)
    sweep.finish(net)
    synchronous.evaluate(net, terms, LATER)
    gradient(net, terms, now, net.sync.outputs, ALL)
    if listening:
        tell_states(net)
    if rule.sends_costates:
        synchronous.costates(net, terms, now, FIRST)
        for level in range(terms.back_levels):
            synchronous.costates(net, terms, now, level)
        synchronous.gather(net, terms, now)
        if listening:
            tell_costates(net)
        synchronous.emit(net, now)
        if rule.sequential:
            synchronous.learn_instant(net, terms, now)
    return synchronous.count(net)


@entry
def run(net: Any, opened: int, until: int, budget: int, _reserve: int, _far: int, asked: int) -> Any:
    """Run the rest of a tick that is ``opened`` (-1: none), then ticks before ``until``.

    Takes and returns what ``tick.run`` does; there is no room to be made for messages.
    """
    now, finite, silent = opened, True, False
    each = 1 + len(net.traits) // 8 + len(net.values.w) // 64
    following = opened if opened >= 0 else net.blocks.carrying[1]
    while finite and not silent and not net.terms[0].failed and following < until and budget > 0:
        now = following
        if now != opened:
            _open(net, now)
        finite = _close(net, now)
        silent = finite and asked >= 0 and quiet(net, net.terms[0], asked, now)
        budget -= each
        following = now + 1
        net.blocks.carrying[1] = following
    return now, finite, silent, following if len(net.sync.runs) else NEVER
