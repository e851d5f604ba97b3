"""Who does the runs of a sweep does not matter for what comes of them; a process that dies costs one run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hlsim.cli.terminal import sweep_line
from hlsim.simulation.watch import Progress
from hlsim.sweep import sweep
from hlsim.sweep.course import Pace
from hlsim.sweep.outcomes import Outcome
from hlsim.sweep.workers import Lost, Processes, Serial, Workers
from tests.support import experiments, sweeps
from tests.support.places import ROOT

SHORT = ["stage.train.passes=1", "stage.train.rows=4"]
EVERYBODY = [Serial(), Processes(1), Processes(2)]


def square(number: int, tell: Callable[[Any], None] | None) -> tuple[int, int]:
    if tell is not None:
        tell(f"at {number}")
    return number * number, os.getpid()


def dies_of_two(number: int, tell: object) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 3:
        os._exit(7)
    return number


@pytest.mark.parametrize("workers", EVERYBODY, ids=["serial", "one", "two"])
def test_every_item_is_worked_on_once_and_tells_of_it(workers: Workers) -> None:
    told: list[tuple[int, str]] = []
    results = dict(workers.outcomes(square, [3, 4, 5, 6, 7], lambda *news: told.append(news)))
    assert {index: value for index, (value, _) in results.items()} == {0: 9, 1: 16, 2: 25, 3: 36, 4: 49}
    assert sorted(told) == [(index, f"at {index + 3}") for index in range(5)]
    pids = {pid for _, pid in results.values()}
    assert len(pids) <= workers.at_once
    assert (os.getpid() in pids) == isinstance(workers, Serial)


def test_nothing_to_do_starts_nothing() -> None:
    assert list(Processes(2).outcomes(square, [], print)) == []


def test_a_process_that_dies_costs_what_it_was_at() -> None:
    results = dict(Processes(2).outcomes(dies_of_two, [1, 2, 3, 4, 5], print))
    assert results == {
        0: 1,
        1: Lost("its process was ended by SIGKILL, for want of memory maybe"),
        2: Lost("its process ended with code 7"),
        3: 4,
        4: 5,
    }


def test_processes_end_when_nobody_waits_for_them_any_more(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]

    class EnoughError(Exception):
        pass

    def look(*_: object) -> None:
        raise EnoughError

    with (
        pytest.raises(EnoughError),
        closing(Processes(2).outcomes(announces_then_sleeps, files, look)) as results,
    ):
        list(results)
    for file in files:
        if file.exists():
            with pytest.raises(ProcessLookupError):
                os.kill(int(file.read_text()), 0)
    assert any(file.exists() for file in files)


def announces_then_sleeps(path: Path, tell: Any) -> None:
    path.write_text(str(os.getpid()))
    tell("here")
    time.sleep(600)


def sleeps(path: Path, tell: object) -> None:
    (path / "part").write_text(str(os.getpid()))
    (path / "part").rename(path / "whole")
    time.sleep(600)


def test_a_process_ends_with_its_parent_in_the_middle_of_its_work(tmp_path: Path) -> None:
    """However that ends, and though nothing is told that would not arrive."""
    code = (
        "import pathlib, sys; from hlsim.sweep.workers import Processes\n"
        "from tests.sweep.test_workers import sleeps\n"
        "list(Processes(1).outcomes(sleeps, [pathlib.Path(sys.argv[1])], print))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    whole, end = tmp_path / "whole", time.monotonic() + 60
    while not whole.exists():
        assert parent.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    child = Path(f"/proc/{whole.read_text()}")
    assert child.exists()
    parent.kill()
    parent.wait()
    while child.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- sweeps


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return experiments.write(tmp_path / "tiny")


def test_the_files_of_several_processes_are_those_of_one(folder: Path) -> None:
    """Failures too, which are told in the same words."""
    grid: dict[str, list[Any]] = {"learning.beta": [0.05, 1e6], "stimulus.hold": [2, 5]}
    wild = [*SHORT, "network.node_defaults={ update = 'clock', activation = 'identity' }"]
    one = sweep(folder.name, grid, seeds=2, folder="one", overrides=wild)
    two = sweep(folder.name, grid, seeds=2, folder="two", overrides=wild, workers=Processes(2))
    assert 0 < (one.error != "").sum() < 8
    assert sweeps.same(Path("one"), Path("two")) > 4 * 50
    assert two.drop_vars("wall_s").identical(one.drop_vars("wall_s"))


def test_a_run_whose_process_dies_is_a_failure_of_its_own(folder: Path) -> None:
    text = (folder / "topology.py").read_text()
    dies = "    if hidden == 4:\n        import os\n        os._exit(9)\n    return"
    (folder / "topology.py").write_text(text.replace("    return", dies))
    grid = {"network.parameters.hidden": [3, 4, 5]}
    found = sweep(folder, grid, folder="out", overrides=SHORT, workers=Processes(2))
    assert found.error.sel(seed=0).values.tolist() == ["", "its process ended with code 9", ""]


# ---- how a sweep gets on


def ended(seconds: float = 0.0, **options: Any) -> Outcome:
    return Outcome(point=None, seconds=seconds, **options)  # type: ignore[arg-type]


def test_the_time_left_follows_from_the_runs_that_are_over() -> None:
    pace = Pace(10, lambda: 2)
    assert sweep_line(pace) == "0 of 10 runs"
    pace.ended(-1, ended(skipped=True))
    assert (pace.mean, pace.left, pace.share) == (None, None, 0.1)
    pace.stands(1, Progress(25, 100, 5.0, 0))
    assert pace.mean == pytest.approx(20.0)
    pace.ended(1, ended(30.0))
    pace.ended(2, ended(10.0))
    pace.ended(3, ended(1.0, error="it failed at once"))
    assert (pace.done, pace.failed, pace.mean) == (4, 1, 20.0)
    assert pace.left == pytest.approx(6 * 20.0 / 2)
    pace.stands(4, Progress(50, 100, 9.0, 0))
    assert pace.share == pytest.approx(0.45)
    assert pace.left == pytest.approx(5.5 * 20.0 / 2)
    assert sweep_line(pace) == "4 of 10 runs, 1 failed, 20.00 s a run, 55.00 s left"
    for index in range(4, 9):
        pace.ended(index, ended(20.0))
    assert pace.left == pytest.approx(20.0)  # of two workers one has nothing to do
    pace.ended(9, ended(20.0))
    assert (pace.left, pace.share) == (0.0, 1.0)
