"""How loops are compiled: those that Python calls, which are kept on disk, and those inside them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast

from numba import _dynfunc, njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.typed_passes import NativeLowering

_Loop = TypeVar("_Loop", bound=Callable[..., Any])


class _Linked(JITCodeLibrary):  # type: ignore[misc]
    """Code that becomes part of whatever calls it, and is optimized there.

    Numba optimizes a function together with all that it calls, and makes machine code of it; then again
    within each of its callers, and of theirs. Of loops inside loops only the outermost one is ever called.
    """

    def _optimize_final_module(self) -> None:
        """Leave that to the caller."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class _Optimized(_Linked):
    """Code that is optimized by itself too, where its arguments are known to stand still (a third faster)."""

    def _optimize_final_module(self) -> None:
        JITCodeLibrary._optimize_final_module(self)


def _pipeline(library: type[_Linked]) -> type[CompilerBase]:
    """Return a compiler of functions that only compiled functions call."""

    @register_pass(mutates_CFG=True, analysis_only=False)
    class Lowering(NativeLowering):  # type: ignore[misc]
        """Lowers a function that has no address of its own."""

        _name = f"lowering_{library.__name__}"

        def run_pass(self, state: Any) -> bool:
            name, context = state.func_id.func_qualname, state.targetctx
            state.library = library(context.codegen(), name)
            state.library.enable_object_caching()
            state.flags.no_compile = True
            super().run_pass(state)
            # Numba tells functions by what Python would call.
            lowered = state["cr"]
            module = lowered.fndesc.lookup_module()
            called = _dynfunc.make_function(module, name, "", 0, lowered.env, (state.library,))
            context.insert_user_function(called, lowered.fndesc, [state.library])
            state["cr"] = lowered._replace(cfunc=called)
            return True

    class Compiler(CompilerBase):  # type: ignore[misc]
        def define_pipelines(self) -> list[PassManager]:
            passes = PassManager(library.__name__)
            for each, text in DefaultPassBuilder.define_nopython_pipeline(self.state).passes:
                passes.add_pass(Lowering if each is NativeLowering else each, text)
            passes.finalize()
            return [passes]

    return Compiler


# Not for what users write: a function without an address can neither print nor say what it got in an error.
LINKED: Mapping[str, Any] = MappingProxyType({"pipeline_class": _pipeline(_Linked)})
# Dividing by 0 gives infinity or NaN, as in torch.
_PLAIN: dict[str, Any] = {"error_model": "numpy", "nogil": True}
_BOTH: dict[str, Any] = {
    "error_model": "numpy",
    # Loops make no arrays and are given all of them. Counting references to them would take most of the time
    # (3.5 ms a tick instead of .5), for every look at one of many arrays in a tuple is a reference.
    "_nrt": False,
}
_CALLED: dict[str, Any] = {**_BOTH, "nogil": True}
# What Python would need to call a loop takes long to compile where many arrays are passed.
_INSIDE: dict[str, Any] = {
    **_BOTH,
    **LINKED,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
_TIGHT: dict[str, Any] = {**_INSIDE, "pipeline_class": _pipeline(_Optimized), "forceinline": True}


def plain(loop: _Loop) -> _Loop:
    """Compile a loop that Python or another loop calls, and which may make arrays."""
    return _kept(loop, _PLAIN)


def entry(loop: _Loop) -> _Loop:
    """Compile a loop that Python calls and that makes no arrays."""
    return _kept(loop, _CALLED)


def _kept(loop: _Loop, options: dict[str, Any]) -> _Loop:
    try:
        return cast(_Loop, njit(**options, cache=True)(loop))
    except RuntimeError:  # there is no folder in which numba may write
        return cast(_Loop, njit(**options)(loop))


def inner(loop: _Loop) -> _Loop:
    """Compile a loop that is called by others alone."""
    return cast(_Loop, njit(**_INSIDE)(loop))


def tight(loop: _Loop) -> _Loop:
    """Compile what stands in the innermost of loops: it becomes part of whatever calls it."""
    return cast(_Loop, njit(**_TIGHT)(loop))


def summing(loop: _Loop) -> _Loop:
    """Compile a sum whose terms may be taken in any order, so that vectors can be used: as tight."""
    return cast(_Loop, njit(**_TIGHT, fastmath={"reassoc"})(loop))


def once(loop: _Loop) -> _Loop:
    """Compile what one loop alone calls, as a part of its text: it is then not compiled twice."""
    return cast(_Loop, njit(**_INSIDE, inline="always")(loop))
