"""The shape of the project: what imports what, how long things get, where its documents lead."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import hlsim

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "hlsim"
MODULES = {path.stem: path for path in sorted(PACKAGE.glob("*.py")) if path.stem != "__init__"}
DOCUMENTS = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "topologies", ROOT / "traces", ROOT / "tools")
    for path in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
)

# A module imports only from rows above it, or from what stands before it in its own row.
ARCHITECTURE = (
    ("errors", "usercode", "compiled", "machine_code"),
    ("ops",),
    ("neurons", "losses", "phi", "rule"),
    ("hamiltonian", "equilibrium", "continual", "holomorphic", "oscillating", "rules"),
    ("draws", "attributes", "columns", "checking", "couplings", "expansion"),
    ("graphfiles", "topology", "network"),
    ("kernel", "links", "controls", "calendar", "threads", "state"),
    ("push", "synapses", "synapse_loops", "projections", "fused", "plan", "wires"),
    ("circuit", "advance", "view", "wakeups", "post", "quiet", "clocks", "effects"),
    ("engine", "neuron_loops", "lockstep"),
    (
        "arrival_arrays",
        "arrival_formulas",
        "arrival_calendar",
        "arrival_neurons",
        "arrival_kernels",
        "arrivals",
    ),
    ("record", "alarms", "process", "reference"),
    ("streams", "datasets", "generated", "stimulus", "noise", "faults", "protocol"),
    ("superblock", "recovery", "chunks", "tables", "layout", "reading", "recording", "trace"),
    ("building", "traffic", "watch", "simulation"),
    (
        "baseline",
        "oracle",
        "rates",
        "curves",
        "ideal",
        "paths",
        "alignment",
        "estimates",
        "staleness",
        "laws",
    ),
    ("descent", "stability", "hardware", "locality", "comparison", "places", "diff", "analysis", "findings"),
    ("axes", "settings", "parsing", "overrides", "experiment", "estimate"),
    ("grid", "outcomes", "workers", "cluster", "ledger", "pace", "sweep"),
    ("words", "profiling", "terminal", "shown"),
    ("charts", "drawing", "samples", "credit", "figures", "beside", "sweep_charts", "stability_chart"),
    ("interactive", "printed", "page", "report"),
    ("analyze_command", "diff_command", "report_command", "sweep_command", "cli"),
    ("__main__",),
)
ORDER = [module for row in ARCHITECTURE for module in row]

LONGEST_FUNCTION = 60  # lines: about a screen
LONGEST_FILE = 400


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all imports; relative ones as seen from a module of hlsim."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(part for part in ("hlsim" if node.level else "", node.module) if part)
            # `from hlsim import ops` names a module, `from hlsim.ops import tanh` something inside one
            yield from (f"{base}.{alias.name}" if base == "hlsim" else base for alias in node.names)


def siblings(tree: ast.AST) -> set[str]:
    """Which modules of hlsim are imported; "hlsim" is the package itself."""
    names = [name.split(".") for name in imported(tree)]
    return {name[1] if len(name) > 1 else "hlsim" for name in names if name[0] == "hlsim"}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def reachable(module: str) -> set[str]:
    """All modules that come in with a module."""
    found: set[str] = set()
    todo = {module}
    while todo:
        name = todo.pop()
        found.add(name)
        todo |= (siblings(parse(MODULES[name])) & MODULES.keys()) - found
    return found


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
        ("from hlsim import ops, errors", {"ops", "errors"}),
        ("from hlsim.ops import tanh", {"ops"}),
        ("import hlsim.trace as t", {"trace"}),
        ("from . import ops", {"ops"}),
        ("def f():\n    from .trace import Recorder", {"trace"}),
        ("import hlsim", {"hlsim"}),
        ("import numpy, torch.nn\nfrom math import exp", set()),
    ],
)
def test_every_form_of_import_is_seen(source: str, names: set[str]) -> None:
    assert siblings(ast.parse(source)) == names


def test_every_module_has_its_place_in_the_architecture() -> None:
    assert set(MODULES) == set(ORDER)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_above(module: str) -> None:
    above = ORDER[: ORDER.index(module)]
    assert siblings(parse(MODULES[module])) <= set(above)


@pytest.mark.parametrize("engine", ["engine", "arrivals", "reference"])
def test_an_engine_never_imports_the_recorder(engine: str) -> None:
    """Recording observes a run; whether it is on can then not change the run."""
    assert not reachable(engine) & {"trace", "recording", "reading", "simulation", "protocol", "stimulus"}


@pytest.mark.parametrize("module", MODULES)
def test_the_library_needs_neither_tools_nor_tests(module: str) -> None:
    roots = {name.split(".")[0] for name in imported(parse(MODULES[module]))}
    assert not roots & {"tools", "tests", "topologies", "pytest", "hypothesis"}


@pytest.mark.parametrize("module", MODULES)
def test_errors_of_users_are_raised_not_asserted(module: str) -> None:
    """`python -O` drops assert statements, and their message names no rule."""
    lines = [node.lineno for node in ast.walk(parse(MODULES[module])) if isinstance(node, ast.Assert)]
    assert lines == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_functions_and_files_stay_short(path: Path) -> None:
    long = {name: lines for name, lines in functions(parse(path)) if lines > LONGEST_FUNCTION}
    assert long == {}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_the_package_is_flat() -> None:
    """The table above speaks of modules; a sub-package would escape it."""
    assert set(PACKAGE.rglob("*.py")) == {PACKAGE / "__init__.py", *MODULES.values()}


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
