"""The state of a run as plain arrays by name: what classes declare, taken and put back.

A class whose numbers change in a run says which in one line, ``STATE``, and is a ``Stateful``. What it only
works on within a tick stands in ``SCRATCH``. An array keeps its place in memory when it is put back, since
others may look at the same numbers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.errors import ExperimentError, plain
from hlsim.models.losses import Loss
from hlsim.models.rules.rule import Rule
from hlsim.topology.network import Network

Array = NDArray[Any]
# Bytes of a digest.
_DIGEST = 16
# What stands for None: no value of ours is a row of no truth values.
_NOTHING = np.zeros(0, np.bool_)
# Kinds of Python's numbers, in the order in which ``numbers`` counts them.
_TYPES = (type(None), bool, int, float, complex)


class Arrays(dict[str, Array]):
    """Arrays by name, and where they stand among others; a name that is not there is an ExperimentError."""

    def __init__(self, arrays: Mapping[str, Array], where: str = "") -> None:
        super().__init__(arrays)
        self.where = where

    def __missing__(self, name: str) -> Array:
        raise ExperimentError(f"state: must have {self.where + name!r}, got none of that name")

    def within(self, name: str) -> Self:
        """Return the arrays whose names begin with ``name/``, by the rest of theirs."""
        begin = f"{name}/"
        inner = {key.removeprefix(begin): x for key, x in self.items() if key.startswith(begin)}
        return type(self)(inner, self.where + begin)

    def refuse(self, name: str, rule: str, got: object) -> ExperimentError:
        """Return the error that an array is not what it must be."""
        return ExperimentError(f"state: {self.where + name!r} must {rule}, got {got}")


class Stateful:
    """What has numbers that change in a run: it can be saved, and loaded into another one like it.

    Attributes
    ----------
    STATE, APART, SCRATCH : tuples of str
        Attributes that change: that are saved, that are saved in a form of their own, that need not be.
        Those of a base are not repeated. A value is a number, text, None, an
        array or tensor, another Stateful, or a list, tuple or dict of such. What is None when it is
        loaded may become an array.
    """

    STATE: ClassVar[tuple[str, ...]] = ()
    APART: ClassVar[tuple[str, ...]] = ()
    SCRATCH: ClassVar[tuple[str, ...]] = ()

    def collect(self) -> dict[str, Array]:
        """Return copies of all that changes, by name."""
        return dict(taken({name.strip("_"): getattr(self, name) for name in declared(type(self), "STATE")}))

    def put_back(self, arrays: Arrays) -> None:
        """Take what another one like this saved."""
        for name in declared(type(self), "STATE"):
            old = getattr(self, name)
            new = put(old, name.strip("_"), arrays)
            if new is not old:
                setattr(self, name, new)


class Whole(Stateful):
    """A Stateful that knows what it is made of: its state goes into another one that is made alike."""

    # How names begin that need not be there.
    FREE: ClassVar[str] = "/"

    @property
    def made_of(self) -> Mapping[str, Array]:
        """Digests or texts, by what they are of."""
        raise NotImplementedError

    def state(self) -> dict[str, Array]:
        """Return copies of all that changes in a run, and of what it is made of: plain arrays by name."""
        return {**prefixed("made_of", self.made_of), **self.collect()}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take the ``state`` of another one that was made alike; this one has not run.

        Raises
        ------
        ExperimentError
            The state is of something else: which of its parts, names, shapes or dtypes differs.
        """
        given = Arrays(arrays)
        check_same(self.made_of, given.within("made_of"))
        check_names(self.state(), given, self.FREE)
        self.put_back(given)


def declared(cls: type, what: str) -> tuple[str, ...]:
    """Return the attributes that a class and its bases declare, as STATE for example, each once."""
    return tuple(dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base).get(what, ())))


def prefixed(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays under names that begin with ``name/``."""
    return {f"{name}/{key}": x for key, x in arrays.items()}


def taken(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Array]]:
    """Return copies of values by name as plain arrays, see ``Stateful``."""
    for key, value in values.items():
        name = f"{where}{key}"
        if isinstance(value, Stateful):
            yield from prefixed(name, value.collect()).items()
        elif isinstance(value, Mapping):
            yield from taken(value, f"{name}/")
        elif isinstance(value, list | tuple):
            yield from taken({str(k): x for k, x in enumerate(value)}, f"{name}/")
        elif isinstance(value, np.ndarray) and value.dtype.names:
            yield from taken({field: value[field] for field in value.dtype.names}, f"{name}/")
        else:
            yield name, _array(value)


def _array(value: Any) -> Array:
    if value is None:
        return _NOTHING.copy()
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy().copy()
    return np.array(value)


def put(old: Any, name: str, arrays: Arrays) -> Any:
    """Return the value that ``taken`` made arrays of; ``old`` itself, changed in place, where that can be."""
    if isinstance(old, Stateful):
        old.put_back(arrays.within(name))
        return old
    if isinstance(old, Mapping | list | tuple):
        return _put_parts(old, arrays.within(name))
    if isinstance(old, np.ndarray) and old.dtype.names:
        for field in old.dtype.names:
            put(old[field], field, arrays.within(name))
        return old
    given = arrays[name]
    if old is None or is_nothing(given):
        return None if is_nothing(given) else given.copy()
    if isinstance(old, str):
        return as_text(given)
    return (_put_into if isinstance(old, np.ndarray | Tensor) else _number)(old, name, given, arrays)


def _put_parts(old: Any, inner: Arrays) -> Any:
    if isinstance(old, Mapping):
        for key, value in old.items():
            new = put(value, key, inner)
            if new is not value:
                old[key] = new  # type: ignore[index]
        return old
    parts = [put(value, str(k), inner) for k, value in enumerate(old)]
    return old if all(new is value for new, value in zip(parts, old, strict=True)) else type(old)(parts)


def _put_into(old: Any, name: str, given: Array, arrays: Arrays) -> Any:
    kind = old.dtype if isinstance(old, np.ndarray) else torch.empty(0, dtype=old.dtype).numpy().dtype
    if given.dtype != kind:
        raise arrays.refuse(name, f"have dtype {kind}", given.dtype)
    if given.shape != tuple(old.shape):
        raise arrays.refuse(name, f"have shape {tuple(old.shape)}", given.shape)
    if isinstance(old, np.ndarray):
        old[...] = given
    else:
        old.copy_(torch.as_tensor(given))
    return old


def _number(old: Any, name: str, given: Array, arrays: Arrays) -> Any:
    # A nudge is a real number until a rule with complex ones sets it.
    alike = given.dtype.kind in ("fc" if isinstance(old, float | complex) else np.array(old).dtype.kind)
    if given.shape != () or not alike:
        raise arrays.refuse(name, f"be one {type(old).__name__}", f"{given.dtype} of shape {given.shape}")
    return given.item()


def is_nothing(array: Array) -> bool:
    """Tell whether an array stands for None."""
    return array.dtype == np.bool_ and array.shape == (0,)


def text(value: str) -> Array:
    """Return a text as the numbers of its bytes: names in files need no type of their own."""
    return np.frombuffer(value.encode(), np.uint8).copy()


def as_text(array: Array) -> str:
    """Return the text of such numbers."""
    return array.astype(np.uint8).tobytes().decode()


# ---- what does not stand in arrays


def stacked(parts: Iterable[Tensor], like: Tensor) -> Array:
    """Return tensors that are all like one as an array (part, ...)."""
    rows = [_array(part) for part in parts]
    return np.stack(rows) if rows else _array(like)[None][:0]


def unstacked(name: str, arrays: Arrays, like: Tensor, most: int) -> list[Tensor]:
    """Return the tensors of such an array, at most so many."""
    given, shape = arrays[name], tuple(like.shape)
    if given.shape[1:] != shape or len(given) > most or given.dtype != _array(like[:0]).dtype:
        rule = f"be at most {most} arrays {shape} of {_array(like[:0]).dtype}"
        raise arrays.refuse(name, rule, f"{given.dtype} of shape {given.shape}")
    return [torch.tensor(row, device=like.device) for row in given]


def numbers(name: str, values: Sequence[Any], shape: tuple[int, ...]) -> dict[str, Array]:
    """Return numbers of Python's, and None, as an array, and another one of what each one is."""
    given = [plain(value) for value in values]
    kinds = [_TYPES.index(type(value)) for value in given]
    array = np.array([0.0 if value is None else value for value in given], np.complex128)
    return {name: array.reshape(shape), f"{name}.type": np.array(kinds, np.int8).reshape(shape)}


def as_numbers(name: str, arrays: Arrays, shape: tuple[int, ...]) -> list[Any]:
    """Return the numbers of such arrays, one after the other."""
    given, kinds = arrays[name], arrays[f"{name}.type"]
    if given.shape != shape or kinds.shape != shape:
        raise arrays.refuse(name, f"have shape {shape}", given.shape)
    if given.dtype != np.complex128 or kinds.dtype != np.int8:
        raise arrays.refuse(name, "have dtype complex128, and its types int8", (given.dtype, kinds.dtype))
    pairs = zip(given.ravel().tolist(), kinds.ravel().tolist(), strict=True)
    return [_as_number(value, _TYPES[kind]) for value, kind in pairs]


def _as_number(value: complex, kind: type) -> Any:
    if kind is type(None):
        return None
    return value if kind is complex else kind(value.real)


# ---- what a state is of


def digest(*things: Any) -> Array:
    """Return 16 bytes that differ where values, arrays, or records of such do."""
    found = blake2b(digest_size=_DIGEST)
    for thing in things:
        _feed(found, thing)
    return np.frombuffer(found.digest(), np.uint8).copy()


def _feed(found: Any, thing: Any) -> None:
    if isinstance(thing, np.ndarray):
        found.update(repr((thing.dtype.descr, thing.shape)).encode())
        found.update(np.ascontiguousarray(thing).tobytes())
    elif callable(thing):
        found.update(thing.__qualname__.encode())
    elif isinstance(thing, Mapping):
        for key in sorted(thing):
            found.update(repr(key).encode())
            _feed(found, thing[key])
    elif isinstance(thing, list | tuple):
        found.update(f"{len(thing)}".encode())
        for each in thing:
            _feed(found, each)
    elif is_dataclass(thing) or " at 0x" in repr(thing):
        # What objects without a text of their own are called differs from one process to the next.
        found.update(type(thing).__qualname__.encode())
        _feed(found, vars(thing))
    else:
        found.update(repr(thing).encode())


def made_of(network: Network, rule: Rule, loss: Loss | None, dt: float, replicas: int) -> dict[str, Array]:
    """Return digests of what every engine is made of."""
    # The text of a graph tells the order in which it was built, on which nothing depends.
    parts = {each.name: getattr(network, each.name) for each in fields(network) if each.name != "node_link"}
    return {
        "network": digest(parts),
        "rule": digest(rule),
        "loss": digest(loss),
        "dt": digest(float(dt)),
        "number of replicas": digest(replicas),
    }


def check_same(own: Mapping[str, Array], given: Arrays) -> None:
    """Refuse a state that is of something else; both are digests or texts, by what they are of."""
    for name, mine in own.items():
        if not np.array_equal(mine, other := given[name]):
            texts = len(mine) != _DIGEST or len(other) != _DIGEST
            told = f"{as_text(other)!r} for {as_text(mine)!r}" if texts else "another"
            raise ExperimentError(f"state: must be of the same {name}, got {told}")


def check_names(own: Iterable[str], given: Iterable[str], free: str) -> None:
    """Refuse a state with names that nobody knows, or without some; those that begin with ``free`` aside."""
    mine, other = ({name for name in names if not name.startswith(free)} for names in (own, given))
    for name in sorted(mine - other)[:1]:
        raise ExperimentError(f"state: must have {name!r}, got none of that name")
    for name in sorted(other - mine)[:1]:
        raise ExperimentError(f"state: must have no {name!r}, which nothing here is called")
