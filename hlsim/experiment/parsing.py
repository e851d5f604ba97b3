"""Checks an experiment's tables; what is wrong becomes one line: where, rule, value."""

import re
from collections.abc import Iterable, Mapping
from tomllib import TOMLDecodeError
from typing import Any

from pydantic import ValidationError, create_model
from pydantic_core import ErrorDetails

from hlsim.errors import ExperimentError, shown, unknown
from hlsim.experiment.settings import (
    ChangeTable,
    GateForm,
    LearningTable,
    ScheduleForm,
    Settings,
    StageTable,
    StimulusTable,
    learning_table,
    source_table,
)
from hlsim.textdata import read_toml

# The keys that lead to a value; stages by their index.
Path = tuple[str | int, ...]


def parse(data: Mapping[str, Any], file: str, origin: Mapping[Path, str] | None = None) -> Settings:
    """Check an experiment's tables.

    Parameters
    ----------
    data : mapping
        What the TOML file says, with overrides applied.
    file : str
        Name to begin an error with.
    origin : mapping of key path to str, optional
        Which values came from the command line, and how they were written there.

    Raises
    ------
    ExperimentError
        The first thing that is wrong, in one line.
    """
    try:
        settings = Settings.model_validate({"network": {}, **data})
        own = {"stimulus": _with_source(settings.stimulus), "learning": _with_rule(settings.learning)}
        return settings.model_copy(update=own)
    except ValidationError as error:
        found = error.errors(include_url=False)
    # a misspelled key often is why another is missing: name it first
    found.sort(key=lambda e: e["type"] != "extra_forbidden")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise ExperimentError(f"{file}: {_explain(found[0], data)}{_source(found[0], origin or {})}{more}")


def _with_source(stimulus: StimulusTable) -> StimulusTable:
    """Check the keys that belong to the source and fill in its defaults."""
    if stimulus.source is None:
        return stimulus
    # as a part of the whole, so that errors tell the place in the file
    whole: Any = create_model("Whole", stimulus=(source_table(stimulus.source), ...))
    given = stimulus.model_dump(exclude_unset=True)
    filled = whole.model_validate({"stimulus": given}).stimulus
    return StimulusTable.model_validate(filled.model_dump(exclude_none=True))


def _with_rule(learning: LearningTable) -> LearningTable:
    """Check the keys that belong to the rule and fill in its defaults."""
    whole: Any = create_model("Whole", learning=(learning_table(learning.rule), ...))
    filled: LearningTable = whole.model_validate(
        {"learning": learning.model_dump(exclude_unset=True)}
    ).learning
    return filled


# What pydantic found -> the rule that was broken.
_RULES = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "finite_number": "must be finite",
    "greater_than": "must be > {gt:g}",
    "less_than": "must be < {lt}",
    "greater_than_equal": "must be >= {ge:g}",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "literal_error": "must be {expected}",
}


def _explain(found: ErrorDetails, data: Mapping[str, Any]) -> str:
    table, key = found["loc"][:-1], found["loc"][-1]
    if found["type"] == "extra_forbidden":
        return _titled(_place(table, data), unknown("key" if table else "table", key, _known(table, data)))
    if found["type"] == "missing":
        return f"{_place(table, data)}{key} is missing"
    if found["type"] == "value_error":
        message = found["msg"].removeprefix("Value error, ")
        names_its_key = message.startswith("unknown")
        return (
            _titled(_place(table, data), message) if names_its_key else _place(found["loc"], data) + message
        )
    rule = _RULES.get(found["type"], found["msg"].replace("{", "{{").replace("}", "}}"))
    rule = rule.format(**found.get("ctx", {}))
    return f"{_place(found['loc'], data)}{rule}, got {shown(found['input'])}"


def _titled(place: str, sentence: str) -> str:
    """Put a colon between a key and a sentence; a table's bracket needs none."""
    place = place.rstrip()
    if not place:
        return sentence
    return f"{place} {sentence}" if place.endswith("]") else f"{place}: {sentence}"


def _place(loc: Path, data: Mapping[str, Any]) -> str:
    """Return ``[table] key `` or ``[[stage]] 'name' key ``, as a reader of the file would look for it."""
    if not loc:
        return ""
    table, rest = loc[0], list(loc[1:])
    place = "[[stage]] " if table == "stage" else f"[{table}] "
    if table == "stage" and rest:
        stage = data["stage"][rest.pop(0)]
        place += f"{stage['name']!r} " if isinstance(stage, Mapping) and "name" in stage else f"{loc[1]} "
    # a form of phi is a tag of the model, not a key of the file
    keys = [key for before, key in zip([None, *rest], rest, strict=False) if before != "phi"]
    return place + (".".join(map(str, keys)) + " " if keys else "")


def _known(table: Path, data: Mapping[str, Any]) -> Iterable[str]:
    """Return the keys of the table at a place of the file."""
    model: Any = Settings
    if table == ("stimulus",):
        return source_table(data["stimulus"]["source"]).model_fields
    if table == ("learning",):
        return learning_table(data["learning"].get("rule", "hamiltonian")).model_fields
    if table and table[-1] in ("gate", "schedule"):
        model = GateForm if table[-1] == "gate" else ScheduleForm
    elif "change" in table:
        model = ChangeTable
    elif table:
        model = StageTable if table[0] == "stage" else Settings.model_fields[str(table[0])].annotation
    return model.model_fields


def _source(found: ErrorDetails, origin: Mapping[Path, str]) -> str:
    for path, text in origin.items():
        if found["loc"][: len(path)] == path:
            return f" (from {text})"
    return ""


def override(data: dict[str, Any], text: str) -> Path:
    """Set one value in the tables of an experiment and return its path.

    Parameters
    ----------
    data : dict
        Tables as they were read from TOML; changed in place. Tables on the way are made where there are none.
    text : str
        ``table.key=value``, a dotted TOML key and a TOML value; a bare word is a string. A stage is addressed
        by its name or its index.

    Raises
    ------
    ExperimentError
        The text is no override, or leads through something that is no table.
    """
    key, equals, value = text.partition("=")
    keys = names(key)
    if not (equals and keys):
        raise ExperimentError(f"--set {text}: must be table.key=value")
    path: Path = ()
    table: Any = data
    for name in keys[:-1]:
        path += (_key(text, table, name),)
        table = table.setdefault(name, {}) if isinstance(table, dict) else table[path[-1]]
        if not isinstance(table, dict | list):
            raise ExperimentError(f"--set {text}: {'.'.join(map(str, path))} must be a table, got {table!r}")
    path += (_key(text, table, keys[-1]),)
    table[path[-1]] = _value(text, value.strip())
    return path


def names(text: str) -> list[str]:
    """Return the names in a dotted TOML key; empty where it is none."""
    try:
        table: Any = read_toml(f"{text} = 0")
    except ValueError:
        return []
    found = []
    while isinstance(table, dict) and len(table) == 1:
        ((name, table),) = table.items()
        found.append(name)
    return found if table == 0 else []


def _key(text: str, table: dict[str, Any] | list[Any], name: str) -> str | int:
    """Return the key, or the index of the stage that has this name or index."""
    if isinstance(table, dict):
        return name
    stages = [entry.get("name", i) if isinstance(entry, dict) else i for i, entry in enumerate(table)]
    if name in stages:
        return stages.index(name)
    if name.isdecimal() and int(name) < len(table):
        return int(name)
    raise ExperimentError(f"--set {text}: {unknown('stage', name, stages)}")


def _value(text: str, value: str) -> Any:
    """Return a TOML value; what is none and does not begin like one is a string."""
    try:
        return read_toml(f"value = {value}")["value"]
    except ValueError as error:
        if not isinstance(error, TOMLDecodeError):
            raise ExperimentError(f"--set {shown(text)[1:-1]}: {error}") from None
        if re.match(r"""[\[{"']|$""", value):
            raise ExperimentError(
                f"--set {shown(text)[1:-1]}: value must be as in TOML, or a bare word, got {shown(value)}"
            ) from None
        return value
