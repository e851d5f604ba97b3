"""The command line's application, and the options that its commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hlsim.experiment import Experiment

INTERRUPTED = 130  # as shells have it for a program that was stopped by Ctrl-C
GRAPHS = (".py", ".json", ".graphml", ".gexf", ".gml", ".net", ".edgelist", ".csv")
UNSHOWN = ("experiment", "learning", "summary", "default", "NX_class")  # long, or for other programs
app = typer.Typer(
    name="hlsim",
    help="Simulate networks that learn locally, on line, while their signals take time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
ExperimentPath = Annotated[Path, typer.Argument(metavar="FOLDER_OR_TOML", help="An experiment.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a value, e.g. learning.beta=0.02; may be repeated."),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        # of the code that runs, which need not be what is installed; a module does not import its package
        typer.echo(f"hlsim {sys.modules['hlsim'].__version__}")
        raise typer.Exit


def _load_models(files: list[Path] | None) -> None:
    if files:
        from hlsim import models

        for file in files:
            models.load(file)


@app.callback()
def options(
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--models",
            metavar="FILE.py",
            callback=_load_models,
            help="Run a file of your own that defines models, rules or losses; may be repeated.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


def printable(text: str) -> str:
    """Return text that a terminal shows and does not obey: escape sequences as they are written in code."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def say(text: object) -> None:
    """Print text as it is, but for what a terminal would obey."""
    typer.echo(printable(str(text)))


def default_trace(name: str) -> Path:
    """Return where a trace goes that is given no path: into the folder traces, if there is one."""
    folder = Path("traces")
    return (folder if folder.is_dir() else Path()) / f"{name}.h5"


def described(wanted: Experiment) -> dict[str, Any]:
    """Return what there is in the network of an experiment."""
    from hlsim.topology.network import describe

    return describe(wanted.network, wanted.settings.simulation.dtype)
