"""Reads run directories. A damaged directory does not stop a report."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from litmus.core.counts import format_count
from litmus.core.metric_direction import mode_of_result
from litmus.core.metrics_file import read_metrics
from litmus.core.saved_config import flatten
from litmus.errors import ConfigError
from litmus.runs.identity import NOT_THE_EXPERIMENT, without_observers
from litmus.runs.records import check_record
from litmus.runs.stale import SET_ASIDE

OURS = ("report", "retrain", "logs")  # folders that Litmus creates beside the runs
# Keys that do not affect training: two runs of one setting may differ in them.
NOT_COMPARED = (*NOT_THE_EXPERIMENT, "seed", "test", "logger")
NOT_COMPARED_BELOW = ("data.data_dir",)
DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError),
    yaml.YAMLError,
)
# The pure Python loader takes a second for a hundred configs.
YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Value = int | float | str
Row = dict[str, float]


@dataclass
class Run:
    """A finished run. `config` is flat and unresolved: an interpolation is its own text.

    `code` holds a digest of each file that the run imported, `data` the fingerprint of its data.
    """

    path: Path
    seed: Value
    config: dict[str, Value]
    choices: dict[str, str]
    overrides: list[str]
    objective_name: str
    objective_mode: str  # max or min
    metrics: dict[str, float]
    best_epoch: int
    epochs: int
    seconds: float
    stop_reason: str
    diverged: bool = False
    commands: list[str] = field(default_factory=list)
    circumstances: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    data: str | None = None
    is_mixed: bool = False  # resumed after code or data had changed
    started: str = ""  # ISO 8601
    images: dict[str, int] = field(default_factory=dict)  # of train, val and test; empty if not recorded

    def curves(self) -> list[Row]:
        """The rows of metrics.csv, one per epoch; empty if it is absent or damaged."""
        try:
            rows = read_metrics(self.path / "metrics.csv")
        except (ConfigError, OSError):
            return []
        return [{name: value for name, value in row.items() if _is_number(value)} for row in rows]


@dataclass
class ExcludedRun:
    """A run that a report does not count. `status` is pruned, failed, unfinished, damaged, repeated, replaced,
    incomparable or foreign.
    """

    path: Path
    status: str
    why: str
    overrides: list[str] = field(default_factory=list)


def read_runs(folders: Iterable[Path]) -> tuple[list[Run], list[ExcludedRun]]:
    """The finished runs at or below the folders, sorted by path, and everything else in them."""
    directories: list[Path] = []
    left_out: list[ExcludedRun] = []
    for folder in folders:
        _find(folder, directories, left_out)
    runs: list[Run] = []
    seen: set[Path] = set()
    for directory in directories:
        if directory.resolve() in seen:
            continue
        seen.add(directory.resolve())
        try:
            found = _read(directory) if SET_ASIDE not in directory.name else _set_aside(directory)
        except DAMAGE as error:
            found = ExcludedRun(directory, "damaged", _one_line(f"{type(error).__name__}: {error}"))
        if isinstance(found, Run):
            runs.append(found)
        else:
            left_out.append(found)
    return runs, left_out


def read_commands(folder: Path) -> list[str]:
    """The commands that started a sweep, from its sweep.json; empty if it is absent or damaged."""
    try:
        return [str(start["command"]) for start in _json(folder / "sweep.json")["starts"]]
    except DAMAGE:
        return []


def is_compared(key: str) -> bool:
    """Whether runs that differ in this key are different settings."""
    return re.split(r"[./@]", key)[0] not in NOT_COMPARED and key not in NOT_COMPARED_BELOW


def _find(folder: Path, runs: list[Path], others: list[ExcludedRun]) -> bool:
    """Whether there is a run at or below `folder`. Adds the topmost folders without a run to `others` as foreign."""
    if (folder / "run.json").is_file():
        runs.append(folder)
        return True
    try:
        children = sorted(child for child in folder.iterdir() if child.is_dir() and not _skipped(child))
    except OSError as error:
        others.append(ExcludedRun(folder, "foreign", f"cannot be read: {error.strerror}"))
        return False
    failed = _failed_jobs(folder)
    others.extend(failed)
    below: list[ExcludedRun] = []
    found = [_find(child, runs, below) for child in children]
    if any(found) or failed:
        others.extend(below)
        return True
    others.append(ExcludedRun(folder, "foreign", "holds no run: there is no run.json in it"))
    return False


def _failed_jobs(sweep: Path) -> list[ExcludedRun]:
    """The jobs of a sweep that failed before they had a run directory, with the reason from their log."""
    jobs = (sweep / log.stem for log in sorted((sweep / "logs").glob("*.log")))
    absent = (job for job in jobs if not (job / "run.json").exists())
    return [ExcludedRun(job, "failed", reason) for job in absent if (reason := _why_it_failed(job))]


def _why_it_failed(job: Path) -> str:
    """The reason from the log in the sweep folder; empty if it holds only what the job has printed."""
    lines = _lines(job.parent / "logs" / f"{job.name}.log")
    is_error = bool(lines) and (lines[-1].startswith("error: ") or any(line.startswith("Traceback ") for line in lines))
    return _one_line(lines[-1].removeprefix("error: ")) if is_error else ""


def _lines(file: Path) -> list[str]:
    """The lines of a log that are not empty."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return [line for line in text.split("\n") if line.strip()]


def _skipped(folder: Path) -> bool:
    if folder.is_symlink() and not (folder / "run.json").is_file():
        return True  # a link may be circular
    of_slurm = (folder / "jobs.json").is_file()  # by its contents, because a sweep may be named slurm
    return folder.name.startswith(".") or folder.name in OURS or of_slurm


def _read(path: Path) -> Run | ExcludedRun:
    record = _json(path / "run.json")
    check_record(record, path / "run.json")
    overrides = [str(override) for override in record["overrides"]]
    if not (path / "result.json").is_file():
        return ExcludedRun(path, *_how_it_ended(path), overrides)
    result = _json(path / "result.json")
    if result["config_hash"] != record["config_hash"]:
        return ExcludedRun(path, "damaged", "its result.json belongs to another config than its run.json", overrides)
    if result.get("pruned"):
        return ExcludedRun(path, "pruned", f"after {format_count(result['epochs'], 'epoch')}", overrides)
    metrics = {str(name): float(value) for name, value in result["metrics"].items() if _is_number(value)}
    if not _is_number(result["objective"]) or result["objective_name"] not in metrics:
        return ExcludedRun(path, "damaged", f"its {result['objective_name']} is not a finite number", overrides)
    config = yaml.load((path / ".hydra" / "config.yaml").read_text(encoding="utf-8"), Loader=YAML_LOADER)
    return Run(
        path=path,
        seed=_as_override_value(config.get("seed")),
        config={key: _as_override_value(value) for key, value in flatten(without_observers(config)).items()},
        choices={str(group): str(option) for group, option in record["choices"].items()},
        overrides=overrides,
        objective_name=str(result["objective_name"]),
        objective_mode=mode_of_result(result),
        metrics=metrics,
        best_epoch=int(result["best_epoch"]),
        epochs=int(result["epochs"]),
        seconds=float(result["seconds"]),
        stop_reason=_one_line(str(result["stop_reason"])),
        diverged=bool(result.get("diverged")),
        commands=[str(start["command"]) for start in record.get("starts", [])],
        circumstances=_circumstances(record),
        code={str(name): str(digest) for name, digest in record.get("code", {}).items()},
        data=record.get("data_fingerprint"),
        is_mixed=len({(start.get("code"), start.get("data")) for start in record.get("starts", [])}) > 1,
        images={str(part): int(count) for part, count in (record.get("images") or {}).items()},
        started=str(next((start["time"] for start in record.get("starts", [])), "")),
    )


def _set_aside(path: Path) -> ExcludedRun:
    return ExcludedRun(path, "replaced", "it was made with other code or data, and run again (stale=rerun)")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is damaged: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is damaged: it holds no object")
    return found


def _is_number(value: Any) -> bool:
    """Whether a value can be compared: not NaN, and not practically infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100


def _how_it_ended(path: Path) -> tuple[str, str]:
    """The status of a run without a result, and the reason, from the last line of its log or that of its job."""
    last = next(reversed(_lines(path / "train.log")), "")
    stopped = re.match(r"[\d :-]* ?stopped by (.*)", last)
    if stopped is None and (reason := _why_it_failed(path)):
        return "failed", reason
    if stopped is None:
        return "unfinished", "it was interrupted, or is still running"
    named = re.fullmatch(r"(\w+)\(([\"']?)(.*?)\2,?\)", stopped[1])
    name, message = (named[1], named[3]) if named else (stopped[1], "")
    if name in ("KeyboardInterrupt", "SystemExit", "SIGTERMException"):
        return "unfinished", "it was interrupted"
    return "failed", _one_line(f"{name}: {message}" if message else name)


def _circumstances(record: dict[str, Any]) -> dict[str, str]:
    facts = {name: record.get(name) for name in ("git_commit", "python", "machine", "gpu", "threads")}
    packages = record.get("packages")
    return {name: str(value) for name, value in facts.items()} | {
        f"version of {name}": str(version) for name, version in (packages if isinstance(packages, dict) else {}).items()
    }


def _as_override_value(value: Any) -> Value:
    """A value as on the command line; finite numbers stay numbers."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value if abs(value) < 1e300 else str(value)
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{','.join(str(_as_override_value(item)) for item in value)}]"
    return str(value)


def _one_line(text: str, most: int = 300) -> str:
    line = " ".join(text.replace("\\n", " ").split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
