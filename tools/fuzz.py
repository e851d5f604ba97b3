"""Gives hlsim bad input: ``python tools/fuzz.py [--examples N] [--seconds S] [--seed K] [--only NAME]``.

Every example is a command and the files that it reads, see ``tools/badinput.py``, and is done by a process of
its own, which goes on to the next one. What must come of it: the exit code 0 or 2, and with 2 one line (of
``diff`` also 1: they differ; of ``sweep``: some runs failed). What ends in a traceback, or kills the process,
or is not done in time is kept in a folder, with the command, and makes the exit code 1.
"""

import argparse
import contextlib
import io
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LIMIT = 30.0  # seconds of computing for an example
MEMORY = 12 << 30  # bytes of addresses
RENEWED = 400  # examples a process: what it keeps should not end the next one
NO_NEWS = re.compile(r"hlsim: warning: .*|compiling, once .*|next: .*|[\d,]+ of [\d,]+ .*|\[\d+/\d+\] .*")


def verdict(code: int, err: str, command: str) -> str:
    """Return what became of an example: "clean", "refused", or what is wrong with it."""
    lines = [line for line in err.splitlines() if line and not NO_NEWS.fullmatch(line)]
    if "Traceback" in err:
        return f"traceback: {lines[-1][:150]}"
    if code == 0 or (code == 1 and command in ("diff", "sweep")):
        return "clean"
    if code != 2:
        return f"exit code {code}: {' '.join(lines)[:150]}"
    if lines and lines[0].startswith("Usage: "):  # of an option that is none
        return "refused"
    one = len(lines) == 1 and lines[0].startswith("hlsim: ") and lines[0].isprintable()
    return "refused" if one else f"not one line: {lines}"[:200]


class Worker:
    """A process that does commands, one after the other."""

    def __init__(self) -> None:
        command = [sys.executable, __file__, "--worker"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout
        self._process.stdout.readline()  # when it has imported all: that takes its time, and is no example

    def run(self, folder: Path, arguments: tuple[str, ...]) -> str:
        """Return what became of a command; after anything else than an answer it needs a new process."""
        process = self._process
        assert process.stdin
        assert process.stdout
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps([str(folder), *arguments]) + "\n")
            process.stdin.flush()
        ready = self._answers()
        line = process.stdout.readline() if ready else ""
        if not ready:
            return f"not done in {LIMIT:g} s"
        if not line:
            return f"process died with {process.wait()}"
        return verdict(int(line), (folder / "err").read_text(errors="replace"), arguments[0])

    def _answers(self) -> bool:
        """Wait for an answer until the process has computed for its time; others may use the machine too."""
        assert self._process.stdout
        begun, ends = self._seconds(), time.monotonic() + 10 * LIMIT
        while time.monotonic() < ends and self._seconds() - begun < LIMIT:
            if select.select([self._process.stdout.fileno()], [], [], 1.0)[0]:
                return True
        return False

    def _seconds(self) -> float:
        """Return the seconds that the process has computed, or that went by where nobody tells."""
        try:
            told = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def work() -> None:
    """Do commands as they come, with what they write in files beside those that they read."""
    import resource

    sys.path.insert(0, str(ROOT))
    from hlsim import cli

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w")
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        folder, *arguments = json.loads(line)
        os.chdir(folder)
        for descriptor, name in ((1, "out"), (2, "err")):
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, descriptor)
            os.close(file)
        code = done(cli, arguments)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(UnicodeError):
                stream.flush()
        answers.write(f"{code}\n")
        answers.flush()


def done(cli: Any, arguments: list[str]) -> int:
    """Do a command as a process of its own would, and return the exit code."""
    try:
        cli.main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - what Python itself would do
        traceback.print_exc()
        return 1
    return 0


def good_traces(folder: Path) -> list[bytes]:
    """Return traces that are right: on a clock, on arrival, of an ensemble, complex, of a killed run."""
    import tomli_w

    import tools.badinput as bad
    from hlsim import cli

    (folder / "g.json").write_text(json.dumps(bad.GRAPH))
    settings = {key: x for key, x in bad.EXPERIMENT.items() if key not in ("sweep", "faults", "noise")}
    (folder / "e.toml").write_bytes(tomli_w.dumps(settings).encode())
    kinds = [
        [],
        ["network.node_defaults.update='arrival'", "record.events=['message', 'update']", "faults.loss=0.1"],
        ["simulation.ensemble=2", "simulation.dtype='float64'", "record.every=1"],
        [
            "learning={ rule = 'holomorphic_equilibrium', points = 2 }",
            "network.node_defaults.activation='softplus'",
        ],
    ]
    found = []
    for kind in kinds:
        sets = [word for text in kind for word in ("--set", text)]
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = ["run", str(folder / "e.toml"), "-o", str(folder / "t.h5"), "-q", "--overwrite"]
            if done(cli, [*run, *sets]):
                raise RuntimeError(f"a run that is right was refused: {sets}")
        found.append((folder / "t.h5").read_bytes())
    from hlsim.trace import superblock

    marked = bytearray(found[0])
    marked[superblock.FLAGS] = 5
    marked[:48] = bytes(marked[:44]) + superblock.checksum(bytes(marked[:44])).to_bytes(4, "little")
    return [*found, bytes(marked)]


def fuzz(options: argparse.Namespace, folder: Path) -> Counter[tuple[str, str]]:
    """Give the examples and count what became of them."""
    import hypothesis
    from hypothesis import HealthCheck, Phase, given, settings

    import tools.badinput as bad

    counts: Counter[tuple[str, str]] = Counter()
    strategies = bad.cases(good_traces(folder), folder)
    ends = time.monotonic() + options.seconds
    worker, place = Worker(), folder / "case"
    names = [options.only] if options.only else list(strategies)

    def give(case: bad.Case) -> None:
        nonlocal worker
        if time.monotonic() > ends:
            return
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        case.write(place)
        became = worker.run(place, case.arguments)
        bad_end = became not in ("clean", "refused")
        counts[case.kind, "failed" if bad_end else became] += 1
        if bad_end:
            keep = Path(options.keep) / f"{options.seed}-{sum(counts.values())}"
            shutil.copytree(place, keep, dirs_exist_ok=True)
            print(f"{keep}: hlsim {' '.join(case.arguments)!r}: {became}", flush=True)
        if bad_end or sum(counts.values()) % RENEWED == 0:
            worker.close()
            worker = Worker()

    for name in names:
        given_one = settings(
            max_examples=max(1, options.examples // len(names)),
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(strategies[name])(give))
        hypothesis.seed(options.seed)(given_one)()
    worker.close()
    return counts


def main() -> None:
    """Read the arguments, give the examples, and tell what became of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=10_000, help="in all, of every kind as many")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no more are given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="experiments, topologies, streams, traces or others")
    parser.add_argument("--keep", default="build/fuzz", help="folder for those that fail")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
        return
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        counts = fuzz(options, Path(folder))
    for (kind, became), count in sorted(counts.items()):
        print(f"{kind:12} {became:8} {count:8,}")
    failed = sum(count for (_, became), count in counts.items() if became == "failed")
    print(f"{sum(counts.values()):,} inputs, {failed:,} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
