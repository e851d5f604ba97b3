"""Streams that a function of the user yields."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hlsim import usercode
from hlsim.errors import StimulusError, is_count, shown
from hlsim.stimulus.streams import Row, Stream, real_array

KEYS = ("input", "target", "label")


class PythonStream(Stream):
    """Rows that a function of the user yields; it may go on for ever.

    Every use of a split calls the function anew, so one that draws numbers should take a seed.

    Parameters
    ----------
    path : path
        A Python file.
    function : str
        Its generator function. It yields ``(input, target)``, a dict with ``input`` and, where there are,
        ``target`` and ``label``, or a ``Row``. The first row tells the widths, and whether there are targets
        and labels at all; later ones may be missing.
    splits : sequence of str
        Names of splits; more than one need a function with a parameter ``split``, which is given the name.
        A run can be resumed in the middle of them if the function has a parameter ``start``: the number of
        the row to begin with, 0 for all.
    **parameters
        Passed to the function.
    """

    def __init__(
        self,
        path: str | Path,
        function: str = "stream",
        splits: Iterable[str] = ("train",),
        **parameters: Any,
    ) -> None:
        self._where, self._path = f"{path}: {function}", Path(path)
        self._function = usercode.function(self._path, function, StimulusError)
        self._parameters = parameters
        self.splits = tuple(splits)
        takes = inspect.signature(self._function).parameters
        self._takes_split = "split" in takes
        self._takes_start = "start" in takes and "start" not in parameters
        self._check_call()
        first = next(self._generate(self.splits[0]), None)
        if first is None:
            raise StimulusError(f"{self._where}: must yield at least one row, got none")
        row = self._row(0, first, {})
        self.n_input, self.n_output = row.input.size, 0 if row.target is None else row.target.size
        self.classes = 0 if row.label < 0 else None

    def length(self, split: str) -> int | None:
        """Return None: a generator does not tell its length."""
        self.check_split(split)
        return None

    def __str__(self) -> str:
        return self._where

    def resumes(self, split: str) -> bool:
        """Tell whether the function can begin with any row."""
        return self._takes_start

    def rows(self, split: str, order: np.ndarray | None = None, start: int = 0) -> Iterator[Row]:
        """Yield the rows of a split as the function does; there is no other order.

        Raises
        ------
        StimulusError
            An order is asked for; or, on the way, a row has other widths than the first, or is not finite.
        """
        self.check_split(split)
        if order is not None:
            raise StimulusError(f"{self._where}: the order of its rows cannot be chosen")
        widths = {"input": self.n_input, "target": self.n_output}
        items = enumerate(self._generate(split, start), start)
        return (self._row(i, item, widths) for i, item in items)

    def _arguments(self, split: str, start: int = 0) -> dict[str, Any]:
        own: dict[str, Any] = {"split": split} if self._takes_split else {}
        own |= {"start": start} if self._takes_start else {}
        return {**own, **self._parameters}

    def _check_call(self) -> None:
        if not self.splits or (len(self.splits) > 1 and not self._takes_split):
            raise StimulusError(
                f"{self._where}: splits must be one name unless it has a parameter 'split', got {self.splits}"
            )
        try:
            inspect.signature(self._function).bind(**self._arguments(self.splits[0]))
        except TypeError as error:
            raise StimulusError(f"{self._where}: {error}") from None

    def _generate(self, split: str, start: int = 0) -> Iterator[Any]:
        made = self._function(**self._arguments(split, start))
        if not isinstance(made, Iterable):
            raise StimulusError(f"{self._where}: must yield rows, got a {type(made).__name__}")
        return usercode.items(self._path, self._function.__name__, made, StimulusError)

    def _row(self, i: int, item: Any, widths: Mapping[str, int]) -> Row:
        if isinstance(item, Row):
            item = (item.input, item.target, item.label)
        if isinstance(item, tuple) and 2 <= len(item) <= len(KEYS):
            item = dict(zip(KEYS, item, strict=False))
        if not isinstance(item, Mapping) or not {"input"} <= item.keys() <= set(KEYS):
            kind = type(item).__name__
            raise StimulusError(
                f"{self._where}: row {i}: must be (input, target) or a dict of {KEYS}, got a {kind}"
            )
        target, label = item.get("target"), item.get("label", -1)
        if not is_count(label, -1):
            rule = "must be a whole number >= 0, or -1 for none"
            raise StimulusError(f"{self._where}: row {i}: label {rule}, got {shown(label)}")
        return Row(
            self._vector(i, "input", item["input"], widths),
            None if target is None else self._vector(i, "target", target, widths),
            int(label),
        )

    def _vector(self, i: int, name: str, values: ArrayLike, widths: Mapping[str, int]) -> np.ndarray:
        array = np.atleast_1d(real_array(f"{self._where}: row {i}: {name}", values))
        if array.ndim != 1 or array.size != widths.get(name, array.size):
            shape = f"({widths[name]},)" if name in widths else "(columns,)"
            raise StimulusError(f"{self._where}: row {i}: {name} must have shape {shape}, got {array.shape}")
        if not array.size and name == "input":
            raise StimulusError(f"{self._where}: row {i}: input must have columns, got none")
        if not np.isfinite(array).all():
            value = array[~np.isfinite(array)][0]
            raise StimulusError(f"{self._where}: row {i}: {name} must be finite, got {value}")
        return array
