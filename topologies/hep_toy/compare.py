"""How far estimates of the gradient are off: by number of points, strength of the pull, delays."""

import json
from pathlib import Path

import numpy as np

from hlsim import experiment
from hlsim.network import Network

HERE = Path(__file__).parent
GRADIENT = json.loads((HERE / "weights.json").read_text())["gradient"]
NAMES = {"h1": ("W1", "b1", "x"), "h2": ("W2", "b2", "h1"), "y": ("W3", "b3", "h2")}


def true(network: Network) -> np.ndarray:
    """Return dL/dw of every edge that leads away from the inputs, NaN for those that lead back."""
    found = np.full(network.m, np.nan)
    for edge, (source, target) in enumerate(zip(network.source, network.target, strict=True)):
        layer, i = place(network, target)
        weights, bias, before = NAMES[layer]
        if source < 0:
            found[edge] = GRADIENT[bias][i]
        elif place(network, source)[0] == before:
            found[edge] = GRADIENT[weights][place(network, source)[1]][i]
    return found


def place(network: Network, node: int) -> tuple[str, int]:
    """Return the layer of a node and where it stands there."""
    layer, _, index = network.label[node].partition("[")
    return layer, int(index[:-1])


def error(*settings: str) -> float:
    """Return the relative error of the estimate."""
    simulation = experiment.load(HERE, settings).simulation()
    simulation.run(sampled=())
    gradient = true(simulation.network)
    forward = ~np.isnan(gradient)
    off = simulation.read("gradient")[0][forward] - gradient[forward]
    return float(np.linalg.norm(off) / np.linalg.norm(gradient[forward]))


def main() -> None:
    """Print a table."""
    nudges = (0.1, 0.3, 0.5)
    print("points " + "".join(f"{f'nudge {nudge}':>12}" for nudge in nudges))
    for points in (1, 2, 4, 10):
        row = [error(f"learning.points={points}", f"learning.nudge={nudge}") for nudge in nudges]
        print(f"{points:<7}" + "".join(f"{value:12.3g}" for value in row))
    late = error("network.parameters={ longest = 50 }", "learning.points=10", "learning.nudge=0.3")
    print(f"delays of 1 to 50 ticks, 10 points, nudge 0.3: {late:.3g}")


if __name__ == "__main__":
    main()
