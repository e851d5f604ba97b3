"""The command ``resume``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hlsim.simulation.watch import Progress
    from hlsim.trace import Trace


def resume(
    path: Annotated[Path, typer.Argument(metavar="TRACE", help="The trace of a run that was cut off.")],
    until: Annotated[int | None, typer.Option(help="Ticks to run in all, where not as before.")] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER_OR_TOML", help="Where the experiment is now, if it was moved."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")] = False,
) -> None:
    """Go on with a run from the checkpoint beside its trace, as if it had not been cut off."""
    from hlsim.cli.run import record
    from hlsim.experiment import experiment as experiments

    wanted = experiments.resumed(path, until, experiment)

    def start(progress: Callable[[Progress], None] | None) -> Trace:
        return wanted.simulation().resume(path, until, progress=progress, interruptible=True)

    record(start, wanted.name, path, quiet)
