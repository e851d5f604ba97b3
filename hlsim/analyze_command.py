"""The commands ``analyze`` and ``stability``: what was found, as tables or as JSON."""

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from hlsim import analysis, shown, stability_chart
from hlsim import trace as traces
from hlsim.errors import ExperimentError
from hlsim.findings import check_findings, findings

TracePath = Annotated[Path, typer.Argument(metavar="TRACE", help="A trace, as hlsim run writes it.")]


def analyze(
    path: TracePath,
    against: Annotated[
        Path | None, typer.Option(metavar="TRACE", help="Compare with another trace as well.")
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(
            help="Compare what was learned with exact gradients: backpropagation, recurrent, through_time or "
            "implicit; takes as long as those do."
        ),
    ] = None,
    of: Annotated[
        str, typer.Option(help="What is compared with them: omega, its change between samples, step of w.")
    ] = "omega",
    controls: Annotated[
        bool, typer.Option("--controls", help="Run gradient descent, at once and late, on the same stream.")
    ] = False,
    hardware: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_TOML", help="Tell the cost on loihi, cmos_45nm or those of a file."),
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="Rows a window of the learning curve; a twentieth of a stage.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what a trace says: learning, messages, locality; on request its gradients, cost and controls."""
    chosen = check_findings(oracle, of, hardware)
    with traces.open(path) as trace, nullcontext() if against is None else traces.open(against) as other:
        found = findings(trace, window=window, controls=controls, other=other, **chosen)
    if as_json:
        data = {name: plain(part.to_dict()) for name, part in found.found.items()}
        typer.echo(json.dumps(data | ({"missing": found.missing} if found.missing else {})))
    else:
        shown.show_findings(path.name, found)


def stability(
    delays: Annotated[str, typer.Option("--delays", metavar="D1,D2", help="Ticks.")] = "0,1,2,3,4,5",
    etas: Annotated[str, typer.Option("--etas", metavar="E1,E2", help="Dissipation a tick.")] = "1,0.5,0.2",
    way: Annotated[str, typer.Option(help="What is delayed: state or feedback.")] = "state",
    png: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Draw stability.png there.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Draw stability.svg there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how large a rate of learning may be where gradients are late, beside its closed form."""
    found = analysis.stability(_listed("delays", delays, int), _listed("etas", etas, float), way=way)
    for folder, suffix in ((png, "png"), (svg, "svg")):
        if folder is not None:
            from hlsim import printed

            printed.save({"stability": stability_chart.chart(found)}, folder, suffix)
    if as_json:
        typer.echo(json.dumps(plain(found.to_dict())))
    else:
        shown.show_stability(found)


def _listed(option: str, text: str, kind: Callable[[str], Any]) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ExperimentError(f"--{option}: must be numbers with commas between them, got {text!r}") from None


def plain(value: Any) -> Any:
    """Return what JSON can hold: it has no NaN."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
