"""The command line: a thin skin over experiments, traces and their analysis. One file a command.

What a command does it with is imported by the command: what is only read and explained needs none of it.
"""

import sys
import warnings
from collections.abc import Sequence

from hlsim.cli import analyze, diff, look, report, resume, run, stability, sweep
from hlsim.cli.app import app, printable
from hlsim.errors import HlsimError

__all__ = ["app", "main"]

# In the order in which --help lists them.
for _command in (
    run.run,
    resume.resume,
    sweep.sweep,
    look.validate,
    look.info,
    analyze.analyze,
    stability.stability,
    diff.diff,
    report.report,
):
    app.command()(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 an error of the user's in one line, 130 or 143 interrupted."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            app(args=arguments, prog_name="hlsim")
    except HlsimError as error:
        raise _refused(str(error)) from None
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):  # as torch has it
            raise
        raise _refused(f"not enough memory: {error}") from None


def _refused(why: str) -> SystemExit:
    """Tell an error in one line, and return what ends the process."""
    sys.stderr.write(f"hlsim: {printable(' '.join(why.split()))}\n")
    return SystemExit(2)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Tell a warning in one line, without the place in the code that it comes from."""
    sys.stderr.write(f"hlsim: warning: {printable(' '.join(str(message).split()))}\n")
