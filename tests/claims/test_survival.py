"""A run that was cut off goes on from its checkpoint: its trace is that of one that was not, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hlsim import Simulation, topology, trace
from hlsim.errors import ExperimentError, NumericalError, Stopped, TopologyError, TraceError
from hlsim.models.rules import Equilibrium, HolomorphicEquilibrium
from hlsim.simulation import checkpoints
from hlsim.stimulus import Arrays, Stage
from hlsim.trace import checkpoint, files
from tests.claims.test_equilibrium_engines import nudged
from tests.claims.test_state import ENGINES, EXAMPLES, TICKS, Endless, options, shown, small
from tests.support.cuts import assert_identical, assert_survives, cut
from tests.support.disks import full_disk
from tests.support.graphs import Case, cases
from tests.support.places import ROOT

engines = pytest.mark.parametrize("engine", ENGINES)
EVERYTHING: dict[str, Any] = {"every": 3, "events": ("message", "update")}

# ---- drawn at random


@engines
@pytest.mark.filterwarnings("ignore::hlsim.errors.HlsimWarning")
def test_a_trace_is_that_of_a_run_that_was_never_cut(
    engine: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With faults, noise, ensembles, resets and stages, cut in whatever tick."""
    folder = tmp_path_factory.mktemp("drawn")

    @settings(max_examples=EXAMPLES)
    @given(
        cases(None if engine == "reference" else "mixed", TICKS),
        st.data(),
        st.integers(1, TICKS - 1),
        st.integers(1, 12),
    )
    def check(case: Case, data: Any, tick: int, every: int) -> None:
        given = {"dtype": "float64", **case.options, **data.draw(options(case, False)), **ENGINES[engine]}
        try:
            assert_survives_anew(lambda: Simulation(case.graph, **given), folder, every, tick, until=TICKS)
        except NumericalError:
            reject()

    check()


def assert_survives_anew(make: Any, folder: Path, every: Any, tick: int, **given: Any) -> None:
    """As ``assert_survives``; where no checkpoint was written yet, there is none of another example."""
    for left in folder.iterdir():
        left.unlink()
    if tick < every:
        assert cut(make(), tick, folder / "cut.h5", checkpoint_every=every, **given)
        with pytest.raises(TraceError, match=r"cut\.checkpoint\.h5: there is no such checkpoint$"):
            make().resume(folder / "cut.h5")
        return
    assert_survives(make, folder, every, tick, **given)


@pytest.mark.parametrize("rule", [Equilibrium(beta=0.05), HolomorphicEquilibrium(beta=0.05)])
@pytest.mark.parametrize("engine", ["reference", "torch"])
@pytest.mark.filterwarnings("ignore::hlsim.errors.HlsimWarning")
def test_so_it_is_where_phases_end_by_quiescence(
    engine: str, rule: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("phases")

    @settings(max_examples=EXAMPLES)
    @given(cases("mixed", TICKS), st.data(), st.integers(1, TICKS - 1))
    def check(case: Case, data: Any, tick: int) -> None:
        try:
            case = nudged(case, rule, TICKS)
            drawn = data.draw(options(case, True))
            given = {"dtype": "float64", **case.options, **drawn, **ENGINES[engine]}
            assert_survives_anew(lambda: Simulation(case.graph, **given), folder, 4, tick, until=TICKS)
        except (NumericalError, TopologyError):
            reject()

    check()


# ---- one network


@pytest.mark.parametrize("tick", range(5, 40, 6))
def test_wherever_a_run_is_cut(tick: int, tmp_path: Path) -> None:
    """To the end of its stages, through stages of all kinds; twice in a row."""
    stages = [Stage("one", shuffle=True), Stage("test", learn=False, hold=2, noise=False)]

    def make() -> Simulation:
        return small(stages=stages, **ENGINES["torch"])

    make().run(record=tmp_path / "whole.h5", **EVERYTHING).close()
    if cut(make(), tick, tmp_path / "cut.h5", checkpoint_every=5, **EVERYTHING):
        again = make()
        with pytest.raises(KeyboardInterrupt):
            _cut_again(again, tmp_path / "cut.h5")
        make().resume(tmp_path / "cut.h5").close()
    assert_identical(tmp_path / "whole.h5", tmp_path / "cut.h5")


def _cut_again(sim: Simulation, path: Path) -> None:
    """Cut a run off at the first checkpoint of its second half, before that is written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "write", stop)
        sim.resume(path)


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_stages_that_followed_on_others_are_gone_on_with(tmp_path: Path) -> None:
    """In a simulation made as the first one was, in the trace of the second call."""
    given = {"stages": [Stage("one", rows=3)], **ENGINES["torch"]}
    more = [Stage("two", shuffle=True), Stage("three", learn=False)]
    whole, other = small(**given), small(**given)
    for sim in (whole, other):
        sim.run()
    whole.run(stages=more, record=tmp_path / "whole.h5", **EVERYTHING).close()
    assert cut(other, 20, tmp_path / "cut.h5", stages=more, checkpoint_every=4, **EVERYTHING)
    small(**given).resume(tmp_path / "cut.h5").close()
    assert_identical(tmp_path / "whole.h5", tmp_path / "cut.h5")


def test_minibatches_go_on(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(9, 3))

    def make() -> Simulation:
        return Simulation(
            topology.layered([2, 4, 1], delay=1),
            stimulus=Arrays(rows[:, :2], rows[:, 2:]),
            stages=[Stage(passes=3, shuffle=True)],
            hold=3,
            batch=3,
            node_defaults={"update": "clock", "send_threshold": 0.0},
        )

    assert_survives(make, tmp_path, 7, 20)


def test_the_end_of_a_run_is_a_checkpoint_and_it_goes_on_from_there_if_it_is_said_how_far(
    tmp_path: Path,
) -> None:
    """Also where it ended with its stages: then nothing is shown any more."""
    whole, path = tmp_path / "whole.h5", tmp_path / "t.h5"
    given = {"stages": [Stage("one", rows=4)], **ENGINES["torch"]}
    small(**given).run(record=path, checkpoint_every=5, **EVERYTHING).close()
    with pytest.raises(TraceError, match=r"t\.h5: is complete; until says how far to go on$"):
        small(**given).resume(path)
    with pytest.raises(ExperimentError, match=r"^simulation.until: .* of ticks >= 13, got 12$"):
        small(**given).resume(path, until=12)
    small(**given).resume(path, until=31).close()
    small(**given).run(until=31, record=whole, **EVERYTHING).close()
    assert_identical(whole, path)


def test_what_came_after_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    """Also where the run now ends before the tick that it had reached."""
    whole, path = tmp_path / "whole.h5", tmp_path / "t.h5"
    assert cut(small(), 35, path, until=40, checkpoint_every=20, **EVERYTHING)
    small().resume(path, until=25).close()
    small().run(until=25, record=whole, **EVERYTHING).close()
    assert_identical(whole, path)


def test_a_trace_that_was_complete_and_is_gone_on_with_has_no_end_until_it_ends_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.h5"
    small().run(until=20, record=path, checkpoint_every=10, **EVERYTHING).close()
    seen = []

    def look(*_: object) -> None:
        with trace.open(path) as live:
            seen.append((live.status, live.summary, live["network/traffic_state"].max()))
            assert all(np.isnan(live[name]).all() for name in live.names() if name.startswith("final/"))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "write", look)
        with pytest.raises(KeyboardInterrupt):
            small().resume(path, until=60)
    assert seen == [("running", {}, -1)]
    with trace.open(path) as left:
        assert left.status == "interrupted"
        assert np.isnan(left["final/w"]).all()


def test_what_was_cut_off_at_its_very_end_is_concluded(tmp_path: Path) -> None:
    """Its last checkpoint was written, and its trace not yet closed."""
    given = {"stages": [Stage("one", rows=4)], **ENGINES["torch"]}
    small(**given).run(record=tmp_path / "whole.h5", **EVERYTHING).close()
    sim = small(**given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hlsim.simulation.simulation.Watch.stop", stop)
        with pytest.raises(KeyboardInterrupt):
            sim.run(record=tmp_path / "t.h5", checkpoint_every=100, **EVERYTHING)
    small(**given).resume(tmp_path / "t.h5").close()
    assert_identical(tmp_path / "whole.h5", tmp_path / "t.h5")


def test_checkpoints_come_by_the_clock_on_the_wall_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever that falls between two ticks, the run goes on as it would."""
    written: list[int] = []
    save = checkpoints.save

    def noted(sim: Any, *given: Any) -> None:
        written.append(sim.tick)
        save(sim, *given)

    monkeypatch.setattr(checkpoints, "save", noted)
    given = {**EVERYTHING, "until": 40}
    sim, whole = (small(**ENGINES["torch"]) for _ in range(2))
    whole.run(record=tmp_path / "whole.h5", **given).close()
    sim.run(record=tmp_path / "t.h5", checkpoint_every="0.001 s", **given).close()
    assert written[-1] == 40
    assert len(written) > 1
    assert written == sorted(set(written))
    assert_identical(tmp_path / "whole.h5", tmp_path / "t.h5")


# ---- files of one's own


@engines
def test_a_state_is_saved_and_loaded(engine: str, tmp_path: Path) -> None:
    whole, other = (small(**ENGINES[engine]) for _ in range(2))
    whole.run(until=17)
    whole.save(tmp_path / "state.h5")
    other.load(tmp_path / "state.h5")
    state = whole.state()
    assert all(x.tobytes() == other.state()[name].tobytes() for name, x in state.items())
    (whole.run(until=31), other.run(until=31))
    assert whole.read("w").tobytes() == other.read("w").tobytes()
    with pytest.raises(ExperimentError, match=r"state\.h5: restore: must come before the first tick"):
        other.load(tmp_path / "state.h5")


# ---- what is refused


def test_what_cannot_be_saved_is_named_when_checkpoints_are_asked_for(tmp_path: Path) -> None:
    """Nothing is run, and no trace is begun."""
    sim = small()

    def meddle() -> Any:
        yield sim.env.timeout(100)

    sim.env.process(meddle())
    for one, told in ((sim, "got 'meddle'"), (shown(Endless()), "a parameter 'start' .* got Endless")):
        with pytest.raises(ExperimentError, match=f"^state: .*{told}"):
            one.run(until=20, record=tmp_path / "t.h5", checkpoint_every=5)
    with pytest.raises(ExperimentError, match=r"^checkpoint_every: needs a trace in a file"):
        small().run(until=20, checkpoint_every=5)
    for every in (0, -1, 2.5, True, "10", "0 s", "ten min", "1 week"):
        with pytest.raises(ExperimentError, match=r"^checkpoint_every: must be a whole number of ticks >= 1"):
            small().run(until=20, record=tmp_path / "t.h5", checkpoint_every=every)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"hold": 4}, "hold, got '3' for '4'"),
        ({"seed": 3}, "network, got another"),
        ({"engine": "reference"}, "kind of engine, got 'Batched' for 'reference'"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_and_its_trace_is_left(
    given: dict[str, Any], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.h5"
    assert cut(small(), 12, path, until=20, checkpoint_every=5)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ExperimentError, match=rf"t\.checkpoint\.h5: state: must be of the same {told}"):
        small(**given).resume(path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_trace_and_a_checkpoint_that_do_not_belong_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    assert cut(small(), 12, one, until=20, checkpoint_every=5)
    monkeypatch.setattr("hlsim.trace.layout.now", lambda: "1970-01-01T00:00:00+00:00")
    assert cut(small(), 12, two, until=20, checkpoint_every=10)
    checkpoint.beside(one).write_bytes(checkpoint.beside(two).read_bytes())
    with pytest.raises(TraceError, match=r"is of another run than .*one\.h5: must have the same start"):
        small().resume(one)
    small().save(checkpoint.beside(two))
    with pytest.raises(TraceError, match=r"two\.checkpoint\.h5: is of no trace; Simulation.load takes it$"):
        small().resume(two)


def test_a_checkpoint_of_another_run_is_not_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    small().run(until=10, record=path, checkpoint_every=5).close()
    path.unlink()
    for asked in ({"checkpoint_every": 5}, {"interruptible": True}):
        with pytest.raises(TraceError, match=r"t\.checkpoint\.h5: cannot write: there is a checkpoint of"):
            small().run(until=10, record=path, **asked)  # type: ignore[arg-type]
    assert not path.exists()
    small().run(until=10, record=path, checkpoint_every=5, overwrite=True).close()
    checkpoint.beside(path).unlink()
    checkpoint.beside(path).mkdir()
    with pytest.raises(TraceError, match=r"t\.checkpoint\.h5: cannot write: it exists and is no hlsim check"):
        small().run(until=10, record=path, checkpoint_every=5, overwrite=True)


def test_other_libraries_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small().save(tmp_path / "state.h5")
    versions = {"numpy": np.__version__, "torch": "0.5"}.get
    monkeypatch.setattr(metadata, "version", versions)
    with pytest.warns(match=r"state\.h5: was written with torch .*, this is 0\.5: "):
        small().load(tmp_path / "state.h5")


# ---- a disk that is full


def test_a_disk_that_is_full_costs_a_checkpoint_and_not_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is put on the size of a file, since no disk can be made here: the error has another name."""
    path, write = tmp_path / "t.h5", files.write

    def full_later(file: Path, data: Any) -> None:
        if checkpoint.beside(path).exists():
            with full_disk(1000):
                write(file, data)
        write(file, data)

    monkeypatch.setattr(files, "write", full_later)
    with pytest.raises(TraceError, match=r"t\.checkpoint\.h5: cannot write: File too large$"):
        small().run(until=40, record=path, checkpoint_every=7, **EVERYTHING)
    monkeypatch.undo()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["t.checkpoint.h5", "t.h5"]
    assert checkpoint.read(checkpoint.beside(path)).about["tick"] == 7
    small().resume(path).close()
    small().run(until=40, record=tmp_path / "whole.h5", **EVERYTHING).close()
    assert_identical(tmp_path / "whole.h5", path)


def test_a_disk_that_is_full_when_a_run_goes_on_leaves_its_trace(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    assert cut(small(), 12, path, until=40, checkpoint_every=5, **EVERYTHING)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with full_disk(10_000), pytest.raises(TraceError, match=r"t\.h5: cannot write: File too large$"):
        small().resume(path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


# ---- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_a_signal_ends_a_run_between_two_ticks_with_a_checkpoint(
    engine: str, number: int, tmp_path: Path
) -> None:
    path, sim = tmp_path / "t.h5", small(**ENGINES[engine])
    before = [signal.getsignal(each) for each in checkpoints.SIGNALS]

    def hit(standing: Any) -> None:
        if standing.tick == 11:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hlsim.simulation.watch.PULSE_S", 0.0)
        with pytest.raises(Stopped) as caught:
            sim.run(until=40, record=path, interruptible=True, progress=hit, **EVERYTHING)
    assert (caught.value.signal, caught.value.tick, caught.value.without) == (number, 12, "")
    assert [signal.getsignal(each) for each in checkpoints.SIGNALS] == before
    small(**ENGINES[engine]).resume(path).close()
    small(**ENGINES[engine]).run(until=40, record=tmp_path / "whole.h5", **EVERYTHING).close()
    assert_identical(tmp_path / "whole.h5", path)


def test_a_second_signal_ends_a_run_at_once(tmp_path: Path) -> None:
    def hit(standing: Any) -> None:
        if standing.tick == 11:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hlsim.simulation.watch.PULSE_S", 0.0)
        with pytest.raises(Stopped) as caught:
            small().run(until=40, record=tmp_path / "t.h5", interruptible=True, progress=hit)
    assert (caught.value.signal, caught.value.tick) == (signal.SIGTERM, None)
    assert [file.name for file in tmp_path.iterdir()] == ["t.h5"]


def test_runs_that_are_killed_go_on(tmp_path: Path) -> None:
    """A few of what `tools/kill_test.py` does with hundreds."""
    command = [sys.executable, str(ROOT / "tools" / "kill_test.py"), "--kills", "6", "--quick"]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("6 killed, 6 opened, 6 resumed, 6 identical")
