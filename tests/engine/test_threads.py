"""Threads change no result, and nobody waits for those that a fork has left behind."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import hlsim
from hlsim.engine.threads import without_subnormals
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


def test_subnormal_numbers_are_nothing_as_long_as_asked_for_and_no_longer() -> None:
    tiny = np.float32(1e-39) * np.ones(1, np.float32)
    assert tiny[0] * np.float32(0.5) != 0
    with without_subnormals():
        assert tiny[0] * np.float32(0.5) == 0
        with without_subnormals():
            pass
        assert tiny[0] * np.float32(0.5) == 0, "whoever asked first is still there"
    assert tiny[0] * np.float32(0.5) != 0


def test_what_fades_away_in_compiled_loops_never_is_subnormal() -> None:
    """h halves at every tick: in float32 it would be subnormal from tick 127 on, and 0 from 149 on."""
    graph = hlsim.topology.layered([1, 2], bias=None)
    options: dict[str, Any] = {"compiled": "always", "loss": None, "rule": hlsim.rules.Hamiltonian(beta=0.0)}
    sim = hlsim.Simulation(graph, node_defaults={"update": "clock", "tau": 2.0}, **options)
    sim.controls.input(np.ones(1))
    sim.run(until=20)
    assert np.abs(sim.read("h")).max() > 0.1
    sim.controls.input(np.zeros(1))
    least, seen = np.finfo(np.float32).tiny, []
    for tick in range(140, 161, 4):
        sim.run(until=tick)
        seen.append(np.abs(sim.read("h")[0]))
    assert ((np.array(seen) == 0) | (np.array(seen) >= least)).all()
    assert (seen[-1] <= 2 * least).all()
    assert np.float32(1e-39) * np.float32(1.0) != 0, "and leaves the thread as it was"
