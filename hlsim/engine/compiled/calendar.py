"""The calendar, compiled: a heap of what is next, and messages in buckets by tick."""

from typing import Any

from hlsim.engine.compiled.layout import CHUNK, NEVER
from hlsim.engine.loops import entry, inner, tight


@tight
def coming(agenda: Any) -> int:
    """Return the first tick that holds anything."""
    return agenda.tick[agenda.heap[0]] if agenda.tally[0] else NEVER


@inner
def plan(heap: Any, place: Any, tick: Any, tally: Any, item: int, at: int) -> None:
    """Let an item come at a tick and at no other; NEVER: not at all."""
    if at < NEVER:
        tick[item] = at
        if place[item] < 0:
            place[item] = tally[0]
            heap[place[item]] = item
            tally[0] += 1
        _sink(heap, place, tick, tally[0], _rise(heap, place, tick, place[item]))
    elif place[item] >= 0:
        _take_out(heap, place, tick, tally, place[item])


@inner
def pop(agenda: Any) -> int:
    """Return the next item, and forget it."""
    item = agenda.heap[0]
    _take_out(agenda.heap, agenda.place, agenda.tick, agenda.tally, 0)
    return item


@inner
def _take_out(heap: Any, place: Any, tick: Any, tally: Any, at: int) -> None:
    place[heap[at]] = -1
    tally[0] -= 1
    last = heap[tally[0]]
    if at < tally[0]:
        heap[at], place[last] = last, at
        _sink(heap, place, tick, tally[0], _rise(heap, place, tick, at))


@inner
def _rise(heap: Any, place: Any, tick: Any, at: int) -> int:
    item = heap[at]
    while at > 0 and tick[heap[(at - 1) >> 1]] > tick[item]:
        above = (at - 1) >> 1
        heap[at] = heap[above]
        place[heap[at]] = at
        at = above
    heap[at], place[item] = item, at
    return at


@inner
def _sink(heap: Any, place: Any, tick: Any, size: int, at: int) -> None:
    item = heap[at]
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and tick[heap[below + 1]] < tick[heap[below]]:
            below += 1
        if tick[heap[below]] >= tick[item]:
            break
        heap[at] = heap[below]
        place[heap[at]] = at
        at = below
    heap[at], place[item] = item, at


# ---- messages


@tight
def neurons(agenda: Any) -> int:
    """Return how many items are neurons."""
    return len(agenda.heap) - len(agenda.buckets) - 1 - len(agenda.clocks)


@tight
def far_item(agenda: Any) -> int:
    """Return the item that stands for the messages that come too late for a bucket."""
    return len(agenda.heap) - 1 - len(agenda.clocks)


@tight
def bucket_of(agenda: Any, kind: int, tick: int) -> int:
    """Return where messages of a kind stand that arrive at a tick."""
    depth = len(agenda.buckets) // 2
    return kind * depth + tick % depth


@tight
def put(
    agenda: Any, bucket: int, tick: int, now: int, address: int, node: int, value: Any, sent: int
) -> None:
    """Put a value where it arrives at a tick, which may be now: the sender then sees to the bucket."""
    place = agenda.buckets[bucket]
    offset = place.count % CHUNK
    if offset == 0:
        agenda.tally[1] -= 1
        chunk = agenda.free[agenda.tally[1]]
        if place.count:
            agenda.after[place.last] = chunk
        else:
            place.first = chunk
            if tick > now:
                item = neurons(agenda) + bucket
                plan(agenda.heap, agenda.place, agenda.tick, agenda.tally, item, tick)
        place.last = chunk
    message = agenda.mail[place.last * CHUNK + offset]
    message.address, message.node, message.value = address, node, value
    if agenda.keeps_sent[0]:
        agenda.sent[place.last * CHUNK + offset] = sent
    place.count += 1
    agenda.tally[2] += 1


@inner
def empty(agenda: Any, bucket: int) -> None:
    """Forget the messages of a bucket."""
    place = agenda.buckets[bucket]
    chunk = place.first
    for _ in range((place.count + CHUNK - 1) // CHUNK):
        agenda.free[agenda.tally[1]] = chunk
        agenda.tally[1] += 1
        chunk = agenda.after[chunk]
    agenda.tally[2] -= place.count
    place.count = 0


@inner
def put_far(agenda: Any, kind: int, tick: int, address: int, node: int, value: Any, sent: int) -> None:
    """Send a value to arrive at a tick that is too late for a bucket."""
    far, at = agenda.far, agenda.tally[3]
    agenda.tally[3] += 1
    agenda.tally[2] += 1
    while at > 0 and far[(at - 1) >> 1].tick > tick:
        far[at] = far[(at - 1) >> 1]
        at = (at - 1) >> 1
    message = far[at]
    message.tick, message.kind, message.sent = tick, kind, sent
    message.address, message.node, message.value = address, node, value
    if at == 0:
        plan(agenda.heap, agenda.place, agenda.tick, agenda.tally, far_item(agenda), tick)


@inner
def bring_near(agenda: Any, now: int) -> None:
    """Put far messages that arrive now into their buckets."""
    far = agenda.far
    while agenda.tally[3] and far[0].tick == now:
        first = far[0]
        agenda.tally[2] -= 1
        bucket = bucket_of(agenda, first.kind, now)
        put(agenda, bucket, now, now, first.address, first.node, first.value, first.sent)
        _forget_first(far, agenda.tally)
    following = far[0].tick if agenda.tally[3] else NEVER
    plan(agenda.heap, agenda.place, agenda.tick, agenda.tally, far_item(agenda), following)


@inner
def _forget_first(far: Any, tally: Any) -> None:
    """Move the last of the heap down from its top to where it belongs."""
    tally[3] -= 1
    size, at, below = tally[3], 0, 1
    last = far[size]
    while below < size:
        if below + 1 < size and far[below + 1].tick < far[below].tick:
            below += 1
        if far[below].tick >= last.tick:
            break
        far[at] = far[below]
        at, below = below, 2 * below + 1
    far[at] = last


@entry
def clear_messages(agenda: Any) -> None:
    """Drop everything in flight."""
    items = neurons(agenda)
    for bucket in range(len(agenda.buckets)):
        empty(agenda, bucket)
        plan(agenda.heap, agenda.place, agenda.tick, agenda.tally, items + bucket, NEVER)
    agenda.tally[2] -= agenda.tally[3]
    agenda.tally[3] = 0
    plan(agenda.heap, agenda.place, agenda.tick, agenda.tally, far_item(agenda), NEVER)
