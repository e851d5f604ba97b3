"""`hlsim resume` as its user sees it: what is printed, how it ends, and that nothing is lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hlsim
from hlsim import trace
from hlsim.simulation import checkpoints, watch
from tests.support import experiments
from tests.support.commands import Command, assert_one_line
from tests.support.cuts import assert_identical

EVERY = ("--set", "simulation.checkpoint_every=7")


@pytest.fixture
def cut_off(hlsim_: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The trace of a run that was cut off in its fourth row, the last checkpoint in its third."""
    whole = hlsim_("run", "tiny", "-q", "-o", "whole.h5", *EVERY)
    assert whole.code == 0
    row, count = watch.Watch.row, [0]

    def stopped(*given: object) -> None:
        count[0] += 1
        if count[0] == 4:
            raise KeyboardInterrupt
        row(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("hlsim.simulation.watch.Watch.row", stopped)
        done = hlsim_("run", "tiny", "-q", "-o", "cut.h5", *EVERY)
    assert done.code == 130
    assert done.err == (
        "hlsim: interrupted; the trace up to there is in cut.h5; hlsim resume cut.h5 goes on from tick 14\n"
    )
    return Path("cut.h5")


def test_a_run_goes_on_and_ends_as_it_would(cut_off: Path, hlsim_: Command) -> None:
    done = hlsim_("resume", str(cut_off))
    assert done.code == 0
    assert re.search(rf"\bticks +{experiments.TICKS}\b", done.out)
    assert "cut.h5" in done.out
    assert_identical(Path("whole.h5"), cut_off)
    assert hlsim_("diff", "whole.h5", "cut.h5").code == 0
    assert_one_line(hlsim_("resume", "cut.h5"), "cut.h5: is complete; until says how far to go on")


def test_it_goes_on_up_to_another_tick(cut_off: Path, hlsim_: Command) -> None:
    """The trace says so, as that of a run to there; and from its end it goes on again."""
    longer = experiments.TICKS + 20
    for until in (40, longer):
        assert hlsim_("resume", "cut.h5", "-q", "--until", str(until)).code == 0
        assert hlsim_("run", "tiny", "-q", "-o", f"{until}.h5", "--until", str(until), *EVERY).code == 0
        assert_identical(Path(f"{until}.h5"), cut_off)
    assert_one_line(hlsim_("resume", "cut.h5", "--until", "50"), f"ticks >= {longer + 1}, got 50")
    assert_one_line(hlsim_("resume", "cut.h5", "--until", "0"), "until: must be a whole number >= 1, got 0")


def test_an_experiment_that_has_moved_is_asked_for(cut_off: Path, hlsim_: Command) -> None:
    Path("elsewhere").mkdir()
    Path("tiny").rename("elsewhere/tiny")
    refused = hlsim_("resume", "cut.h5")
    assert_one_line(refused, "the experiment of cut.h5 is not there; say where it is")
    assert hlsim_("resume", "cut.h5", "-q", "--experiment", "elsewhere/tiny").code == 0
    assert_identical(Path("whole.h5"), cut_off)


def test_an_experiment_that_has_changed_is_refused_and_the_trace_is_left(
    cut_off: Path, hlsim_: Command
) -> None:
    before = cut_off.read_bytes()
    topology = Path("tiny/topology.py")
    topology.write_text(topology.read_text().replace("seed=1", "seed=2"))
    assert_one_line(
        hlsim_("resume", "cut.h5"), "cut.checkpoint.h5: state: must be of the same network, got another"
    )
    assert cut_off.read_bytes() == before


def test_what_cannot_go_on_is_one_line(cut_off: Path, hlsim_: Command) -> None:
    assert_one_line(hlsim_("resume", "none.h5"), "none.h5: ")
    assert_one_line(hlsim_("resume", "tiny/topology.py"), "is no hlsim trace")
    shutil.copy(cut_off, "alone.h5")
    assert_one_line(hlsim_("resume", "alone.h5"), "alone.checkpoint.h5: there is no such checkpoint")
    Path("cut.checkpoint.h5").write_bytes(Path("cut.checkpoint.h5").read_bytes()[:-1])
    assert_one_line(hlsim_("resume", "cut.h5"), "cut.checkpoint.h5: is damaged")
    with hlsim.experiment.load("tiny").simulation().run(until=20, record="mine.h5", checkpoint_every=5):
        pass
    sim = hlsim.Simulation(hlsim.topology.ring(3), loss=None)
    sim.run(until=20, record="plain.h5", checkpoint_every=5).close()
    assert_one_line(hlsim_("resume", "plain.h5", "--until", "30"), "is of no experiment; Simulation.resume")


def test_a_checkpoint_is_no_trace(cut_off: Path, hlsim_: Command) -> None:
    """Whatever reads traces says so, and leaves it as it is."""
    before = Path("cut.checkpoint.h5").read_bytes()
    for command in ("info", "analyze", "report", "resume"):
        assert_one_line(hlsim_(command, "cut.checkpoint.h5"), "cut.checkpoint.h5: is no hlsim trace")
    assert_one_line(hlsim_("diff", "whole.h5", "cut.checkpoint.h5"), "is no hlsim trace")
    run = hlsim_("run", "tiny", "-q", "-o", "cut.checkpoint.h5", "--overwrite")
    assert_one_line(run, "cut.checkpoint.h5: cannot write: it exists and is no hlsim trace")
    assert Path("cut.checkpoint.h5").read_bytes() == before


def test_two_do_not_go_on_with_one_trace(cut_off: Path, hlsim_: Command) -> None:
    with trace.Recorder("busy.h5", header={}, network=hlsim.experiment.load("tiny").network):
        shutil.copy("cut.checkpoint.h5", "busy.checkpoint.h5")
        assert_one_line(hlsim_("resume", "busy.h5"), "busy.h5")
        assert hlsim_("run", "tiny", "-q", "-o", "busy.h5", "--overwrite").err == (
            "hlsim: busy.h5: cannot write: another run is writing it\n"
        )


def test_a_trace_that_is_being_written_is_not_gone_on_with(cut_off: Path) -> None:
    sim = hlsim.experiment.load("tiny").simulation()
    attempts: list[str] = []

    def look(_: object) -> None:
        if not attempts:
            with pytest.raises(hlsim.HlsimError) as caught:
                hlsim.experiment.resume("live.h5")
            attempts.append(str(caught.value))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hlsim.simulation.watch.PULSE_S", 0.0)
        save = checkpoints.save

        def then_look(*given: object) -> None:
            save(*given)  # type: ignore[arg-type]
            look(None)

        patch.setattr(checkpoints, "save", then_look)
        sim.origin = str(Path("tiny/experiment.toml").resolve())
        sim.run(record="live.h5", checkpoint_every=7).close()
    assert attempts == ["live.h5: cannot write: another run is writing it"]


def test_the_key_is_checked(hlsim_: Command) -> None:
    for value in ("0", "2.5", "'ten'", "true"):
        done = hlsim_("run", "tiny", "--set", f"simulation.checkpoint_every={value}")
        assert_one_line(done, "[simulation] checkpoint_every must be a whole number of ticks >= 1, or a time")
    done = hlsim_("sweep", "tiny", "--seeds", "2", *EVERY)
    assert_one_line(done, "simulation.checkpoint_every must be left out in a sweep")


# ---- as a process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_process_with_a_checkpoint_and_it_goes_on(
    number: int, code: int, folder: Path, hlsim_: Command
) -> None:
    long = ["run", "tiny", "--set", "stage.train.passes=100000", "--set", "record.events=[]"]
    long += ["--set", "simulation.compiled=never"]
    process = subprocess.Popen(
        [sys.executable, "-c", f"from hlsim.cli import main; main({long})"],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(hlsim.__file__).parents[1])},
        text=True,
    )
    while not Path("tiny.h5").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    tick = int(checkpoints.read(Path("tiny.h5")).about["tick"])
    told = f"the trace up to there is in tiny.h5; hlsim resume tiny.h5 goes on from tick {tick}"
    # On a busy machine it may say before that it compiles.
    assert (process.returncode, err.splitlines()[-1]) == (code, f"hlsim: interrupted; {told}")
    with trace.open("tiny.h5") as run:
        assert (run.status, run.summary["ticks"]) == ("interrupted", tick)
    assert sorted(file.name for file in Path().iterdir()) == ["tiny", "tiny.checkpoint.h5", "tiny.h5"]
    assert hlsim_("resume", "tiny.h5", "-q", "--until", str(tick + 9)).code == 0
