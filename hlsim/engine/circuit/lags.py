"""What neurons with a lag keep of the past: the slopes of their drives, and what the loss said.

The states that they have heard are kept by projections, once for all synapses of a source.
"""

import numpy as np
import torch
from torch import Tensor

from hlsim.engine.circuit.state import State
from hlsim.engine.snapshot import Stateful
from hlsim.topology.network import Network


class Lags(Stateful):
    """Rings over ticks, of every neuron (tick, replica, node).

    Attributes
    ----------
    slope, told : Tensor (replica, node)
        df/da as it was as long ago as each neuron's lag; phi dL/dh, when costates from further away come too.
    moved : Tensor bool (node,)
        Whose synapses have moved since the tick before: those that have been learning for longer than their
        lag. What a stage without learning showed is so never learned afterwards.
    """

    STATE = ("_slopes", "_losses", "_tick", "slope", "told", "moved")

    def __init__(self, network: Network, replicas: int, dtype: torch.dtype, device: torch.device) -> None:
        self._node = torch.arange(network.n, device=device)
        self._lag, self._waits = (torch.tensor(x, device=device) for x in (network.lag, network.loss_waits))
        self._slopes, self._losses = (
            torch.zeros(int(x.max()) + 1, replicas, network.n, dtype=dtype, device=device)
            for x in (network.lag, network.loss_waits)
        )
        self.slope, self.told = (torch.zeros_like(x[0]) for x in (self._slopes, self._losses))
        self.moved = torch.zeros(network.n, dtype=torch.bool, device=device)
        self._tick = 0

    def keep(self, state: State) -> None:
        """Keep what costates of later ticks will meet, once all drives of a tick and its loss are known."""
        self.moved = self._lag < state.learned
        state.learned = state.learned + 1 if state.learning else 0
        self.slope = self._turn(self._slopes, state.df_da, self._lag)
        self.told = self._turn(self._losses, state.phi * state.dl, self._waits)
        self._tick += 1

    def reset(self) -> None:
        """Forget what was kept."""
        self._slopes.zero_()
        self._losses.zero_()

    def _turn(self, ring: Tensor, now: Tensor, ago: Tensor) -> Tensor:
        """Put what is now into a ring and return what was so many ticks ago, 0 before the first."""
        ring[self._tick % len(ring)] = now
        return ring[(self._tick - ago) % len(ring), :, self._node].T.contiguous()


def of(network: Network, replicas: int, dtype: torch.dtype, device: torch.device) -> Lags | None:
    """Return what neurons keep; None: no neuron has a lag."""
    return Lags(network, replicas, dtype, device) if np.any(network.lag) else None
