"""Errors a user can cause. Each names where, which rule, and the value that broke it, in one line."""

import difflib
import math
from collections.abc import Iterable


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

    def __init__(self, tick: int, node: str, what: str, value: object) -> None:
        # SimPy makes an exception of a process anew from its arguments, and so does pickle.
        super().__init__(tick, node, what, value)
        self.tick = tick
        self.node = node

    def __str__(self) -> str:
        tick, node, what, value = self.args
        return f"tick {tick}: node {node!r}: {what} must stay finite, got {value}"


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


def check_number(where: str, value: object, least: float = -math.inf) -> None:
    """Refuse what is no finite number >= least: ExperimentError."""
    number = isinstance(value, int | float) and math.isfinite(value)
    if not number or value < least:  # type: ignore[operator]
        bound = "finite" if least == -math.inf else f"finite and >= {least:g}"
        raise ExperimentError(f"{where}: must be {bound}, got {value!r}")


def check_positive(where: str, value: float) -> None:
    """Refuse what is no finite number > 0: ExperimentError."""
    check_number(where, value)
    if value <= 0:
        raise ExperimentError(f"{where}: must be > 0, got {value!r}")


def check_count(where: str, value: object, least: int = 1, unit: str = "") -> None:
    """Refuse what is no whole number >= least: ExperimentError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ExperimentError(f"{where}: must be a whole number{unit} >= {least}, got {value!r}")
