"""Writes traces while a run goes on, so that others can read them and little is lost if the run is killed."""

import itertools
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike

from hlsim.errors import TraceError
from hlsim.topology.network import Network
from hlsim.trace import files, layout, reader, recovery, superblock
from hlsim.trace.network import dimensions, write_network
from hlsim.trace.reader import Trace
from hlsim.trace.tables import Pending, Table, dimension

NEVER = sys.maxsize  # the next sampling tick where nothing is sampled
FLUSH_SECONDS = 5.0  # what a short run loses at most when it is killed, in wall time
FLUSH_SHARE = 0.1  # what a long one loses at most, as a share of its wall time
LOG_ROWS = 1024
# Files that HDF5 1.10 and later read: "latest" writes datatypes that only HDF5 2 knows.
VERSIONS = ("v110", "v110")
_IN_MEMORY = itertools.count()


@dataclass(frozen=True)
class _Tables:
    """What grows in a trace; ``sampled`` by rate."""

    sampled: dict[int, Table]
    events: Table
    faults: Table
    stimulus: Table
    controls: Table
    rows: Table
    phases: Table
    log: Table

    def __iter__(self) -> Iterator[Table]:
        single = (self.events, self.faults, self.stimulus, self.controls, self.rows, self.phases, self.log)
        return iter((*self.sampled.values(), *single))


@dataclass(frozen=True)
class Before:
    """What a run that goes on brings with it.

    Attributes
    ----------
    tick : int
        The first tick of the trace.
    input, target : (replica, columns), optional
        What was fed before it.
    phi, learn : float, bool
        What was in force before it.
    under_way : mapping, optional
        Messages sent before it that have not arrived, see ``Recorder.under_way``.
    """

    tick: int = 0
    input: np.ndarray | None = None
    target: np.ndarray | None = None
    phi: float = 0.0
    learn: bool = True
    noise: bool = False
    under_way: Mapping[str, np.ndarray] | None = None

    @property
    def controls(self) -> dict[str, float]:
        """What was in force, by name."""
        return {"phi": self.phi, "learn": self.learn, "noise": self.noise}


class Recorder:
    """Writes a trace; a context manager, and what an engine tells of messages and updates (an ``Observer``).

    Parameters
    ----------
    path : path or None
        File to write. Its folder must exist. None: keep it in memory.
    header : mapping
        Root attributes: ``dtype`` (of h, z, a and messages: float32, float64, complex64, complex128),
        ``experiment``, ``seed``, ``dt``, ``device`` and what else tells where the run comes from.
    network : Network
        With one row of weights for all replicas, or one for each.
    replicas : int
        P, replicas of the neurons.
    every : int or mapping
        Ticks between two samples; by name, with "default" for the others.
    sampled, events : iterable of str
        Among h, z, a, loss, w and ``fields``; among message, update.
    fields : mapping of str to str
        Synapse fields of the rule, and what each one is.
    states : iterable of str
        Among h, z, a: those that neurons have.
    chunk : int
        Rows a chunk, at most.
    overwrite : bool
        Whether a finished trace that is there may be replaced.
    before : Before, optional
        What a run that goes on brings with it; without, this one begins at tick 0.
    rows : mapping of str to int, optional
        The trace at ``path`` is gone on with, after so many rows of each table, as ``sync`` returned them.
        What it has beyond them is cut off; ``header`` gives attributes that change.

    Raises
    ------
    TraceError
        The file is there already, cannot be written, or is written by another run; an option has no meaning.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        header: Mapping[str, Any],
        network: Network,
        replicas: int = 1,
        every: int | Mapping[str, int] = 10,
        sampled: Iterable[str] = tuple(layout.quantities(layout.OMEGA)),
        events: Iterable[str] = (),
        fields: Mapping[str, str] = layout.OMEGA,
        states: Iterable[str] = layout.STATES,
        chunk: int = 32768,
        overwrite: bool = False,
        before: Before | None = None,
        rows: Mapping[str, int] | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.every, self._fields = layout.rates(every, sampled, fields, network.node_fields), fields
        self._of = layout.quantities(fields, network.node_fields)
        self.events, self._states = layout.known_events(events), tuple(states)
        self._network = network
        self._before = Before() if before is None else before
        self._attributes = layout.first_attributes() | {"first_tick": self._before.tick} | dict(header)
        self._replicas = (replicas, len(network.weight))  # of neurons, of synapses
        self._chunk = chunk
        self._traffic: dict[str, np.ndarray] = {}
        self._over = self._seen = -1  # ticks of which all, of which something is known
        self._image = b""
        self._open, self._failed = True, False
        self._ending: dict[str, str] = {}
        dtype = np.dtype(str(self._attributes.setdefault("dtype", "float32")).removeprefix("torch."))
        self._dtype, self._settle_at = dtype, chunk
        self._pending = Pending(layout.event_columns(dtype, replicas), layout.event_key)
        self._faults = Pending(layout.fault_columns(dtype, replicas), layout.fault_key)
        if "message" in self.events and self._before.under_way:
            self._add(len(self._before.under_way["tick"]), self._before.under_way)
        self._controls = self._before.controls
        self._final: dict[str, np.ndarray] = {}
        self._lock: recovery.WriterLock | None = None
        self._dimensions = dimensions(network, replicas)
        self._tables, self._laid_out = self._made(), False
        if self.path is not None and rows is not None:
            self._go_on(self.path, header, rows)
        elif self.path is not None:
            self._create(self.path, overwrite)
        self._started = time.monotonic()
        self._flush_at = self._started + FLUSH_SECONDS

    def _create(self, path: Path, overwrite: bool) -> None:
        """Lay the file out aside and put it in its place when it is whole, as it stays from there on."""
        with self._writing():
            reader.check_free(path, overwrite)
            with files.aside(path) as mine, self._opening(mine, "w"):
                self._lay_out()
                self._open_to_readers(mine)
                files.place(mine, path, overwrite)

    def _go_on(self, path: Path, header: Mapping[str, Any], rows: Mapping[str, int]) -> None:
        """Cut a copy of a trace to its first rows and put that in its place: until then the trace stays."""
        with self._writing():
            reader.check_free(path, overwrite=True)
            reader.open(path).close()  # mended, if its run was killed
            with files.aside(path) as mine:
                shutil.copyfile(path, mine)
                with self._opening(mine, "r+"):
                    self._cut(path, header, rows)
                    self._to_disk()
                self._file.close()
                # What is open when SWMR mode starts, HDF5 opens anew, and then does not always read right.
                with self._opening(mine, "r+"):
                    self._open_to_readers(mine)
                    self._find()
                    files.place(mine, path, overwrite=True)

    @contextmanager
    def _opening(self, mine: Path, mode: str) -> Iterator[None]:
        """Open a file; what it is then made of may fail, and HDF5 must not try again when it is closed."""
        self._file, self._laid_out = h5py.File(mine, mode, libver=VERSIONS, locking=False), True
        try:
            yield
        except BaseException:
            recovery.abandon(self._file)
            if self._lock is not None:
                self._lock.release()
            raise

    def _open_to_readers(self, mine: Path) -> None:
        self._file.swmr_mode = True
        self._lock = recovery.WriterLock(mine)
        self._to_disk()

    def _to_disk(self) -> None:
        """Have the system write what it holds of the file."""
        self._file.flush()
        os.fsync(self._file.id.get_vfd_handle())

    def _find(self) -> None:
        """Find every dataset as it was laid out before."""
        for table in self._tables:
            table.find(self._file)
        self._finals = {name: self._file["final"][name] for name in self._final_names}

    def _cut(self, path: Path, header: Mapping[str, Any], rows: Mapping[str, int]) -> None:
        """Forget what came after some rows, and the end."""
        file = self._file
        try:
            for table in self._tables:
                table.cut(file, rows[table.path])
            for name in self._final_names:
                file["final"][name][...] = np.nan
            for name in layout.TRAFFIC:
                file["network"][name][...] = layout.UNKNOWN_COUNT
        except (KeyError, TraceError) as error:
            why = error if isinstance(error, TraceError) else f"has no {error}"
            raise TraceError(f"{path}: is not the trace of this checkpoint: {why}") from None
        layout.change_attributes(file, header)
        self._attributes["start"] = file.attrs["start"]
        for name, text in layout.UNFINISHED.items():
            recovery.set_text(file, name, text)
        self._over = self._seen = self._before.tick - 1

    def _made(self) -> _Tables:
        chunk, replicas, dtype = self._chunk, self._replicas[0], self._dtype
        sizes = {name: len(coordinates) for name, (coordinates, _) in self._dimensions.items()}
        return _Tables(
            layout.sampled_tables(self.every, self._of, dtype, self._replicas, sizes, chunk),
            layout.event_table(layout.event_columns(dtype, replicas), chunk),
            layout.fault_table(layout.fault_columns(dtype, replicas), chunk),
            layout.stimulus_table(dtype, replicas, sizes, chunk),
            layout.control_table(chunk),
            layout.row_table(dtype, replicas, sizes, chunk),
            layout.phase_table(chunk),
            layout.log_table(min(chunk, LOG_ROWS)),
        )

    def _need_file(self) -> None:
        """Lay a trace in memory out: when the rows of a table fill a chunk, or when someone looks at it.

        Most of a short run would be spent on it.
        """
        if not self._laid_out:
            # HDF5 knows files by name, those in memory too: two runs at a time must not be one.
            name = f"memory {next(_IN_MEMORY)}"
            self._file = h5py.File(name, "w", driver="core", backing_store=False, libver=VERSIONS)
            self._lay_out()

    def _lay_out(self) -> None:
        """Create every dataset: none can be added while others read."""
        file, self._laid_out = self._file, True
        layout.write_attributes(file, self._attributes)
        layout.write_changing(file)
        for name, (coordinates, about) in self._dimensions.items():
            dimension(file, name, coordinates, about)
        write_network(file, self._network)
        self._write_before(file)
        names = self._final_names
        self._finals = layout.final_fields(file, names, self._of, self._dtype, self._replicas)
        file.require_group("sampled")
        for table in self._tables:
            table.lay_out(file)

    @property
    def _final_names(self) -> tuple[str, ...]:
        return (*self._states, *self._network.node_fields, "w", *self._fields)

    def _write_before(self, file: h5py.File) -> None:
        before = self._before
        values = self._fed(before.input, before.target) | before.controls
        layout.write_before(file, self._dtype, self._replicas[0], values)

    def due(self, tick: int) -> tuple[str, ...]:
        """Return the names of what is to be sampled at a tick."""
        return tuple(name for name, every in self.every.items() if tick % every == 0)

    def next(self, tick: int) -> int:
        """Return the first tick after this one at which something is to be sampled."""
        return min(((tick // every + 1) * every for every in self.every.values()), default=NEVER)

    def sample(self, tick: int, values: Mapping[str, ArrayLike]) -> None:
        """Record values after all phases of a tick, which is over with that.

        Parameters
        ----------
        values : mapping
            h, z, a (replica, node); w, omega (1 or replica, edge); loss (replica,). One rate goes together.
        """
        for table in self._tables.sampled.values():
            axis, *names = table.names
            if not values.keys().isdisjoint(names):
                if missing := [name for name in names if name not in values]:
                    raise TraceError(f"sample at tick {tick}: {', '.join(missing)} must be there too")
                own = {name: self._own(name, values[name]) for name in names}
                self._append(table, {axis: np.int64(tick), **own})
        self.now(tick)

    def _own(self, name: str, value: ArrayLike) -> np.ndarray:
        synaptic = name == "w" or name in self._fields
        return _squeezed(name, value, self._replicas[synaptic])

    def stimulus(self, tick: int, input: ArrayLike | None, target: ArrayLike | None) -> None:  # noqa: A002 - its name
        """Record what is fed from a tick on: input (replica, n_input), target (replica, n_output) or None."""
        self._append(self._tables.stimulus, {"tick": tick, **self._fed(input, target)})

    def _fed(self, input_: ArrayLike | None, target: ArrayLike | None) -> dict[str, np.ndarray]:
        """Return what is fed as the file holds it; None: inputs of 0, no target."""
        replicas, network = self._replicas[0], self._network
        input_ = np.zeros((replicas, len(network.inputs))) if input_ is None else input_
        target = np.full((replicas, len(network.outputs)), np.nan) if target is None else target
        return {"input": self._own("input", input_), "target": self._own("target", target)}

    def controls(
        self,
        tick: int,
        *,
        phi: float | None = None,
        learn: bool | None = None,
        noise: bool | None = None,
        reset: bool = False,
    ) -> None:
        """Record phi, the switch of learning, noise and resets as asked for at a tick, if any changes."""
        given = {"phi": phi, "learn": learn, "noise": noise}
        asked = self._controls | {name: value for name, value in given.items() if value is not None}
        if reset or asked != self._controls:
            self._controls = asked
            self._append(self._tables.controls, {"tick": tick, **asked, "reset": reset})

    def row(
        self,
        tick: int,
        split: str,
        label: ArrayLike,
        prediction: ArrayLike,
        loss: ArrayLike,
        told: ArrayLike | None = None,
    ) -> None:
        """Record what came of a row of the stream: label, predictions, loss (replica,); -1 for no class.

        ``told``: the prediction before the row's own target counted; the same, if it is not given.
        """
        values = {"label": label, "prediction": prediction, "loss": loss}
        values |= {"told": prediction if told is None else told}
        own = {name: self._own(name, value) for name, value in values.items()}
        self._append(self._tables.rows, {"tick": tick, "split": layout.encoded(split), **own})
        self._reached(tick)

    def phase(self, tick: int, start: int, nudge: complex, quiet: bool, messages: int) -> None:
        """Record how a phase went that ended with a tick; ``messages`` were sent in it."""
        row = {"tick": tick, "start": start, "nudge": nudge, "quiet": quiet, "messages": messages}
        self._append(self._tables.phases, row)
        self._reached(tick)

    def message(
        self,
        kind: int,
        arrival: ArrayLike,
        edge: ArrayLike,
        value: ArrayLike,
        sent: int,
        replica: ArrayLike = 0,
    ) -> None:
        """Record messages as they are sent: kind 0 state or 1 costate; edges (k,), the rest (k,) or one.

        Parameters
        ----------
        arrival : int
            Tick of arrival: once it is over (``now``) they stand in the trace, unless they were dropped.
        sent : int
            Tick at which they are sent; those before it are over.
        """
        self.now(sent - 1)
        if "message" not in self.events:
            return
        receiver = self._network.source if kind == layout.COSTATE else self._network.target
        values = {"edge": edge, "node": receiver[np.asarray(edge)], "value": value, "sent": sent}
        self._add(np.size(edge), {"kind": kind, "tick": arrival, "replica": replica} | values)

    def link(self, tick: int, what: str, kind: int, cells: np.ndarray, value: float) -> None:
        """Record that links, replica * edges + edge, are something else from a tick on; down: 1 or 0."""
        replica, edge = np.divmod(cells, len(self._network.source))
        what, value = (what, value) if what != "down" else ("down" if value else "up", np.nan)
        self._fault(tick, what, kind, edge, value, replica)
        self._reached(tick)

    def lost(self, kind: int, edge: ArrayLike, value: ArrayLike, sent: int, replica: ArrayLike) -> None:
        """Record messages that will not arrive, where messages are recorded; arrays (k,)."""
        self.now(sent - 1)
        if "message" in self.events:
            self._fault(sent, "lost", kind, edge, value, replica)

    def _fault(
        self, tick: int, what: str, kind: int, edge: ArrayLike, value: ArrayLike, replica: ArrayLike
    ) -> None:
        values = {"kind": kind, "edge": edge, "value": value, "replica": replica}
        self._faults.add(np.size(edge), {"tick": tick, "what": layout.FAULTS.index(what)} | values)

    def update(self, tick: int, node: ArrayLike, replica: ArrayLike = 0) -> None:
        """Record that neurons were updated at a tick, before which all is over: nodes, replicas (k,)."""
        self.now(tick - 1)
        if "update" in self.events:
            blank = {"kind": layout.UPDATE, "edge": -1, "value": np.nan, "sent": -1}
            self._add(np.size(node), {"tick": tick, "node": node, "replica": replica} | blank)

    def _add(self, count: int, values: Mapping[str, ArrayLike]) -> None:
        self._pending.add(count, values)

    def now(self, tick: int) -> None:
        """Say that ticks up to this one are over: whatever happened in them has been recorded."""
        self._over = max(self._over, tick)
        if len(self._pending) + len(self._faults) >= self._settle_at:
            self._settle(self._over)
        self._reached(tick)

    def dropped(self, tick: int) -> None:
        """Forget messages that would arrive at ``tick``, at which a reset drops them, or after it."""
        self._settle(self._over)
        self._pending.drop(tick - 1)

    def _settle(self, tick: int) -> None:
        """Write, in order, what arrived up to a tick; do it again when as much has come as is on its way."""
        with self._writing():
            for table, pending in ((self._tables.events, self._pending), (self._tables.faults, self._faults)):
                rows, count = pending.take(tick)
                if not table.holds(count):
                    self._need_file()
                table.extend(rows, count)
        self._settle_at = max(self._chunk, 2 * (len(self._pending) + len(self._faults)))

    def traffic(self, state: ArrayLike, costate: ArrayLike) -> None:
        """Keep how many messages went between groups (pair,), see ``layout.group_pairs``, for the end."""
        self._traffic = dict(zip(layout.TRAFFIC, map(np.asarray, (state, costate)), strict=True))

    def log(self, wall: float, tick: int, in_flight: int, memory_bytes: int) -> None:
        """Record how far the run has come after ``wall`` seconds."""
        row = {"tick": tick, "wall": wall, "in_flight": in_flight, "memory_bytes": memory_bytes}
        self._append(self._tables.log, row)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Tell in one line that the file cannot be written; it is not tried again."""
        try:
            yield
        except TraceError:
            raise
        except (OSError, RuntimeError) as error:
            self._failed = True
            raise TraceError(f"{self.path}: cannot write: {files.reason(error)}") from error

    def _append(self, table: Table, row: Mapping[str, ArrayLike]) -> None:
        with self._writing():
            if not table.holds(1):
                self._need_file()
            table.append(row)

    def _reached(self, tick: int) -> None:
        self._seen = max(self._seen, tick)
        now = time.monotonic()
        if now >= self._flush_at:
            self.flush()
            self._flush_at = now + max(FLUSH_SECONDS, FLUSH_SHARE * (now - self._started))

    def flush(self) -> None:
        """Bring to the file what is over; chunks begun are written again later, and their room is lost."""
        self._settle(self._over)
        if self._laid_out:
            self._flush_tables()

    def _flush_tables(self) -> None:
        with self._writing():
            for table in self._tables:
                table.flush()

    @property
    def start(self) -> str:
        """When the run of the trace began."""
        return str(self._attributes["start"])

    def sync(self) -> dict[str, int]:
        """Bring what is over to the disk; return how many rows each table has there, by its axis."""
        self.flush()
        with self._writing():
            self._to_disk()
        return {table.path: len(table) for table in self._tables}

    def under_way(self, tick: int = 0) -> dict[str, np.ndarray]:
        """Return the messages that are to arrive at a tick or later, for who records what follows."""
        rows = self._pending.rows()
        later = rows["tick"] >= tick
        return {name: array[later] for name, array in rows.items()}

    def finish(
        self,
        status: str = "complete",
        summary: Mapping[str, Any] | None = None,
        final: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Write everything that is left and close; a second call does nothing, nor one after a failed write.

        Parameters
        ----------
        status : str
            "complete" or "interrupted".
        summary : mapping, optional
            What came of the run; kept as JSON.
        final : mapping, optional
            Every field but the loss after the last tick, as for ``sample``.
        """
        if not self._open:
            return
        self._open = False
        self._final = {name: self._own(name, value) for name, value in (final or {}).items()}
        self._ending = {"status": status, "end": layout.now(), "summary": layout.to_json(dict(summary or {}))}
        if not self._laid_out:
            self._settle(self._reached_at_least())
        if self._laid_out:
            self._end()

    def _end(self) -> None:
        self._need_file()
        try:
            if not self._failed:
                self._settle(self._reached_at_least())
                self._flush_tables()
                self._conclude()
        finally:
            (recovery.abandon if self._failed else h5py.File.close)(self._file)
            if self._lock is not None:
                self._lock.release()

    def _reached_at_least(self) -> int:
        """Return the last tick of which something is known; nobody says of a failed run that it is over."""
        rows = self._pending.rows()
        updates = rows["tick"][rows["kind"] == layout.UPDATE]
        ticks = updates, rows["sent"], self._faults.rows()["tick"]
        return max(self._seen, *(int(each.max(initial=-1)) for each in ticks))

    def _conclude(self) -> None:
        """Write what is known at the end only: new values of what is there, so that the file stays whole."""
        with self._writing():
            for name, counts in self._traffic.items():
                self._file["network"][name][...] = counts
            for name, values in self._final.items():
                self._finals[name][...] = values
            for name, text in self._ending.items():
                recovery.set_text(self._file, name, text)
            self._file.flush()
            if self.path is None:
                image = self._file.id.get_file_image()
                # HDF5 1.14 takes the mark out of an image and leaves the checksum as it was
                start, rest = image[: superblock.SIZE], image[superblock.SIZE :]
                self._image = superblock.cleared(start, len(image)) + rest

    def trace(self) -> Trace:
        """Return the trace that was written, open for reading; only after ``finish``."""
        if self._open:
            raise TraceError("trace: is still being written; finish it first")
        if self.path is not None:
            return reader.open(self.path)
        image = self._image
        return reader.Trace((lambda: image) if image else self._in_memory)

    def _in_memory(self) -> bytes:
        """Return the bytes of a trace whose rows are all in buffers, as they are written only now."""
        if not self._image:
            self._end()
        return self._image

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.finish("complete" if error is None else "interrupted")


def _squeezed(name: str, value: ArrayLike, replicas: int) -> np.ndarray:
    """Return values (replica, ...) as the file holds them: without the axis where there is one replica."""
    array = np.asarray(value)
    if array.shape[:1] != (replicas,):
        raise TraceError(f"{name}: must have replicas as its first axis, {replicas}, got shape {array.shape}")
    return array if replicas > 1 else array[0]
