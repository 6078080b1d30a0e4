"""Runs as a pandas DataFrame, for a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litmus.errors import ConfigError, require
from litmus.runs.code_version import SHOWN_DIGITS, code_labels
from litmus.runs.reading import Run, Value, is_compared, read_runs

if TYPE_CHECKING:
    import pandas as pd

FACTS = ("best_epoch", "epochs", "seconds", "stop_reason", "diverged")


def frame(*folders: str | Path, curves: bool = False) -> pd.DataFrame:
    """The finished runs at or below the folders, one row each, sorted by directory.

    Columns: `directory`; the options and values in which the runs differ, by their names on the command line; `seed`;
    the metrics of the best epoch and of the test, as fractions and in the units of the losses; `best_epoch`, `epochs`,
    `seconds` of training, `stop_reason`, `diverged`. A value that a run lacks is NaN. A metric that has the name of one
    of these options, as `penalty` may, is in the column `metric:penalty`. Runs of different code or data have a column
    `code` or `data_fingerprint`, and runs of a comparison a column `stage`: tune or evaluate.

    With `curves`, one row per run and epoch: `epoch` and the metrics of metrics.csv take the place of the metrics and
    what follows them.

    Raises ConfigError for a folder without a run.
    """
    import pandas as pd

    paths = [Path(folder).expanduser() for folder in folders]
    require(bool(paths), "litmus.runs.frame needs a folder, such as outputs/sweeps/NAME")
    for path in paths:
        require(path.is_dir(), f"{path} is not a folder; give that of a sweep, such as outputs/sweeps/NAME")
    runs, left_out = read_runs(paths)
    if not runs:
        reasons = "; ".join(dict.fromkeys(run.why for run in left_out[:3])) or "there is none"
        raise ConfigError(f"no run has finished in {', '.join(map(str, paths))} ({reasons})")
    keys = differing_keys(runs)
    _label(runs, keys)
    rows = [row for run in runs for row in (_curve_rows(run, keys) if curves else [_row(run, keys)])]
    return pd.DataFrame(rows)


def _label(runs: Sequence[Run], keys: list[str]) -> None:
    """Adds keys that keep runs apart which must not be averaged: of other code or data, and those that tuned an arm."""
    labels = {
        "code": code_labels([run.code for run in runs]),
        "data_fingerprint": [run.data[:SHOWN_DIGITS] if run.data else "unknown" for run in runs],
        "stage": [_stage(run.path) for run in runs],
    }
    for key, values in labels.items():
        if _differs(values):
            keys.append(key)
            for run, value in zip(runs, values, strict=True):
                run.config[key] = value


def _stage(run: Path) -> str:
    """`tune` or `evaluate` for a run of a comparison."""
    stage = run.parent.parent
    return stage.name if stage.name in ("tune", "evaluate") and (stage.parent / "plan.json").exists() else "–"


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """The options of groups, then the keys of the config, in which the runs differ. The seed is not one."""
    groups = [name for name in _names(run.choices for run in runs) if _differs(run.choices.get(name) for run in runs)]
    keys = [name for name in _names(run.config for run in runs) if _differs(run.config.get(name) for run in runs)]
    return [key for key in dict.fromkeys([*groups, *keys]) if is_compared(key) and not re.search(r"(^|\.)_", key)]


def _names(dictionaries: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for dictionary in dictionaries for name in dictionary))


def _differs(values: Iterable[Value | None]) -> bool:
    return len(set(values)) > 1


def _identify(run: Run, keys: Sequence[str]) -> dict[str, Value | None]:
    values = {key: run.choices.get(key, run.config.get(key)) for key in keys}
    return {"directory": str(run.path), **values, "seed": run.seed}


def _row(run: Run, keys: Sequence[str]) -> dict[str, Value | None]:
    return {**_identify(run, keys), **_renamed(run.metrics, keys), **{name: getattr(run, name) for name in FACTS}}


def _curve_rows(run: Run, keys: Sequence[str]) -> list[dict[str, Value | None]]:
    return [{**_identify(run, keys), **_renamed(row, keys), "epoch": int(row["epoch"])} for row in run.curves()]


def _renamed(metrics: dict[str, float], keys: Sequence[str]) -> dict[str, float]:
    """The metrics, with `metric:` before a name that is also an option, as `penalty` is."""
    return {f"metric:{name}" if name in keys else name: value for name, value in metrics.items()}
