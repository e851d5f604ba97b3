"""A sweep that is killed goes on where it was, and leaves the same files as one that nobody disturbed."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hlsim.sweep import sweep
from tests.support import experiments, sweeps

GRID = ("tiny", "--grid", "stimulus.hold=5,6,7", "--grid", "network.parameters.delay=0,2")
# Long enough that a run can be met while it is written: some tenths of a second.
LONG = ("--set", "stage.train.passes=10")
RUNS = 6


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same sweep, undisturbed: done here, by the function that the command calls."""
    folder = tmp_path_factory.mktemp("undisturbed")
    experiments.write(folder / "tiny")
    grid = {"stimulus.hold": [5, 6, 7], "network.parameters.delay": [0, 2]}
    found = sweep(folder / "tiny", grid, folder=folder / "whole", overrides=LONG[1:])
    assert (found.error == "").all()
    return folder / "whole"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    experiments.write(tmp_path / "tiny")
    started: list[subprocess.Popen[str]] = []

    def command(*arguments: str) -> "subprocess.Popen[str]":
        started.append(sweeps.command(tmp_path, *GRID, *LONG, *arguments))
        return started[-1]

    yield command
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(happens: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 120) -> None:
    """Wait for something that a process does."""
    end = time.monotonic() + seconds
    while not happens():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


def stopped_under_way(folder: Path, process: "subprocess.Popen[str]") -> Callable[[], bool]:
    """Stop the sweep and all its processes where some runs are complete and another is being written."""

    def stopped() -> bool:
        if not any(folder.glob("*.h5")):
            return False
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(0.02)  # what was in the kernel comes to its end
        if any(folder.glob("*.h5.tmp")):
            return True
        os.killpg(process.pid, signal.SIGCONT)
        return False

    return stopped


def gone(there: Callable[[], bool]) -> None:
    """Hold that something is soon there no more."""
    end = time.monotonic() + 20
    while there():
        assert time.monotonic() < end
        time.sleep(0.01)


def any_left(group: int) -> bool:
    """Tell whether a group has processes."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def rerun(err: str) -> int:
    """How many runs a call did itself, as it told."""
    lines = re.findall(rf"^\[\d+/{RUNS}\] .*$", err, re.MULTILINE)
    assert len(lines) == RUNS
    return sum("skipped" not in line for line in lines)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_sweep_does_the_rest_and_leaves_the_same_files(
    start, whole: Path, tmp_path: Path, jobs: str
) -> None:
    killed, out = start("-o", "out", "--jobs", jobs), tmp_path / "out"
    until(stopped_under_way(out, killed), killed)
    os.kill(killed.pid, signal.SIGKILL)  # the sweep alone: its processes have to notice
    os.killpg(killed.pid, signal.SIGCONT)
    killed.communicate()
    gone(lambda: any_left(killed.pid))
    # One that notices late may have come to the end of its run.
    complete = {path.name: path.read_bytes() for path in out.glob("*.h5")}
    assert 0 < len(complete) < RUNS

    code, _, err = sweeps.finished(start("-o", "out", "--jobs", jobs))
    assert code == 0, err
    assert rerun(err) == RUNS - len(complete)
    for name, data in complete.items():
        assert (out / name).read_bytes() == data
    assert sweeps.same(out, whole) > RUNS * 50


def test_processes_end_with_the_sweep_that_started_them(start, tmp_path: Path) -> None:
    """Otherwise a killed sweep would go on in the dark, and hold the traces that the next one wants."""
    process = start("-o", "out", "--jobs", "2", "--set", "stage.train.passes=100000")
    out = tmp_path / "out"
    until(lambda: len(list(out.glob("*.h5.tmp"))) == 2, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(children) >= 2
    gone(lambda: any(Path(f"/proc/{child}").exists() for child in children))


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_stops_a_sweep_and_what_it_started(start, tmp_path: Path, jobs: str) -> None:
    process = start("-o", "out", "--jobs", jobs, "--set", "stage.train.passes=100000")
    until(lambda: bool(list((tmp_path / "out").glob("*.h5.tmp"))), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, out, err = sweeps.finished(process)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "hlsim: interrupted; what was complete is in out"
    assert "Traceback" not in err
    gone(lambda: any_left(process.pid))


def test_what_a_killed_writer_left_beside_its_trace_is_removed(start, tmp_path: Path) -> None:
    """A trace is laid out under another name still; and a file of that name may be no trace at all."""
    out = tmp_path / "out"
    out.mkdir()
    name = "stimulus.hold=5,network.parameters.delay=0,seed=0.h5"
    (out / f".{name}.tmp.4711").write_bytes(b"half")
    (out / f"{name}.tmp").write_bytes(b"torn by a power cut")
    code, _, err = sweeps.finished(start("-o", "out", "--set", "stage.train.passes=1"))
    assert code == 0, err
    assert len(list(out.iterdir())) == RUNS + 1
