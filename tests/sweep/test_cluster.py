"""Sweeps on a cluster: one of this machine's processes, whose workers are killed while they work."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hlsim import cli
from hlsim.cli import sweep as sweep_command
from hlsim.sweep import cluster, sweep
from hlsim.sweep.cluster import Cluster
from hlsim.sweep.workers import Lost
from tests.support import experiments, sweeps

distributed = pytest.importorskip("distributed")

SHORT = ["stage.train.passes=1", "stage.train.rows=4"]
ANYWHERE = "127.0.0.1:0"
KILLS = 2  # more often than ``impatient`` has dask allow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return experiments.write(tmp_path / "tiny")


@pytest.fixture
def impatient() -> Iterator[None]:
    """A run may lose its worker once, not three times as dask has it: workers take seconds to start."""
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        yield


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    with Cluster("local", 2, ANYWHERE) as started:
        yield started


def test_the_files_of_a_cluster_are_those_of_one_process(folder: Path, two: Cluster) -> None:
    grid = {"stimulus.hold": [2, 3, 5]}
    one = sweep("tiny", grid, seeds=2, folder="one", overrides=SHORT)
    assert two.at_once == 2
    other = sweep("tiny", grid, seeds=2, folder="other", overrides=SHORT, workers=two)
    assert sweeps.same(Path("one"), Path("other")) > 6 * 50
    assert other.drop_vars("wall_s").identical(one.drop_vars("wall_s"))


def killed_at_first(path: Path, tell: object) -> str:
    """Kill the process it is in the first times; the healthy neighbour must not pay for it either."""
    if path.name == "healthy":
        time.sleep(0.2)
        return "well"
    tries = len(list(path.iterdir()))
    if tries < KILLS:
        (path / str(tries)).touch()
        time.sleep(0.5)  # the nanny of a worker that dies while it still starts may give up
        os.kill(os.getpid(), signal.SIGKILL)
    return "well in the end"


def test_a_run_survives_that_its_worker_is_killed_more_often_than_dask_allows(
    tmp_path: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "killed"
    path.mkdir()
    with Cluster("local", 1, ANYWHERE) as alone:
        results = dict(alone.outcomes(killed_at_first, [path, tmp_path / "healthy"], print))
    assert results == {0: "well in the end", 1: "well"}
    assert len(list(path.iterdir())) == KILLS


def always_killed(item: object, tell: object) -> None:
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_local_cluster_that_has_lost_all_its_workers_gets_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a worker dies while it starts, and its nanny gives up: the sweep does not wait for ever."""
    monkeypatch.setattr(cluster, "LOOK", 0.2)
    monkeypatch.setattr(cluster, "BEREFT", 0.5)
    with Cluster("local", 1, ANYWHERE) as alone:
        alone._local.scale(0)
        while alone.workers:
            time.sleep(0.1)
        results = dict(alone.outcomes(told, [tmp_path], print))
    assert results == {0: "well"}


def told(path: Path, tell: object) -> str:
    return "well"


def test_a_run_that_always_kills_its_worker_fails_alone(
    monkeypatch: pytest.MonkeyPatch, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cluster, "LOSSES", 1)
    with Cluster("local", 1, ANYWHERE) as alone:
        results = dict(alone.outcomes(always_killed, [1], print))
    assert results == {0: Lost("its worker died more than 1 times, for want of memory maybe")}


def raises(item: object, tell: object) -> None:
    raise RuntimeError("on the\nworker")


def test_what_goes_wrong_on_a_worker_is_told_in_a_line(two: Cluster) -> None:
    assert dict(two.outcomes(raises, [1], print)) == {0: Lost("its worker: RuntimeError: on the worker")}


def test_a_worker_with_another_version_is_refused() -> None:
    found = cluster._do(raises, 1, "name", "0.0.1")
    assert isinstance(found, Lost)
    assert re.fullmatch(r"its worker has hlsim \S+, this is 0\.0\.1", found.reason)


# ---- a cluster that is there


def waits(path: Path, tell: Any) -> str:
    (path / "begun").touch()
    try:
        for _ in range(6000):
            time.sleep(0.01)
            tell(None)
    finally:
        (path / "ended").touch()
    return "nobody stopped it"


def test_who_stops_waiting_stops_the_workers_of_a_scheduler_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as there,
        Cluster(there.scheduler_address) as guest,
    ):
        results = guest.outcomes(waits, [tmp_path, tmp_path / "never"], print)
        interrupt = threading.Thread(target=interrupted_after, args=(tmp_path / "begun",))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt), closing(results):
            next(results)
        interrupt.join()
        appears(tmp_path / "ended")
        assert guest.at_once == 1
        assert not (tmp_path / "never").exists()


def interrupted_after(path: Path) -> None:
    appears(path)
    os.kill(os.getpid(), signal.SIGINT)


def appears(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_guest_leaves_a_scheduler_with_more_patience_than_it_had(tmp_path: Path) -> None:
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as there,
        distributed.Client(there, set_as_default=False) as client,
    ):
        assert client.run_on_scheduler(allowed) == 3
        with Cluster(there.scheduler_address):
            assert client.run_on_scheduler(allowed) == cluster.LOSSES
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 99))
        with Cluster(there.scheduler_address):
            assert client.run_on_scheduler(allowed) == 99


def test_a_scheduler_without_workers_is_told_of(capfd: pytest.CaptureFixture[str]) -> None:
    """Otherwise one would wait, and not know what for."""
    told = "hlsim: the scheduler has no workers yet: runs wait for them\n"
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as there:
        with sweep_command.chosen_workers(None, there.scheduler_address, None):
            assert told in capfd.readouterr().err
        there.scale(1)
        there.wait_for_workers(1)
        with sweep_command.chosen_workers(None, there.scheduler_address, None):
            assert told not in capfd.readouterr().err


def allowed(dask_scheduler: Any) -> int:
    return int(dask_scheduler.allowed_failures)


# ---- the command line


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", "tiny", "--seeds", "2", "-o", "out", *arguments, *(f"--set={x}" for x in SHORT)])
    return int(ended.value.code or 0)


def test_the_command_starts_a_cluster_and_tells_where_to_look(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command("--scheduler", "local", "--jobs", "2", "--dashboard", ANYWHERE) == 0
    told = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"hlsim: dashboard: http://127\.0\.0\.1:\d+/status", told[0])
    # On a slow machine lines on progress stand between them.
    assert [line[:5] for line in told[1:] if line.startswith("[")] == ["[1/2]", "[2/2]"]
    assert sorted(path.name for path in Path("out").iterdir()) == ["seed=0.h5", "seed=1.h5", "sweep.toml"]


def test_others_cannot_look_at_a_local_cluster_unless_they_are_let(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a cluster that does not start is one line."""
    asked: list[str] = []

    def local(**options: Any) -> None:
        asked.append(options["dashboard_address"])
        raise OSError("no such luck")

    monkeypatch.setattr(distributed, "LocalCluster", local)
    assert command("--scheduler", "local") == command("--scheduler", "local", "--dashboard", ":1234") == 2
    assert asked == ["127.0.0.1:8787", ":1234"]
    assert capfd.readouterr().err == "hlsim: --scheduler local: cannot start: no such luck\n" * 2


def test_a_scheduler_that_is_not_there_is_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "REACHED_WITHIN", 0.5)
    begun = time.monotonic()
    for address in ("tcp://127.0.0.1:1", "127.0.0.1:1", "nowhere.invalid:8786", "what://x"):
        assert command("--scheduler", address) == 2
        err = capfd.readouterr().err
        assert re.fullmatch(rf"hlsim: --scheduler {address}: cannot be reached: [^\n]+\n", err), err
    assert time.monotonic() - begun < 10
    assert not Path("out").exists()


def test_without_the_package_one_line_names_the_extra(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert command("--scheduler", "local") == 2
    wanted = "hlsim: a cluster needs the package distributed: pip install 'hlsim[cluster]'\n"
    assert capfd.readouterr().err == wanted


def test_ctrl_c_stops_a_local_cluster(folder: Path) -> None:
    process = sweeps.command(
        folder.parent,
        *("tiny", "--seeds", "2", "-o", "out", "--scheduler", "local", "--dashboard", ANYWHERE),
        *("--set", "stage.train.passes=100000"),
    )
    appears(folder.parent / "out" / "seed=0.h5.tmp")
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = sweeps.finished(process)
    assert code == 130
    assert err.splitlines()[-1] == "hlsim: interrupted; what was complete is in out"
    assert "Traceback" not in err
