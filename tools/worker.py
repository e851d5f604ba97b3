"""Does runs of one checkout of hlsim, one after the other: ``python tools/worker.py PLAN OUTCOMES``.

PLAN is JSON: ``package``, the folder from which hlsim must come, and ``runs``, each with ``experiment``,
``overrides`` and the ``trace`` to write. OUTCOMES becomes JSON: for every trace "" or the line of its error.
"""

import json
import sys
import warnings
from pathlib import Path

import hlsim
from hlsim import experiment


def outcome(run: dict) -> str:
    """Do a run; return the line in which it was refused or stopped, "" where it came to its end."""
    try:
        experiment.load(run["experiment"], run["overrides"]).run(run["trace"]).close()
    except hlsim.HlsimError as error:
        return " ".join(str(error).split())
    except Exception as error:  # noqa: BLE001 - whatever it is, the other runs go on
        return f"unexpected {type(error).__name__}: {error}"
    return ""


def main() -> None:
    """Do what the plan says, and nothing if hlsim is that of another checkout."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    found = Path(hlsim.__file__).resolve().parent
    if found != Path(plan["package"]).resolve():
        sys.exit(f"hlsim was imported from {found}, not from {plan['package']}")
    warnings.simplefilter("ignore")
    outcomes = {run["trace"]: outcome(run) for run in plan["runs"]}
    Path(sys.argv[2]).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
