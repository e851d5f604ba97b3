"""Who does the runs of a sweep: this process, one after another, or several processes of this machine.

Workers do ``at_once`` things at the same time. ``outcomes`` hands every item to a function and yields what
that returns, in the order in which it comes.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

# Takes an item, and a function to call while it is at it with whatever is to be told.
Work = Callable[[Any, Callable[[Any], None] | None], Any]
# Takes the index of an item and what was told.
News = Callable[[int, Any], None]
# Index of an item and what work returned for it, or ``Lost``. Closed, it ends whatever still goes on.
Results = Generator[tuple[int, Any], None, None]


@dataclass(frozen=True)
class Lost:
    """In place of what work would have returned, had its process lived on."""

    reason: str


class Workers(Protocol):
    """Whoever does the runs; ``elsewhere`` if paths must not depend on where this process is."""

    elsewhere: bool

    @property
    def at_once(self) -> int:
        """Return how many items are worked on at the same time."""

    def outcomes(self, work: Work, items: Sequence[Any], news: News) -> Results:
        """Yield the index of every item and what ``work`` returned for it, or ``Lost``."""


class Serial:
    """This process, one thing after another."""

    elsewhere = False
    at_once = 1

    def outcomes(self, work: Work, items: Sequence[Any], news: News) -> Results:
        """Yield index and result of every item."""
        for index, item in enumerate(items):
            yield index, work(item, _teller(news, index))


def _teller(news: News, index: int) -> Callable[[Any], None]:
    return lambda told: news(index, told)


class Processes:
    """Several processes of this machine; each is a new Python, which imports the main module of this one.

    A process that dies, for want of memory maybe, costs what it was working on; another takes its place. None
    outlives this one, however that ends.

    Parameters
    ----------
    at_once : int
        Processes, at most.
    """

    elsewhere = False

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once

    def outcomes(self, work: Work, items: Sequence[Any], news: News) -> Results:
        """Yield index and result of every item as they come."""
        left = deque(enumerate(items))
        team: list[_Process] = []
        try:
            while left or team:
                while left and len(team) < self.at_once:
                    team.append(_Process(work))
                    team[-1].begin(*left.popleft())
                for process in _ready(team):
                    answer = process.answer()
                    if isinstance(answer, _News):
                        news(process.index, answer.told)
                        continue
                    index = process.index
                    if not isinstance(answer, Lost) and left:
                        process.begin(*left.popleft())
                    else:
                        team.remove(process)
                        process.end()
                    yield index, answer
        finally:
            for process in team:
                process.end()


@dataclass(frozen=True)
class _News:
    told: Any


def _ready(team: "Sequence[_Process]") -> "list[_Process]":
    pipes = {process.pipe: process for process in team}
    return [pipes[pipe] for pipe in wait(list(pipes)) if isinstance(pipe, Connection)]


class _Process:
    """A process that does one thing at a time, and this end of the pipe to it."""

    def __init__(self, work: Work) -> None:
        # a fork would share locks of torch's threads, and a GPU, with its parent
        context = multiprocessing.get_context("spawn")
        self.index = -1
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with _ctrl_c_later():
            self._process.start()
        theirs.close()

    def begin(self, index: int, item: Any) -> None:
        """Hand it something to do."""
        self.index = index
        with suppress(OSError):  # it is dead; who waits for its answer is told
            self.pipe.send(item)

    def answer(self) -> Any:
        """Return what it says: the result, news, or that it is lost."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return Lost(_why(self._process.exitcode))

    def end(self) -> None:
        """End it now, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self.pipe.close()


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back from this process, and for good from those that begin in the meantime."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which it would do in between, and let Ctrl-C through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _why(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = ", for want of memory maybe" * (name == "SIGKILL")
        return f"its process was ended by {name}{hint}"
    return f"its process ended with code {code}"


def _serve(pipe: Connection, work: Work) -> None:
    """Work off what comes through a pipe, in a process of its own."""
    # Ctrl-C reaches all processes of a terminal; it was held back while this one began. The parent ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        pipe.send(work(item, lambda told: pipe.send(_News(told))))


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, in the middle of whatever it does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
