"""Traces: what a run leaves behind, in one HDF5 file that describes itself.

``Recorder`` writes one while a run goes on, ``open`` reads one. The format: traces/README.md; why it is as it
is, and what it costs: docs/trace.md.
"""

from hlsim.trace.reader import Trace, open  # noqa: A004 - users write hlsim.trace.open
from hlsim.trace.recorder import Recorder

__all__ = ["Recorder", "Trace", "open"]
