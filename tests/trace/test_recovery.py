"""However a run ends, its trace is whole: what had been flushed is there, for whoever reads it."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from hlsim import trace
from hlsim.errors import TraceError
from hlsim.trace import Recorder, recovery, superblock
from hlsim.trace import reader as reading
from hlsim.trace import recorder as recording
from tests.support.places import ROOT
from tests.support.traces import NETWORK, check_recorded, record, recorder, values

# ---- the end of a run


def test_a_run_that_fails_loses_nothing(tmp_path: Path) -> None:
    def run() -> None:
        every = {"default": 1, "w": 3, "omega": 3}
        with recorder(tmp_path / "t.h5", every=every, events=("message", "update")) as rec:
            record(rec, 0, 17)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    with trace.open(tmp_path / "t.h5") as read:
        assert read.status == "interrupted"
        check_recorded(read, 17)


def test_events_of_a_run_that_fails_are_kept_up_to_where_it_came() -> None:
    rec = recorder(None, sampled=(), events=("message", "update"))
    rec.message(0, [3, 4, 5], [0, 0, 0], [1.0, 2.0, 3.0], 3)
    rec.update(4, [1])
    rec.finish("interrupted")
    with rec.trace() as read:
        assert read["events/tick"].tolist() == [3, 4, 4]


def test_a_summary_that_is_too_long_costs_nothing_else(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "t.h5", every={"default": 1, "w": 3, "omega": 3}, events=("message", "update"))
    record(rec, 0, 5)
    with pytest.raises(TraceError, match=r"summary: must have at most 16384 bytes, got 20012$"):
        rec.finish("complete", {"much": "x" * 20_000})
    with rec.trace() as read:
        assert (read.status, read.summary) == ("complete", {})
        check_recorded(read, 5)


def test_a_second_finish_changes_nothing(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "t.h5")
    with pytest.raises(TraceError, match="is still being written; finish it first"):
        rec.trace()
    rec.finish("interrupted", {"n": 1})
    rec.finish("complete", {"n": 2})
    with rec.trace() as read:
        assert (read.status, read.summary) == ("interrupted", {"n": 1})


class Clock:
    """Wall time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_what_is_recorded_reaches_the_file_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill costs at most 5 s or a tenth of the run: no more is missing from the file at any moment."""
    clock = Clock()
    monkeypatch.setattr(recording, "time", clock)
    flushes = 0
    flush = Recorder.flush

    def counted(rec: Recorder) -> None:
        nonlocal flushes
        flushes += 1
        flush(rec)

    monkeypatch.setattr(Recorder, "flush", counted)
    with recorder(tmp_path / "t.h5", every=1, sampled=("loss",)) as rec:
        for tick in range(2000):
            clock.now = float(tick)
            rec.sample(tick, values(rec, tick))
            if tick % 23 == 0:
                with trace.open(tmp_path / "t.h5") as read:
                    reached = read["sampled/tick"].max(initial=-1)
                assert tick - reached <= max(recording.FLUSH_SECONDS, recording.FLUSH_SHARE * tick)
    assert 10 < flushes < 70


# ---- unfinished traces


@pytest.fixture
def left_behind(tmp_path: Path) -> Path:
    """The file of a run that goes on, with 20 ticks flushed: a copy of it is one without a writer."""
    every = {"default": 1, "w": 3, "omega": 3}
    rec = recorder(tmp_path / "t.h5", every=every, events=("message", "update"), chunk=8)
    with rec:
        record(rec, 0, 20)
        rec.flush()
        record(rec, 20, 23)
        shutil.copy(tmp_path / "t.h5", tmp_path / "left.h5")
    return tmp_path / "left.h5"


def test_hdf5_refuses_a_file_that_was_left_behind_until_it_is_opened_here(left_behind: Path) -> None:
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(left_behind, "r")
    with trace.open(left_behind) as read:
        assert read.status == "interrupted"
        assert read.attrs["end"]
        check_recorded(read, 20)
        assert (read["network/traffic_state"] == -1).all()
    with h5py.File(left_behind, "r") as plain:
        assert plain.attrs["status"] == b"interrupted"
    with xr.open_datatree(left_behind, engine="h5netcdf") as tree:
        tree.load()


def test_mending_writes_behind_the_data(left_behind: Path) -> None:
    """The end that the superblock tells is older than the data: to write from there would destroy them."""
    stored = int.from_bytes(left_behind.read_bytes()[28:36], "little")
    assert stored < left_behind.stat().st_size
    before = {}
    with h5py.File(left_behind, "r", swmr=True) as file:
        file.visititems(
            lambda name, item: before.update({name: item[()]}) if hasattr(item, "dtype") else None
        )
    recovery.mend(left_behind)
    with h5py.File(left_behind, "r+") as file:
        file["more"] = np.arange(10_000)
        for name, values in before.items():
            np.testing.assert_array_equal(
                file[name][: len(values)] if np.ndim(values) else file[name][()], values
            )


@pytest.mark.parametrize(("axis", "extra"), [("sampled/tick", 3), ("events/event", 0), ("rows/row", 0)])
def test_rows_that_are_not_whole_are_cut(left_behind: Path, axis: str, extra: int) -> None:
    """As after a kill between two columns: some are longer; of the ticks the last are not written yet."""
    recovery.mend(left_behind)
    with h5py.File(left_behind, "r+") as file:
        rows = len(file[axis])
        for column in recovery.columns(file[axis])[1:]:
            column.resize(rows + len(column.name) % 3 + 5, axis=0)
        file[axis].resize((rows + extra,))
        recovery.set_text(file, "status", "running")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "fcntl", None)  # read as it is first
        with trace.open(left_behind) as read:
            check_recorded(read, 20)
            group, _, dim = axis.partition("/")
            assert read.tree()[group].sizes[dim] == len(read[f"{group}/tick"]) == rows
    with trace.open(left_behind) as read:
        check_recorded(read, 20)
        assert len(read[axis]) == rows
        assert read.status == "interrupted"
        assert {len(column) for column in recovery.columns(read.h5[axis])} == {rows}


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_trace_that_may_not_be_changed_is_read_as_it_is(
    left_behind: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(code, os.strerror(code))

    before = left_behind.read_bytes()
    monkeypatch.setattr(recovery, "_check_room", refuse)
    with trace.open(left_behind) as read:
        assert read.status == "interrupted"
        check_recorded(read, 20)
        read.tree().load()
    assert left_behind.read_bytes() == before


def test_two_who_follow_a_trace_see_the_same(tmp_path: Path) -> None:
    """HDF5 gives wrong values where a dataset is refreshed while it is open twice, so none is refreshed."""
    with recorder(
        tmp_path / "t.h5", every={"default": 1, "w": 3, "omega": 3}, events=("message", "update")
    ) as rec:
        opened = []
        for start in (0, 5, 10):
            record(rec, start, start + 5)
            rec.flush()
            opened.append(trace.open(tmp_path / "t.h5"))
        for read in opened:
            check_recorded(read, 5)
            read.close()
        with trace.open(tmp_path / "t.h5") as read:
            check_recorded(read, 15)


def test_a_trace_that_came_to_its_end_is_not_mended(tmp_path: Path) -> None:
    """Its writer may finish between the look at the file and the lock on it."""
    with recorder(tmp_path / "t.h5"):
        pass
    before = (tmp_path / "t.h5").read_bytes()
    assert recovery.settle(tmp_path / "t.h5") == "whole"
    assert (tmp_path / "t.h5").read_bytes() == before


def test_without_locks_nothing_is_mended(left_behind: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "fcntl", None)
    before = left_behind.read_bytes()
    with trace.open(left_behind) as read:
        assert read.status == "running"
        check_recorded(read, 20)
    assert left_behind.read_bytes() == before


# ---- two processes

WRITER = """
import sys
from hlsim.trace import recorder as recording
from tests.support.traces import Path, recorder, record

recording.FLUSH_SECONDS = recording.FLUSH_SHARE = 0
every = {"default": 1, "w": 3, "omega": 3}
rec = recorder(Path(sys.argv[1]), every=every, events=("message", "update"), chunk=64)
for tick in range(int(sys.argv[2])):
    record(rec, tick, tick + 1)
    if tick % 20 == 0:
        print(tick, flush=True)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Any]:
    """Start a process that records so many ticks, and then ends without a word."""
    started = []

    def start(ticks: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "t.h5"), str(ticks)]
        root = ROOT
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def told(process: subprocess.Popen[str]) -> int:
    """Wait for the next tick that the writer has flushed."""
    line = process.stdout.readline() if process.stdout else ""
    assert line, "the writer failed"
    return int(line)


def test_a_trace_can_be_followed_while_it_is_written_and_survives_a_kill(writer, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    process = writer(10**9)
    lengths = []
    for _ in range(10):
        flushed = told(process)
        with trace.open(path) as read, h5py.File(path, "r", swmr=True) as plain:
            assert read.status == "running"
            check_recorded(read, flushed)
            lengths.append(len(read["sampled/h"]))
            assert len(plain["sampled/h"]) >= flushed
    assert sorted(set(lengths)) == lengths
    with trace.open(path) as read:
        for node in read.tree().subtree:
            node.to_dataset().load()
    with pytest.raises(TraceError, match=r"t\.h5: cannot write: another run is writing it"):
        recorder(path)
    latest = [flushed]
    reader = threading.Thread(target=lambda: latest.extend(map(int, process.stdout)))
    reader.start()
    time.sleep(0.1)
    process.kill()
    reader.join()
    with trace.open(path) as read:
        assert read.status == "interrupted"
        check_recorded(read, latest[-1])


def test_a_process_that_ends_without_finishing_leaves_a_trace_of_what_it_flushed(
    writer, tmp_path: Path
) -> None:
    process = writer(101)
    process.communicate()
    assert process.returncode == 0
    with trace.open(tmp_path / "t.h5") as read:
        assert read.status == "interrupted"
        check_recorded(read, 100)


# ---- files


def test_a_trace_is_replaced_and_its_readers_keep_the_old_one(tmp_path: Path) -> None:
    for number in (1, 2):
        with recorder(tmp_path / "t.h5", header={"number": number}, overwrite=True):
            pass
        read = trace.open(tmp_path / "t.h5")
        assert read.attrs["number"] == number
        if number == 1:
            old = read
    with old, read:
        assert old.attrs["number"] == 1
        assert old["network/source"].size == NETWORK.m


def test_a_trace_left_behind_is_replaced(left_behind: Path) -> None:
    with recorder(left_behind, overwrite=True):
        pass
    with trace.open(left_behind) as read:
        assert read.status == "complete"


def test_a_recorder_that_cannot_start_leaves_the_old_trace(tmp_path: Path) -> None:
    with recorder(tmp_path / "t.h5", header={"number": 1}):
        pass
    with pytest.raises(TypeError):
        recorder(tmp_path / "t.h5", header={"dtype": "float33"}, overwrite=True)
    with trace.open(tmp_path / "t.h5") as read:
        assert read.attrs["number"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["t.h5"]


def test_a_trace_is_replaced_only_where_that_is_said(tmp_path: Path) -> None:
    with recorder(tmp_path / "t.h5", header={"number": 1}):
        pass
    before = (tmp_path / "t.h5").read_bytes()
    with pytest.raises(TraceError, match=r"t\.h5: cannot write: the trace exists; give another path"):
        recorder(tmp_path / "t.h5", header={"number": 2})
    assert (tmp_path / "t.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.h5"]


def test_what_is_no_trace_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "experiment.toml").write_text("[network]")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = 1
    (tmp_path / "folder.h5").mkdir()
    for name in ("experiment.toml", "data.h5", "folder.h5"):
        with pytest.raises(TraceError, match=f"{name}: cannot write: it exists and is no hlsim trace"):
            recorder(tmp_path / name)
    assert (tmp_path / "experiment.toml").read_text() == "[network]"


def test_a_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none/t\.h5: cannot write: there is no folder .*none$"):
        recorder(tmp_path / "none" / "t.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_what_was_flushed(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "t.h5", every={"default": 1, "w": 3, "omega": 3}, events=("message", "update"))
    record(rec, 0, 20)
    rec.flush()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "t.h5").stat().st_size, limits[1]))
    try:
        record(rec, 20, 25)
        with pytest.raises(TraceError) as error:
            rec.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(error.value) == f"{tmp_path / 't.h5'}: cannot write: File too large"
    before = (tmp_path / "t.h5").read_bytes()
    rec.finish("interrupted")
    assert (tmp_path / "t.h5").read_bytes() == before  # what HDF5 still held went nowhere
    with trace.open(tmp_path / "t.h5") as read:
        assert read.status == "interrupted"
        check_recorded(read, 20)


def test_a_file_that_only_its_writer_may_open_is_one_line(
    left_behind: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAUSE", 0)
    data = bytearray(left_behind.read_bytes())
    data[superblock.FLAGS] = 1
    data[44:48] = superblock.checksum(bytes(data[:44])).to_bytes(4, "little")
    left_behind.write_bytes(data)
    with pytest.raises(
        TraceError, match=r"left\.h5: is marked as open for writing only; .* h5clear -s clears it$"
    ):
        trace.open(left_behind)
