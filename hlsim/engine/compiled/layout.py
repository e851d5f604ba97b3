"""What stands in the arrays on which compiled loops work, and where.

Neurons and edges are flat: neuron ``replica * nodes + node``, edge ``replica * edges + edge`` in storage
order.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]
# Losses by number; silent where there is none, or no target.
SILENT, SQUARED_ERROR, CROSS_ENTROPY = range(3)
# Messages that stand together in the calendar.
CHUNK = 32
# Room at the start, in ticks at which everybody sends.
CHUNKS_AHEAD = 2
# Ticks ahead of now for which there is a bucket: what arrives later waits elsewhere until it does.
NEAR = 2**12
# Later than any tick.
NEVER = 2**60


class Edges(NamedTuple):
    """Edges, and where those of a neuron begin and end.

    Attributes
    ----------
    start : structured (neuron + 1,)
        First position of a neuron's in-edges (``into``, flat edges themselves), of what it sends (``out``,
        ``back``), of the costates it hears (``hear``), of its row of ``rates``, and of what it sends that is
        read.
    out : structured (k,)
        State messages by sender: ``edge``, ``node`` it reaches, ``delay``.
    back : structured (k,)
        Costate messages by sender: ``edge``, ``node``, ``delay``, ``place`` among the costates heard, and
        ``fixed``: whether ``weight`` carries it and not w.
    far : int64 (k,)
        Delays of NEAR ticks or more; an edge has -1 - its place among them as its ``delay``.
    read : structured (edge,)
        Where the target reads what its source was ``delay`` ticks ago, and so hears of it without a message:
        ``source``, ``delay``, and ``back``, the ticks after which it adds r to what its source hears; -1: by
        messages. Those edges stand last in a neuron's part of ``out`` and ``back``, from ``out_read`` and
        ``back_read`` on: nothing is sent on them, but who listens is told of what would be.
    beta, plastic : (rate,)
        Of the in-edges of a neuron. Where all of them have the same, it reads a row that many share: it stays
        in the cache, and what else a synapse has is all that comes from memory.
    """

    start: Array
    out: Array
    back: Array
    far: Array
    beta: Array
    plastic: Array
    read: Array


class Values(NamedTuple):
    """What changes: the circuit's own neuron fields (neuron,) and synapse fields (edge,), see ``State``.

    ``s`` is the state that a synapse holds; a message may write it at once, since its neuron has integrated
    to the tick before. ``r`` holds the costates last heard, those of one neuron side by side.
    """

    h: Array
    z: Array
    a: Array
    q: Array
    f: Array
    df_dh: Array
    df_da: Array
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
    target : (neuron,)
    coupled : int64 (replica,)
        Tick at which the outputs of a replica were last made due together.
    sends, updates : int64 (2, neuron), (neuron,)
        Counts.
    lost : int64 (3,)
        Counts of messages that were overtaken, those of them that waited for a clock's tick, and lost ones.
    history, coming : (tick, neuron)
        What neurons sent, and what will be added to the costates that they hear, by tick modulo their length.
    carried : int64 (1,)
        The last tick at which what was sent is still read for the first time.
    boxes : bool (1,)
        Whether messages may wait for their neuron's tick, or overtake one another.
    inbox, state_arrived, costate_arrived : (edge,), (edge,), (place,)
        Then: states delivered, and the ticks at which what waits arrived, -1: nothing does.
    waiting : int64 (1,)
        States that wait.
    log_edge, log_value, log_ticks : (2, k)
        Messages of the running tick by kind, ``tally[1:]`` of them, and after how many ticks they arrive, -1:
        never; k = 0: nobody listens.
    """

    due: Array
    notes: Array
    outputs: Array
    target: Array
    coupled: Array
    sends: Array
    updates: Array
    lost: Array
    history: Array
    coming: Array
    carried: Array
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
    ``couples`` all, the ``levels`` and ``back_levels`` of instant neurons. ``kit``: the ``models`` and
    ``sigmas`` that are known, by number, and the ``rule``.
    """

    terms: Array
    kit: Any
    traits: Array
    parameters: Array
    edges: Edges
    values: Values
    agenda: Agenda
    work: Work
    fates: Fates
    stimulus: Array
