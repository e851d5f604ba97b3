"""How much memory the tensors of a run take."""

import gc
from collections.abc import Callable
from typing import Protocol

import torch


class Runs(Protocol):
    """What can be run for some steps."""

    def run(self, ticks: int, /) -> None:
        """Run so many steps."""


def peak_bytes(make: Callable[[], Runs], steps: int = 3) -> float:
    """Return the most bytes that tensors hold while what is made runs, above those that were there before.

    What a run keeps is counted by its storages, what comes and goes by torch's profiler. Gradients of
    parameters are dropped before counting: a step makes them anew.
    """
    before = _live()
    made = make()
    made.run(steps)
    for x in gc.get_objects():
        if type(x) is torch.nn.Parameter:
            x.grad = None
    kept = sum(size for storage, size in _live().items() if storage not in before)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        made.run(steps)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return kept + most


def _live() -> dict[int, int]:
    gc.collect()
    found = [x.untyped_storage() for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter)]
    return {storage.data_ptr(): storage.nbytes() for storage in found}
