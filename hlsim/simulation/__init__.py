"""One run: its options checked, the processes that act on the network, and what watches it."""

from hlsim.engine.memory import memory
from hlsim.simulation.faults import Change, Faults
from hlsim.simulation.noise import Noise
from hlsim.simulation.simulation import Simulation
from hlsim.simulation.watch import Progress

__all__ = ["Change", "Faults", "Noise", "Progress", "Simulation", "memory"]
