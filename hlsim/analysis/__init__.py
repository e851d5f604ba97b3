"""What a trace says, as xarray objects with named dimensions and units. No network is run for it.

Every function takes an open ``hlsim.trace.Trace``; of a run that goes on or was cut off, it tells what there
is. A dimension ``replica`` is of size 1 where the run had one replica. Ticks are coordinates.
"""

import sys
from typing import TYPE_CHECKING, Any

from hlsim.analysis.alignment import alignment, best_lag, steps_to_exact
from hlsim.analysis.comparison import comparison
from hlsim.analysis.curves import accuracy, learning_curve, summary
from hlsim.analysis.descent import controls
from hlsim.analysis.differences import diff
from hlsim.analysis.estimates import estimates
from hlsim.analysis.locality import cost, locality
from hlsim.analysis.messages import groups, message_rates, traffic
from hlsim.analysis.staleness import staleness
from hlsim.trace.reader import ticks

__all__ = [
    "accuracy",
    "alignment",
    "best_lag",
    "comparison",
    "controls",
    "cost",
    "diff",
    "estimates",
    "groups",
    "learning_curve",
    "locality",
    "message_rates",
    "staleness",
    "steps_to_exact",
    "summary",
    "ticks",
    "traffic",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Give ``stability`` as well: it runs networks, so it lives with the sweeps."""
        if name == "stability":
            return sys.modules["hlsim"].sweep.stability
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
