"""The phases of a tick, compiled, and the loop over ticks around them.

What a phase does is said in ``hlsim.engine.general.engine``. A tick touches the neurons that are due, their
in-synapses and the messages sent; nothing else, and no tick exists in which nothing is due.
"""

import cmath
from typing import Any

from hlsim.engine import formulas
from hlsim.engine.compiled import states, sweep, synapses, synchronous
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
from hlsim.engine.compiled.layout import ALL, ALL_PARTS, CHUNK, COSTATE, FIRST, LATER, OTHERS, STATE, STATEFUL
from hlsim.engine.compiled.losses import gradient
from hlsim.engine.compiled.sending import send_costate, send_states, tell_costates, tell_states
from hlsim.engine.compiled.synchronous import rest
from hlsim.engine.compiled.wakeups import hold_constant, hold_costate, own, quiet, wake_at
from hlsim.engine.loops import entry, inner, tight

__all__ = ["begin", "clear_messages", "mark_all", "open_tick", "reset", "run"]  # what the engine calls


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
    if net.work.log_edge.shape[1]:
        net.sync.sends[:, :] = False
    sweep.keep(net.blocks, now)
    _wake(net, now)
    for kind in (STATE, COSTATE):
        if net.fates.may[0]:
            _overtake(net, kind, now)
        _mark_reached(net, kind, now)
    for i in others:
        _mark(net.work, now, i)
    if terms.couples:
        _couple(net.traits, net.sync, net.work, now)
    if now > 0:
        _advance(kit, net, terms, now, FIRST)


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
                if kind == STATE and len(net.edges.impulse) and net.edges.impulse[message.address]:
                    # Every impulse counts, whatever came before.
                    continue
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
def _couple(traits: Any, sync: Any, work: Any, now: int) -> None:
    """One output that is due makes all of its replica due that update on arrival."""
    replicas, count = len(work.outputs), work.tally[0]
    # Synchronous ones are, in every replica.
    for replica in range(replicas if len(sync.outputs) else 0):
        for j in work.outputs[replica]:
            if not traits[j].clock:
                _mark(work, now, j)
    for k in range(count):
        i = work.due[k]
        replica = i // (len(traits) // replicas)
        if traits[i].is_output and work.coupled[replica] != now:
            work.coupled[replica] = now
            for j in work.outputs[replica]:
                if not traits[j].clock:
                    _mark(work, now, j)


@inner
def _advance(kit: Any, net: Any, terms: Any, now: int, begin: int) -> None:
    """Integrate those due from ``begin`` on to now; FIRST: all of them, and synchronous neurons."""
    x, work = net.values, net.work
    everybody, first = begin == FIRST, max(begin, 0)
    if everybody:
        synchronous.note(net, terms)
        synchronous.step_states(net, terms)
    for k in range(first, work.tally[0]):
        i = work.due[k]
        trait = net.traits[i]
        duration = terms.dt * type(terms.dt)(now - x.updated[i])
        x.updated[i] = now
        if kit.rule.correlates and terms.learning and terms.nudge != 0:
            synapses.correlate(kit.rule, net.edges, x, i, own(x, trait, i), terms.nudge)
        if trait.is_input or duration == 0:
            continue
        if not trait.clock:
            _hold(kit, net, terms, i, duration)
        elif not kit.rule.sequential:
            _explicit(kit, net, terms, i, duration)
        elif trait.stateful:
            states.euler(kit, net, i, duration)
            work.notes[i].duration = duration
    if kit.rule.sequential:
        gradient(net, terms, now, work.due[first : work.tally[0]], STATEFUL)
        gradient(net, terms, now, net.sync.outputs[: len(net.sync.outputs) * everybody], STATEFUL)
        _sequential(kit, net, terms, first)
    if everybody and kit.rule.sends_costates:
        synchronous.step_costates(net, terms)


@inner
def _hold(kit: Any, net: Any, terms: Any, i: int, duration: Any) -> None:
    """Integrate exactly: the drive, the states heard and g stood still."""
    x, trait, rule = net.values, net.traits[i], kit.rule
    i1 = i2 = x.q[i]
    if trait.instant:
        i1, i2 = hold_constant(rule, x.q[i], duration)
    else:
        states.hold(kit, net, i, duration)
        x.z[i], i1, i2 = hold_costate(rule, x.z[i], x.g[i], trait.rate, duration)
        i1, i2 = x.df_da[i] * i1, x.df_da[i] * i2
    if terms.learning and rule.sends_costates:
        synapses.hold(rule, net.edges, x, i, i1, i2, duration)
        x.moved[i] = True


@inner
def _explicit(kit: Any, net: Any, terms: Any, i: int, duration: Any) -> None:
    """One Euler step with all derivatives as they were."""
    x, trait, rule = net.values, net.traits[i], kit.rule
    if rule.takes_steps and x.took_note[i]:
        synapses.euler(rule, terms, net.edges, x, i, duration)
        x.moved[i] = True
    if trait.stateful:
        states.euler_costates(rule, x, trait, i, duration)
        states.euler(kit, net, i, duration)


@inner
def _sequential(kit: Any, net: Any, terms: Any, first: int) -> None:
    """Step z with the loss at the new h, then the synapses with the new z."""
    x, work = net.values, net.work
    for k in range(first, work.tally[0]):
        i = work.due[k]
        trait = net.traits[i]
        if not (trait.clock and trait.stateful):
            continue
        duration = work.notes[i].duration
        x.g[i] = terms.phi * x.dl[i] + x.heard[i]
        states.euler_costates(kit.rule, x, trait, i, duration)
        x.q[i] = states.gradient(x, trait, i)
        if kit.rule.sends_costates and x.took_note[i]:
            synapses.euler(kit.rule, terms, net.edges, x, i, duration)
            x.moved[i] = True


# ---- phase 1: controls


@entry
def mark_all(net: Any, now: int, weight: complex, first: bool, last: bool) -> None:
    """Let every synapse take the end of a phase into account, see ``Phase``."""
    phase = formulas.Mark(weight, first, last)
    for i in range(len(net.traits)):
        if not net.traits[i].is_input:
            synapses.mark(net.kit.rule, net.edges, net.values, i, own(net.values, net.traits[i], i), phase)
    sweep.settle(net, now)
    synchronous.note_own(net)
    sweep.mark(net, now, phase)


@entry
def reset(net: Any, now: int) -> None:
    """Forget what was heard and what waits; synapses take into account what they learn from first."""
    sweep.settle(net, now)
    sweep.forget(net.blocks)
    net.values.r[:] = 0
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
            elif len(net.edges.impulse) and net.edges.impulse[message.address]:
                work.inbox[message.address] += message.value
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
def _drives(kit: Any, net: Any, terms: Any, level: int, now: int) -> None:
    """Evaluate neurons due, instant ones of a rank or all OTHERS."""
    work = net.work
    for k in range(work.tally[0]):
        i = work.due[k]
        trait = net.traits[i]
        if not trait.is_input and (trait.rank if trait.instant else OTHERS) == level:
            if work.boxes[0]:
                synapses.take_in(net.edges, net.values, work, i)
            _evaluate(kit, net, terms, i, now)


@inner
def _evaluate(kit: Any, net: Any, terms: Any, i: int, now: int) -> None:
    x, trait = net.values, net.traits[i]
    heard = states.take_impulses(kit, net, i) if trait.hears_impulses else synapses.drive(net.edges, x, i)
    a = net.stimulus[i] + heard
    if kit.rule.nudges:
        x.pull[i] = -terms.nudge * x.dl[i]
        if not trait.reads_out:
            a += x.pull[i]
    x.a[i] = a
    sigma = formulas.evaluated(kit.sigmas, trait.sigma, a)
    if trait.instant:
        x.h[i] = rest(kit.models, trait.model, net.parameters, i, a, sigma)
        if kit.rule.sends_costates:
            x.df_da[i] = sigma.slope(a, x.h[i])
        return
    if trait.relaxes:
        net.work.notes[i].rest = rest(kit.models, trait.model, net.parameters, i, a, sigma)
    if trait.emits:
        states.emit(kit, net, i, now)
    if trait.clock and not trait.exact:
        x.f[i] = states.velocity(kit.models, trait.model, net.parameters, x, x.more_f, i, a, sigma)
    if kit.rule.sends_costates:
        found = states.partials(kit.models, trait.model, net.parameters, x, x.more_f, i, a, sigma)
        x.df_dh[i], x.df_da[i] = found


@inner
def _loss(kit: Any, net: Any, terms: Any, now: int) -> None:
    """Set dL/dh of the outputs due."""
    if terms.couples:
        first = net.work.tally[0]
        _couple(net.traits, net.sync, net.work, now)
        if net.work.tally[0] > first:
            _advance(kit, net, terms, now, first)
    gradient(net, terms, now, net.work.due[: net.work.tally[0]], ALL)
    gradient(net, terms, now, net.sync.outputs, ALL)


# ---- phase 5: costates


@inner
def _costates(kit: Any, net: Any, terms: Any, now: int) -> None:
    x, work = net.values, net.work
    synchronous.costates(net, terms, now, FIRST)
    for k in range(work.tally[0]):
        i = work.due[k]
        if net.traits[i].stateful:
            x.q[i] = states.gradient(x, net.traits[i], i)
            send_costate(net, i, now)
    _settle(kit, net, terms, COSTATE, now)
    for level in range(terms.back_levels):
        synchronous.costates(net, terms, now, level)
        for k in range(work.tally[0]):
            i = work.due[k]
            if net.traits[i].instant and net.traits[i].back_rank == level:
                _gather(net, terms, i)
                x.z[i] = x.g[i]
                x.q[i] = x.z[i] * x.df_da[i]
                send_costate(net, i, now)
        _settle(kit, net, terms, COSTATE, now)
    synchronous.gather(net, terms, now)
    for k in range(work.tally[0]):
        i = work.due[k]
        if net.traits[i].stateful:
            _gather(net, terms, i)


@inner
def _gather(net: Any, terms: Any, i: int) -> None:
    """Take in the costates heard; their sum is what it was where none came."""
    x, work = net.values, net.work
    if work.notes[i].heard:
        work.notes[i].heard = False
        x.heard[i] = synapses.heard(net.edges, x, work, i)
    x.g[i] = terms.phi * x.dl[i] + x.heard[i]


# ---- the end of a tick, and the loop over ticks


@inner
def _close_tick(kit: Any, net: Any, terms: Any, now: int) -> bool:
    """Run the phases from taking in on; return whether all numbers are finite."""
    work, agenda, listening = net.work, net.agenda, net.work.log_edge.shape[1] > 0
    for kind in (STATE, COSTATE):
        _deliver(net, kind, now)
    synchronous.send_states(net, now, LATER)
    send_states(net, now, OTHERS)
    _settle(kit, net, terms, STATE, now)
    synchronous.begin_drives(net)
    sweep.first(net, now)
    for level in range(terms.levels):
        sweep.drive(net, now, level, ALL_PARTS)
        synchronous.evaluate(net, terms, level)
        synchronous.send_states(net, now, level)
        _drives(kit, net, terms, level, now)
        send_states(net, now, level)
        _settle(kit, net, terms, STATE, now)
    sweep.drive(net, now, LATER, ALL_PARTS)
    sweep.finish(net)
    synchronous.evaluate(net, terms, LATER)
    _drives(kit, net, terms, OTHERS, now)
    _loss(kit, net, terms, now)
    if listening:
        tell_states(net)
    if kit.rule.sends_costates:
        _costates(kit, net, terms, now)
        if listening:
            tell_costates(net)
        synchronous.emit(net, now)
        if kit.rule.sequential:
            synchronous.learn_instant(net, terms, now)
            _learn_instant(kit, net, terms, now)
    if not _count(net, terms):
        return False
    for k in range(work.tally[0]):
        i = work.due[k]
        if not net.traits[i].clock:
            emits = net.traits[i].emits
            at = states.emission_at(kit, net, terms, i, now) if emits else wake_at(kit, net, terms, i, now)
            plan(agenda.heap, agenda.place, agenda.tick, agenda.tally, i, at)
    return True


@inner
def _learn_instant(kit: Any, net: Any, terms: Any, now: int) -> None:
    """Sequential order: instant neurons move their synapses by one period."""
    if not terms.learning:
        return
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
    x, work, finite = net.values, net.work, synchronous.count(net)
    for k in range(work.tally[0]):
        i = work.due[k]
        work.updates[i] += 1
        x.took_note[i] = terms.learning
        finite = finite and cmath.isfinite(x.h[i]) and cmath.isfinite(x.z[i]) and cmath.isfinite(x.a[i])
        for r in range(len(x.more)):
            finite = finite and cmath.isfinite(x.more[r, i])
    return finite


@inner
def _may_go_on(agenda: Any, terms: Any, budget: int, reserve: int, far: int) -> bool:
    room = agenda.tally[1] >= reserve and len(agenda.far) - agenda.tally[3] >= far
    return room and budget > 0 and not terms.failed


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
    # A tick of synchronous neurons costs what so many others cost.
    each = 1 + len(net.sync.sends[0]) // 8 + len(net.values.w) // 64 if len(net.sync.runs) else 1
    if opened >= 0:
        finite = _close_tick(kit, net, terms, now)
        budget -= net.work.tally[0] + each
        silent = finite and asked >= 0 and quiet(net, terms, asked, now)
    following = coming(agenda)
    while finite and not silent and following < until and _may_go_on(agenda, terms, budget, reserve, far):
        now = following
        open_tick(net, now, net.work.due[:0])
        finite = _close_tick(kit, net, terms, now)
        budget -= net.work.tally[0] + each
        silent = finite and asked >= 0 and quiet(net, terms, asked, now)
        following = coming(agenda)
    return now, finite, silent, following
