"""The batched engine: every phase of a tick as a few torch calls over all neurons that are due."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import simpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine.circuit import view
from hlsim.engine.circuit.advance import advance, learn_instant, own
from hlsim.engine.circuit.calendar import Calendar, Delivery
from hlsim.engine.circuit.circuit import Block, Circuit
from hlsim.engine.circuit.concern import Concern
from hlsim.engine.circuit.state import Selection, Some
from hlsim.engine.circuit.synapses import LAST
from hlsim.engine.clock import Ticks, coming_tick
from hlsim.engine.controls import Changes, Controls
from hlsim.engine.general import wakeups
from hlsim.engine.general.sending import Sending
from hlsim.engine.general.wakeups import clocks, pending, unheard
from hlsim.engine.interface import Observer
from hlsim.engine.snapshot import Array, Arrays, Whole, text
from hlsim.models.messages import COSTATE, STATE
from hlsim.models.neurons import Neuron
from hlsim.models.rules.rule import Phase


class Batched(Whole):
    """Runs a circuit tick by tick; a tick at which nothing is due does not exist.

    A tick's phases: 0 advance, 1 controls, 2 send and take in, 3 drives, 4 loss, 5 costates, 6 learning of
    instant neurons; the recorder reads after them. The page on the design says why in this order.
    """

    STATE: ClassVar[tuple[str, ...]] = (
        "_asked",
        "_calendar",
        "_concern",
        "_now",
        "_sending",
        "_sync_moved",
        "_sync_updates",
        "_ticks",
        "_updates",
    )
    SCRATCH = ("_due", "_someone")

    def __init__(self, env: simpy.Environment, circuit: Circuit, controls: Controls) -> None:
        self.circuit, self._controls, self._env = circuit, controls, env
        self._ticks = Ticks(env, lambda tick: self._run(tick, controls.take()))
        size = circuit.replicas * circuit.n
        self._calendar = Calendar(size, circuit.device, circuit.number)
        self._sending = Sending(circuit, self._calendar, self._make_late)
        real = np.float32 if circuit.dtype == torch.float32 else np.float64
        self._concern = Concern(circuit.network, circuit.replicas, circuit.sync.cpu().numpy(), real)
        # Event neurons that are due at the running tick, by flat index.
        self._due = torch.zeros(size, dtype=torch.bool, device=circuit.device)
        self._sync_updates = 0
        self._updates = torch.zeros(circuit.replicas, circuit.n, dtype=torch.int64, device=circuit.device)
        # Whether there are any, so that a tick of synchronous neurons alone costs nothing for the others.
        self._someone = False
        self._now = self._asked = 0
        # Whether the weights of synchronous neurons have moved since they last sent costates.
        self._sync_moved = False
        self._clocks = clocks(circuit)
        controls.attach(lambda: self._ticks.request(coming_tick(env)))

    @property
    def observer(self) -> Observer | None:
        """Who hears of every message and update."""
        return self._sending.observer

    @observer.setter
    def observer(self, observer: Observer | None) -> None:
        self._sending.observer = observer

    def start(self) -> None:
        """Ask SimPy for tick 0."""
        self._ticks.request(0)

    def prepare(self) -> None:
        """Do nothing: torch is ready."""

    # ---- what is saved

    @property
    def made_of(self) -> dict[str, Array]:
        """What a state belongs to."""
        return {"kind of engine": text(type(self).__name__), **self.circuit.made_of}

    def collect(self) -> dict[str, Array]:
        """Return the circuit's state, and what is planned and counted."""
        return {**self.circuit.collect(), **super().collect()}

    def put_back(self, arrays: Arrays) -> None:
        """Take what another one like this saved."""
        self.circuit.put_back(arrays)
        super().put_back(arrays)

    def read(self, names: Sequence[str], tick: int) -> dict[str, NDArray[np.float64]]:
        """Return fields at ``tick``; see ``hlsim.engine.circuit.view``."""
        return view.read(self.circuit, names, tick)

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Return sends and updates by neuron, and messages overtaken, replaced, lost and in flight."""
        return {
            "state": self._sending.counts[STATE].cpu().numpy().copy(),
            "costate": self._sending.counts[COSTATE].cpu().numpy().copy(),
            "updates": (self._updates + self._sync_updates * self.circuit.sync).cpu().numpy(),
            "overtaken": np.array([int(self.circuit.push.overtaken)]),
            "replaced": np.array([int(self.circuit.push.replaced)]),
            "lost": np.array([0 if self.circuit.failing is None else self.circuit.failing.lost]),
            "in_flight": np.array([self._calendar.in_flight]),
        }

    def _run(self, tick: int, changes: Changes) -> None:
        c = self.circuit
        self._now = self._sending.now = tick
        self._asked = self._asked if changes.empty else tick
        states, costates, woken = self._calendar.pop(tick)
        if changes.reset:
            states = costates = None
        if c.failing is not None:
            states, costates = c.failing.newer(STATE, states), c.failing.newer(COSTATE, costates)
        self._find_due(changes, states, costates, woken)
        self._someone = bool(self._due.any())
        if tick > 0:
            advance(c, tick, self._chosen(), synchronous=True)
            self._sync_moved |= c.state.learning
        self._apply(changes)
        self._take(STATE, states)
        self._take(COSTATE, costates)
        self._send()
        self._drives()
        self._loss()
        if c.rule.sends_costates:
            self._costates()
        # r = w q with the weights of phase 5, before phase 6 moves them.
        for pull in c.plan.pulls:
            pull.emit(c.state)
        self._sending.report()
        self._learn_instant()
        self._finish()

    # ---- who is due

    def _chosen(self, mask: Tensor | None = None) -> Some:
        """Return the due event neurons, in a fixed order; ``mask`` (node,): only those."""
        if not self._someone:
            return self.circuit.nobody
        chosen = self.circuit.some(torch.nonzero(self._due).squeeze(1))
        return chosen if mask is None else chosen.where(mask[chosen.nodes])

    def _find_due(
        self, changes: Changes, states: Delivery | None, costates: Delivery | None, woken: Tensor
    ) -> None:
        c, due = self.circuit, self._due
        concerned = torch.as_tensor(self._concern.due(changes, self._now), device=c.device)
        if len(woken):
            due[woken] = True
        for delivery, ends in ((states, c.push.target), (costates, c.push.source)):
            if delivery is not None:
                reached = ends[delivery.edge]
                due[reached[c.arrival[reached % c.n]]] = True
        for clock in self._clocks:
            if clock.strikes(self._now):
                due[clock.neurons] = True
        if len(concerned):
            due[concerned] = True
        self._couple()

    def _couple(self) -> None:
        """One due member of a coupled loss makes every member that updates on arrival due."""
        c = self.circuit
        if c.loss is not None and c.loss.coupled and not c.all_outputs_sync:
            mask = self._due.view(c.replicas, c.n)
            any_due = (mask | c.sync)[:, c.outputs].any(1, keepdim=True)
            mask[:, c.outputs] |= any_due & c.arrival[c.outputs]

    def _make_late(self, neurons: Tensor) -> None:
        """Event neurons made due in the middle of a tick advance before anything else happens to them."""
        c = self.circuit
        late = torch.unique(neurons[c.arrival[neurons % c.n] & ~self._due[neurons]])
        if len(late):
            advance(c, self._now, c.some(late), synchronous=False)
            self._due[late] = True
            self._someone = True

    # ---- phases 1 and 2: controls; send and take in

    def _apply(self, changes: Changes) -> None:
        if changes.mark is not None and self.circuit.state.learning:
            self._mark(changes.mark)
        if changes.reset:
            self._reset()
        view.set_values(self.circuit, changes)

    def _mark(self, phase: Phase) -> None:
        c, sent = self.circuit, own(self.circuit)
        for pull in c.plan.pulls:
            pull.mark(c.state, sent, phase)
        c.push.mark(c.state, sent, phase)

    def _reset(self) -> None:
        self.circuit.state.reset()
        for pull in self.circuit.plan.pulls:
            pull.reset(self.circuit.state)
        if self.circuit.lags is not None:
            self.circuit.lags.reset()
        self.circuit.push.reset()
        self._calendar.clear_messages()
        self._sending.reset()
        if self.observer is not None:
            self.observer.dropped(self._now)

    def _take(self, kind: int, delivery: Delivery | None) -> None:
        if delivery is not None:
            self.circuit.push.deliver(kind, delivery.edge, delivery.value, self._now)

    def _send(self) -> None:
        c, state = self.circuit, self.circuit.state
        inputs = self._chosen(c.is_input)
        if len(inputs):
            inputs.put(state.h, inputs.take(state.u))
        if state.m is not state.h:
            state.m.copy_(torch.where(c.reads_out, state.m, state.h))
        # Chosen before any message of this tick can make others due.
        senders = self._chosen(~(c.instant | c.emits))
        if c.sync_stateful is not None:
            self._sending.sync_state(c.sync_stateful)
        if len(senders):
            self._sending.state(senders)

    # ---- phase 3: drives

    def _drives(self) -> None:
        c, state = self.circuit, self.circuit.state
        stimulus = state.u if state.noise is None else state.u + state.noise
        total = stimulus.clone()
        for level in c.forward_levels:
            for pull in c.plan.pulls:
                if pull.signature.forward == level:
                    pull.drive(state, total)
            self._mixed(c.mixed_in, c.rank == level, total, c.push.drive_of(state))
            for block in c.sync_blocks:
                if block.rank == level:
                    self._evaluate(block, block.whole, block.whole.take(total))
                    if block.model.instant:
                        self._sending.sync_state(block.whole)
            self._event_drives(level, stimulus)

    def _event_drives(self, level: int, stimulus: Tensor) -> None:
        c = self.circuit
        chosen = self._chosen(c.at_forward[level])
        if len(chosen) == 0:
            return
        drive, impulses = c.push.drive(c.state, chosen)
        drive = chosen.take(stimulus) + drive
        for block, mask in c.by_block(chosen):
            part = chosen.where(mask)
            if impulses is not None or block.model.rich:
                self._be_moved(block, part, None if impulses is None else impulses[mask])
            self._evaluate(block, part, drive[mask])
        if level != LAST:
            self._sending.state(chosen)

    def _be_moved(self, block: Block, chosen: Some, j: Tensor | None) -> None:
        """Let impulses move the state, and emit one where that says so."""
        c, model, p = self.circuit, block.model, self.circuit.p(chosen)
        if j is not None and model.stateful:
            x = c.x(block, chosen)
            c.put_x(block, chosen, _where(model, j != 0, model.impulse(x, j, p), x))
        if not model.emits:
            return
        x = c.x(block, chosen)
        fired = model.fires(x, p)
        c.put_x(block, chosen, _where(model, fired, model.after(x, p), x))
        chosen.put(c.state.fired, fired.to(c.number))
        self._sending.impulses(chosen.where(fired))

    def _evaluate(self, block: Block, chosen: Selection, a: Tensor) -> None:
        state, model, sigma = self.circuit.state, block.model, block.activation
        if self.circuit.nudges:
            pull = -state.nudge * chosen.take(state.dl)
            chosen.put(state.pull, pull)
            a = a if model.reads_out else a + pull
        chosen.put(state.a, a)
        if model.instant:
            y = model.rest(a, sigma)
            chosen.put(state.h, y)
            if state.m is not state.h:
                chosen.put(state.m, pull if model.reads_out else y)
            if self.circuit.rule.sends_costates:
                chosen.put(state.df_da, sigma.slope(a, y))
            return
        x, p = self.circuit.x(block, chosen), self.circuit.p(chosen)
        if not model.exact:
            f, *more = model.values(model.velocity(x, a, sigma, p))
            chosen.put(state.f, f)
            for r, values in enumerate(more):
                chosen.put(state.more_f[r], values)
        if not self.circuit.rule.sends_costates:
            return
        df_dh, df_da = model.partials(x, a, sigma, p)
        if len(model.fields) > 1:
            self._pull_costates(chosen, df_dh, df_da)
            df_dh, df_da = df_dh[0][0], df_da[0]
        chosen.put(state.df_dh, df_dh)
        chosen.put(state.df_da, df_da)

    def _pull_costates(self, chosen: Selection, df_dh: Any, df_da: Any) -> None:
        """Keep the partial derivatives of further fields, and what the costates of all say of one another."""
        state, size = self.circuit.state, range(len(df_da))
        z = [chosen.take(state.z), *(chosen.take(x) for x in state.more_z)]
        for i in size:
            chosen.put(state.pulled[i], sum(z[j] * df_dh[j][i] for j in size if j != i))
        for r in size[1:]:
            chosen.put(state.more_df_dh[r - 1], df_dh[r][r])
            chosen.put(state.more_df_da[r - 1], df_da[r])

    # ---- phase 4: loss

    def _loss(self) -> None:
        c = self.circuit
        if c.all_outputs_sync:
            c.loss_gradient(None)
            return
        before = self._due.clone()
        self._couple()
        late = torch.nonzero(self._due & ~before).squeeze(1)
        if len(late):
            self._due[late] = False
            self._make_late(late)
        c.loss_gradient((self._due.view(c.replicas, c.n) | c.sync)[:, c.outputs])

    # ---- phase 5: costates

    def _costates(self) -> None:
        c, state = self.circuit, self.circuit.state
        if c.lags is not None:
            c.lags.keep(state)
        self._stateful_send()
        heard = torch.zeros_like(state.heard)
        for level in c.backward_levels:
            for pull in c.plan.pulls:
                if pull.backwards and pull.signature.backward == level:
                    pull.pullback(state, heard)
            self._mixed(c.mixed_hearing, c.back_rank == level, heard, c.push.heard)
            self._instant_costates(level, heard)
        if c.sync_stateful is not None:
            self._gather(c.sync_stateful, c.sync_stateful.take(heard))
        last = self._chosen(c.stateful)
        if len(last):
            self._gather(last, c.push.heard(last))

    def _stateful_send(self) -> None:
        c, state = self.circuit, self.circuit.state
        due = self._chosen(c.stateful)
        if c.sync_stateful is not None:
            c.sync_stateful.put(state.q, c.sync_stateful.take(state.z) * c.sync_stateful.take(c.slope))
            self._sending.sync_costate(c.sync_stateful, self._sync_moved)
        if len(due):
            due.put(state.q, c.q(due))
            self._sending.costate(due)

    def _instant_costates(self, level: int, heard: Tensor) -> None:
        c = self.circuit
        for block in c.sync_blocks:
            if block.model.instant and block.back_rank == level:
                self._gather(block.whole, block.whole.take(heard))
                self._instant_q(block.whole)
                self._sending.sync_costate(block.whole, self._sync_moved)
        chosen = self._chosen(c.at_backward[level])
        if len(chosen):
            self._gather(chosen, c.push.heard(chosen))
            self._instant_q(chosen)
            self._sending.costate(chosen)

    def _gather(self, chosen: Selection, heard: Tensor) -> None:
        state = self.circuit.state
        chosen.put(state.heard, heard)
        chosen.put(state.g, self.circuit.told(chosen) + heard)

    def _instant_q(self, chosen: Selection) -> None:
        state = self.circuit.state
        z = chosen.take(state.g)
        chosen.put(state.z, z)
        chosen.put(state.q, z * chosen.take(self.circuit.slope))

    # ---- phase 6 and the end of a tick

    def _learn_instant(self) -> None:
        c, tick = self.circuit, self._now
        self._sync_moved = False
        if c.rule.order == "sequential" and c.state.learning and c.rule.takes_steps:
            on_clock = (tick == 0) | ((tick >= c.phase) & ((tick - c.phase) % c.period == 0))
            learn_instant(c, self._chosen(c.instant & on_clock))
            self._sync_moved = True

    def _finish(self) -> None:
        c, due = self.circuit, self._chosen()
        if len(due):
            due.put(self._updates, due.take(self._updates) + 1)
            due.put(c.state.took_note, c.state.learning)
        self._sync_updates += 1
        c.check_finite(self._now)
        if self.observer is not None:
            mask = self._due.view(c.replicas, c.n) | c.sync
            replica, node = torch.nonzero(mask, as_tuple=True)
            self.observer.update(self._now, node.cpu().numpy(), replica.cpu().numpy())
        arrival = self._chosen(c.arrival)
        if len(arrival):
            self._calendar.wake(arrival.flat, wakeups.predict(c, self._now, arrival))
        if len(due):
            self._due[due.flat] = False
        if self._controls.waiting and quiet(c, self._calendar, self._sending, self._now, self._asked):
            self._controls.settled(self._now)
        self._ask_for_next()

    def _ask_for_next(self) -> None:
        if self.circuit.has_sync:
            self._ticks.request(self._now + 1)
            return
        coming = [clock.next(self._now) for clock in self._clocks]
        planned = self._calendar.next()
        coming += [] if planned is None else [planned]
        if coming:
            self._ticks.request(min(coming))

    # ---- small helpers

    def _mixed(self, some: Some | None, mask: Tensor, total: Tensor, sums: Callable[[Some], Tensor]) -> None:
        """Add what synchronous neurons get by single messages to what projections gave them."""
        if some is None:
            return
        chosen = some.where(mask[some.nodes])
        if len(chosen):
            chosen.put(total, chosen.take(total) + sums(chosen))


def _where(model: Neuron, mask: Tensor, x: Any, otherwise: Any) -> Any:
    """Return a state that is x where the mask holds."""
    pairs = zip(model.values(x), model.values(otherwise), strict=True)
    return model.state([torch.where(mask, one, other) for one, other in pairs])


# ---- whether anything would still happen if nobody touched the network


def quiet(circuit: Circuit, calendar: Calendar, sending: Sending, tick: int, asked: int) -> bool:
    """Tell, at the end of a tick, whether nothing is on its way and no neuron has anything to send.

    Neurons on arrival have something to send if they are to wake up. Clocked ones have if what they send, its
    next step or the state they relax to differs from what was sent last by their threshold; and if the pull
    of the loss differs by that from the one in their drive; and before they have heard what the controls
    were asked for last, at tick ``asked``.
    """
    if calendar.in_flight or sending.carrying or calendar.waking(tick) or circuit.push.undelivered:
        return False
    if bool((circuit.state.updated < asked)[:, circuit.clock & ~circuit.sync].any()):
        return False
    if bool((circuit.rich & circuit.clock).any()):
        # They may emit, or oscillate, for ever.
        return False
    sent = own(circuit)
    return not any(_restless(circuit, block, sent) for block in circuit.blocks)


def _restless(circuit: Circuit, block: Block, sent: Tensor) -> bool:
    state, whole = circuit.state, block.whole
    threshold, last = whole.param(circuit.send_threshold), whole.take(sent)
    restless = pending(whole.take(state.m), last, threshold) | unheard(circuit, whole)
    if block.model.stateful:
        h = whole.take(state.h)
        step = h + circuit.dt * whole.param(circuit.period).to(circuit.dtype) * whole.take(state.f)
        restless |= pending(step, last, threshold)
    if block.model.stateful and block.model.relaxes:
        rest = block.model.rest(whole.take(state.a), block.activation)
        restless |= (threshold > 0) & ~((rest - last).abs() < threshold)
    return bool((restless & whole.param(circuit.clock)).any())
