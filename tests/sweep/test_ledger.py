"""A folder tells what was swept: results and failures are read back from it alone, and as tables."""

import csv
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import xarray as xr

from hlsim import cli
from hlsim.errors import ExperimentError
from hlsim.report.figures.sweep import table
from hlsim.sweep import load, save, sweep
from hlsim.sweep.ledger import FILE, Ledger, read
from tests.support import experiments
from tests.sweep.test_course import SHORT, WILD

GRID: Mapping[str, list[Any]] = {
    "learning.beta": [0.05, 1e6],
    "learning.phi": [{"gate": 1}, {"gate": 2}],
    "stimulus.hold": [2, 5],
}
OVERRIDES = [*SHORT, WILD]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return experiments.write(tmp_path / "tiny")


def stop_at(number: int) -> object:
    def on_run(done: int, *_: object) -> None:
        if done == number:
            raise KeyboardInterrupt

    return on_run


def test_what_a_sweep_returned_is_read_back_from_its_folder(folder: Path) -> None:
    """Failures, order of the axes, values that are no numbers and stages that learn too."""
    found = sweep(folder, GRID, seeds=2, folder="out", overrides=OVERRIDES)
    assert set(np.unique(found.error != "")) == {False, True}
    assert found.learn.values.tolist() == [True, False]
    (folder / "topology.py").unlink()  # the folder alone
    xr.testing.assert_identical(load("out"), found)


def test_a_sweep_without_stages_is_read_back(folder: Path) -> None:
    text = experiments.TOML
    cut = text[: text.index("[[stage]]")] + text[text.index("[record]") :]
    experiments.write(folder, cut)
    found = sweep(folder, {"stimulus.hold": [2, 5]}, folder="out", overrides=["simulation.until=20"])
    assert found.learn.values.tolist() == [True]
    xr.testing.assert_identical(load("out"), found)


def test_of_a_sweep_that_still_goes_on_there_is_what_is_complete(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        sweep(folder, {"stimulus.hold": [2, 3, 5]}, folder="out", overrides=SHORT, on_run=stop_at(2))  # type: ignore[arg-type]
    begun = load("out")
    assert begun.error.values.ravel().tolist() == ["", "", "no trace yet"]
    assert np.isnan(begun.ticks.sel(hold=5)).all()
    header, rows = table(begun)
    assert header[-2:] == ["missing", "messages/tick"]
    assert [row[-2] for row in rows] == ["0", "0", "1"]
    whole = sweep(folder, {"stimulus.hold": [2, 3, 5]}, folder="out", overrides=SHORT)
    assert begun.ticks.sel(hold=[2, 3]).equals(whole.ticks.sel(hold=[2, 3]))
    xr.testing.assert_identical(load("out"), whole)


def test_a_failure_that_was_mended_is_one_no_more(folder: Path) -> None:
    text = (folder / "topology.py").read_text()
    (folder / "topology.py").write_text(text.replace("    return", "    1 / (hidden - 4)\n    return"))
    grid = {"network.parameters.hidden": [3, 4]}
    broken = sweep(folder, grid, folder="out", overrides=SHORT)
    assert broken.error.values.ravel().tolist()[0] == ""
    assert broken.error.values.ravel()[1].endswith("ZeroDivisionError: division by zero")
    xr.testing.assert_identical(load("out"), broken)
    (folder / "topology.py").write_text(text)
    mended = sweep(folder, grid, folder="out", overrides=SHORT)
    assert (mended.error == "").all()
    xr.testing.assert_identical(load("out"), mended)


def test_a_trace_of_another_experiment_is_not_taken_for_a_run(folder: Path) -> None:
    sweep(folder, seeds=2, folder="out", overrides=SHORT)
    with pytest.raises(KeyboardInterrupt):
        sweep(folder, seeds=2, folder="out", overrides=[*SHORT, "learning.eta=0.3"], on_run=stop_at(1))  # type: ignore[arg-type]
    assert load("out").error.values.tolist() == ["", "no trace yet"]


def test_a_trace_that_cannot_be_read_is_told_in_its_place(folder: Path) -> None:
    sweep(folder, seeds=2, folder="out", overrides=SHORT)
    Path("out/seed=1.h5").write_bytes(b"torn")
    assert load("out").error.values.tolist() == ["", "out/seed=1.h5: is no hlsim trace"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"out: is no folder of a sweep: there is no sweep\.toml in it"),
        ("format = 'hlsim-sweep'\nformat_version = 2", r"sweep\.toml: format_version must be 1, got 2"),
        ("[network]", r"sweep\.toml: is not what hlsim sweep writes"),
        ("no TOML", r"sweep\.toml: is not what hlsim sweep writes"),
    ],
)
def test_a_folder_without_a_sweep_is_one_line(folder: Path, text: str | None, message: str) -> None:
    Path("out").mkdir()
    if text is not None:
        Path("out/sweep.toml").write_text(text)
    with pytest.raises(ExperimentError, match=f"{message}$"):
        load("out")


# ---- tables


def test_a_csv_table_has_a_row_for_every_run(folder: Path) -> None:
    found = sweep(folder, GRID, seeds=2, folder="out", overrides=OVERRIDES)
    save(found, "runs.csv")
    with Path("runs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == found.error.size == 16
    for row in rows:
        keys = {"beta": float(row["beta"]), "phi": row["phi"], "hold": int(row["hold"])}
        run = found.sel(**keys, seed=int(row["seed"]))  # type: ignore[arg-type]
        assert row["error"] == run.error
        for name in ("ticks", "wall_s", "state_messages"):
            assert row[name] == ("" if row["error"] else str(run[name].item()))
        for name in ("accuracy", "last_loss"):
            value = run[name].sel(stage="test").item()
            assert row[f"{name} test"] == ("" if np.isnan(value) else str(value))


def test_a_table_may_be_netcdf(folder: Path) -> None:
    found = sweep(folder, GRID, seeds=2, overrides=OVERRIDES)
    save(found, "runs.nc")
    with xr.open_dataset("runs.nc", engine="h5netcdf") as read:
        assert dict(read.sizes) == dict(found.sizes)
        np.testing.assert_array_equal(read.accuracy.values, found.accuracy.values)


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", "tiny", "--seeds", "2", "-o", "out", *arguments, *(f"--set={x}" for x in SHORT)])
    return int(ended.value.code or 0)


def test_the_command_writes_a_table(folder: Path) -> None:
    assert command("--table", "runs.csv") == 0
    assert len(Path("runs.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--table", "runs.txt"), r"runs\.txt: a table must be called \*\.csv or, for netCDF, \*\.nc"),
        (("--table", "none/runs.csv"), r"none/runs\.csv: cannot write: there is no folder none"),
        (("--dashboard", ":8787"), r"--dashboard goes with --scheduler local: another scheduler has its own"),
        (
            ("--scheduler", "tcp://127.0.0.1:1", "--jobs", "2"),
            r"--jobs is for this machine: a cluster has the workers that were started for it",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_run(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert command(*arguments) == 2
    assert re.fullmatch(rf"hlsim: {message}\n", capfd.readouterr().err)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("name"),
        lambda data: data.update(axis=3),
        lambda data: data.update(run=[3]),
        lambda data: data["run"].pop(),
        lambda data: data["run"][0].update(digest=3),
        lambda data: data["run"][0].update(error=[1]),
        lambda data: data["axis"][0].update(values="ab"),
        lambda data: data["axis"].reverse(),
        lambda data: data["axis"][-1].update(values=[0.5]),
        lambda data: data["axis"].extend({"key": f"a{i}", "values": [0] * 100} for i in range(20)),
    ],
)
def test_a_ledger_of_another_form_is_refused(
    change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    """Before its combinations are gone through: there may be more than ever end."""
    axes: dict[str, list[Any]] = {"learning.beta": [0.1, 0.2], "seed": [0, 1]}
    Ledger("mine", axes, ["d"] * 4).write(tmp_path)
    assert read(tmp_path).axes == axes
    data = tomllib.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    change(data)
    (tmp_path / FILE).write_text(tomli_w.dumps(data), encoding="utf-8")
    with pytest.raises(ExperimentError, match=r"sweep\.toml: is not what hlsim sweep writes$"):
        read(tmp_path)
