"""Arrays by name behind one pointer: how compiled loops are given all that they work on.

A loop takes a table as it takes a number: what it gets is the address of a row of words, in which the
addresses and sizes of the arrays stand. Passing eighty arrays one by one would take longer than many a tick
does, and longer still to compile, since every function that passes them on has a few arguments for each.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np.arrayobj import make_array, populate_array
from numpy.typing import NDArray

from hlsim.engine import formulas

# An array has a word for its address and one for each of up to two sizes.
_ARRAY_WORDS = 3


class Table:
    """Contiguous arrays, objects with formulas, tuples of them, and other tables, by name.

    A loop reads them as attributes. It cannot set one; it writes into arrays.

    Parameters
    ----------
    label : str
        What errors of the compiler call it.
    members : mapping of str
        What it holds.
    narrow : mapping of str to dtype, optional
        In which format loops take the numbers of objects with formulas; float64 unless it says another.
    """

    def __init__(
        self, label: str, members: Mapping[str, Any], narrow: Mapping[str, Any] | None = None
    ) -> None:
        self._members, formats = dict(members), narrow or {}
        kinds = {
            name: formulas.type_of(x, np.dtype(formats[name]).name) if name in formats else _type(x)
            for name, x in members.items()
        }
        self.numba_type = TableType(label, kinds)
        self._words = self._packed()
        self.address = self._words.ctypes.data

    def _packed(self) -> NDArray[np.int64]:
        words = [word for value in self._members.values() for word in _words(value)]
        return np.array([*words, 0], np.int64)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_members"][name]
        except KeyError:
            raise AttributeError(name) from None

    def replace(self, **members: Any) -> None:
        """Let it hold other arrays of the same kinds under names that it has."""
        for name, value in members.items():
            if _type(value) != self.numba_type.members[name]:
                raise TypeError(f"{name}: must stay {self.numba_type.members[name]}, got {_type(value)}")
        self._members |= members
        # Where they stand: other tables hold the address of this row.
        self._words[:] = self._packed()


def _words(value: Any) -> list[int]:
    if isinstance(value, Table):
        return [value.address]
    if isinstance(value, formulas.KINDS):
        numbers = [float(getattr(value, name)) for name in formulas.type_of(value).numbers]
        return np.array(numbers, np.float64).view(np.int64).tolist()
    if isinstance(value, tuple):
        return [word for each in value for word in _words(each)]
    if not value.flags.c_contiguous or value.ndim >= _ARRAY_WORDS:
        raise TypeError(f"an array in a table must be contiguous, of at most {_ARRAY_WORDS - 1} dimensions")
    return [value.ctypes.data, *value.shape, *[0] * (_ARRAY_WORDS - 1 - value.ndim)]


def _type(value: Any) -> Any:
    if isinstance(value, Table):
        return value.numba_type
    if isinstance(value, formulas.KINDS):
        return formulas.type_of(value)
    if isinstance(value, tuple):
        return types.Tuple([_type(each) for each in value])
    return typeof(value)


class TableType(types.Type):  # type: ignore[misc]
    """The numba type of a table: its members' types, at their words."""

    def __init__(self, label: str, members: Mapping[str, Any]) -> None:
        self.members, self.places, place = dict(members), {}, 0
        for name, member in members.items():
            self.places[name] = place
            place += _size(member)
        text = ", ".join(f"{name}: {member}" for name, member in members.items())
        super().__init__(name=f"{label}_{sha256(text.encode()).hexdigest()[:12]}")


def _size(member: Any) -> int:
    if isinstance(member, types.BaseTuple):
        return sum(map(_size, member))
    if isinstance(member, formulas.Formulas):
        return len(member.numbers)
    return _ARRAY_WORDS if isinstance(member, types.Array) else 1


@typeof_impl.register(Table)
def _type_of(table: Table, _: object) -> TableType:
    return table.numba_type


@register_model(TableType)
class _Pointer(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, table: TableType) -> None:
        super().__init__(manager, table, ir.IntType(64).as_pointer())


@unbox(TableType)
def _unboxed(_: TableType, value: Any, context: Any) -> NativeValue:
    address = context.pyapi.object_getattr_string(value, "address")
    number = context.unbox(types.int64, address).value
    context.pyapi.decref(address)
    return NativeValue(context.builder.inttoptr(number, ir.IntType(64).as_pointer()))


@infer_getattr
class _Attributes(AttributeTemplate):  # type: ignore[misc]
    key = TableType

    def generic_resolve(self, table: TableType, name: str) -> Any:
        return table.members.get(name)


@lower_getattr_generic(TableType)
def _lowered(context: Any, builder: Any, table: TableType, pointer: Any, name: str) -> Any:
    return _read(context, builder, table.members[name], pointer, table.places[name])


def _read(context: Any, builder: Any, member: Any, pointer: Any, place: int) -> Any:
    if isinstance(member, types.BaseTuple):
        values = []
        for each in member:
            values.append(_read(context, builder, each, pointer, place))
            place += _size(each)
        return context.make_tuple(builder, member, values)
    if isinstance(member, formulas.Formulas):
        return _formulas(context, builder, member, pointer, place)
    address = _word(builder, pointer, place)
    if isinstance(member, TableType):
        return builder.inttoptr(address, ir.IntType(64).as_pointer())
    array = make_array(member)(context, builder)
    shape = [_word(builder, pointer, place + 1 + k) for k in range(member.ndim)]
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(member.dtype)))
    strides = [size] if member.ndim == 1 else [builder.mul(shape[1], size), size]
    data = builder.inttoptr(address, array.data.type)
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return array._getvalue()


def _formulas(context: Any, builder: Any, member: Any, pointer: Any, place: int) -> Any:
    struct = cgutils.create_struct_proxy(member)(context, builder)
    for k, (name, kind) in enumerate(member.numbers.items()):
        number = builder.bitcast(_word(builder, pointer, place + k), ir.DoubleType())
        if kind == "boolean":
            number = builder.fcmp_unordered("!=", number, ir.Constant(ir.DoubleType(), 0.0))
        elif kind == "float32":
            number = builder.fptrunc(number, ir.FloatType())
        setattr(struct, name, number)
    return struct._getvalue()


def _word(builder: Any, pointer: Any, place: int) -> Any:
    """Return a word, which stays what it is as long as a loop runs: it need not be read again."""
    at = builder.gep(pointer, [ir.Constant(ir.IntType(32), place)])
    word = builder.load(at)
    word.set_metadata("invariant.load", builder.module.add_metadata([]))
    return word
