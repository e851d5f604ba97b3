"""The command ``analyze``: what was found, as tables or as JSON."""

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from hlsim.errors import ExperimentError

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
    from hlsim import trace as traces
    from hlsim.analysis.findings import check_findings, findings
    from hlsim.cli.tables import show_findings

    chosen = check_findings(oracle, of, hardware)
    with traces.open(path) as trace, nullcontext() if against is None else traces.open(against) as other:
        found = findings(trace, window=window, controls=controls, other=other, **chosen)
    if as_json:
        data = {name: plain(part.to_dict()) for name, part in found.found.items()}
        typer.echo(json.dumps(data | ({"missing": found.missing} if found.missing else {})))
    else:
        show_findings(path.name, found)


def listed(option: str, text: str, kind: Callable[[str], Any]) -> list[Any]:
    """Return the values of an option that are written with commas between them."""
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
