"""Messages over time and from group to group, against numbers worked out by hand and those of a run."""

from itertools import product

import numpy as np
import pytest
import xarray as xr

from hlsim import Simulation, analysis, topology
from hlsim.analysis import messages
from hlsim.stimulus import Arrays
from hlsim.trace import Trace
from tests.support.chain import CHAIN, TRAFFIC, recorder


def test_message_rates_count_arrivals_per_tick(by_hand: Trace) -> None:
    rate = analysis.message_rates(by_hand, bins=4)
    assert rate.kind.values.tolist() == ["state", "costate", "update"]
    assert rate.tick.values.tolist() == [0, 4, 8, 12]
    assert rate.sel(kind="state").values.tolist() == [4 / 4, 0, 0, 1 / 4]
    assert rate.sel(kind="costate").values.tolist() == [2 / 4, 0, 0, 1 / 4]
    assert rate.sel(kind="update").values.tolist() == [1 / 4, 0, 0, 0]


def test_the_last_bin_may_be_narrower(by_hand: Trace) -> None:
    """16 ticks in at most 3 bins: 6, 6 and 4; what the rates sum to are the messages."""
    rate = analysis.message_rates(by_hand, bins=3)
    assert rate.width.values.tolist() == [6, 6, 4]
    assert (rate * rate.width).sum("bin").values.tolist() == [5, 3, 1]


def test_events_are_counted_in_parts(by_hand: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = analysis.message_rates(by_hand)
    monkeypatch.setattr(messages, "PART", 2)
    xr.testing.assert_identical(analysis.message_rates(by_hand), whole)


def test_without_events_the_rates_are_means_of_the_run() -> None:
    rec = recorder()
    rec.finish("complete", {"ticks": 10, "state_messages": 50, "costate_messages": 20, "node_updates": 5})
    rate = analysis.message_rates(rec.trace())
    assert rate.sizes["bin"] == 1
    assert rate.squeeze("bin").to_series().to_dict() == {"state": 5.0, "costate": 2.0, "update": 0.5}


def test_groups_stand_in_order_of_their_distance_from_the_inputs(by_hand: Trace) -> None:
    assert analysis.groups(by_hand) == ["zone in", "middle", "arena"]


def test_traffic_is_looked_up_by_the_names_of_groups(by_hand: Trace) -> None:
    found = analysis.traffic(by_hand)
    pairs = ("arena", "middle"), ("middle", "arena"), ("middle", "zone in"), ("zone in", "middle")
    sent = dict(zip(pairs, TRAFFIC.tolist(), strict=True))
    for source, target in product(("arena", "middle", "zone in"), repeat=2):
        cell, count = found.sel(source=source, target=target), sent.get((source, target), 0)
        assert (cell.state.item(), cell.costate.item()) == (count, 10 * count)


def test_traffic_of_a_run_agrees_with_its_messages() -> None:
    """Counted by sending neurons in the engine, and by the events of the trace."""
    rows = np.random.default_rng(1).normal(size=(20, 2))
    sim = Simulation(
        CHAIN, stimulus=Arrays(rows[:, :1], rows[:, 1:]), hold=3, node_defaults={"update": "clock"}
    )
    with sim.run(events=["message"]) as trace:
        # with a delay of a tick, what is sent in the last one is on its way when the run ends
        arrived = analysis.traffic(trace)
        group, kind = trace["network/group"], trace["events/kind"]
        source, target = (trace[f"network/{end}"][trace["events/edge"]] for end in ("source", "target"))
        for name, number, ends in (("state", 0, (source, target)), ("costate", 1, (target, source))):
            sent, received = (group[end[kind == number]] for end in ends)
            for u, v in np.ndindex(3, 3):
                names = arrived.source.values[u], arrived.target.values[v]
                heard = ((sent == names[0]) & (received == names[1])).sum()
                assert 0 <= arrived[name].sel(source=names[0], target=names[1]).item() - heard <= 2
        assert arrived.state.sel(source="zone in", target="middle").item() > 30


def test_the_rates_of_a_second_call_begin_where_it_does() -> None:
    """Bin by bin those of one call, by the events of that; no tick before the first counts as silent."""

    def simulation() -> Simulation:
        graph = topology.layered([2, 4, 2], delay=3, seed=0)
        rows = np.random.default_rng(0).normal(size=(12, 2))
        stream = Arrays(rows, rows)
        return Simulation(graph, stimulus=stream, hold=5, node_defaults={"update": "clock"}, dtype="float64")

    events = ("message", "update")
    whole = simulation().run(until=60, every=1, events=events)
    cut = simulation()
    cut.run(until=24, every=1, events=events)
    rates = analysis.message_rates(cut.run(until=60, every=1, events=events), 9)
    assert rates.tick.values.tolist() == list(range(24, 60, 4))
    for k, kind in enumerate(("state", "costate", "update")):
        ticks = whole["events/tick"][whole["events/kind"] == k]
        expected = np.histogram(ticks, np.arange(24, 61, 4))[0] / 4.0
        assert expected.any()
        np.testing.assert_array_equal(rates.sel(kind=kind), expected)
