"""The in-synapses of one neuron, compiled: what they drive, how the formulas of the rule move them."""

from collections.abc import Callable
from typing import Any

from hlsim.engine import formulas
from hlsim.engine.loops import tight
from hlsim.models.rules.rule import Post, Pre

hold_synapse = formulas.optional("synapse_hold", "w, fields, s1, s2, beta, duration", "w, fields")
euler_synapse = formulas.optional("synapse_euler", "w, fields, qs, beta, duration", "w, fields")
step_synapse = formulas.optional("synapse", "w, fields, pre, post, beta, duration", "w, fields")
mark_synapse = formulas.optional("mark", "w, fields, product, beta, phase", "w, fields")
correlate_synapse = formulas.optional("correlate", "w, fields, product, beta, nudge", "w, fields")
momentum = formulas.optional("momentum", "fields", "0.0")


@tight
def of(edges: Any, i: int) -> tuple[slice, slice, slice]:
    """Return where w of the in-edges of neuron i stand, what they hold, and their rates."""
    count = edges.start[i + 1].held - edges.start[i].held
    into, held, rates = edges.start[i].into, edges.start[i].held, edges.start[i].rates
    return slice(into, into + count), slice(held, held + count), slice(rates, rates + count)


@tight
def hold(rule: Any, edges: Any, x: Any, i: int, i1: Any, i2: Any, duration: Any) -> None:
    """Move them over an exact hold, given the integrals of the q that they met."""
    into, held, rates = of(edges, i)
    w, s, beta, plastic = x.w[into], x.s[held], edges.beta[rates], edges.plastic[rates]
    fields = formulas.part(x.fields, into)
    for k in range(len(w)):
        own = formulas.at(rule, fields, k)
        moved, new = hold_synapse(rule, w[k], own, s[k] * i1, s[k] * i2, beta[k], duration)
        # Of one that is not plastic nothing moves, whatever a rule makes of w.
        w[k] = moved if plastic[k] != 0 else w[k]
        formulas.put(fields, k, new, plastic[k] != 0)


@tight
def euler(rule: Any, terms: Any, edges: Any, x: Any, i: int, duration: Any) -> None:
    """Move them one Euler step on, with the q and s held."""
    if rule.apart:
        _step(rule, edges, x, i, duration)
        return
    into, held, rates = of(edges, i)
    w, s, beta, plastic = x.w[into], x.s[held], edges.beta[rates], edges.plastic[rates]
    fields, decay, q = formulas.part(x.fields, into), terms.phi * rule.weight_decay, x.q[i]
    for k in range(len(w)):
        gradient = q * s[k] + decay * w[k]
        moved, new = euler_synapse(rule, w[k], formulas.at(rule, fields, k), gradient, beta[k], duration)
        w[k] = moved if plastic[k] != 0 else w[k]
        formulas.put(fields, k, new, plastic[k] != 0)


@tight
def _step(rule: Any, edges: Any, x: Any, i: int, duration: Any) -> None:
    into, held, rates = of(edges, i)
    w, s, beta, plastic = x.w[into], x.s[held], edges.beta[rates], edges.plastic[rates]
    fields, post = formulas.part(x.fields, into), Post(x.h[i], x.a[i], x.z[i], x.g[i], x.q[i], x.fired[i])
    for k in range(len(w)):
        own = formulas.at(rule, fields, k)
        moved, new = step_synapse(rule, w[k], own, Pre(s[k]), post, beta[k], duration)
        w[k] = moved if plastic[k] != 0 else w[k]
        formulas.put(fields, k, new, plastic[k] != 0)


def _by_product(step: Callable) -> Any:
    """Return a loop by which they move by what their neuron sent last, times what they hold."""

    @tight
    def loop(rule: Any, edges: Any, x: Any, i: int, own: Any, cause: Any) -> None:
        into, held, rates = of(edges, i)
        w, s, beta, plastic = x.w[into], x.s[held], edges.beta[rates], edges.plastic[rates]
        fields = formulas.part(x.fields, into)
        for k in range(len(w)):
            moved, new = step(rule, w[k], formulas.at(rule, fields, k), own * s[k], beta[k], cause)
            w[k] = moved if plastic[k] != 0 else w[k]
            formulas.put(fields, k, new, plastic[k] != 0)

    return loop


# At the end of a phase, and at an update while the loss pulls with a nudge.
mark, correlate = _by_product(mark_synapse), _by_product(correlate_synapse)


@tight
def take_in(edges: Any, x: Any, work: Any, i: int) -> None:
    """Let them hear what was delivered, where it waited for their neuron's tick."""
    _, held, _ = of(edges, i)
    for e in range(held.start, held.stop):
        x.s[e] = work.inbox[e]
        if len(edges.impulse) and edges.impulse[e]:
            work.inbox[e] = 0
        if work.state_arrived[e] >= 0:
            work.state_arrived[e] = -1
            work.waiting[0] -= 1


@tight
def heard(edges: Any, x: Any, work: Any, i: int) -> Any:
    """Return the sum of the costates heard last, which are taken in by that."""
    total = type(x.z[i])(0)
    for k in range(edges.start[i].hear, edges.start[i + 1].hear):
        total += x.r[k]
        if work.boxes[0]:
            work.costate_arrived[k] = -1
    return total


@tight
def drive(edges: Any, x: Any, i: int) -> Any:
    """Return sum w s."""
    into, held, _ = of(edges, i)
    w, s = x.w[into], x.s[held]
    total = type(x.h[i])(0)
    for k in range(len(w)):
        total += w[k] * s[k]
    return total


@tight
def impulses(edges: Any, x: Any, i: int) -> tuple[Any, Any]:
    """Return sum w s of the states heard, and of the impulses."""
    into, held, _ = of(edges, i)
    w, s, impulse = x.w[into], x.s[held], edges.impulse[held]
    total = moved = type(x.h[i])(0)
    for k in range(len(w)):
        if impulse[k]:
            moved += w[k] * s[k]
        else:
            total += w[k] * s[k]
    return total, moved


@tight
def drift(rule: Any, edges: Any, x: Any, i: int) -> Any:
    """Return on what the drift of the drive depends: A, B and size of ``Push.drift``."""
    into, held, rates = of(edges, i)
    s, beta, fields = x.s[held], edges.beta[rates], formulas.part(x.fields, into)
    a = b = size = type(x.h[i])(0)
    for k in range(len(s)):
        moving = beta[k] * momentum(rule, formulas.at(rule, fields, k))
        a += moving * s[k]
        b += beta[k] * s[k] * s[k]
        size += abs(moving)
    return a, b, size
