"""One run as a file: an ``experiment.toml`` and a topology, read, checked and built."""

from hlsim.experiment.experiment import FILE, Experiment, load, resume

__all__ = ["FILE", "Experiment", "load", "resume"]
