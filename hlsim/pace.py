"""How a sweep gets on: how many runs of how many, how long one takes, and how long the rest will."""

from collections.abc import Callable

from hlsim.outcomes import Outcome
from hlsim.watch import Progress


class Pace:
    """Where a sweep stands.

    Attributes
    ----------
    runs, done, failed : int
        All runs; those that are over, of these the ones that were there already; those that failed.
    """

    def __init__(self, runs: int, at_once: Callable[[], int]) -> None:
        self.runs, self.done, self.failed = runs, 0, 0
        self._at_once = at_once
        self._times: list[float] = []
        self._standing: dict[int, Progress] = {}

    def ended(self, index: int, outcome: Outcome) -> None:
        """Count a run that is over; one that was there already took no time, and tells nothing of others."""
        self._standing.pop(index, None)
        self.done += 1
        self.failed += bool(outcome.error)
        if not (outcome.skipped or outcome.error):
            self._times.append(outcome.seconds)

    def stands(self, index: int, standing: Progress) -> None:
        """Take note of how far a run has come."""
        self._standing[index] = standing

    @property
    def share(self) -> float:
        """Return how much of the sweep is done, begun runs by their share."""
        return (self.done + sum(map(_share, self._standing.values()))) / self.runs

    @property
    def mean(self) -> float | None:
        """Return the mean time of a run in seconds; None before anything is known."""
        begun = [s.wall_s / _share(s) for s in self._standing.values() if s.tick]
        times = self._times or begun
        return sum(times) / len(times) if times else None

    @property
    def left(self) -> float | None:
        """Return the seconds that are left, as far as one can tell from those that are over."""
        mean, left = self.mean, self.runs * (1 - self.share)
        if mean is None or self.done == self.runs:
            return None if mean is None else 0.0
        return mean * left / min(self._at_once(), self.runs - self.done)


def _share(standing: Progress) -> float:
    return standing.tick / max(standing.until, 1)
