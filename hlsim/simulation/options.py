"""What a simulation can be told, checked and made ready."""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np

from hlsim.engine.build import DTYPES
from hlsim.engine.clock import Clock
from hlsim.engine.controls import Changes, Controls
from hlsim.engine.memory import least_memory, memory
from hlsim.errors import (
    LARGEST,
    ExperimentError,
    StimulusError,
    StimulusWarning,
    check_count,
    check_memory,
    is_count,
    plain,
    shown,
    unknown,
)
from hlsim.models.losses import LOSSES, Loss
from hlsim.models.neurons import ACTIVATIONS, TAKEN
from hlsim.models.rules.phi import form
from hlsim.models.rules.rule import Rule, missing_hold
from hlsim.simulation.faults import FaultProcess, Faults
from hlsim.simulation.noise import Noise, NoiseProcess
from hlsim.stimulus import OneHot, Stage, Stream
from hlsim.stimulus.stages import length
from hlsim.topology.network import Network, check_stability, flatten
from hlsim.topology.timing import path_ticks

# Every thread has a stack: so many that none is left end the process, and not with an error.
MOST_THREADS = max(64, os.cpu_count() or 1)


def controls(
    network: Network,
    rule: Rule,
    faults: Faults | None,
    seeds: Sequence[int],
    batch: int,
    listener: Callable[[Changes], None],
) -> Controls:
    """Return the controls of a network, with who listens; they hold the links that faults may touch."""
    touchable = None if faults is None else faults.touchable(network, rule, seeds)
    for i in np.flatnonzero(network.lag)[:1] if touchable is not None else []:
        raise ExperimentError(
            f"faults: must be none where neurons have a lag, since a message that is lost or late would meet "
            f"what it does not belong to, got node {network.label[i]!r} with lag {network.lag[i]}"
        )
    if touchable is not None and batch > 1:
        raise ExperimentError(
            f"simulation.batch: must be 1 with faults, since replicas that share synapses share no message, "
            f"got {batch}"
        )
    columns = len(network.inputs), len(network.outputs)
    made = Controls(batch * len(seeds), *columns, network.n, phases=rule.nudges, touchable=touchable)
    made.listen(listener)
    return made


def noise_process(
    noise: Noise | None,
    controls: Controls,
    seeds: Sequence[int],
    batch: int,
    labels: Sequence[str],
    env: Clock,
) -> NoiseProcess | None:
    """Return what draws the noise, begun; None: there is none."""
    if noise is None:
        return None
    process = NoiseProcess(noise, controls, seeds, batch, labels)
    process.begin(env)
    return process


def fault_process(faults: Faults | None, controls: Controls, rule: Rule, env: Clock) -> FaultProcess | None:
    """Return what lets faults happen, begun; None: there are none."""
    if faults is None or controls.touchable is None:
        return None
    process = FaultProcess(faults, controls, controls.touchable, rule)
    process.begin(env)
    return process


def target_delay(given: int | str, network: Network, rule: Rule, reset: bool) -> int:
    """Return by how many ticks targets come later than inputs; "matched": by the path to the outputs.

    Raises
    ------
    ExperimentError
        It is something else, or later rows would be gone by then.
    TopologyError
        There is not one path length, see ``hlsim.topology.timing.path_ticks``.
    """
    where, given = "stimulus.target_delay", plain(given)
    matched = given == "matched"
    if not (matched or is_count(given, 0)):
        raise ExperimentError(
            f"{where}: must be 'matched' or a whole number of ticks >= 0, got {shown(given)}"
        )
    if not given:
        return 0
    if rule.nudges:
        raise ExperimentError(
            f"{where}: must be 0 for rule {rule.name!r}, which waits for each row, got {given!r}"
        )
    if reset:
        raise ExperimentError(
            f"{where}: must be 0 with resets, which forget rows that are on their way, got {given!r}"
        )
    return path_ticks(vars(network)) if matched else int(given)


def network(
    given: nx.DiGraph | Network,
    seed: int,
    ensemble: int,
    dt: float,
    node_defaults: Mapping[str, Any] | None,
    edge_defaults: Mapping[str, Any] | None,
) -> Network:
    """Return the network of a graph, with weights for every member of an ensemble, or the one given."""
    if not isinstance(given, Network):
        seeds = range(seed, seed + ensemble)
        return flatten(given, node_defaults=node_defaults, edge_defaults=edge_defaults, seeds=seeds, dt=dt)
    if node_defaults or edge_defaults:
        raise ExperimentError("simulation: defaults are for graphs, a Network has its own already")
    if len(given.weight) != ensemble:
        raise ExperimentError(
            f"simulation.ensemble: a Network must hold weights for each member, got {len(given.weight)} for "
            f"{ensemble}"
        )
    return given


def padded(network: Network) -> dict[str, dict[str, int]]:
    """Return what a summary says of delays that were balanced; nothing of a network whose delays stand."""
    edges, longest = int((network.padding > 0).sum()), int(network.padding.max(initial=0))
    return {"padding": {"edges": edges, "longest": longest}} if edges else {}


def loss(kind: str | Loss | None) -> Loss | None:
    """Return the loss of a name, or the one given."""
    if kind is None or isinstance(kind, Loss):
        return kind
    if kind == "none":
        return None
    if kind not in LOSSES:
        raise ExperimentError(f"loss.kind: {unknown('loss', kind, (*LOSSES, 'none'))}")
    return LOSSES[kind]


def check_rule(network: Network, rule: Rule, loss: Loss | None, dt: float, batch: int = 1) -> None:
    """Refuse what the rule cannot do on this network, or not in a minibatch."""
    check_stability(network, dt, rule.eta)
    _check_forms(network, rule)
    _check_rich(network, rule)
    _check_batch(network, rule, batch)
    _check_lags(network, rule)
    if rule.nudges:
        _check_nudged(network, rule, loss)
        return
    _check_directed(network, rule)
    arrival = np.flatnonzero(~network.clock & ~network.is_input)
    if not len(arrival) or not rule.takes_steps:
        return
    label = network.label[int(arrival[0])]
    if rule.order == "sequential":
        raise ExperimentError(
            f"learning.order: sequential needs update = 'clock', got node {label!r} on arrival"
        )
    if rule.weight_decay:
        raise ExperimentError(
            f"learning.weight_decay: must be 0 where a node is updated on arrival, got {rule.weight_decay:g} "
            f"with node {label!r}"
        )


def _check_forms(network: Network, rule: Rule) -> None:
    """Refuse formulas that nobody would ask for, and fields that nobody could tell apart."""
    for name in sorted(set(TAKEN) & rule.synapse_fields.keys()):
        raise ExperimentError(f"rule {rule.name!r}: a field of synapses cannot be called {name!r}")
    if rule.nudges and rule.takes_steps:
        raise ExperimentError(f"rule {rule.name!r}: has phases, and so its synapses take no steps of Euler")
    if rule.takes_steps and not (rule.apart or rule.sends_costates):
        raise ExperimentError(
            f"rule {rule.name!r}: sends no costates, so synapse_euler would be told nothing but 0; "
            f"give synapse() instead"
        )
    if rule.sequential and not rule.sends_costates:
        raise ExperimentError(
            f"learning.order: has no meaning for rule {rule.name!r}, which sends no costates"
        )
    if rule.apart and rule.weight_decay:
        raise ExperimentError(
            f"learning.weight_decay: must be 0 for rule {rule.name!r}, whose synapses move by a formula of "
            f"their own, got {rule.weight_decay:g}"
        )
    why = None if rule.nudges or not rule.takes_steps else missing_hold(rule)
    for i in np.flatnonzero(~network.clock & ~network.is_input)[:1] if why else []:
        raise ExperimentError(
            f"rule {rule.name!r}: node {network.label[i]!r} must be updated by the clock, as {why}"
        )


def _check_rich(network: Network, rule: Rule) -> None:
    """Neurons with several fields, or that send impulses, are not for every rule."""
    for name in sorted(network.node_fields.keys() & rule.synapse_fields.keys()):
        raise ExperimentError(
            f"rule {rule.name!r}: {name!r} is a field of its synapses and of neurons as well"
        )
    for i in np.flatnonzero(network.rich)[:1] if rule.nudges else []:
        raise ExperimentError(
            f"node {network.label[i]!r}: rule {rule.name!r} needs neurons with one state that they send, got "
            f"model {network.model[i]!r}"
        )
    for i in np.flatnonzero(network.emits)[:1] if rule.sends_costates else []:
        raise ExperimentError(
            f"node {network.label[i]!r}: rule {rule.name!r} sends costates, derivatives of what is sent, and "
            f"impulses of model {network.model[i]!r} have none; 'fixed' and rules of synapse() need none"
        )


def _check_lags(network: Network, rule: Rule) -> None:
    """Refuse lags where a costate cannot meet what it belongs to."""
    for i in np.flatnonzero(network.lag)[:1]:
        where = f"node {network.label[i]!r}: lag"
        if not rule.sends_costates or rule.apart:
            what = "synapses see both sides" if rule.apart else "neurons send no costates"
            raise ExperimentError(
                f"{where} has no meaning for rule {rule.name!r}, whose {what}, got {network.lag[i]}"
            )
    for i in np.flatnonzero((network.lag > 0) & network.stateful)[:1]:
        where = f"where leaky node {network.label[i]!r} has a lag"
        instead = "an instant one with a tick more of delay is the same network"
        if rule.eta:
            raise ExperimentError(
                f"learning.eta: must be 0 {where}, since costates of one tick would fade into the next, "
                f"got {rule.eta:g}; {instead}"
            )
        if rule.sequential:
            raise ExperimentError(
                f"learning.order: must be 'explicit' {where}, got 'sequential', in which its synapses learn "
                f"a tick before it sends; {instead}"
            )


def _check_batch(network: Network, rule: Rule, batch: int) -> None:
    """Refuse a minibatch where replicas that share synapses would need more than means of products."""
    if batch > 1 and rule.apart:
        raise ExperimentError(
            f"simulation.batch: must be 1 for rule {rule.name!r}, whose synapses see both sides, got {batch}"
        )
    for i in np.flatnonzero(network.rich)[:1] if batch > 1 else []:
        where = f"node {network.label[i]!r} of model {network.model[i]!r}"
        raise ExperimentError(f"simulation.batch: must be 1 with {where}, got {batch}")


def _check_directed(network: Network, rule: Rule) -> None:
    """A rule with costates has no use for couplings that stay equal, nor for nodes that send a pull."""
    coupled = np.flatnonzero(network.twin >= 0)
    if len(coupled):
        ends = (network.label[ends[coupled[0]]] for ends in (network.source, network.target))
        raise ExperimentError(
            "graph: edges must have a direction for rule {!r}, got a symmetric one between {!r} and {!r}; "
            "use .to_directed(), without edges into inputs".format(rule.name, *ends)
        )
    for i in np.flatnonzero(network.reads_out)[:1]:
        raise ExperimentError(
            f"node {network.label[i]!r}: model {network.model[i]!r} needs a rule that nudges, "
            f"got {rule.name!r}"
        )


def _check_nudged(network: Network, rule: Rule, loss: Loss | None) -> None:
    """A pull needs a loss; complex states need functions that are holomorphic."""
    if loss is None:
        raise ExperimentError(f"loss.kind: rule {rule.name!r} needs a loss that pulls, got none")
    if not rule.complex_states:
        return
    why = f"rule {rule.name!r} has complex states and needs what is holomorphic, complex differentiable"
    if not loss.holomorphic:
        raise ExperimentError(f"loss.kind: {why}, got {loss.name!r}")
    for label, name in zip(network.label, network.activation, strict=True):
        if not ACTIVATIONS[name].holomorphic:
            raise ExperimentError(f"node {label!r}: activation: {why}, got {name!r}")


def learning(rule: Rule, loss: Loss | None, stages: Sequence[Stage]) -> dict[str, Any]:
    """Return what a run learns by, in the form of an experiment: an analysis has it from there."""
    plain = {name: x for name, x in vars(rule).items() if isinstance(x, bool | int | float | str)}
    of_stages = []
    for stage in stages:
        own = {} if stage.phi is None else {"phi": form(stage.phi)}
        of_stages.append({"name": stage.name, "learn": stage.learn, **own})
    return {
        "learning": {"rule": rule.name, **plain, "phi": form(rule.phi)},
        "loss": {"kind": "none" if loss is None else loss.name},
        "stage": of_stages,
    }


def sampled(rule: Rule, names: Iterable[str] | None) -> tuple[str, ...]:
    """Return what is sampled; None: all that tells much."""
    chosen = rule.sampled if names is None else tuple(names)
    if "z" in chosen and not rule.sends_costates:
        raise ExperimentError(f"record: z is sampled with costates, which rule {rule.name!r} has not")
    return chosen


def check_counts(**counts: object) -> None:
    """Refuse what is no whole number >= 1, two kinds of replica at once, and threads without end."""
    for name, value in counts.items():
        check_count(f"simulation.{name}", value, below=MOST_THREADS + 1 if name == "threads" else LARGEST)
    batch, ensemble = counts["batch"], counts["ensemble"]
    if batch != 1 and ensemble != 1:
        raise ExperimentError(
            f"simulation: batch and ensemble exclude each other, got {batch} and {ensemble}"
        )


# Engines call this tick never.
MOST_TICKS = 2**60
# Bytes of state below which nobody asks whether there is room for what is kept of it over ticks.
_ROOMY = 2**30


def check_room(network: Network, rule: Rule, replicas: int, dtype: str) -> None:
    """Refuse a network whose state no memory here holds, before any is taken."""
    number = dtype if dtype in DTYPES else "float32"  # one that is not known is refused later
    where = f"simulation: {replicas} replicas of {network.n} nodes"
    least = least_memory(network, rule, replicas=replicas, dtype=number)
    check_memory(where, least)
    # What projections keep takes as much again to be found as a build does: only where it may matter.
    if least > _ROOMY:
        taken = memory(network, rule, replicas=replicas, dtype=number, ticks=1)
        check_memory(where, taken.state + taken.rings)


def check_stages(rule: Rule, stages: Sequence[Stage], hold: int) -> None:
    """Refuse two of one name, and what cannot be asked of a rule with phases: a phi, or no time to settle."""
    names = [stage.name for stage in stages]
    for name in (name for name in names if names.count(name) > 1):
        raise ExperimentError(f"stage {name!r}: is there twice, and stages are told apart by their names")
    if not rule.nudges:
        return
    for stage in stages:
        if stage.phi is not None:
            raise ExperimentError(f"stage {stage.name!r}: phi has no meaning for rule {rule.name!r}")
        if (stage.hold or hold) < 2:
            raise ExperimentError(
                f"stimulus.hold: a phase of rule {rule.name!r} needs more than 1 tick to settle, got "
                f"{stage.hold or hold}"
            )


def expected_ticks(
    given: Stream | None, stages: Sequence[Stage] | None, rule: Rule, hold: int, batch: int
) -> float:
    """Return how many ticks the stages of a run last; infinity: they have no end; 0: there are none."""
    if given is None:
        return 0
    ticks = length(given, [Stage()] if stages is None else stages, rule, hold, batch)
    return math.inf if ticks is None else ticks


def stream(given: Stream, network: Network, loss: Loss | None) -> Stream:
    """Return the stream that a network is shown: with a loss, labels without targets become targets.

    Raises
    ------
    StimulusError
        Its columns are not the network's inputs and outputs.
    """
    outputs = len(network.outputs)
    for what, role, columns, nodes in (
        ("input", "input", given.n_input, len(network.inputs)),
        ("target", "output", given.n_output, outputs),
    ):
        if columns != nodes and not (what == "target" and columns == 0):
            raise StimulusError(f"stimulus: {columns} {what} columns for {nodes} nodes of role '{role}'")
    labelled = given.n_output == 0 and given.classes != 0
    return OneHot(given, outputs) if loss is not None and outputs and labelled else given


def check_taught(stream: Stream, stages: Sequence[Stage], network: Network, loss: Loss | None) -> None:
    """Refuse a stage that would learn from rows none of which can have a target."""
    if loss is None or stream.n_output or not len(network.outputs):
        return
    for stage in (stage for stage in stages if stage.learn):
        raise StimulusError(
            f"stage {stage.name!r}: learns, but no row of the stimulus has a target or a label; give some, "
            f"or say learn = false, or that there is no loss"
        )


def check_filled(stream: Stream, stages: Sequence[Stage], batch: int) -> None:
    """Refuse a stage of fewer rows than a minibatch; warn of rows that are left over.

    They are left out where a stage learns: the mean over fewer gradients would be another step.
    """
    for stage in (stage for stage in stages if stage.learn):
        rows = stage.length(stream)
        if rows is None:
            continue
        if rows < batch:
            raise StimulusError(
                f"stage {stage.name!r}: must have rows for a batch of {batch} to learn from, got {rows}"
            )
        if left := rows % batch:
            warnings.warn(
                f"stage {stage.name!r}: {left} of {rows} rows fill no batch of {batch} and are left out",
                StimulusWarning,
                stacklevel=2,
            )
