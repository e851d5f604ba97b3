"""Sweeps: which runs they are, that nothing is run twice, that a failure costs one run, and what is told."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlsim import cli, experiment, trace
from hlsim.errors import ExperimentError
from hlsim.experiment import Experiment
from hlsim.report.figures.sweep import table
from hlsim.sweep import Outcome, grid, sweep
from hlsim.sweep.course import Pace
from tests.support import experiments

SHORT = ["stage.train.passes=1", "stage.train.rows=4", "record.events=[]"]
GRID: Mapping[str, list[Any]] = {"learning.beta": [0.0, 0.05], "stimulus.hold": [2, 3, 5]}
# With this read-out, the large beta makes the states infinite.
WILD = "network.node_defaults={ update = 'clock', activation = 'identity' }"


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny experiment in the folder from which commands are given."""
    monkeypatch.chdir(tmp_path)
    return experiments.write(tmp_path / "tiny")


@pytest.fixture
def hlsim_(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    def command(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            cli.main(["sweep", "tiny", *arguments, *(f"--set={text}" for text in SHORT)])
        captured = capfd.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return command


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Experiment]:
    """The experiments that were run."""
    found: list[Experiment] = []
    run = Experiment.run

    def noted(self: Experiment, *arguments: Any, **options: Any) -> Any:
        found.append(self)
        return run(self, *arguments, **options)

    monkeypatch.setattr(Experiment, "run", noted)
    return found


# ---- what is run


def test_every_combination_and_seed_is_the_run_that_has_its_values(folder: Path) -> None:
    """Each against a run of its own with the values set by hand."""
    found = sweep(folder, GRID, seeds=2, overrides=SHORT)
    assert dict(found.sizes) == {"beta": 2, "hold": 3, "seed": 2, "stage": 2}
    for beta in (0.0, 0.05):
        for hold in (2, 3, 5):
            for seed in (0, 1):
                own = [f"learning.beta={beta}", f"stimulus.hold={hold}", f"simulation.seed={seed}"]
                with experiment.load(folder, [*SHORT, *own]).run() as run:
                    summary, loss, stage = run.summary, run["rows/loss"], run["rows/split"]
                place = found.sel(beta=beta, hold=hold, seed=seed)
                assert place.accuracy.sel(stage="test") == summary["accuracy"]["test"]
                assert place.state_messages == summary["state_messages"]
                assert place.ticks == summary["ticks"] == (4 + experiments.TEST) * hold
                np.testing.assert_allclose(place.loss.sel(stage="train"), loss[stage == "train"].mean())
                np.testing.assert_allclose(place.last_loss.sel(stage="test"), loss[-1])
    assert (found.error == "").all()
    assert found.hold.attrs["key"] == "stimulus.hold"


def test_the_file_may_hold_the_grid_and_calls_go_before_it(folder: Path) -> None:
    toml = (
        experiments.TOML
        + '\n[sweep]\ngrid = { "stimulus.hold" = [2, 3], "learning.eta" = [0.5] }\nseeds = 2\n'
    )
    experiments.write(folder, toml)
    runs, axes = grid.plan(folder)
    assert axes == {"stimulus.hold": [2, 3], "learning.eta": [0.5], "seed": [0, 1]}
    assert [run.title for run in runs][:2] == [
        "stimulus.hold=2, learning.eta=0.5, seed=0",
        "stimulus.hold=2, learning.eta=0.5, seed=1",
    ]
    _, axes = grid.plan(
        folder, {"stimulus.hold": [7], "learning.beta": [1]}, seeds=1, overrides=["simulation.seed=4"]
    )
    assert axes == {"stimulus.hold": [7], "learning.eta": [0.5], "learning.beta": [1], "seed": [4]}


def test_a_run_of_an_experiment_with_a_grid_is_that_of_its_other_tables(folder: Path) -> None:
    experiments.write(folder, experiments.TOML + '\n[sweep]\ngrid = { "stimulus.hold" = [2, 3] }\n')
    wanted = experiment.load(folder)
    assert experiment.load(_file(folder, wanted.toml())).settings == wanted.settings
    with wanted.run() as run:
        assert run.summary["ticks"] == experiments.TICKS


def _file(folder: Path, text: str) -> Path:
    path = folder / "again.toml"
    path.write_text(text)
    return path


def test_the_seeds_of_ensembles_do_not_overlap(folder: Path) -> None:
    runs, _ = grid.plan(folder, seeds=3, overrides=["simulation.ensemble=4", "simulation.seed=1"])
    assert [run.seed for run in runs] == [1, 5, 9]


def test_without_a_folder_no_trace_is_kept(folder: Path) -> None:
    sweep(folder, seeds=2, overrides=SHORT)
    assert not list(folder.parent.rglob("*.h5*"))


# ---- what is there is not run again


def test_a_complete_trace_is_not_run_again(folder: Path, started: list[Experiment]) -> None:
    first = sweep(folder, GRID, folder="out", overrides=SHORT)
    assert len(started) == 6
    told: list[Outcome] = []
    again = sweep(folder, GRID, folder="out", overrides=SHORT, on_run=lambda *a: told.append(a[2]))
    assert len(started) == 6
    assert all(outcome.skipped for outcome in told)
    assert again.identical(first)
    wider = sweep(folder, {**GRID, "stimulus.hold": [2, 3, 4, 5]}, folder="out", overrides=SHORT)
    assert len(started) == 8
    assert wider.sel(hold=[2, 3, 5]).identical(first)


def test_a_wider_grid_in_the_file_leaves_what_is_complete(folder: Path, started: list[Experiment]) -> None:
    for holds in ("[2]", "[2, 3]"):
        experiments.write(folder, f'{experiments.TOML}\n[sweep]\ngrid = {{ "stimulus.hold" = {holds} }}\n')
        sweep(folder, folder="out", overrides=SHORT)
    assert [wanted.settings.stimulus.hold for wanted in started] == [2, 3]


@pytest.mark.parametrize("change", ["experiment", "topology", "interrupted"])
def test_a_trace_of_something_else_is_run_anew(folder: Path, started: list[Experiment], change: str) -> None:
    sweep(folder, seeds=2, folder="out", overrides=SHORT)
    overrides = list(SHORT)
    if change == "experiment":
        overrides.append("learning.eta=0.25")
    elif change == "topology":
        text = (folder / "topology.py").read_text()
        (folder / "topology.py").write_text(text.replace("seed=1", "seed=2"))
    else:
        again = experiment.load(folder, [*SHORT, "simulation.seed=1"])
        with pytest.raises(KeyboardInterrupt):
            again.run("out/seed=1.h5", _stop, overwrite=True)
    told: list[Outcome] = []
    sweep(folder, seeds=2, folder="out", overrides=overrides, on_run=lambda *a: told.append(a[2]))
    expected = [False, True] if change == "interrupted" else [True, True]
    assert [outcome.replaced for outcome in told] == expected
    assert [outcome.skipped for outcome in told] == [not replaced for replaced in expected]
    for seed in (0, 1):
        with trace.open(f"out/seed={seed}.h5") as run:
            assert run.status == "complete"


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_trace_has_its_name_only_when_it_is_complete(folder: Path) -> None:
    seen: list[list[str]] = []

    def look(pace: Pace) -> None:
        if not pace.done:
            seen.append(sorted(path.name for path in Path("out").iterdir()))

    sweep(folder, seeds=1, grid={"stimulus.hold": [2]}, folder="out", overrides=SHORT, progress=look)
    assert seen
    assert {tuple(names) for names in seen} == {("stimulus.hold=2,seed=0.h5.tmp", "sweep.toml")}
    assert sorted(path.name for path in Path("out").iterdir()) == ["stimulus.hold=2,seed=0.h5", "sweep.toml"]


def test_an_interrupted_sweep_goes_on_where_it_was(
    hlsim_: Callable[..., Done], started: list[Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hlsim.simulation.watch.Watch.row", _at_hold_3)
        done = hlsim_("--grid", "stimulus.hold=2,3,5", "-o", "out")
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("hlsim: interrupted; what was complete is in out\n")
    assert len(started) == 2
    assert hlsim_("--grid", "stimulus.hold=2,3,5", "-o", "out").code == 0
    assert len(started) == 4


def _at_hold_3(self: object, tick: int, *_: object) -> None:
    if tick == 2:
        raise KeyboardInterrupt


def test_names_of_files_are_safe_and_tell_all_values_apart(folder: Path) -> None:
    values = ["digits", "../a b", "../a c", "x" * 60, "x" * 61, "a,b=c", "A", "a"]
    names = [grid.Point({"stimulus.path": value}, 0).file for value in values]
    assert len({name.lower() for name in names[:-1]}) == len(names) - 1
    assert all(re.fullmatch(r"[\w.+=,-]{1,120}\.h5", name) for name in names)
    assert names[0] == "stimulus.path=digits,seed=0.h5"


# ---- failures


def test_a_failure_costs_one_run_and_is_told_at_the_end(hlsim_: Callable[..., Done]) -> None:
    done = hlsim_("--grid", "learning.beta=0.05,1e6,0.1", "--set", WILD, "-o", "out")
    assert done.code == 1
    assert [path.name for path in sorted(Path("out").glob("*.h5"))] == [
        "learning.beta=0.05,seed=0.h5",
        "learning.beta=0.1,seed=0.h5",
    ]
    lines = done.err.splitlines()
    assert re.match(
        r"\[2/3\] learning.beta=1000000.0, seed=0: failed: tick \d+: node '.*must stay finite", lines[1]
    )
    assert lines[2].startswith("[3/3] learning.beta=0.1, seed=0: accuracy train ")
    assert lines[3:] == ["hlsim: 1 of 3 runs failed:", lines[1].removeprefix("[2/3] ")]
    assert "Traceback" not in done.err


def test_a_bug_costs_one_run_and_shows_its_traceback(
    folder: Path, hlsim_: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Experiment.run

    def broken(self: Experiment, *arguments: Any, **options: Any) -> Any:
        if self.settings.stimulus.hold == 3:
            raise RuntimeError("of our own making")
        return run(self, *arguments, **options)

    monkeypatch.setattr(Experiment, "run", broken)
    done = hlsim_("--grid", "stimulus.hold=2,3,5", "-o", "out")
    assert done.code == 1
    assert done.err.count("Traceback") == 1
    assert "failed: RuntimeError: of our own making" in done.err
    assert len(list(Path("out").glob("*.h5*"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "a sweep needs a [sweep] grid, --grid KEY=VALUES or more than one seed"),
        (("--grid", "stimulus.hold"), "--grid stimulus.hold: must be table.key=value,value"),
        (("--grid", "stimulus.hold="), "--grid stimulus.hold=: must be table.key=value,value"),
        (("--grid", "stimulus.hold=[1,2"), "values must be as in TOML, or bare words, got '[1'"),
        (("--grid", "hold=1,2"), "grid must have quoted keys as --set has them"),
        (("--grid", "stimulus.hold=1,2,1"), "grid stimulus.hold: values must differ, got 1 twice"),
        (("--grid", "simulation.seed=1,2"), "grid cannot hold simulation.seed: seeds = n"),
        (
            ("--grid", "stimulus.hold=1", "--grid", "stimulus.hold=2"),
            "--grid stimulus.hold=2: stimulus.hold is there twice",
        ),
        (("--grid", "stimulus.hold=2,0"), "[stimulus] hold must be >= 1, got 0 (from grid stimulus.hold=0)"),
        (("--grid", "learning.bta=1,2"), "unknown key 'bta' (did you mean 'beta'?)"),
        (("--seeds", "2", "--set", "learning.beta=-1"), "(from --set learning.beta=-1)"),
        (
            ("--seeds", "2", "-o", "tiny/topology.py"),
            "tiny/topology.py: cannot make this folder: File exists",
        ),
    ],
)
def test_a_bad_grid_is_one_line_and_nothing_is_run(
    hlsim_: Callable[..., Done], started: list[Experiment], arguments: tuple[str, ...], message: str
) -> None:
    done = hlsim_(*arguments)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"hlsim: [^\n]+\n", done.err)
    assert message in done.err
    assert started == []


@pytest.mark.parametrize(
    ("table_", "message"),
    [
        ("grid = { stimulus.hold = [1] }", "[sweep] grid must have quoted keys as --set has them"),
        (
            'grid = { "stimulus.hold" = 1 }',
            "[sweep] grid stimulus.hold: must be a list of one or more values, got 1",
        ),
        (
            'grid = { "stimulus.hold" = [] }',
            "[sweep] grid stimulus.hold: must be a list of one or more values, got []",
        ),
        ('grid = { "sweep.seeds" = [1] }', "[sweep] grid must have quoted keys"),
        ("seeds = 0", "[sweep] seeds must be >= 1, got 0"),
        ("seed = 1", "[sweep] unknown key 'seed' (did you mean 'seeds'?)"),
    ],
)
def test_a_bad_table_is_told_in_one_line(folder: Path, table_: str, message: str) -> None:
    experiments.write(folder, f"{experiments.TOML}\n[sweep]\n{table_}\n")
    with pytest.raises(ExperimentError) as caught:
        experiment.load(folder)
    assert str(caught.value).startswith(f"experiment.toml: {message}")


# ---- values as text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a.b=1,2.5,1e-3", [1, 2.5, 0.001]),
        ("a.b=batched, reference", ["batched", "reference"]),
        ("a.b='x,y',\"z\"", ["x,y", "z"]),
        ("a.b=[1, 2],[3]", [[1, 2], [3]]),
        ("a.b={ gate = 2 },0.5", [{"gate": 2}, 0.5]),
        ("a.b=true,clock", [True, "clock"]),
        ("a.b=x=1", ["x=1"]),
    ],
)
def test_values_are_toml_or_bare_words(text: str, values: list[Any]) -> None:
    assert grid.parse_one(text) == ("a.b", values)


plain = (
    st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=8)
)
nested = st.recursive(
    plain, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text("ab. ", max_size=3), x, max_size=3)
)


@given(nested)
def test_values_are_written_as_toml_reads_them(value: Any) -> None:
    assert tomllib.loads(f"x = {grid.toml(value)}")["x"] == value


def test_numbers_of_numpy_are_numbers(folder: Path) -> None:
    runs, axes = grid.plan(folder, {"stimulus.hold": np.array([2, 4])})
    assert axes["stimulus.hold"] == [2, 4]
    assert [run.experiment.settings.stimulus.hold for run in runs] == [2, 4]


# ---- the table


def test_the_table_is_shown_at_the_end(hlsim_: Callable[..., Done], folder: Path) -> None:
    done = hlsim_("--grid", "stimulus.hold=2,5", "--seeds", "3", "-o", "out")
    found = sweep(folder, {"stimulus.hold": [2, 5]}, seeds=3, folder="out", overrides=SHORT)
    assert "mean ± standard deviation over 3 seeds" in done.out
    header, rows = table(found)
    assert header == ["hold", "accuracy train", "accuracy test", "messages/tick"]
    for row, hold in zip(rows, ("2", "5"), strict=True):
        assert row[0] == hold
        assert all(cell in done.out for cell in row)


STREAM = """\
def stream(size):
    for k in range(99):
        yield [k / 99, 1.0], [size, size * k / 99]
"""
STAGES = "stage=[{ name = 'on', rows = 20 }, { name = 'off', rows = 10, learn = false }]"


RANDOM = "network.edge_defaults={ feedback = 'random' }"  # drawn with the seed, unlike the weights


def test_rows_without_labels_have_their_loss_with_mean_and_deviation(folder: Path) -> None:
    """The last tenth of 20 rows is two; it is shown of a stage that learns."""
    (folder / "stream.py").write_text(STREAM)
    overrides = [
        "stimulus={ source = 'python', path = 'stream.py', size = 1.0 }",
        STAGES,
        "learning.phi=1.0",
        RANDOM,
    ]
    found = sweep(folder, {"stimulus.size": [0.5, 1.5]}, seeds=3, overrides=overrides)
    header, rows = table(found)
    assert header == ["size", "loss on", "its last tenth", "loss off", "messages/tick"]
    losses = []
    for seed in range(3):
        own = [f"simulation.seed={seed}", "stimulus.size=1.5"]
        with experiment.load(folder, [*overrides, *own]).run() as run:
            losses.append(run["rows/loss"].astype(float))
    parts = (slice(0, 20), slice(18, 20), slice(20, 30))
    for cell, part in zip(rows[1][1:4], parts, strict=True):
        means = [loss[part].mean() for loss in losses]
        mean = sum(means) / 3
        deviation = (sum((x - mean) ** 2 for x in means) / 2) ** 0.5
        assert deviation > 0.0001
        assert cell == f"{mean:.4g} ± {deviation:.2g}"


def test_runs_that_failed_are_left_out_of_means_and_counted(folder: Path) -> None:
    found = sweep(folder, {"learning.beta": [0.05, 1e6]}, seeds=2, overrides=[*SHORT, WILD])
    header, rows = table(found)
    assert header[-2:] == ["failed", "messages/tick"]
    assert [row[-2] for row in rows] == ["0", "2"]
    assert rows[1][1] == "-"
    assert np.isnan(found.accuracy.sel(beta=1e6)).all()


def test_equal_last_parts_of_keys_are_told_apart(folder: Path) -> None:
    keys = {"stage.train.rows": [2, 3], "stage.test.rows": [1], "network.parameters.hidden": [2]}
    found = sweep(folder, keys, overrides=["stage.train.passes=1", "record.events=[]"])
    assert list(found.error.dims) == ["stage.train.rows", "stage.test.rows", "hidden", "seed"]


def test_values_that_are_no_numbers_are_named(folder: Path) -> None:
    found = sweep(folder, {"learning.phi": [1.0, {"gate": 1}]}, overrides=SHORT)
    assert found.phi.values.tolist() == ["1.0", '{ "gate" = 1 }']


def test_traces_go_to_a_folder_of_the_experiments_name(hlsim_: Callable[..., Done]) -> None:
    assert hlsim_("--grid", "stimulus.hold=2").code == 0
    assert Path("tiny-sweep/stimulus.hold=2,seed=0.h5").is_file()
    Path("traces").mkdir()
    assert hlsim_("--grid", "stimulus.hold=2").code == 0
    assert Path("traces/tiny-sweep/stimulus.hold=2,seed=0.h5").is_file()
