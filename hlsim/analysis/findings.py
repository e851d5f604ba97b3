"""All that can be said of a trace at once: every analysis that it holds enough for, or why not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from hlsim.analysis import curves, descent, messages
from hlsim.analysis.alignment import OF, alignment, best_lag, steps_to_exact
from hlsim.analysis.comparison import comparison
from hlsim.analysis.estimates import estimates
from hlsim.analysis.hardware import Hardware, load
from hlsim.analysis.ideal import ORACLES, THROUGH_TIME
from hlsim.analysis.locality import cost, locality
from hlsim.analysis.staleness import staleness
from hlsim.errors import DamageError, ExperimentError, HlsimError, unknown
from hlsim.trace import Trace

Found = xr.Dataset | xr.DataArray


@dataclass(frozen=True)
class Findings:
    """What was found, and what could not be.

    Attributes
    ----------
    found : dict of str to Dataset or DataArray
        By the name of the function in ``hlsim.analysis``.
    missing : dict of str to str
        Of those that were asked for: why there is nothing.
    """

    found: dict[str, Found] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def findings(
    trace: Trace,
    *,
    window: int | None = None,
    oracle: str | None = None,
    of: str = "omega",
    hardware: Hardware | None = None,
    controls: bool = False,
    other: Trace | None = None,
) -> Findings:
    """Analyse a trace.

    Parameters
    ----------
    window : int, optional
        Rows a window of the learning curve.
    oracle : str, optional
        Compare what was learned with this one, see ``hlsim.analysis.alignment``: that takes as long as its
        gradients do. With ``of`` as there.
    hardware : Hardware, optional
        Tell the cost on it.
    controls : bool
        Run gradient descent on the same stream.
    other : Trace, optional
        Compare with it.
    """
    asked: dict[str, Callable[[], Found]] = {
        "summary": lambda: curves.summary(trace),
        "accuracy": lambda: curves.accuracy(trace),
        "learning_curve": lambda: curves.learning_curve(trace, window),
        "message_rates": lambda: messages.message_rates(trace, bins=10),
        "traffic": lambda: messages.traffic(trace),
        "locality": lambda: locality(trace),
    }
    if len(trace["events/tick"]):
        asked["staleness"] = lambda: staleness(trace)
    if hardware is not None:
        asked["cost"] = lambda: cost(trace, hardware)
    if oracle is not None and "sampled/gradient" in trace:
        asked["estimates"] = lambda: estimates(trace)
    elif oracle is not None:
        asked["alignment"] = lambda: alignment(trace, against=oracle, of=of)
        if sampled_every_tick(trace):
            asked["steps_to_exact"] = lambda: steps_to_exact(trace, against=oracle)
            asked["best_lag"] = lambda: best_lag(trace, against=oracle)
    if controls:
        asked["controls"] = lambda: descent.controls(trace)
    if other is not None:
        asked["comparison"] = lambda: comparison(trace, other)
    return _made(asked)


def check_findings(oracle: str | None, of: str, hardware: str | None) -> dict[str, Any]:
    """Return these arguments of ``findings``; ExperimentError where one has no meaning."""
    known = [*ORACLES, THROUGH_TIME]
    if oracle is not None and oracle not in known:
        raise ExperimentError(unknown("oracle", oracle, known))
    if of not in OF:
        raise ExperimentError(f"--of: {unknown('quantity', of, OF)}")
    return {"oracle": oracle, "of": of, "hardware": None if hardware is None else load(hardware)}


def sampled_every_tick(trace: Trace) -> bool:
    """Return whether omega was sampled at every tick, as some analyses need."""
    if "sampled/omega" not in trace:
        return False
    at = trace.ticks("sampled/omega")
    return len(at) > 1 and bool(at[-1] == len(at) - 1)


def _made(asked: Mapping[str, Callable[[], Found]]) -> Findings:
    made = Findings()
    for name, make in asked.items():
        try:
            made.found[name] = make()
        except DamageError:
            raise
        except HlsimError as error:
            made.missing[name] = " ".join(str(error).split())
    return made
