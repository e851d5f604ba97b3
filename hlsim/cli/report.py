"""The command ``report``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlsim.cli.app import say
from hlsim.errors import ExperimentError

if TYPE_CHECKING:
    import xarray as xr


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="TRACE... | FOLDER", help="Traces to be compared, or the folder of a sweep."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="PAGE", help="The page; NAME.html beside the trace or the folder."
        ),
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FOLDER", help="Where the figures go as PNG files too.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FOLDER", help="Where the figures go as SVG files too.")
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(help="Draw alignment with backpropagation, recurrent, ..., however long it takes."),
    ] = None,
) -> None:
    """Draw a page of a trace, of several beside one another, or of a sweep: one HTML file."""
    from hlsim.cli import terminal

    with terminal.steps(sys.stderr) as tell:
        written = write(paths, output, png=png, svg=svg, oracle=oracle, tell=tell)
    for path in written:
        say(path)


def write(
    paths: Sequence[Path],
    output: Path | None = None,
    *,
    png: Path | None = None,
    svg: Path | None = None,
    oracle: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Write the page of traces, or of the sweep into a folder, and its figures; return all paths.

    See ``hlsim.report.of_traces``; without an ``output`` the page is written beside what it is of.
    """
    from hlsim import report as reports
    from hlsim.report import page
    from hlsim.report.figures import Asked

    asked, file = Asked(oracle), output or default_page(paths)
    page.check(file)
    if len(paths) == 1 and paths[0].is_dir():
        made = reports.of_sweep(_swept(paths[0]), paths[0].resolve().name)
    else:
        made = reports.of_traces(paths, asked, tell)
    tell("page")
    page.write(file, made.html())
    written = [file]
    for folder, suffix in ((png, "png"), (svg, "svg")):
        if folder is not None:
            tell(f"{suffix} files")
            written += made.save(folder, suffix)
    return written


def _swept(folder: Path) -> xr.Dataset:
    """Return what the sweep into a folder found."""
    if not any(folder.glob("*.h5")):
        raise ExperimentError(f"{folder}: there are no traces in this folder")
    from hlsim import sweep as sweeps

    return sweeps.load(folder)


def default_page(paths: Sequence[Path]) -> Path:
    """Return where a page goes unless told otherwise: beside what it is of."""
    first = paths[0]
    if len(paths) > 1:
        return first.with_name("comparison.html")
    whole = first.resolve() if first.is_dir() else first
    return whole.with_name(f"{whole.name if first.is_dir() else whole.stem}.html")
