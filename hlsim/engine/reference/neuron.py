"""One neuron as a SimPy process, in plain Python numbers: the meaning of a tick.

A process holds its own record and its inbox and nothing else. It sends by naming an edge; the office of the
reference engine knows who is at the other end. The phases of a tick are priorities of SimPy's queue, so that
``Process._tick`` reads like the description of a tick.
"""

import cmath
from collections.abc import Callable, Generator
from typing import Any, Protocol

import simpy
import torch

from hlsim.engine.clock import TICK
from hlsim.engine.reference.record import Record, Synapse
from hlsim.engine.reference.wakeups import Alarms
from hlsim.errors import LocalityError, NumericalError
from hlsim.models.losses import Loss
from hlsim.models.messages import COSTATE, STATE
from hlsim.models.ops import Value
from hlsim.models.rules.rule import AnyRule, Fields, Phase, Post, Pre, Rule

# Phases of a tick, as priorities; ranks are added to DRIVE and INSTANT_COSTATE.
MAIL, CONDUCT, COUPLE = TICK, TICK + 1, TICK + 2
ADVANCE, ADVANCE_LOSS = TICK + 10, TICK + 11
CONTROL, SEND, DRIVE = TICK + 20, TICK + 30, TICK + 40
LAST = 2**20
LOSS_COUPLE, LOSS_REPORT, LOSS = 2**21, 2**21 + 1, 2**21 + 2
COSTATE_SEND = 2**22
INSTANT_COSTATE = COSTATE_SEND + 1
LEARN, FINISH = 2**23, 2**23 + 1
Steps = Generator[simpy.Event, object, None]


class Office(Protocol):
    """What a process may ask of the world: the phase, the post, the loss of a coupled group."""

    rule: AnyRule
    loss: Loss | None
    dt: float

    @property
    def now(self) -> int: ...
    @property
    def phase(self) -> int: ...
    def at(self, phase: int) -> simpy.Event: ...
    def event(self) -> simpy.Event: ...
    def send(self, kind: int, edge: int, value: Value, delay: int) -> None: ...
    def wake(self, process: "Process", tick: int) -> None: ...
    def couple(self, process: "Process") -> None: ...
    def report(self, process: "Process", h: Value) -> None: ...
    def coupled_gradient(self, process: "Process") -> Value: ...
    def updated(self, process: "Process") -> None: ...


class Process:
    """A neuron's life: wait until due, go through the phases of the tick, predict when to wake."""

    # Between two ticks it waits, so that nothing of its life is in the frame of ``live``.
    STATE = ("wake_at", "counts", "overtaken", "replaced", "_counted")
    APART = ("_inbox", "_newest", "_arrived")
    SCRATCH = ("_busy", "_alarm")

    def __init__(self, office: Office, record: Record) -> None:
        self._office, self._r = office, record
        self._inbox: tuple[dict[int, Value], dict[int, Value]] = ({}, {})
        # When what arrived last on an edge was sent.
        self._newest: tuple[dict[int, int], dict[int, int]] = ({}, {})
        # When what waits in the inbox arrived.
        self._arrived: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._busy = False
        self._alarm = office.event()
        self.wake_at = -1
        self.counts = [0, 0, 0]
        self.overtaken = self.replaced = 0
        # The tick at which both were counted last, and what they were before it.
        self._counted = (-1, 0, 0)
        rule = office.rule
        self._alarms = Alarms(record, rule, office.loss, office.dt, self._held)
        self._impulses = {synapse.edge for synapse in record.synapses if synapse.impulse}
        self._hears_costate = rule.sends_costates
        self._nudges = rule.nudges

    @property
    def record(self) -> Record:
        """The neuron's own; for the office to fill and to show, never for another neuron."""
        return self._r

    @property
    def arrival(self) -> bool:
        return not self._r.clock

    @property
    def waits(self) -> bool:
        """Whether it is through with its tick."""
        return not self._busy

    # ---- what reaches a neuron from outside

    def receive(self, kind: int, edge: int, value: Value, sent: int) -> None:
        """A message arrives: it waits in the inbox, and makes a neuron that updates on arrival due.

        One that was sent before what has arrived on its edge already is overtaken.
        """
        box, newest = self._inbox[kind], self._newest[kind]
        if kind == STATE and edge in self._impulses:
            # Every one counts, whatever came before.
            box[edge] = box.get(edge, 0.0) + value
            if self.arrival:
                self.ring()
            return
        if sent < newest.get(edge, sent):
            self._overtake()
            return
        newest[edge] = sent
        if edge in box:
            self._overtake(waited=self._arrived[kind][edge] < self._office.now)
        box[edge], self._arrived[kind][edge] = value, self._office.now
        if self.arrival:
            self.ring()

    def _overtake(self, waited: bool = False) -> None:
        """Count a message in whose place a later one counts; ``waited``: since an earlier tick."""
        if self._counted[0] != self._office.now:
            self._counted = (self._office.now, self.overtaken, self.replaced)
        self.overtaken += 1
        self.replaced += waited

    def ring(self) -> None:
        """Make the neuron due at this tick."""
        if not self._busy:
            self._busy = True
            self._alarm.succeed(self._office.phase)
            if self._coupled:
                self._office.couple(self)

    def reset(self) -> None:
        """Forget h, z and everything heard and sent."""
        r = self._r
        r.h = r.z = r.heard = r.dl = r.pull = r.h_sent = r.q_sent = 0.0
        r.more, r.more_z = [0.0] * len(r.more), [0.0] * len(r.more)
        r.forget()
        for synapse in r.synapses:
            synapse.s = 1.0 if synapse.bias else 0.0
        for link in r.links:
            link.r = 0.0
        for box in self._inbox:
            box.clear()
        # What arrived at the very tick of a reset was still in flight: it overtook nothing.
        tick, overtaken, replaced = self._counted
        if tick == self._office.now:
            self.overtaken, self.replaced = overtaken, replaced

    def mark(self, phase: Phase) -> None:
        """A phase is over: the synapses take into account what they hold."""
        r, rule = self._r, self._office.rule
        for s in r.synapses:
            if r.learning and s.plastic:
                s.w, s.fields = _moved(rule, rule.mark, s.w, s.fields, r.own * s.s, s.beta, phase)

    def quiet(self, asked: int) -> bool:
        """Tell whether nothing waits to be taken in or to be sent; controls were asked last at ``asked``."""
        heard = self.arrival or self._r.model.is_input or self._r.updated >= asked
        return heard and not any(self._inbox) and self._alarms.quiet(self._office.now)

    # ---- the tick

    def live(self) -> "Steps":
        """Be due, again and again."""
        while True:
            entered = yield self._alarm
            self._alarm = self._office.event()
            try:
                yield from self._tick(int(entered))  # type: ignore[call-overload]
            except OverflowError:
                # Python's floats refuse some results that tensors call infinite.
                raise NumericalError(self._office.now, self._r.label, "its numbers", "an overflow") from None
            self._busy = False

    def _tick(self, entered: int) -> "Steps":
        r, at = self._r, self._office.at
        if entered < ADVANCE:
            yield at(ADVANCE)
        yield from self._advance()
        if entered < CONTROL:
            yield at(CONTROL + 1)
        if entered < SEND:
            yield at(SEND)
            if r.model.is_input:
                r.h = r.u
            if not r.model.instant and not r.model.emits:
                self._send_state()
        if entered < LOSS_COUPLE and not r.model.is_input:
            yield at(DRIVE + (r.rank if r.model.instant else LAST))
            self._drive()
        if r.output is not None and entered < LOSS:
            yield from self._take_loss(LOSS_REPORT, LOSS)
        if self._hears_costate and not r.model.is_input:
            yield from self._costate(entered)
        if r.model.instant and self._office.rule.order == "sequential" and not self._nudges:
            yield at(LEARN)
            self._learn_instant()
        yield at(FINISH)
        self._finish()

    # ---- phase 0

    def _advance(self) -> "Steps":
        r = self._r
        duration = self._office.dt * (self._office.now - r.updated)
        r.updated = self._office.now
        if self._office.rule.correlates and r.nudge != 0:
            self._correlate()
        if duration == 0 or r.model.is_input:
            return
        if self.arrival:
            (r.h, *r.more), r.z = self.hold(duration, [(s, s) for s in r.synapses])
            r.moved |= r.learning
            return
        if self._office.rule.order == "sequential":
            yield from self._sequential(duration)
        else:
            self._explicit(duration)

    def _correlate(self) -> None:
        r, rule = self._r, self._office.rule
        for s in r.synapses:
            if r.learning and s.plastic:
                s.w, s.fields = _moved(rule, rule.correlate, s.w, s.fields, r.own * s.s, s.beta, r.nudge)

    def _explicit(self, duration: float) -> None:
        r = self._r
        if self._nudges:
            self._state_step(duration)
            return
        if r.took_note:
            self._synapse_steps(duration)
        if r.model.stateful:
            self._costate_step(duration)
            self._state_step(duration)

    def _sequential(self, duration: float) -> "Steps":
        r = self._r
        if not r.model.stateful:
            return
        self._state_step(duration)
        if r.output is not None:
            yield from self._take_loss(ADVANCE, ADVANCE_LOSS)
        r.g = r.phi * r.dl + r.heard
        self._costate_step(duration)
        r.q = self._gradient_of_drive()
        if r.took_note:
            self._synapse_steps(duration)

    def hold(
        self, duration: float, pairs: "list[tuple[Synapse, Synapse]]"
    ) -> tuple[tuple[Value, ...], Value]:
        """Return fields and z after an exact hold; write each pair's synapse as it will be to its second."""
        r, rule = self._r, self._office.rule
        h, z, i1, i2 = self._held(duration)
        more = r.model.values(h)
        for synapse, into in pairs:
            if r.learning and synapse.plastic and self._hears_costate:
                into.w, into.fields = _moved(
                    rule,
                    rule.synapse_hold,
                    synapse.w,
                    synapse.fields,
                    synapse.s * i1,
                    synapse.s * i2,
                    synapse.beta,
                    duration,
                )
        return more, z

    def _held(self, duration: float) -> tuple[Value, Value, Value, Value]:
        """Return the state, z and the integrals of q that synapses meet, after an exact hold."""
        r, rule = self._r, self._office.rule
        if not self._hears_costate:
            x = r.h if r.model.instant else r.model.held(r.x, r.a, duration, r.activation, r.p)
            return x, r.z, 0.0, 0.0
        if r.model.instant:
            return r.h, r.z, *_own(rule, rule.constant_hold, r.q, duration)
        h = r.model.held(r.h, r.a, duration, r.activation, r.p)
        z, i1, i2 = _own(rule, rule.costate_hold, r.z, r.g, r.model.rate(r.p), duration)
        return h, z, r.df_da * i1, r.df_da * i2

    def _state_step(self, duration: float) -> None:
        r = self._r
        if not r.model.stateful:
            return
        if r.model.exact:
            r.x = r.model.held(r.x, r.a, duration, r.activation, r.p)
        elif r.more:
            x = zip((r.h, *r.more), r.f, strict=True)
            r.x = r.model.state([value + duration * f for value, f in x])
        else:
            r.h = r.h + duration * r.f

    def _costate_step(self, duration: float) -> None:
        r, rule = self._r, self._office.rule
        if not rule.sends_costates:
            return
        if not r.more:
            r.z = float(_own(rule, rule.costate_euler, r.z, r.g, r.df_dh, duration))
            return
        # Each field has its costate; what those of the others say of it pulls at it like a costate heard.
        z, size = (r.z, *r.more_z), range(1 + len(r.more))
        moved = []
        for i in size:
            others = sum(z[j] * r.df_dh[j][i] for j in size if j != i)
            g = others + (r.g if i == 0 else 0.0)
            moved.append(float(_own(rule, rule.costate_euler, z[i], g, r.df_dh[i][i], duration)))
        r.z, *r.more_z = moved

    def _gradient_of_drive(self) -> Value:
        """Return q = z df/da, summed over the fields."""
        r = self._r
        if not r.more:
            return r.z * r.slope
        return sum(z * df_da for z, df_da in zip((r.z, *r.more_z), r.df_da, strict=True))

    def _synapse_steps(self, duration: float) -> None:
        r, rule = self._r, self._office.rule
        if not rule.takes_steps:
            return
        r.moved = True
        post = Post(r.h, r.a, r.z, r.g, r.q, r.fired)
        for s in (s for s in r.synapses if s.plastic):
            if rule.apart:
                met: tuple[object, ...] = Pre(s.s), post
            else:
                met = (r.q * s.met + r.phi * rule.weight_decay * s.w,)
            formula: Callable = rule.synapse if rule.apart else rule.synapse_euler
            s.w, s.fields = _moved(rule, formula, s.w, s.fields, *met, s.beta, duration)

    # ---- phases 2 to 6

    def _send_state(self) -> None:
        r, now = self._r, self._office.now
        if r.links and self._alarms.wants_state() and now - r.h_sent_at >= r.send_interval:
            r.h_sent, r.h_sent_at = r.m, now
            self.counts[STATE] += 1
            for link in r.links:
                self._office.send(STATE, link.edge, r.m, link.delay)

    def _drive(self) -> None:
        """Hear what has arrived, and evaluate the model."""
        r = self._r
        box = self._inbox[STATE]
        for synapse in r.synapses:
            synapse.s = box.pop(synapse.edge, 0.0 if synapse.impulse else synapse.s)
        r.a = r.u + r.noise + sum(s.w * s.s for s in r.synapses if not s.impulse)
        if self._nudges:
            r.pull = -r.nudge * r.dl
            r.a = r.a if r.model.reads_out else r.a + r.pull
        if r.model.instant:
            r.h = r.model.rest(r.a, r.activation)
            r.df_da = r.activation.slope(r.a, r.h)
            self._send_state()
            return
        self._take_impulses()
        if not r.model.exact:
            r.f = r.model.velocity(r.x, r.a, r.activation, r.p)
        if self._hears_costate:
            r.df_dh, r.df_da = r.model.partials(r.x, r.a, r.activation, r.p)

    def _take_impulses(self) -> None:
        """Let impulses move the state, and emit one if that says so."""
        r = self._r
        j = sum(s.w * s.s for s in r.synapses if s.impulse)
        if j != 0:
            r.x = r.model.impulse(r.x, j, r.p)
        if not r.model.emits:
            return
        r.fired = 1.0 if r.model.fires(r.x, r.p) else 0.0
        if r.fired:
            r.x = r.model.after(r.x, r.p)
            r.h_sent_at = self._office.now
            self.counts[STATE] += bool(r.links)
            for link in r.links:
                self._office.send(STATE, link.edge, 1.0, link.delay)

    def _take_loss(self, report: int, answer: int) -> "Steps":
        """Set dL/dh; in a coupled group every member tells its h before any gradient is asked for."""
        r, office = self._r, self._office
        if not self._coupled:
            r.dl = self._own_gradient()
            return
        yield office.at(report)
        office.report(self, r.h)
        yield office.at(answer)
        r.dl = office.coupled_gradient(self)

    @property
    def _coupled(self) -> bool:
        loss = self._office.loss
        return self._r.output is not None and loss is not None and loss.coupled

    def _own_gradient(self) -> Value:
        r, loss = self._r, self._office.loss
        if loss is None or r.target is None:
            return 0.0
        number = torch.complex128 if isinstance(r.h, complex) else torch.float64
        y = torch.tensor([[r.h]], dtype=number)
        return loss.gradient(y, torch.tensor([[r.target]], dtype=torch.float64)).item()

    def _costate(self, entered: int) -> "Steps":
        r, at = self._r, self._office.at
        r.keep()
        if r.model.instant:
            yield at(INSTANT_COSTATE + r.back_rank)
            self._gather()
            r.z = r.g
            r.q = r.z * r.slope
            self._send_costate()
            return
        if entered < COSTATE_SEND:
            yield at(COSTATE_SEND)
            r.q = self._gradient_of_drive()
            self._send_costate()
        yield at(INSTANT_COSTATE + LAST)
        self._gather()

    def _gather(self) -> None:
        """Hear the costates that have arrived."""
        r = self._r
        box = self._inbox[COSTATE]
        for link in r.links:
            link.r = box.pop(link.edge, link.r)
        r.heard = sum(link.r for link in r.links if link.hears)
        r.g = r.told + r.heard

    def _send_costate(self) -> None:
        r, now = self._r, self._office.now
        wants = self._alarms.sends_costate and self._alarms.wants_costate(r.q)
        if wants and now - r.q_sent_at >= r.send_interval:
            r.q_sent, r.q_sent_at, r.moved = r.q, now, False
            self.counts[COSTATE] += 1
            for synapse in r.synapses:
                if synapse.feedback:
                    weight = synapse.feedback_weight if synapse.feedback == 2 else synapse.w
                    self._office.send(COSTATE, synapse.edge, weight * r.q, synapse.feedback_delay)

    def _learn_instant(self) -> None:
        now, r = self._office.now, self._r
        on_clock = now == 0 or (now >= r.phase and (now - r.phase) % r.period == 0)
        if r.learns(now) and on_clock:
            self._synapse_steps(self._office.dt * r.period)

    # ---- the end of a tick

    def _finish(self) -> None:
        r, office = self._r, self._office
        self.counts[2] += 1
        r.took_note = r.learns(office.now)
        office.updated(self)
        for name in ("h", "z", "a"):
            if not cmath.isfinite(getattr(r, name)):
                raise NumericalError(office.now, r.label, name, getattr(r, name))
        for name, value in zip(list(r.model.fields)[1:], r.more, strict=True):
            if not cmath.isfinite(value):
                raise NumericalError(office.now, r.label, name, value)
        tick = self._alarms.next(office.now)
        self.wake_at = -1 if tick is None else tick
        if tick is not None:
            office.wake(self, tick)


def _own(rule: Rule, formula: Callable, *values: object) -> Any:
    """Call a rule's formula with one neuron's numbers; whatever reaches for more is not local."""
    try:
        return formula(*values)
    except (AttributeError, TypeError, IndexError) as error:
        raise LocalityError(
            f"rule {rule.name!r}: {formula.__name__} reads more than one neuron's own numbers: {error}"
        ) from error


def _moved(rule: Rule, formula: Callable, w: float, fields: Fields, *values: object) -> tuple[float, Fields]:
    """Return w and the fields of one synapse after a step."""
    w, moved = _own(rule, formula, w, fields, *values)
    if len(moved) != len(fields):
        names = ", ".join(rule.synapse_fields) or "none"
        raise LocalityError(
            f"rule {rule.name!r}: {formula.__name__} must return the declared fields ({names}), "
            f"got {len(moved)}"
        )
    return w, rule.fields(moved)
