"""What is to happen when: messages in flight and wake-ups, by tick."""

import heapq
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from hlsim.models.messages import COSTATE, STATE


@dataclass(frozen=True)
class Delivery:
    """Messages that arrive at one tick: edge (k,), value (k,) and the tick each was sent at (k,)."""

    edge: Tensor
    value: Tensor
    sent: Tensor


class Calendar:
    """Tick -> deliveries of each kind, and wake-ups.

    A wake-up is valid while the neuron has not been given another one since; stale entries are left where
    they are and passed over when their tick comes.

    Parameters
    ----------
    neurons : int
        Number of neurons over all replicas.
    device : torch.device, optional
        Where messages are.
    """

    def __init__(self, neurons: int, device: torch.device | None = None) -> None:
        self._wake_at = torch.full((neurons,), -1, dtype=torch.int64, device=device)
        self._nobody = torch.empty(0, dtype=torch.int64, device=device)
        self._wakes: dict[int, list[Tensor]] = defaultdict(list)
        self._flight: tuple[dict[int, list[Delivery]], ...] = (defaultdict(list), defaultdict(list))
        self._ticks: list[int] = []
        self._known: set[int] = set()
        self.in_flight = 0

    def put(self, kind: int, tick: Tensor, edge: Tensor, value: Tensor, sent: int) -> None:
        """Send ``value`` (k,) on ``edge`` (k,) to arrive at ``tick`` (k,), all later than now."""
        self.in_flight += len(edge)
        for at, chosen in _by_tick(tick):
            stamp = torch.full_like(chosen, sent)
            self._flight[kind][at].append(Delivery(edge[chosen], value[chosen], stamp))
            self._note(at)

    def wake(self, neuron: Tensor, tick: Tensor) -> None:
        """Wake ``neuron`` (k,) at ``tick`` (k,); -1: not at all. Replaces the wake-up each had."""
        self._wake_at[neuron] = tick
        for at, chosen in _by_tick(tick):
            if at >= 0:
                self._wakes[at].append(neuron[chosen])
                self._note(at)

    def next(self) -> int | None:
        """Return the first tick that holds anything."""
        return self._ticks[0] if self._ticks else None

    def waking(self, tick: int) -> bool:
        """Tell whether some neuron is to wake after ``tick``."""
        return bool((self._wake_at > tick).any())

    def pop(self, tick: int) -> tuple[Delivery | None, Delivery | None, Tensor]:
        """Return and forget what is due at ``tick``: states, costates, neurons that wake."""
        while self._ticks and self._ticks[0] <= tick:
            self._known.discard(heapq.heappop(self._ticks))
        state, costate = (self._arrivals(kind, tick) for kind in (STATE, COSTATE))
        woken = self._wakes.pop(tick, [])
        if not woken:
            return state, costate, self._nobody
        neurons = torch.cat(woken)
        return state, costate, neurons[self._wake_at[neurons] == tick]

    def clear_messages(self) -> None:
        """Drop everything in flight."""
        for flight in self._flight:
            flight.clear()
        self.in_flight = 0

    def _arrivals(self, kind: int, tick: int) -> Delivery | None:
        parts = self._flight[kind].pop(tick, [])
        if not parts:
            return None
        self.in_flight -= sum(len(part.edge) for part in parts)
        if len(parts) == 1:
            return parts[0]
        # In order of sending: where two meet on one edge, the later sent is written last and stays.
        parts = sorted(parts, key=lambda part: int(part.sent[0]))
        return Delivery(*(torch.cat([getattr(part, f) for part in parts]) for f in ("edge", "value", "sent")))

    def _note(self, tick: int) -> None:
        if tick not in self._known:
            self._known.add(tick)
            heapq.heappush(self._ticks, tick)


def _by_tick(tick: Tensor) -> list[tuple[int, Tensor]]:
    """Group positions by tick, keeping their order within a tick."""
    if len(tick) == 0:
        return []
    sorted_ticks, order = torch.sort(tick, stable=True)
    values, counts = torch.unique_consecutive(sorted_ticks, return_counts=True)
    return list(zip(values.tolist(), torch.split(order, counts.tolist()), strict=True))
