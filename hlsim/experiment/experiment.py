"""Experiments: a folder with an ``experiment.toml`` and a topology, read, checked and built."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any

import tomli_w

from hlsim import models, topology, usercode
from hlsim.errors import ExperimentError, check_count, shown
from hlsim.experiment.parsing import names, override, parse
from hlsim.experiment.settings import Settings, StageTable, SweepTable
from hlsim.models.losses import LOSSES, Custom, Loss
from hlsim.models.rules import RULES, Rule
from hlsim.models.rules.phi import of_form
from hlsim.simulation import Simulation, checkpoints
from hlsim.simulation.noise import Noise
from hlsim.simulation.watch import Progress
from hlsim.stimulus import SOURCES, Stage, Stream
from hlsim.textdata import read_toml
from hlsim.topology.checking import refuse_foreign
from hlsim.topology.network import Network, flatten
from hlsim.trace import Trace, reader

FILE = "experiment.toml"


@dataclass(frozen=True)
class Experiment:
    """An experiment with every default filled in and every override applied.

    Attributes
    ----------
    settings : Settings
        Its tables; docs/experiment.md describes every key.
    path : Path
        The file it was read from. Relative paths inside it start from the file's folder.
    """

    settings: Settings
    path: Path

    @property
    def name(self) -> str:
        """Return the folder's name, or the file's where it is not called experiment.toml."""
        path = self.path.resolve()
        return path.parent.name if path.name == FILE else path.stem

    def toml(self) -> str:
        """Return all of the experiment as TOML, defaults too; ``load`` reads it back."""
        data = self.settings.model_dump(exclude_none=True)
        if self.settings.stimulus.source is None:
            del data["stimulus"]
        if self.settings.sweep == SweepTable():
            del data["sweep"]
        stages = data.pop("stage")
        return tomli_w.dumps(data) + "".join(map(_stage_toml, stages))

    def simulation(self) -> Simulation:
        """Build the simulation.

        Raises
        ------
        HlsimError
            For anything that does not fit together, in one line.
        """
        table = self.settings.simulation
        made = Simulation(
            self.network,
            rule=self.rule(),
            stimulus=self.stream,
            loss=self.loss(),
            stages=self.stages(),
            hold=self.settings.stimulus.hold,
            target_delay=self.settings.stimulus.target_delay,
            reset=self.settings.learning.reset,
            noise=self.noise(),
            faults=self.settings.faults.build(),
            experiment=self.toml(),
            **table.model_dump(exclude={"until", "checkpoint_every"}),
        )
        made.origin = str(self.path.resolve())
        return made

    def run(
        self,
        record: str | Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        *,
        overwrite: bool = False,
        interruptible: bool = False,
    ) -> Trace:
        """Build the simulation and run it to its end; see ``Simulation.run`` for the parameters."""
        table = self.settings.record
        return self.simulation().run(
            self.settings.simulation.until,
            record,
            every=table.every,
            sampled=table.sampled,
            events=table.events,
            progress=progress,
            overwrite=overwrite,
            checkpoint_every=self.settings.simulation.checkpoint_every,
            interruptible=interruptible,
        )

    @cached_property
    def network(self) -> Network:
        """Build the topology with its parameters and flatten it."""
        table, simulation = self.settings.network, self.settings.simulation
        graph = topology.load(self._file(table.topology), table.parameters)
        if table.foreign == "refuse":
            refuse_foreign(graph)
        seeds = range(simulation.seed, simulation.seed + simulation.ensemble)
        return flatten(
            graph,
            node_defaults=self.settings.learning.node_defaults | table.node_defaults,
            edge_defaults=table.edge_defaults,
            seeds=seeds,
            dt=simulation.dt,
            balance=table.balance,
        )

    @cached_property
    def stream(self) -> Stream | None:
        """Open the source of rows; None: nothing is presented."""
        table = self.settings.stimulus
        if table.source is None:
            return None
        parameters = table.parameters
        if "path" in parameters:
            parameters["path"] = self._file(parameters["path"])
        return SOURCES[table.source](**parameters)

    def rule(self) -> Rule:
        """Return the learning rule."""
        table = self.settings.learning
        return RULES[table.rule](**table.parameters)

    def noise(self) -> Noise | None:
        """Return the noise on the drive; None where there is none."""
        table = self.settings.noise
        return Noise(**table.model_dump()) if table.std else None

    def loss(self) -> Loss | None:
        """Return the loss."""
        table = self.settings.loss
        if table.path is not None:
            return Custom(
                usercode.function(self._file(table.path), table.function or "loss", ExperimentError)
            )
        return LOSSES.get(table.kind)

    def stages(self) -> list[Stage] | None:
        """Return the stages; None: one stage that learns over the stream as it is."""
        return [_stage(table) for table in self.settings.stage] or None

    def _file(self, path: str) -> Path:
        return self.path.parent / path

    def __reduce__(self) -> tuple[Any, ...]:
        # as text: the tables of rules and sources are classes made while a program runs, which pickle refuses
        return _from_text, (self.toml(), self.path)


def resume(
    trace: str | Path,
    until: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    *,
    path: str | Path | None = None,
    interruptible: bool = False,
) -> Trace:
    """Go on with the trace of an experiment from the checkpoint beside it; see ``Simulation.resume``.

    The experiment is that which stands in the trace, with the files that it names; they are run, as they are
    by ``load``.

    Parameters
    ----------
    trace : path
    until : int, optional
        Up to another tick than the experiment says.
    path : str or Path, optional
        The folder or file of the experiment, where it is not where it was.

    Raises
    ------
    HlsimError
        There is no checkpoint, it is of something else, or the trace has come to its end.
    """
    return (
        resumed(trace, until, path)
        .simulation()
        .resume(trace, until, progress=progress, interruptible=interruptible)
    )


def resumed(trace: str | Path, until: int | None = None, path: str | Path | None = None) -> Experiment:
    """Return the experiment of a trace that is to be gone on with; see ``resume``."""
    checkpoints.check_unfinished(Path(trace), until)
    found = checkpoints.read(Path(trace))
    text, origin = str(reader.attributes(Path(trace))["experiment"]), str(found.about["origin"])
    if not (text and origin):
        raise ExperimentError(f"{trace}: is of no experiment; Simulation.resume goes on with it")
    file = Path(origin if path is None else path)
    file = file / FILE if file.is_dir() else file
    if not file.is_file():
        raise ExperimentError(f"{file}: the experiment of {trace} is not there; say where it is")
    data = read_toml(text)
    if until is not None:
        check_count("until", until)
        data["simulation"]["until"] = until
    _register(data, file)
    return Experiment(parse(data, str(trace)), file)


def _from_text(text: str, path: Path) -> Experiment:
    data = read_toml(text)
    _register(data, path)
    return Experiment(parse(data, path.name), path)


def _register(data: dict[str, Any], file: Path) -> None:
    """Register what files of the user's define, before anything is checked that may name it."""
    table = data.get("network")
    named = table.get("models", []) if isinstance(table, dict) else []
    for name in [named] if isinstance(named, str) else named if isinstance(named, list) else []:
        # What is no name is refused with the other values.
        if isinstance(name, str) and name:
            models.load(file.parent / name)


def _stage(table: StageTable) -> Stage:
    given = table.model_dump()
    phi = given.pop("phi")
    return Stage(**given, phi=None if phi is None else of_form(phi))


def _stage_toml(stage: dict[str, Any]) -> str:
    """Return one ``[[stage]]``; tomli-w would write short ones in a line, before all other tables."""
    tables = {key: stage.pop(key) for key in list(stage) if isinstance(stage[key], dict)}
    parts = [f"\n[stage.{key}]\n{tomli_w.dumps(table)}" for key, table in tables.items()]
    return "\n[[stage]]\n" + tomli_w.dumps(stage) + "".join(parts)


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment.

    Parameters
    ----------
    path : str or Path
        A folder that holds an ``experiment.toml``, or a TOML file of any name.
    overrides : sequence of str
        Each ``table.key=value``, see ``hlsim.experiment.parsing``. Later ones win over earlier ones and over
        the file.

    Raises
    ------
    ExperimentError
        Where the file or an override is wrong.
    """
    file = Path(path)
    file = file / FILE if file.is_dir() else file
    data = _read(file)
    _check_grid(file, data)
    origin = {override(data, text): f"--set {text}" for text in overrides}
    _check_paths(file, data, origin)
    _register(data, file)
    return Experiment(parse(data, file.name, origin), file)


# Keys that name files. A stranger's experiment reads its own.
PATHS = (("network", "topology"), ("network", "models"), ("stimulus", "path"), ("loss", "path"))


def _check_paths(file: Path, data: Mapping[str, Any], origin: Mapping[Any, str]) -> None:
    """Refuse paths of the file's own that lead out of its folder, before anything that they name is run."""
    for key in PATHS:
        table = data.get(key[0])
        if isinstance(table, dict) and not any(key[: len(given)] == given for given in origin):
            named = table.get(key[1])
            for value in named if isinstance(named, list) else [named]:
                _check_below(file, ".".join(key), value)


def _check_grid(file: Path, data: Mapping[str, Any]) -> None:
    """Refuse values of the file's own sweep that lead out of its folder."""
    sweep = data.get("sweep")
    grid = sweep.get("grid") if isinstance(sweep, dict) else None
    for key, values in grid.items() if isinstance(grid, dict) else ():
        if tuple(names(key)) in PATHS and isinstance(values, list):
            for value in values:
                _check_below(file, f"sweep.grid.{key}", value)


def _check_below(file: Path, key: str, value: object) -> None:
    """Refuse a path that leads out of the experiment's folder."""
    folder = os.path.realpath(file.parent)
    if isinstance(value, str) and not Path(os.path.realpath(file.parent / value)).is_relative_to(folder):
        raise ExperimentError(
            f"{file.name}: {key} must be a file in the experiment's folder or below it, got {shown(value)}; "
            f"--set takes any"
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_toml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExperimentError(f"{file}: cannot read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ExperimentError(f"{file}: must be UTF-8 text, byte {error.start} is not") from None
    except TOMLDecodeError as error:
        message, _, place = str(error).removesuffix(")").rpartition(" (at ")
        raise ExperimentError(f"{file.name}: {place}: {message}") from None
    except ValueError as error:
        raise ExperimentError(f"{file.name}: {error}") from None
