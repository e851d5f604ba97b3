"""Formulas of models, activations and rules, as compiled loops call them: those of ``hlsim.models``.

A loop takes the objects whose formulas it needs, ``rule.synapse_hold(...)`` in it is the method of that
class, and what is compiled is its source. Nothing of a formula is written a second time; one that a user has
written is compiled like ours.

An object is known to numba by its class and by the text of that class; its numbers and switches are passed at
run time. What was compiled is kept on disk by these, hence never used for another text of a formula.
"""

import ast
import cmath
import inspect
import math
import textwrap
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from hashlib import sha256
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from numba import njit, types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    overload,
    overload_method,
    register_jitable,
    register_model,
    typeof_impl,
    unbox,
)

from hlsim.models import ops
from hlsim.models.neurons import ACTIVATIONS, Activation, Neuron
from hlsim.models.rules.rule import Rule

KINDS = (Activation, Neuron, Rule)
_CLASSES: dict[str, type] = {}
_KNOWN: set[tuple[str, str]] = set()


class Formulas(types.Type):  # type: ignore[misc]
    """The numba type of an object with formulas: its class, the text of it, its switches and its numbers."""

    def __init__(
        self,
        cls: str,
        numbers: tuple[tuple[str, str], ...],
        parameters: tuple[str, ...],
    ) -> None:
        self.cls, self.numbers, self.parameters = cls, dict(numbers), parameters
        digest = sha256(repr((cls, numbers, parameters)).encode()).hexdigest()[:12]
        super().__init__(name=f"{cls.split(maxsplit=1)[0].rpartition('.')[2]}_{digest}")


@typeof_impl.register(Activation)
@typeof_impl.register(Neuron)
@typeof_impl.register(Rule)
def _type(value: Any, _: object) -> Formulas:
    return type_of(value)


def type_of(value: Any, real: str = "float64") -> Formulas:
    """Return the numba type of an object, whose formulas and attributes numba knows from then on.

    ``real``: the format of its numbers.
    """
    cls, text = type(value), _text(type(value))  # type: ignore[arg-type]
    # A class of a user's file may come again with another text.
    name = f"{cls.__module__}.{cls.__qualname__} {text}"
    _CLASSES[name] = cls
    for method, function in _methods(cls):
        _know_method(method, function)
    numbers = tuple((key, "boolean" if isinstance(x, bool) else real) for key, x in _attributes(value))
    parameters = tuple(value.parameters) if isinstance(value, Neuron) else ()
    return Formulas(name, numbers, parameters)


def _methods(cls: type) -> Iterator[tuple[str, FunctionType]]:
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, FunctionType) and not name.startswith("__"):
                yield name, value


def _attributes(value: object) -> Iterator[tuple[str, bool | float]]:
    """Return the numbers and switches of an object by name, those that are properties or of its class too."""
    cls = type(value)
    names = {name: None for base in reversed(cls.__mro__) for name in vars(base)}
    names |= {each.name: None for each in fields(value)} if is_dataclass(value) else {}  # type: ignore[arg-type]
    for name in sorted(names):
        found = inspect.getattr_static(value, name, None)
        if name.startswith("_") or not isinstance(found, property | bool | int | float):
            continue
        number = getattr(value, name)
        if isinstance(number, bool | int | float):
            yield name, number if isinstance(number, bool) else float(number)


@cache
def _text(cls: Any) -> str:
    texts = "".join(inspect.getsource(base) for base in cls.__mro__ if base is not object)
    return sha256((texts + inspect.getsource(ops)).encode()).hexdigest()[:16]


def _know_method(name: str, function: FunctionType) -> None:
    if ("method", name) in _KNOWN:
        return
    _KNOWN.add(("method", name))
    # Numba wants the names of the arguments; every class has its own function of this name.
    arguments = ", ".join(inspect.signature(function).parameters)
    space: dict[str, Any] = {"chosen": lambda self: _function(_CLASSES[self.cls], name)}
    exec(f"def overloaded({arguments}):\n    return chosen(self)\n", space)
    overload_method(Formulas, name, strict=False)(space["overloaded"])


@infer_getattr
class _Attributes(AttributeTemplate):  # type: ignore[misc]
    key = Formulas

    def generic_resolve(self, formulas: Formulas, name: str) -> Any:
        return getattr(types, formulas.numbers[name]) if name in formulas.numbers else None


@lower_getattr_generic(Formulas)
def _lowered(_: Any, builder: Any, formulas: Formulas, value: Any, name: str) -> Any:
    return builder.extract_value(value, list(formulas.numbers).index(name))


@register_model(Formulas)
class _Struct(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, formulas: Formulas) -> None:
        super().__init__(
            manager, formulas, [(name, getattr(types, x)) for name, x in formulas.numbers.items()]
        )


@unbox(Formulas)
def _unboxed(formulas: Formulas, value: Any, context: Any) -> NativeValue:
    struct = cgutils.create_struct_proxy(formulas)(context.context, context.builder)
    for name, kind in formulas.numbers.items():
        number = context.pyapi.object_getattr_string(value, name)
        setattr(struct, name, context.unbox(getattr(types, kind), number).value)
        context.pyapi.decref(number)
    return NativeValue(struct._getvalue())


# ---- a method as a function that numba compiles


def _function(cls: type, name: str) -> Callable:
    """Return a method of a class as a function without ``super()``."""
    for place, base in enumerate(cls.__mro__):
        if name in vars(base):
            return _flat(cls, place, name)
    raise AttributeError(f"{cls.__name__} has no method {name}")


@cache
def _flat(cls: type, place: int, name: str) -> Callable:
    function = vars(cls.__mro__[place])[name]
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    space = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    parents = _Parents(cls, place, space)
    tree = ast.fix_missing_locations(parents.visit(tree))
    if not parents.found:
        return function  # type: ignore[no-any-return]
    made: dict[str, Any] = {}
    exec(compile(tree, inspect.getfile(function), "exec"), space | parents.found, made)
    return made[name]  # type: ignore[no-any-return]


class _Parents(ast.NodeTransformer):
    """Makes of ``super().name(...)`` and ``Class.name(self, ...)`` calls of compiled functions."""

    def __init__(self, cls: type, place: int, space: dict[str, Any]) -> None:
        self._cls, self._place, self._space = cls, place, space
        self.found: dict[str, Callable] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list, node.returns = [], None
        for argument in node.args.args:
            argument.annotation = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        target = node.func
        if not isinstance(target, ast.Attribute):
            return node
        if isinstance(target.value, ast.Call) and getattr(target.value.func, "id", "") == "super":
            place = next(k for k in self._after(self._place) if target.attr in vars(self._cls.__mro__[k]))
            return self._called(node, place, [ast.Name("self", ast.Load()), *node.args])
        owner = self._space.get(getattr(target.value, "id", ""))
        if isinstance(owner, type) and owner in self._cls.__mro__:
            first = self._cls.__mro__.index(owner) - 1
            place = next(k for k in self._after(first) if target.attr in vars(self._cls.__mro__[k]))
            return self._called(node, place, node.args)
        return node

    def _after(self, place: int) -> range:
        return range(place + 1, len(self._cls.__mro__))

    def _called(self, node: ast.Call, place: int, arguments: list[ast.expr]) -> ast.Call:
        name = node.func.attr  # type: ignore[attr-defined]
        alias = f"parent_{place}_{name}"
        self.found[alias] = njit(_flat(self._cls, place, name))
        return ast.Call(ast.Name(alias, ast.Load()), arguments, node.keywords)


# ---- elementary functions


def _made(text: str, **names: Any) -> Callable:
    space: dict[str, Any] = dict(names)
    exec(text, space)
    return space["made"]  # type: ignore[no-any-return]


def _is_complex(x: Any) -> bool:
    return isinstance(x, types.Complex)


def _elementary(function: Callable, of_real: Callable, of_complex: Callable | None = None) -> None:
    @overload(function, strict=False)
    def overloaded(x: Any) -> Callable:
        return of_complex if of_complex is not None and _is_complex(x) else of_real


def _call(module: ModuleType, name: str) -> Callable:
    # Numba compiles functions of Python, not built-in ones.
    return _made(f"def made(x):\n    return module.{name}(x)\n", module=module)


for _name in ("exp", "tanh", "log"):
    _elementary(getattr(ops, _name), _call(math, _name), _call(cmath, _name))
_elementary(ops.expm1, _call(math, "expm1"), lambda x: cmath.exp(x) - 1.0)
_elementary(
    ops.sigmoid,
    lambda x: 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x)),
    lambda x: 1.0 / (1.0 + cmath.exp(-x)),
)
_elementary(
    ops.softplus,
    lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    lambda x: cmath.log(1.0 + cmath.exp(x)),
)
_elementary(
    ops.relu,
    lambda x: x if x > 0 or math.isnan(x) else x * 0.0,
    lambda x: x if x.real > 0 else x * 0.0,
)
_elementary(ops.step, lambda x: 1.0 if x > 0 else 0.0, lambda x: 1.0 if x.real > 0 else 0.0)
_elementary(ops.real, lambda x: x, lambda x: x.real)
_elementary(ops.imaginary, lambda x: x * 0.0, lambda x: x.imag)
_elementary(ops.phi1, lambda x: 1.0 if x == 0 else math.expm1(x) / x)


def _phi2(x: float) -> float:
    if abs(x) >= ops._SERIES_RADIUS:
        return ((math.expm1(x) / x) - 1.0) / x
    total = 0.0 * x + _TERMS[0]
    for term in _TERMS[1:]:
        total = total * x + term
    return total


_TERMS = tuple(1.0 / math.factorial(k + 2) for k in range(ops._SERIES_TERMS, -1, -1))
_elementary(ops.phi2, _phi2)


# ---- formulas that not every class has, and one of several objects


def _has(formulas: Any, name: str) -> bool:
    """Tell whether a class gives a formula that its base only names."""
    found = getattr(_CLASSES[formulas.cls], name, None)
    return found is not None and all(
        getattr(base, name, None) is not found for base in (Activation, Neuron, Rule)
    )


def optional(name: str, arguments: str, otherwise: str) -> Callable:
    """Return a function (object, arguments) that is its formula, or ``otherwise`` where it has none."""
    function = _made(f"def made(object, {arguments}):\n    raise NotImplementedError\n")

    @overload(function, strict=False)
    def overloaded(*given: Any) -> Callable:
        own = _has(given[0], name)
        result = f"object.{name}({arguments})" if own else otherwise
        return _made(f"def made(object, {arguments}):\n    return {result}\n")

    return function


def one_of(name: str, arguments: str, otherwise: str) -> Callable:
    """Return a function (objects, k, parameters, i, arguments) that is a formula of the k-th object.

    ``parameters`` (parameter, neuron) are those of a model's neuron i, in the order in which the model has
    them; the formula's last argument, p, is made of them where it takes one more.
    """
    function = _made(f"def made(objects, k, parameters, i, {arguments}):\n    raise NotImplementedError\n")

    @overload(function, strict=False)
    def overloaded(*given: Any) -> Callable:
        lines, names = [f"def made(objects, k, parameters, i, {arguments}):"], {}
        for j, each in enumerate(given[0].types):
            if not _has(each, name):
                continue
            with_p = _arguments(_CLASSES[each.cls], name) > len(arguments.split(","))
            wanted = f"{arguments}, p" if with_p else arguments
            names[f"P{j}"] = namedtuple("Parameters", each.parameters or ("none",))  # type: ignore[misc]
            values = ", ".join(f"parameters[{r}, i]" for r in range(len(each.parameters))) or "0.0"
            lines += [f"    if k == {j}:", f"        p = P{j}({values})"]
            lines += [f"        return objects[{j}].{name}({wanted})"]
        lines += [f"    return {otherwise}"]
        return _made("\n".join(lines), **names)

    return function


def _arguments(cls: type, name: str) -> int:
    return len(inspect.signature(getattr(cls, name)).parameters) - 1


class Sigma(NamedTuple):
    """One of several activations, as the formulas of a model take it."""

    objects: Any
    k: int


class Evaluated(NamedTuple):
    """A ``Sigma`` whose value ``y`` at a drive ``a`` is known: several formulas of a neuron ask for it."""

    sigma: Any
    a: Any
    y: Any


@register_jitable  # type: ignore[untyped-decorator]
def evaluated(objects: Any, k: int, a: Any) -> Evaluated:
    """Return one of several activations, evaluated at a drive."""
    sigma: Any = Sigma(objects, k)
    return Evaluated(sigma, a, sigma.value(a))


@overload_method(types.NamedTuple, "value", strict=False)
def _value(self: Any, a: Any) -> Callable | None:  # noqa: ARG001 (numba counts)
    return _activation(self, "value", "a")


@overload_method(types.NamedTuple, "slope", strict=False)
def _slope(self: Any, a: Any, y: Any) -> Callable | None:  # noqa: ARG001 (numba counts)
    return _activation(self, "slope", "a, y")


def _activation(sigma: Any, name: str, arguments: str) -> Callable | None:
    if sigma.instance_class is Evaluated:
        if name == "slope":
            return _made(f"def made(self, {arguments}):\n    return self.sigma.slope({arguments})\n")
        return _made("def made(self, a):\n    return self.y if a == self.a else self.sigma.value(a)\n")
    if sigma.instance_class is not Sigma:
        return None
    lines = [f"def made(self, {arguments}):"]
    for j in range(1, len(sigma.types[0].types)):
        lines += [f"    if self.k == {j}:", f"        return self.objects[{j}].{name}({arguments})"]
    return _made("\n".join([*lines, f"    return self.objects[0].{name}({arguments})"]))


# ---- whether an object's formulas can be compiled

# By name, what formulas take: numbers that may be complex (x), real ones (r), fields of a synapse (f), the
# end of a phase (e), an activation (a) and parameters of a model (p).
_FORMULAS = {
    "synapse_euler": "rfxrr",
    "synapse_hold": "rfxxrr",
    "costate_euler": "xxxr",
    "costate_hold": "xxrr",
    "constant_hold": "xr",
    "momentum": "f",
    "memory": "r",
    "mark": "rfxre",
    "correlate": "rfxrx",
    "velocity": "xxap",
    "partials": "xxap",
    "rest": "xa",
    "value": "x",
    "slope": "xx",
}


class Mark(NamedTuple):
    """The end of a phase, as formulas take it: see ``Phase``."""

    weight: complex
    first: bool
    last: bool


def compiles(thing: object, complex_states: bool = False) -> bool:
    """Tell whether all formulas of an object can be compiled, each by itself.

    What is not a formula of numbers cannot: one that calls functions of torch, or methods of tensors. Where
    states are complex it must be one of complex numbers too.
    """
    known = type(thing), complex_states
    if known not in _COMPILES:
        _COMPILES[known] = _compiles(thing, types.complex128 if complex_states else types.float64)
    return _COMPILES[known]


_COMPILES: dict[tuple[type, bool], bool] = {}


def _compiles(thing: object, number: Any) -> bool:
    kinds: dict[str, Any] = {"x": number, "r": types.float64}
    kinds["e"] = types.NamedTuple((types.complex128, types.boolean, types.boolean), Mark)
    try:
        formulas = type_of(thing)
        kinds["a"] = type_of(ACTIVATIONS["tanh"])
        if isinstance(thing, Rule):
            names = tuple(thing.synapse_fields)
            kinds["f"] = types.NamedTuple(
                (types.float64,) * len(names), type(thing.fields([0.0] * len(names)))
            )
        if isinstance(thing, Neuron):
            named = namedtuple("Parameters", formulas.parameters)  # type: ignore[misc]
            kinds["p"] = types.NamedTuple((types.float64,) * len(formulas.parameters), named)
        for name, arguments in _FORMULAS.items():
            if _has(formulas, name):
                words = ", ".join(f"a{k}" for k in range(len(arguments)))
                call = _made(f"def made(thing, {words}):\n    return thing.{name}({words})\n")
                njit(call).compile((formulas, *(kinds[kind] for kind in arguments)))
    except (NumbaError, OSError, TypeError):
        return False
    return True


# ---- the fields of synapses: a tuple of arrays


def part(fields: Any, where: slice) -> Any:
    """Return views of some synapses' fields."""
    raise NotImplementedError


@overload(part, strict=False)
def _part(fields: Any, *_: Any) -> Callable:
    views = "".join(f"fields[{j}][where], " for j in range(len(fields)))
    return _made(f"def made(fields, where):\n    return ({views})\n")


def at(rule: Any, fields: Any, k: int) -> Any:
    """Return the fields of the k-th synapse by name."""
    raise NotImplementedError


@overload(at, strict=False)
def _at(rule: Any, fields: Any, *_: Any) -> Callable:
    named = namedtuple("Fields", _CLASSES[rule.cls].synapse_fields)  # type: ignore[misc,attr-defined]
    values = ", ".join(f"fields[{j}][k]" for j in range(len(fields)))
    return _made(f"def made(rule, fields, k):\n    return named({values})\n", named=named)


def put(fields: Any, k: int, new: Any, moves: bool) -> None:
    """Set the fields of the k-th synapse, if it moves: without a branch, so that loops may use vectors."""
    raise NotImplementedError


@overload(put, strict=False)
def _put(fields: Any, *_: Any) -> Callable:
    row = "    fields[{0}][k] = new[{0}] if moves else fields[{0}][k]\n"
    lines = [row.format(j) for j in range(len(fields))] or ["    pass\n"]
    return _made(f"def made(fields, k, new, moves):\n{''.join(lines)}")
