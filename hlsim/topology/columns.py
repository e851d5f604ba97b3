"""Attributes of many elements as columns, in which a value that many of them share is looked at once.

A network of a million synapses is a million dictionaries, and what is done for each of them in Python takes
longer than all that follows. So columns are checked and converted as a whole, and elements are visited one by
one only where values are unusual, or where the first one that breaks a rule is to be named.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import methodcaller
from typing import Any, Self

import networkx as nx
import numpy as np
from numpy.typing import DTypeLike, NDArray

from hlsim.topology.attributes import Attribute, check_foreign, check_held, refusal

Written = Mapping[str, Any]
Ints = NDArray[np.int64]


class _Absent:
    """What stands for the value of an element that does not carry an attribute."""


ABSENT = _Absent()
# Of these, equal values of one type are the same value. Floats are not among them: 0.0 == -0.0.
_SHARED = {str, bool, int}
# So many dictionaries fit into a processor's cache.
_CACHED = 1024


@dataclass(frozen=True)
class Carried:
    """What elements carry, copied out of their dictionaries.

    Attributes
    ----------
    elements : list of mappings
        The dictionaries.
    names, values : lists
        Of everything, one element after the other. Where all elements carry the same names in the same order,
        ``names`` are those of one element.
    alike : bool
        Whether that is so.
    """

    elements: list[Written]
    names: list[str]
    values: list[Any]
    alike: bool

    @classmethod
    def by(cls, elements: list[Written]) -> Self:
        """Copy what elements carry."""
        first = list(elements[0]) if elements else []
        names: list[str] = []
        values: list[Any] = []
        alike = True
        # A million dictionaries lie all over the memory: each is gone over while a cache holds it.
        for start in range(0, len(elements), _CACHED):
            part = elements[start : start + _CACHED]
            values.extend(chain.from_iterable(map(methodcaller("values"), part)))
            own = list(chain.from_iterable(part))
            if alike and own != first * len(part):
                names, alike = first * start, False
            if not alike:
                names.extend(own)
        return cls(elements, first if alike else names, values, alike)

    def column(self, name: str) -> list[Any]:
        """Return the value of every element, ``ABSENT`` for those that do not carry it."""
        if self.alike:
            return self.values[self.names.index(name) :: len(self.names)]
        return [element.get(name, ABSENT) for element in self.elements]


@dataclass(frozen=True)
class Edges:
    """The edges of a directed graph, in its order.

    Attributes
    ----------
    source, target : int64 (edges,)
        Positions of the nodes in the graph.
    key : list
        Their keys; empty where there are no parallel edges.
    carried : Carried
        Their attributes.
    """

    source: Ints
    target: Ints
    key: list[Any]
    carried: Carried

    @classmethod
    def of(cls, graph: nx.DiGraph) -> Self:
        """Take a graph apart."""
        targets: list[Any] = []
        keys: list[Any] = []
        elements: list[Written] = []
        ends = []
        for _, neighbours in graph.adjacency():
            if graph.is_multigraph():
                for target, parallel in neighbours.items():
                    targets.extend([target] * len(parallel))
                    keys.extend(parallel)
                    elements.extend(parallel.values())
            else:
                targets.extend(neighbours)
                elements.extend(neighbours.values())
            ends.append(len(elements))
        place = {node: i for i, node in enumerate(graph)}
        source = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        target = np.fromiter(map(place.__getitem__, targets), np.int64, len(targets))
        return cls(source, target, keys, Carried.by(elements))


def spread(value: np.generic, count: int) -> NDArray[Any]:
    """Return an array of one value, which takes the memory of one; it is read-only."""
    return np.broadcast_to(value, count)


def is_spread(values: NDArray[Any]) -> bool:
    """Tell whether an array (..., k) is of one value, and takes the memory of one."""
    return not any(values.strides)


@dataclass(eq=False)
class Column:
    """The values of one attribute: element i has ``values[index[i]]``.

    Attributes
    ----------
    values : list
        They may repeat.
    index : int64 (elements,)
    """

    values: list[Any]
    index: Ints

    @classmethod
    def constant(cls, value: Any, count: int) -> Self:
        """Return a column of one value."""
        return cls([value], np.zeros(count, np.int64))

    @classmethod
    def each(cls, values: list[Any]) -> Self:
        """Return a column of the values of one element after the other."""
        return cls(values, np.arange(len(values)))

    @classmethod
    def shared(cls, values: Sequence[Any]) -> Self:
        """Return a column of values of which equal ones are the same."""
        place = {value: i for i, value in enumerate(dict.fromkeys(values))}
        return cls(list(place), np.fromiter(map(place.__getitem__, values), np.int64, len(values)))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Any:
        return self.values[self.index[i]]

    def __setitem__(self, i: int, value: Any) -> None:
        self.values.append(value)
        self.index[i] = len(self.values) - 1

    def tolist(self) -> list[Any]:
        """Return the value of every element."""
        return list(map(self.values.__getitem__, self.index.tolist()))

    def array(self, dtype: DTypeLike) -> NDArray[Any]:
        """Return the value of every element as an array; None is NaN. One value is ``spread``."""
        values = np.array(self.values, dtype)
        return spread(values[0], len(self)) if len(values) == 1 else values[self.index]

    def map(self, function: Callable[[Any], Any]) -> "Column":
        """Return a column of what a function makes of the values."""
        return Column(list(map(function, self.values)), self.index)

    def where(self, holds: Callable[[Any], bool]) -> Ints:
        """Return the elements for whose value a condition holds, ascending."""
        return np.flatnonzero(self.map(holds).array(bool))

    def types(self) -> set[type]:
        """Return the types of the values."""
        return set(map(type, self.values))


def columns(
    table: Mapping[str, Attribute],
    carried: Carried,
    defaults: Mapping[str, Any],
    where: Callable[[int], str],
) -> dict[str, Column]:
    """Return the parsed values of every attribute in a table, in its order.

    What other programs wrote has no meaning and is passed over, but not what may be one of ours misspelt.

    Parameters
    ----------
    carried : Carried
        By nodes or edges.
    defaults : mapping
        The value of elements that do not carry an attribute.
    where : callable
        Returns how errors name an element.

    Raises
    ------
    TopologyError
        For the first value of the first element that is refused.
    """
    names = set(carried.names)
    try:
        for name in names - table.keys():
            check_foreign(name, table)
            _check_held(carried.column(name))
        return {
            name: _column(attribute, carried.column(name), defaults[name])
            if name in names
            else Column.constant(defaults[name], len(carried.elements))
            for name, attribute in table.items()
        }
    except (ValueError, LookupError):
        _name_first(table, carried.elements, where)
        raise


def _check_held(values: list[Any]) -> None:
    """Refuse what a trace could not hold, which has the graph as text."""
    for kind in set(map(type, values)) - {int, float, bool, type(None), _Absent}:
        for value in values:
            if type(value) is kind:
                check_held(value)


def _column(attribute: Attribute, written: list[Any], default: Any) -> Column:
    types = set(map(type, written))
    kinds = types - {_Absent}
    if len(kinds) == 1 and kinds <= _SHARED:
        column = Column.shared(written)
        return column.map(lambda value: default if value is ABSENT else attribute.parse(value))
    if kinds == {float} and attribute.takes is not None:
        given = [value for value in written if value is not ABSENT] if _Absent in types else written
        if not attribute.takes(np.array(given)).all():
            raise ValueError
        if given is written:
            return Column.each(written)
        return Column.each([default if value is ABSENT else value for value in written])
    return Column.each([default if value is ABSENT else attribute.parse(value) for value in written])


def _name_first(
    table: Mapping[str, Attribute], elements: Sequence[Written], where: Callable[[int], str]
) -> None:
    """Raise the error of the first value that is refused."""
    for i, written in enumerate(elements):
        for name, value in written.items():
            try:
                if name in table:
                    table[name].parse(value)
                else:
                    check_foreign(name, table)
                    check_held(value)
            except (ValueError, LookupError) as error:
                raise refusal(where(i), name, value, error) from None
