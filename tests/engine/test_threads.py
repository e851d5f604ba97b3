"""Threads change no result, and nobody waits for those that a fork has left behind."""

import subprocess
import sys

import pytest

from tests.support.places import ROOT

# Children that run what the parent runs, and go on with what the parent has begun.
FORKED = """
import multiprocessing, sys
import numpy as np, torch
import hlsim

THREADS = int(sys.argv[1])

def made(seed):
    graph = hlsim.topology.random(300, 30, draw=False)
    return hlsim.Simulation(graph, seed=seed, loss=None, threads=THREADS, node_defaults={"update": "clock"})

def work(sim):
    sim.controls.input([1.0])
    sim.run(until=sim.tick + 15)
    return sim.read("h").tobytes()

torch.set_num_threads(2)
(torch.rand(400, 400) @ torch.rand(400, 400)).sum()
begun = made(7)
work(begun)
own = [work(made(seed)) for seed in range(3)]
def child(seed):
    return work(begun) if seed == 7 else work(made(seed))
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map(child, [0, 1, 2, 7])
assert found == [*own, work(begun)]
print("alike")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks are the default on Linux")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_runs_as_its_parent_does(threads: int) -> None:
    command = [sys.executable, "-c", FORKED, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (0, "alike\n"), done.stderr
