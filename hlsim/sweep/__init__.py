"""Many runs: a grid of values and seeds, a trace for each run; and the map of stability."""

from hlsim.sweep.course import check_file, load, save, sweep
from hlsim.sweep.outcomes import Outcome
from hlsim.sweep.stability import stability

__all__ = ["Outcome", "check_file", "load", "save", "stability", "sweep"]
