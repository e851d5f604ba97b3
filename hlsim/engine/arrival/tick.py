"""The phases of a tick of ``arrivals``, compiled, and the loop over ticks around them.

What a phase does is said in ``engine``. A tick touches the neurons that are due, their in-synapses and the
messages sent; nothing else, and no tick exists in which nothing is due.
"""

import math
from typing import Any

from hlsim.engine.arrival.arrays import CHUNK, CROSS_ENTROPY, INPUT, INSTANT, LEAKY, SILENT
from hlsim.engine.arrival.calendar import (
    bring_near,
    bucket_of,
    clear_messages,
    coming,
    empty,
    plan,
    pop,
    put,
    put_far,
)
from hlsim.engine.arrival.formulas import (
    costate_hold,
    driven,
    driven_and_drift,
    integrals,
    learn,
    rest,
    slope,
)
from hlsim.engine.arrival.wakeups import pending, wake_at, wants_costate
from hlsim.engine.loops import entry, inner

__all__ = ["clear_messages", "open_tick", "run"]  # what the engine calls

STATE, COSTATE = 0, 1
# Every neuron but the instant ones: those that have a state of their own, or are given one.
OTHERS = -1


# ---- phase 0: who is due; integrate


@entry
def open_tick(net: Any, terms: Any, now: int, others: Any) -> None:
    """Find who is due, ``others`` too, and integrate them to now."""
    net.work.tally[:] = 0
    items = len(net.work.due)
    while coming(net.agenda) == now:
        item = pop(net.agenda)
        if item < items:
            _mark(net.work, now, item)
        elif item == len(net.agenda.heap) - 1:
            bring_near(net.agenda, now)
    for kind in (STATE, COSTATE):
        _mark_reached(net.agenda, net.work, kind, now)
    for i in others:
        _mark(net.work, now, i)
    if terms.couples:
        _couple(net.traits, net.work, now)
    if now > 0:
        _advance(net.traits, net.edges, net.values, net.work, terms, now, 0)


@inner
def _mark(work: Any, now: int, i: int) -> None:
    if work.notes[i].due != now:
        work.notes[i].due = now
        work.due[work.tally[0]] = i
        work.tally[0] += 1


@inner
def _mark_reached(agenda: Any, work: Any, kind: int, now: int) -> None:
    place = agenda.buckets[bucket_of(agenda, kind, now)]
    chunk, left = place.first, place.count
    while left > 0:
        for message in agenda.mail[chunk * CHUNK : chunk * CHUNK + min(left, CHUNK)]:
            _mark(work, now, message.node)
        left -= CHUNK
        chunk = agenda.after[chunk]


@inner
def _couple(traits: Any, work: Any, now: int) -> None:
    """One output that is due makes all of its replica due."""
    replicas, count = len(work.outputs), work.tally[0]
    for k in range(count):
        i = work.due[k]
        replica = i // (len(traits) // replicas)
        if traits[i].is_output and work.coupled[replica] != now:
            work.coupled[replica] = now
            for j in work.outputs[replica]:
                _mark(work, now, j)


@inner
def _advance(traits: Any, edges: Any, x: Any, work: Any, terms: Any, now: int, first: int) -> None:
    """Integrate those due from ``first`` on exactly, from their last update to now."""
    for k in range(first, work.tally[0]):
        i = work.due[k]
        trait = traits[i]
        duration = terms.dt * type(terms.dt)(now - x.updated[i])
        x.updated[i] = now
        if trait.model == INPUT:
            continue
        if trait.model == LEAKY:
            goal = work.notes[i].rest
            x.h[i] = goal + (x.h[i] - goal) * math.exp(-duration * trait.rate)
            x.z[i], i1, i2 = costate_hold(x.z[i], x.g[i], trait.rate, terms.eta, duration)
            i1, i2 = x.df_da[i] * i1, x.df_da[i] * i2
        else:
            p1, p2 = integrals(terms.eta, duration)
            i1, i2 = x.q[i] * p1, x.q[i] * p2
        if terms.learning:
            learn(edges, x, i, i1, i2, integrals(terms.eta, duration)[0], math.exp(-terms.eta * duration))
            x.moved[i] = True


# ---- phase 2: send and take in


@inner
def _deliver(agenda: Any, x: Any, notes: Any, kind: int, now: int) -> None:
    """Put the messages of a kind that arrive now where their neurons find them.

    On one edge two never meet: what is sent later on it also arrives later.
    """
    bucket = bucket_of(agenda, kind, now)
    place = agenda.buckets[bucket]
    chunk, left = place.first, place.count
    while left > 0:
        for message in agenda.mail[chunk * CHUNK : chunk * CHUNK + min(left, CHUNK)]:
            if kind == STATE:
                x.s[message.address] = message.value
            else:
                x.r[message.address] = message.value
                notes[message.node].heard = now
        left -= CHUNK
        chunk = agenda.after[chunk]
    empty(agenda, bucket)


@inner
def _deliver_all(net: Any, now: int) -> None:
    for kind in (STATE, COSTATE):
        _deliver(net.agenda, net.values, net.work.notes, kind, now)


@inner
def _settle(net: Any, terms: Any, kind: int, now: int) -> None:
    """Take in the messages without delay that were just sent; whom they make due advances first."""
    if net.agenda.buckets[bucket_of(net.agenda, kind, now)].count == 0:
        return
    first = net.work.tally[0]
    _mark_reached(net.agenda, net.work, kind, now)
    _advance(net.traits, net.edges, net.values, net.work, terms, now, first)
    _deliver(net.agenda, net.values, net.work.notes, kind, now)


@inner
def _send_states(net: Any, now: int, level: int) -> None:
    """Neurons due send their state, instant ones of a rank or all OTHERS."""
    x, work = net.values, net.work
    for k in range(work.tally[0]):
        i = work.due[k]
        trait = net.traits[i]
        if (trait.rank if trait.model == INSTANT else OTHERS) != level:
            continue
        if trait.model == INPUT:
            x.h[i] = x.u[i]
        free = now - x.h_sent_at[i] >= trait.send_interval
        if trait.sends_state and free and pending(x.h[i], x.h_sent[i], trait.send_threshold):
            x.h_sent[i], x.h_sent_at[i] = x.h[i], now
            work.sends[STATE, i] += 1
            fan = net.edges.out[net.edges.start[i].out : net.edges.start[i + 1].out]
            _emit_states(net, fan, x.h[i], now)


@inner
def _emit_states(net: Any, fan: Any, value: Any, now: int) -> None:
    base = now % (len(net.agenda.buckets) // 2)
    for each in fan:
        _send(net, STATE, base, each.delay, now, each.edge, each.node, value)
        if net.work.log_edge.shape[1]:
            _log(net.work, STATE, each.edge, value)


@inner
def _send(net: Any, kind: int, base: int, delay: int, now: int, address: int, node: int, value: Any) -> None:
    """Send one message; ``base`` is the place of now among the ticks that have buckets."""
    if delay < 0:
        put_far(net.agenda, kind, now + net.edges.far[-1 - delay], address, node, value)
        return
    depth = len(net.agenda.buckets) // 2
    slot = base + delay
    slot -= depth if slot >= depth else 0
    put(net.agenda, kind * depth + slot, now + delay, now, address, node, value)


@inner
def _log(work: Any, kind: int, edge: int, value: Any) -> None:
    at = work.tally[1 + kind]
    work.log_edge[kind, at], work.log_value[kind, at] = edge, value
    work.tally[1 + kind] += 1


# ---- phases 3 and 4: drives; loss


@inner
def _drives(net: Any, terms: Any, now: int, level: int) -> None:
    """Evaluate neurons due, instant ones of a rank or all OTHERS."""
    x, edges, work = net.values, net.edges, net.work
    for k in range(work.tally[0]):
        i = work.due[k]
        trait, note = net.traits[i], work.notes[i]
        if trait.model == INPUT or (trait.rank if trait.model == INSTANT else OTHERS) != level:
            continue
        if terms.learning:
            drive, note.a, note.b, note.size = driven_and_drift(edges, x, i)
            note.drive = now
        else:
            drive = driven(edges, x, i)
        a = net.stimulus[i] + drive
        y = rest(trait.activation, a)
        x.a[i], note.rest = a, y
        if trait.model == INSTANT:
            x.h[i] = y
        x.df_da[i] = slope(trait.activation, a, y) / trait.tau


@inner
def _loss(net: Any, terms: Any, now: int) -> None:
    """Set dL/dh of the outputs due."""
    x, work = net.values, net.work
    if terms.couples:
        first = work.tally[0]
        _couple(net.traits, work, now)
        _advance(net.traits, net.edges, x, work, terms, now, first)
    for k in range(work.tally[0]):
        i = work.due[k]
        if net.traits[i].is_output and terms.loss != CROSS_ENTROPY:
            x.dl[i] = type(terms.phi)(0) if terms.loss == SILENT else x.h[i] - work.target[i]
    if terms.loss == CROSS_ENTROPY:
        for replica in range(len(work.outputs)):
            if work.coupled[replica] == now:
                _cross_entropy(x.h, work.target, work.outputs[replica], x.dl)


@inner
def _cross_entropy(h: Any, target: Any, outputs: Any, gradient: Any) -> None:
    largest, size, mass = h[outputs[0]], h[outputs[0]] * 0, h[outputs[0]] * 0
    for i in outputs:
        largest = max(largest, h[i])
    for i in outputs:
        size += math.exp(h[i] - largest)
        mass += target[i]
    for i in outputs:
        gradient[i] = math.exp(h[i] - largest) / size * mass - target[i]


# ---- phase 5: costates


@inner
def _costates(net: Any, terms: Any, now: int) -> None:
    x, work = net.values, net.work
    for k in range(work.tally[0]):
        i = work.due[k]
        if net.traits[i].model == LEAKY:
            x.q[i] = x.z[i] * x.df_da[i]
            _send_costate(net, i, now)
    _settle(net, terms, COSTATE, now)
    for level in range(terms.back_levels):
        for k in range(work.tally[0]):
            i = work.due[k]
            if net.traits[i].model == INSTANT and net.traits[i].back_rank == level:
                _gather(net, terms, i, now)
                x.z[i] = x.g[i]
                x.q[i] = x.z[i] * x.df_da[i]
                _send_costate(net, i, now)
        _settle(net, terms, COSTATE, now)
    for k in range(work.tally[0]):
        i = work.due[k]
        if net.traits[i].model == LEAKY:
            _gather(net, terms, i, now)


@inner
def _gather(net: Any, terms: Any, i: int, now: int) -> None:
    """Take in the costates heard; their sum is what it was where none came."""
    x = net.values
    if net.work.notes[i].heard == now:
        heard, r = type(terms.dt)(0), x.r[net.edges.start[i].hear : net.edges.start[i + 1].hear]
        for k in range(len(r)):
            heard += r[k]
        x.heard[i] = heard
    x.g[i] = terms.phi * x.dl[i] + x.heard[i]


@inner
def _send_costate(net: Any, i: int, now: int) -> None:
    x, trait = net.values, net.traits[i]
    free = now - x.q_sent_at[i] >= trait.send_interval
    if trait.sends_costate and free and wants_costate(x, trait, i, x.q[i]):
        x.q_sent[i], x.q_sent_at[i], x.moved[i] = x.q[i], now, False
        net.work.sends[COSTATE, i] += 1
        fan = net.edges.back[net.edges.start[i].back : net.edges.start[i + 1].back]
        _emit_costates(net, fan, x.q[i], now)


@inner
def _emit_costates(net: Any, fan: Any, q: Any, now: int) -> None:
    base = now % (len(net.agenda.buckets) // 2)
    for each in fan:
        r = (each.weight if each.fixed else net.values.w[each.edge]) * q
        _send(net, COSTATE, base, each.delay, now, each.place, each.node, r)
        if net.work.log_edge.shape[1]:
            _log(net.work, COSTATE, each.edge, r)


# ---- the end of a tick, and the loop over ticks


@inner
def _close_tick(net: Any, terms: Any, now: int) -> bool:
    """Run the phases from taking in on; return whether all numbers are finite."""
    work, agenda = net.work, net.agenda
    _deliver_all(net, now)
    _send_states(net, now, OTHERS)
    _settle(net, terms, STATE, now)
    for level in range(terms.levels):
        _drives(net, terms, now, level)
        _send_states(net, now, level)
        _settle(net, terms, STATE, now)
    _drives(net, terms, now, OTHERS)
    _loss(net, terms, now)
    _costates(net, terms, now)
    if not _count(net.values, work):
        return False
    for k in range(work.tally[0]):
        i = work.due[k]
        at = wake_at(net.traits[i], net.edges, net.values, work.notes[i], terms, i, now)
        plan(agenda.heap, agenda.place, agenda.tick, agenda.tally, i, at)
    return True


@inner
def _count(x: Any, work: Any) -> bool:
    """Count the updates; return whether those due are finite. The others are as they were."""
    finite = True
    for k in range(work.tally[0]):
        i = work.due[k]
        work.updates[i] += 1
        finite = finite and math.isfinite(x.h[i]) and math.isfinite(x.z[i]) and math.isfinite(x.a[i])
    return finite


@inner
def _has_room(agenda: Any, reserve: int, far: int) -> bool:
    return agenda.tally[1] >= reserve and len(agenda.far) - agenda.tally[3] >= far


@entry
def run(net: Any, terms: Any, opened: int, until: int, budget: int, reserve: int, far: int) -> Any:
    """Run the rest of a tick that is ``opened`` (-1: none), then busy ticks before ``until``.

    Stops when the updates of neurons exceed the budget, or when fewer chunks are free, or there is less room
    for ``far`` messages, than a tick may need.
    Returns the last tick run (-1: none), whether all was finite, and the first busy tick to come.
    """
    now, finite = opened, True
    if opened >= 0:
        finite = _close_tick(net, terms, now)
        budget -= net.work.tally[0]
    following = coming(net.agenda)
    agenda = net.agenda
    while finite and following < until and budget > 0 and _has_room(agenda, reserve, far):
        now = following
        open_tick(net, terms, now, net.work.due[:0])
        finite = _close_tick(net, terms, now)
        budget -= 1 + net.work.tally[0]
        following = coming(net.agenda)
    return now, finite, following
