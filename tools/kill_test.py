"""Runs that are killed go on: their traces are those of runs that nobody disturbed, bit for bit.

    python tools/kill_test.py [--kills 200] [--seed 0] [--quick] [--folder FOLDER]

Experiments of several kinds, of its own and shipped ones, are run undisturbed once. Then each is run again
and again as a process of its own, which is killed (SIGKILL): at a time drawn at random, or in the middle of
a step drawn at random (a file laid out, a table written, a checkpoint written, brought to the disk or given
its name, a trace cut, the end). Its trace is opened; then the run is resumed, now and then killed once more
on the way, or begun anew where it had no checkpoint yet. The last line says how many were killed, opened,
resumed, and came to the same trace. Exit code 1 where one did not, or left a file behind; what the killed
process had left of it is kept in build/kill_test.

Processes are forked off one that has loaded everything, which makes a kill cheap: hundreds take minutes.
"""

import argparse
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py

from hlsim import cli, trace
from hlsim.analysis import differences
from hlsim.trace import checkpoint, files, recorder, recovery, tables

# Whatever a command loads is loaded once, before processes are forked off.
LOADED = (
    *("hlsim.cli.profiling", "hlsim.cli.terminal", "hlsim.experiment.forecast", "hlsim.simulation"),
    *("scipy.sparse.csgraph", "sklearn.datasets", "numba"),
)
ROOT = Path(__file__).resolve().parents[1]
HEAD = """\
[network]
topology = "topology.py"
parameters = {{ symmetric = {symmetric} }}
node_defaults = {{ update = "{update}", send_threshold = {threshold} }}

[stimulus]
source = "python"
path = "rows.py"
hold = {hold}

[[stage]]
name = "train"
rows = {rows}

[[stage]]
name = "test"
rows = {test}
learn = false

[record]
every = {{ default = 3, w = 20 }}
events = ["message", "update"]
"""
TOPOLOGY = """\
import hlsim

def build(symmetric=False):
    graph = hlsim.topology.layered([2, 8, 2], seed=1, delay=1, model="leaky")
    return graph.to_undirected() if symmetric else graph
"""
ROWS = """\
import math

def stream(start=0):
    while True:
        x = [math.sin(0.7 * start), math.cos(0.3 * start)]
        yield x, [x[0] * x[1], x[0]]
        start += 1
"""
FAULTS = (
    "\n[faults]\nloss = 0.05\njitter = 2\nfailing = 0.01\ndowntime = 5.0\n\n[noise]\nstd = 0.05\nevery = 2\n"
)
EQUILIBRIUM = '\n[learning]\nrule = "equilibrium"\nbeta = 0.05\n'
# By name: what fills the form, what is added, and options.
OWN: dict[str, tuple[dict[str, object], str, tuple[str, ...]]] = {
    "clock": ({"update": "clock"}, "", ("compiled=never", "checkpoint_every=17")),
    "reference": ({"update": "arrival", "rows": 20}, FAULTS, ("engine=reference", "checkpoint_every=13")),
    "equilibrium": ({"update": "clock", "hold": 12, "rows": 40}, EQUILIBRIUM, ("checkpoint_every=41",)),
    "faults": ({"update": "arrival", "threshold": 0.01}, FAULTS, ("checkpoint_every='0.05 s'",)),
    "ensemble": ({"update": "clock"}, "", ("ensemble=3", "checkpoint_every='0.03 s'")),
    "compiled": ({"update": "arrival"}, FAULTS, ("compiled=always", "checkpoint_every=50")),
}
# Those of the short form.
QUICK = ("clock", "reference")
SHIPPED = {
    "iris": ("checkpoint_every=100", "until=900"),
    "delayed_ring": ("checkpoint_every=100", "until=900"),
    "cortical_groups": ("checkpoint_every='0.1 s'", "until=500"),
}
# Steps in which a process may be killed: before or after one of them.
STEPS: dict[str, tuple[object, str]] = {
    "file opened": (h5py.File, "__init__"),
    "table written": (tables.Table, "_write"),
    "checkpoint written": (checkpoint, "write"),
    "brought to the disk": (os, "fsync"),
    "given its name": (Path, "replace"),
    "placed": (files, "place"),
    "copied": (shutil, "copyfile"),
    "table found": (tables.Table, "find"),
    "mended": (recovery, "mend"),
    "text written": (recovery, "set_text"),
    "ending": (recorder.Recorder, "_conclude"),
}
KEPT = ROOT / "build" / "kill_test"  # what was left of runs that did not go on as they should
AGAIN = 0.3  # share of resumed runs that are killed as well


@dataclass
class Case:
    """An experiment, how it is run, its undisturbed trace and how many seconds that took."""

    name: str
    command: list[str]
    whole: Path
    seconds: float = 0.0


def forked(action: Callable[[], object], killed_after: float | None = None, log: Path | None = None) -> int:
    """Do something in a process of its own, which may be killed; return its code, or minus the signal."""
    child = os.fork()
    if not child:
        _be_child(action, log)
    if killed_after is not None:
        time.sleep(killed_after)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _be_child(action: Callable[[], object], log: Path | None) -> None:
    code = 1
    try:
        out = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        action()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told and the process ends
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def dies_in(step: str, number: int, after: bool, action: Callable[[], object]) -> Callable[[], object]:
    """Return the action, whose process kills itself before or after a step is done for the nth time."""

    def start() -> None:
        owner, name = STEPS[step]
        whole, left = getattr(owner, name), [number]

        def once(*given: object, **named: object) -> object:
            left[0] -= 1
            if not left[0] and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = whole(*given, **named)
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, once)
        action()

    return start


def prepare(folder: Path, quick: bool) -> list[Case]:
    """Write the experiments and run each undisturbed."""
    cases = []
    for name, (given, more, options) in OWN.items():
        if quick and name not in QUICK:
            continue
        place = folder / name
        place.mkdir()
        symmetric = "true" if name == "equilibrium" else "false"
        form = {"symmetric": symmetric, "threshold": 0.0, "hold": 5, "rows": 100, "test": 15, **given}
        form |= {"rows": 10, "test": 4} if quick else {}
        (place / "experiment.toml").write_text(HEAD.format(**form) + more)
        (place / "topology.py").write_text(TOPOLOGY)
        (place / "rows.py").write_text(ROWS)
        cases.append(_case(folder, name, place, options))
    if not quick:
        for name, options in SHIPPED.items():
            cases.append(_case(folder, name, ROOT / "topologies" / name, options))
    for case in cases:
        for _ in range(2):  # the first may have to compile
            started = time.monotonic()
            run = [*case.command, "-o", str(case.whole), "--overwrite"]
            if code := forked(lambda run=run: cli.main(run), log=folder / "log"):
                raise SystemExit(
                    f"{case.name}: undisturbed, ended with {code}\n{(folder / 'log').read_text()}"
                )
            case.seconds = time.monotonic() - started
    return cases


def _case(folder: Path, name: str, place: Path, options: tuple[str, ...]) -> Case:
    chosen = [word for text in options for word in ("--set", f"simulation.{text}")]
    return Case(name, ["run", str(place), "-q", *chosen], folder / f"{name}-whole.h5")


def kill(case: Case, draw: random.Random, action: Callable[[], object], log: Path) -> str | None:
    """Do something that is killed; return where, None if it came to its end before."""
    if draw.random() < 0.5:
        after = draw.uniform(0, 1.05 * case.seconds)
        return f"after {after:.2f} s" if forked(action, after, log) == -signal.SIGKILL else None
    step, number, after_it = draw.choice(list(STEPS)), 1 + int(draw.expovariate(0.25)), draw.random() < 0.5
    code = forked(dies_in(step, number, after_it, action), log=log)
    where = f"{'after' if after_it else 'before'} {step}, {number}"
    return where if code == -signal.SIGKILL else None


def survive(case: Case, folder: Path, draw: random.Random, count: Counter[str]) -> bool:
    """Kill a run once, open its trace, go on and compare; False: it came to its end before it was killed."""
    path, log = folder / "t.h5", folder / "log"
    for left in (path, checkpoint.beside(path), log):
        left.unlink(missing_ok=True)
    begin = [*case.command, "-o", str(path), "--overwrite"]
    go_on = ["resume", str(path), "-q"]
    where = kill(case, draw, lambda: cli.main(begin), log)
    if where is None:
        return False
    count["killed"] += 1
    opened = not path.exists() or not forked(lambda: trace.open(path).close(), log=log)
    count["opened"] += opened
    kept = path.exists() and checkpoint.beside(path).exists()
    shutil.rmtree(folder.parent / "as it was", ignore_errors=True)
    shutil.copytree(folder, folder.parent / "as it was", dirs_exist_ok=True)
    if kept and draw.random() < AGAIN and (again := kill(case, draw, lambda: cli.main(go_on), log)):
        where += f"; again {again}"
        count["killed again"] += 1
    code = forked(lambda: go_on_with(path, go_on, begin), log=log)
    count["resumed"] += not code
    count["from a checkpoint"] += kept and not code
    same = not code and not forked(lambda: compare(case.whole, path), log=log)
    left = [file.name for file in folder.iterdir() if file.name.startswith(".")]
    count["identical"] += same and not left
    if not (opened and same) or left:
        print(
            f"{case.name}, killed {where}: opened {opened}, ended with {code}, identical {same}, left {left}"
        )
        print(log.read_text(), flush=True)
        KEPT.mkdir(parents=True, exist_ok=True)
        shutil.copytree(
            folder.parent / "as it was", KEPT / f"{case.name}-{count['killed']}", dirs_exist_ok=True
        )
    if count["killed"] % 20 == 0:
        print(f"{count['killed']} killed, {count['identical']} identical", flush=True)
    return True


def go_on_with(path: Path, go_on: list[str], begin: list[str]) -> None:
    """Resume a run, or begin it anew where it had no checkpoint yet."""
    if path.exists():
        with trace.open(path) as opened:
            complete = opened.status == "complete"
        if complete:
            # What a killed process has left is cleared up by whoever writes to the same place next.
            files.clear_up(path)
            files.clear_up(checkpoint.beside(path))
            return
    own = path.exists() and checkpoint.beside(path).exists()
    cli.main(go_on if own else begin)


def compare(whole: Path, path: Path) -> None:
    """Refuse a trace that is not the undisturbed one."""
    with trace.open(whole) as one, trace.open(path) as two:
        found = differences.diff(one, two)
    if not found.identical or two.status != "complete":
        raise ValueError(f"{two.status}, first difference: {found.first}")


def main() -> None:
    """Read the options, kill, and tell."""
    parser = argparse.ArgumentParser(description="Kill runs at random moments, and see them go on.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two small experiments only, none compiled")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for each in LOADED:
        importlib.import_module(each)
    draw, count, moments = random.Random(options.seed), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        cases = prepare(folder, options.quick)
        for case in cases:
            print(f"{case.name}: {case.seconds:.2f} s undisturbed", flush=True)
        place = folder / "killed"
        place.mkdir()
        while count["killed"] < options.kills:
            case = cases[count["tried"] % len(cases)]
            count["tried"] += 1
            moments[case.name] += survive(case, place, draw, count)
    print(", ".join(f"{name} {times}" for name, times in sorted(moments.items())))
    print(f"{count['killed again']} killed again, {count['from a checkpoint']} went on from a checkpoint")
    told = ", ".join(f"{count[what]} {what}" for what in ("killed", "opened", "resumed", "identical"))
    print(told, flush=True)
    sys.exit(count["identical"] < count["killed"] or count["opened"] < count["killed"])


if __name__ == "__main__":
    main()
