"""What the arrays of an engine take, told from a network before any is made."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlsim.engine.circuit.plan import in_projections, ring_numbers
from hlsim.engine.compiled.layout import CHUNK, CHUNKS_AHEAD, NEAR
from hlsim.models.messages import COSTATE, STATE
from hlsim.models.rules.rule import Rule
from hlsim.topology.network import BIAS, Network

# Bytes of whole numbers and of what the graph says: of a neuron; of a synapse, once and for every replica;
# and of one in a sparse projection, or that carries single messages, beyond those of one in a matrix.
_NEURON, _SYNAPSE, _COPY, _SPARSE, _SINGLE = 90, 105, 16, 34, 80
# A message on its way has an edge and a tick of 8 bytes each beside its value, and containers grow by halves.
_MESSAGE, _GROWTH = 16, 1.5


@dataclass(frozen=True)
class Memory:
    """Bytes, of all replicas.

    Attributes
    ----------
    state : int
        Neurons and synapses.
    rings : int
        What neurons that update at every tick have been, as far back as their longest delay, and what they
        will hear.
    under_way : int
        Messages on single edges, if every neuron sends whenever it may.
    """

    state: int
    rings: int
    under_way: int


def memory(network: Network, rule: Rule, *, replicas: int, dtype: str, ticks: int) -> Memory:
    """Estimate what a run of so many ticks takes, beside the program itself, within a factor of two.

    Parameters
    ----------
    replicas : int
        Members of an ensemble, or of a minibatch.
    dtype : str
        "float32" or "float64", of the numbers of synapses.
    """
    number = np.dtype(dtype).itemsize * (2 if rule.complex_states else 1)
    kept, sparse = ring_numbers(network, rule, replicas)
    single = ~in_projections(network, rule, replicas) & (network.source != BIAS)
    flight = sum(_most_under_way(network, rule, kind, single, ticks) for kind in (STATE, COSTATE))
    return Memory(
        state=_state(network, rule, replicas, number, np.dtype(dtype).itemsize, sparse, int(single.sum())),
        rings=kept * number,
        under_way=int(replicas * flight * (_MESSAGE + number) * _GROWTH)
        + _calendar(network, rule, single, replicas, number),
    )


def least_memory(network: Network, rule: Rule, *, replicas: int, dtype: str) -> int:
    """Return bytes that a run takes surely, found at once: those of the state alone."""
    item = np.dtype(dtype).itemsize
    # As a float: lags may be longer than any memory.
    kept = int(replicas * network.kept.sum(dtype=np.float64)) * item
    return kept + _state(network, rule, replicas, item * (2 if rule.complex_states else 1), item, 0, 0)


def _state(
    network: Network, rule: Rule, replicas: int, number: int, item: int, sparse: int, single: int
) -> int:
    fields = 1 + len(rule.synapse_fields)
    return (
        replicas * network.n * (16 * number + _NEURON)
        + network.m * (_SYNAPSE + network.weight.shape[0] * (_COPY + fields * item))
        + sparse * (_SPARSE + replicas * 3 * number)
        + single * replicas * (_SINGLE + 3 * (item + number))
    )


def _calendar(network: Network, rule: Rule, single: NDArray[np.bool_], replicas: int, number: int) -> int:
    """Return the bytes of what compiled loops keep free for messages on ``single`` edges (edge,)."""
    if not single.any():
        return 0
    messages = replicas * (int(single.sum()) + int((network.carries_costates(rule) & single).sum()))
    delays = network.delay[single], network.feedback_delay[single]
    longest = max(delay.max() for delay in delays)
    buckets = 2 * (min(int(longest), NEAR - 1) + 1)
    chunks = CHUNKS_AHEAD * min(messages, messages // CHUNK + buckets)
    return chunks * (CHUNK * (8 + number) + 16) + buckets * 56


def _most_under_way(network: Network, rule: Rule, kind: int, single: NDArray[np.bool_], ticks: int) -> int:
    """Return how many messages of a kind can be on their way at once on single edges of one replica."""
    delay, sender = (
        (network.delay, network.source) if kind == STATE else (network.feedback_delay, network.target)
    )
    chosen = single if kind == STATE else single & network.carries_costates(rule)
    between = np.maximum(network.send_interval, np.where(network.clock, network.period, 1))
    return int((-(-np.minimum(delay, ticks) // between[sender]))[chosen].sum())
