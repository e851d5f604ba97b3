"""What an ``experiment.toml`` may hold: every table and key, its type, default and rule.

The models hold plain TOML values only, so that a resolved experiment can be written back as TOML. What they
refuse, ``hlsim.experiment.parsing`` puts in words.
"""

import dataclasses
import functools
import inspect
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    create_model,
    model_validator,
)

from hlsim.draws import SEEDS
from hlsim.errors import LARGEST, ExperimentError, is_count, is_real, shown, unknown
from hlsim.models.losses import LOSSES
from hlsim.models.messages import MESSAGES
from hlsim.models.neurons import node_fields
from hlsim.models.rules import RULES, synapse_fields
from hlsim.models.rules import Phi as RulePhi
from hlsim.models.rules.phi import of_form
from hlsim.simulation.checkpoints import period
from hlsim.simulation.faults import Change, Faults, Links
from hlsim.stimulus import SOURCES
from hlsim.trace.layout import EVENTS, quantities

# Keys that choose links.
CHOOSING = ("source", "target", "across_groups", "messages")
PHI_FORMS = "must be a number, { gate = ticks, value = x } or { schedule = [[tick, value], ...] }"


class Table(BaseModel):
    """A table of an experiment: unknown keys are refused, no value is converted or repaired."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def sampleable() -> tuple[str, ...]:
    """Return all that can be sampled under some rule."""
    return tuple(quantities(synapse_fields(), node_fields()))


def _one_of(what: str, known: Callable[[], Iterable[str]]) -> AfterValidator:
    # Asked when a name is checked: users add to some of the tables.
    def check(name: str) -> str:
        names = tuple(known())
        if name not in names:
            raise ValueError(unknown(what, name, names))
        return name

    return AfterValidator(check)


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError(f"must name each once, got {names}")
    return names


Positive = Annotated[int, Field(ge=1, lt=LARGEST)]
Natural = Annotated[int, Field(ge=0, lt=LARGEST)]
Rate = Annotated[float, Field(ge=0)]
Step = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]


class GateForm(Table):
    """phi is 0 for the first ``gate`` ticks of every row and ``value`` after them."""

    gate: Natural
    value: float = 1.0


def _points(points: list[Any]) -> list[Any]:
    last = -1
    for point in points:
        if not (isinstance(point, list) and len(point) == 2 and all(map(is_real, point))):
            raise ValueError(f"must hold pairs [tick, value], got {shown(point)}")
        if not is_count(point[0], last + 1):
            raise ValueError(f"must have whole ticks >= 0 that rise, got {shown(point[0])} after {last}")
        last = point[0]
    return [[tick, float(value)] for tick, value in points]


class ScheduleForm(Table):
    """phi is the value of the last pair [tick, value] whose tick has come; 0 before the first."""

    schedule: Annotated[list[Any], Field(min_length=1), AfterValidator(_points)]


def _phi_form(value: object) -> str | None:
    if is_real(value):
        return "number"
    for form, model in (("gate", GateForm), ("schedule", ScheduleForm)):
        if isinstance(value, model) or (isinstance(value, Mapping) and form in value):
            return form
    return None


Phi = Annotated[
    Annotated[float, Tag("number")]
    | Annotated[GateForm, Tag("gate")]
    | Annotated[ScheduleForm, Tag("schedule")],
    Discriminator(_phi_form, custom_error_type="phi_form", custom_error_message=PHI_FORMS),
]


class NetworkTable(Table):
    topology: Text
    models: Text | list[Text] | None = None
    parameters: dict[str, Any] = {}
    balance: bool = False
    node_defaults: dict[str, Any] = {}
    edge_defaults: dict[str, Any] = {}
    foreign: Literal["keep", "refuse"] = "keep"


def _period(value: Any) -> Any:
    try:
        period(value)
    except ExperimentError as error:
        raise ValueError(str(error).removeprefix("checkpoint_every: ")) from None
    return value


class SimulationTable(Table):
    until: Positive | None = None
    checkpoint_every: Annotated[Any, AfterValidator(_period)] = None
    dt: Step = 1.0
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    dtype: Literal["float32", "float64"] = "float32"
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    engine: Literal["batched", "reference"] = "batched"
    compiled: Literal["auto", "always", "never"] = "auto"
    threads: Positive = 1
    batch: Positive = 1
    ensemble: Positive = 1


def _matched_or_ticks(value: object) -> object:
    if value not in ("matched", None) and not is_count(value, 0):
        raise ValueError(f'must be "matched" or a whole number of ticks >= 0, got {shown(value)}')
    return value


class LearningTable(Table):
    """Keys of no field here are the rule's own and are checked against its parameters."""

    model_config = ConfigDict(extra="allow")

    rule: Annotated[str, _one_of("rule", lambda: RULES)] = "hamiltonian"
    reset: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what the rule takes."""
        given = self.model_dump(include={field.name for field in _parameters(RULES[self.rule])})
        # of what a rule takes only phi may be a table
        return {name: of_form(value) if isinstance(value, dict) else value for name, value in given.items()}

    @property
    def node_defaults(self) -> dict[str, Any]:
        """Return what it says of nodes: their lag, where that is no parameter of the rule's own."""
        lag = None if "lag" in self.parameters else getattr(self, "lag", None)
        return {} if lag is None else {"lag": lag}


# How the annotation of a rule's parameter reads in TOML; bounds that are not here the rule checks itself.
_OF_A_RULE: Mapping[Any, Any] = {
    float: float,
    int: Natural,
    int | None: Positive | None,
    bool: bool,
    str: Text,
    RulePhi: Phi,
}
# Those whose bounds are the same in every rule.
_RATES = ("beta", "eta", "weight_decay")


def learning_table(rule: str) -> type[LearningTable]:
    """Return the model of ``[learning]`` for a rule: its parameters beside the keys of every rule."""
    return _learning_table(RULES[rule])  # type: ignore[arg-type]


@functools.cache
def _learning_table(rule: Any) -> type[LearningTable]:
    parameters: dict[str, Any] = {"rule": (str, rule.name)}
    kinds = get_type_hints(rule)
    if rule.sends_costates:
        parameters["lag"] = (Annotated[Any, AfterValidator(_matched_or_ticks)], None)
    for field in _parameters(rule):
        kind = Rate if field.name in _RATES else choices(field) or _OF_A_RULE.get(kinds[field.name])
        if kind is None or field.default is dataclasses.MISSING:
            wanted = "needs a default, and a type among float, int, int | None, bool, str"
            raise ExperimentError(f"rule {rule.name!r}: parameter {field.name!r} {wanted}")
        parameters[field.name] = (kind, field.default)
    return create_model(
        f"{rule.name}Table", __base__=LearningTable, __cls_kwargs__={"extra": "forbid"}, **parameters
    )


def _parameters(rule: Any) -> "list[dataclasses.Field[Any]]":
    return [field for field in dataclasses.fields(rule) if field.init]


def choices(field: "dataclasses.Field[Any]") -> Any:
    """Return the type of a parameter that is one of a few words, as its metadata names them."""
    names = field.metadata.get("choices")
    return Literal[names] if names else None


class StimulusTable(Table):
    """Keys of no field here are the source's own and are checked against its parameters."""

    model_config = ConfigDict(extra="allow")

    source: Annotated[str, _one_of("source", lambda: SOURCES)] | None = None
    hold: Positive = 1
    target_delay: Annotated[Any, AfterValidator(_matched_or_ticks)] = 0

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the keys that belong to the source."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _keys_need_a_source(self) -> "StimulusTable":
        if self.source is None and self.model_fields_set:
            raise ValueError(f"needs a source for {', '.join(sorted(self.model_fields_set))}")
        return self


# How the annotation of a source's parameter reads in TOML; what is not here the source checks itself.
_IN_TOML: Mapping[Any, Any] = {
    int: int,
    float: float,
    bool: bool,
    str: Text,
    str | pathlib.Path: Text,
    Iterable[str]: list[Text],
}


def source_table(source: str) -> type[Table]:
    """Return the model of ``[stimulus]`` for a source: its parameters beside the keys of every stimulus."""
    own = {name: StimulusTable.model_fields[name] for name in ("hold", "target_delay")}
    fields: dict[str, Any] = {"source": (str, source)}
    fields |= {name: (field.rebuild_annotation(), field.default) for name, field in own.items()}
    config = Table.model_config.copy()
    for name, parameter in inspect.signature(SOURCES[source]).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            config["extra"] = "allow"
        elif name != "where":  # what errors call the stream is not the user's choice
            default = ... if parameter.default is parameter.empty else parameter.default
            default = list(default) if isinstance(default, tuple) else default
            fields[name] = (_IN_TOML.get(parameter.annotation, Any), default)
    return create_model(f"{source}Table", __config__=config, **fields)


class NoiseTable(Table):
    std: Rate = 0.0
    shared: bool = False
    every: Positive = 1


def _probability(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"must be a probability in [0, 1], got {value!r}")
    return value


Probability = Annotated[float, AfterValidator(_probability)]
Messages = Annotated[
    list[Annotated[str, _one_of("name", lambda: MESSAGES)]], Field(min_length=1), AfterValidator(_distinct)
]


class ChangeTable(Table):
    """Keys that choose links are all left out, or choose among all links."""

    tick: Natural
    down: bool | None = None
    delay: Natural | None = None
    loss: Probability | None = None
    jitter: Natural | None = None
    source: list[Text] | None = None
    target: list[Text] | None = None
    across_groups: bool | None = None
    messages: Messages | None = None

    def build(self) -> Change:
        """Return the change that faults take."""
        given = self.model_dump(exclude_none=True)
        chosen = {name: given.pop(name) for name in CHOOSING if name in given}
        return Change(links=Links(**chosen) if chosen else None, **given)


class FaultsTable(Table):
    loss: Probability = 0.0
    jitter: Natural = 0
    failing: Probability = 0.0
    downtime: Annotated[float, Field(ge=1)] = 1.0
    source: list[Text] = []
    target: list[Text] = []
    across_groups: bool = False
    messages: Messages = list(MESSAGES)
    manual: bool = False
    change: list[ChangeTable] = []

    def build(self) -> Faults:
        """Return the faults a simulation takes."""
        given = self.model_dump(exclude={"change"})
        links = Links(**{name: given.pop(name) for name in CHOOSING})
        return Faults(links=links, changes=[change.build() for change in self.change], **given)


class StageTable(Table):
    name: Text = "train"
    split: Text = "train"
    passes: Positive = 1
    shuffle: bool = False
    learn: bool = True
    rows: Positive | None = None
    phi: Phi | None = None
    hold: Positive | None = None
    noise: bool = True


class LossTable(Table):
    kind: Annotated[str, _one_of("kind", lambda: (*LOSSES, "none", "python"))] = "squared_error"
    path: Text | None = None
    function: Text | None = None

    @model_validator(mode="after")
    def _path_belongs_to_python(self) -> "LossTable":
        if self.kind == "python" and self.path is None:
            raise ValueError("kind = 'python' needs a path, the file that holds the function")
        if self.kind != "python" and (self.path or self.function):
            raise ValueError(f"path and function belong to kind = 'python', got kind = {self.kind!r}")
        return self


def _every(value: object) -> object:
    if not isinstance(value, Mapping):
        return _ticks("", value)
    known = ("default", *sampleable())
    for name, ticks in value.items():
        if name not in known:
            raise ValueError(unknown("name in every", name, known))
        _ticks(f"{name} ", ticks)
    return dict(value)


def _ticks(what: str, value: object) -> object:
    if not is_count(value):
        raise ValueError(f"{what}must be a whole number of ticks >= 1, got {shown(value)}")
    return value


class RecordTable(Table):
    every: Annotated[Any, AfterValidator(_every)] = 10
    sampled: (
        Annotated[list[Annotated[str, _one_of("name", sampleable)]], AfterValidator(_distinct)] | None
    ) = None
    events: Annotated[list[Annotated[str, _one_of("name", lambda: EVENTS)]], AfterValidator(_distinct)] = []


def _grid(grid: dict[str, Any]) -> dict[str, Any]:
    for key, values in grid.items():
        check_axis(key, values)
    return grid


class SweepTable(Table):
    grid: Annotated[dict[str, Any], AfterValidator(_grid)] = {}
    seeds: Positive = 1


def _names_differ(stages: list[StageTable]) -> list[StageTable]:
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise ValueError(f"must have names that differ, got {', '.join(names)}")
    return stages


class Settings(Table):
    """A whole experiment, with every default filled in."""

    network: NetworkTable
    simulation: SimulationTable = SimulationTable()
    learning: SerializeAsAny[LearningTable] = LearningTable()
    stimulus: StimulusTable = StimulusTable()
    noise: NoiseTable = NoiseTable()
    faults: FaultsTable = FaultsTable()
    stage: Annotated[list[StageTable], AfterValidator(_names_differ)] = []
    loss: LossTable = LossTable()
    record: RecordTable = RecordTable()
    sweep: SweepTable = SweepTable()


def check_axis(key: str, values: object) -> None:
    """Refuse a key that no sweep may have, and values that are no list of different ones: ValueError."""
    if "." not in key or key.startswith("sweep.") or isinstance(values, Mapping):
        raise ValueError(f'must have quoted keys as --set has them, "stimulus.hold" = [1, 2], got {key!r}')
    if key == "simulation.seed":
        raise ValueError("cannot hold simulation.seed: seeds = n runs n seeds of every combination")
    if not (isinstance(values, list) and values):
        raise ValueError(f"{key}: must be a list of one or more values, got {values!r}")
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{key}: values must differ, got {value!r} twice")
