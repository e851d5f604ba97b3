"""The phases of a tick, compiled, and the loop over ticks around them.

What a phase does is said in ``hlsim.engine.general.engine``. A tick touches the neurons that are due, their
in-synapses and the messages sent; nothing else, and no tick exists in which nothing is due.
"""

import cmath
from typing import Any

from hlsim.engine import formulas
from hlsim.engine.compiled import synapses
from hlsim.engine.compiled.calendar import (
    bring_near,
    bucket_of,
    clear_messages,
    coming,
    empty,
    far_item,
    plan,
    pop,
)
from hlsim.engine.compiled.layout import CHUNK, CROSS_ENTROPY, SILENT
from hlsim.engine.compiled.sending import OTHERS, send_costate, send_states
from hlsim.engine.compiled.wakeups import quiet, relax, value_sent, wake_at
from hlsim.engine.loops import entry, inner, tight
from hlsim.models import ops
from hlsim.models.messages import COSTATE, STATE

__all__ = ["begin", "clear_messages", "mark_all", "open_tick", "reset", "run"]  # what the engine calls


velocity = formulas.one_of("velocity", "h, a, sigma", "a")
partials = formulas.one_of("partials", "h, a, sigma", "(0.0 * a, 0.0 * a)")
rest = formulas.one_of("rest", "a, sigma", "a")
euler_costate = formulas.optional("costate_euler", "z, g, df_dh, duration", "z")
hold_costate = formulas.optional("costate_hold", "z, g, rate, duration", "(z, z, z)")
hold_constant = formulas.optional("constant_hold", "q, duration", "(q, q)")


# ---- phase 0: who is due; integrate


@entry
def begin(agenda: Any) -> None:
    """Let clocks strike for the first time after tick 0."""
    for k in range(len(agenda.clocks)):
        clock = agenda.clocks[k]
        first = clock.phase if clock.phase > 0 else clock.period
        plan(agenda.heap, agenda.place, agenda.tick, agenda.tally, far_item(agenda) + 1 + k, first)


@entry
def open_tick(net: Any, now: int, others: Any) -> None:
    """Find who is due, ``others`` too, and integrate them to now."""
    kit, terms = net.kit, net.terms[0]
    net.work.tally[:] = 0
    _keep(net.work, now)
    _wake(net, now)
    for kind in (STATE, COSTATE):
        if net.fates.may[0]:
            _overtake(net, kind, now)
        _mark_reached(net, kind, now)
    for i in others:
        _mark(net.work, now, i)
    if terms.couples:
        _couple(net.traits, net.work, now)
    if now > 0:
        _advance(kit, net, terms, now, 0)


@inner
def _keep(work: Any, now: int) -> None:
    """Begin what neurons send now with what they sent a tick ago: who does not update sends nothing else."""
    depth = len(work.history)
    if depth > 1:
        row, before = now % depth, (now - 1) % depth
        for i in range(work.history.shape[1]):
            work.history[row, i] = work.history[before, i]


@inner
def _wake(net: Any, now: int) -> None:
    agenda, items, far = net.agenda, len(net.work.due), far_item(net.agenda)
    while coming(agenda) == now:
        item = pop(agenda)
        if item < items:
            _mark(net.work, now, item)
        elif item == far:
            bring_near(agenda, now)
        elif item > far:
            clock = agenda.clocks[item - far - 1]
            for i in agenda.ticking[clock.first : clock.last]:
                _mark(net.work, now, i)
            plan(agenda.heap, agenda.place, agenda.tick, agenda.tally, item, now + clock.period)


@tight
def _mark(work: Any, now: int, i: int) -> None:
    if work.notes[i].due != now:
        work.notes[i].due = now
        work.due[work.tally[0]] = i
        work.tally[0] += 1


@inner
def _overtake(net: Any, kind: int, now: int) -> None:
    """Take out the messages that arrive now, though a later one of their link has arrived or does now."""
    agenda, newest, place = (
        net.agenda,
        net.fates.newest[kind],
        net.agenda.buckets[bucket_of(net.agenda, kind, now)],
    )
    for counting in (False, True):
        chunk, left = place.first, place.count
        while left > 0:
            for k in range(chunk * CHUNK, chunk * CHUNK + min(left, CHUNK)):
                message, sent = agenda.mail[k], agenda.sent[k]
                if not counting and sent > newest[message.address]:
                    newest[message.address] = sent
                elif not counting:
                    agenda.sent[k] = -1
                elif sent != newest[message.address]:
                    message.node = -1
                    net.work.lost[0] += 1
            left -= CHUNK
            chunk = agenda.after[chunk]


@inner
def _mark_reached(net: Any, kind: int, now: int) -> None:
    agenda, place = net.agenda, net.agenda.buckets[bucket_of(net.agenda, kind, now)]
    chunk, left = place.first, place.count
    while left > 0:
        for message in agenda.mail[chunk * CHUNK : chunk * CHUNK + min(left, CHUNK)]:
            if message.node >= 0 and not net.work.notes[message.node].clock:
                _mark(net.work, now, message.node)
        left -= CHUNK
        chunk = agenda.after[chunk]


@inner
def _couple(traits: Any, work: Any, now: int) -> None:
    """One output that is due makes all of its replica due that update on arrival."""
    replicas, count = len(work.outputs), work.tally[0]
    for k in range(count):
        i = work.due[k]
        replica = i // (len(traits) // replicas)
        if traits[i].is_output and work.coupled[replica] != now:
            work.coupled[replica] = now
            for j in work.outputs[replica]:
                if not traits[j].clock:
                    _mark(work, now, j)


@inner
def _advance(kit: Any, net: Any, terms: Any, now: int, first: int) -> None:
    """Integrate those due from ``first`` on, from their last update to now."""
    x, work, late = net.values, net.work, 0
    for k in range(first, work.tally[0]):
        i = work.due[k]
        trait = net.traits[i]
        duration = terms.dt * type(terms.dt)(now - x.updated[i])
        x.updated[i] = now
        if kit.rule.correlates and terms.learning and terms.nudge != 0:
            synapses.correlate(kit.rule, net.edges, x, i, _own(x, trait, i), terms.nudge)
        if trait.is_input or duration == 0:
            continue
        if not trait.clock:
            _hold(kit, net, terms, i, duration)
        elif not kit.rule.sequential:
            _explicit(kit, net, terms, i, duration)
        elif trait.stateful:
            x.h[i] += duration * x.f[i]
            work.notes[i].duration = duration
            late += 1
    if late:
        _sequential(kit, net, terms, first)


@inner
def _hold(kit: Any, net: Any, terms: Any, i: int, duration: Any) -> None:
    """Integrate exactly: the drive, the states heard and g stood still."""
    x, trait, rule = net.values, net.traits[i], kit.rule
    i1 = i2 = x.q[i]
    if trait.instant:
        i1, i2 = hold_constant(rule, x.q[i], duration)
    else:
        x.h[i] = relax(x.h[i], net.work.notes[i].rest, trait.rate, duration)
        x.z[i], i1, i2 = hold_costate(rule, x.z[i], x.g[i], trait.rate, duration)
        i1, i2 = x.df_da[i] * i1, x.df_da[i] * i2
    if terms.learning and rule.sends_costates:
        synapses.hold(rule, net.edges, x, i, i1, i2, duration)
        x.moved[i] = True


@inner
def _explicit(kit: Any, net: Any, terms: Any, i: int, duration: Any) -> None:
    """One Euler step with all derivatives as they were."""
    x, trait, rule = net.values, net.traits[i], kit.rule
    if rule.sends_costates and x.took_note[i]:
        synapses.euler(rule, terms, net.edges, x, i, duration)
        x.moved[i] = True
    if trait.stateful:
        x.z[i] = euler_costate(rule, x.z[i], x.g[i], x.df_dh[i], duration)
        x.h[i] += duration * x.f[i]


@inner
def _sequential(kit: Any, net: Any, terms: Any, first: int) -> None:
    """Step z with the loss at the new h, then the synapses with the new z."""
    x, work = net.values, net.work
    _gradient(net, terms, first, True)
    for k in range(first, work.tally[0]):
        i = work.due[k]
        trait = net.traits[i]
        if not (trait.clock and trait.stateful):
            continue
        duration = work.notes[i].duration
        x.g[i] = terms.phi * x.dl[i] + x.heard[i]
        x.z[i] = euler_costate(kit.rule, x.z[i], x.g[i], x.df_dh[i], duration)
        x.q[i] = x.z[i] * x.df_da[i]
        if kit.rule.sends_costates and x.took_note[i]:
            synapses.euler(kit.rule, terms, net.edges, x, i, duration)
            x.moved[i] = True


# ---- phase 1: controls


@tight
def _own(x: Any, trait: Any, i: int) -> Any:
    """Return what a neuron sent last; of one that sends to nobody, what it would send."""
    return x.h_sent[i] if trait.sends_state else value_sent(x, trait, i)


@entry
def mark_all(net: Any, weight: complex, first: bool, last: bool) -> None:
    """Let every synapse take the end of a phase into account, see ``Phase``."""
    phase = formulas.Mark(weight, first, last)
    for i in range(len(net.traits)):
        if not net.traits[i].is_input:
            synapses.mark(net.kit.rule, net.edges, net.values, i, _own(net.values, net.traits[i], i), phase)


@entry
def reset(net: Any) -> None:
    """Forget what was heard and what waits."""
    net.values.r[:] = 0
    net.work.history[:, :] = 0
    net.work.coming[:, :] = 0
    net.work.carried[0] = 0
    net.work.state_arrived[:] = -1
    net.work.costate_arrived[:] = -1
    net.work.waiting[0] = 0
    clear_messages(net.agenda)


# ---- phase 2: send and take in


@inner
def _deliver(net: Any, kind: int, now: int) -> None:
    """Put the messages of a kind that arrive now where their neurons find them."""
    agenda, x, work = net.agenda, net.values, net.work
    bucket = bucket_of(agenda, kind, now)
    place = agenda.buckets[bucket]
    chunk, left = place.first, place.count
    while left > 0:
        for message in agenda.mail[chunk * CHUNK : chunk * CHUNK + min(left, CHUNK)]:
            if message.node < 0:
                continue
            if kind == COSTATE:
                x.r[message.address] = message.value
                work.notes[message.node].heard = True
                if work.boxes[0]:
                    _arrive(work, work.costate_arrived, message.address, now)
            elif work.boxes[0]:
                work.inbox[message.address] = message.value
                work.waiting[0] += work.state_arrived[message.address] < 0
                _arrive(work, work.state_arrived, message.address, now)
            else:
                # At once, since its neuron has integrated to the tick before.
                x.s[message.address] = message.value
        left -= CHUNK
        chunk = agenda.after[chunk]
    empty(agenda, bucket)


@tight
def _arrive(work: Any, arrived: Any, address: int, now: int) -> None:
    """Note that something waits since now; what waited in its place is heard by nobody."""
    if arrived[address] >= 0:
        work.lost[0] += 1
        work.lost[1] += arrived[address] < now
    arrived[address] = now


@inner
def _settle(kit: Any, net: Any, terms: Any, kind: int, now: int) -> None:
    """Take in the messages without delay that were just sent; whom they make due advances first."""
    if net.agenda.buckets[bucket_of(net.agenda, kind, now)].count == 0:
        return
    first = net.work.tally[0]
    if net.fates.may[0]:
        _overtake(net, kind, now)
    _mark_reached(net, kind, now)
    if net.work.tally[0] > first:
        _advance(kit, net, terms, now, first)
    _deliver(net, kind, now)


# ---- phases 3 and 4: drives; loss


@inner
def _drives(kit: Any, net: Any, terms: Any, now: int, level: int) -> None:
    """Evaluate neurons due, instant ones of a rank or all OTHERS."""
    work = net.work
    for k in range(work.tally[0]):
        i = work.due[k]
        trait = net.traits[i]
        if not trait.is_input and (trait.rank if trait.instant else OTHERS) == level:
            if work.boxes[0]:
                synapses.take_in(net.edges, net.values, work, i)
            if trait.reads:
                synapses.read(net.edges, net.values, work.history, i, now)
            _evaluate(kit, net, terms, i)


@inner
def _evaluate(kit: Any, net: Any, terms: Any, i: int) -> None:
    x, trait = net.values, net.traits[i]
    sigma: Any = formulas.Sigma(kit.sigmas, trait.sigma)
    a = net.stimulus[i] + synapses.drive(net.edges, x, i)
    if kit.rule.nudges:
        x.pull[i] = -terms.nudge * x.dl[i]
        if not trait.reads_out:
            a += x.pull[i]
    x.a[i] = a
    if trait.instant:
        x.h[i] = rest(kit.models, trait.model, net.parameters, i, a, sigma)
        if kit.rule.sends_costates:
            x.df_da[i] = sigma.slope(a, x.h[i])
        return
    if trait.relaxes:
        net.work.notes[i].rest = rest(kit.models, trait.model, net.parameters, i, a, sigma)
    if trait.clock:
        x.f[i] = velocity(kit.models, trait.model, net.parameters, i, x.h[i], a, sigma)
    if kit.rule.sends_costates:
        x.df_dh[i], x.df_da[i] = partials(kit.models, trait.model, net.parameters, i, x.h[i], a, sigma)


@inner
def _loss(kit: Any, net: Any, terms: Any, now: int) -> None:
    """Set dL/dh of the outputs due."""
    if terms.couples:
        first = net.work.tally[0]
        _couple(net.traits, net.work, now)
        if net.work.tally[0] > first:
            _advance(kit, net, terms, now, first)
    _gradient(net, terms, 0, False)


@inner
def _gradient(net: Any, terms: Any, first: int, moving: bool) -> None:
    """Set dL/dh of the outputs due, from ``first`` on; ``moving``: of those with an Euler step alone."""
    x, work, replicas = net.values, net.work, len(net.work.outputs)
    before = -1
    for k in range(first, work.tally[0]):
        i = work.due[k]
        trait = net.traits[i]
        if not trait.is_output or (moving and not (trait.clock and trait.stateful)):
            continue
        if terms.loss == SILENT:
            x.dl[i] = 0
        elif terms.loss == CROSS_ENTROPY:
            replica = i // (len(net.traits) // replicas)
            if replica != before:
                largest, size, mass = _softmax(x.h, work.target, work.outputs[replica])
                before = replica
            x.dl[i] = ops.exp(x.h[i] - largest) / size * mass - work.target[i]
        else:
            x.dl[i] = x.h[i] - work.target[i]


@inner
def _softmax(h: Any, target: Any, outputs: Any) -> Any:
    """Return the largest real part, the sum of exponentials relative to it, and the sum of the targets."""
    largest, size, mass = ops.real(h[outputs[0]]), h[outputs[0]] * 0, target[outputs[0]] * 0
    for i in outputs:
        largest = max(largest, ops.real(h[i]))
    for i in outputs:
        size += ops.exp(h[i] - largest)
        mass += target[i]
    return largest, size, mass


# ---- phase 5: costates


@inner
def _costates(kit: Any, net: Any, terms: Any, now: int) -> None:
    x, work = net.values, net.work
    for k in range(work.tally[0]):
        i = work.due[k]
        if net.traits[i].stateful:
            x.q[i] = x.z[i] * x.df_da[i]
            send_costate(net, i, now)
    _settle(kit, net, terms, COSTATE, now)
    for level in range(terms.back_levels):
        for k in range(work.tally[0]):
            i = work.due[k]
            if net.traits[i].instant and net.traits[i].back_rank == level:
                _gather(net, terms, i, now)
                x.z[i] = x.g[i]
                x.q[i] = x.z[i] * x.df_da[i]
                send_costate(net, i, now)
        _settle(kit, net, terms, COSTATE, now)
    for k in range(work.tally[0]):
        i = work.due[k]
        if net.traits[i].stateful:
            _gather(net, terms, i, now)


@inner
def _gather(net: Any, terms: Any, i: int, now: int) -> None:
    """Take in the costates heard; their sum is what it was where none came."""
    x, work = net.values, net.work
    if work.notes[i].heard or net.traits[i].hears:
        work.notes[i].heard = False
        first, last = net.edges.start[i].hear, net.edges.start[i + 1].hear
        heard = type(x.z[i])(0)
        for k in range(first, last):
            heard += x.r[k]
            if work.boxes[0]:
                work.costate_arrived[k] = -1
        if net.traits[i].hears:
            row = now % len(work.coming)
            heard += work.coming[row, i]
            work.coming[row, i] = 0
        x.heard[i] = heard
    x.g[i] = terms.phi * x.dl[i] + x.heard[i]


# ---- the end of a tick, and the loop over ticks


@inner
def _close_tick(kit: Any, net: Any, terms: Any, now: int) -> bool:
    """Run the phases from taking in on; return whether all numbers are finite."""
    work, agenda = net.work, net.agenda
    for kind in (STATE, COSTATE):
        _deliver(net, kind, now)
    send_states(net, now, OTHERS)
    _settle(kit, net, terms, STATE, now)
    for level in range(terms.levels):
        _drives(kit, net, terms, now, level)
        send_states(net, now, level)
        _settle(kit, net, terms, STATE, now)
    _drives(kit, net, terms, now, OTHERS)
    _loss(kit, net, terms, now)
    if kit.rule.sends_costates:
        _costates(kit, net, terms, now)
        if kit.rule.sequential and terms.learning:
            _learn_instant(kit, net, terms, now)
    if not _count(net, terms):
        return False
    for k in range(work.tally[0]):
        i = work.due[k]
        if not net.traits[i].clock:
            at = wake_at(kit, net, terms, i, now)
            plan(agenda.heap, agenda.place, agenda.tick, agenda.tally, i, at)
    return True


@inner
def _learn_instant(kit: Any, net: Any, terms: Any, now: int) -> None:
    """Sequential order: instant neurons move their synapses by one period."""
    for k in range(net.work.tally[0]):
        i = net.work.due[k]
        trait = net.traits[i]
        if trait.instant and (now == 0 or (now >= trait.phase and (now - trait.phase) % trait.period == 0)):
            duration = terms.dt * type(terms.dt)(trait.period)
            synapses.euler(kit.rule, terms, net.edges, net.values, i, duration)
            net.values.moved[i] = True


@inner
def _count(net: Any, terms: Any) -> bool:
    """Count the updates; return whether those due are finite. The others are as they were."""
    x, work, finite = net.values, net.work, True
    for k in range(work.tally[0]):
        i = work.due[k]
        work.updates[i] += 1
        x.took_note[i] = terms.learning
        finite = finite and cmath.isfinite(x.h[i]) and cmath.isfinite(x.z[i]) and cmath.isfinite(x.a[i])
    return finite


@inner
def _has_room(agenda: Any, reserve: int, far: int) -> bool:
    return agenda.tally[1] >= reserve and len(agenda.far) - agenda.tally[3] >= far


@entry
def run(net: Any, opened: int, until: int, budget: int, reserve: int, far: int, asked: int) -> Any:
    """Run the rest of a tick that is ``opened`` (-1: none), then busy ticks before ``until``.

    Stops when the updates of neurons exceed the budget, when fewer chunks are free, or there is less room for
    ``far`` messages, than a tick may need, and at the end of a tick at which the network is quiet, if
    ``asked`` >= 0, the tick at which controls were asked for last.
    Returns the last tick run (-1: none), whether all was finite, whether the network is quiet, and the first
    busy tick to come.
    """
    now, finite, silent = opened, True, False
    kit, terms, agenda = net.kit, net.terms[0], net.agenda
    if opened >= 0:
        finite = _close_tick(kit, net, terms, now)
        budget -= net.work.tally[0]
        silent = finite and asked >= 0 and quiet(net, terms, asked, now)
    following = coming(agenda)
    while finite and not silent and following < until and budget > 0 and _has_room(agenda, reserve, far):
        now = following
        open_tick(net, now, net.work.due[:0])
        finite = _close_tick(kit, net, terms, now)
        budget -= 1 + net.work.tally[0]
        silent = finite and asked >= 0 and quiet(net, terms, asked, now)
        following = coming(agenda)
    return now, finite, silent, following
