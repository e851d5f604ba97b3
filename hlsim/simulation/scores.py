"""How rows went: losses and accuracies by stage."""

import numpy as np
from numpy.typing import NDArray

from hlsim.simulation.protocol import Presentation


class Scores:
    """How the rows of every stage ended: mean loss, and accuracy where there are classes."""

    def __init__(self) -> None:
        self._right: dict[str, list[int]] = {}
        self._loss: dict[str, list[float]] = {}

    def add(
        self, shown: Presentation, y: NDArray[np.float64], loss: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Take outputs (replica, output) and loss (replica,) at a row's last tick; return the predictions.

        A prediction is the largest output, -1 where the row has no label.
        """
        classes = y.shape[1] > 1
        known = (shown.label >= 0) & classes
        prediction = np.where(known, y.argmax(1) if classes else -1, -1)
        right = self._right.setdefault(shown.stage.name, [0, 0])
        total = self._loss.setdefault(shown.stage.name, [0.0, 0])
        right[0] += int((prediction == shown.label)[known].sum())
        right[1] += int(known.sum())
        total[0] += float(loss[shown.real].sum())
        total[1] += int(shown.real.sum())
        return prediction

    def accuracy(self) -> dict[str, float]:
        """Return the share of rows predicted right, by stage."""
        return {name: right / rows for name, (right, rows) in self._right.items() if rows}

    def last_loss(self) -> float | None:
        """Return the mean loss over the rows of the last stage, None where there was none."""
        if not self._loss:
            return None
        total, rows = list(self._loss.values())[-1]
        return total / rows if rows else None
