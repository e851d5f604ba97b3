"""When machine code made at run time stands in for torch.

Where a loop over synapses is the whole cost of a run, it is written a second time as a plain loop that numba
compiles. Torch computes the same without it, to round-off.
"""

import importlib.util

from hlsim.errors import ExperimentError, unknown

MODES = ("auto", "always", "never")

# Below so many synapses starting the compiler costs more than it saves. It saves more where neurons update on
# arrival: there a tick takes torch milliseconds, however small the network.
_LEAST, _LEAST_ON_ARRIVAL = 2_000, 200


def wanted(mode: str, synapses: int, device: str = "cpu", *, on_arrival: bool = False) -> bool:
    """Tell whether a run uses compiled loops where there are any.

    Parameters
    ----------
    mode : str
        "auto": on a CPU, where numba is installed and the network is large; "always": on a CPU; "never".
    synapses : int
        How many the network has.
    device : str
        Type of the device; the loops are for a CPU.
    on_arrival : bool
        Whether all neurons update on arrival.
    """
    if mode not in MODES:
        raise ExperimentError(f"simulation: {unknown('compiled', mode, MODES)}")
    least = _LEAST_ON_ARRIVAL if on_arrival else _LEAST
    if mode == "never" or (mode == "auto" and synapses < least):
        return False
    installed = importlib.util.find_spec("numba") is not None
    if mode == "always" and device != "cpu":
        raise ExperimentError(f"simulation.compiled: always needs device = 'cpu', got {device!r}")
    if mode == "always" and not installed:
        raise ExperimentError("simulation.compiled: always needs numba (pip install numba)")
    return installed and device == "cpu"
