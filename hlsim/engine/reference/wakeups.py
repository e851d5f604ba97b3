"""When a neuron of the reference engine has something to send, and when it must wake by itself."""

import math
from collections.abc import Callable

from hlsim.engine.reference.record import Record
from hlsim.models.losses import Loss
from hlsim.models.ops import Value, exp
from hlsim.models.rules.rule import AnyRule, Rule
from hlsim.topology.network import NONE, RANDOM

# So many ticks are looked at one by one before any are passed over, and bounds are wider by so much.
DENSE, SLACK = 100, 1e-6
# h, z and the two integrals of q after an exact hold of so much model time.
Held = Callable[[float], tuple[Value, Value, Value, Value]]


class Alarms:
    """Reads one neuron's record; see ``hlsim.engine.general.wakeups`` for the rules in words."""

    def __init__(self, record: Record, rule: Rule, loss: Loss | None, dt: float, held: Held) -> None:
        self._rule: AnyRule = rule
        self._r, self._loss, self._dt, self._held = record, loss, dt, held
        own = [s for s in record.synapses if s.feedback not in (NONE, RANDOM)]
        self._learns = any(s.plastic and s.beta != 0 for s in own)
        self.sends_costate = rule.sends_costates and any(s.feedback for s in record.synapses)

    def wants_state(self) -> bool:
        """Whether h is to be sent, its interval aside."""
        r = self._r
        return _pending(r.m, r.h_sent, r.send_threshold)

    def wants_costate(self, q: Value) -> bool:
        """Whether q is to be sent, its interval aside."""
        r = self._r
        changed = _pending(q, r.q_sent, r.costate_threshold)
        # r = w q has changed where w has, even if q stands still.
        return changed or (r.costate_threshold == 0 and r.moved and self._learns and q != 0)

    def next(self, now: int) -> int | None:
        """Return the tick to wake at, None: only when something comes."""
        r = self._r
        if r.clock:
            return r.phase if now < r.phase else now + r.period - (now - r.phase) % r.period
        if r.model.emits:
            return self._emission(now)
        ticks = [self._state(now)]
        if not r.model.is_input:
            ticks += [self._listening(now)]
            ticks += [self._pull(now)] if self._rule.nudges else []
            ticks += [self._costate(now), self._drive(now)] if self._rule.sends_costates else []
        return min((tick for tick in ticks if tick is not None), default=None)

    def quiet(self, now: int) -> bool:
        """Tell whether the neuron has nothing to send unless something happens to it."""
        r = self._r
        if not r.clock:
            return self.next(now) is None
        if r.model.rich:
            # It may emit, or oscillate, for ever.
            return False
        least = r.send_threshold
        if _pending(r.m, r.own, least) or self._pull(now) is not None:
            return False
        if not r.model.stateful:
            return True
        step = r.h + self._dt * r.period * r.f
        far = r.model.relaxes and least > 0 and not _size(self._rest() - r.own) < _least(least)
        return not far and not _pending(step, r.own, least)

    def _emission(self, now: int) -> int | None:
        """The first tick at which the state has flowed to where an impulse is emitted."""
        r = self._r
        wait = r.model.crossing(r.x, r.a, r.activation, r.p) / self._dt
        # No number at all is looked at again at the next tick.
        return None if wait >= 2**40 else now + max(1, math.ceil(wait)) if wait > 0 else now + 1

    def _pull(self, now: int) -> int | None:
        """The loss no longer pulls as the drive has it."""
        r = self._r
        return now + 1 if _pending(-r.nudge * r.dl, r.pull, r.send_threshold) else None

    def _state(self, now: int) -> int | None:
        r = self._r
        if not r.links:
            return None
        wait = 1 if self.wants_state() else None
        if wait is None and r.model.stateful:
            wait = self._crossing(r.h, self._rest(), r.model.rate(r.p), r.h_sent, r.send_threshold)
        return None if wait is None else max(now + wait, r.h_sent_at + r.send_interval)

    def _costate(self, now: int) -> int | None:
        r = self._r
        if not self.sends_costate:
            return None
        q = r.df_da * r.z if r.model.stateful else r.q
        wait = 1 if self.wants_costate(q) else None
        if wait is None and r.model.stateful:
            lam = r.model.rate(r.p) + self._rule.eta
            wait = self._crossing(q, r.df_da * r.g / lam, lam, r.q_sent, r.costate_threshold)
        return None if wait is None else max(now + wait, r.q_sent_at + r.send_interval)

    def _listening(self, now: int) -> int | None:
        """The loss listens to an output's h; a phase waits for one that goes nowhere to settle."""
        r = self._r
        heard = r.output is not None and self._loss is not None and r.target is not None
        if not r.model.stateful or not (heard or (self._rule.nudges and not r.links)):
            return None
        wait = self._crossing(r.h, self._rest(), r.model.rate(r.p), r.h, r.send_threshold)
        return None if wait is None else now + wait

    def _drive(self, now: int) -> int | None:
        """The first tick at which the neuron's own weights have moved its drive by the threshold."""
        r, rule, dt = self._r, self._rule, self._dt
        own = [s for s in r.synapses if s.plastic]
        a = sum(s.beta * rule.momentum(s.fields) * s.s for s in own)
        b = sum(s.beta * s.s * s.s for s in own)
        source = abs(r.q) if r.model.instant else abs(r.z) + abs(r.g)
        at_rest = all(s.beta * rule.momentum(s.fields) == 0 for s in own) and (b == 0 or source == 0)
        if not r.learning or at_rest:
            return None

        def motion(steps: int) -> float:
            return abs(a * rule.memory(dt * steps) + b * self._held(dt * steps)[3])

        return now + _first(motion, self._growth(abs(a), abs(b)), _least(r.send_threshold), r.refresh)

    def _growth(self, a: float, b: float) -> Callable[[int], float]:
        """Return how far the drive may have moved at most after so many ticks, if every part went one way."""
        r, rule, dt = self._r, self._rule, self._dt
        if r.model.instant:
            return lambda steps: float(
                a * rule.memory(dt * steps) + b * rule.constant_hold(abs(r.q), dt * steps)[1]
            )
        rate = r.model.rate(r.p)
        lam = rate + rule.eta
        goal, away, gain = abs(r.g / lam), abs(r.z - r.g / lam), abs(r.df_da)

        def growth(steps: int) -> float:
            steady = rule.costate_hold(goal, lam * goal, rate, dt * steps)[2]
            fading = rule.costate_hold(away, 0.0, rate, dt * steps)[2]
            return float(a * rule.memory(dt * steps) + b * gain * (steady + fading))

        return growth

    def _rest(self) -> Value:
        return self._r.model.rest(self._r.a, self._r.activation)

    def _crossing(self, x: Value, rest: Value, rate: float, origin: Value, threshold: float) -> int | None:
        """In how many ticks (>= 1) |x - origin| first reaches the threshold as x relaxes to ``rest``."""
        if _size(rest - origin) <= _least(threshold):
            return None
        if threshold == 0 and rest + (x - rest) * exp(-self._dt * rate) == x:
            return None
        # What has no answer is looked at again at the next tick: who cannot be foreseen is not at rest.
        if x == rest or not (ratio := _ratio(x, rest, origin, _least(threshold))) > 1:
            return 1
        wait = math.log(ratio) / rate / self._dt
        return max(1, math.ceil(wait)) if wait < 2**40 else None


def _first(motion: Callable[[int], float], growth: Callable[[int], float], least: float, refresh: int) -> int:
    """Return the first tick >= 1 at which a motion other than 0 has come to ``least``, at most ``refresh``.

    Two motions differ by no more than their growths do, so that many ticks at once are passed over: twice as
    many as long as none of them can be the one.
    """
    at = 0
    while (at := at + 1) < refresh:
        moved = motion(at)
        if moved != 0 and moved >= least:
            return at
        if at < DENSE:
            continue
        room, before, jump = least * (1 - SLACK) - moved, growth(at), 1
        while at + jump < refresh and growth(at + jump) - before < room:
            jump *= 2
        at = refresh if at + jump >= refresh and growth(refresh) - before < room else at + jump // 2
    return refresh


def _pending(value: Value, sent: Value, threshold: float) -> bool:
    return bool(value != sent and not _size(value - sent) < _least(threshold))


def _size(x: Value) -> float:
    """Return |x|, which may be infinite: abs() refuses to say so of complex numbers."""
    return math.hypot(x.real, x.imag)


def _ratio(x: Value, rest: Value, origin: Value, least: float) -> float:
    """By what factor x comes closer to ``rest`` until it is ``least`` away from the origin."""
    if not any(isinstance(value, complex) for value in (x, rest, origin)):
        return float((rest - x) / (rest - origin - math.copysign(least, rest - origin)))
    # |rest - origin + e (x - rest)| = least, the smaller of two roots, in units that keep squares small.
    scale = max(_size(rest - origin), _size(x - rest), least)
    to, away, least = (rest - origin) / scale, (x - rest) / scale, least / scale
    a, b, c = _size(away) ** 2, (to * away.conjugate()).real, _size(to) ** 2 - least**2
    return float((-b + math.sqrt(max(0.0, b * b - a * c))) / c)


def _least(threshold: float) -> float:
    # Less one part in 1e9: what moves by exactly the threshold counts as having moved.
    return threshold * (1 - 1e-9)
