"""Errors a user can cause. Each names where, which rule, and the value that broke it, in one line."""

import difflib
import math
import os
from collections.abc import Iterable
from contextlib import suppress
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


class DamageError(TraceError):
    """A trace that is not as it was written; nothing in it is told."""


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


class Stopped(KeyboardInterrupt):
    """A signal has ended a run.

    Attributes
    ----------
    signal : int
        Its number.
    tick : int or None
        The run has ended before this tick, with a checkpoint; None: within one, asked for twice.
    without : str
        Why there is no checkpoint; empty where there is one.
    """

    def __init__(self, signal: int, tick: int | None, without: str) -> None:
        # SimPy makes an exception of a process anew from its arguments.
        super().__init__(signal, tick, without)
        self.signal, self.tick, self.without = signal, tick, without


class HlsimWarning(UserWarning):
    """Base of every warning: something that a run does, or finds, and that its user may not have meant."""


class StimulusWarning(HlsimWarning):
    """Rows that are not shown."""


class NumericalWarning(HlsimWarning):
    """Numbers that are finite still, and not to be trusted."""


# Whole numbers below it are exact in float64, and no sum of a few of them leaves int64.
LARGEST = 2**53


def shown(value: object) -> str:
    """Return a value in one line of at most 80 characters, its numbers as plain ones."""
    try:
        text = " ".join(repr(_plain_within(value)).split())
    except ValueError:  # Python writes no whole number of more than 4300 digits
        text = "a number of more than 4300 digits"
    except RecursionError:
        text = "a value nested too deep"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain_within(value: Any) -> Any:
    if type(value) is dict:
        return {name: _plain_within(part) for name, part in value.items()}
    return type(value)(map(_plain_within, value)) if type(value) in (list, tuple) else plain(value)


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
        raise ExperimentError(f"{where}: must be {bound}, got {shown(value)}")


def check_positive(where: str, value: float) -> None:
    """Refuse what is no finite number > 0: ExperimentError."""
    check_number(where, value)
    if value <= 0:
        raise ExperimentError(f"{where}: must be > 0, got {shown(value)}")


def check_count(where: str, value: object, least: int = 1, unit: str = "", *, below: int = LARGEST) -> None:
    """Refuse what is no whole number >= least and < below: ExperimentError."""
    if not is_count(value, least, below):
        too_large = is_real(value) and plain(value) >= below
        bound = f" and < {_power(below)}" if too_large else ""
        raise ExperimentError(f"{where}: must be a whole number{unit} >= {least}{bound}, got {shown(value)}")


def _power(bound: int) -> str:
    exponent = bound.bit_length() - 1
    return f"2**{exponent} = {bound}" if bound == 2**exponent and exponent > 20 else str(bound)


def is_count(value: object, least: int = 1, below: int = LARGEST) -> bool:
    """Tell whether a value is an integer >= least and < below; booleans are none."""
    value = plain(value)
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < below


def check_memory(where: str, needed: float) -> None:
    """Refuse what takes more bytes than this process may ever have, before any of it is taken."""
    if needed > (limit := memory_limit()):
        raise ExperimentError(
            f"{where}: needs {needed:.3g} bytes of memory, this process may have {limit:.3g}"
        )


def memory_limit() -> float:
    """Return how many bytes this process may have, of the machine's and by its own limit."""
    limits = [math.inf]
    with suppress(AttributeError, ValueError, OSError):  # not on this system
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(ImportError, ValueError, OSError):
        import resource

        own = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [own] * (own != resource.RLIM_INFINITY)
    return min(limits)
