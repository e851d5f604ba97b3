"""The command ``stability``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlsim.cli.analyze import listed, plain

if TYPE_CHECKING:
    import xarray as xr


def stability(
    delays: Annotated[str, typer.Option("--delays", metavar="D1,D2", help="Ticks.")] = "0,1,2,3,4,5",
    etas: Annotated[str, typer.Option("--etas", metavar="E1,E2", help="Dissipation a tick.")] = "1,0.5,0.2",
    way: Annotated[str, typer.Option(help="What is delayed: state or feedback.")] = "state",
    png: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Draw stability.png there.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Draw stability.svg there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how large a rate of learning may be where gradients are late, beside its closed form."""
    ticks, rates = listed("delays", delays, int), listed("etas", etas, float)

    from hlsim import sweep

    found = sweep.stability(ticks, rates, way=way)
    for folder, suffix in ((png, "png"), (svg, "svg")):
        if folder is not None:
            from hlsim.report import draw_matplotlib
            from hlsim.report.figures import stability as stability_chart

            draw_matplotlib.save({"stability": stability_chart.chart(found)}, folder, suffix)
    if as_json:
        typer.echo(json.dumps(plain(found.to_dict())))
    else:
        show_stability(found)


def show_stability(found: xr.Dataset) -> None:
    """Print the largest stable rates beside their closed form."""
    from hlsim.cli.terminal import show_table

    rows = []
    for order in found.order.values:
        for eta in found.eta.values:
            for delay in found.delay.values:
                one = found.sel(order=order, eta=eta, delay=delay)
                rows.append([str(order), f"{eta:g}", str(delay), one.measured.item(), one.predicted.item()])
    title = f"Largest stable dt^2 beta phi times curvature, by the delay of the {found.attrs['way']}"
    show_table(title, ("order", "eta dt", "delay", "measured", "in closed form"), rows)
