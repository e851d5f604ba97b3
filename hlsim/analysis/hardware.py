"""What messages, operations and bytes cost on named hardware, every number with its source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from hlsim.errors import ExperimentError, check_count, check_number, unknown
from hlsim.textdata import read_toml

PICO, NANO = 1e-12, 1e-9
_FORM = {
    "source": (str, "text"),
    "message_bits": (int, "a whole number"),
    "energy": (dict, "a table"),
    "time": (dict, "a table"),
}
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
    message_bits : int, optional
        Bits of the number that a message of this hardware carries; 0: a binary spike, that carries none.
        None: any number, what it costs being said by the byte or not at all.

    Raises
    ------
    ExperimentError
        A part is not known, a cost is no finite number >= 0, or bits are no whole number >= 0.
    """

    name: str
    source: str
    energy: Mapping[str, float] = field(default_factory=dict)
    time: Mapping[str, float] = field(default_factory=dict)
    message_bits: int | None = None

    def __post_init__(self) -> None:
        if self.message_bits is not None:
            check_count(f"hardware {self.name}: message_bits", self.message_bits, 0)
        for table in ("energy", "time"):
            for part, value in getattr(self, table).items():
                if part not in PARTS:
                    raise ExperimentError(f"hardware {self.name}: {table}: {unknown('part', part, PARTS)}")
                check_number(f"hardware {self.name}: {table}.{part}", value, least=0.0)

    def caveat(self, bits: int) -> str:
        """Return what is to be said beside costs of messages of so many bits; nothing where they are such."""
        if self.message_bits is None or bits <= self.message_bits:
            return ""
        theirs = f"messages of {self.message_bits} bits" if self.message_bits else "binary spikes"
        return (
            f"prices are those of {theirs}, messages of this run are numbers of {bits} bits: this is what as "
            f"many of the former would cost, not what {self.name} would need for the run"
        )


LOIHI = Hardware(
    name="loihi",
    message_bits=0,
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
# Hardware whose costs nobody has published, and what is known.
UNPRICED: Mapping[str, str] = MappingProxyType(
    {
        "loihi2": "spikes carry up to 32 bits (Intel, technology brief on Loihi 2, 2021), but what a spike, "
        "an operation or an update costs has not been published that we know of: measure it, give a file.toml"
    }
)
PROFILES: Mapping[str, Hardware] = MappingProxyType({x.name: x for x in (LOIHI, CMOS_45NM)})


def load(name: str) -> Hardware:
    """Return a known profile, or that of a TOML file.

    That has ``source``, ``message_bits``, ``[energy]`` (J) and ``[time]`` (s), each of which may be left out.

    Raises
    ------
    ExperimentError
        There is no such profile or file, it holds something else, or nobody knows what it should hold.
    """
    if name in PROFILES:
        return PROFILES[name]
    if name in UNPRICED:
        raise ExperimentError(f"hardware {name!r}: {UNPRICED[name]}")
    path = Path(name)
    if path.suffix != ".toml":
        raise ExperimentError(f"{unknown('hardware', name, PROFILES)}, or a file.toml")
    if not path.is_file():
        raise ExperimentError(f"{path}: no such file")
    try:
        told = read_toml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{path}: cannot read this hardware: {error}") from None
    for key, value in told.items():
        if key not in _FORM:
            raise ExperimentError(f"{path}: {unknown('key', key, _FORM)}")
        kind, form = _FORM[key]
        if not isinstance(value, kind):
            raise ExperimentError(f"{path}: {key} must be {form}, got {value!r}")
    return Hardware(path.stem, **{"source": str(path), **told})
