"""Reads metrics.csv. Imports no torch."""

import csv
import io
from pathlib import Path

from litmus.core.atomic_files import read_text
from litmus.errors import ConfigError

MOST_BYTES = 2**27  # half a million epochs of the default run
Row = dict[str, float]


def read_metrics(path: Path) -> list[Row]:
    """The rows of metrics.csv, without the metrics that an epoch did not measure; empty if there is no file.

    Raises ConfigError if the file is damaged.
    """
    if not path.exists():
        return []
    try:
        text = read_text(path, MOST_BYTES)
        names, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        if not text.endswith("\n") or "epoch" not in names or any(len(line) != len(names) for line in lines):
            raise ValueError("it is truncated, or its rows differ in length")
        rows = [
            {
                name: int(value) if name == "epoch" else float(value)
                for name, value in zip(names, line, strict=True)
                if value
            }
            for line in lines
        ]
        if any("epoch" not in row for row in rows):
            raise ValueError("a row has no epoch")
        return rows
    except ConfigError:
        raise
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{path} is damaged ({error}): put it back, or start a new run") from None
