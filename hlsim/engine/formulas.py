"""Formulas of models, activations and rules, as compiled loops call them: those of ``hlsim.models``.

A loop takes the objects whose formulas it needs, ``rule.synapse_hold(...)`` in it is the method of that
class, and what is compiled is its source. Nothing of a formula is written a second time; one that a user has
written is compiled like ours.

An object is known to numba by its class and by the text of that class; its numbers and switches are passed at
run time. What was compiled is kept on disk by these, hence never used for another text of a formula.
"""

import ast
import inspect
import textwrap
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from hashlib import sha256
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    make_attribute_wrapper,
    models,
    overload,
    overload_method,
    register_jitable,
    register_model,
    typeof_impl,
    unbox,
)

from hlsim.engine.elementary import made, power
from hlsim.engine.loops import LINKED
from hlsim.models import ops
from hlsim.models.neurons import ACTIVATIONS, Activation, Neuron
from hlsim.models.rules.rule import ABSTRACT, Post, Pre, Rule, given

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
        fields: tuple[str, ...],
    ) -> None:
        self.cls, self.numbers, self.parameters, self.fields = cls, dict(numbers), parameters, fields
        digest = sha256(repr((cls, numbers, parameters, fields)).encode()).hexdigest()[:12]
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
    own = tuple(value.fields) if isinstance(value, Neuron) else ()
    return Formulas(name, numbers, parameters, own)


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
    """Makes of ``super().name(...)``, ``Class.name(self, ...)`` and powers calls of compiled functions."""

    def __init__(self, cls: type, place: int, space: dict[str, Any]) -> None:
        self._cls, self._place, self._space = cls, place, space
        self.found: dict[str, Callable] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list, node.returns = [], None
        for argument in node.args.args:
            argument.annotation = None
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Pow):
            return node
        self.found["power_"] = power
        return ast.Call(ast.Name("power_", ast.Load()), [node.left, node.right], [])

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


# ---- formulas that not every class has, and one of several objects


def _has(formulas: Any, name: str) -> bool:
    """Tell whether a class gives a formula that its base only names, and asks no other instead of it."""
    cls = _CLASSES[formulas.cls]
    found = getattr(cls, name, None)
    if found is None or any(getattr(base, name, None) is found for base in (Activation, Neuron, *ABSTRACT)):
        return False
    return given(cls, name)


def optional(name: str, arguments: str, otherwise: str) -> Callable:
    """Return a function (object, arguments) that is its formula, or ``otherwise`` where it has none."""
    function = made(f"def made(object, {arguments}):\n    raise NotImplementedError\n")

    @overload(function, LINKED, strict=False)
    def overloaded(*given: Any) -> Callable:
        own = _has(given[0], name)
        result = f"object.{name}({arguments})" if own else otherwise
        return made(f"def made(object, {arguments}):\n    return {result}\n")

    return function


def one_of(name: str, arguments: str, otherwise: str) -> Callable:
    """Return a function (models, k, parameters, i, arguments) that is a formula of the k-th model.

    ``parameters`` (parameter, neuron) are those of a model's neuron i, in the order in which the model has
    them; the formula's last argument, p, is made of them where it takes one more.
    """
    function = made(f"def made(models, k, parameters, i, {arguments}):\n    raise NotImplementedError\n")

    @overload(function, LINKED, strict=False)
    def overloaded(*given: Any) -> Callable:
        names: dict[str, Any] = {}
        lines = [f"def made(models, k, parameters, i, {arguments}):"]
        for j, each in enumerate(given[0].types):
            # What takes several numbers as a state is asked by ``of_state``.
            if len(getattr(each, "fields", ())) > 1:
                continue
            if name == "partials" and not _has(each, name) and _has(each, "velocity"):
                lines += _with_parameters(each, j, names)
                lines += [f"        {line}" for line in _by_complex_step(each, j, ["h"], names)]
            if not _has(each, name):
                continue
            with_p = _arguments(_CLASSES[each.cls], name) > len(arguments.split(","))
            wanted = f"{arguments}, p" if with_p else arguments
            lines += _with_parameters(each, j, names)
            lines += [f"        return models[{j}].{name}({wanted})"]
        lines += [f"    return {otherwise}"]
        return made("\n".join(lines), **names)

    return function


def _with_parameters(model: Any, j: int, names: dict[str, Any]) -> list[str]:
    """Return lines in which p are the parameters of neuron i, if its model is the j-th."""
    names[f"P{j}"] = namedtuple("Parameters", model.parameters or ("none",))  # type: ignore[misc]
    values = ", ".join(f"parameters[{r}, i]" for r in range(len(model.parameters))) or "0.0"
    return [f"    if k == {j}:", f"        p = P{j}({values})"]


# So small that its square is nothing beside 1: the derivative by a step into the complex plane is exact.
STEP = 1e-20


def _by_complex_step(model: Any, j: int, values: list[str], names: dict[str, Any]) -> list[str]:
    r"""Return lines that make ``new`` the partial derivatives of a velocity, Im f(x + i e)/e, and return it.

    Squire & Trapp, SIAM Review 40:110 (1998).
    """
    names["S" + str(j)], names["imaginary"] = namedtuple("State", model.fields), ops.imaginary  # type: ignore[misc]
    lines, size = [], len(values)
    for at in range(size + 1):
        moved = [f"complex({x}, {STEP if k == at else 0.0})" for k, x in enumerate([*values, "a"])]
        state = f"S{j}({', '.join(moved[:-1])})" if size > 1 else moved[0]
        lines.append(f"by{at} = models[{j}].velocity({state}, {moved[-1]}, sigma, p)")
    parts = [
        [f"imaginary(by{at}{f'[{r}]' if size > 1 else ''}) / {STEP}" for at in range(size + 1)]
        for r in range(size)
    ]
    if size == 1:
        lines.append(f"new = ({parts[0][0]}, {parts[0][1]})")
    else:
        rows = ", ".join(f"({', '.join(row[:-1])},)" for row in parts)
        lines.append(f"new = (({rows},), ({', '.join(row[-1] for row in parts)},))")
    return [*lines, "return new"]


@cache
def derives(model: Neuron) -> bool:
    """Tell whether a step into the complex plane gives the partial derivatives of a model, as autograd does.

    It does not where a formula is not differentiable as one of complex numbers: one with abs(), say.
    """
    draw, sigma, step = np.random.default_rng(0), ACTIVATIONS["tanh"], _step_of(model)
    named = namedtuple("Parameters", list(model.parameters) or ["none"])  # type: ignore[misc]
    p = named(*map(float, model.parameters.values() or [0.0]))
    for scale in (0.1, 1.0, 3.0):
        *x, a = (scale * draw.standard_normal(len(model.fields) + 1)).tolist()
        try:
            found = _flattened(step((model,), tuple(x), a, sigma, p))
            wanted = model.partials(model.state(x), a, sigma, p)  # type: ignore[arg-type]
        except (ArithmeticError, NumbaError, TypeError, ValueError, RuntimeError):
            return False
        for one, other in zip(found, _flattened(wanted), strict=True):
            if not abs(one - other) <= 1e-9 * max(1.0, abs(other)):
                return False
    return True


def _step_of(model: Neuron) -> Callable:
    """Return the partial derivatives at (models, x, a, sigma, p), as compiled loops find them."""
    names: dict[str, Any] = {}
    lines = _by_complex_step(type_of(model), 0, [f"x[{r}]" for r in range(len(model.fields))], names)
    text = "".join(f"    {line}\n" for line in lines)
    return njit(made(f"def made(models, x, a, sigma, p):\n{text}", **names))  # type: ignore[no-any-return]


def _flattened(partials: tuple[Any, Any]) -> list[float]:
    df_dx, df_da = partials
    if not isinstance(df_dx, tuple):
        return [df_dx, df_da]
    return [v for row in df_dx for v in row] + list(df_da)


def _written(fields: int) -> list[str]:
    return [*(f"out[{r}, i] = new[{1 + r}]" for r in range(fields - 1)), "return new[0]"]


def of_state(
    name: str, arguments: str, otherwise: str, several: Callable[[int], list[str]] = _written
) -> Callable:
    """Return a function (models, k, parameters, x, out, i, arguments) that is a formula of a model's state.

    ``x`` are the values of the network. Of a model with several fields the state is a named tuple; the first
    number of what the formula gives is returned, the others are written to ``out`` (field, neuron).
    ``several``: lines that make something else of what it gives, ``new``, by the number of fields.
    """
    taken = ", ".join(["models, k, parameters, x, out, i", *filter(None, [arguments])])
    function = made(f"def made({taken}):\n    raise NotImplementedError\n")

    @overload(function, LINKED, strict=False)
    def overloaded(*types_: Any) -> Callable:
        names: dict[str, Any] = {}
        lines = [f"def made({taken}):"]
        for j, each in enumerate(types_[0].types):
            parts = ["x.h[i]", *(f"x.more[{r}, i]" for r in range(len(each.fields) - 1))]
            values = ", ".join(parts)
            if name == "partials" and not _has(each, name) and _has(each, "velocity"):
                lines += _with_parameters(each, j, names)
                derived = _by_complex_step(each, j, parts, names)
                ends = several(len(each.fields)) if len(parts) > 1 else derived[-1:]
                lines += [f"        {line}" for line in (*derived[:-1], *ends)]
            if not _has(each, name):
                continue
            names[f"S{j}"] = namedtuple("State", each.fields)  # type: ignore[misc]
            lines += _with_parameters(each, j, names)
            state = f"S{j}({values})" if len(each.fields) > 1 else values
            wanted = ", ".join([state, *filter(None, [arguments]), "p"])
            lines += [f"        new = models[{j}].{name}({wanted})"]
            ends = several(len(each.fields)) if len(each.fields) > 1 else ["return new"]
            lines += [f"        {line}" for line in ends]
        return made("\n".join([*lines, f"    return {otherwise}"]), **names)

    return function


def _arguments(cls: type, name: str) -> int:
    return len(inspect.signature(getattr(cls, name)).parameters) - 1


class Chosen(types.Type):  # type: ignore[misc]
    """The numba type of one of several activations, as the formulas of a model take it.

    A type of its own: methods of named tuples would be those of users' named tuples as well.
    """

    def __init__(self, **members: Any) -> None:
        self.members = members
        super().__init__(name=f"Chosen({members})")


@register_model(Chosen)
class _ChosenStruct(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, chosen: Chosen) -> None:
        super().__init__(manager, chosen, list(chosen.members.items()))


for _name in ("objects", "k", "sigma", "a", "y"):
    make_attribute_wrapper(Chosen, _name, _name)


def _built(chosen: Chosen) -> tuple[Any, Callable]:
    """Return the signature of a function that makes one of its members, and its code."""

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        struct = cgutils.create_struct_proxy(chosen)(context, builder)
        for name, value in zip(chosen.members, values, strict=True):
            setattr(struct, name, value)
        return struct._getvalue()

    return chosen(*chosen.members.values()), generate


@intrinsic  # type: ignore[misc]
def chosen(_: Any, objects: Any, k: Any) -> Any:
    """Return the k-th of several activations."""
    return _built(Chosen(objects=objects, k=k))


@intrinsic  # type: ignore[misc]
def _known_at(_: Any, sigma: Any, a: Any, y: Any) -> Any:
    return _built(Chosen(sigma=sigma, a=a, y=y))


@register_jitable  # type: ignore[untyped-decorator]
def evaluated(objects: Any, k: int, a: Any) -> Any:
    """Return one of several activations whose value at a drive is known: several formulas ask for it."""
    sigma: Any = chosen(objects, k)
    return _known_at(sigma, a, sigma.value(a))


@overload_method(Chosen, "value", strict=False)
def _value(self: Any, a: Any) -> Callable:  # noqa: ARG001 (numba counts)
    return _activation(self, "value", "a")


@overload_method(Chosen, "slope", strict=False)
def _slope(self: Any, a: Any, y: Any) -> Callable:  # noqa: ARG001 (numba counts)
    return _activation(self, "slope", "a, y")


def _activation(one: Chosen, name: str, arguments: str) -> Callable:
    if "sigma" in one.members:
        if name == "slope":
            return made(f"def made(self, {arguments}):\n    return self.sigma.slope({arguments})\n")
        return made("def made(self, a):\n    return self.y if a == self.a else self.sigma.value(a)\n")
    lines = [f"def made(self, {arguments}):"]
    for j in range(1, len(one.members["objects"].types)):
        lines += [f"    if self.k == {j}:", f"        return self.objects[{j}].{name}({arguments})"]
    return made("\n".join([*lines, f"    return self.objects[0].{name}({arguments})"]))


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
    "synapse": "rf12rr",
    "velocity": "sxap",
    "partials": "sxap",
    "held": "sxrap",
    "impulse": "sxp",
    "fires": "sp",
    "after": "sp",
    "crossing": "sxap",
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


def fits_any_rule(thing: Activation | Neuron) -> bool:
    """Tell whether loops may know a model or an activation whatever their rule asks of it."""
    if not (compiles(thing) and compiles(thing, True)):
        return False
    return not isinstance(thing, Neuron) or _has(type_of(thing), "partials") or derives(thing)


_COMPILES: dict[tuple[type, bool], bool] = {}


def _compiles(thing: object, number: Any) -> bool:
    kinds: dict[str, Any] = {"x": number, "r": types.float64}
    kinds["1"] = types.NamedTuple((number,) * len(Pre._fields), Pre)
    kinds["2"] = types.NamedTuple((number,) * len(Post._fields), Post)
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
            state = namedtuple("State", formulas.fields)  # type: ignore[misc]
            several = len(formulas.fields) > 1
            kinds["s"] = types.NamedTuple((number,) * len(formulas.fields), state) if several else number
            kinds["p"] = types.NamedTuple((types.float64,) * len(formulas.parameters), named)
        for name, arguments in _FORMULAS.items():
            if _has(formulas, name):
                words = ", ".join(f"a{k}" for k in range(len(arguments)))
                call = made(f"def made(thing, {words}):\n    return thing.{name}({words})\n")
                njit(call).compile((formulas, *(kinds[kind] for kind in arguments)))
    except (NumbaError, OSError, TypeError):
        return False
    return True


# ---- the fields of synapses: a tuple of arrays


def part(fields: Any, where: slice) -> Any:
    """Return views of some synapses' fields."""
    raise NotImplementedError


@overload(part, LINKED, strict=False)
def _part(fields: Any, *_: Any) -> Callable:
    views = "".join(f"fields[{j}][where], " for j in range(len(fields)))
    return made(f"def made(fields, where):\n    return ({views})\n")


def at(rule: Any, fields: Any, k: int) -> Any:
    """Return the fields of the k-th synapse by name."""
    raise NotImplementedError


@overload(at, LINKED, strict=False)
def _at(rule: Any, fields: Any, *_: Any) -> Callable:
    named = namedtuple("Fields", _CLASSES[rule.cls].synapse_fields)  # type: ignore[misc,attr-defined]
    values = ", ".join(f"fields[{j}][k]" for j in range(len(fields)))
    return made(f"def made(rule, fields, k):\n    return named({values})\n", named=named)


def put(fields: Any, k: int, new: Any, moves: bool) -> None:
    """Set the fields of the k-th synapse, if it moves: without a branch, so that loops may use vectors."""
    raise NotImplementedError


@overload(put, LINKED, strict=False)
def _put(fields: Any, *_: Any) -> Callable:
    row = "    fields[{0}][k] = new[{0}] if moves else fields[{0}][k]\n"
    lines = [row.format(j) for j in range(len(fields))] or ["    pass\n"]
    return made(f"def made(fields, k, new, moves):\n{''.join(lines)}")
