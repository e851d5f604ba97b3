"""The map of stability as a figure: largest rates against delays, measured ones on the lines of theory."""

import numpy as np
import xarray as xr

from hlsim.report.charts import Chart, Key, Line, Panel, Points, color

MARGIN = 0.1  # of the axis, in powers of ten


def chart(found: xr.Dataset) -> Chart:
    """Return a panel for every order: a line for every eta, and a disc for every rate that was measured."""
    rates = np.log10([found.measured.values, found.predicted.values])
    span = float(rates.min()) - MARGIN, float(rates.max()) + MARGIN
    panels = [_panel(found.sel(order=order), str(order), span) for order in found.order.values]
    keys = [Key(f"eta dt = {eta:g}", color(k)) for k, eta in enumerate(found.eta.values)]
    caption = (
        "Largest stable dt² beta phi times the curvature of the loss, by the delay of the "
        f"{found.attrs['way']}. Lines: closed form; discs: measured."
    )
    return Chart(caption, panels, columns=len(panels), keys=keys)


def _panel(found: xr.Dataset, title: str, span: tuple[float, float]) -> Panel:
    delay = found.delay.values.astype(float)
    marks: list[Line | Points] = []
    for k, eta in enumerate(found.eta.values):
        one = found.sel(eta=eta)
        marks.append(Line(delay, np.log10(one.predicted.values), color=color(k)))
        told = {"delay": found.delay.values, "measured": one.measured.values}
        marks.append(Points(delay, np.log10(one.measured.values), [color(k)] * len(delay), 7.0, told))
    names = {float(np.log10(x)): f"{x:g}" for x in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)}
    within = {place: name for place, name in names.items() if span[0] <= place <= span[1]}
    return Panel(
        marks,
        x="delay (ticks)",
        y="largest rate",
        title=f"{title} order",
        y_names=within,
        y_range=span,
    )
