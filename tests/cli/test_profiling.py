"""Where a run's time goes: every second belongs to one part, and counting changes nothing of the run."""

import ast
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hlsim import cli, experiment, trace
from hlsim.cli import profiling
from hlsim.cli.profiling import PARTS, Profile
from tests.support import experiments
from tests.support.places import ROOT

LIBRARIES = {"simpy", "numba"}
PACKAGE = Path(profiling.__file__).parents[1]


def profiled(folder: Path, *overrides: str) -> Profile:
    profile = Profile()
    wanted = experiment.load(folder, overrides)
    with profile:
        wanted.run().close()
    return profile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return experiments.write(tmp_path / "tiny")


def test_every_name_of_the_table_exists() -> None:
    """One that was renamed would silently count for what is around it."""
    files = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in PACKAGE.rglob("*.py")}
    places = {parts[:depth] for parts in files for depth in range(1, len(parts) + 1)}
    for name in profiling.NAMES:
        parts = tuple(name.split("."))
        if parts in places or name in LIBRARIES:
            continue
        tree = ast.parse(files[parts[:-1]].read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert parts[-1] in functions, name


def test_no_name_stands_twice_in_the_table() -> None:
    assert len(profiling.NAMES) == sum(len(names) for names in profiling.PART_NAMES.values())


@pytest.mark.parametrize("overrides", [(), ("simulation.engine=reference",)])
def test_the_parts_are_all_the_time_there_was(folder: Path, overrides: tuple[str, ...]) -> None:
    profile = profiled(folder, *overrides)
    parts = profile.parts()
    assert tuple(parts) == PARTS
    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(profile.wall, rel=0.05)
    assert parts[profiling.OTHER] < 0.05 * profile.wall
    for part in (profiling.KERNEL, profiling.UPDATE, profiling.LEARN, profiling.RECORD):
        assert parts[part] > 0


def calls(profile: Profile, part: str) -> int:
    return sum(function.calls for function in profile.functions(sys.maxsize) if function.part == part)


def test_recording_more_shows_in_its_part(folder: Path) -> None:
    """By calls, which no load of the machine changes."""
    # A run before, so that neither of the two imports anything.
    profiled(folder)
    seldom = profiled(folder, "record={ every = 100, events = [] }")
    often = profiled(folder, "record={ every = 1, events = ['message', 'update'] }")
    assert calls(often, profiling.RECORD) > 1.2 * calls(seldom, profiling.RECORD)


def spend(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def circle(depth: int, seconds: float) -> None:
    """Two functions that call each other, as imports and solvers do."""
    back(depth, seconds) if depth else spend(seconds)


def back(depth: int, seconds: float) -> None:
    circle(depth - 1, seconds)


def pose_as(module: str, name: str, source: str, **names: object) -> Callable[[], None]:
    """A function that stands in a module of hlsim, as far as a profiler can tell."""
    file = PACKAGE / f"{module}.py"
    assert file.exists()
    found = dict(names)
    exec(compile(f"def {name}():\n    {source}\n", str(file), "exec"), found)
    return found[name]  # type: ignore[return-value]


def test_time_in_libraries_belongs_to_who_called_them() -> None:
    """Through functions in a circle too."""
    learning = pose_as("engine/circuit/push", "euler", "work(3, 0.1)", work=circle)
    telling = pose_as("engine/circuit/calendar", "put", "work(0, 0.05)", work=circle)
    with Profile() as profile:
        learning()
        telling()
    parts = profile.parts()
    assert parts[profiling.LEARN] + parts[profiling.DELIVER] == pytest.approx(0.15, rel=0.3)
    assert parts[profiling.LEARN] == pytest.approx(2 * parts[profiling.DELIVER], rel=0.3)


def test_what_recording_asks_for_is_recording() -> None:
    """Of a function of another part, the share that it spends for the recorder."""
    hold = pose_as("engine/circuit/advance", "hold", "work(0.1)", work=spend)
    reading = pose_as("engine/circuit/view", "read", "hold()", hold=hold)
    running = pose_as("engine/general/engine", "_run", "hold()", hold=hold)
    with Profile() as profile:
        running()
        reading()
    parts = profile.parts()
    assert parts[profiling.UPDATE] == pytest.approx(0.1, rel=0.3)
    assert parts[profiling.RECORD] == pytest.approx(0.1, rel=0.3)


def test_a_function_counts_for_its_part_by_name() -> None:
    def part(module: str, name: str) -> str:
        return profiling.part_of(pose_as(module, name, "pass").__code__)

    assert part("engine/circuit/push", "deliver") == profiling.DELIVER
    assert part("engine/circuit/push", "euler") == profiling.LEARN
    assert part("engine/compiled/engine", "_tick") == profiling.LOOP
    assert part("models/ops", "tanh") == part("engine/circuit/push", "__init__") == profiling.CALLER
    assert profiling.part_of("<built-in method torch.tanh>") == profiling.CALLER


def test_the_longest_functions_come_first(folder: Path) -> None:
    functions = profiled(folder).functions(10)
    seconds = [function.seconds for function in functions]
    assert len(functions) == 10
    assert seconds == sorted(seconds, reverse=True)
    assert {function.part for function in functions} <= set(PARTS)


def test_a_run_that_is_profiled_writes_the_same_trace(folder: Path, capsys: pytest.CaptureFixture) -> None:
    for name, options in (("plain", []), ("profiled", ["--profile"])):
        with pytest.raises(SystemExit) as ended:
            cli.main(["run", str(folder), "-o", str(folder / f"{name}.h5"), *options])
        assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in PARTS)
    with trace.open(folder / "plain.h5") as plain, trace.open(folder / "profiled.h5") as other:
        assert plain.names() == other.names()
        for name in plain.names():
            if not name.startswith("log/"):  # wall time and memory
                np.testing.assert_array_equal(plain.h5[name][()], other.h5[name][()], err_msg=name)


@pytest.mark.parametrize("other", ["--quiet", "--dry-run"])
def test_profile_does_not_go_with_everything(
    folder: Path, other: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", ".", "--profile", other])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--profile" in err
    assert other in err


def test_the_tool_shows_parts_and_functions(folder: Path) -> None:
    tool = str(ROOT / "tools" / "profiler.py")
    done = subprocess.run(
        [sys.executable, "-W", "error", tool, str(folder), "--functions", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(part in done.stdout for part in PARTS)
    assert "The longest functions" in done.stdout
