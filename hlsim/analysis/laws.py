"""What theory says of a trace that meets its conditions, to be laid over what was measured.

A law that does not apply says nothing: an empty result is no error. The derivations are in docs/theory.md.
"""

import networkx as nx
import numpy as np

from hlsim.analysis import ages
from hlsim.analysis.learned import is_still, learned_by, settings_of
from hlsim.topology.network import BIAS, SYMMETRIC, Network
from hlsim.trace import Trace
from hlsim.trace.network import network_of


def exact_from(trace: Trace) -> dict[str, int]:
    """Return the step from which each change of omega is backpropagation's gradient, by group of the target.

    See ``hlsim.analysis.ages.exact_from``. Applies where weights stay and nothing fades (eta = 0), one input
    is held and its loss felt from tick 0 on, omega is sampled at every tick, no loss couples outputs, and the
    network is feed-forward, of instant neurons and leaky ones with tau = dt, on a clock of one tick, without
    thresholds.

    Raises
    ------
    TraceError
        The trace has no experiment with the rule "hamiltonian".
    """
    learned = learned_by(trace)
    steady = bool(learned.learns.all() and (learned.phi == learned.phi[0]).all() and learned.phi[0] > 0)
    apart = settings_of(trace).get("loss", {}).get("kind") == "squared_error"
    network = network_of(trace)
    still = is_still(network, learned.rule)
    if not (steady and apart and learned.rule.eta == 0 and still and _is_held(trace)):
        return {}
    if not _is_local(network, float(trace.attrs["dt"])):
        return {}
    steps = ages.exact_from(network, learned.rule.order)
    group = np.array(network.group)[network.target]
    plastic = network.plastic & (network.source != BIAS)
    return {str(name): int(steps[plastic & (group == name)].max()) for name in sorted(set(group[plastic]))}


def _is_held(trace: Trace) -> bool:
    """Tell whether one input was there from the first tick on, and omega sampled at every tick."""
    ticks = trace.ticks("sampled/omega")
    shown = trace["stimulus/tick"]
    return shown.tolist() == [0] and ticks.size > 1 and bool((np.diff(ticks) == 1).all())


def _is_local(network: Network, dt: float) -> bool:
    """Tell whether all neurons work at every tick and say all they know, and the graph has no cycle."""
    model = np.array(network.model)
    inner = model != "input"
    tau = network.parameters.get("tau", np.full(network.n, dt))[model == "leaky"]
    telling = (network.send_threshold == 0) & (network.costate_threshold == 0)
    clocked = network.clock & (network.period == 1) & (network.phase == 0)
    real = network.source != BIAS
    back = real & inner[network.source]
    graph = nx.DiGraph(list(zip(network.source[real].tolist(), network.target[real].tolist(), strict=True)))
    return bool(
        np.isin(model, ("input", "leaky", "instant")).all()
        and (tau == dt).all()
        and telling[inner].all()
        and clocked[inner].all()
        and (network.send_interval == 1).all()
        and (network.feedback[back] == SYMMETRIC).all()
        and nx.is_directed_acyclic_graph(graph)
    )
