"""Where the time goes: of a workload of ``tools/bench.py``, or of an experiment.

    python tools/profiler.py A|FOLDER_OR_TOML [--set KEY=VALUE] [--functions N] [--threads N]

A workload is run once, in its small size; what it is compared with counts as "other". The trace of an
experiment is kept in memory. (Not profile.py: Python's own profiler imports a module of that name.)
"""

import argparse

import bench
import torch

from hlsim import experiment
from hlsim.cli import terminal
from hlsim.cli.profiling import Profile


def workload(letter: str) -> None:
    """Run a benchmark once."""
    for _, case in bench.wanted([letter], [], quick=True):
        bench.show(bench.measured(letter, case, repeats=1))


def main() -> None:
    """Profile what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", metavar="LETTER_OR_EXPERIMENT", help=f"{', '.join(bench.WORKLOADS)}, or a path"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for an experiment")
    parser.add_argument("--functions", type=int, default=20, help="how many of the longest are shown")
    parser.add_argument("--threads", type=int, default=1, help="of torch, for a workload")
    given = parser.parse_args()
    profile, ticks = Profile(), None
    if given.what in bench.WORKLOADS:
        if given.set:
            parser.error(f"--set {given.set[0]}: only an experiment has values to set, got {given.what}")
        torch.set_num_threads(given.threads)
        with profile:
            workload(given.what)
    else:
        wanted = experiment.load(given.what, given.set)
        with profile:
            trace = wanted.run()
        with trace:
            ticks = trace.summary["ticks"]
    terminal.show_profile(given.what, profile, ticks)
    rows = (
        (f.name, f.part.partition(":")[0], f.calls, f"{f.seconds:.3f}")
        for f in profile.functions(given.functions)
    )
    terminal.show_table("The longest functions", ("function", "part", "calls", "seconds"), rows)


if __name__ == "__main__":
    main()
