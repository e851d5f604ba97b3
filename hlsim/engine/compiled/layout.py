"""What stands in the arrays on which compiled loops work, and where.

Neurons and edges are flat: neuron ``replica * nodes + node``, edge ``replica * edges + edge`` in storage
order.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hlsim.models import messages

Array = NDArray[Any]
# Numbers by which loops are told something are of numpy: of each one of Python's they would be compiled anew.
_NUMBER: Any = np.int64
STATE, COSTATE = _NUMBER(messages.STATE), _NUMBER(messages.COSTATE)
# Losses by number; silent where there is none, or no target; other ones are Python's.
SILENT, SQUARED_ERROR, CROSS_ENTROPY, OTHER = range(4)
# What loops ask Python for: the gradient of an OTHER loss; a sweep over the blocks of level FIRST, by parts.
GRADIENT, PARTS = _NUMBER(0), _NUMBER(1)
# Messages that stand together in the calendar.
CHUNK = 32
# Room at the start, in ticks at which everybody sends.
CHUNKS_AHEAD = 2
# Ticks ahead of now for which there is a bucket: what arrives later waits elsewhere until it does.
NEAR = 2**12
# Later than any tick.
NEVER = 2**60
# Levels of a tick: before every instant neuron, and after them; between are the ranks of instant neurons.
FIRST, LATER = _NUMBER(-1), _NUMBER(2**30)
# Whom something is about: all, or those with a state alone.
ALL, STATEFUL = _NUMBER(0), _NUMBER(1)
# What a sweep over blocks does: what was put off, and add up drives; only what was put off; what instant
# neurons do in sequential order.
DRIVE, SETTLE, INSTANT = _NUMBER(0), _NUMBER(1), _NUMBER(2)
# Neurons that do something before or after all instant ones: that have a state, or are given one.
OTHERS = _NUMBER(-1)
# Parts of blocks: all of them, and what is in none.
ALL_PARTS, NO_PART = _NUMBER(-2), _NUMBER(-1)
# Of a block: costates are not sent back; are carried by no random weights.
NOT = -2


class Edges(NamedTuple):
    """Edges that carry single messages, and where those of a neuron begin and end.

    Attributes
    ----------
    start : structured (neuron + 1,)
        First position of a neuron's in-edges in ``w`` (``into``) and in ``s`` (``heard``), of what it sends
        (``out``, ``back``), of the costates it hears (``hear``), and of its row of ``rates``. One after the
        last stands in the next row, but for ``into``: ``heard`` says how many in-edges there are.
    out : structured (k,)
        State messages by sender: ``edge``, ``node`` it reaches, ``delay``.
    back : structured (k,)
        Costate messages by sender: ``edge``, ``at`` in ``w``, ``node``, ``delay``, ``place`` among the
        costates heard, and ``fixed``: whether ``weight`` carries it and not w.
    far : int64 (k,)
        Delays of NEAR ticks or more; an edge has -1 - its place among them as its ``delay``.
    impulse : bool (edge,)
        Which edges carry impulses, by flat edge; nothing (0,) where none does.
    beta, plastic : (rate,)
        Of the in-edges of a neuron. Where all of them have the same, it reads a row that many share: it stays
        in the cache, and what else a synapse has is all that comes from memory.
    """

    start: Array
    out: Array
    back: Array
    far: Array
    impulse: Array
    beta: Array
    plastic: Array


class Blocks(NamedTuple):
    """Synapses between synchronous neurons, in blocks; see ``hlsim.engine.compiled.blocks``.

    Their w and fields stand before those of the other edges of a replica.

    Attributes
    ----------
    rows : structured (block,)
        ``first`` synapse and the one after the ``last``; first of its ``sources`` and ``targets``, and the
        ``width`` of a matrix (target, source), 0: a synapse has a source and a target each. ``forward``: the
        level at which the drive is summed; ``backward``: the level at which costates are sent that are heard
        at once. Whether the targets are ``instant``. ``delay``; ``back``, the feedback delay, NOT: no
        costates; first of the random weights that ``carried`` them, NOT: w. ``plastic``; ``bias``: hears 1.
        ``rate``: where the weight rates stand, and whether every synapse has its ``own``. ``part``: no other
        part has the same targets; matrices are in NO_PART.
    levels : int64 (level + 1,)
        First row of every level of forward: FIRST, ranks, LATER.
    at_once, at_once_levels : int64 (k,), (level + 1,)
        Rows by level of backward, FIRST and ranks.
    source, target : uint32 (k,)
    rate : (k,)
    carried : (copies * k,)
    history : (tick, neuron)
        What neurons sent, by tick modulo its length.
    coming : (part * tick, neuron)
        What will be added to the costates that neurons hear.
    ones : (1, neuron)
        What a bias hears.
    scratch : (part, number)
    learned, own, sent : (neuron,)
        What synapses learn from, and what is sent back, when they are next gone over.
    then : structured (1,)
        Whether they learn (``learns``) and move by products (``correlates``) then, and send back (``sends``);
        the ``decay`` and the ``nudge`` with which they do.
    carrying : int64 (2,)
        The last tick at which what was sent is still read for the first time; the tick to come, where all
        neurons are synchronous.
    """

    rows: Array
    levels: Array
    at_once: Array
    at_once_levels: Array
    source: Array
    target: Array
    rate: Array
    carried: Array
    history: Array
    coming: Array
    ones: Array
    scratch: Array
    learned: Array
    own: Array
    sent: Array
    then: Array
    carrying: Array


class Sync(NamedTuple):
    """Synchronous neurons: those that update at every tick and send whatever changes.

    Attributes
    ----------
    runs : structured (run,)
        ``first`` node and the one after the ``last`` of a contiguous run that is alike; ``model``, ``sigma``,
        ``level`` and ``back_level`` (ranks of instant ones, LATER), and flags of the model.
    sends_state, sends_costate, learns : bool (node,)
    reach : int64 (node,)
        How many ticks at most until a state is read.
    mixed_in, mixed_out, mixed_back, mixed_hearing : int64 (k,)
        Neurons that have single messages too, by what those are to them.
    outputs : int64 (k,)
        Neurons that are outputs, by replica.
    sends : bool (2, neuron)
        Who sends at the running tick, by kind of message.
    """

    runs: Array
    sends_state: Array
    sends_costate: Array
    learns: Array
    reach: Array
    mixed_in: Array
    mixed_out: Array
    mixed_back: Array
    mixed_hearing: Array
    outputs: Array
    sends: Array


class Values(NamedTuple):
    """What changes: the circuit's own neuron fields (neuron,) and synapse fields (edge,), see ``State``.

    ``s`` is the state that an edge with messages holds; a message may write it at once, since its neuron has
    integrated to the tick before. ``r`` holds the costates last heard, those of one neuron side by side.
    """

    h: Array
    z: Array
    a: Array
    q: Array
    f: Array
    df_dh: Array
    df_da: Array
    fired: Array
    more: Array
    more_f: Array
    more_z: Array
    more_df_da: Array
    more_df_dh: Array
    pulled: Array
    pull: Array
    dl: Array
    g: Array
    heard: Array
    h_sent: Array
    q_sent: Array
    h_sent_at: Array
    q_sent_at: Array
    moved: Array
    updated: Array
    took_note: Array
    u: Array
    w: Array
    fields: tuple[Array, ...]
    s: Array
    r: Array


class Agenda(NamedTuple):
    """Calendar of wake-ups and of messages in flight, in memory that grows with neither time nor delays.

    Items are neurons that wake, then buckets of messages by kind and tick modulo their number, then the first
    of the messages that come too late for a bucket, then clocks.

    Attributes
    ----------
    heap, place, tick : int64 (item,)
        A binary heap of items, where each stands in it (-1: it does not), and the tick of each.
    buckets : structured (2 * depth,)
        ``first`` and ``last`` chunk of messages, and their ``count``.
    after, free : int64 (chunk,)
        The chunk after a chunk; a stack of those that are free.
    mail : structured (chunk * CHUNK,)
        ``address`` where a value goes, ``node`` it reaches, ``value``.
    sent : int64 (chunk * CHUNK,)
        The ticks at which those were sent; nothing (0,) where no link may fail.
    far : structured (room,)
        Messages that come later, a binary heap by ``tick``: their ``kind``, and what stands in ``mail``.
    tally : int64 (4,)
        Items in the heap, free chunks, messages in flight, and those of them in ``far``.
    clocks : structured (clock,)
        ``period``, and the ``first`` of its neurons in ``ticking`` and the one after the ``last``.
    ticking : int64 (neuron,)
        The clocked neurons, by clock.
    keeps_sent : bool (1,)
        Whether it is known when messages were sent, since they may overtake one another.
    """

    heap: Array
    place: Array
    tick: Array
    buckets: Array
    after: Array
    free: Array
    mail: Array
    sent: Array
    far: Array
    tally: Array
    clocks: Array
    ticking: Array
    keeps_sent: Array


class Work(NamedTuple):
    """What a tick keeps between its phases.

    Attributes
    ----------
    due : int64 (neuron,)
        The neurons due, in the order in which it turned out; ``tally[0]`` of them.
    notes : structured (neuron,)
        Tick at which a neuron was last ``due``; the state to which it relaxes, ``rest``; how long its running
        step lasts, ``duration``; whether it has ``heard`` a costate since it summed them; and whether it goes
        by the ``clock``.
    outputs : int64 (replica, output)
    target, gradient : (neuron,)
        Of outputs: targets; dL/dh as Python has it.
    coupled : int64 (replica,)
        Tick at which the outputs of a replica were last made due together.
    sends, updates : int64 (2, neuron), (neuron,)
        Counts.
    lost : int64 (3,)
        Counts of messages that were overtaken, those of them that waited for a clock's tick, and lost ones.
    boxes : bool (1,)
        Whether messages may wait for their neuron's tick, or overtake one another.
    inbox, state_arrived, costate_arrived : (edge,), (edge,), (place,)
        Then: states delivered, and the ticks at which what waits arrived, -1: nothing does.
    waiting : int64 (1,)
        States that wait.
    log_edge, log_value, log_ticks : (2, k)
        Messages of the running tick by kind, ``tally[1:]`` of them, and after how many ticks they arrive, -1:
        never; k = 0: nobody listens. Edges in blocks are counted on behind the others.
    """

    due: Array
    notes: Array
    outputs: Array
    target: Array
    gradient: Array
    coupled: Array
    sends: Array
    updates: Array
    lost: Array
    boxes: Array
    inbox: Array
    state_arrived: Array
    costate_arrived: Array
    waiting: Array
    log_edge: Array
    log_value: Array
    log_ticks: Array
    tally: Array


class Fates(NamedTuple):
    """What links do to messages, by kind and flat edge (edge,); nothing (0,) where none may fail.

    ``newest``: when what arrived last was sent, of states by edge, of costates by place.
    """

    may: Array
    key: Array
    down: tuple[Array, Array]
    delay: tuple[Array, Array]
    loss: tuple[Array, Array]
    jitter: tuple[Array, Array]
    newest: tuple[Array, Array]


class Net(NamedTuple):
    """All arrays of a circuit; ``traits`` are the constants of neurons, ``stimulus`` is added to drives.

    ``parameters`` (parameter, neuron) are those of a neuron's model, in its order. ``terms`` (1,) are what
    holds for all at a tick: ``dt``, ``phi``, ``nudge``, ``learning``, ``loss``, whether an output that is due
    ``couples`` all, the ``levels`` and ``back_levels`` of instant neurons; the address of what is asked
    ``outside``, whether that ``failed``, and whether the ``parts`` of blocks are computed there. ``kit``: the
    ``models`` and ``sigmas`` that are known, by number, and the ``rule``, once more as ``narrow``, with
    numbers in the format of synapses.
    """

    terms: Array
    kit: Any
    traits: Array
    parameters: Array
    edges: Edges
    blocks: Blocks
    sync: Sync
    values: Values
    agenda: Agenda
    work: Work
    fates: Fates
    stimulus: Array


# What changes in a run, by table, beside the circuit's own numbers, which are saved with it; of the agenda
# who wakes when and which messages there are, not how items stand in the heap and messages in chunks.
CHANGING: Mapping[str, tuple[str, ...]] = {
    "blocks": ("history", "coming", "sent", "then", "carrying"),
    "values": ("r",),
    "agenda": ("heap", "place", "tick", "buckets", "after", "free", "mail", "sent", "far", "tally"),
    "work": (
        "notes",
        "target",
        "coupled",
        "sends",
        "updates",
        "lost",
        "state_arrived",
        "costate_arrived",
        "waiting",
    ),
    "fates": ("newest",),
}
# What is made anew at every tick, and what follows from the circuit's own numbers.
SCRATCH: Mapping[str, tuple[str, ...]] = {
    "blocks": ("scratch", "learned", "own"),
    "work": ("due", "gradient", "tally", "log_edge", "log_value", "log_ticks"),
    "sync": ("sends",),
    "net": ("terms", "stimulus"),
}
