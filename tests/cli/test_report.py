"""`hlsim report`: which files it writes, and what it says while it does."""

import math
from pathlib import Path

import h5py
import pytest
import xarray as xr

from hlsim import sweep
from hlsim.cli import terminal
from tests.support.commands import Command, Outcome, assert_one_line


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, there is no line that says what comes next."""
    monkeypatch.setattr(terminal, "PLAIN_SECONDS", math.inf)


FIGURES = [
    "network", "learning_curve", "rates", "traffic", "staleness", "neurons", "populations", "synapses"
]  # fmt: skip


@pytest.mark.usefixtures("patient")
def test_report_writes_a_page_beside_the_trace(hlsim_: Command, traced: Path) -> None:
    Path("elsewhere").mkdir()
    moved = traced.rename("elsewhere/tiny.v2.h5")
    assert hlsim_("report", str(moved)) == Outcome(0, "elsewhere/tiny.v2.html\n", "")
    assert Path("elsewhere/tiny.v2.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.usefixtures("patient")
def test_report_writes_its_figures_as_files_too(hlsim_: Command, traced: Path) -> None:
    done = hlsim_("report", str(traced), "-o", "page.html", "--png", "figures", "--svg", "vectors")
    files = [f"figures/{name}.png" for name in FIGURES] + [f"vectors/{name}.svg" for name in FIGURES]
    assert done == Outcome(0, "".join(f"{name}\n" for name in ("page.html", *files)), "")
    assert sorted(path.stem for path in Path("figures").iterdir()) == sorted(FIGURES)
    assert sorted(path.name for path in Path("vectors").iterdir()) == sorted(f"{x}.svg" for x in FIGURES)


def test_report_compares_traces(hlsim_: Command, traced: Path) -> None:
    assert hlsim_("run", "tiny", "-q", "-o", "other.h5", "--seed", "4").code == 0
    done = hlsim_("report", str(traced), "other.h5", "--png", "figures")
    assert done.code == 0
    assert done.out.splitlines()[:3] == [
        "comparison.html",
        "figures/comparison.png",
        "figures/tiny/network.png",
    ]
    assert Path("figures/other/traffic.png").is_file()


@pytest.mark.usefixtures("patient")
def test_report_of_a_folder_is_that_of_its_sweep(
    hlsim_: Command, traced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def load(folder: Path) -> xr.Dataset:
        asked.append(folder)
        return sweep.sweep("tiny", {"learning.beta": [0.01, 0.1]}, seeds=2)

    monkeypatch.setattr(sweep, "load", load)
    Path("delays").mkdir()
    traced.rename("delays/beta=1.h5")
    assert hlsim_("report", "delays/") == Outcome(0, f"{Path('delays').resolve()}.html\n", "")
    assert asked == [Path("delays")]
    assert "learning.beta" in Path("delays.html").read_text(encoding="utf-8")


def test_report_asks_an_oracle_that_it_is_told_to(hlsim_: Command, traced: Path) -> None:
    assert hlsim_("report", str(traced), "--oracle", "backpropagation", "--png", "figures").code == 0
    assert Path("figures/alignment.png").is_file()


def test_where_a_report_takes_long_it_says_what_comes_next(
    hlsim_: Command, traced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "PLAIN_SECONDS", 0.0)
    told = hlsim_("report", str(traced)).err.splitlines()
    assert told[:2] == ["next: Network", "next: Learning curve"]
    assert told[-1] == "next: page"


@pytest.mark.usefixtures("patient")
def test_figures_need_a_folder_that_can_be_written(hlsim_: Command, traced: Path) -> None:
    assert_one_line(hlsim_("report", str(traced), "--png", "tiny/topology.py"), "cannot write")


def test_a_trace_of_another_format_is_one_line(hlsim_: Command, traced: Path) -> None:
    with h5py.File(traced, "r+") as file:
        file.attrs["format_version"] = 99
    assert_one_line(hlsim_("report", str(traced)), "tiny.h5: format_version must be 2, got 99")
    assert not Path("tiny.html").exists()
