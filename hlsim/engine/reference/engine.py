"""The reference engine: one SimPy process a neuron, one SimPy event a message.

Slow and meant to be obviously right: it is what "equal" means for every faster path.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import simpy
import torch
from numpy.typing import NDArray

from hlsim.engine.clock import Call, Life, call_at, calls, coming_tick
from hlsim.engine.controls import Changes, Controls
from hlsim.engine.interface import Observer
from hlsim.engine.links import LinkChange
from hlsim.engine.reference import saving
from hlsim.engine.reference.neuron import CONDUCT, CONTROL, COUPLE, FINISH, LOSS_COUPLE, MAIL, Process
from hlsim.engine.reference.record import FailingLink, Record, record
from hlsim.engine.snapshot import (
    Array,
    Arrays,
    Stateful,
    Whole,
    as_numbers,
    made_of,
    numbers,
    prefixed,
    text,
)
from hlsim.errors import ExperimentError
from hlsim.models.losses import Loss
from hlsim.models.messages import COSTATE, STATE
from hlsim.models.ops import Value
from hlsim.models.rules.rule import Rule
from hlsim.topology.network import Network

# What the post has to do, and what is known of it.
DELIVER, WAKE, START, ASK = range(4)
_POST = ("what", "tick", "replica", "node", "kind", "edge", "sent")


class Group(Stateful):
    """The outputs of one replica: told every member's h, it knows the gradient of a coupled loss."""

    STATE = ("h", "target")

    def __init__(self, outputs: int, number: torch.dtype) -> None:
        self.members: list[Process] = []
        self.h = torch.zeros(1, outputs, dtype=number)
        self.target: torch.Tensor | None = None

    def put_back(self, arrays: Arrays) -> None:
        """Take what another group saved."""
        super().put_back(arrays)
        self.target = None if self.target is None else torch.as_tensor(self.target)


class Reference(Whole):
    """The world of the processes: the post, the conductor of controls, and what can be looked at.

    Parameters
    ----------
    replicas : int
        Members of an ensemble, each with its own neurons. Minibatches are for the batched engine.
    """

    STATE = ("_epoch", "_in_flight", "_lost", "_asked", "_conducting", "_groups")
    APART = ("_failing",)
    SCRATCH = ("_phase", "_checking", "_couplings")

    def __init__(
        self,
        env: simpy.Environment,
        network: Network,
        rule: Rule,
        loss: Loss | None,
        dt: float,
        replicas: int,
        controls: Controls,
    ) -> None:
        if replicas > 1 and network.weight.shape[0] == 1:
            raise ExperimentError(f"simulation.batch: must be 1 with engine = 'reference', got {replicas}")
        self.env, self.network, self.rule, self.loss, self.dt = env, network, rule, loss, dt
        self._controls = controls
        self.observer: Observer | None = None
        self._epoch = 0
        self._phase = (-1, 0)
        self._in_flight = self._lost = 0
        # Those of which something was asked, by kind and cell.
        self._failing: dict[tuple[int, int], FailingLink] = {}
        self._conducting = -1
        self._number = torch.complex128 if rule.complex_states else torch.float64
        self._checking, self._asked = -1, 0
        self._groups = [Group(len(network.outputs), self._number) for _ in range(replicas)]
        self._processes = [
            [Process(_Desk(self, p), record(network, rule, i, p)) for i in range(network.n)]
            for p in range(replicas)
        ]
        self._places = {
            id(one): (p, i) for p, replica in enumerate(self._processes) for i, one in enumerate(replica)
        }
        for p, group in enumerate(self._groups):
            group.members = [self._processes[p][i] for i in network.outputs]
        self._couplings: set[tuple[int, int, int]] = set()
        controls.attach(self._hear_controls)

    def start(self) -> None:
        """Bring every process to life and make it due at tick 0."""
        self._live()
        call_at(self.env, 0, MAIL, self._ring_all)

    def _live(self) -> None:
        for replica in self._processes:
            for one in replica:
                Life(self.env, one.live())

    def _ring_all(self) -> None:
        for replica in self._processes:
            for one in replica:
                one.ring()

    # ---- phases and post

    @property
    def now(self) -> int:
        return int(self.env.now)

    @property
    def phase(self) -> int:
        """The phase that the running tick has reached."""
        tick, phase = self._phase
        return phase if tick == self.now else 0

    def at(self, phase: int) -> simpy.Event:
        """Return an event of this tick in the given phase."""
        event = simpy.Event(self.env)
        event._ok, event._value = True, None
        event.callbacks.append(lambda _: self._enter(phase))
        self.env.schedule(event, priority=phase)  # type: ignore[arg-type]
        return event

    def _enter(self, phase: int) -> None:
        self._phase = (self.now, phase)

    def send(self, replica: int, kind: int, edge: int, value: Value, delay: int) -> None:
        """Schedule a message on an edge: one SimPy event."""
        arrives, delay = self._fate(replica, kind, edge, delay)
        if not arrives:
            self._lose(replica, kind, edge, value)
            return
        self._in_flight += 1
        ends = self.network.target if kind == STATE else self.network.source
        receiver = self._processes[replica][int(ends[edge])]
        deliver = partial(self._deliver, self._epoch, receiver, kind, edge, value, self.now)
        call_at(self.env, self.now + delay, MAIL, deliver)
        if self.observer is not None:
            arrival, edges, values = (np.array([x]) for x in (self.now + delay, edge, value))
            self.observer.message(kind, arrival, edges, values, self.now, np.array([replica]))

    def _fate(self, replica: int, kind: int, edge: int, delay: int) -> tuple[bool, int]:
        """Return whether a message that is sent now arrives, and after how many ticks."""
        cell = replica * self.network.m + edge
        failing = self._failing.get((kind, cell))
        if failing is None or self._controls.touchable is None:
            return True, delay
        return failing.fate(self._controls.touchable.keys[cell : cell + 1], kind, self.now, delay)

    def _lose(self, replica: int, kind: int, edge: int, value: Value) -> None:
        self._lost += 1
        if self.observer is not None:
            edges, values, replicas = (np.array([x]) for x in (edge, value, replica))
            self.observer.lost(kind, edges, values, self.now, replicas)

    def _deliver(self, epoch: int, receiver: Process, kind: int, edge: int, value: Value, sent: int) -> None:
        # A reset began a new epoch: what was in flight is dropped.
        if epoch == self._epoch:
            self._in_flight -= 1
            receiver.receive(kind, edge, value, sent)

    def wake(self, one: Process, tick: int) -> None:
        """Wake a process at ``tick``, unless it has changed its mind by then."""
        call_at(self.env, tick, MAIL, partial(self._ring_at, one, tick))

    def _ring_at(self, one: Process, tick: int) -> None:
        if one.wake_at == tick:
            one.ring()

    # ---- controls

    def _hear_controls(self) -> None:
        tick = coming_tick(self.env)
        if tick == self.env.now and self.phase >= CONDUCT:
            tick += 1
        if tick != self._conducting:
            self._conducting = tick
            call_at(self.env, tick, CONDUCT, self._conduct)

    def _conduct(self) -> None:
        """Make those due whom the changes concern, then let the changes take effect in phase 1."""
        self._enter(CONDUCT)
        changes = self._controls.take()
        self._asked = self.now
        if changes.reset:
            self._epoch += 1
            self._in_flight = 0
        everybody = changes.reset or changes.mark is not None
        self.check_quiet()
        for p, replica in enumerate(self._processes):
            for i, one in enumerate(replica):
                if everybody or (one.arrival and self._concerned(changes, p, i, one.record)):
                    one.ring()
        call_at(self.env, self.now, CONTROL, lambda: self._obey(changes))

    def _concerned(self, changes: Changes, p: int, i: int, record: Record) -> bool:
        u, target = self._columns(changes, p, i)
        concerns = u is not None and u != record.u
        if record.output is not None:
            concerns |= changes.target is not None and target != record.target
            concerns |= changes.no_target and record.target is not None
            concerns |= changes.phi is not None and changes.phi != record.phi
            concerns |= changes.nudge is not None and changes.nudge != record.nudge
        switched = changes.learn is not None and changes.learn != record.learning
        return concerns or ((switched or changes.noise is not None) and not record.model.is_input)

    def _columns(self, changes: Changes, p: int, i: int) -> tuple[float | None, float | None]:
        network = self.network
        values: list[float | None] = []
        for columns, table in ((network.inputs, changes.input), (network.outputs, changes.target)):
            at = np.flatnonzero(columns == i)
            values.append(float(table[p, at[0]]) if table is not None and len(at) else None)
        return values[0], values[1]

    def _obey(self, changes: Changes) -> None:
        if changes.reset and self.observer is not None:
            self.observer.dropped(self.now)
        for change in changes.links:
            self._rewire(change)
        for p, replica in enumerate(self._processes):
            for i, one in enumerate(replica):
                self._obey_one(changes, p, i, one)
            if changes.target is not None:
                self._groups[p].target = torch.as_tensor(changes.target[p : p + 1])
            if changes.no_target:
                self._groups[p].target = None

    def _obey_one(self, changes: Changes, p: int, i: int, one: Process) -> None:
        record = one.record
        u, target = self._columns(changes, p, i)
        if changes.mark is not None:
            one.mark(changes.mark)
        if changes.reset:
            one.reset()
        record.u = record.u if u is None else u
        record.target = record.target if target is None else target
        record.target = None if changes.no_target else record.target
        record.phi = record.phi if changes.phi is None else changes.phi
        if changes.learn and not record.learning:
            record.learns_since = self.now
        record.learning = record.learning if changes.learn is None else changes.learn
        record.nudge = record.nudge if changes.nudge is None else changes.nudge
        if changes.noise is not None and not record.model.is_input:
            record.noise = float(changes.noise[p, i])

    def _rewire(self, change: LinkChange) -> None:
        for cell in change.cells.tolist():
            failing = self._failing.setdefault((change.kind, cell), FailingLink())
            setattr(failing, change.what, change.value)

    # ---- the coupled loss

    def couple(self, replica: int) -> None:
        """A member of a coupled loss is due: all that update on arrival are."""
        phase = COUPLE if self.phase < COUPLE else LOSS_COUPLE
        key = (self.now, phase, replica)
        if self.phase < LOSS_COUPLE and key not in self._couplings:
            self._couplings = {k for k in self._couplings if k[0] == self.now} | {key}
            call_at(self.env, self.now, phase, partial(self._couple, replica, phase))

    def _couple(self, replica: int, phase: int) -> None:
        self._enter(phase)
        for member in self._groups[replica].members:
            if member.arrival:
                member.ring()

    def gradient(self, replica: int, output: int) -> Value:
        """Return dL/dh of one member, from what all have told."""
        group = self._groups[replica]
        if self.loss is None or group.target is None:
            return 0.0
        return self.loss.gradient(group.h, group.target)[0, output].item()

    def tell(self, replica: int, output: int, h: Value) -> None:
        """Take a member's h."""
        self._groups[replica].h[0, output] = h

    # ---- quiescence

    def check_quiet(self) -> None:
        """See, at the end of this tick, whether the network is quiet, if somebody wants to know."""
        if self._checking != self.now:
            self._checking = self.now
            call_at(self.env, self.now, FINISH + 1, self._tell_if_quiet)

    def _tell_if_quiet(self) -> None:
        if self._controls.waiting and self._quiet():
            self._controls.settled(self.now)

    def _quiet(self) -> bool:
        everybody = (one for replica in self._processes for one in replica)
        return not self._in_flight and all(one.quiet(self._asked) for one in everybody)

    # ---- what others may look at

    @property
    def made_of(self) -> dict[str, Array]:
        """What a state belongs to."""
        made = made_of(self.network, self.rule, self.loss, self.dt, len(self._processes))
        return {"kind of engine": text("reference"), **made}

    def collect(self) -> dict[str, Array]:
        """Return what neurons own, what links do, and what is on its way or planned; between two ticks."""
        owned = saving.save(self._processes, self.network.m)
        return {**super().collect(), **owned, **saving.save_links(self._failing), **self._save_post()}

    def put_back(self, arrays: Arrays) -> None:
        """Take what another one like this saved, and bring the processes to life."""
        super().put_back(arrays)
        saving.load(self._processes, self.network.m, arrays)
        self._failing = saving.load_links(arrays)
        self._live()
        self._load_post(arrays.within("post"))

    def _save_post(self) -> dict[str, Array]:
        """Return what is to come, in that order: deliveries, wake-ups, and what all neurons are part of."""
        rows: list[tuple[int, ...]] = []
        values: list[Value | None] = []
        for call in (call for call in calls(self.env) if isinstance(call, Call)):
            told: Any = getattr(call.callback, "args", ())
            what = getattr(call.callback, "func", call.callback)
            if what == self._deliver and told[0] == self._epoch:
                _, receiver, kind, edge, value, sent = told
                rows.append((DELIVER, call.tick, *self._place(receiver), kind, edge, sent))
                values.append(value)
            elif what == self._ring_at and told[0].wake_at == call.tick:
                rows.append((WAKE, call.tick, *self._place(told[0]), -1, -1, -1))
                values.append(None)
            elif what in (self._ring_all, self._conduct):
                rows.append((START if what == self._ring_all else ASK, call.tick, -1, -1, -1, -1, -1))
                values.append(None)
        table = np.array(rows, np.int64).reshape(-1, len(_POST))
        columns = {name: table[:, k].copy() for k, name in enumerate(_POST)}
        return prefixed("post", columns | numbers("value", values, (len(values),)))

    def _load_post(self, given: Arrays) -> None:
        values = as_numbers("value", given, given["what"].shape)
        rows = zip(*(given[name].tolist() for name in _POST), values, strict=True)
        for what, tick, replica, node, kind, edge, sent, value in rows:
            if what in (START, ASK):
                call_at(
                    self.env, tick, *((MAIL, self._ring_all) if what == START else (CONDUCT, self._conduct))
                )
                continue
            one = self._processes[replica][node]
            deliver = partial(self._deliver, self._epoch, one, kind, edge, value, sent)
            call_at(self.env, tick, MAIL, deliver if what == DELIVER else partial(self._ring_at, one, tick))

    def _place(self, one: Process) -> tuple[int, int]:
        """Return the replica and the node of a process."""
        return self._places[id(one)]

    def prepare(self) -> None:
        """Do nothing: nothing is compiled."""

    def read(self, names: Sequence[str], tick: int) -> dict[str, NDArray[np.float64]]:
        """Return fields at ``tick`` in closed form (arrival) or as last updated (clock)."""
        records = [[_at(one, tick, self.dt) for one in replica] for replica in self._processes]
        return {name: self._field(records, name) for name in names}

    def _field(self, records: list[list[Record]], name: str) -> NDArray[np.float64]:
        if name == "loss":
            return self._loss_value(self._field(records, "y").real)
        if name == "y":
            return self._field(records, "h")[:, self.network.outputs]
        if name in ("h", "z", "a"):
            number = np.complex128 if self.rule.complex_states else np.float64
            return np.array([[getattr(r, name) for r in replica] for replica in records], dtype=number)
        if name in self.network.node_fields:
            return np.array([[_one_of_several(r, name) for r in replica] for replica in records])
        values = np.zeros((len(records), self.network.m))
        for p, replica in enumerate(records):
            for synapse in (s for r in replica for s in r.synapses):
                values[p, synapse.edge] = synapse.w if name == "w" else getattr(synapse.fields, name)
        return values

    def _loss_value(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        targets = [group.target for group in self._groups]
        if self.loss is None or not targets or targets[0] is None:
            return np.full(len(targets), np.nan)
        together = torch.cat([t for t in targets if t is not None])
        return self.loss.value(torch.as_tensor(y), together).numpy()

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Return sends and updates by neuron, and messages overtaken, replaced, lost and in flight."""
        table = np.array([[one.counts for one in replica] for replica in self._processes])
        overtaken, replaced = (
            sum(getattr(one, name) for replica in self._processes for one in replica)
            for name in ("overtaken", "replaced")
        )
        return {
            "state": table[..., STATE],
            "costate": table[..., COSTATE],
            "updates": table[..., 2],
            "overtaken": np.array([overtaken]),
            "replaced": np.array([replaced]),
            "lost": np.array([self._lost]),
            "in_flight": np.array([self._in_flight]),
        }


class _Desk:
    """A process's counter of the office: it speaks for one replica, and shows no neuron another one."""

    def __init__(self, world: Reference, replica: int) -> None:
        self._world, self._replica = world, replica
        self.rule, self.loss, self.dt = world.rule, world.loss, world.dt

    @property
    def now(self) -> int:
        return self._world.now

    @property
    def phase(self) -> int:
        return self._world.phase

    def at(self, phase: int) -> simpy.Event:
        return self._world.at(phase)

    def event(self) -> simpy.Event:
        return self._world.env.event()

    def send(self, kind: int, edge: int, value: Value, delay: int) -> None:
        self._world.send(self._replica, kind, edge, value, delay)

    def wake(self, one: Process, tick: int) -> None:
        self._world.wake(one, tick)

    def couple(self, one: Process) -> None:
        self._world.couple(self._replica)

    def report(self, one: Process, h: Value) -> None:
        self._world.tell(self._replica, _column(one), h)

    def coupled_gradient(self, one: Process) -> Value:
        return self._world.gradient(self._replica, _column(one))

    def updated(self, one: Process) -> None:
        self._world.check_quiet()
        if self._world.observer is not None:
            node = self._world.network.label.index(one.record.label)
            self._world.observer.update(self.now, np.array([node]), np.array([self._replica]))


def _column(one: Process) -> int:
    column = one.record.output
    return -1 if column is None else column


def _one_of_several(r: Record, name: str) -> float:
    return r.more[r.model.told.index(name)] if name in r.model.told else math.nan


def _at(one: Process, tick: int, dt: float) -> Record:
    """Return the record as it is at ``tick``, without touching it."""
    r = one.record
    duration = dt * (tick - r.updated)
    if r.clock or r.model.is_input or duration <= 0:
        return r
    synapses = [replace(s) for s in r.synapses]
    (h, *more), z = one.hold(duration, list(zip(r.synapses, synapses, strict=True)))
    return replace(r, h=h, more=more, z=z, synapses=synapses)
