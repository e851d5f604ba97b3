"""Benchmarks: hlsim beside hand-written loops and autograd, side by side in one run.

    python tools/bench.py [--quick] [--only A,C] [--json FILE] [--check] [--threads N]

Every figure is a median over repeats that take turns, so that a foreign load meets both sides. ``--check``
exits 1 and names each row that falls short of its target. What is run is in ``tools/workloads``.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from workloads.building import workload_i
from workloads.dense import workload_b, workload_c
from workloads.recording import workload_f
from workloads.rows import Row
from workloads.running import workload_e, workload_g, workload_h
from workloads.sparse import workload_a, workload_d

WORKLOADS = {
    "A": workload_a,
    "B": workload_b,
    "C": workload_c,
    "D": workload_d,
    "E": workload_e,
    "F": workload_f,
    "G": workload_g,
    "H": workload_h,
    "I": workload_i,
}


def load() -> float:
    """Return how many processes wanted to run in the last minute."""
    return os.getloadavg()[0]


def show(row: Row) -> None:
    """Print one row."""
    sign, mark = (">=" if row.at_least else "<="), ("" if row.met else "   SHORT")
    figures = f"{row.hlsim:10.3g} {row.other:10.3g} {row.unit:<22}"
    print(
        f"{row.workload}  {row.what:<66} {figures} {row.ratio:8.3g} {sign} {row.target:g}{mark}", flush=True
    )


def main() -> None:
    """Run the workloads asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under two minutes")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="letters, with commas between")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {given.threads} thread(s)"
    )
    print(f"{machine}; load before: {load():.2f}")
    print(f"   {'':<66} {'hlsim':>10} {'other':>10} {'':<22} {'ratio':>8}")
    rows = []
    for letter in given.only.split(","):
        for row in WORKLOADS[letter](given.quick, given.repeats):
            show(row)
            rows.append(row)
    if given.json:
        figures = [{**asdict(row), "met": row.met} for row in rows]
        given.json.write_text(
            json.dumps({"machine": machine, "load": load(), "rows": figures}, indent=1, default=float)
        )
    missed = [row for row in rows if not row.met]
    if given.check and missed:
        sys.exit("short of the target: " + "; ".join(f"{row.workload} {row.what}" for row in missed))


if __name__ == "__main__":
    main()
