"""What graphs and experiments name: catalogues of ours, to which users add."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from hlsim.errors import ExperimentError

T = TypeVar("T")


class Catalogue(Mapping[str, T], Generic[T]):
    """Things by name, in the order in which they came; what is added later is seen by all who look.

    Parameters
    ----------
    what : str
        What an entry is, for errors: "rule".
    ours : iterable
        Entries with a ``name``, which nobody replaces.
    """

    def __init__(self, what: str, ours: Iterable[T]) -> None:
        self.what = what
        self._entries: dict[str, T] = {_name(entry): entry for entry in ours}
        self.ours = frozenset(self._entries)

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: T) -> None:
        """Take an entry in; one of a user's own is replaced by another of its name.

        Raises
        ------
        ExperimentError
            Its name is no name, or one of ours.
        """
        name = _name(entry)
        if not (isinstance(name, str) and name.isidentifier()):
            raise ExperimentError(f"register: a {self.what} needs a name of letters and digits, got {name!r}")
        if name in self.ours and self._entries[name] is not entry:
            raise ExperimentError(
                f"register: {self.what} {name!r} is hlsim's own: give yours a name of its own"
            )
        self._entries[name] = entry

    def is_ours(self, entry: T) -> bool:
        """Tell whether an entry is hlsim's own."""
        name = _name(entry)
        return name in self.ours and self._entries[name] is entry


def _name(entry: object) -> str:
    return entry.name  # type: ignore[attr-defined,no-any-return]
