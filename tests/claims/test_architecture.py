"""The shape of the project: who imports whom, how long things get, where tests and links lead."""

import ast
import graphlib
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import hlsim
from tests.support.places import ROOT

PACKAGE = ROOT / "hlsim"
TESTS = ROOT / "tests"
FILES = sorted(PACKAGE.rglob("*.py"))
DOCUMENTS = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "topologies", ROOT / "traces", ROOT / "tools")
    for path in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
)
# Modules at the top that belong to no package: what everything may use.
GROUND = {"errors", "draws", "textdata", "usercode"}
# The package itself and its command line stand above everything.
ABOVE = {"__init__", "__main__"}

LONGEST_FUNCTION = 60  # lines: about a screen
LONGEST_FILE = 600


def name_of(path: Path) -> str:
    """`hlsim.trace.reader`; a package's name for its `__init__`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in FILES}


def table() -> dict[str, set[str]]:
    """What each package may import, as docs/design.md prints it; "ground" are the modules at the top."""
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/?`[^|]*\|[^|]*\| ([^|]*) \|$", page, flags=re.MULTILINE)
    found = {package: set(re.findall(r"`(\w+)/?`", allowed)) for package, allowed in rows}
    ground = {package: GROUND & set(re.findall(r"`(\w+)`", page)) for package in found}
    return {package: allowed | ground[package] for package, allowed in found.items()}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all imports; of `from a import b`, `a.b` where that is a module of hlsim, else `a`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield inside if inside in MODULES else node.module


def package_of(module: str) -> str:
    """The package below hlsim, the module where it belongs to none, or "" for hlsim itself."""
    return module.removeprefix("hlsim").lstrip(".").split(".")[0]


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Name and number of lines of every function, docstring included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    return {slug(line.lstrip("#")) for line in prose(document).splitlines() if line.startswith("#")}


def prose(document: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def links(document: Path) -> list[str]:
    """Targets of the relative links, pictures too."""
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)", prose(document))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from hlsim.models import ops", {"hlsim.models.ops"}),
        ("from hlsim.models.ops import tanh", {"hlsim.models.ops"}),
        ("from hlsim.trace import Trace, reader", {"hlsim.trace", "hlsim.trace.reader"}),
        ("from hlsim import errors", {"hlsim.errors"}),
        ("import hlsim.trace as t", {"hlsim.trace"}),
        ("def f():\n    from hlsim.trace import reader", {"hlsim.trace.reader"}),
        ("import numpy, torch.nn\nfrom math import exp", {"numpy", "torch.nn", "math"}),
    ],
)
def test_every_form_of_import_is_seen(source: str, names: set[str]) -> None:
    assert set(imported(ast.parse(source))) == names


def test_the_table_has_every_package_and_no_other() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(table()) == packages
    assert set().union(*table().values()) <= packages | GROUND
    assert {path.stem for path in PACKAGE.glob("*.py")} == GROUND | ABOVE


def test_packages_import_one_way() -> None:
    graphlib.TopologicalSorter(table()).prepare()


@pytest.mark.parametrize("module", sorted(name for name in MODULES if package_of(name) not in ABOVE | {""}))
def test_a_module_imports_only_what_the_table_allows(module: str) -> None:
    package = package_of(module)
    names = [name for name in imported(parse(MODULES[module])) if name.split(".")[0] == "hlsim"]
    assert "hlsim" not in names
    assert {package_of(name) for name in names} - {package} <= table().get(package, GROUND - {package})


def test_modules_import_one_way() -> None:
    """Also within a package; and what lies in a package does not import its face."""
    graph = {module: set(imported(parse(path))) & MODULES.keys() for module, path in MODULES.items()}
    for module, names in graph.items():
        faces = {module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)}
        assert not names & faces, module
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", sorted(name for name in MODULES if (MODULES[name].name == "__init__.py")))
def test_a_package_says_in_a_sentence_what_it_is(module: str) -> None:
    assert (ast.get_docstring(parse(MODULES[module])) or "").splitlines()[0].endswith(".")


def test_the_public_names_are_all_there_is_to_see() -> None:
    assert dir(hlsim) == sorted(hlsim.__all__)
    for name in hlsim.__all__:
        assert getattr(hlsim, name) is not None


def test_what_is_loaded_when_asked_for_is_what_type_checkers_see() -> None:
    """The names that hlsim imports for type checkers alone are its public ones, and the same objects."""
    block = next(node for node in parse(PACKAGE / "__init__.py").body if isinstance(node, ast.If))
    told: dict[str, ModuleType] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert node.module
        told |= {alias.name: importlib.import_module(node.module) for alias in node.names}
    assert {*told, "HlsimError", "__version__"} == {*hlsim.__all__, "phi"}
    for name, module in told.items():
        assert getattr(hlsim, name) is getattr(module, name)


@pytest.mark.parametrize("first", ["hlsim.analysis", "hlsim.sweep", "hlsim.rules"])
def test_the_map_of_stability_is_asked_for_among_the_analyses(first: str) -> None:
    code = f"import {first}, hlsim; assert hlsim.analysis.stability is hlsim.sweep.stability"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("owner", [hlsim, hlsim.analysis])
def test_a_name_that_is_none_is_no_attribute(owner: object) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        owner.nonesuch  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_no_library() -> None:
    """Whoever wants a part waits for that part alone."""
    code = (
        "import sys, hlsim; dir(hlsim); "
        "print({x.split('.')[0] for x in sys.modules} - sys.stdlib_module_names - {'hlsim', *before})"
    )
    bare = "import sys; before = {x.split('.')[0] for x in sys.modules}; "
    done = subprocess.run(
        [sys.executable, "-c", bare + code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"


def test_running_a_network_loads_no_tables_and_no_scipy() -> None:
    code = (
        "import sys, hlsim; hlsim.Simulation(hlsim.topology.ring(3, delay=1), loss=None).run(until=3); "
        "print([x for x in ('pandas', 'xarray', 'scipy', 'pydantic', 'jinja2') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_loads_nobody_who_draws_or_distributes() -> None:
    """All public names are there at once, and who only runs a network waits for nothing else."""
    code = (
        "import sys, hlsim; [getattr(hlsim, name) for name in dir(hlsim)]; "
        "print([x for x in ('bokeh', 'matplotlib', 'dask', 'distributed', 'numba', 'typer', 'rich') "
        "if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_public_modules_can_be_imported_from() -> None:
    """`from hlsim.rules import Hamiltonian`, though the module lies deeper; it stays what it was."""
    deeper = {
        **dict.fromkeys(("baseline", "oracle"), "analysis"),
        **dict.fromkeys(("faults", "noise"), "simulation"),
        **dict.fromkeys(("losses", "neurons", "ops", "rules"), "models"),
        "network": "topology",
        "phi": "models.rules",
    }
    code = "\n".join(
        f"from hlsim.{name} import *; import hlsim.{name} as x; import hlsim.{place}.{name} as y; "
        f"import hlsim; assert x is y is hlsim.{name}; "
        f"assert x.__spec__.name == x.__name__ == 'hlsim.{place}.{name}'"
        for name, place in deeper.items()
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("module", MODULES)
def test_the_library_needs_neither_tools_nor_tests(module: str) -> None:
    roots = {name.split(".")[0] for name in imported(parse(MODULES[module]))}
    assert not roots & {"tools", "tests", "topologies", "pytest", "hypothesis"}


@pytest.mark.parametrize("module", MODULES)
def test_errors_of_users_are_raised_not_asserted(module: str) -> None:
    """`python -O` drops assert statements, and their message names no rule."""
    lines = [node.lineno for node in ast.walk(parse(MODULES[module])) if isinstance(node, ast.Assert)]
    assert lines == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_functions_and_files_stay_short(path: Path) -> None:
    long = {name: lines for name, lines in functions(parse(path)) if lines > LONGEST_FUNCTION}
    assert long == {}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(TESTS.rglob("test_*.py")) if path.parent.name not in ("claims", "support")],
    ids=lambda path: str(path.relative_to(TESTS)),
)
def test_the_path_of_a_test_says_which_module_it_is_about(path: Path) -> None:
    """tests/trace/test_reader.py tests hlsim/trace/reader.py; tests/report/test_figures.py a package."""
    place = PACKAGE / path.relative_to(TESTS).parent
    name = path.stem.removeprefix("test_")
    assert (place / f"{name}.py").exists() or (place / name / "__init__.py").exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    for link in links(document):
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def test_package_and_pyproject_agree_on_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert hlsim.__version__ == project["version"]
    assert f"## [{project['version']}]" in changelog
