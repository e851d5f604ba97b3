"""A thin facade: network, rule, stimulus and engine put together, run and recorded."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import simpy
from numpy.typing import NDArray

from hlsim.engine import build
from hlsim.engine.clock import Clock
from hlsim.engine.controls import Changes
from hlsim.engine.threads import threads as torch_threads
from hlsim.errors import ExperimentError, NumericalError, check_count, plain, unknown
from hlsim.models.losses import Loss
from hlsim.models.rules import Hamiltonian, Rule
from hlsim.simulation import checkpoints, options
from hlsim.simulation.checkpoints import Checkpoints, Every, Recording
from hlsim.simulation.divergence import Divergence
from hlsim.simulation.faults import Faults
from hlsim.simulation.judging import Presentation
from hlsim.simulation.noise import Noise
from hlsim.simulation.prequential import Prequential
from hlsim.simulation.protocol import Alone, PhaseRun, Protocol
from hlsim.simulation.saved import Saved
from hlsim.simulation.traffic import Settled, Storm, Traffic
from hlsim.simulation.watch import Progress, Scores, Watch, fed_after, tell_of_changes, told_of_compiling
from hlsim.stimulus import Stage, Stream
from hlsim.topology.network import Network
from hlsim.trace import Trace
from hlsim.trace.layout import STATES
from hlsim.trace.reader import check_free
from hlsim.trace.recorder import Before, Recorder

_ACTING = ("controls", "_noise", "_faults", "_alone", "_protocol")
_WATCHING = ("_scores", "_storm", "_settled", "_divergence")


class Simulation(Saved):
    """A network that can be run.

    Parameters
    ----------
    network : networkx graph or Network
        The topology; see docs/topology.md for the attributes of nodes and edges. One flattened before has its
        weights and defaults already.
    rule : Rule
        How costates and synapses move.
    stimulus : Stream, optional
        Rows of input and target. Without one the network runs as users' processes make it.
    loss : str, Loss or None
        "squared_error", "cross_entropy", a loss of your own, or none.
    stages : sequence of Stage, optional
        Without: one learning stage over the split "train", as it is.
    hold : int
        Ticks a row is held.
    target_delay : int or "matched"
        Ticks by which the target of a row comes later than its input; it is read and judged later as well.
    reset : bool
        Whether every row begins with a reset: h, z and messages are forgotten, weights stay.
    noise : Noise, optional
        Added to the drive of every neuron.
    faults : Faults, optional
        Messages that are lost or late, links that fail.
    dt : float
        Length of a tick in model time.
    seed : int
        Of every random draw.
    dtype, device, engine : str
        float32 or float64; cpu, cuda or auto; batched or reference (float64 numbers on the CPU).
    compiled : str
        "auto", "always" or "never": whether loops over synapses are compiled; see ``hlsim.engine.build``.
    threads : int
        Threads of torch and of compiled loops during the run. Results do not depend on it.
    batch : int
        Replicas that share synapses and move them by the mean of their gradients: a minibatch. Needs clocked
        neurons with thresholds 0.
    ensemble : int
        Replicas with synapses of their own; member k has the weights and the order of
        rows of seed ``seed + k``, on the connections and delays of ``seed``.
    node_defaults, edge_defaults : mapping, optional
        For attributes that an element of the graph does not carry.
    experiment : str
        TOML text, kept in the trace.

    Attributes
    ----------
    env : simpy.Environment
        Time is in ticks; your own processes run beside the network and act through ``controls``.
    controls : Controls
        Stimulus, targets, phi, the learning switch and resets; pull of the loss, ends of phases, noise and
        links.
    """

    STATE = (*_ACTING, *_WATCHING, "_wall", "_sent_before", "_stages_end", "_led")
    SCRATCH = ("_recorder", "_watch", "_lapped")

    # Of the call of ``run`` that goes on.
    _recorder: Recorder | None = None
    _watch: Watch | None = None
    # Of the stages: how a protocol of some is made, those that were shown or are, their end and their share.
    _stream: Stream
    _show: Callable[..., Protocol] | None = None
    _stages: tuple[Stage, ...] = ()
    _stages_end: int | None = None
    # How many stages were over before those that the protocol leads through.
    _led = 0
    _protocol: Protocol | None = None
    # Sets phi where there are no stages.
    _alone: Alone | None = None
    # Seconds of all calls, and messages before the phase that goes on.
    _wall = _lapped = 0.0
    _sent_before = 0

    def __init__(
        self,
        network: nx.DiGraph | Network,
        *,
        rule: Rule | None = None,
        stimulus: Stream | None = None,
        loss: str | Loss | None = "squared_error",
        stages: Sequence[Stage] | None = None,
        hold: int = 1,
        target_delay: int | str = 0,
        reset: bool = False,
        noise: Noise | None = None,
        faults: Faults | None = None,
        dt: float = 1.0,
        seed: int = 0,
        dtype: str = "float32",
        device: str = "cpu",
        engine: str = "batched",
        compiled: str = "auto",
        threads: int = 1,
        batch: int = 1,
        ensemble: int = 1,
        node_defaults: Mapping[str, Any] | None = None,
        edge_defaults: Mapping[str, Any] | None = None,
        experiment: str = "",
    ) -> None:
        hold, threads, batch, ensemble, dt, seed = map(plain, (hold, threads, batch, ensemble, dt, seed))
        options.check_counts(hold=hold, threads=threads, batch=batch, ensemble=ensemble)
        self.rule = Hamiltonian() if rule is None else rule
        self.loss = options.loss(loss)
        self.network = options.network(network, seed, ensemble, dt, node_defaults, edge_defaults)
        options.check_rule(self.network, self.rule, self.loss, dt, batch)
        self.dt, self.seed, self.threads, self.replicas = dt, seed, threads, batch * ensemble
        options.check_room(self.network, self.rule, self.replicas, dtype)
        self.env, seeds = Clock(), [seed + k for k in range(ensemble)]
        self.controls = options.controls(self.network, self.rule, faults, seeds, batch, self._heard)
        kinds = {"kind": engine, "compiled": compiled, "dtype": dtype, "device": device}
        ticks = options.expected_ticks(stimulus, stages, self.rule, hold, batch)
        more: dict[str, Any] = {"dt": dt, "replicas": self.replicas, "ticks": ticks, **kinds}
        self._engine, facts = build.engine(
            self.env, self.network, self.rule, self.loss, self.controls, **more
        )
        self._header = {"seed": seed, "dt": dt, "experiment": experiment, **facts}
        told = {"seed": seed, "hold": hold, "reset": reset, "noise": noise, "faults": faults}
        replicas = {"batch": batch, "ensemble": ensemble}
        self._told_at_first = {**told, "target_delay": target_delay, **replicas}
        self._before = Before(input=np.zeros((self.replicas, len(self.network.inputs))))
        self._scores, self._traffic = Scores(), Traffic(self.network, self.rule)
        self._storm, self._settled = Storm(self.network), Settled()
        self._divergence = Divergence(self.network, self.rule, self.loss, dt, self._engine.read)
        self._noise = options.noise_process(noise, self.controls, seeds, batch, self.network.label, self.env)
        self._faults = options.fault_process(faults, self.controls, self.rule, self.env)
        late = options.target_delay(target_delay, self.network, self.rule, reset)
        self._header["target_delay"] = late or None
        self._start_protocol(stimulus, stages, hold=hold, late=late, reset=reset, seeds=seeds, batch=batch)
        self._engine.start()

    # ---- putting together

    def _start_protocol(
        self, stimulus: Stream | None, stages: Sequence[Stage] | None, late: int, **told: Any
    ) -> None:
        if stimulus is None:
            self._header["learning"] = options.learning(self.rule, self.loss, ())
            if stages:
                raise ExperimentError(f"stage: {len(stages)} stages need a stimulus, got none")
            self._alone = Alone(self.controls, self.rule.phi)
            self._alone.begin(self.env)
            return
        self._stream = options.stream(stimulus, self.network, self.loss)
        self._show = partial(
            Protocol,
            self.controls,
            self._stream,
            **told,
            rule=self.rule,
            prequential=Prequential.of(self.network, self.rule, late),
            late=late,
            on_told=self._told,
            on_row=self._row,
            on_phase=self._phase,
            noise=self._noise,
        )
        self._begin([Stage()] if stages is None else stages)

    def _begin(self, stages: Sequence[Stage]) -> None:
        """Have stages shown from the tick that has come."""
        if self._show is None:
            raise ExperimentError(f"stage: {len(stages)} stages need a stimulus, got none")
        protocol = self._show(stages, first=not self._stages)
        options.check_stages(self.rule, (*self._stages, *stages), protocol.hold)
        options.check_taught(self._stream, stages, self.network, self.loss)
        options.check_filled(self._stream, stages, protocol.batch)
        ticks = protocol.ticks()
        self._stages_end = None if ticks is None else self.tick + ticks
        self._lead(protocol, tuple(stages))

    def _lead(self, protocol: Protocol, stages: tuple[Stage, ...]) -> None:
        self._led = len(self._stages)
        self._stages += stages
        self._header["learning"] = options.learning(self.rule, self.loss, self._stages)
        self._protocol = protocol
        protocol.begin(self.env)

    # ---- running

    def run(
        self,
        until: int | None = None,
        record: str | Path | None = None,
        *,
        every: int | Mapping[str, int] = 10,
        sampled: Iterable[str] | None = None,
        events: Iterable[str] = (),
        progress: Callable[[Progress], None] | None = None,
        stages: Sequence[Stage] | None = None,
        overwrite: bool = False,
        checkpoint_every: Every = None,
        interruptible: bool = False,
    ) -> Trace:
        """Run up to tick ``until`` (not included), or to the end of the stages; call again to go on.

        After the last row of the stages nothing is shown (inputs are 0), there is no target, and learning is
        off, unless the controls are asked for something else.

        Parameters
        ----------
        until : int, optional
            Without, the run ends with the last row: where phases end by quiescence, perhaps before the tick
            that stages last at most.
        record : path, optional
            Where the trace goes; without one it is kept in memory.
        every : int or mapping
            Ticks between samples, by name where they differ ("default" for the rest).
        sampled : iterable of str, optional
            Among h, z (with costates), a, loss, w and the rule's synapse fields; without: all that tell much.
        events : iterable of str
            Among "message", "update".
        progress : callable, optional
            Called about twice a second with a ``Progress``, and before the first tick if loops are compiled.
        stages : sequence of Stage, optional
            More rows of the stimulus, after those that are over: another pass, say.
        overwrite : bool
            Whether a finished trace at ``record`` is replaced.
        checkpoint_every : int or str, optional
            Ticks, or time as "10 min", between two checkpoints beside the trace; see ``resume``.
        interruptible : bool
            Whether SIGINT and SIGTERM end the run between two ticks, after a last checkpoint: ``Stopped``.

        Returns
        -------
        Trace
            Of this call; those of several, laid end to end, are that of one. A context manager.

        Raises
        ------
        NumericalError
            A state became infinite or NaN; the trace up to there is kept.
        """
        place = checkpoints.place(self, record, checkpoint_every, interruptible, overwrite)
        if stages is not None:
            self._follow_up(stages, record, overwrite)
        end = self._end(until)
        names = list(options.sampled(self.rule, sampled))
        told = Recording(end, until is None, every, names, list(events), checkpoint_every)
        return self._record(self._recorder_of(record, told, overwrite), told, place, progress, interruptible)

    def _record(
        self,
        recorder: Recorder,
        told: Recording,
        place: Path | None,
        progress: Callable[[Progress], None] | None,
        interruptible: bool,
    ) -> Trace:
        def write() -> None:
            self._lap()
            checkpoints.save(self, place, recorder, told)  # type: ignore[arg-type]

        stops = Checkpoints(
            told.checkpoint_every, write if place else None, self.env.halt, interruptible=interruptible
        )
        self._lapped = time.perf_counter()
        try:
            with stops:
                self._prepare(told.end, progress)
                self._go(told, recorder, stops, progress)
        except BaseException:
            self._finish(recorder, "interrupted")
            raise
        self._finish(recorder, "complete")
        return recorder.trace()

    def _prepare(self, end: int, progress: Callable[[Progress], None] | None) -> None:
        """Compile what is to be compiled; the time that takes is not the run's."""
        with told_of_compiling(progress, self.tick, end):
            self._engine.prepare()
        self._lapped = time.perf_counter()

    def _lap(self) -> None:
        now = time.perf_counter()
        self._wall, self._lapped = self._wall + now - self._lapped, now

    def _finish(self, recorder: Recorder, status: str) -> None:
        self._lap()
        recorder.traffic(*self.traffic())
        recorder.finish(status, self.summary, self._final() if status == "complete" else None)
        self._before = replace(self._before, under_way=recorder.under_way())
        self._settled.warn()

    def _recorder_of(
        self,
        path: str | Path | None,
        told: Recording,
        overwrite: bool = False,
        rows: Mapping[str, int] | None = None,
    ) -> Recorder:
        return Recorder(
            path,
            header={**self._header, "until": told.end},
            network=self.network,
            replicas=self.replicas,
            every=told.every,
            sampled=told.sampled,
            events=told.events,
            fields=self.rule.synapse_fields,
            states=[name for name in STATES if name in self.rule.sampled],
            overwrite=overwrite,
            before=replace(self._before, tick=self.tick),
            rows=rows,
        )

    def _known(self) -> dict[str, None]:
        """Return the names of all fields that there are."""
        return dict.fromkeys((*self.rule.sampled, *self.network.node_fields, *self.rule.synapse_fields))

    def _final(self) -> dict[str, NDArray[np.float64]]:
        """Return every field but the loss after the last tick: what is left of a run."""
        names = self._known()
        return self._engine.read([name for name in names if name != "loss"], self.tick - 1)

    def _follow_up(self, stages: Sequence[Stage], record: str | Path | None, overwrite: bool) -> None:
        """Have stages shown after those that are over; where nothing can be recorded, they do not begin."""
        if record is not None:
            check_free(Path(record), overwrite)
        if self._showing() and (self._stages_end is None or self.tick < self._stages_end):
            end = "a tick that nobody knows" if self._stages_end is None else f"tick {self._stages_end}"
            raise ExperimentError(
                f"stage: more stages follow on those before, which last to {end}; this is tick {self.tick}"
            )
        self._begin(stages)

    def _showing(self) -> bool:
        return self._protocol is not None and self._protocol.alive

    def _end(self, until: int | None) -> int:
        end = self._stages_end if until is None else plain(until)
        if end is None:
            raise ExperimentError(
                "simulation.until: is needed where no stage says how long a run is, got none"
            )
        if until is None and (end <= self.tick or not self._showing()):
            raise ExperimentError(
                f"simulation.until: is needed at tick {self.tick}, where the stages are over, got none"
            )
        check_count("simulation.until", end, self.tick + 1, " of ticks", below=options.MOST_TICKS)
        return int(end)

    def _go(
        self,
        told: Recording,
        recorder: Recorder,
        stops: Checkpoints,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        """Run up to the end, or as long as rows are shown where they are all there is."""
        self._recorder, end = recorder, told.end
        protocol = self._protocol
        share = protocol.share if told.whole and protocol and self.rule.nudges else lambda: None
        self._watch = Watch(
            self.env, self._engine, self.network, recorder, end, self._messages, share, progress
        )
        self._watch.start()
        complete = False
        try:
            with torch_threads(self.threads):
                self._run_stages(end, told.whole, stops)
            complete = True
        except NumericalError as error:
            raise error.hinting(self._divergence.hint(self._before.learn)) from error
        finally:
            self.env.halt(False)
            self._watch.stop(self.tick if complete else None)
            self._watch = self._recorder = None

    def _run_stages(self, end: int, whole: bool, stops: Checkpoints) -> None:
        """Run up to ``end``, or until the stages are over where phases may be shorter than they might be."""
        stages = self._protocol if whole else None
        if stages is not None and stages.alive:
            stages.ended.callbacks.append(simpy.core.StopSimulation.callback)
        over = False
        # What an earlier call would have stopped at stands in SimPy's queue still.
        while not over:
            over = self.tick >= end or not (stages is None or stages.alive)
            if not over:
                self._run_to(stops.next(self.tick, end))
                over = self.tick >= end or not (stages is None or stages.alive)
            stops.look(self.tick, over)

    def _run_to(self, tick: int) -> None:
        try:
            self.env.run(until=tick)
        except BaseException:
            self._broken = int(self.env.now)
            raise
        self._broken = None

    # ---- what is recorded beside samples

    def _heard(self, changes: Changes) -> None:
        """The engine takes changes: keep what is fed as it was used, and what happened to links."""
        self._before = fed_after(self._before, changes)
        if self._recorder is not None:
            tell_of_changes(self._recorder, self.tick, changes, self._before)

    def _told(self, tick: int, shown: Presentation) -> None:
        y = self._engine.read(("y",), tick)["y"].real
        self._scores.tell(shown, y)
        self._divergence.tell(y)

    def _row(self, tick: int, shown: Presentation, untouched: bool) -> None:
        if shown.readable:
            outcome = self._engine.read(("y", "loss"), tick)
            if untouched:
                self._scores.tell(shown, outcome["y"].real)
            loss = np.where(shown.real, outcome["loss"], np.nan)
            told, prediction = self._scores.add(shown, outcome["y"].real, loss, untouched)
            self._divergence.judge(tick, shown, outcome["y"].real)
        else:
            loss, told = np.full(self.replicas, np.nan), np.full(self.replicas, -1)
            prediction = told
        if self._watch is not None:
            self._watch.row(tick, shown, told, prediction, loss)

    def _phase(self, run: PhaseRun) -> None:
        sent = self._messages()
        self._storm.check(run, self.counts()["state"])
        self._settled.count(run)
        if self._recorder is not None:
            self._recorder.phase(run.end, run.start, run.phase.nudge, run.quiet, sent - self._sent_before)
        self._sent_before = sent

    def resume(
        self,
        trace: str | Path,
        until: int | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
        interruptible: bool = False,
    ) -> Trace:
        """Go on with a trace from the checkpoint beside it, as if its run had not been cut off.

        This simulation has not run and is made with the same arguments. The trace is cut to the checkpoint;
        all in it is in the end what it would be, bit for bit. ``until``: up to another tick than was
        asked for then. For the others see ``run``.

        Raises
        ------
        HlsimError
            There is no checkpoint, it is of something else, or the trace has come to its end.
        """
        path = Path(trace)
        checkpoints.check_unfinished(path, until)
        found = checkpoints.read(path)
        told = Recording.of(found)
        checkpoints.take(self, found)
        if until is not None:
            told = replace(told, end=self._end(until), whole=False)
        checkpoints.place(self, path, told.checkpoint_every, interruptible, overwrite=True)
        recorder = self._recorder_of(path, told, rows=checkpoints.rows(found))
        return self._record(recorder, told, found.path, progress, interruptible)

    # ---- what can be looked at

    def read(self, name: str) -> NDArray[np.float64]:
        """Return a field after the last tick that was run.

        h, z, a and further fields of neuron models (replica, node); w and the rule's synapse fields (1 or
        replica, edge) in the order of ``network``; loss (replica,).
        """
        known = self._known()
        if name not in known:
            raise ExperimentError(f"read: {unknown('field', name, known)}")
        return self._read(name)

    def _read(self, name: str) -> NDArray[np.float64]:
        return self._engine.read((name,), self.env.last)[name]

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Return how often each neuron (replica, node) sent a state or a costate and was updated."""
        return self._engine.counts()

    @property
    def summary(self) -> dict[str, Any]:
        """Ticks, messages and numbers in them, node updates, loss, accuracy of every stage, wall time so far.

        A message is one number, where states are complex two; one that is overtaken was not heard because a
        later one was, and is also ``replaced`` if it waited for a clock's tick then. A row counts for the
        accuracy by what the outputs told before its own target counted, for ``accuracy_taught`` by what they
        told in the end.
        The loss is the mean over rows of the last stage, each at its last tick; without rows, that of now.
        Under rules whose phases end by quiescence, also how many there were and how many ended so.
        """
        counts, total = self.counts(), self._traffic.total
        loss = self._last_loss()
        return {
            "ticks": self.tick,
            "state_messages": total(counts, ("state",)),
            "costate_messages": total(counts, ("costate",)),
            "numbers": self._traffic.numbers(counts),
            "overtaken": int(counts["overtaken"][0]),
            "replaced": int(counts["replaced"][0]),
            "lost": int(counts["lost"][0]),
            "node_updates": int(counts["updates"].sum()),
            "loss": loss if np.isfinite(loss) else None,
            "accuracy": self._scores.accuracy(),
            "accuracy_taught": self._scores.accuracy_taught(),
            **self._settled.summary,
            **options.padded(self.network),
            "wall_s": self._wall,
        }

    def _last_loss(self) -> float:
        rows = self._scores.last_loss()
        if rows is not None:
            return rows
        # Whoever asks for a loss pays for an exact hold of all outputs.
        told = self.tick and self.loss is not None
        return float(self._read("loss").mean()) if told else float("nan")

    def traffic(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many state and costate messages went from group to group, by pairs of groups.

        Pairs are those of ``hlsim.trace.layout.group_pairs``: what an edge joins, sorted by name.
        """
        return self._traffic.between_groups(self.counts())

    def _messages(self) -> int:
        return self._traffic.total(self.counts())
