"""Sweeps over blocks of synapses, compiled: what was sent back, what they learn, what they drive, in one go.

Sending back and learning are put off until the drive of the same or the next tick, as nobody looks at a
synapse in between: a tick then goes over the synapses once. ``settle`` does at once what was put off.
"""

from typing import Any

from hlsim.engine import formulas
from hlsim.engine.compiled.layout import ALL_PARTS, DRIVE, FIRST, INSTANT, LATER, NO_PART, PARTS, SETTLE
from hlsim.engine.compiled.synapses import correlate_synapse, euler_synapse, mark_synapse
from hlsim.engine.loops import entry, inner, summing, tight
from hlsim.engine.outside import ask


@tight
def level_of(net: Any, level: int) -> int:
    """Return the place of a level among those that blocks are sorted by."""
    if level == LATER:
        return int(len(net.blocks.levels) - 2)
    return level - FIRST


@inner
def drive(net: Any, now: int, level: int, part: int) -> None:
    """Add sum w s to the drives of targets, and do what was put off; ``part``: of one, ALL_PARTS: all."""
    blocks, place = net.blocks, level_of(net, level)
    for row in blocks.rows[blocks.levels[place] : blocks.levels[place + 1]]:
        if part in (ALL_PARTS, row.part):
            _go_over(net, row, now, DRIVE)


@inner
def first(net: Any, now: int) -> None:
    """Sweep over the blocks of level FIRST: where there are threads, parts side by side.

    Matrices come before all parts in either case: their targets are anybody's.
    """
    if net.terms[0].parts:
        drive(net, now, FIRST, NO_PART)
        ask(net.terms[0].outside, PARTS, now)
    else:
        drive(net, now, FIRST, ALL_PARTS)


@entry
def sweep_part(net: Any, now: int, part: int) -> None:
    """Sweep over one part of the blocks of level FIRST: threads do so side by side."""
    drive(net, now, FIRST, part)


@inner
def keep(blocks: Any, now: int) -> None:
    """Begin what neurons send now with what they sent a tick ago: who does not update sends nothing else."""
    depth = len(blocks.history)
    if depth > 1:
        row, before = blocks.history[now % depth], blocks.history[(now - 1) % depth]
        for i in range(len(row)):
            row[i] = before[i]


@inner
def forget(blocks: Any) -> None:
    """Forget what was sent, and what is to be heard."""
    blocks.history[:, :] = 0
    blocks.coming[:, :] = 0
    blocks.carrying[0] = 0


@inner
def finish(net: Any) -> None:
    """Whatever was put off has been done."""
    then = net.blocks.then[0]
    then.sends, then.learns, then.correlates = False, False, False


@inner
def settle(net: Any, now: int) -> None:
    """Do now what was put off."""
    then = net.blocks.then[0]
    if then.sends or then.learns or then.correlates:
        for row in net.blocks.rows:
            _go_over(net, row, now, SETTLE)
    finish(net)


@inner
def instant(net: Any, now: int) -> None:
    """Sequential order: synapses of instant neurons send back, and learn from what they heard now."""
    for row in net.blocks.rows:
        if row.instant:
            _go_over(net, row, now, INSTANT)


@inner
def _go_over(net: Any, row: Any, now: int, what: int) -> None:
    blocks, then, sequential = net.blocks, net.blocks.then[0], net.kit.narrow.sequential
    # In sequential order instant neurons put nothing off.
    mine = what == INSTANT or not (sequential and row.instant)
    sends = mine and row.back > 0 and then.sends
    learns, correlates = mine and row.plastic and then.learns, mine and row.plastic and then.correlates
    if not (sends or learns or correlates or what == DRIVE):
        return
    at, depth = now if what == INSTANT else now - 1, len(blocks.coming) // _parts(blocks)
    depth_back = len(blocks.history)
    heard = blocks.ones[0] if row.bias else blocks.history[(at - row.delay) % depth_back]
    hears = blocks.ones[0] if row.bias else blocks.history[(now - row.delay) % depth_back]
    coming = blocks.coming[_own_of(row) * depth + (at + max(row.back, 0)) % depth]
    nodes = len(net.sync.reach)
    for first in range(0, len(net.traits), nodes):
        here = slice(first, first + nodes)
        rows = heard[here], hears[here], coming[here]
        does = sends, learns, correlates, what == DRIVE
        if row.width:
            _matrix(net, row, first, does, rows)
        else:
            _single(net, row, first, does, rows)


@tight
def _parts(blocks: Any) -> int:
    return len(blocks.scratch)


@tight
def _own_of(row: Any) -> int:
    """Return the part whose sums a block uses: what is in none comes before them, with those of part 0."""
    return max(row.part, 0)


@tight
def _where(net: Any, row: Any, first: int) -> slice:
    """Return where the synapses of a block stand in w, for the replica whose neurons begin at ``first``."""
    replicas = len(net.traits) // len(net.sync.reach)
    start = (first // len(net.sync.reach)) * (len(net.values.w) // replicas)
    return slice(start + row.first, start + row.last)


@tight
def carriers_of(net: Any, row: Any, first: int) -> slice:
    """Return where the weights stand that carry the costates of a block back: in ``carried``, or in w."""
    if row.carried < 0:
        return _where(net, row, first)
    replicas = len(net.traits) // len(net.sync.reach)
    start = row.carried + (first // len(net.sync.reach)) * (len(net.blocks.carried) // replicas)
    return slice(start, start + row.last - row.first)


@tight
def source_of(blocks: Any, row: Any, e: int) -> int:
    """Return the node at which a synapse of a block begins."""
    return int(blocks.source[row.sources + (e % row.width if row.width else e)])


@tight
def target_of(blocks: Any, row: Any, e: int) -> int:
    """Return the node at which a synapse of a block ends."""
    return int(blocks.target[row.targets + (e // row.width if row.width else e)])


@tight
def _single(net: Any, row: Any, first: int, does: Any, rows: Any) -> None:
    """Go over synapses that have a source and a target each."""
    (sends, learns, correlates, drives), (before, new, coming) = does, rows
    blocks, rule, where = net.blocks, net.kit.narrow, _where(net, row, first)
    then, nodes, count = net.blocks.then[0], len(net.sync.reach), row.last - row.first
    w, fields = net.values.w[where], formulas.part(net.values.fields, where)
    source = blocks.source[row.sources : row.sources + count]
    target = blocks.target[row.targets : row.targets + count]
    a, sent = net.values.a[first : first + nodes], blocks.sent[first : first + nodes]
    learned, rate = blocks.learned[first : first + nodes], blocks.rate[row.rate :]
    if not (sends or learns or correlates):
        _drive(w, source, target, new, a)
    elif sends and learns and drives and not correlates and row.carried < 0 and not row.own:
        _all_at_once(
            rule,
            w,
            fields,
            source,
            target,
            sent,
            coming,
            learned,
            before,
            rate[0],
            then.decay,
            net.terms[0].dt,
            new,
            a,
        )
    elif sends and drives and not learns and not correlates and row.carried < 0:
        _both_ways(w, source, target, sent, coming, new, a)
    else:
        if sends:
            carriers = (blocks.carried if row.carried >= 0 else net.values.w)[carriers_of(net, row, first)]
            _send(carriers, source, target, sent, coming)
        if correlates:
            own = blocks.own[first : first + nodes]
            _correlate(rule, w, fields, source, target, own, before, rate, row.own, then.nudge)
        if learns:
            _learn(
                rule, w, fields, source, target, learned, before, rate, row.own, then.decay, net.terms[0].dt
            )
        if drives:
            _drive(w, source, target, new, a)


@tight
def _all_at_once(
    rule: Any,
    w: Any,
    fields: Any,
    source: Any,
    target: Any,
    sent: Any,
    coming: Any,
    learned: Any,
    before: Any,
    rate: Any,
    decay: Any,
    dt: Any,
    new: Any,
    a: Any,
) -> None:
    """Send back, learn and drive in one pass: what most synapses do in most ticks."""
    for e in range(len(w)):
        i, j, x = target[e], source[e], w[e]
        coming[j] += x * sent[i]
        gradient = learned[i] * before[j] + decay * x
        x, moved = euler_synapse(rule, x, formulas.at(rule, fields, e), gradient, rate, dt)
        formulas.put(fields, e, moved, True)
        w[e] = x
        a[i] += x * new[j]


@tight
def _both_ways(w: Any, source: Any, target: Any, sent: Any, coming: Any, new: Any, a: Any) -> None:
    """Send back and drive in one pass: what synapses do that do not learn."""
    for e in range(len(w)):
        i, j, x = target[e], source[e], w[e]
        coming[j] += x * sent[i]
        a[i] += x * new[j]


@tight
def _send(w: Any, source: Any, target: Any, sent: Any, coming: Any) -> None:
    for e in range(len(w)):
        coming[source[e]] += w[e] * sent[target[e]]


@tight
def _drive(w: Any, source: Any, target: Any, new: Any, a: Any) -> None:
    for e in range(len(w)):
        a[target[e]] += w[e] * new[source[e]]


@tight
def _learn(
    rule: Any,
    w: Any,
    fields: Any,
    source: Any,
    target: Any,
    learned: Any,
    before: Any,
    rate: Any,
    own: int,
    decay: Any,
    dt: Any,
) -> None:
    for e in range(len(w)):
        gradient = learned[target[e]] * before[source[e]] + decay * w[e]
        w[e], moved = euler_synapse(rule, w[e], formulas.at(rule, fields, e), gradient, rate[e * own], dt)
        formulas.put(fields, e, moved, True)


@tight
def _correlate(
    rule: Any,
    w: Any,
    fields: Any,
    source: Any,
    target: Any,
    own: Any,
    before: Any,
    rate: Any,
    each: int,
    nudge: Any,
) -> None:
    for e in range(len(w)):
        product = own[target[e]] * before[source[e]]
        w[e], moved = correlate_synapse(
            rule, w[e], formulas.at(rule, fields, e), product, rate[e * each], nudge
        )
        formulas.put(fields, e, moved, True)


@tight
def _matrix(net: Any, row: Any, first: int, does: Any, rows: Any) -> None:
    """Go over a matrix, target by target: what a loop over sources needs then lies side by side."""
    (sends, learns, correlates, drives), (before, new, coming) = does, rows
    blocks, rule, where = net.blocks, net.kit.narrow, _where(net, row, first)
    dt, then, width = net.terms[0].dt, net.blocks.then[0], row.width
    source = blocks.source[row.sources : row.sources + width]
    scratch = blocks.scratch[_own_of(row)]
    carriers = (blocks.carried if row.carried >= 0 else net.values.w)[carriers_of(net, row, first)]
    heard, hears, back = scratch[:width], scratch[width : 2 * width], scratch[2 * width : 3 * width]
    for k in range(len(source)):
        heard[k], hears[k], back[k] = before[source[k]], new[source[k]], 0
    for t in range((row.last - row.first) // width):
        i = first + blocks.target[row.targets + t]
        line = slice(where.start + t * width, where.start + (t + 1) * width)
        w, fields = net.values.w[line], formulas.part(net.values.fields, line)
        rate = blocks.rate[row.rate + t * width * row.own :]
        if sends:
            _send_line(carriers[t * width : (t + 1) * width], blocks.sent[i], back)
        if correlates:
            correlate_line(rule, w, fields, blocks.own[i], heard, rate, row.own, then.nudge)
        if learns:
            _learn_line(rule, w, fields, blocks.learned[i], heard, rate, row.own, then.decay, dt)
        if drives:
            net.values.a[i] += _product(w, hears)
    if sends:
        for k in range(len(source)):
            coming[source[k]] += back[k]


@tight
def _send_line(w: Any, q: Any, back: Any) -> None:
    for k in range(len(w)):
        back[k] += w[k] * q


@summing
def _product(w: Any, s: Any) -> Any:
    total = type(s[0])(0)
    for k in range(len(w)):
        total += w[k] * s[k]
    return total


@tight
def _learn_line(
    rule: Any, w: Any, fields: Any, q: Any, s: Any, rate: Any, own: int, decay: Any, dt: Any
) -> None:
    if own:
        for k in range(len(w)):
            gradient = q * s[k] + decay * w[k]
            w[k], moved = euler_synapse(rule, w[k], formulas.at(rule, fields, k), gradient, rate[k], dt)
            formulas.put(fields, k, moved, True)
        return
    beta = rate[0]
    for k in range(len(w)):
        gradient = q * s[k] + decay * w[k]
        w[k], moved = euler_synapse(rule, w[k], formulas.at(rule, fields, k), gradient, beta, dt)
        formulas.put(fields, k, moved, True)


@tight
def correlate_line(rule: Any, w: Any, fields: Any, q: Any, s: Any, rate: Any, own: int, nudge: Any) -> None:
    """Move synapses of one neuron by the product of what it sent, and of what they heard."""
    for k in range(len(w)):
        w[k], moved = correlate_synapse(
            rule, w[k], formulas.at(rule, fields, k), q * s[k], rate[k * own], nudge
        )
        formulas.put(fields, k, moved, True)


# ---- at once


@inner
def send_back(net: Any, now: int, level: int) -> None:
    """Send q of the targets back where it is heard at this tick, of those whose q is final at a level."""
    blocks, place = net.blocks, level - FIRST
    rows = blocks.at_once[blocks.at_once_levels[place] : blocks.at_once_levels[place + 1]]
    nodes, depth = len(net.sync.reach), len(blocks.coming) // _parts(blocks)
    for k in range(len(rows)):
        row = blocks.rows[rows[k]]
        for first in range(0, len(net.traits), nodes):
            coming = blocks.coming[_own_of(row) * depth + now % depth, first : first + nodes]
            _send_block(net, row, first, net.values.q[first : first + nodes], coming)


@tight
def _send_block(net: Any, row: Any, first: int, q: Any, coming: Any) -> None:
    """Add r = w q to what the sources of a block hear."""
    blocks, width = net.blocks, row.width
    carriers = (blocks.carried if row.carried >= 0 else net.values.w)[carriers_of(net, row, first)]
    if not width:
        source = blocks.source[row.sources : row.sources + len(carriers)]
        _send(carriers, source, blocks.target[row.targets : row.targets + len(carriers)], q, coming)
        return
    source = blocks.source[row.sources : row.sources + width]
    back = blocks.scratch[_own_of(row)][:width]
    back[:] = 0
    for t in range(len(carriers) // width):
        i = blocks.target[row.targets + t]
        _send_line(carriers[t * width : (t + 1) * width], q[i], back)
    for k in range(len(source)):
        coming[source[k]] += back[k]


@tight
def heard(net: Any, now: int, i: int) -> Any:
    """Return what a neuron hears at a tick, of all parts."""
    depth = len(net.blocks.coming) // _parts(net.blocks)
    total = net.blocks.coming[now % depth, i]
    for part in range(1, _parts(net.blocks)):
        total += net.blocks.coming[part * depth + now % depth, i]
    return total


@inner
def forget_heard(net: Any, now: int) -> None:
    """What was to be heard at a tick has been."""
    depth = len(net.blocks.coming) // _parts(net.blocks)
    for part in range(_parts(net.blocks)):
        net.blocks.coming[part * depth + now % depth, :] = 0


@inner
def mark(net: Any, now: int, phase: Any) -> None:
    """Let synapses take the end of a phase into account, by what their neurons sent and they heard last."""
    blocks, nodes = net.blocks, len(net.sync.reach)
    for row in blocks.rows:
        if not row.plastic:
            continue
        heard = blocks.ones[0] if row.bias else blocks.history[(now - 1 - row.delay) % len(blocks.history)]
        for first in range(0, len(net.traits), nodes):
            here = slice(first, first + nodes)
            _mark_block(net, row, first, blocks.own[here], heard[here], phase)


@tight
def _mark_block(net: Any, row: Any, first: int, own: Any, heard: Any, phase: Any) -> None:
    blocks, rule, where, width = net.blocks, net.kit.narrow, _where(net, row, first), row.width
    w, fields, each = net.values.w[where], formulas.part(net.values.fields, where), row.own
    rate, size = blocks.rate[row.rate :], row.last - row.first
    if not width:
        source, target = blocks.source[row.sources :], blocks.target[row.targets :]
        for e in range(size):
            product = own[target[e]] * heard[source[e]]
            w[e], moved = mark_synapse(
                rule, w[e], formulas.at(rule, fields, e), product, rate[e * each], phase
            )
            formulas.put(fields, e, moved, True)
        return
    source, s = blocks.source[row.sources :], blocks.scratch[_own_of(row)][:width]
    for k in range(width):
        s[k] = heard[source[k]]
    for t in range(size // width):
        mine = own[blocks.target[row.targets + t]]
        for k in range(width):
            e = t * width + k
            w[e], moved = mark_synapse(
                rule, w[e], formulas.at(rule, fields, e), mine * s[k], rate[e * each], phase
            )
            formulas.put(fields, e, moved, True)
