"""The demonstration: learn digits locally and on line, beside gradient descent on the same stream."""

import subprocess
import sys
from pathlib import Path

from hlsim import baseline, experiment, trace

HERE = Path(__file__).parent
TRACES = HERE.parents[1] / "traces"
# Chosen, like beta, on 200 of the training images.
SGD_RATE = 0.02


def hlsim(*arguments: str | Path) -> None:
    """Run a command of hlsim as a user would."""
    words = [str(word) for word in arguments]
    print("$ hlsim", " ".join(words), flush=True)
    subprocess.run([sys.executable, "-m", "hlsim", *words], check=True)


def compare(path: Path) -> None:
    """Print the accuracy of a trace beside that of torch.optim.SGD on the same network and stream."""
    plan = experiment.load(HERE)
    seed = plan.settings.simulation.seed
    sgd = baseline.sgd(plan.network, plan.stream, plan.stages(), plan.loss(), lr=SGD_RATE, seed=seed)
    with trace.open(path) as record:
        local = record.summary["accuracy"]
    print("\nOne seed: two passes over 1400 images, then 397 others with the weights frozen.")
    print(f"  fully local Hamiltonian Learning, on line  {local['test']:.3f}")
    print(f"  torch.optim.SGD, backpropagation           {sgd['test']:.3f}\n")


def main() -> None:
    """Run, compare, analyse, draw."""
    path = TRACES / "digits.h5"
    hlsim("run", HERE, "-o", path, "--overwrite")
    compare(path)
    hlsim("analyze", path)
    hlsim("report", path, "--png", TRACES / "digits")


if __name__ == "__main__":
    main()
