"""The state of one neuron, compiled: how it flows, what moves it, when it emits an impulse.

Of a model with several fields h is the first; the others stand in ``more`` (field, neuron).
"""

import math
from typing import Any

from hlsim.engine import formulas
from hlsim.engine.compiled import synapses
from hlsim.engine.compiled.layout import NEVER, STATE
from hlsim.engine.compiled.sending import spread_state
from hlsim.engine.compiled.synchronous import euler_costate
from hlsim.engine.compiled.wakeups import FAR, relax
from hlsim.engine.loops import inner, tight


def _kept(fields: int) -> list[str]:
    """Return lines that keep partial derivatives of fields, and what costates say of one another."""
    z = ["x.z[i]", *(f"x.more_z[{r}, i]" for r in range(fields - 1))]
    lines = []
    for at in range(fields):
        others = " + ".join(f"{z[j]} * new[0][{j}][{at}]" for j in range(fields) if j != at)
        lines.append(f"x.pulled[{at}, i] = {others}")
    for r in range(fields - 1):
        lines.append(f"x.more_df_dh[{r}, i] = new[0][{1 + r}][{1 + r}]")
        lines.append(f"x.more_df_da[{r}, i] = new[1][{1 + r}]")
    return [*lines, "return new[0][0][0], new[1][0]"]


velocity = formulas.of_state("velocity", "a, sigma", "a")
partials = formulas.of_state("partials", "a, sigma", "(0.0 * a, 0.0 * a)", _kept)
_held = formulas.of_state("held", "a, duration, sigma", "x.h[i]")
_impulse = formulas.of_state("impulse", "j", "x.h[i] + j")
_fires = formulas.of_state("fires", "", "False", lambda _: ["return new"])
_after = formulas.of_state("after", "", "x.h[i]")
_crossing = formulas.of_state("crossing", "a, sigma", "0.0", lambda _: ["return new"])


@tight
def euler(kit: Any, net: Any, i: int, duration: Any) -> None:
    """Move the state one step on: of Euler, or exactly where its model flows so."""
    x, trait = net.values, net.traits[i]
    if trait.exact:
        _flow(kit, net, i, duration)
        return
    x.h[i] += duration * x.f[i]
    if trait.rich:
        for r in range(len(x.more)):
            x.more[r, i] += duration * x.more_f[r, i]


@tight
def hold(kit: Any, net: Any, i: int, duration: Any) -> None:
    """Let the state flow exactly, as the drive stood still."""
    x, trait = net.values, net.traits[i]
    if trait.exact:
        _flow(kit, net, i, duration)
    else:
        x.h[i] = relax(x.h[i], net.work.notes[i].rest, trait.rate, duration)


@inner
def _flow(kit: Any, net: Any, i: int, duration: Any) -> None:
    x, trait = net.values, net.traits[i]
    sigma = formulas.evaluated(kit.sigmas, trait.sigma, x.a[i])
    x.h[i] = _held(kit.models, trait.model, net.parameters, x, x.more, i, x.a[i], duration, sigma)


@tight
def euler_costates(rule: Any, x: Any, trait: Any, i: int, duration: Any) -> None:
    """Move the costates of all fields one step on; what the others say of one pulls at it, too."""
    g = x.g[i]
    if trait.rich and len(x.pulled):
        g += x.pulled[0, i]
        for r in range(len(x.more_z)):
            z, pulled, df_dh = x.more_z[r, i], x.pulled[1 + r, i], x.more_df_dh[r, i]
            x.more_z[r, i] = euler_costate(rule, z, pulled, df_dh, duration)
    x.z[i] = euler_costate(rule, x.z[i], g, x.df_dh[i], duration)


@tight
def gradient(x: Any, trait: Any, i: int) -> Any:
    """Return q = z df/da, summed over the fields."""
    q = x.z[i] * x.df_da[i]
    if trait.rich:
        for r in range(len(x.more_z)):
            q += x.more_z[r, i] * x.more_df_da[r, i]
    return q


@inner
def take_impulses(kit: Any, net: Any, i: int) -> Any:
    """Let impulses move the state; return what states drive."""
    x, trait = net.values, net.traits[i]
    a, j = synapses.impulses(net.edges, x, i)
    if j != 0:
        x.h[i] = _impulse(kit.models, trait.model, net.parameters, x, x.more, i, j)
    return a


@inner
def emit(kit: Any, net: Any, i: int, now: int) -> None:
    """Send an impulse on all edges of a neuron, where its state says so."""
    x, trait = net.values, net.traits[i]
    x.fired[i] = 0
    if not _fires(kit.models, trait.model, net.parameters, x, x.more, i):
        return
    x.fired[i], x.h_sent_at[i] = 1, now
    x.h[i] = _after(kit.models, trait.model, net.parameters, x, x.more, i)
    if trait.sends_state:
        net.work.sends[STATE, i] += 1
        spread_state(net, i, now, x.fired[i])


@inner
def emission_at(kit: Any, net: Any, terms: Any, i: int, now: int) -> int:
    """Return the first tick at which the state has flowed to where an impulse is emitted."""
    x, trait = net.values, net.traits[i]
    sigma = formulas.evaluated(kit.sigmas, trait.sigma, x.a[i])
    time = _crossing(kit.models, trait.model, net.parameters, x, x.more, i, x.a[i], sigma)
    wait = time / terms.dt
    if wait >= FAR:
        return NEVER
    # What is no number is looked at again at the next tick.
    return now + max(1, math.ceil(wait)) if wait > 0 else now + 1
