"""Runs the reported experiments and writes docs/experiments.md with its figures.

    python scripts/reproduce                  all of them, a few hours on one core
    python scripts/reproduce B D --jobs 2     some of them
    python scripts/reproduce --no-run         the page alone, from what has finished

Each is a sweep over conf/experiment/: complete runs are skipped, and interrupted ones resume. The figures of each run
are kept in docs/experiments/results/*.csv, from which the tables and verdicts of the page can be recomputed without
training. What was reported, and what is run, is in docs/experiments/*.yaml; what it means, in docs/experiments/*.md.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import comparisons
from litmus import cli
from litmus.core.atomic_files import write_text
from litmus.errors import require
from litmus.report.blocks import Image
from page import page
from protocol import Experiment, load
from results import read_results, write_results

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ROOT / "docs" / "experiments"
PICTURES = ROOT / "docs" / "images" / "experiments"


@cli.script
def main() -> None:
    known = {file.stem: load(file, Path()) for file in sorted(TEXTS.glob("*.yaml"))}
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=names(known.values()), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", metavar="NAME", help="all that need no download if left out")
    parser.add_argument("--seeds", help="such as 0,1,2; if left out, as many as the YAML file says")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--out", type=Path, default=Path("outputs/reproduce"), help="where the runs are")
    parser.add_argument("--no-run", action="store_true", help="only write the page")
    args = parser.parse_args()
    known = {name: replace(experiment, out=args.out) for name, experiment in known.items()}
    asked = [name.lower() for name in args.experiments]
    for name in asked:
        require(name in known, f"there is no experiment {name.upper()}: choose of {', '.join(known).upper()}")
    chosen = [known[name] for name in asked] or [e for e in known.values() if not e.by_request]
    failed = [] if args.no_run else [one for one in chosen if not run(one, args.seeds, args.jobs)]
    print(write_page(list(known.values())))
    require(not failed, f"not all of {', '.join(one.name.upper() for one in failed)} finished, for the reasons above")


def names(known: Iterable[Experiment]) -> str:
    lines = [f"  {e.name.upper():3} {e.title}{f' ({e.by_request})' if e.by_request else ''}" for e in known]
    return "\n".join(["experiments:", *lines])


def run(experiment: Experiment, seeds: str | None, jobs: int) -> bool:
    """Whether all of it has finished."""
    good = True
    seeds = seeds or ",".join(map(str, range(experiment.seeds)))
    if experiment.by_request:
        print(f"{experiment.name.upper()} {experiment.by_request}", flush=True)
    for sweep in experiment.sweeps:
        try:
            overrides = shlex.split(experiment.filled_in(sweep))
        except LookupError as error:
            print(f"{sweep} waits: {error}", flush=True)
            good = False
            continue
        name = f"sweep_name={experiment.folder.resolve()}"
        command = [*overrides, f"seed={seeds}", name, f"jobs={jobs}"]
        print(shlex.join(["python", "train.py", "-m", *command]), flush=True)
        good &= subprocess.run([sys.executable, ROOT / "train.py", "-m", *command], check=False).returncode == 0
    for comparison in experiment.comparisons:
        good &= comparisons.run(comparison, jobs)
    return good


def write_page(experiments: list[Experiment]) -> Path:
    from figures import draw_figures  # matplotlib takes half a second

    pictures, results = {}, {}
    for experiment in experiments:
        experiment.read()
        drawn = draw_figures(experiment, PICTURES) if experiment.runs else kept_figures(experiment)
        pictures[experiment.name] = [(f"images/experiments/{image.file}", image.caption) for image in drawn]
        stored = TEXTS / "results" / f"{experiment.name}.csv"
        results[experiment.name] = read_results(experiment, stored)
        if experiment.runs:
            write_results(stored, results[experiment.name], experiment.measures)
        for comparison in experiment.comparisons:
            comparisons.store(comparison, stored.parent)
    file = ROOT / "docs" / "experiments.md"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    write_text(file, page(experiments, results, TEXTS, pictures, before))
    return file


def kept_figures(experiment: Experiment) -> list[Image]:
    """The figures that earlier runs have left."""
    images = [Image(f"{spec['file']}.png", str(spec["caption"])) for spec in experiment.figures]
    return [image for image in images if (PICTURES / image.file).exists()]


if __name__ == "__main__":
    main()
