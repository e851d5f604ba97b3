"""What a trace says, as xarray objects with named dimensions and units: all analyses under one name.

Every function takes an open ``hlsim.trace.Trace``; of a run that goes on or was cut off, it tells what there
is. A dimension ``replica`` is of size 1 where the run had one replica. Ticks are coordinates.
"""

from hlsim.alignment import alignment, best_lag, steps_to_exact
from hlsim.comparison import comparison
from hlsim.curves import accuracy, learning_curve, summary
from hlsim.descent import controls
from hlsim.estimates import estimates
from hlsim.locality import cost, locality
from hlsim.rates import groups, message_rates, ticks, traffic
from hlsim.stability import stability
from hlsim.staleness import staleness

__all__ = [
    "accuracy",
    "alignment",
    "best_lag",
    "comparison",
    "controls",
    "cost",
    "estimates",
    "groups",
    "learning_curve",
    "locality",
    "message_rates",
    "stability",
    "staleness",
    "steps_to_exact",
    "summary",
    "ticks",
    "traffic",
]
