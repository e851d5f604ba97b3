"""What becomes of messages on links that may fail, compiled: the numbers of ``hlsim.engine.chance``."""

from typing import Any

from numba.extending import overload

from hlsim.engine import chance
from hlsim.engine.links import LATE, LOST, SPELL
from hlsim.engine.loops import LINKED, inner
from hlsim.models.messages import MESSAGES

_KINDS, _PURPOSES, _GOLDEN = len(MESSAGES), SPELL + 1, chance.GOLDEN


# The text of these is that of ``chance``: they take whole numbers of 64 bits as they take tensors of them.
@overload(chance.shifted, LINKED, strict=False)
def _shifted(*_: Any) -> Any:
    return chance.shifted


@overload(chance.mixed, LINKED, strict=False)
def _mixed(*_: Any) -> Any:
    return chance.mixed


@inner
def uniform(key: int, tick: int, kind: int, purpose: int) -> float:
    """Return the number in [0, 1) that ``hlsim.engine.links.uniform`` does."""
    count = (tick * _KINDS + kind) * _PURPOSES + purpose
    bits: Any = chance.mixed(key ^ chance.mixed((count + 1) * _GOLDEN))  # type: ignore[arg-type,operator]
    return chance.shifted(bits, 11) * 2.0**-53  # type: ignore[return-value]


@inner
def fate(fates: Any, kind: int, edge: int, now: int) -> int:
    """Return after how many ticks a message that is sent now arrives, -1: never."""
    key = fates.key[edge]
    if fates.down[kind][edge] or uniform(key, now, kind, LOST) < fates.loss[kind][edge]:
        return -1
    late = int(uniform(key, now, kind, LATE) * (fates.jitter[kind][edge] + 1))
    return int(fates.delay[kind][edge]) + late
