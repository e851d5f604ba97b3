"""Numbers and counts as one reads them: the words that pages, figures and the terminal share."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def number(value: Any) -> str:
    """Return a number as one reads it: 12,345; 0.01235; 1.235e-05; - where there is none."""
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return "-"
    whole = float(value).is_integer() and abs(value) < 1e15
    return f"{int(value):,}" if whole else f"{value:,.4g}"


def size(count: float) -> str:
    """Return a number of bytes with a unit: 512 B, 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def seconds(value: float) -> str:
    """Return a duration: 0.53 s, 2 min 5 s."""
    minutes, rest = divmod(round(value), 60)
    return f"{value:.2f} s" if value < 60 else f"{minutes} min {rest} s"


def percent(share: float, error: float | None = None) -> str:
    """Return a share, with its standard error where there is one."""
    if not np.isfinite(share):
        return "-"
    return f"{100 * share:.2f} %" if error is None else f"{100 * share:.2f} ± {100 * error:.2f} %"


def spread(ticks: tuple[int, int] | None) -> str:
    """Return a range of ticks."""
    if ticks is None:
        return "-"
    low, high = ticks
    return f"{low:,} to {high:,} ticks" if low < high else f"{low:,} tick{'s' * (low != 1)}"


# In place of an accuracy that there is none of.
UNTOLD = "- (outputs hear of a row too late)"


def age(ages: np.ndarray) -> str:
    """Return what is to be said beside numbers that stand on weights of other ticks; nothing if none do."""
    if not ages.size or not ages.max():
        return ""
    mean, most = number(round(float(ages.mean()), 2)), number(round(float(ages.max()), 2))
    return (
        f"Not exact: weights moved between their samples, and those of the nearest count, {mean} "
        f"steps of learning away in the mean (up to {most} for a sample)."
    )


def counted(counts: Mapping[str, int]) -> str:
    """Return counts by name."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"


def mean_percent(shares: np.ndarray) -> str:
    """Return the mean of the finite shares, with their standard deviation where there are several."""
    mean, deviation = _moments(shares)
    return percent(mean, None if np.isnan(deviation) else deviation)


def mean_number(values: np.ndarray) -> str:
    """Return the mean of the finite numbers, with their standard deviation where there are several."""
    mean, deviation = _moments(values)
    give = "" if np.isnan(deviation) else f" ± {deviation:.2g}"
    return "-" if np.isnan(mean) else f"{mean:.4g}{give}"


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and the sample standard deviation of the finite values; NaN where there are too few."""
    known = values[np.isfinite(values)]
    mean = known.mean() if known.size else np.nan
    return float(mean), float(known.std(ddof=1) if known.size > 1 else np.nan)
