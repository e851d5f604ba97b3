"""Neurons that update at every tick and send whatever changes, compiled: all of a run side by side.

A phase means what ``hlsim.engine.compiled.tick`` does for other neurons. Nobody has to be asked whether it is
due, and what synapses do is put off to the sweep over them.
"""

from typing import Any

from hlsim.engine import formulas
from hlsim.engine.compiled import sending, sweep, synapses
from hlsim.engine.compiled.layout import ALL, COSTATE, FIRST, LATER, STATE, STATEFUL
from hlsim.engine.compiled.wakeups import own
from hlsim.engine.loops import inner, tight

velocity = formulas.one_of("velocity", "h, a, sigma", "a")
partials = formulas.one_of("partials", "h, a, sigma", "(0.0 * a, 0.0 * a)")
rest = formulas.one_of("rest", "a, sigma", "a")
euler_costate = formulas.optional("costate_euler", "z, g, df_dh, duration", "z")


@tight
def _copy(values: Any, into: Any) -> None:
    for k in range(len(into)):
        into[k] = values[k]


# ---- phase 0: integrate


@inner
def note(net: Any, terms: Any) -> None:
    """Note what synapses learn from: what was last sent, and what they heard then."""
    blocks, x, rule = net.blocks, net.values, net.kit.narrow
    then = blocks.then[0]
    then.decay, then.nudge = terms.phi * rule.weight_decay, terms.nudge
    then.correlates = rule.correlates and terms.learning and terms.nudge != 0
    then.learns = rule.takes_steps and terms.learning
    if then.correlates:
        note_own(net)
        for i in net.sync.mixed_in:
            synapses.correlate(net.kit.rule, net.edges, x, i, own(x, net.traits[i], i), terms.nudge)
    if then.learns and not rule.sequential:
        _copy(x.q, blocks.learned)
        for i in net.sync.mixed_in:
            synapses.euler(net.kit.rule, terms, net.edges, x, i, terms.dt)
        _have_moved(net, ALL)


@inner
def note_own(net: Any) -> None:
    """Note what neurons sent last."""
    for p in range(0, len(net.traits), len(net.sync.reach)):
        for run in net.sync.runs:
            for i in range(p + run.first, p + run.last):
                net.blocks.own[i] = own(net.values, net.traits[i], i)


@inner
def _have_moved(net: Any, whose: int) -> None:
    """The synapses of all have moved, or of those alone that have a state."""
    for p in range(0, len(net.traits), len(net.sync.reach)):
        for run in net.sync.runs:
            if not (whose == STATEFUL and run.instant):
                net.values.moved[p + run.first : p + run.last] = True


@inner
def step_states(net: Any, terms: Any) -> None:
    """One Euler step of the states."""
    dt = terms.dt
    for p in range(0, len(net.traits), len(net.sync.reach)):
        for run in net.sync.runs:
            if run.stateful:
                here = slice(p + run.first, p + run.last)
                h, f = net.values.h[here], net.values.f[here]
                for k in range(len(h)):
                    h[k] += dt * f[k]


@inner
def step_costates(net: Any, terms: Any) -> None:
    """One Euler step of the costates; in sequential order with the loss at the new states."""
    rule, dt, x = net.kit.narrow, terms.dt, net.values
    for p in range(0, len(net.traits), len(net.sync.reach)):
        for run in net.sync.runs:
            if not run.stateful:
                continue
            here = slice(p + run.first, p + run.last)
            z, g, df_dh = x.z[here], x.g[here], x.df_dh[here]
            if rule.sequential:
                _pull_of_loss(terms.phi, x.dl[here], x.heard[here], g)
            for k in range(len(z)):
                z[k] = euler_costate(rule, z[k], g[k], df_dh[k], dt)
            if rule.sequential:
                _products(z, x.df_da[here], x.q[here])
    if rule.sequential and net.blocks.then[0].learns:
        _copy(x.q, net.blocks.learned)
        for i in net.sync.mixed_in:
            if net.traits[i].stateful:
                synapses.euler(net.kit.rule, terms, net.edges, x, i, dt)
        _have_moved(net, STATEFUL)


@tight
def _pull_of_loss(phi: Any, dl: Any, heard: Any, g: Any) -> None:
    for k in range(len(g)):
        g[k] = phi * dl[k] + heard[k]


@tight
def _products(z: Any, df_da: Any, q: Any) -> None:
    for k in range(len(q)):
        q[k] = z[k] * df_da[k]


# ---- phases 2 and 3: send; drives


@inner
def send_states(net: Any, now: int, level: int) -> None:
    """Send what has changed; of a rank of instant neurons, or, LATER, of those with a state."""
    x, sync, news = net.values, net.sync, net.sync.sends[STATE]
    row, carrying = net.blocks.history[now % len(net.blocks.history)], net.blocks.carrying[0]
    for p in range(0, len(net.traits), len(sync.reach)):
        for run in sync.runs:
            if run.level != level:
                continue
            here = slice(p + run.first, p + run.last)
            value = x.pull[here] if run.reads_out else x.h[here]
            to, sent, count, new = row[here], x.h_sent[here], net.work.sends[STATE][here], news[here]
            sends = sync.sends_state[run.first : run.last]
            for k in range(len(value)):
                new[k] = (value[k] != sent[k]) & sends[k]
                count[k] += new[k]
                sent[k] = value[k]
                to[k] = value[k]
            if net.kit.narrow.nudges:
                reach = sync.reach[run.first : run.last]
                for k in range(len(value)):
                    carrying = max(carrying, now + reach[k] if new[k] else 0)
    net.blocks.carrying[0] = carrying
    for i in sync.mixed_out:
        if _level(net, i) == level and news[i]:
            sending.spread_state(net, i, now, x.h_sent[i])


@tight
def _level(net: Any, i: int) -> int:
    return net.traits[i].rank if net.traits[i].instant else LATER


@inner
def begin_drives(net: Any) -> None:
    """Begin the drives with the stimulus."""
    a, stimulus = net.values.a, net.stimulus
    for p in range(0, len(net.traits), len(net.sync.reach)):
        for run in net.sync.runs:
            for i in range(p + run.first, p + run.last):
                a[i] = stimulus[i]


@inner
def evaluate(net: Any, terms: Any, level: int) -> None:
    """Evaluate instant neurons of a rank, or, LATER, those with a state, once their drives are complete."""
    for i in net.sync.mixed_in:
        if _level(net, i) == level:
            if net.work.boxes[0]:
                synapses.take_in(net.edges, net.values, net.work, i)
            net.values.a[i] += synapses.drive(net.edges, net.values, i)
    for p in range(0, len(net.traits), len(net.sync.reach)):
        for run in net.sync.runs:
            if run.level == level:
                if net.kit.narrow.nudges:
                    _pull(net, terms, run, p)
                if run.instant:
                    _settle(net, run, p)
                else:
                    _flow(net, run, p)


@tight
def _pull(net: Any, terms: Any, run: Any, p: int) -> None:
    here, nudge = slice(p + run.first, p + run.last), terms.nudge
    pull, dl, a = net.values.pull[here], net.values.dl[here], net.values.a[here]
    for k in range(len(pull)):
        pull[k] = -nudge * dl[k]
    if not run.reads_out:
        for k in range(len(pull)):
            a[k] += pull[k]


@tight
def _settle(net: Any, run: Any, p: int) -> None:
    here, x, kit = slice(p + run.first, p + run.last), net.values, net.kit
    a, h, df_da = x.a[here], x.h[here], x.df_da[here]
    for k in range(len(a)):
        sigma = formulas.evaluated(kit.sigmas, run.sigma, a[k])
        h[k] = rest(kit.models, run.model, net.parameters, run.first + k, a[k], sigma)
        if kit.narrow.sends_costates:
            df_da[k] = sigma.slope(a[k], h[k])


@tight
def _flow(net: Any, run: Any, p: int) -> None:
    here, x, kit = slice(p + run.first, p + run.last), net.values, net.kit
    a, h, f, df_dh, df_da = x.a[here], x.h[here], x.f[here], x.df_dh[here], x.df_da[here]
    for k in range(len(a)):
        i = run.first + k
        sigma = formulas.evaluated(kit.sigmas, run.sigma, a[k])
        f[k] = velocity(kit.models, run.model, net.parameters, i, h[k], a[k], sigma)
        if kit.narrow.sends_costates:
            df_dh[k], df_da[k] = partials(kit.models, run.model, net.parameters, i, h[k], a[k], sigma)


# ---- phase 5: costates


@inner
def costates(net: Any, terms: Any, now: int, level: int) -> None:
    """Send costates: FIRST, of neurons with a state; then of a rank of instant ones."""
    x = net.values
    for p in range(0, len(net.traits), len(net.sync.reach)):
        for run in net.sync.runs:
            if run.back_level != level:
                continue
            if run.instant:
                _gather(net, terms, now, run, p)
                _copy(x.g[p + run.first : p + run.last], x.z[p + run.first : p + run.last])
            _send_costates(net, run, p)
    for i in net.sync.mixed_back:
        if net.sync.sends[COSTATE, i] and _back_level(net, i) == level:
            sending.spread_costate(net, i, now)
    sweep.send_back(net, now, level)


@tight
def _back_level(net: Any, i: int) -> int:
    return net.traits[i].back_rank if net.traits[i].instant else FIRST


@tight
def _send_costates(net: Any, run: Any, p: int) -> None:
    x, sync, here = net.values, net.sync, slice(p + run.first, p + run.last)
    z, df_da, q, sent, moved = x.z[here], x.df_da[here], x.q[here], x.q_sent[here], x.moved[here]
    new, count = sync.sends[COSTATE][here], net.work.sends[COSTATE][here]
    sends, learns = sync.sends_costate[run.first : run.last], sync.learns[run.first : run.last]
    for k in range(len(z)):
        q[k] = z[k] * df_da[k]
        new[k] = ((q[k] != sent[k]) | (moved[k] & learns[k] & (q[k] != 0))) & sends[k]
        count[k] += new[k]
        sent[k] = q[k] if sends[k] else sent[k]
        moved[k] = moved[k] & (not new[k])


@inner
def gather(net: Any, terms: Any, now: int) -> None:
    """Take in what neurons with a state hear."""
    for p in range(0, len(net.traits), len(net.sync.reach)):
        for run in net.sync.runs:
            if run.stateful:
                _gather(net, terms, now, run, p)


@tight
def _gather(net: Any, terms: Any, now: int, run: Any, p: int) -> None:
    x, here, phi = net.values, slice(p + run.first, p + run.last), terms.phi
    g, dl, heard = x.g[here], x.dl[here], x.heard[here]
    for k in range(len(g)):
        heard[k] = sweep.heard(net, now, p + run.first + k)
    if len(net.sync.mixed_hearing):
        for k in range(len(g)):
            heard[k] += synapses.heard(net.edges, x, net.work, p + run.first + k)
    _pull_of_loss(phi, dl, heard, g)


@inner
def emit(net: Any, now: int) -> None:
    """Put off what is sent back and heard later; what was heard at this tick has been."""
    sweep.forget_heard(net, now)
    net.blocks.then[0].sends = net.kit.narrow.sends_costates
    if net.kit.narrow.sends_costates:
        _copy(net.values.q, net.blocks.sent)


@inner
def learn_instant(net: Any, terms: Any, now: int) -> None:
    """Sequential order: synapses of instant neurons learn at the end of a tick, after they have sent back."""
    then = net.blocks.then[0]
    then.learns, then.decay = terms.learning, terms.phi * net.kit.narrow.weight_decay
    _copy(net.values.q, net.blocks.learned)
    sweep.instant(net, now)
    then.learns = False
    if not terms.learning:
        return
    for i in net.sync.mixed_in:
        if net.traits[i].instant:
            synapses.euler(net.kit.rule, terms, net.edges, net.values, i, terms.dt)
    for p in range(0, len(net.traits), len(net.sync.reach)):
        for run in net.sync.runs:
            if run.instant:
                net.values.moved[p + run.first : p + run.last] = True


# ---- the end of a tick


@inner
def count(net: Any) -> bool:
    """Count the updates; return whether all numbers are finite."""
    x, bad = net.values, False
    for p in range(0, len(net.traits), len(net.sync.reach)):
        for run in net.sync.runs:
            here = slice(p + run.first, p + run.last)
            h, z, a, updates = x.h[here], x.z[here], x.a[here], net.work.updates[here]
            for k in range(len(h)):
                updates[k] += 1
                # Infinity and NaN less themselves are NaN.
                bad |= (h[k] - h[k] != 0) | (z[k] - z[k] != 0) | (a[k] - a[k] != 0)
    return not bad
