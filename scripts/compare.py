"""A planned comparison: python scripts/compare.py optim=sgd,adam --tune optim.lr --trials 12 --seeds 5.

Each arm (a combination of the listed values) is tuned with the same budget on validation. It then runs at its best
setting with fresh seeds that all arms share, and each of these runs is tested once. The plan is written before the
first run. The verdicts, tables and figures are in outputs/sweeps/NAME/report. The same command resumes.
"""

import argparse
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from litmus import cli, compose
from litmus.cli.arguments import read_paths
from litmus.errors import ConfigError, StoppedRun, require
from litmus.report.comparison_page import status_line, verdict_lines, write_comparison
from litmus.report.comparison_plan import Plan, is_comparison, write_plan
from litmus.report.comparison_results import deviations, is_complete, read_results
from litmus.runs.directory import lock_directory
from litmus.runs.identity import run_name, sweep_folder
from litmus.runs.stale import KEEP
from litmus.sweeps.comparison_checks import check_name
from litmus.sweeps.comparison_request import Request, make_plan
from litmus.sweeps.comparison_run import Comparison, has_runs, refuse_changed_runs

ROOT = Path(__file__).resolve().parent.parent
OPTIONS: dict[str, dict[str, Any]] = {
    "overrides": {
        "nargs": "+",
        "metavar": "KEY=VALUE",
        "help": "several values are the arms, as in optim=sgd,adam; a single value is common to all arms",
    },
    "--tune": {
        "action": "append",
        "default": [],
        "metavar": "KEY[=SPACE]",
        "help": "a key to tune for each arm, in SPACE or in that of a file in conf/sweep; may be repeated",
    },
    "--trials": {"type": int, "default": 12, "help": "tuning trials for each arm (default: 12)"},
    "--seeds": {"type": int, "default": 5, "help": "seeds of the evaluation (default: 5)"},
    "--detect": {
        "type": float,
        "metavar": "D",
        "help": "instead of --seeds: a pilot of 5 seeds, then as many as detect a difference of D with 80 %% power, in "
        "percentage points of accuracy, or in the unit of another metric",
    },
    "--max-seeds": {"type": int, "default": 50, "help": "the most seeds for --detect (default: 50)"},
    "--baseline": {"metavar": "ARM", "help": "the arm that the others are compared with (default: the first)"},
    "--all-pairs": {"action": "store_true", "help": "compare every arm with every other one instead"},
    "--metric": {"help": "what is judged (default: the objective; one of validation is measured on the test set)"},
    "--equivalence": {
        "type": float,
        "metavar": "DELTA",
        "help": "the largest difference that does not matter, in the unit of --detect",
    },
    "--tuning-seed": {"type": int, "default": 1000, "help": "the seed of the tuning runs (default: 1000)"},
    "--name": {"help": "the folder below outputs/sweeps (default: from the arms and the plan)"},
    "--stale": {"choices": [KEEP], "help": "use runs that were made with other code or data"},
}
log = logging.getLogger("litmus")


@cli.script
def main() -> None:
    args = read_arguments(sys.argv[1:])
    command = ["python", *sys.argv]
    request = Request(
        overrides=read_paths(args.overrides, multirun=True),
        tune=args.tune,
        trials=args.trials,
        seeds=args.seeds,
        detect=args.detect,
        max_seeds=args.max_seeds,
        baseline=args.baseline,
        all_pairs=args.all_pairs,
        metric=args.metric,
        equivalence=args.equivalence,
        tuning_seed=args.tuning_seed,
    )
    plan, extra = make_plan(request, compose, ROOT / "conf")
    name = check_name(args.name or default_name(plan))
    folder = sweep_folder(name)
    refuse_changed_runs(folder, args.stale)
    if args.stale == KEEP:
        extra.append(f"stale={KEEP}")
    print(f"{describe(plan)}\n{folder}", flush=True)
    require(
        is_comparison(folder) or not has_runs(folder),
        f"{folder} has runs without a plan: use another --name",
    )
    with removed_if_refused(folder), lock_directory(folder, alternative="another --name"):
        write_plan(folder, plan, command, datetime.now().isoformat(timespec="seconds"))
        try:
            Comparison(name, plan, run_train, extra, lambda: write_page(folder)).run()
        except (KeyboardInterrupt, StoppedRun):
            if has_runs(folder):
                log.info(f"stopped; the same command resumes the comparison\n{write_comparison(folder)}")
            raise
    results = read_results(folder, plan)
    page = write_comparison(folder)
    lines = verdict_lines(plan, results) or ["Nothing can be judged."]
    print("\n".join(["", *lines, status_line(plan, results), *deviations(plan, results), "", str(page)]))
    if not is_complete(plan, results) or any(run.status == "failed" for one in results for run in one.lost_runs):
        sys.exit(1)


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for names, options in OPTIONS.items():
        parser.add_argument(*names.split(), **options)
    return parser.parse_intermixed_args(arguments)


@contextmanager
def removed_if_refused(folder: Path) -> Iterator[None]:
    """Removes a new folder if the first sweep is refused, and with it what was created above."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except (StoppedRun, ConfigError):
        if folder in new and not has_runs(folder):
            shutil.rmtree(folder)
            with suppress(OSError):  # another process has written there
                for path in new[1:]:
                    path.rmdir()
        raise


def default_name(plan: Plan) -> str:
    digest = hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode()).hexdigest()
    values: dict[str, list[str]] = {}
    for override in dict.fromkeys(override for arm in plan.arms for override in arm.overrides):
        key, _, value = override.partition("=")
        values.setdefault(key, []).append(value)
    return run_name([f"{key}={','.join(found)}" for key, found in values.items()], digest)


def describe(plan: Plan) -> str:
    runs = sum(plan.trials for arm in plan.arms if arm.tuned)
    tuning = (
        [f"{runs} tuning runs ({', '.join(f'{key} in {text}' for key, text in plan.space.items())})"] if runs else []
    )
    evaluation = f"{len(plan.arms)} × {plan.seeds} evaluation runs"
    if plan.detect is not None:
        evaluation += f", then as many as Stein's rule requires, up to {len(plan.arms)} × {plan.max_seeds}"
    return f"{len(plan.arms)} arms: {', '.join(arm.name for arm in plan.arms)}\n{', '.join([*tuning, evaluation])}"


def run_train(arguments: list[str]) -> int:
    """Runs train.py in this process, so that a kill ends its jobs too. Returns its exit status."""
    import train

    before, sys.argv = sys.argv, [str(ROOT / "train.py"), *arguments]
    try:
        train.main()
    except SystemExit as stop:
        if stop.code == 130:
            raise KeyboardInterrupt from None
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return 0


def write_page(folder: Path) -> None:
    try:
        write_comparison(folder, is_running=True)
    except Exception as error:  # the results are complete even if a figure fails
        log.warning(f"no report, because of {error!r}: python scripts/report.py {folder} shows where")


if __name__ == "__main__":
    main()
