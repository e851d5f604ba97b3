"""When a neuron that updates on arrival must update although nothing reaches it.

A leaky neuron wakes when h or q will have moved by its threshold since last sent, an output when h will have
moved by its threshold since its last update (the loss listens to it), a learning neuron when its own weights
will have moved its drive by its threshold; and whoever was kept from sending by its interval when that ends.
Where the loss nudges, an output wakes when its pull is no longer the one in its drive, by its threshold.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hlsim.engine.circuit.advance import held
from hlsim.engine.circuit.circuit import Block, Circuit
from hlsim.engine.circuit.state import Selection, Some

# No wake-up; later than any tick.
_NEVER = 2**60
# Ticks looked at together before any are passed over, and by how much bounds are wider, for round-off.
_DENSE, _SLACK = 128, {torch.float32: 1e-4, torch.float64: 1e-9}


def pending(value: Tensor, sent: Tensor, threshold: Tensor, moved: Tensor | None = None) -> Tensor:
    """Return whether a value is to be sent, its interval aside.

    ``moved``: the weights that scale what is sent have moved. At threshold 0 that counts as a change, so that
    a network with thresholds 0 hears r = w q with the w and q of every update.
    """
    # Not below, so that what is no number any more, a difference of two infinities say, counts as a change.
    wants = (value != sent) & ~((value - sent).abs() < threshold)
    if moved is not None:
        wants = wants | ((threshold == 0) & moved & (value != 0))
    return wants


def predict(circuit: Circuit, tick: int, chosen: Some) -> Tensor:
    """Return for each neuron the tick to wake at, -1: none."""
    wake = torch.full((len(chosen),), _NEVER, dtype=torch.int64, device=circuit.device)
    for block, mask in circuit.by_block(chosen):
        part = chosen.where(mask)
        if block.model.emits:
            wake[mask] = _emission(circuit, tick, block, part)
            continue
        earliest = _state_sends(circuit, tick, block, part)
        if not block.model.is_input:
            earliest = torch.minimum(earliest, _loss_listens(circuit, tick, block, part))
            if circuit.nudges:
                earliest = torch.minimum(earliest, _pull_changes(circuit, tick, part))
            elif circuit.rule.sends_costates:
                earliest = torch.minimum(earliest, _costate_sends(circuit, tick, block, part))
                earliest = torch.minimum(earliest, _drive_moves(circuit, tick, block, part))
        wake[mask] = earliest
    return torch.where(wake >= _NEVER, torch.full_like(wake, -1), wake)


def _emission(circuit: Circuit, tick: int, block: Block, part: Some) -> Tensor:
    """Return the first tick at which the state has flowed to where an impulse is emitted."""
    x, a, p = circuit.x(block, part), part.take(circuit.state.a), circuit.p(part)
    wait = block.model.crossing(x, a, block.activation, p) / circuit.dt
    # What is no number is looked at again at the next tick.
    ticks = torch.ceil(wait).clamp(min=1, max=float(2**40)).nan_to_num(1.0).to(torch.int64)
    return torch.where(wait >= 2**40, torch.full_like(ticks, _NEVER), tick + ticks)


def _state_sends(circuit: Circuit, tick: int, block: Block, part: Some) -> Tensor:
    state = circuit.state
    h, sent = part.take(state.m), part.take(state.h_sent)
    threshold = part.param(circuit.send_threshold)
    free = part.take(state.h_sent_at) + part.param(circuit.send_interval)
    wants = pending(h, sent, threshold)
    wait = torch.full_like(free, _NEVER)
    if block.model.stateful:
        rest = block.model.rest(part.take(state.a), block.activation)
        rate = block.model.rate(circuit.p(part))
        wait = _crossing(circuit, h, rest, rate, sent, threshold)
    wake = _after(tick, torch.where(wants, torch.ones_like(wait), wait), free)
    return torch.where(part.param(circuit.sends_state), wake, torch.full_like(wake, _NEVER))


def _costate_sends(circuit: Circuit, tick: int, block: Block, part: Some) -> Tensor:
    state = circuit.state
    q, sent = part.take(state.q), part.take(state.q_sent)
    threshold = part.param(circuit.costate_threshold)
    free = part.take(state.q_sent_at) + part.param(circuit.send_interval)
    wait = torch.full_like(free, _NEVER)
    if block.model.stateful:
        lam = block.model.rate(circuit.p(part)) + circuit.rule.eta
        gain = part.take(state.df_da)
        # q now, not as last evaluated: a neuron made due by a costate of this tick did not send.
        q = gain * part.take(state.z)
        wait = _crossing(circuit, q, gain * part.take(state.g) / lam, lam, sent, threshold)
    wants = pending(q, sent, threshold, part.take(state.moved) & part.param(circuit.learns))
    wake = _after(tick, torch.where(wants, torch.ones_like(wait), wait), free)
    return torch.where(part.param(circuit.sends_costate), wake, torch.full_like(wake, _NEVER))


def _loss_listens(circuit: Circuit, tick: int, block: Block, part: Some) -> Tensor:
    never = torch.full((len(part),), _NEVER, dtype=torch.int64, device=circuit.device)
    silent = circuit.loss is None or circuit.target is None
    if not block.model.stateful or (silent and not circuit.nudges):
        return never
    h = part.take(circuit.state.h)
    rest = block.model.rest(part.take(circuit.state.a), block.activation)
    rate = block.model.rate(circuit.p(part))
    wait = _crossing(circuit, h, rest, rate, h, part.param(circuit.send_threshold))
    # A phase waits for those that send nothing to settle too.
    listened = part.param(~circuit.sends_state if silent else circuit.listened)
    return torch.where(listened & (wait < _NEVER), tick + wait, never)


def unheard(circuit: Circuit, chosen: Selection) -> Tensor:
    """Return whether the pull of the loss has moved by a neuron's threshold since the drive took it in."""
    state = circuit.state
    pull = -state.nudge * chosen.take(state.dl)
    return pending(pull, chosen.take(state.pull), chosen.param(circuit.send_threshold))


def _pull_changes(circuit: Circuit, tick: int, part: Some) -> Tensor:
    never = torch.full((len(part),), _NEVER, dtype=torch.int64, device=circuit.device)
    return torch.where(unheard(circuit, part), torch.full_like(never, tick + 1), never)


def _crossing(
    circuit: Circuit, x: Tensor, rest: Tensor, rate: Tensor, origin: Tensor, threshold: Tensor
) -> Tensor:
    """Return in how many ticks (>= 1) |x - origin| first reaches the threshold as x relaxes to ``rest``."""
    ratio = _ratio(x, rest, origin, threshold)
    wait = torch.ceil(torch.log(ratio) / rate / circuit.dt).clamp(min=1, max=float(2**40)).nan_to_num(1.0)
    # What has no answer is looked at again at the next tick: a neuron that nobody can foresee is not at rest.
    reaches = ~((rest - origin).abs() <= threshold)
    # At threshold 0 the last step of a relaxation may be too small for the number format to show.
    still = rest + (x - rest) * torch.exp(-circuit.dt * rate) == x
    reaches &= ~((threshold == 0) & still)
    ticks = torch.where(reaches, wait, torch.ones_like(wait)).to(torch.int64)
    return torch.where(reaches & (ticks < 2**40), ticks, torch.full_like(ticks, _NEVER))


def _ratio(x: Tensor, rest: Tensor, origin: Tensor, threshold: Tensor) -> Tensor:
    """Return by what factor x comes closer to ``rest`` until |x - origin| is the threshold, if it ever is."""
    if not x.is_complex():
        level = origin + torch.copysign(threshold, rest - origin)
        return (rest - x) / (rest - level)
    # The smaller root e of |rest - origin + e (x - rest)|^2 = threshold^2, a parabola that is <= 0 at e = 1.
    # All by the largest of them, whose square may be more than the format holds.
    to, away = rest - origin, x - rest
    scale = torch.maximum(torch.maximum(to.abs(), away.abs()), threshold).clamp(
        min=torch.finfo(threshold.dtype).tiny
    )
    to, away, least = to / scale, away / scale, threshold / scale
    a, b = away.abs() ** 2, (to * away.conj()).real
    c = to.abs() ** 2 - least**2
    return (-b + torch.sqrt((b * b - a * c).clamp(min=0.0))) / c


def _after(tick: int, wait: Tensor, free: Tensor) -> Tensor:
    """Return the tick ``wait`` ticks on, or when the interval ends if that is later."""
    return torch.where(wait < _NEVER, torch.maximum(tick + wait, free), wait)


def _drive_moves(circuit: Circuit, tick: int, block: Block, part: Some) -> Tensor:
    state = circuit.state
    never = torch.full((len(part),), _NEVER, dtype=torch.int64, device=circuit.device)
    if not state.learning:
        return never
    a, b, size = circuit.push.drift(state, part)
    refresh = part.param(circuit.refresh)
    source = (
        part.take(state.q).abs()
        if block.model.instant
        else part.take(state.z).abs() + part.take(state.g).abs()
    )
    moving = (size != 0) | ((b != 0) & (source != 0))
    drift = _Drift(circuit, block, part, a, b)
    first = drift.first(refresh, moving)
    return torch.where(moving, tick + first, never)


@dataclass(frozen=True)
class _Drift:
    """How a neuron's own weights move its drive while nothing reaches it: by ``a`` p1 and ``b`` I2."""

    circuit: Circuit
    block: Block
    part: Some
    a: Tensor
    b: Tensor

    def first(self, refresh: Tensor, moving: Tensor) -> Tensor:
        """Return the first tick (k,) at which a motion other than 0 comes to the threshold, or ``refresh``.

        Two motions differ by no more than their growths do, so that many ticks at once are passed over.
        """
        threshold = self.part.param(self.circuit.send_threshold)
        found, done, at = refresh.clone(), ~moving, torch.zeros_like(refresh)
        while True:
            window = torch.arange(1, min(_DENSE, int(refresh.max())) + 1, device=refresh.device)
            steps = at + window.unsqueeze(1)
            motion = self._motion(steps)
            crossed = (motion != 0) & (motion >= threshold) & (steps < refresh) & ~done
            hit = crossed.any(0)
            found = torch.where(hit, at + window[crossed.to(torch.int8).argmax(0)], found)
            at = at + len(window)
            done = done | hit | (at >= refresh - 1)
            if bool(done.all()):
                return found
            at = self._passed_over(at, threshold - motion[-1], refresh)

    def _passed_over(self, at: Tensor, room: Tensor, refresh: Tensor) -> Tensor:
        """Return the last tick up to which there surely is no crossing, of a few that are tried."""
        jumps = 2 ** torch.arange(int(refresh.max()).bit_length(), device=at.device).unsqueeze(1)
        later = torch.minimum(at + jumps, refresh)
        growth = self._growth(at.unsqueeze(0))
        # Differences of large numbers: what the format rounds off could be motion.
        wide = 1 + _SLACK[growth.dtype]
        safe = (self._growth(later) * wide - growth < room) & (growth * (wide - 1) < room)
        return torch.maximum(at, torch.where(safe.cumprod(0) > 0, later, 0).amax(0))

    def _motion(self, steps: Tensor) -> Tensor:
        duration = self._duration(steps)
        i2 = held(self.circuit, self.block, self.part, duration)[3]
        return (self.a * self.circuit.rule.memory(duration) + self.b * i2).abs()

    def _growth(self, steps: Tensor) -> Tensor:
        """Return how far a drive may have moved at most after so many ticks, if every part went one way."""
        rule, state, part, duration = self.circuit.rule, self.circuit.state, self.part, self._duration(steps)
        moved = self.a.abs() * rule.memory(duration)
        if self.block.model.instant:
            return moved + self.b.abs() * rule.constant_hold(part.take(state.q).abs(), duration)[1]
        rate = self.block.model.rate(self.circuit.p(part))
        lam = rate + rule.eta
        goal = part.take(state.g) / lam
        steady = rule.costate_hold(goal.abs(), lam * goal.abs(), rate, duration)[2]
        fading = rule.costate_hold((part.take(state.z) - goal).abs(), torch.zeros_like(goal), rate, duration)[
            2
        ]
        return moved + (self.b * part.take(state.df_da)).abs() * (steady + fading)

    def _duration(self, steps: Tensor) -> Tensor:
        return self.circuit.dt * steps.to(self.circuit.dtype)


@dataclass(frozen=True)
class Clock:
    """Flat event neurons that share a period and a phase, in ticks."""

    period: int
    phase: int
    neurons: Tensor

    def strikes(self, tick: int) -> bool:
        """Tell whether its neurons are updated at a tick."""
        return tick >= self.phase and (tick - self.phase) % self.period == 0

    def next(self, tick: int) -> int:
        """Return the first tick after this one at which it strikes."""
        if tick < self.phase:
            return self.phase
        return tick + self.period - (tick - self.phase) % self.period


def clocks(circuit: Circuit) -> list[Clock]:
    """Return the clocks of the event neurons of a circuit."""
    nodes = torch.nonzero(circuit.clock & ~circuit.sync).squeeze(1)
    period, phase = circuit.period[nodes], circuit.phase[nodes]
    pairs = torch.unique(torch.stack([period, phase], 1), dim=0).tolist()
    return [Clock(p, f, circuit.tile(nodes[(period == p) & (phase == f)]).flat) for p, f in pairs]
