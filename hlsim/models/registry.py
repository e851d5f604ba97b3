"""Models, activations, rules and losses of a user's own: taken into the catalogues by name."""

import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hlsim import usercode
from hlsim.errors import ExperimentError, is_real
from hlsim.models.catalogue import Catalogue
from hlsim.models.losses import LOSSES, Loss
from hlsim.models.neurons import ACTIVATIONS, MODELS, RESERVED, Activation, Neuron
from hlsim.models.rules import RULES, Rule

T = TypeVar("T")
# Whose entries are instances; those of the rules are classes.
_CATALOGUES: tuple[tuple[type, Catalogue[Any]], ...] = (
    (Neuron, MODELS),
    (Activation, ACTIVATIONS),
    (Loss, LOSSES),
)
# Keys that every rule has.
_KEYS = ("rule", "reset")
# Files that were run, by path: a digest of the text, and what it defines.
_LOADED: dict[Path, tuple[bytes, list[Any]]] = {}


def register(thing: T) -> T:
    """Let graphs and experiments name a neuron model, an activation, a loss or a rule.

    Parameters
    ----------
    thing : Neuron, Activation or Loss, or a class of them; a class of Rule
        Known by its ``name`` from then on. One registered before under that name is replaced, one of hlsim's
        own is not. A class of models, activations or losses is called without arguments.

    Returns
    -------
    thing
        As it was given, so that ``@register`` may stand above a class.

    Raises
    ------
    ExperimentError
        It is none of these, or something of it has no meaning: in one line.
    """
    entry: Any = thing
    if inspect.isclass(thing) and not issubclass(thing, Rule):
        if not issubclass(thing, tuple(kind for kind, _ in _CATALOGUES)):
            raise ExperimentError(_not_one(thing))
        entry = thing()
    if inspect.isclass(entry):
        _check_rule(entry)  # type: ignore[arg-type]
        RULES.add(entry)  # type: ignore[arg-type]
        return thing
    for kind, catalogue in _CATALOGUES:
        if isinstance(entry, kind):
            if isinstance(entry, Neuron):
                _check_model(entry)
            if isinstance(entry, Loss) and entry.name in ("none", "python"):
                raise ExperimentError(f"register: loss {entry.name!r} means something else")
            catalogue.add(entry)
            return thing
    raise ExperimentError(_not_one(thing))


def _not_one(thing: object) -> str:
    kinds = "a neuron model, an activation, a loss, or a class of rules"
    return f"register: must be {kinds}, got {thing!r}"


def _check_model(model: Neuron) -> None:
    where = f"register: neuron model {model.name!r}"
    for name, value in model.parameters.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise ExperimentError(f"{where}: parameters need names of letters and digits, got {name!r}")
        if name in RESERVED:
            raise ExperimentError(f"{where}: parameter {name!r} is an attribute of every node")
        if not is_real(value):
            raise ExperimentError(f"{where}: parameter {name!r} needs a finite number, got {value!r}")

    if not model.fields:
        raise ExperimentError(f"{where}: needs a field, its state")
    _check_names(where, model.fields)
    if "complex" in model.fields.values():
        raise ExperimentError(f"{where}: fields are real, got a complex one: declare its two parts")
    plain = not (model.instant or model.is_input or model.reads_out or model.relaxes)
    if len(model.fields) > 1 and not plain:
        raise ExperimentError(f"{where}: several fields have no meaning where it is instant or relaxes")
    if model.emits and (model.instant or model.is_input or model.reads_out):
        raise ExperimentError(f"{where}: fires has no meaning where it is instant")


def _check_rule(rule: type[Rule]) -> None:
    where = f"register: rule {rule.name!r}"
    if not is_dataclass(rule):
        raise ExperimentError(f"{where}: its class must be a frozen dataclass")
    fields = rule.__dataclass_fields__
    for name in vars(rule).get("__annotations__", {}):
        # Without the decorator what its class adds would be read by nobody.
        if name not in fields:
            raise ExperimentError(f"{where}: its class must be a frozen dataclass, as {name!r} is no field")
    for name in fields:
        if name in _KEYS:
            raise ExperimentError(f"{where}: parameter {name!r} is a key of every rule")
    _check_names(where, rule.synapse_fields)


def _check_names(where: str, names: Iterable[str]) -> None:
    for name in names:
        if not (isinstance(name, str) and name.isidentifier()) or name.startswith("_"):
            raise ExperimentError(f"{where}: a field needs a name of letters and digits, got {name!r}")


def load(path: str | Path) -> None:
    """Run a Python file and register what it defines; one that ran before as it is, is not run again.

    Whatever the file registers counts, and so do classes of its own that have a name.

    Raises
    ------
    ExperimentError
        There is no such file, it fails, or defines nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise ExperimentError(f"{path}: no such file")
    text, key = hashlib.sha256(path.read_bytes()).digest(), path.resolve()
    if key not in _LOADED or _LOADED[key][0] != text:
        _LOADED[key] = text, _defined(path)
    for thing in _LOADED[key][1]:
        name = getattr(thing, "__name__", None) or thing.name
        usercode.guarded(path, name, partial(register, thing), ExperimentError)


def _defined(path: Path) -> list[Any]:
    """Run a file and return what it defines or has registered itself."""
    catalogues = (RULES, *(catalogue for _, catalogue in _CATALOGUES))
    before = {id(entry) for catalogue in catalogues for entry in catalogue.values()}
    module = usercode.module(path, ExperimentError)
    found = [entry for catalogue in catalogues for entry in catalogue.values() if id(entry) not in before]
    known = {entry if inspect.isclass(entry) else type(entry) for entry in found}
    kinds = (Rule, *(kind for kind, _ in _CATALOGUES))
    for cls in vars(module).values():
        own = inspect.isclass(cls) and issubclass(cls, kinds) and cls.__module__ == module.__name__
        if own and cls not in known and not inspect.isabstract(cls) and not cls.__name__.startswith("_"):
            found.append(cls)
    if not found:
        raise ExperimentError(f"{path}: defines no neuron model, activation, rule or loss")
    return found
