"""What a network is shown: where rows come from, and the stages in which they are shown.

To add a source is to write a class and to name it in ``SOURCES``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from hlsim.datasets import Digits, Iris
from hlsim.draws import Draws
from hlsim.errors import StimulusError
from hlsim.generated import PythonStream
from hlsim.phi import Phi
from hlsim.streams import Arrays, File, Row, Stream

__all__ = ["SOURCES", "Arrays", "Digits", "File", "Iris", "PythonStream", "Row", "Stage", "Stream"]

SOURCES: Mapping[str, type[Stream]] = {
    "arrays": Arrays,
    "file": File,
    "digits": Digits,
    "iris": Iris,
    "python": PythonStream,
}


@dataclass(frozen=True)
class Stage:
    """A part of a run: which rows are shown, how often, in which order, and whether the network learns.

    Parameters
    ----------
    name : str
        Stages of one run have different names.
    split : str
        Of the stream.
    passes : int
        How often the split is gone through.
    shuffle : bool
        Whether each pass goes through it in an order of its own, drawn by (seed, name, pass).
    learn : bool
        Whether weights move.
    rows : int, optional
        The stage ends after so many rows in all.
    phi : float, Gate or Schedule, optional
        Loss scale; None: the rule's.
    hold : int, optional
        Ticks a row is held; None: the simulation's.
    noise : bool
        Whether the simulation's noise is on.
    """

    name: str = "train"
    split: str = "train"
    passes: int = 1
    shuffle: bool = False
    learn: bool = True
    rows: int | None = None
    phi: Phi | None = None
    hold: int | None = None
    noise: bool = True

    def __post_init__(self) -> None:
        given = {"passes": self.passes, "rows": self.rows, "hold": self.hold}
        for what, value in given.items():
            if value is None and what != "passes":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise StimulusError(f"stage {self.name!r}: {what} must be a whole number >= 1, got {value!r}")

    def length(self, stream: Stream) -> int | None:
        """Return how many rows the stage shows; None: as many as the run or the stream has."""
        rows = self._rows_a_pass(stream)
        if rows is None:
            return self.rows
        return self.passes * rows if self.rows is None else min(self.rows, self.passes * rows)

    def presentations(self, stream: Stream, seed: int) -> Iterator[Row]:
        """Yield the rows of the stage, one after the other.

        Raises
        ------
        StimulusError
            The stream has no such split; the split has no end, and the stage shuffles it or goes through it
            again; or, on the way, a generator ends before it has given the rows that the stage asks for.
        """
        rows = self._rows_a_pass(stream)
        if rows is None:
            return self._generated(stream)
        orders = (self._order(seed, number, rows) for number in range(self.passes))
        return islice(chain.from_iterable(stream.rows(self.split, order) for order in orders), self.rows)

    def _rows_a_pass(self, stream: Stream) -> int | None:
        stream.check_split(self.split)
        rows = stream.length(self.split)
        if rows is None and (self.shuffle or self.passes > 1):
            asked = "shuffle" if self.shuffle else f"passes = {self.passes}"
            raise StimulusError(
                f"stage {self.name!r}: {asked} needs a split with an end; {self.split!r} has none"
            )
        return rows

    def _order(self, seed: int, number: int, rows: int) -> np.ndarray | None:
        if not self.shuffle:
            return None
        return Draws(seed).generator("shuffle", self.name, str(number)).permutation(rows)

    def _generated(self, stream: Stream) -> Iterator[Row]:
        count = 0
        for row in islice(stream.rows(self.split), self.rows):
            yield row
            count += 1
        if self.rows is not None and count < self.rows:
            raise StimulusError(
                f"stage {self.name!r}: needs {self.rows} rows, the stream ended after {count}"
            )
