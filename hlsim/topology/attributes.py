"""What nodes and edges may carry: every attribute with its meaning, its default and its rule."""

import difflib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlsim.draws import Normal, Uniform, UniformTicks
from hlsim.errors import LARGEST, TopologyError, is_real, plain, shown, unknown
from hlsim.models import neurons
from hlsim.textdata import STORABLE, storable

ARRAY = "of shape (target size, source size)"


@dataclass(frozen=True)
class Attribute:
    """One attribute of a node or edge.

    Attributes
    ----------
    meaning : str
        One line of documentation.
    default : object
        The value of an element that does not carry the attribute, as ``parse`` would return it.
    parse : callable
        Turns a written value into the one the simulator uses, or raises ValueError(rule), which continues the
        sentence "weight ...", or LookupError(a sentence of its own).
    takes : callable, optional
        Tells of an array of floats which of them ``parse`` returns as they are.
    """

    meaning: str
    default: Any
    parse: Callable[[Any], Any]
    takes: Callable[[NDArray[np.float64]], NDArray[np.bool_]] | None = None


def parsed(attribute: Attribute, where: str, name: str, value: object) -> Any:
    """Return a value as ``attribute.parse`` has it; TopologyError names where, rule and value."""
    try:
        return attribute.parse(value)
    except (ValueError, LookupError) as error:
        raise refusal(where, name, value, error) from None


# What other programs write, and nobody who meant one of ours: most of it says how a graph is drawn.
_ELSEWHERE = frozenset({"degree", "height", "lat", "layer", "part", "partition", "shape"})


def check_foreign(name: object, known: Collection[str]) -> None:
    """Raise LookupError for a name that may be one of ours misspelt, or that is no text."""
    if not isinstance(name, str):
        raise LookupError(f"names of attributes are text, got {shown(name)}")
    if not storable(name):
        raise LookupError(f"attribute {shown(name)}: its name {STORABLE}")
    if name not in _ELSEWHERE and difflib.get_close_matches(name, known, n=1):
        raise LookupError(unknown("attribute", name, known))


def check_held(value: object) -> None:
    """Raise ValueError(rule) for a value that JSON cannot hold; what it has no form for is held as text."""
    try:
        text = json.dumps(value, default=repr)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("must be what JSON can hold") from None
    if not storable(text):
        raise ValueError(STORABLE)


def refusal(where: str, name: str, value: object, error: ValueError | LookupError) -> TopologyError:
    """Return the error that tells a user what ``parse`` refused."""
    if isinstance(error, LookupError):
        return TopologyError(f"{where}: {error.args[0]}")
    return TopologyError(f"{where}: {name} {error}, got {shown(value)}")


def is_whole(value: Any, least: int) -> bool:
    """Tell whether a value is a whole number >= least. 2.0 is one: some programs write no integers."""
    if type(value) is not int and not (is_real(value) and int(value) == value):
        return False
    return least <= value < LARGEST


def number(rule: str, holds: Callable[[float], bool]) -> Callable[[Any], float]:
    """Make the parser of a finite number for which ``holds`` is true."""

    def parse(value: Any) -> float:
        if not (is_real(value) and holds(value)):
            raise ValueError(rule)
        return float(value)

    return parse


def whole(least: int, unit: str = "") -> Callable[[Any], int]:
    """Make the parser of a whole number >= least."""

    def parse(value: Any) -> int:
        if not is_whole(value, least):
            number = plain(value)
            too_large = isinstance(number, int | float) and number >= LARGEST
            bound = f" and < 2**53 = {LARGEST}" if too_large else ""
            raise ValueError(f"must be a whole number{unit} >= {least}{bound}")
        return int(value)

    return parse


def choice(what: str, known: Callable[[], Iterable[str]]) -> Callable[[Any], str]:
    """Make the parser of one of the names that are known when it is called."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in known():
            raise LookupError(unknown(what, value if isinstance(value, str) else shown(value), known()))
        return str(value)

    return parse


def _lag(value: Any) -> int | str:
    if isinstance(value, str) and value == "matched":
        return "matched"
    try:
        return whole(0)(value)
    except ValueError:
        raise ValueError("must be 'matched' or a whole number of ticks >= 0") from None


def _text(value: Any) -> str:
    value = plain(value)
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if not storable(value):
        raise ValueError(STORABLE)
    return str(value)


def _truth(value: Any) -> bool:
    if not isinstance(plain(value), bool):
        raise ValueError("must be true or false")
    return bool(value)


def _probability(value: Any) -> float:
    if not (is_real(value) and 0 < value <= 1):
        raise ValueError("must be a probability > 0 and <= 1")
    return float(value)


def _weight(value: Any) -> float | np.ndarray | Normal | Uniform:
    if is_real(value):
        return float(value)
    if isinstance(value, Mapping):
        return _distribution("weight", value, {"normal": _normal, "uniform": _uniform})
    array = _matrix(value)
    if array is None or not np.isfinite(array).all():
        forms = f"an array {ARRAY} of them, {{'normal': std}} or {{'uniform': [low, high]}}"
        raise ValueError(f"must be a finite number, {forms}")
    return array.astype(np.float64)


def _delay(value: Any) -> int | np.ndarray | UniformTicks:
    if is_whole(value, 0):
        return int(value)
    if isinstance(value, Mapping):
        return _distribution("delay", value, {"uniform": _uniform_ticks})
    array = _matrix(value)
    if array is None:
        return whole(0, " of ticks")(value)
    with np.errstate(invalid="ignore"):
        good = (array >= 0) & (array < LARGEST) & (array == np.round(array))
    if not good.all():
        raise ValueError(f"must be whole numbers of ticks >= 0 in an array {ARRAY}")
    return array.astype(np.int64)


def _matrix(value: Any) -> np.ndarray | None:
    """Return a table of numbers as an array; None for anything else."""
    if is_real(value) or not (isinstance(value, list | tuple) or hasattr(value, "__array__")):
        return None
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):
        return None
    return array if array.ndim == 2 and array.dtype.kind in "iuf" else None


def _distribution(name: str, value: Mapping[Any, Any], known: Mapping[str, Callable[[Any], Any]]) -> Any:
    if len(value) != 1:
        raise ValueError(f"must name one distribution out of {', '.join(known)}")
    (kind, parameters), *_ = value.items()
    if kind not in known:
        raise LookupError(unknown(f"distribution of {name}", kind, known))
    return known[kind](parameters)


def _normal(std: Any) -> Normal:
    if not (is_real(std) and std >= 0):
        raise ValueError("needs a finite standard deviation >= 0 in {'normal': std}")
    return Normal(float(std))


def _pair(ends: Any, good: Callable[[Any], bool]) -> tuple[Any, Any] | None:
    """Return (low, high) where both are good and in order."""
    if not isinstance(ends, list | tuple | np.ndarray) or len(ends) != 2:
        return None
    low, high = ends
    return (low, high) if good(low) and good(high) and low <= high else None


def _uniform(ends: Any) -> Uniform:
    pair = _pair(ends, is_real)
    if pair is None:
        raise ValueError("needs finite numbers low <= high in {'uniform': [low, high]}")
    return Uniform(float(pair[0]), float(pair[1]))


def _uniform_ticks(ends: Any) -> UniformTicks:
    pair = _pair(ends, lambda end: is_whole(end, 0))
    if pair is None:
        raise ValueError("needs whole numbers of ticks 0 <= low <= high in {'uniform': [low, high]}")
    return UniformTicks(int(pair[0]), int(pair[1]))


_POSITIVE = number("must be finite and > 0", lambda x: x > 0)
_AT_LEAST_0 = number("must be finite and >= 0", lambda x: x >= 0)
_FINITE = number("must be a finite number", lambda _: True)
# Parameters of neuron models that have a rule beyond being finite.
PARAMETER_RULES: Mapping[str, Callable[[Any], float]] = {"tau": _POSITIVE}
_NODE: Mapping[str, Attribute] = {
    "model": Attribute("neuron model", "leaky", choice("model", lambda: neurons.MODELS)),
    "size": Attribute("neurons of a population, labelled name[i]", None, whole(1)),
    "activation": Attribute("activation function", "tanh", choice("activation", lambda: neurons.ACTIVATIONS)),
    "bias": Attribute("initial bias, learned like a synapse with s = 1; absent: none", None, _FINITE),
    "role": Attribute(
        "fed by a column of the stimulus, or compared with one of the target",
        None,
        choice("role", lambda: ("input", "output")),
    ),
    "group": Attribute("locality group: a layer, a core, a device", "", _text),
    "update": Attribute(
        "when the neuron is updated", "arrival", choice("update", lambda: ("arrival", "clock"))
    ),
    "period": Attribute("ticks between updates of a clocked neuron", 1, whole(1, " of ticks")),
    "phase": Attribute("first tick of a clocked neuron, < period", 0, whole(0, " of ticks")),
    "send_threshold": Attribute(
        "least change of h that is sent; 0 for clocked and input nodes, 0.001 for arrival", None, _AT_LEAST_0
    ),
    "costate_threshold": Attribute(
        "least change of q that is sent; 0 for clocked and input nodes, 0.001 for arrival", None, _AT_LEAST_0
    ),
    "send_interval": Attribute("least ticks between two sends of a kind", 1, whole(1, " of ticks")),
    "lag": Attribute(
        "ticks ago of the slope and of the states heard that a costate meets; matched: those it belongs to",
        None,
        _lag,
    ),
    "refresh": Attribute(
        "most ticks without an update while a neuron on arrival learns", 100, whole(1, " of ticks")
    ),
}
_EDGE: Mapping[str, Attribute] = {
    "weight": Attribute(
        f"initial weight: a number, array {ARRAY}, {{'normal': std}} or {{'uniform': [low, high]}}",
        1.0,
        _weight,
        takes=np.isfinite,
    ),
    "connect": Attribute(
        "which members of two populations are connected",
        "dense",
        choice("connect", lambda: ("dense", "one_to_one", "random")),
    ),
    "in_degree": Attribute("sources of every target under connect = 'random'", None, whole(1)),
    "probability": Attribute("of every pair under connect = 'random'", None, _probability),
    "delay": Attribute(
        f"ticks a state travels: a number, array {ARRAY} or {{'uniform': [low, high]}}, ends included",
        0,
        _delay,
    ),
    "feedback_delay": Attribute("ticks a costate travels, like delay; absent: the delay", None, _delay),
    "feedback": Attribute(
        "weight that a costate meets: the synapse's own, a fixed random one, or no costate is sent "
        "(nor is one ever sent to input nodes)",
        "symmetric",
        choice("feedback", lambda: ("symmetric", "random", "none")),
    ),
    "plastic": Attribute("whether the weight is learned", True, _truth),
    "symmetric": Attribute(
        "whether there is a synapse back as well, with the same weight and delays of its own draw",
        False,
        _truth,
    ),
    "beta": Attribute(
        "weight rate; absent: the rule's",
        None,
        _AT_LEAST_0,
        takes=lambda beta: np.isfinite(beta) & (beta >= 0),
    ),
}


def node_attributes() -> dict[str, Attribute]:
    """Return the table of node attributes: the common ones and the parameters of all known models."""
    table = dict(_NODE)
    for model in neurons.MODELS.values():
        for name in model.parameters:
            parse = PARAMETER_RULES.get(name, _FINITE)
            table[name] = Attribute(f"parameter of model {model.name}", None, parse)
    return table


def edge_attributes() -> dict[str, Attribute]:
    """Return the table of edge attributes."""
    return dict(_EDGE)
