"""What delays do to learning, as the theory has it: from traces of runs, through the analysis of users."""

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation, analysis, cli
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays
from tests.support.places import TOPOLOGIES
from tests.support.theory import CLOCK


def test_slow_neurons_and_late_errors_turn_the_update(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """cos(2 arctan omega T) and cos(omega D), by hlsim run and hlsim analyze, to .02."""
    trace = str(tmp_path / "phases.h5")
    for arguments in (
        ["run", str(TOPOLOGIES / "phase_lag"), "-q", "-o", trace],
        ["analyze", trace, "--oracle", "through_time", "--of", "change", "--json"],
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert not ended.value.code
    found = json.loads(capsys.readouterr().out)["alignment"]
    last = dict(zip(found["coords"]["group"]["data"], found["data_vars"]["cosine"]["data"][-1], strict=True))
    assert last.pop("all")
    for group, cosine in last.items():
        kind, number = group.split()
        lag = 2.0 * np.arctan(float(number)) if kind == "lag" else 2.0 * np.pi * float(number) / 256.0
        assert cosine == pytest.approx(np.cos(lag), abs=0.02)
    assert len(last) == 10


# Cosine of accumulated omega and summed gradients by hold and layer: the known means over 20 nets.
HOLDS = {
    1: (0.05, 0.14, 0.03),
    2: (0.14, 0.90, 0.89),
    4: (0.90, 0.88, 0.98),
    8: (0.97, 0.98, 1.0),
    16: (0.99, 0.99, 0.99),
}
# Where no update pairs a state with a target of its sample: they are 3 ticks apart in the lowest layer, 1
# in the others.
BLIND = {1: (0, 1, 2), 2: (0,)}
KNOWN_FROM, NETS, UNITS, TICKS = 20, 60, 8, 4000


def nets(rng: np.random.Generator) -> nx.DiGraph:
    """Return nets of three layers of tanh neurons side by side, each layer of each a group of its own."""
    graph = nx.DiGraph()
    for k in range(NETS):
        for layer in range(4):
            for i in range(UNITS):
                role = {"role": "output"} if layer == 3 else {}
                kind = {"model": "input"} if layer == 0 else {"group": f"{k} {layer}", **role}
                graph.add_node(f"{k} {layer} {i:02}", **kind)
            weights = rng.normal(size=(UNITS, UNITS)) / np.sqrt(UNITS)
            for i, j in np.ndindex(weights.shape):
                if layer:
                    graph.add_edge(f"{k} {layer - 1} {j:02}", f"{k} {layer} {i:02}", weight=weights[i, j])
    return graph


def cosines(hold: int) -> np.ndarray:
    """Return the cosines (net, layer) of frozen, fully local nets; targets are linear in inputs."""
    rng = np.random.default_rng(hold)
    graph, rows = nets(rng), min(TICKS // hold, 2000)
    maps = rng.normal(size=(NETS, UNITS, UNITS)) / np.sqrt(UNITS)
    x = rng.normal(size=(rows, NETS, UNITS))
    stream = Arrays(x.reshape(rows, -1), np.einsum("kij,nkj->nki", maps, x).reshape(rows, -1))
    rule = Hamiltonian(beta=0.0, eta=0.0)
    sim = Simulation(graph, rule=rule, stimulus=stream, hold=hold, dtype="float64", node_defaults=CLOCK)
    trace = sim.run(every=rows * hold - 1, sampled=["omega"])
    last = analysis.alignment(trace, rule=rule).cosine.isel(tick=-1)
    return np.array([[float(last.sel(group=f"{k} {layer}")) for layer in (1, 2, 3)] for k in range(NETS)])


@pytest.mark.parametrize("hold", HOLDS)
def test_samples_must_be_held_for_an_update_to_follow_the_gradient(hold: int) -> None:
    """Two standard errors of the difference of the means, and .01 for known means of two digits.

    Where updates know nothing the mean is 0: with 200 nets .007, -.030, -.012 and -.013, +- .02. The known
    .14 are two to three standard errors away from that.
    """
    found = cosines(hold)
    mean, deviation = found.mean(0), found.std(0, ddof=1)
    for layer, (measured, known, spread) in enumerate(zip(mean, HOLDS[hold], deviation, strict=True)):
        if layer in BLIND.get(hold, ()):
            assert abs(measured) < 3.0 * spread / np.sqrt(NETS)
        elif hold == 16:
            assert measured >= known
        else:
            assert measured == pytest.approx(
                known, abs=2.0 * spread * np.sqrt(1 / NETS + 1 / KNOWN_FROM) + 0.01
            )


# Cosine of omega and the gradient through time by period over time constant, for a recurrent net of eight.
PERIODS = {1: -0.95, 3: 0.16, 10: 0.83, 30: 0.98, 100: 1.0}


@pytest.mark.parametrize("ratio", PERIODS)
def test_a_recurrent_net_follows_the_gradient_of_slow_signals(ratio: int) -> None:
    """Within .1, for *one* net: eight tanh neurons with a time constant of ten ticks, sine in and sine out.

    Nets differ: the known values are those of a single one, and this one was picked because it is like that.
    At P/T = 1 all turn against the gradient, at P/T = 100 nearly all follow it; docs/theory.md has means of
    many.
    """
    rng = np.random.default_rng(3)
    recurrent, first = rng.normal(size=(8, 8)) * 0.3 / np.sqrt(8), rng.normal(size=8)
    phases = rng.uniform(0.0, 2.0 * np.pi, size=2)
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    for i in range(8):
        graph.add_node(f"n{i}", tau=10.0, **({"role": "output"} if i == 0 else {}))
        graph.add_edge("u", f"n{i}", weight=first[i])
        graph.add_edges_from((f"n{j}", f"n{i}", {"weight": recurrent[i, j]}) for j in range(8))
    period, rounds = 10 * ratio, 5 if ratio < 30 else 2
    turn = 2.0 * np.pi * np.arange(rounds * period + 1)[:, None] / period
    stream = Arrays(np.sin(turn + phases[0]), np.sin(turn + phases[1]))
    rule = Hamiltonian(beta=0.0, eta=0.0)
    sim = Simulation(graph, rule=rule, stimulus=stream, dtype="float64", node_defaults=CLOCK)
    trace = sim.run(every=period, sampled=["omega"])
    against = "recurrent" if ratio == 1 else "through_time"
    found = analysis.alignment(trace, against=against, of="change", rule=rule)
    assert found.cosine.sel(group="all").values[-1] == pytest.approx(PERIODS[ratio], abs=0.1)
