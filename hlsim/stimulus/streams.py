"""Streams of rows, and those whose rows are arrays in memory or in a file.

A stream yields one row after the other: what a run holds of it does not grow with its length.
"""

import inspect
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from hlsim.errors import LARGEST, HlsimError, StimulusError, check_memory, shown, unknown


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a stream.

    Parameters
    ----------
    input : ndarray (n_input,)
    target : ndarray (n_output,), optional
        None: the row asks for nothing.
    label : int
        Class of the row; -1: none.
    """

    input: np.ndarray
    target: np.ndarray | None = None
    label: int = -1


class Stream(ABC):
    """Rows to show, in one or more splits.

    Attributes
    ----------
    n_input, n_output : int
        Columns of input and target; ``n_output`` 0: there are no targets.
    classes : int or None
        The largest label and one more; 0: there are no labels; None: nobody knows.
    splits : tuple of str
    """

    n_input: int
    n_output: int
    classes: int | None = None
    splits: tuple[str, ...]

    @abstractmethod
    def length(self, split: str) -> int | None:
        """Return the number of rows of a split; None: it has no end that is known."""

    @abstractmethod
    def rows(self, split: str, order: np.ndarray | None = None) -> Iterator[Row]:
        """Yield the rows of a split, in the given order of their indices (k,) or as they are.

        Each is a function of its index alone, where the split has an end. Where it has none, ``rows`` may
        have one more parameter, ``start``: the number of the row to begin with.
        """

    def __str__(self) -> str:
        return type(self).__name__

    def resumes(self, split: str) -> bool:
        """Tell whether the rows of a split can be begun with any of them."""
        return self.length(split) is not None or "start" in inspect.signature(self.rows).parameters

    def rows_from(self, split: str, order: np.ndarray | None, start: int) -> Iterator[Row]:
        """Yield the rows of a split but for the first ``start`` of them; not 0 only where it ``resumes``."""
        if not start:
            return self.rows(split, order)
        length = self.length(split)
        if length is None:
            return self.rows(split, start=start)  # type: ignore[call-arg]
        return self.rows(split, (np.arange(length) if order is None else order)[start:])

    def check_split(self, split: str) -> None:
        """Raise a StimulusError that names the known splits, unless ``split`` is one."""
        if split not in self.splits:
            raise StimulusError("stimulus: " + unknown("split", split, self.splits))


class OneHot(Stream):
    """The rows of a stream of labels, each with a target: 1 for the output of its class, 0 for the others.

    Parameters
    ----------
    stream : Stream
        Without targets of its own.
    outputs : int
        A class each.

    Raises
    ------
    StimulusError
        Now or on the way, a label that has no output.
    """

    def __init__(self, stream: Stream, outputs: int) -> None:
        self._stream, self._targets = stream, np.eye(outputs)
        self.n_input, self.n_output, self.splits = stream.n_input, outputs, stream.splits
        self.classes = stream.classes
        if self.classes is not None:
            self._check(self.classes - 1)

    def length(self, split: str) -> int | None:
        """Return the number of rows of a split; None: it has no end that is known."""
        return self._stream.length(split)

    def rows(self, split: str, order: np.ndarray | None = None, start: int = 0) -> Iterator[Row]:
        """Yield the rows of a split, in the given order of their indices (k,) or as they are."""
        return map(self._with_target, self._stream.rows_from(split, order, start))

    def __str__(self) -> str:
        return str(self._stream)

    def resumes(self, split: str) -> bool:
        """Tell whether the rows of a split can be begun with any of them."""
        return self._stream.resumes(split)

    def _with_target(self, row: Row) -> Row:
        self._check(row.label)
        return Row(row.input, self._targets[row.label] if row.label >= 0 else None, row.label)

    def _check(self, label: int) -> None:
        if label >= self.n_output:
            raise StimulusError(
                f"stimulus: label {label} needs a node of role 'output' of its own where there are no "
                f"targets; there are {self.n_output}"
            )


Splits = Mapping[str, slice | ArrayLike]


def whole_array(where: str, values: ArrayLike) -> np.ndarray:
    """Return values as an array, of whatever numbers; StimulusError for rows of more than one length."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        rule = "must be numbers, in rows of one length"
        raise StimulusError(f"{where} {rule}, got {shown(values)}") from error


def real_array(where: str, values: ArrayLike) -> np.ndarray:
    """Return values as an array of floats; StimulusError for what is no real number, or has no float64."""
    array = whole_array(where, values)
    if array.dtype.kind not in "fiub":
        raise StimulusError(f"{where} must be real numbers, got dtype {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


class Arrays(Stream):
    """Rows of arrays in memory.

    Parameters
    ----------
    input : array (steps, n_input)
    target : array (steps, n_output), optional
    label : array (steps,) of int, optional
    splits : mapping, optional
        Name to the rows of a split: a slice, or indices (k,). Without it all rows are "train".
    where : str
        What errors call the arrays, for example a file.
    """

    def __init__(
        self,
        input: ArrayLike,  # noqa: A002 - the column's name
        target: ArrayLike | None = None,
        label: ArrayLike | None = None,
        splits: Splits | None = None,
        *,
        where: str = "stimulus",
    ) -> None:
        self._where = where
        self._input = self._matrix("input", input)
        steps, self.n_input = self._input.shape
        self._target = None if target is None else self._matrix("target", target, steps)
        self.n_output = 0 if self._target is None else self._target.shape[1]
        self._label = None if label is None else self._labels(label, steps)
        self.classes = 0 if self._label is None else int(self._label.max()) + 1
        given = {"train": slice(None)} if splits is None else splits
        if not isinstance(given, Mapping):
            raise StimulusError(f"{where}: splits must be a table of names and rows, got {shown(given)}")
        self._splits = {name: self._indices(name, part, steps) for name, part in given.items()}
        self.splits = tuple(self._splits)

    def length(self, split: str) -> int:
        """Return the number of rows of a split."""
        self.check_split(split)
        return len(self._splits[split])

    def rows(self, split: str, order: np.ndarray | None = None) -> Iterator[Row]:
        """Yield the rows of a split, in the given order of their indices (k,) or as they are."""
        self.check_split(split)
        indices = self._splits[split]
        return map(self._row, indices if order is None else indices[order])

    def _row(self, i: int) -> Row:
        target = None if self._target is None else self._target[i]
        return Row(self._input[i], target, -1 if self._label is None else int(self._label[i]))

    def _matrix(self, name: str, values: ArrayLike, steps: int | None = None) -> np.ndarray:
        array = real_array(f"{self._where}: {name}", values)
        if array.ndim != 2 or 0 in array.shape:
            raise StimulusError(f"{self._where}: {name} must have shape (steps, columns), got {array.shape}")
        if steps is not None and len(array) != steps:
            raise StimulusError(
                f"{self._where}: {name} must have {steps} rows as input has, got {len(array)}"
            )
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            value = array[row, column]
            raise StimulusError(
                f"{self._where}: row {row}: {name} must be finite, got {value} in column {column}"
            )
        return array

    def _labels(self, values: ArrayLike, steps: int) -> np.ndarray:
        array = whole_array(f"{self._where}: label", values)
        if array.dtype.kind not in "iu":
            raise StimulusError(f"{self._where}: label must be whole numbers, got dtype {array.dtype}")
        if array.shape != (steps,):
            raise StimulusError(f"{self._where}: label must have shape ({steps},), got {array.shape}")
        for row in np.flatnonzero((array < -1) | (array >= LARGEST))[:1]:
            raise StimulusError(
                f"{self._where}: row {row}: label must be >= 0, or -1 for none, got {array[row]}"
            )
        return array.astype(np.int64)

    def _indices(self, name: str, part: slice | ArrayLike, steps: int) -> np.ndarray:
        where = f"{self._where}: split {name!r}"
        indices = np.arange(steps)[part] if isinstance(part, slice) else whole_array(where, part)
        if indices.ndim != 1 or indices.dtype.kind not in "iu" or not indices.size:
            raise StimulusError(f"{where} must hold indices of rows, got {shown(part)}")
        if indices.min() < 0 or indices.max() >= steps:
            out = indices[(indices < 0) | (indices >= steps)][0]
            raise StimulusError(f"{self._where}: split {name!r} must hold rows 0 to {steps - 1}, got {out}")
        return indices


class File(Arrays):
    """Rows of an NPZ file, read as a whole.

    Parameters
    ----------
    path : path
        As ``numpy.savez`` writes it, with arrays ``input`` (steps, n_input) and, where there are, ``target``
        (steps, n_output), ``label`` (steps,) of int and ``split`` (steps,) of text, the name of the split
        that each row belongs to. Without ``split`` all rows are "train".
    """

    ARRAYS = ("input", "label", "split", "target")

    def __init__(self, path: str | Path) -> None:
        arrays = _npz(Path(path))
        for name in arrays.keys() - set(self.ARRAYS):
            raise StimulusError(f"{path}: " + unknown("array", name, self.ARRAYS))
        if "input" not in arrays:
            raise StimulusError(
                f"{path}: must have an array 'input', got {', '.join(sorted(arrays)) or 'none'}"
            )
        split = arrays.pop("split", None)
        steps = len(np.atleast_1d(arrays["input"]))
        super().__init__(**arrays, splits=_named_splits(path, split, steps), where=str(path))


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as raw:
            if zipfile.is_zipfile(raw):
                with zipfile.ZipFile(raw) as parts:
                    check_memory(str(path), sum(part.file_size for part in parts.infolist()))
            raw.seek(0)
            file = np.load(raw, allow_pickle=False)
            if isinstance(file, np.lib.npyio.NpzFile):
                return dict(file)
    except OSError as error:
        raise StimulusError(f"{path}: cannot read: {error.strerror or error}") from None
    except HlsimError:
        raise
    except Exception as error:  # noqa: BLE001 - numpy and zipfile raise many kinds for a broken file
        raise StimulusError(f"{path}: is no NPZ file that can be read: {error}") from None
    raise StimulusError(f"{path}: must be an NPZ file of named arrays, got a single array")


def _named_splits(path: str | Path, split: np.ndarray | None, steps: int) -> Splits | None:
    if split is None:
        return None
    if split.shape != (steps,) or split.dtype.kind != "U":
        raise StimulusError(
            f"{path}: split must be {steps} names, got shape {split.shape}, dtype {split.dtype}"
        )
    return {str(name): np.flatnonzero(split == name) for name in dict.fromkeys(split.tolist())}
