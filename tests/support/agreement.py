"""What it means that two engines agree on a case, message by message and tick by tick."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hlsim import Simulation
from hlsim.topology.network import Network
from hlsim.trace.layout import FAULTS
from hlsim.trace.reader import Trace
from tests.support.graphs import Case, run

ENGINES = ("batched", "reference")
# Options of a simulation that make an engine of it; compiled loops have tests of their own.
BATCHED: Mapping[str, Any] = {"engine": "batched", "compiled": "never"}
COMPILED: Mapping[str, Any] = {"engine": "batched", "compiled": "always"}
REFERENCE: Mapping[str, Any] = {"engine": "reference"}
TOLERANCE = 1e-12


@dataclass(frozen=True)
class Run:
    """What one engine made of a case.

    counts : state sends, costate sends and updates of every neuron (tick, 3, node), as of the end of a tick
    message : (kind, edge, sent) -> (tick of arrival, -1: lost; value); update : (tick, node)
    """

    trace: Trace
    counts: NDArray[np.int64]
    overtaken: tuple[int, int]
    in_flight: int
    message: dict[tuple[int, int, int], tuple[int, float]]
    update: set[tuple[int, int]]


def observed(case: Case, until: int, **engine: Any) -> Run:
    counts: list[NDArray[np.int64]] = []

    def count(sim: Simulation) -> None:
        now = sim.counts()
        counts.append(np.stack([now[name][0] for name in ("state", "costate", "updates")]))

    sim, trace = run(case, until, count, **engine)
    now = sim.counts()
    columns = (trace[f"events/{name}"].tolist() for name in ("kind", "edge", "sent", "tick", "node", "value"))
    events = list(zip(*columns, strict=True))
    columns = (trace[f"faults/{name}"].tolist() for name in ("what", "kind", "edge", "tick", "value"))
    lost = [row[1:] for row in zip(*columns, strict=True) if FAULTS[row[0]] == "lost"]
    assert len(lost) == now["lost"][0]
    return Run(
        trace,
        np.array(counts),
        (int(now["overtaken"][0]), int(now["replaced"][0])),
        int(now["in_flight"][0]),
        {event[:3]: (event[3], event[5]) for event in events if event[0] < 2}
        | {row[:3]: (-1, row[3]) for row in lost},
        {event[3:5] for event in events if event[0] == 2},
    )


def assert_agree(
    case: Case, until: int, engine: Mapping[str, Any] = BATCHED, oracle: Mapping[str, Any] = REFERENCE
) -> int:
    """Compare two engines, given by their options, on a case; return how many ticks could be compared.

    Two correct engines may part where the last bit of a number decides: at threshold 0 a value that stands
    still may differ from what was last sent in one of them. What is then sent is what is known, but it may
    keep the next message waiting (send_interval), or update a neuron that would have been updated later.
    """
    batched, reference = (observed(case, until, **options) for options in (engine, oracle))
    assert_moves(reference.trace, until)
    parted = np.flatnonzero((batched.counts != reference.counts).any((1, 2)))
    ticks = int(parted[0]) if len(parted) else until
    if len(parted):
        _assert_a_matter_of_the_last_bit(case, batched, reference, ticks)
    else:
        assert batched.overtaken == reference.overtaken
    _assert_same_events(batched, reference, ticks)
    ticks = until if _robust(case) else ticks
    for name in case.options["rule"].sampled:
        mine, other = (each.trace[f"sampled/{name}"][:ticks] for each in (batched, reference))
        np.testing.assert_allclose(mine, other, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
    return ticks


def assert_moves(trace: Trace, until: int) -> None:
    """Engines that do nothing agree: states have to be other ones than at first, and messages to travel."""
    states = trace["sampled/h"]
    assert len(states) == until
    assert (states[-1] != states[0]).any()
    assert len(trace["events/sent"]) > 0


def _assert_a_matter_of_the_last_bit(case: Case, batched: Run, reference: Run, tick: int) -> None:
    network = case.network
    silent = np.minimum(network.send_threshold, network.costate_threshold)
    kinds, nodes = np.nonzero(batched.counts[tick] != reference.counts[tick])
    for kind, node in zip(kinds.tolist(), nodes.tolist(), strict=True):
        if kind < 2:
            assert (network.send_threshold, network.costate_threshold)[kind][node] == 0
        else:
            assert case.arrival[node]
            assert (silent == 0).any()
    resets = [at for at, name, _ in case.script if name == "reset" and at <= tick]
    for mine, other in ((batched, reference), (reference, batched)):
        for key in [key for key in mine.message if key[2] == tick and key not in other.message]:
            before = _before(mine, network, key, max(resets, default=0))
            assert before is None or abs(mine.message[key][1] - before) < TOLERANCE


def _robust(case: Case) -> bool:
    """Tell whether a message that says what is known changes nothing else.

    Where messages are lost, what the sender told may be news to the receiver.
    """
    if case.options.get("faults") is not None:
        return False
    clocked = case.network.clock
    return bool((clocked | (np.array(case.network.model) == "input")).all()) and bool(
        (case.network.send_interval[clocked] == 1).all()
    )


def _before(mine: Run, network: Network, key: tuple[int, int, int], since: int) -> complex | None:
    """Return what was last sent on an edge before a tick and since a reset; 0 where nothing was.

    None: a later reset has dropped it, so that it is in no trace. It is known by what the neuron sent at the
    same time on its other edges.
    """
    kind, edge, sent = key
    sender = (network.source, network.target)[kind]
    mates = set(np.flatnonzero(sender == sender[edge]).tolist())
    earlier = [at for what, on, at in mine.message if what == kind and on in mates and since <= at < sent]
    return mine.message.get((kind, edge, max(earlier)), (0, None))[1] if earlier else 0.0


def _assert_same_events(batched: Run, reference: Run, ticks: int) -> None:
    mine, oracle = (
        {key: value for key, value in each.message.items() if key[2] < ticks} for each in (batched, reference)
    )
    assert mine.keys() == oracle.keys()
    for key, (arrival, value) in mine.items():
        assert arrival == oracle[key][0]
        assert value == pytest.approx(oracle[key][1], rel=TOLERANCE, abs=TOLERANCE)
    assert {u for u in batched.update if u[0] < ticks} == {u for u in reference.update if u[0] < ticks}
