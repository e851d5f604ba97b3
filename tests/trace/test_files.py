"""A file has its name when it is whole, and not before; of two who give it one is refused."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hlsim.errors import TraceError
from hlsim.trace import files
from tests.support.disks import full_disk
from tests.support.traces import recorder


def dead() -> int:
    """The number of a process that is over."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_that_cannot_be_written_whole_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a"
    files.write(path, b"before")
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        files.write(path, bytes(1000))
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_dead_left_is_cleared_up_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / f".a.{dead()}"
    others = [
        tmp_path / name for name in (f".a.{os.getppid()}", ".a.x", f".ab.{dead()}", ".a.", f".a.{dead()}.h")
    ]
    for each in (left, *others):
        each.touch()
    files.write(tmp_path / "a", b"x")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a", *others])


def test_a_name_that_is_taken_meanwhile_is_not_taken_away(tmp_path: Path) -> None:
    mine, path = tmp_path / "mine", tmp_path / "a"
    mine.write_text("mine")
    path.write_text("other")
    with pytest.raises(FileExistsError):
        files.place(mine, path, overwrite=False)
    assert path.read_text() == "other"


def test_of_two_runs_that_replace_a_trace_one_is_refused(tmp_path: Path) -> None:
    """Each has seen that nobody writes it."""
    path, mine = tmp_path / "t.h5", tmp_path / "mine"
    mine.touch()
    with recorder(path):
        with pytest.raises(TraceError, match=r"t\.h5: cannot write: another run is writing it$"):
            files.place(mine, path, overwrite=True)
        assert mine.exists()
    files.place(mine, path, overwrite=True)
    assert path.read_bytes() == b""


def test_without_second_names_a_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "mine").write_text("x")
    files.place(tmp_path / "mine", tmp_path / "a", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("size", [0, 100, 2000, 5000, 9000])
def test_a_disk_that_is_full_while_a_trace_is_laid_out_is_one_line(size: int, tmp_path: Path) -> None:
    """In a process of its own: HDF5 once brought it down at its end."""
    code = f"""
import resource
from pathlib import Path
from hlsim.errors import TraceError
from tests.support.traces import recorder
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
try:
    recorder(Path({str(tmp_path / "t.h5")!r}))
except TraceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 't.h5'}: cannot write: File too large\n"
    assert list(tmp_path.iterdir()) == []
