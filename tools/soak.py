"""A run that goes on and on takes no more memory: a million ticks with learning, recording and checkpoints.

    python tools/soak.py [--ticks 1000000] [--compiled always]

Rows come from a stream that never ends. What the process holds in memory is looked at twice a second; what
it holds at most in the last fifth is compared with what it held at most up to the end of the second fifth, by
when every buffer, cache and chunk has been filled. Exit code 1 where it has grown by a hundredth or more.
"""

import argparse
import itertools
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import hlsim
from hlsim.simulation import Progress
from hlsim.stimulus import Row, Stage, Stream

MOST_GROWTH = 0.01
HOLD = 10


class Waves(Stream):
    """Two sines and their product, for ever."""

    n_input, n_output, splits = 2, 1, ("train",)

    def length(self, split: str) -> None:
        """Return None: there is no end."""
        self.check_split(split)

    def rows(self, split: str, order: np.ndarray | None = None, start: int = 0) -> Iterator[Row]:
        """Yield the rows from one on."""
        for k in itertools.count(start):
            x = np.array([math.sin(0.7 * k), math.cos(0.3 * k)])
            yield Row(x, x[:1] * x[1:])


def resident() -> int:
    """Return the bytes that the process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def simulation(compiled: str) -> hlsim.Simulation:
    """Return a network with delays, a third of it updated on arrival, that learns from endless rows."""
    graph = hlsim.topology.layered([2, 16, 16, 1], seed=0, delay=2, model="leaky")
    for k, data in enumerate(graph.nodes.values()):
        if data.get("model") != "input":
            data["update"] = "arrival" if k % 3 == 0 else "clock"
            data["send_threshold"] = 0.01
    rule = hlsim.rules.Hamiltonian(beta=1e-3, eta=0.1)
    stages = [Stage("train")]
    return hlsim.Simulation(graph, rule=rule, stimulus=Waves(), stages=stages, hold=HOLD, compiled=compiled)


def main() -> None:
    """Run, look, and tell."""
    parser = argparse.ArgumentParser(description="Run for long, and see memory stay as it is.")
    parser.add_argument("--ticks", type=int, default=1_000_000)
    parser.add_argument("--compiled", default="always", choices=("always", "never"))
    options = parser.parse_args()
    seen: list[tuple[int, int]] = []

    def look(standing: Progress) -> None:
        seen.append((standing.tick, resident()))

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path, every = Path(folder) / "soak.h5", max(1, options.ticks // 50)
        simulation(options.compiled).run(
            until=options.ticks, record=path, every=100, progress=look, checkpoint_every=every
        ).close()
        size = path.stat().st_size
    early = max(held for tick, held in seen if tick <= 0.4 * options.ticks)
    late = max(held for tick, held in seen if tick >= 0.8 * options.ticks)
    growth = (late - early) / early
    print(f"{options.ticks:,} ticks in {time.monotonic() - started:.0f} s, a trace of {size / 1e6:.1f} MB")
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        held = [held for tick, held in seen if tick <= share * options.ticks]
        print(f"up to {share:.0%}: {max(held) / 1e6:.1f} MB")
    print(f"growth after two fifths: {growth:.2%}, at most {MOST_GROWTH:.0%}")
    sys.exit(growth >= MOST_GROWTH)


if __name__ == "__main__":
    main()
