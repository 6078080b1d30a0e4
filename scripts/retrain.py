"""Trains the best setting of a sweep on everything, and tests it once: python scripts/retrain.py outputs/sweeps/NAME.

The best is chosen by the mean objective over seeds, on validation alone. data.val_size=0 and no early stopping; as many
epochs as the best setting's runs needed (the median of their best epochs), or the sweep's own trainer.max_epochs where
the learning rate was laid out over the whole run. What was done is written to retrain.json in the sweep's folder.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from litmus import cli
from litmus.core.atomic_files import read_json, write_json
from litmus.core.counts import format_count
from litmus.errors import ConfigError, StoppedRun, whole_number
from litmus.report import write_report
from litmus.report.statistics import spread
from litmus.runs.records import read_record
from litmus.sweeps.retraining import Plan, plan

ROOT = Path(__file__).resolve().parent.parent


@cli.script
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="its folder, such as outputs/sweeps/NAME")
    parser.add_argument("change", nargs="*", metavar="key=value", help="to train otherwise, such as accelerator=gpu")
    parser.add_argument("--stale", choices=["keep"], help="use a sweep that was made with other code or data")
    parser.add_argument("--seeds", help="such as 0,1,2; the setting's first seed if left out")
    args = parser.parse_args()
    for change in args.change:
        if "=" not in change:
            raise ConfigError(f"{change!r} is no change: write key=value")
    seeds = seeds_of(args.seeds)
    chosen = plan(args.sweep, args.change, ROOT / "conf", args.stale)
    print("\n".join([f"{chosen.setting}: {chosen.why}", chosen.epochs, *chosen.notes, ""]), flush=True)
    runs = [retrain(chosen, args.sweep, seed) for seed in seeds or [int(chosen.setting.runs[0].seed)]]
    record(args.sweep, chosen, runs)


def seeds_of(text: str | None) -> list[int]:
    if text is None:
        return []
    try:
        return list(
            dict.fromkeys(whole_number("--seeds", int(seed), least=0, most=2**32 - 1) for seed in text.split(","))
        )
    except ValueError:
        raise ConfigError(f"--seeds {text} cannot be read: write whole numbers with commas, such as 0,1,2") from None


def retrain(chosen: Plan, sweep: Path, seed: int) -> dict[str, Any]:
    """Runs train.py as a user would; it returns at once if this very run has finished before."""
    directory = chosen.directory(sweep, seed)
    overrides = [*chosen.overrides, f"seed={seed}", f"output_dir={directory}"]
    print(shlex.join(["python", "train.py", *overrides]), flush=True)
    status = subprocess.run([sys.executable, ROOT / "train.py", *overrides], check=False).returncode
    if status:
        raise StoppedRun(f"train.py ended with exit status {status}, for the reason above")
    metrics = read_record(directory / "result.json")["metrics"]
    tested = {name: metrics[name] for name in ("test/acc", "test/loss")}
    return {
        "seed": seed,
        "directory": str(directory),
        "command": shlex.join(["python", "train.py", *overrides]),
        **tested,
    }


def record(sweep: Path, chosen: Plan, runs: list[dict[str, Any]]) -> None:
    accuracies = [run["test/acc"] for run in runs]
    deviation = spread(accuracies)
    new = {
        "setting": str(chosen.setting),
        "why": chosen.why,
        "from": [str(run.path) for run in chosen.setting.runs],
        "epochs": chosen.epochs,
        "notes": chosen.notes,
        "time": datetime.now().isoformat(timespec="seconds"),
        "tuned_on": versions(run.path for run in chosen.setting.runs),
        "trained_on": versions(Path(run["directory"]) for run in runs),
        "runs": runs,
        "test/acc": {"mean": fmean(accuracies), "standard_deviation": deviation},
    }
    file = sweep / "retrain.json"
    earlier = read_json(file)["retrained"] if file.exists() else []
    # Every look at the test set stays on record.
    others = [one for one in earlier if [run["command"] for run in one["runs"]] != [run["command"] for run in runs]]
    write_json(file, {"retrained": [*others, new]})
    around = "" if deviation is None else f" ± {100 * deviation:.2f}"
    print(f"\ntest accuracy {100 * fmean(accuracies):.2f}{around} %, {format_count(len(runs), 'seed')}\n{file}")
    if (sweep / "report").is_dir():
        print(write_report([sweep]))


def versions(runs: Iterable[Path]) -> dict[str, list[str]]:
    """The digests of the code and the fingerprints of the data of some runs."""
    launches = [start for run in runs for start in read_record(run / "run.json").get("starts", [])]
    return {name: sorted({start[name] for start in launches if start.get(name)}) for name in ("code", "data")}


if __name__ == "__main__":
    main()
