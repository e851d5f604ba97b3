"""Pictures and pages of traces and sweeps. No network is run for them; who draws is loaded when drawing."""

from hlsim.report.report import Report, of_sweep, of_traces

__all__ = ["Report", "of_sweep", "of_traces"]
