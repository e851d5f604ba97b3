"""Two checkouts of hlsim make the same traces, bit for bit: shown by running both.

    python tools/same_traces.py OTHER_CHECKOUT [--experiments 50] [--seed 0] [--jobs 1] [--ignore NAME]

All shipped topologies, cut short, and experiments drawn at random, which this checkout writes; with the
reference engine and the batched one, with and without compiled loops. Each checkout has one process, which
does its runs in sequence with its own package; ``--jobs 2`` runs the two side by side. Exit code 1 where
traces differ, or where more than a tenth of the runs are refused.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import drawn

from hlsim import trace
from hlsim.analysis import differences

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = {
    "reference": ("simulation.engine=reference",),
    "batched": ("simulation.compiled=never",),
    "compiled": ("simulation.compiled=always",),
}
# Ticks of a shipped experiment; the reference engine takes a process a neuron.
TICKS = {"reference": 40, "batched": 300, "compiled": 300}
RECORDED = ("record.every=5", 'record.events=["message","update"]')
MOST_REFUSED = 0.1


def shipped() -> list[str]:
    """Return the experiments of this checkout's topologies, relative to it."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "topologies").glob("*/*.toml"))


def plan(checkout: Path, own: list[str], made: list[drawn.Drawn]) -> list[dict]:
    """Return the runs of a checkout: shipped experiments of its own, and drawn ones that both share."""
    runs = []
    for variant, overrides in VARIANTS.items():
        alone = ("simulation.batch=1",) if variant == "reference" else ()  # it knows no batches
        short = (*overrides, *alone, *RECORDED, f"simulation.until={TICKS[variant]}")
        for path in own:
            name = path.removesuffix(".toml").replace("/", "-")
            runs.append((f"{name}-{variant}.h5", str(checkout / path), short))
        runs.extend(
            (f"{one.folder.name}-{variant}.h5", str(one.folder), overrides)
            for one in made
            if not (alone and one.about["replicas"] == "batch")
        )
    return [{"trace": name, "experiment": path, "overrides": options} for name, path, options in runs]


def start(checkout: Path, runs: list[dict], folder: Path) -> subprocess.Popen:
    """Start the process of a checkout, which writes its traces into a folder."""
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps({"package": str(checkout / "hlsim"), "runs": runs}))
    command = [sys.executable, str(ROOT / "tools" / "worker.py"), "plan.json", "outcomes.json"]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(checkout)})


def run(
    checkouts: list[Path], own: list[str], made: list[drawn.Drawn], folder: Path, jobs: int
) -> list[dict]:
    """Do the runs of both checkouts; return the outcome of each run by trace."""
    outcomes = [folder / name / "outcomes.json" for name in ("this", "other")]
    running = []
    for checkout, outcome in zip(checkouts, outcomes, strict=True):
        process = start(checkout, plan(checkout, own, made), outcome.parent)
        running.append(process)
        if jobs == 1:
            process.wait()
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("a process ended before its runs were done")
    return [json.loads(path.read_text()) for path in outcomes]


def judge(folder: Path, name: str, said: tuple[str, str], ignore: list[str]) -> tuple[str, str]:
    """Return "identical", "refused" or "differs", and why.

    A run that was stopped by an error has a trace up to there, and one that was refused has none.
    """
    files = [folder / side / name for side in ("this", "other")]
    if said[0] != said[1]:
        return "differs", f"{said[0] or 'done'!r} against {said[1] or 'done'!r}"
    if said[0].startswith("unexpected"):
        return "differs", said[0]
    if not any(file.exists() for file in files):
        return "refused", said[0]
    with trace.open(files[0]) as one, trace.open(files[1]) as two:
        found = differences.diff(one, two, ignore=ignore)
    return ("identical", said[0]) if found.identical else ("differs", f"first difference: {found.first}")


def show_covered(own: list[str], made: list[drawn.Drawn]) -> None:
    """Print what the experiments are about."""
    print(f"{'shipped':<16} {', '.join(Path(path).parent.name + '/' + Path(path).stem for path in own)}")
    for aspect in made[0].about if made else ():
        counts = Counter(one.about[aspect] for one in made)
        print(f"{aspect:<16} {', '.join(f'{value} {count}' for value, count in sorted(counts.items()))}")


def main() -> None:
    """Draw, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--experiments", type=int, default=50, help="how many are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="checkouts at a time")
    parser.add_argument("--ignore", action="append", default=[], metavar="NAME", help="as of hlsim diff")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        made = [
            drawn.write(Path(folder) / f"drawn-{given.seed}-{number}", given.seed, number)
            for number in range(given.experiments)
        ]
        own = shipped()
        show_covered(own, made)
        outcomes = run([ROOT, given.other.resolve()], own, made, Path(folder), given.jobs)
        judged = {
            name: judge(Path(folder), name, (said, outcomes[1][name]), given.ignore)
            for name, said in outcomes[0].items()
        }
    for name, (verdict, why) in judged.items():
        if why:
            print(f"{name.removesuffix('.h5')}: {verdict}: {why}")
    counts = Counter(verdict for verdict, _ in judged.values())
    print(f"{counts['refused']} refused by both, {time.monotonic() - began:.0f} s")
    print(f"{len(judged)} runs, {counts['identical']} identical")
    if counts["differs"] or counts["refused"] > MOST_REFUSED * len(judged):
        sys.exit(1)


if __name__ == "__main__":
    main()
