"""What is to happen when: messages in flight and wake-ups, by tick."""

import heapq
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hlsim.engine.snapshot import Array, Arrays, Stateful, prefixed
from hlsim.models.messages import COSTATE, MESSAGES, STATE


@dataclass(frozen=True)
class Delivery:
    """Messages that arrive at one tick: edge (k,), value (k,) and the tick each was sent at (k,)."""

    edge: Tensor
    value: Tensor
    sent: Tensor


class Calendar(Stateful):
    """Tick -> deliveries of each kind, and wake-ups.

    A wake-up is valid while the neuron has not been given another one since; stale entries are left where
    they are and passed over when their tick comes.

    Parameters
    ----------
    neurons : int
        Number of neurons over all replicas.
    device : torch.device, optional
        Where messages are.
    number : torch.dtype
        Of what they say.
    """

    STATE = ("_wake_at", "_wakes", "_flight", "_ticks", "_known", "in_flight")

    def __init__(
        self, neurons: int, device: torch.device | None = None, number: torch.dtype = torch.float32
    ) -> None:
        self._wake_at = torch.full((neurons,), -1, dtype=torch.int64, device=device)
        self._nobody = torch.empty(0, dtype=torch.int64, device=device)
        self._nothing = torch.empty(0, dtype=number, device=device)
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

    def collect(self) -> dict[str, Array]:
        """Return wake-ups, those that no longer hold too, and messages of each kind, by tick and in order."""
        busy = sorted(self._wakes)
        woken = [neurons for tick in busy for neurons in self._wakes[tick]]
        sizes = [sum(map(len, self._wakes[tick])) for tick in busy]
        return {
            "ticks": np.array(sorted(self._ticks), np.int64),
            "wake_at": _numpy(self._wake_at),
            "wakes/tick": np.repeat(np.array(busy, np.int64), sizes),
            "wakes/neuron": _numpy(torch.cat([self._nobody, *woken])),
            **prefixed(MESSAGES[STATE], self._saved(STATE)),
            **prefixed(MESSAGES[COSTATE], self._saved(COSTATE)),
        }

    def _saved(self, kind: int) -> dict[str, Array]:
        flight = self._flight[kind]
        parts = [(tick, part) for tick in sorted(flight) for part in flight[tick]]
        joined = {
            name: torch.cat([empty, *(getattr(part, name) for _, part in parts)])
            for name, empty in (("edge", self._nobody), ("value", self._nothing), ("sent", self._nobody))
        }
        ticks = [np.full(len(part.edge), tick) for tick, part in parts]
        tick = np.concatenate([np.zeros(0, np.int64), *ticks])
        return {"tick": tick, **{name: _numpy(x) for name, x in joined.items()}}

    def put_back(self, arrays: Arrays) -> None:
        """Take what another calendar saved."""
        device = self._wake_at.device
        tick = torch.as_tensor(arrays["wakes/tick"], device=device)
        neuron = torch.as_tensor(arrays["wakes/neuron"], device=device)
        for at, chosen in _by_tick(tick):
            self._wakes[at].append(neuron[chosen])
        self._wake_at.copy_(torch.as_tensor(arrays["wake_at"]))
        for kind, name in enumerate(MESSAGES):
            given = {key: torch.as_tensor(x, device=device) for key, x in arrays.within(name).items()}
            # In the order of sending, which is that in which they stand: one part does for several.
            for at, chosen in _by_tick(given["tick"]):
                part = Delivery(*(given[key][chosen] for key in ("edge", "value", "sent")))
                self._flight[kind][at].append(part)
                self.in_flight += len(part.edge)
        self._ticks = arrays["ticks"].tolist()
        self._known = set(self._ticks)

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


def _numpy(x: Tensor) -> Array:
    return x.cpu().numpy().copy()
