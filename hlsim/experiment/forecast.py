"""What a run would take, told before anything is taken."""

from dataclasses import dataclass

import numpy as np

from hlsim.errors import ExperimentError
from hlsim.experiment.experiment import Experiment
from hlsim.models.rules.rule import Rule
from hlsim.simulation import memory
from hlsim.simulation.options import target_delay
from hlsim.stimulus import Stage
from hlsim.stimulus.stages import last_ticks, presented, row_ticks
from hlsim.topology.network import BIAS, Network
from hlsim.trace.layout import quantities, rates

EVENT_BYTES = 25  # /events without the value: tick, kind, node, edge, sent
NODE_BYTES, EDGE_BYTES = 100, 50  # /network, roughly
FILE_BYTES = 60_000  # an empty trace


@dataclass(frozen=True)
class Estimate:
    """What a run would take.

    Attributes
    ----------
    ticks, rows : int
        Length of the run, and how many rows of the stimulus it shows.
    messages : int
        Most messages there can be: every neuron sends whenever it may. Thresholds keep it lower.
    memory_bytes : int
        State of all replicas, with what the delays of neurons that are updated at every tick need.
    under_way_bytes : int
        Single messages on their way, for the most there can be.
    sampled_bytes : int
        Trace without events, before compression.
    event_bytes : int
        Events of the trace, before compression, for the most messages there can be.
    may_be_shorter : bool
        Whether phases may end before their time.
    """

    ticks: int
    rows: int
    messages: int
    memory_bytes: int
    under_way_bytes: int
    sampled_bytes: int
    event_bytes: int
    may_be_shorter: bool = False


def estimate(experiment: Experiment) -> Estimate:
    """Estimate a run from the network and the length of its stages; no tensor is made and no file written.

    Raises
    ------
    ExperimentError
        Nothing says how long the run is.
    """
    table, network = experiment.settings.simulation, experiment.network
    replicas, hold = table.batch * table.ensemble, experiment.settings.stimulus.hold
    ticks = run_ticks(experiment)
    rows = run_rows(experiment, ticks)
    item = np.dtype(table.dtype).itemsize
    rule = experiment.rule()
    messages = most_messages(network, rule, ticks, hold) * replicas
    updates = network.n * ticks * replicas
    taken = memory(network, rule, replicas=replicas, dtype=table.dtype, ticks=ticks)
    events = experiment.settings.record.events
    event_count = messages * ("message" in events) + updates * ("update" in events)
    columns = len(network.inputs) + len(network.outputs)
    fixed = FILE_BYTES + network.n * NODE_BYTES + network.m * EDGE_BYTES + len(network.graph)
    return Estimate(
        ticks=ticks,
        rows=rows * table.batch,
        messages=messages,
        memory_bytes=taken.state + taken.rings,
        under_way_bytes=taken.under_way,
        sampled_bytes=fixed + rows * replicas * columns * item + _samples(experiment, ticks, item),
        may_be_shorter=table.until is None and any(phase.settles for phase in (rule.free, *rule.phases())),
        event_bytes=event_count * (EVENT_BYTES + item * (2 if rule.complex_states else 1)),
    )


def run_ticks(experiment: Experiment) -> int:
    """Return how many ticks a run covers, at most where phases may end sooner.

    Raises
    ------
    ExperimentError
        Neither ``until`` nor the stages say so.
    """
    until, lengths = experiment.settings.simulation.until, stage_lengths(experiment)
    if until is not None:
        return until
    if lengths is None:
        raise ExperimentError(
            f"{experiment.path.name}: [simulation] until is needed where no stage says how long a run is"
        )
    return sum(ticks for _, ticks in lengths) + last_ticks(experiment.rule(), _late(experiment))


def _late(experiment: Experiment) -> int:
    """Return by how many ticks targets come later than inputs."""
    settings, rule = experiment.settings, experiment.rule()
    return target_delay(settings.stimulus.target_delay, experiment.network, rule, settings.learning.reset)


def run_rows(experiment: Experiment, ticks: int) -> int:
    """Return how many rows one replica is shown in so many ticks."""
    if experiment.stream is None:
        return 0
    hold = experiment.settings.stimulus.hold
    lengths = stage_lengths(experiment)
    if lengths is None:
        return -(-ticks // hold)
    shown, left = 0, ticks
    for rows, length in lengths:
        shown += min(rows, -(-left * rows // length)) if left > 0 and length else 0
        left -= length
    return shown


def stage_lengths(experiment: Experiment) -> list[tuple[int, int]] | None:
    """Return (rows shown to one replica, ticks) of every stage; None: there is no end, or no stimulus."""
    if experiment.stream is None:
        return None
    stages, hold = experiment.stages() or [Stage()], experiment.settings.stimulus.hold
    rows = presented(experiment.stream, stages, experiment.settings.simulation.batch)
    if rows is None:
        return None
    rule = experiment.rule()
    return [(count, count * row_ticks(rule, stage, hold)) for stage, count in zip(stages, rows, strict=True)]


def most_messages(network: Network, rule: Rule, ticks: int, hold: int) -> int:
    """Return the most messages that one replica can send."""
    interval = np.maximum(network.send_interval, np.where(network.clock, network.period, 1))
    sends = -(-ticks // np.where(network.is_input, np.maximum(interval, hold), interval))
    forward, backward = network.source != BIAS, network.carries_costates(rule)
    return int(sends[network.source[forward]].sum() + sends[network.target[backward]].sum())


def _samples(experiment: Experiment, ticks: int, item: int) -> int:
    """Return the bytes of /sampled before compression."""
    table, record, network = (
        experiment.settings.simulation,
        experiment.settings.record,
        experiment.network,
    )
    size = {"node": network.n, "edge": network.m}
    total = 0
    rule = experiment.rule()
    nodes = network.node_fields
    sampled = rule.sampled if record.sampled is None else record.sampled
    for name, every in rates(record.every, sampled, rule.synapse_fields, nodes).items():
        dims, _ = quantities(rule.synapse_fields, nodes)[name]
        replicas = table.ensemble if dims == ("edge",) else table.batch * table.ensemble
        replicas *= 2 if rule.complex_states and dims == ("node",) else 1
        total += -(-ticks // every) * replicas * int(np.prod([size[dim] for dim in dims])) * item
    return total
