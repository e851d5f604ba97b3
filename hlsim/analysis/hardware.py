"""What messages, operations and bytes cost on named hardware, every number with its source."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from hlsim.errors import ExperimentError, check_number, unknown

PICO, NANO = 1e-12, 1e-9
_FORM = {"source": "text", "energy": "a table", "time": "a table"}
# What costs something.
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "message": "message that is sent, one a synapse",
        "boundary": "message from a group to another, in addition",
        "synapse": "message that arrives: weight times value, added to a drive",
        "neuron": "update of a neuron",
        "learning": "update of a plastic synapse",
        "byte": "byte of a message",
    }
)


@dataclass(frozen=True)
class Hardware:
    """Energy and time of what a network does.

    Attributes
    ----------
    name, source : str
    energy, time : mapping of str to float
        By part, as in ``PARTS``, in J and s. What is left out counts nothing.

    Raises
    ------
    ExperimentError
        A part is not known, or a cost is no finite number >= 0.
    """

    name: str
    source: str
    energy: Mapping[str, float] = field(default_factory=dict)
    time: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for table in ("energy", "time"):
            for part, value in getattr(self, table).items():
                if part not in PARTS:
                    raise ExperimentError(f"hardware {self.name}: {table}: {unknown('part', part, PARTS)}")
                check_number(f"hardware {self.name}: {table}.{part}", value, least=0.0)


LOIHI = Hardware(
    name="loihi",
    source="Davies et al., IEEE Micro 38(1):82-99 (2018), table 2: spike within a tile, hop between tiles "
    "(mean of two directions), synaptic operation, update of an active neuron, pairwise update of a synapse",
    energy={
        "message": 1.7 * PICO,
        "boundary": 3.5 * PICO,
        "synapse": 23.6 * PICO,
        "neuron": 81.0 * PICO,
        "learning": 120.0 * PICO,
    },
    time={
        "message": 2.1 * NANO,
        "boundary": 5.3 * NANO,
        "synapse": 3.5 * NANO,
        "neuron": 8.4 * NANO,
        "learning": 6.1 * NANO,
    },
)
CMOS_45NM = Hardware(
    name="cmos_45nm",
    source="Horowitz, ISSCC 2014, pp. 10-14: 32-bit floating point, 3.7 pJ a multiplication and 0.9 pJ an "
    "addition (a synapse takes one of each, its learning three), 10 pJ for 8 bytes from a cache of 8 KiB",
    energy={"synapse": 4.6 * PICO, "learning": 13.8 * PICO, "byte": 1.25 * PICO},
)
PROFILES: Mapping[str, Hardware] = MappingProxyType({x.name: x for x in (LOIHI, CMOS_45NM)})


def load(name: str) -> Hardware:
    """Return a known profile, or that of a TOML file with ``source``, ``[energy]`` (J) and ``[time]`` (s).

    Raises
    ------
    ExperimentError
        There is no such profile or file, or it holds something else.
    """
    if name in PROFILES:
        return PROFILES[name]
    path = Path(name)
    if path.suffix != ".toml":
        raise ExperimentError(f"{unknown('hardware', name, PROFILES)}, or a file.toml")
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{path}: cannot read this hardware: {error}") from None
    for key, value in told.items():
        if key not in _FORM:
            raise ExperimentError(f"{path}: {unknown('key', key, _FORM)}")
        if isinstance(value, dict) == (key == "source"):
            raise ExperimentError(f"{path}: {key} must be {_FORM[key]}, got {value!r}")
    return Hardware(path.stem, told.get("source", str(path)), told.get("energy", {}), told.get("time", {}))
