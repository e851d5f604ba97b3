"""Benchmarks: hlsim beside what one would write by hand or pick from a library, in one run.

    python tools/bench.py [--quick] [--only A,C] [--rows TEXT ...] [--list]
                          [--json FILE] [--check] [--threads N]

Every figure is a median of processor time over repeats that take turns, so that a foreign load meets both
sides. Where both do the same work, they have to come to the same numbers before they are timed. ``--check``
exits 1 and names each row that falls short of its target. What is run is in ``tools/workloads``.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

# Before numerical libraries are loaded: whoever takes part has one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from workloads import (
    building,
    dense,
    events,
    kinds,
    minibatch,
    phases,
    recording,
    running,
    scale,
    small,
    sparse,
)
from workloads.rivals import AbsentError
from workloads.rows import Case, Row

WORKLOADS: dict[str, Sequence[Case]] = {
    "A": sparse.A,
    "B": dense.B,
    "C": dense.C,
    "D": events.D,
    "E": running.E,
    "F": recording.F,
    "G": running.G,
    "H": running.H,
    "I": building.BEGINNING,
    "K": kinds.K,
    "L": scale.L,
    "M": minibatch.M,
    "N": small.N,
    "P": phases.P,
}


def load() -> float:
    """Return how many processes wanted to run in the last minute."""
    return os.getloadavg()[0]


def wanted(letters: Sequence[str], texts: Sequence[str], quick: bool) -> Iterator[tuple[str, Case]]:
    """Return the rows to be, by letter: of the workloads asked for, those that have one of some texts."""
    for letter in letters:
        for case in WORKLOADS[letter]:
            named = not texts or any(text in case.what for text in texts)
            if named and (case.quick or not quick):
                yield letter, case


def measured(letter: str, case: Case, repeats: int) -> Row | str:
    """Return a row, or why there is none."""
    try:
        figures = case.measure(repeats)
    except AbsentError as missing:
        return str(missing)
    return Row(letter, case.what, *figures, case.target, case.at_least)


def show(row: Row) -> None:
    """Print one row."""
    mark = "" if row.met else "   SHORT"
    wish = "" if row.target is None else f"{'>=' if row.at_least else '<='} {row.target:g}"
    figures = f"{row.hlsim:10.3g} {row.other:10.3g} {row.unit:<22}"
    print(f"{row.workload}  {row.what:<66} {figures} {row.ratio:8.3g} {wish}{mark}", flush=True)


def parsed() -> argparse.Namespace:
    """Return what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without the large sizes")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="letters, with commas between")
    parser.add_argument("--rows", nargs="+", default=[], metavar="TEXT", help="those whose name has a text")
    parser.add_argument("--list", action="store_true", help="name the rows and measure nothing")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    given.only = given.only.split(",")
    for letter in given.only:
        if letter not in WORKLOADS:
            parser.error(f"--only: letters are {', '.join(WORKLOADS)}, got {letter!r}")
    return given


def main() -> None:
    """Run the workloads asked for."""
    given = parsed()
    asked = list(wanted(given.only, given.rows, given.quick))
    if given.list:
        print(*(f"{letter}  {case.what}" for letter, case in asked), sep="\n")
        return
    torch.set_num_threads(given.threads)
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {given.threads} thread(s)"
    )
    print(f"{machine}; load before: {load():.2f}")
    print(f"   {'':<66} {'hlsim':>10} {'other':>10} {'':<22} {'ratio':>8}")
    rows, absent = [], {}
    for letter, case in asked:
        row = measured(letter, case, given.repeats)
        if isinstance(row, str):
            absent[f"{letter} {case.what}"] = row
            print(f"{letter}  {case.what:<66} absent: {row}", flush=True)
            continue
        show(row)
        rows.append(row)
    if given.json:
        figures = [{**asdict(row), "met": row.met} for row in rows]
        told = {"machine": machine, "load": load(), "rows": figures, "absent": absent}
        given.json.write_text(json.dumps(told, indent=1, default=float))
    missed = [row for row in rows if not row.met]
    if given.check and missed:
        sys.exit("short of the target: " + "; ".join(f"{row.workload} {row.what}" for row in missed))


if __name__ == "__main__":
    main()
