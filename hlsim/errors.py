"""Errors a user can cause. Each names where, which rule, and the value that broke it, in one line."""

import difflib
import math
from collections.abc import Iterable
from typing import Any


class HlsimError(Exception):
    """Base of every error that is the user's to mend; the command line prints it as one line."""


class TopologyError(HlsimError, ValueError):
    """A graph, node or edge that cannot be simulated."""


class ExperimentError(HlsimError, ValueError):
    """An experiment, option or argument that has no meaning."""


class StimulusError(HlsimError, ValueError):
    """A stream that cannot be read or does not fit the network."""


class TraceError(HlsimError, OSError):
    """A trace that cannot be written or read."""


class LocalityError(HlsimError, AttributeError):
    """A rule or model asked for a value that is not its neuron's own."""


class NumericalError(HlsimError, ArithmeticError):
    """A state became infinite or NaN.

    Attributes
    ----------
    tick : int
        The first tick at which the state was not finite.
    node : str
        Label of the first such node, in canonical order.
    """

    def __init__(self, tick: int, node: str, what: str, value: object, hint: str = "") -> None:
        # SimPy makes an exception of a process anew from its arguments, and so does pickle.
        super().__init__(tick, node, what, value, hint)
        self.tick = tick
        self.node = node

    def __str__(self) -> str:
        tick, node, what, value, hint = self.args
        return f"tick {tick}: node {node!r}: {what} must stay finite, got {value}{hint}"

    def hinting(self, hint: str) -> "NumericalError":
        """Return the same error, which says what may help."""
        tick, node, what, value, _ = self.args
        return NumericalError(tick, node, what, value, hint)


class HlsimWarning(UserWarning):
    """Base of every warning: something that a run does, or finds, and that its user may not have meant."""


class StimulusWarning(HlsimWarning):
    """Rows that are not shown."""


class NumericalWarning(HlsimWarning):
    """Numbers that are finite still, and not to be trusted."""


def unknown(what: str, name: object, known: Iterable[object]) -> str:
    """Return ``unknown WHAT 'name'; known: a, b, c``, with the closest known name where there is one."""
    names = sorted(str(k) for k in known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown {what} {str(name)!r}{hint}; known: {', '.join(names)}"


def plain(value: Any) -> Any:
    """Return a scalar of NumPy, or of another library of arrays, as the Python value that it is.

    So is an array without dimensions. Anything else is returned as it is.
    """
    if getattr(value, "ndim", None) != 0 or not hasattr(value, "item"):
        return value
    value = value.item()
    return float(value) if hasattr(value, "item") else value  # a long double stays one


def plain_fields(record: object) -> None:
    """Make the fields of a frozen dataclass plain, before they are checked.

    Formulas would take the precision of a NumPy scalar for that of all they compute with it.
    """
    for name, value in list(vars(record).items()):
        object.__setattr__(record, name, plain(value))


def is_real(value: object) -> bool:
    """Tell whether a value is a finite real number; booleans are none."""
    if type(value) is float:  # nearly all of them, and the quickest to tell
        return math.isfinite(value)
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def check_number(where: str, value: object, least: float = -math.inf) -> None:
    """Refuse what is no finite number >= least: ExperimentError."""
    if not is_real(value) or value < least:  # type: ignore[operator]
        bound = "finite" if least == -math.inf else f"finite and >= {least:g}"
        raise ExperimentError(f"{where}: must be {bound}, got {plain(value)!r}")


def check_positive(where: str, value: float) -> None:
    """Refuse what is no finite number > 0: ExperimentError."""
    check_number(where, value)
    if value <= 0:
        raise ExperimentError(f"{where}: must be > 0, got {plain(value)!r}")


def check_count(where: str, value: object, least: int = 1, unit: str = "") -> None:
    """Refuse what is no whole number >= least: ExperimentError."""
    if not is_count(value, least):
        raise ExperimentError(f"{where}: must be a whole number{unit} >= {least}, got {plain(value)!r}")


def is_count(value: object, least: int = 1) -> bool:
    """Tell whether a value is an integer >= least; booleans are none."""
    value = plain(value)
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
