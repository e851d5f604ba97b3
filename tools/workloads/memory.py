"""How much memory a run takes: its tensors, and all of it."""

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch

from workloads.rivals import AbsentError

# Where Linux says how many pages a process has in memory.
PAGES = Path("/proc/self/statm")


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


def resident(make: Callable[[], object]) -> int:
    """Return by how many bytes of memory this process grows for what is made, when all else is given back.

    Raises
    ------
    AbsentError
        The system does not say.
    """
    if not PAGES.exists():
        raise AbsentError(f"memory is read from {PAGES}, and there is none")
    before = _resident()
    made = make()
    after = _resident()
    del made
    return after - before


def _resident() -> int:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
