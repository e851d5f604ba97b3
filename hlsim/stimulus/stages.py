"""What a network is shown: where rows come from, and the stages in which they are shown.

To add a source is to write a class and to name it in ``SOURCES``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from hlsim.draws import Draws
from hlsim.errors import StimulusError, is_count, plain_fields
from hlsim.models.rules.phi import Phi, form, of_form
from hlsim.models.rules.rule import Phase, Rule
from hlsim.stimulus.datasets import Digits, Iris
from hlsim.stimulus.python import PythonStream
from hlsim.stimulus.streams import Arrays, File, Row, Stream

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
        plain_fields(self)
        given = {"passes": self.passes, "rows": self.rows, "hold": self.hold}
        for what, value in given.items():
            if value is None and what != "passes":
                continue
            if not is_count(value):
                raise StimulusError(f"stage {self.name!r}: {what} must be a whole number >= 1, got {value!r}")

    def length(self, stream: Stream) -> int | None:
        """Return how many rows the stage shows; None: as many as the run or the stream has."""
        rows = self._rows_a_pass(stream)
        if rows is None:
            return self.rows
        return self.passes * rows if self.rows is None else min(self.rows, self.passes * rows)

    def presentations(self, stream: Stream, seed: int, start: int = 0) -> Iterator[Row]:
        """Yield the rows of the stage, one after the other, but for the first ``start`` of them.

        Raises
        ------
        StimulusError
            The stream has no such split; the split has no end, and the stage shuffles it or goes through it
            again; or, on the way, a generator ends before it has given the rows that the stage asks for.
        """
        rows = self._rows_a_pass(stream)
        if rows is None:
            return self._generated(stream, start)
        first, skipped = divmod(start, rows)
        passes = (
            stream.rows_from(self.split, self._order(seed, number, rows), skipped * (number == first))
            for number in range(first, self.passes)
        )
        left = None if self.rows is None else max(0, self.rows - start)
        return islice(chain.from_iterable(passes), left)

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

    def _generated(self, stream: Stream, start: int) -> Iterator[Row]:
        count, left = start, None if self.rows is None else max(0, self.rows - start)
        for row in islice(stream.rows_from(self.split, None, start), left):
            yield row
            count += 1
        if self.rows is not None and count < self.rows:
            raise StimulusError(
                f"stage {self.name!r}: needs {self.rows} rows, the stream ended after {count}"
            )


def as_json(stages: Sequence[Stage]) -> str:
    """Return stages as text."""
    own = [vars(stage) | {"phi": None if stage.phi is None else form(stage.phi)} for stage in stages]
    return json.dumps(own)


def of_json(text: str) -> tuple[Stage, ...]:
    """Return the stages of such a text."""
    given = ((told.pop("phi"), told) for told in json.loads(text))
    return tuple(Stage(**own, phi=None if phi is None else of_form(phi)) for phi, own in given)


def phases_of(rule: Rule, stage: Stage) -> tuple[Phase, ...]:
    """Return the phases of a row of a stage, for a rule that has some."""
    return rule.phases() if stage.learn else (rule.free,)


def length(
    stream: Stream, stages: Sequence[Stage], rule: Rule, hold: int, batch: int, late: int = 0
) -> int | None:
    """Return how many ticks stages last, at most where phases may end sooner; None: for ever.

    ``late``: by how many ticks targets come later than inputs.
    """
    rows = presented(stream, stages, batch)
    if rows is None:
        return None
    return last_ticks(rule, late) + sum(
        count * row_ticks(rule, stage, hold) for stage, count in zip(stages, rows, strict=True)
    )


def row_ticks(rule: Rule, stage: Stage, hold: int) -> int:
    """Return how many ticks a row of a stage lasts, at most where its phases may end sooner."""
    own = stage.hold or hold
    phases = phases_of(rule, stage) if rule.nudges else (Phase(),)
    return sum(phase.ticks or own for phase in phases)


def last_ticks(rule: Rule, late: int) -> int:
    """Return how many ticks follow on the last row: until its target has been there as long as its input.

    Of a rule with phases one, at which the mark of the last phase takes effect.
    """
    return int(rule.nudges) + late


def presented(stream: Stream, stages: Sequence[Stage], batch: int) -> list[int] | None:
    """Return how many rows each stage shows one replica; None: one of them has no end."""
    counts = []
    for stage in stages:
        rows = stage.length(stream)
        if rows is None:
            return None
        # Rows that do not fill a batch are not learned from, but they are tested.
        counts.append(rows // batch if stage.learn else -(-rows // batch))
    return counts
