"""Neurons that are updated at a period and phase of their own, and when that is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hlsim.circuit import Circuit


@dataclass(frozen=True)
class Clock:
    """Flat event neurons that share a period and a phase, in ticks."""

    period: int
    phase: int
    neurons: Tensor

    def strikes(self, tick: int) -> bool:
        """Tell whether its neurons are updated at a tick."""
        return tick >= self.phase and (tick - self.phase) % self.period == 0

    def next(self, tick: int) -> int:
        """Return the first tick after this one at which it strikes."""
        if tick < self.phase:
            return self.phase
        return tick + self.period - (tick - self.phase) % self.period


def clocks(circuit: Circuit) -> list[Clock]:
    """Return the clocks of the event neurons of a circuit."""
    nodes = torch.nonzero(circuit.clock & ~circuit.sync).squeeze(1)
    period, phase = circuit.period[nodes], circuit.phase[nodes]
    pairs = torch.unique(torch.stack([period, phase], 1), dim=0).tolist()
    return [Clock(p, f, circuit.tile(nodes[(period == p) & (phase == f)]).flat) for p, f in pairs]
