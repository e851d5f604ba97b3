"""The command ``diff``: two traces bit for bit, as a table or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlsim.cli.analyze import plain
from hlsim.cli.app import say

if TYPE_CHECKING:
    from hlsim.analysis.differences import Diff, Difference, Place

Path1 = Annotated[Path, typer.Argument(metavar="TRACE", help="A trace, as hlsim run writes it.")]
Path2 = Annotated[Path, typer.Argument(metavar="TRACE2", help="The one it is compared with.")]


def diff(
    path: Path1,
    other: Path2,
    rtol: Annotated[float, typer.Option(help="Relative tolerance for floating-point numbers.")] = 0.0,
    atol: Annotated[float, typer.Option(help="Absolute tolerance for floating-point numbers.")] = 0.0,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Leave out a dataset, group, attribute or key of one; may be repeated."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compare two traces bit for bit, and tell where they begin to differ; exit with 1 if they do."""
    from hlsim import trace as traces
    from hlsim.analysis import differences as diffs

    with traces.open(path) as one, traces.open(other) as two:
        found = diffs.diff(one, two, rtol, atol, ignore or ())
    if as_json:
        first = None if found.first is None else found.first.name
        typer.echo(json.dumps({"identical": found.identical, "first": first, **plain(asdict(found))}))
    else:
        _show(path, other, found)
    if not found.identical:
        raise typer.Exit(1)


def _show(path: Path, other: Path, found: Diff) -> None:
    from hlsim.cli.terminal import show_table

    if found.first is None:
        say(f"identical: {found.datasets:,} datasets, {found.values:,} values")
    else:
        say(f"first difference: {found.first}")
        header = ("name", "differ", "of", "largest", "relative", "first difference")
        show_table(f"{path} against {other}", header, map(_row, found.differences))
    say(f"not compared: {', '.join(found.not_compared)}")


def _row(difference: Difference) -> tuple[str, ...]:
    sizes = (_size(difference.absolute), _size(difference.relative))
    counts = (f"{difference.differing:,}", f"{difference.compared:,}")
    return difference.name, *counts, *sizes, "; ".join([*difference.structure, *_told(difference.first)])


def _size(value: float) -> str:
    from hlsim.report.words import number

    return "inf" if value == float("inf") else number(value)


def _told(place: Place | None) -> list[str]:
    if place is None or not place.values:
        return []
    return [f"{place.where}{': ' * bool(place.where)}{' against '.join(place.values)}"]
