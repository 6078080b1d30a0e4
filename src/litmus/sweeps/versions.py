"""The columns of a leaderboard that separate runs of different code or data, as a report does."""

from collections.abc import Mapping
from pathlib import Path

from litmus.runs.code_version import SHOWN_DIGITS, code_labels
from litmus.runs.records import read_record


def version_columns(runs: Mapping[Path, str]) -> dict[str, dict[Path, str]]:
    """The columns `code` and `data_fingerprint`, with a cell for each run directory; a column of equal cells is left
    out.

    `runs` has the data options of each directory, as text. Data differ if runs of the same options have read different
    data.
    """
    records = {path: read_record(path / "run.json") if (path / "run.json").exists() else {} for path in runs}
    code = dict(zip(runs, code_labels([record.get("code", {}) for record in records.values()]), strict=True))
    read: dict[str, dict[Path, str]] = {}
    for path, options in runs.items():
        fingerprint = records[path].get("data_fingerprint")
        read.setdefault(options, {})[path] = fingerprint[:SHOWN_DIGITS] if fingerprint else "unknown"
    several = [labels for labels in read.values() if len(set(labels.values()) - {"unknown"}) > 1]
    data = dict.fromkeys(runs, "–") | {path: label for labels in several for path, label in labels.items()}
    return {key: cells for key, cells in (("code", code), ("data_fingerprint", data)) if len(set(cells.values())) > 1}
